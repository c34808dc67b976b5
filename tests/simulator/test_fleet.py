"""The street as its users meet it: a process, its files, its devices on real wires."""

import asyncio
import json
import os
import random
import shutil
import signal
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

from edge.devices.catalog import open_device
from edge.devices.device import DeviceSpec
from edge.devices.modbus.bus import BusPool
from edge.simulator.faults import HONEST, Faults
from edge.simulator.fleet import Fleet, Order, SimulatedDevice, main, order_of
from edge.simulator.home import MW_NS_PER_WH
from protos.clock import SECOND_NS, ScaledClock
from protos.messages import Quantity, Role

NOON_NS = 1_781_784_000 * SECOND_NS  # 2026-06-18 12:00 UTC, a clear day


class Still:
    """A clock that stands until it is told to go, so that what is read can be compared exactly."""

    def __init__(self) -> None:
        self.ns = NOON_NS

    def now_ns(self) -> int:
        return self.ns

    def monotonic_ns(self) -> int:
        return self.ns

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def order(directory: Path, homes: int = 3, **changes: Any) -> Order:
    given: dict[str, Any] = {
        "homes": homes,
        "seed": 7,
        "directory": directory,
        "base_port": 0,
        "state": None,
        "faults": HONEST,
        "faulty": "*",
        "turnaround_ms": 0,
    }
    return Order(**(given | changes))


@pytest.fixture
async def street(tmp_path: Path) -> AsyncIterator[tuple[Fleet, Still]]:
    clock = Still()
    fleet = Fleet(order(tmp_path), clock)
    await fleet.open()
    yield fleet, clock
    await fleet.close()


def meter(fleet: Fleet, transport: str) -> tuple[Any, SimulatedDevice]:
    """The first home whose SDM630 is on this kind of wire."""
    for entry in fleet.homes:
        for device in entry.devices:
            if device.spec.profile == "eastron/sdm630" and device.spec.transport == transport:
                return entry.home, device
    raise AssertionError(f"no SDM630 over {transport}")


async def connect(spec: DeviceSpec) -> AsyncModbusTcpClient | AsyncModbusSerialClient:
    client: AsyncModbusTcpClient | AsyncModbusSerialClient
    if spec.transport == "rtu":
        client = AsyncModbusSerialClient(spec.address, baudrate=spec.baud, parity=spec.parity)
    else:
        host, port = spec.address.split(":")
        client = AsyncModbusTcpClient(host, port=int(port))
    assert await client.connect()
    return client


def f32(words: list[int]) -> float:
    return float(struct.unpack(">f", struct.pack(">2H", *words))[0])


@pytest.mark.parametrize("transport", ["tcp", "rtu"])
async def test_pymodbus_reads_of_an_sdm630_what_the_physics_says(
    street: tuple[Fleet, Still], transport: str
) -> None:
    fleet, clock = street
    home, device = meter(fleet, transport)
    client = await connect(device.spec)
    for _ in range(4):
        clock.ns += 5 * 3_600 * SECOND_NS + 1
        power = await client.read_input_registers(0x34, count=2, device_id=1)
        await asyncio.sleep(0.01)
        counters = await client.read_input_registers(0x48, count=4, device_id=1)
        await asyncio.sleep(0.01)
        assert home.at_ns == clock.ns
        assert f32(power.registers) == pytest.approx(home.grid_mw / 1_000, abs=0.51)
        for words, counter in (
            (counters.registers[:2], home.counters.imported),
            (counters.registers[2:], home.counters.exported),
        ):
            assert f32(words) * 1_000 == pytest.approx(counter / MW_NS_PER_WH, abs=1.01)
    client.close()


@pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is not installed")
@pytest.mark.parametrize("transport", ["tcp", "rtu"])
async def test_mbpoll_reads_of_an_sdm630_what_the_physics_says(
    street: tuple[Fleet, Still], transport: str
) -> None:
    fleet, clock = street
    clock.ns += 7_200 * SECOND_NS
    home, device = meter(fleet, transport)
    spec = device.spec
    if transport == "tcp":
        host, port = spec.address.split(":")
        wire = ["-m", "tcp", "-p", port, host]
    else:
        wire = ["-m", "rtu", "-b", str(spec.baud), "-P", "none", spec.address]
    process = await asyncio.create_subprocess_exec(
        *["mbpoll", "-0", "-1", "-q", "-B", "-a", "1", "-t", "3:float", "-r", "52", *wire],
        stdout=asyncio.subprocess.PIPE,
    )
    text = (await process.communicate())[0].decode()
    shown = [float(line.split()[1]) for line in text.splitlines() if line.startswith("[52]")]
    assert shown == [pytest.approx(home.grid_mw / 1_000, abs=0.51)], text


async def test_a_setpoint_over_the_wire_moves_the_meter_and_reverts_by_itself(
    street: tuple[Fleet, Still],
) -> None:
    fleet, clock = street
    entry = fleet.homes[0]
    home = entry.home
    home.stored = home.traits.capacity_wh * MW_NS_PER_WH // 2
    specs = {device.spec.role: device.spec for device in entry.devices}
    battery = await connect(specs[Role.BATTERY])
    start = 40_002
    while (head := await battery.read_holding_registers(start, count=2)).registers[0] != 124:
        start += 2 + head.registers[1]
    await battery.write_register(start + 15, 60, device_id=1)
    await battery.write_registers(start + 12, [5_000, 0x10000 - 5_000], device_id=1)
    await battery.write_register(start + 5, 3, device_id=1)
    clock.ns += 59 * SECOND_NS
    grid = await connect(specs[Role.GRID])
    reply = await grid.read_input_registers(0x34, count=2, device_id=1)
    setpoint_mw = home.traits.battery_w * 500
    assert home.battery_mw == setpoint_mw
    assert home.grid_mw == home.load_mw - home.pv_mw - setpoint_mw
    assert f32(reply.registers) == pytest.approx(home.grid_mw / 1_000, abs=0.51)
    clock.ns += SECOND_NS
    mode = await battery.read_holding_registers(start + 5, count=1, device_id=1)
    assert mode.registers == [0]
    assert home.battery_window_w is None
    grid.close()
    battery.close()


async def test_the_agents_own_drivers_read_every_device_of_the_street(tmp_path: Path) -> None:
    clock = Still()
    fleet = Fleet(order(tmp_path, homes=7), clock)
    await fleet.open()
    buses = BusPool()
    clock.ns += 3_600 * SECOND_NS
    for entry in fleet.homes:
        home, seen = entry.home, {}
        for simulated in entry.devices:
            device = await open_device(simulated.spec, clock, buses)
            sample = await device.read()
            for point, value in zip(device.points, sample.values, strict=True):
                if point.phase == 0 and value is not None:
                    seen[simulated.spec.role, point.quantity] = value
        count = home.counters
        for key, expected, tolerance in (
            ((Role.GRID, Quantity.POWER_W), home.grid_mw / 1_000, 1),
            ((Role.PV, Quantity.POWER_W), home.pv_mw / 1_000, 1),
            ((Role.GRID, Quantity.ENERGY_IMPORT_WH), count.imported / MW_NS_PER_WH, 51),
            ((Role.GRID, Quantity.ENERGY_EXPORT_WH), count.exported / MW_NS_PER_WH, 51),
            ((Role.PV, Quantity.ENERGY_PRODUCED_WH), count.produced / MW_NS_PER_WH, 1),
        ):
            assert seen[key] == pytest.approx(expected, abs=tolerance), (entry.name, key)
        if home.traits.has_battery:
            battery = seen[Role.BATTERY, Quantity.POWER_W]
            assert battery == pytest.approx(home.battery_mw / 1_000, abs=1)
            charge = seen[Role.BATTERY, Quantity.STATE_OF_CHARGE_PER_MILLE]
            assert charge == home.charge_per_mille
            assert seen[Role.BATTERY, Quantity.CAPACITY_WH] == home.traits.capacity_wh
    await buses.close()
    await fleet.close()


async def test_the_agents_own_driver_steers_the_battery_and_the_roof(
    street: tuple[Fleet, Still],
) -> None:
    fleet, clock = street
    entry = fleet.homes[0]
    home, buses = entry.home, BusPool()
    home.stored = home.traits.capacity_wh * MW_NS_PER_WH // 2
    devices = {d.spec.role: await open_device(d.spec, clock, buses) for d in entry.devices}
    battery, roof = devices[Role.BATTERY], devices[Role.PV]
    assert battery.limits is not None
    assert battery.limits.max_charge_w == home.traits.battery_w
    for power_w in (3_000, -3_000, 0):
        await battery.set_power(power_w, 30)
        assert home.battery_mw == pytest.approx(power_w * 1_000, abs=home.traits.battery_w / 10)
        clock.ns += 29 * SECOND_NS
        home.step(clock.ns)
        assert home.battery_window_w is not None
        clock.ns += SECOND_NS
        home.step(clock.ns)
        assert home.battery_window_w is None
    await battery.set_power(3_000, 30)
    await battery.restore_default()
    assert home.battery_window_w is None
    await roof.set_export_limit(100, 30)
    assert home.pv_mw <= 100_000
    clock.ns += 30 * SECOND_NS
    home.step(clock.ns)
    assert home.pv_limit_w is None
    await buses.close()


async def test_no_wrong_value_is_ever_served_to_hostile_clients(
    street: tuple[Fleet, Still],
) -> None:
    fleet, clock = street
    _, device = meter(fleet, "tcp")
    host, port = device.spec.address.split(":")
    draw = random.Random(5)
    for _ in range(60):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(draw.randbytes(draw.randrange(1, 300)))
        writer.close()
        del reader
    clock.ns += SECOND_NS
    client = await connect(device.spec)
    reply = await client.read_input_registers(0x46, count=2, device_id=1)
    assert f32(reply.registers) == pytest.approx(50, abs=0.03)
    client.close()


async def test_two_streets_of_one_seed_read_the_same_and_another_seed_differs(
    tmp_path: Path,
) -> None:
    states = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        (tmp_path / name).mkdir()
        clock = Still()
        fleet = Fleet(order(tmp_path / name, seed=seed), clock)
        await fleet.open()
        clock.ns += 3_600 * SECOND_NS
        fleet.step()
        states.append([entry.home.state() for entry in fleet.homes])
        await fleet.close()
    assert states[0] == states[1]
    assert states[0] != states[2]


async def test_faults_strike_only_the_devices_that_were_named(tmp_path: Path) -> None:
    fleet = Fleet(order(tmp_path, faults=Faults(drop_every=1), faulty="*-02-grid"), Still())
    await fleet.open()
    faulty = [
        device.spec.name
        for entry in fleet.homes
        for device in entry.devices
        if device.station.faults != HONEST
    ]
    await fleet.close()
    assert faulty == ["home-02-grid"]


async def test_twenty_homes_have_seven_buses_and_all_six_meters_on_both_wires(
    tmp_path: Path,
) -> None:
    fleet = Fleet(order(tmp_path, homes=20), Still())
    await fleet.open()
    specs = [device.spec for entry in fleet.homes for device in entry.devices]
    await fleet.close()
    assert len({spec.name for spec in specs}) == len({spec.address for spec in specs}) == 58
    for transport, count in (("rtu", 7), ("tcp", 13)):
        grid = [s for s in specs if s.role is Role.GRID and s.transport == transport]
        assert len(grid) == count
        assert len({spec.profile for spec in grid}) == 6


async def start(*arguments: str) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    clock = ScaledClock(60.0, 0, NOON_NS)
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "edge", "simulate", *arguments],
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | clock.environment(),
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return process, json.loads(await process.stdout.readline())


async def test_the_command_says_when_it_is_ready_and_keeps_its_counters(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    arguments = ["--homes", "2", "--directory", str(tmp_path), "--state", str(state)]
    process, ready = await start(*arguments)
    assert ready["ready"]
    assert (ready["homes"], ready["tcp"], ready["rtu"]) == (2, 5, 1)
    homes = json.loads(Path(ready["fleet"]).read_text())
    assert [home["name"] for home in homes] == ["home-01", "home-02"]
    for fields in homes[0]["devices"]:
        spec = DeviceSpec(**(fields | {"role": Role[fields["role"].upper()]}))
        client = await connect(spec)
        assert client.connected
        client.close()
    await asyncio.sleep(1.2)
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    first = json.loads(state.read_text())["homes"]["home-01"]
    assert first["consumed"] > 0
    assert not list(tmp_path.glob("*.tty"))
    process, ready = await start(*arguments)
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 0
    second = json.loads(state.read_text())["homes"]["home-01"]
    assert second["consumed"] >= first["consumed"]
    assert second["at_ns"] > first["at_ns"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "no simulator state"),
        ('{"version": 9, "seed": 7, "homes": {}}', "another version"),
        ('{"version": 1, "seed": 8, "homes": {}}', "seed 8"),
    ],
)
def test_a_state_that_cannot_be_believed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str
) -> None:
    state = tmp_path / "state.json"
    state.write_text(text)
    code = main(
        ["--homes", "1", "--seed", "7", "--directory", str(tmp_path), "--state", str(state)]
    )
    assert code == 1
    assert problem in capsys.readouterr().err
    assert state.read_text() == text


@pytest.mark.parametrize(
    "arguments",
    [["--homes", "0"], ["--base-port", "65530"], ["--faults", "drop=1"], ["--homes", "many"]],
)
def test_a_wrong_command_line_ends_with_advice(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        order_of(["--directory", str(tmp_path), *arguments])
    assert left.value.code == 2
