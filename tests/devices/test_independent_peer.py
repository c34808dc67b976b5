"""Our engine against a server that others wrote: TCP, RTU over TCP, all functions we use."""

import asyncio
import contextlib
import socket

import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge.devices.catalog import load_profiles, open_device
from edge.devices.device import DeviceSpec
from edge.devices.modbus.bus import BusPool
from edge.devices.modbus.errors import Declined
from edge.devices.modbus.frames import (
    READ_COILS,
    READ_DISCRETE,
    READ_HOLDING,
    READ_INPUT,
    WRITE_COIL,
    WRITE_COILS,
    WRITE_REGISTER,
    WRITE_REGISTERS,
)
from protos.clock import SystemClock
from protos.messages import Role

PROFILES = load_profiles()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def blocks(values):
    """One table of the server: `values` at their addresses, zeros between and around them."""
    first = max(0, min(values, default=0) - 32)
    whole = [0] * (max(values, default=0) + 64 - first)
    for address, value in values.items():
        whole[address - first] = value
    return [SimData(first, values=whole, datatype=DataType.REGISTERS)]


@contextlib.asynccontextmanager
async def server(framer, holding, inputs=None):
    port = free_port()
    device = SimDevice(
        1,
        simdata=(
            [SimData(0, values=[False] * 64, datatype=DataType.BITS)],
            [SimData(0, values=[True] * 64, datatype=DataType.BITS)],
            blocks(holding),
            blocks(inputs or {}),
        ),
    )
    peer = ModbusTcpServer(device, framer=framer, address=("127.0.0.1", port))
    await peer.serve_forever(background=True)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await peer.shutdown()


@pytest.mark.parametrize(
    ("transport", "framer"), [("tcp", FramerType.SOCKET), ("rtu_over_tcp", FramerType.RTU)]
)
async def test_all_functions_agree_with_an_independent_server(transport, framer):
    pool = BusPool()
    async with server(framer, {7: 700, 8: 800}, {3: 333}) as address:
        bus = pool.bus(DeviceSpec("x", Role.GRID, "", transport, address, baud=115200))
        try:
            assert await bus.read(1, READ_HOLDING, 7, 2) == (700, 800)
            assert await bus.read(1, READ_INPUT, 3, 1) == (333,)
            await bus.write(1, WRITE_REGISTER, 20, (4711,))
            await bus.write(1, WRITE_REGISTERS, 21, (1, 2, 3))
            assert await bus.read(1, READ_HOLDING, 20, 4) == (4711, 1, 2, 3)
            with pytest.raises(Declined) as declined:
                await bus.read(1, READ_HOLDING, 40000, 2)
            assert declined.value.code == 2
        finally:
            await pool.close()


@pytest.mark.parametrize("name", PROFILES)
async def test_every_profile_reads_its_golden_registers_from_an_independent_server(name):
    profile = PROFILES[name]
    test = profile.selftests[0]
    tables = {READ_HOLDING: {}, READ_INPUT: {}}
    for (function, start), words in test.raw.items():
        tables[function].update(enumerate(words, start))
    pool = BusPool()
    async with server(FramerType.SOCKET, tables[READ_HOLDING], tables[READ_INPUT]) as address:
        spec = DeviceSpec("meter", Role.GRID, name, "tcp", address, options={"connect_delay_ms": 0})
        device = await open_device(spec, SystemClock(), pool)
        sample = await device.read()
        await pool.close()
    values = dict(zip([point.id for point in profile.points], sample.values, strict=True))
    assert values == dict(test.expect)


async def test_coils_agree_with_an_independent_server():
    pool = BusPool()
    async with server(FramerType.SOCKET, {}) as address:
        bus = pool.bus(DeviceSpec("x", Role.GRID, "", "tcp", address))
        try:
            await bus.write(1, WRITE_COIL, 2, (1,))
            await bus.write(1, WRITE_COILS, 8, (1, 0, 1))
            assert await bus.read(1, READ_COILS, 0, 11) == (0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1)
            assert await bus.read(1, READ_DISCRETE, 5, 3) == (1, 1, 1)
        finally:
            await pool.close()


async def test_many_questions_wait_their_turn_on_one_connection():
    # The server drops what comes in one segment with another question: so do real gateways, and
    # so one question at a time is the default.
    pool = BusPool()
    async with server(FramerType.SOCKET, {7: 700}) as address:
        bus = pool.bus(DeviceSpec("x", Role.GRID, "", "tcp", address))
        answers = await asyncio.gather(*(bus.read(1, READ_HOLDING, 7, 1) for _ in range(40)))
        await pool.close()
    assert set(answers) == {(700,)}
