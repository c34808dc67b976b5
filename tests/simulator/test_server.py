"""Real sockets and terminals: what an independent client reads, exceptions, pacing and faults."""

import asyncio
import contextlib
import os
import shutil
import struct
import termios
import time
import tty
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

from edge.devices.modbus import frames
from edge.devices.modbus.errors import ILLEGAL_ADDRESS
from edge.devices.modbus.timing import char_s, frame_gap_s
from edge.simulator.faults import HONEST, Faults, Mischief, faults_of
from edge.simulator.server import SerialBus, Station, TcpDevice
from edge.simulator.wire import Refused

BAUD = 19_200


class Ruler:
    """A device whose registers hold their own address, so that a slipped answer is seen."""

    def __init__(self) -> None:
        self.written: dict[int, int] = {}

    def read(self, function: int, address: int, count: int, at_ns: int) -> Sequence[int]:
        if address + count > 5_000:
            raise Refused(ILLEGAL_ADDRESS)
        return [self.written.get(a, a) for a in range(address, address + count)]

    def write(self, address: int, words: Sequence[int], at_ns: int) -> None:
        self.written |= {address + index: word for index, word in enumerate(words)}


def station_of(faults: Faults = HONEST) -> Station:
    return Station({1: Ruler(), 7: Ruler()}, lambda: 0, Mischief(faults))


@contextlib.asynccontextmanager
async def tcp(faults: Faults = HONEST) -> AsyncIterator[tuple[str, int, Station]]:
    device = TcpDevice(station_of(faults))
    host, port = (await device.start()).split(":")
    try:
        yield host, int(port), device.station
    finally:
        await device.close()


@contextlib.asynccontextmanager
async def bus(faults: Faults = HONEST, baud: int = BAUD) -> AsyncIterator[tuple[str, Station]]:
    serial = SerialBus(station_of(faults), baud)
    path = serial.start()
    try:
        yield path, serial.station
    finally:
        await serial.close()


class Line:
    """A bare serial client that sees every octet and when it came."""

    def __init__(self, path: str) -> None:
        self.file = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.file)
        self.heard = bytearray()
        self.times: list[float] = []
        asyncio.get_running_loop().add_reader(self.file, self._hear)

    def _hear(self) -> None:
        octets = os.read(self.file, 4_096)
        self.heard += octets
        self.times += [time.monotonic()] * len(octets)

    def ask(self, unit: int, address: int, count: int) -> float:
        pdu = struct.pack(">BHH", 3, address, count)
        began = time.monotonic()
        os.write(self.file, frames.to_rtu(unit, pdu))
        return began

    async def wait(self, octets: int, seconds: float = 2.0) -> bool:
        end = time.monotonic() + seconds
        while len(self.heard) < octets and time.monotonic() < end:
            await asyncio.sleep(0.001)
        return len(self.heard) >= octets

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.file)
        os.close(self.file)


@pytest.fixture
async def line() -> AsyncIterator[list[Line]]:
    opened: list[Line] = []
    yield opened
    for each in opened:
        each.close()


async def exchange(host: str, port: int, octets: bytes, expect: int, seconds: float = 0.5) -> bytes:
    """Sends raw octets and returns what came until `expect` octets, the end or the time."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(octets)
    heard = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(seconds):
            while len(heard) < expect and (more := await reader.read(4_096)):
                heard += more
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return heard


def read_request(transaction: int, address: int, count: int, unit: int = 1) -> bytes:
    return frames.to_tcp(transaction, unit, struct.pack(">BHH", 3, address, count))


# --- TCP -----------------------------------------------------------------------------------------


async def test_pymodbus_reads_and_writes_over_tcp() -> None:
    async with tcp() as (host, port, _):
        client = AsyncModbusTcpClient(host, port=port)
        assert await client.connect()
        reply = await client.read_holding_registers(100, count=125, device_id=7)
        assert reply.registers == list(range(100, 225))
        await client.write_registers(3, [9, 8], device_id=7)
        await client.write_register(5, 7, device_id=7)
        reply = await client.read_input_registers(2, count=5, device_id=7)
        assert reply.registers == [2, 9, 8, 7, 6]
        reply = await client.read_holding_registers(3, count=1, device_id=1)
        assert reply.registers == [3]
        client.close()


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        (struct.pack(">BHH", 3, 4_999, 2), 2),
        (struct.pack(">BHH", 3, 0xFFFF, 2), 2),
        (struct.pack(">BHH", 3, 0, 0), 3),
        (struct.pack(">BHH", 3, 0, 126), 3),
        (struct.pack(">BHHB", 16, 0, 2, 2) + b"\0\0", 3),
        (struct.pack(">BHH", 1, 0, 8), 1),
        (b"\x2b\x0e\x01\x00", 1),
    ],
)
async def test_a_bad_request_gets_the_exception_that_the_standard_names(
    pdu: bytes, code: int
) -> None:
    async with tcp() as (host, port, _):
        heard = await exchange(host, port, frames.to_tcp(9, 1, pdu), 9)
        assert heard == frames.to_tcp(9, 1, bytes((pdu[0] | 0x80, code)))


async def test_an_absent_unit_is_a_silent_gateway_target() -> None:
    async with tcp() as (host, port, _):
        heard = await exchange(host, port, read_request(2, 0, 1, unit=99), 9)
        assert heard == frames.to_tcp(2, 99, b"\x83\x0b")


async def test_requests_in_one_segment_and_in_single_octets_are_all_answered() -> None:
    async with tcp() as (host, port, _):
        requests = b"".join(read_request(n, n, 1) for n in range(50))
        expected = b"".join(frames.to_tcp(n, 1, struct.pack(">BBH", 3, 2, n)) for n in range(50))
        assert await exchange(host, port, requests, len(expected)) == expected
        reader, writer = await asyncio.open_connection(host, port)
        for octet in read_request(5, 5, 1):
            writer.write(bytes((octet,)))
            await writer.drain()
            await asyncio.sleep(0)
        assert await reader.readexactly(11) == frames.to_tcp(5, 1, b"\x03\x02\x00\x05")
        writer.close()


@pytest.mark.parametrize(
    "noise", [b"GET / HTTP/1.1\r\n\r\n", b"\0\1\0\0\xff\xff\1\3", b"\0\1\0\0\0\1\1"]
)
async def test_what_is_no_modbus_ends_the_connection_and_the_server_lives(noise: bytes) -> None:
    async with tcp() as (host, port, _):
        started = time.monotonic()
        assert await exchange(host, port, noise, 1, seconds=5.0) == b""
        assert time.monotonic() - started < 4.0
        assert len(await exchange(host, port, read_request(1, 0, 1), 11)) == 11


async def test_tcp_faults_strike_as_often_as_they_were_asked_to() -> None:
    async with tcp(Faults(drop_every=3)) as (host, port, station):
        requests = b"".join(read_request(n, n, 1) for n in range(9))
        assert len(await exchange(host, port, requests, 99, 0.5)) == 6 * 11
        station.mischief.faults = Faults(zero_tid=1)
        assert (await exchange(host, port, read_request(77, 5, 1), 11))[:2] == b"\0\0"
        station.mischief.faults = Faults(duplicate_every=1)
        heard = await exchange(host, port, read_request(77, 5, 1), 22)
        assert heard[:11] == heard[11:]
        station.mischief.faults = Faults(short_every=1)
        assert len(await exchange(host, port, read_request(77, 5, 4), 17, 0.5)) == 15
        station.mischief.faults = Faults(busy_every=1)
        assert (await exchange(host, port, read_request(77, 5, 4), 9))[7:] == b"\x83\x06"
        station.mischief.faults = Faults(reset_every=1)
        assert await exchange(host, port, read_request(77, 5, 4), 1) == b""
        station.mischief.faults = Faults(split_every=1)
        assert len(await exchange(host, port, read_request(77, 5, 1), 11)) == 11


async def test_a_stalled_reply_comes_late_and_the_next_one_after_it() -> None:
    async with tcp(Faults(stall_every=2, stall_ms=150)) as (host, port, _):
        started = time.monotonic()
        heard = await exchange(host, port, b"".join(read_request(n, n, 1) for n in range(3)), 33, 2)
        assert time.monotonic() - started >= 0.15
        assert [heard[i] for i in (1, 12, 23)] == [0, 1, 2]


async def test_a_device_for_one_client_ends_the_second_connection() -> None:
    async with tcp(Faults(single_client=1)) as (host, port, _):
        _, first = await asyncio.open_connection(host, port)
        await asyncio.sleep(0.05)
        assert await exchange(host, port, read_request(1, 0, 1), 11) == b""
        first.close()
        await first.wait_closed()
        await asyncio.sleep(0.05)
        assert len(await exchange(host, port, read_request(1, 0, 1), 11)) == 11


# --- serial --------------------------------------------------------------------------------------


async def test_pymodbus_reads_over_a_terminal() -> None:
    async with bus() as (path, _):
        client = AsyncModbusSerialClient(path, baudrate=BAUD, parity="N")
        assert await client.connect()
        for address in (0, 60, 4_000):
            reply = await client.read_holding_registers(address, count=30, device_id=7)
            assert reply.registers == list(range(address, address + 30))
            await asyncio.sleep(0.01)
        client.close()


@pytest.mark.parametrize("baud", [9_600, 19_200])
async def test_a_reply_takes_as_long_as_the_line_needs_and_never_less(
    line: list[Line], baud: int
) -> None:
    async with bus(baud=baud) as (path, _):
        line.append(client := Line(path))
        began = client.ask(1, 10, 30)
        assert await client.wait(65)
        ideal = (8 + 65) * char_s(baud) + frame_gap_s(baud)
        taken = client.times[-1] - began
        assert ideal - 0.0005 <= taken <= ideal + 0.3
        for place, at in enumerate(client.times):
            passed = (8 + place + 1) * char_s(baud) + frame_gap_s(baud)
            assert at - began >= passed - char_s(baud) * 0.1


async def test_another_units_request_and_a_broken_one_are_met_with_silence(
    line: list[Line],
) -> None:
    async with bus() as (path, _):
        line.append(client := Line(path))
        client.ask(44, 0, 1)
        await asyncio.sleep(0.05)
        os.write(client.file, b"\x01\x03\x00\x00\x00\x01\xff\xff")
        await asyncio.sleep(0.05)
        os.write(client.file, b"\x01\x03\x00")
        await asyncio.sleep(0.05)
        assert not client.heard
        client.ask(1, 6, 1)
        assert await client.wait(7)
        assert bytes(client.heard) == frames.to_rtu(1, b"\x03\x02\x00\x06")


async def test_a_strict_slave_loses_what_comes_before_the_silence(line: list[Line]) -> None:
    async with bus(Faults(strict_gap=1)) as (path, station):
        line.append(client := Line(path))
        client.ask(1, 5, 1)
        client.ask(1, 6, 1)
        assert not await client.wait(14, 0.1)
        assert station.mischief.early_requests == 1
        client.ask(1, 7, 1)
        assert await client.wait(14)
        assert [client.heard[i] for i in (4, 11)] == [5, 7]


async def test_a_stalled_slave_answers_everything_it_received_later(line: list[Line]) -> None:
    async with bus(Faults(stall_every=2, stall_ms=80)) as (path, _):
        line.append(client := Line(path))
        client.ask(1, 1, 1)
        assert await client.wait(7)
        await asyncio.sleep(0.01)
        client.ask(1, 2, 1)
        await asyncio.sleep(0.03)
        client.ask(1, 3, 1)
        assert await client.wait(21)
        assert [client.heard[i] for i in (4, 11, 18)] == [1, 2, 3]


async def test_serial_faults_spoil_the_reply(line: list[Line]) -> None:
    async with bus(Faults(bad_crc_every=1)) as (path, station):
        line.append(client := Line(path))
        client.ask(1, 1, 1)
        assert await client.wait(7)
        with pytest.raises(frames.Malformed):
            frames.next_rtu_reply(bytes(client.heard))
        for faults, octets in ((Faults(duplicate_every=1), 14), (Faults(garbage_every=1), 19)):
            await asyncio.sleep(0.02)
            client.heard.clear()
            station.mischief.faults = faults
            client.ask(1, 1, 1)
            assert await client.wait(octets)
        station.mischief.faults = Faults(drop_every=1)
        await asyncio.sleep(0.02)
        client.heard.clear()
        client.ask(1, 1, 1)
        assert not await client.wait(1, 0.1)


async def test_a_late_duplicate_meets_the_next_question(line: list[Line]) -> None:
    async with bus(Faults(duplicate_every=2, duplicate_ms=40)) as (path, _):
        line.append(client := Line(path))
        for address in (1, 2):
            client.ask(1, address, 1)
            assert await client.wait(7 * address)
            await asyncio.sleep(0.01)
        client.ask(1, 3, 1)
        assert await client.wait(28)
        assert [client.heard[i] for i in (4, 11, 18, 25)] == [1, 2, 2, 3]


async def test_a_babbling_line_is_forgotten_after_the_first_silence(line: list[Line]) -> None:
    async with bus(baud=115_200) as (path, _):
        line.append(client := Line(path))
        for _ in range(20):
            os.write(client.file, b"\x01" * 500)
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.6)
        client.ask(1, 6, 1)
        assert await client.wait(7)


async def test_a_link_names_the_terminal_while_it_is_open(tmp_path: Path) -> None:
    serial = SerialBus(station_of())
    link = tmp_path / "meter.tty"
    link.symlink_to("/dev/null")
    assert serial.start(link) == str(link)
    with link.open("rb", buffering=0) as terminal:
        assert termios.tcgetattr(terminal)
    await serial.close()
    assert not link.is_symlink()


@pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is not installed")
async def test_mbpoll_reads_both_wires() -> None:
    async with tcp() as (host, port, _), bus() as (path, _):
        for wire in (
            ["-m", "tcp", "-p", str(port), host],
            ["-m", "rtu", "-b", str(BAUD), "-P", "none", path],
        ):
            process = await asyncio.create_subprocess_exec(
                *["mbpoll", "-0", "-1", "-q", "-a", "7", "-t", "4", "-r", "1000", "-c", "3", *wire],
                stdout=asyncio.subprocess.PIPE,
            )
            text = (await process.communicate())[0].decode()
            assert process.returncode == 0, text
            assert [line.split()[1] for line in text.splitlines() if line.startswith("[")] == [
                "1000",
                "1001",
                "1002",
            ]


# --- faults as text ------------------------------------------------------------------------------


def test_faults_are_read_from_text_and_a_slip_is_refused_with_the_nearest_name() -> None:
    assert faults_of("stall_every=25,stall_ms=3300") == Faults(stall_every=25, stall_ms=3_300)
    assert faults_of("") == HONEST
    with pytest.raises(ValueError, match="the nearest is 'stall_every'"):
        faults_of("stal_every=1")
    with pytest.raises(ValueError, match="whole number"):
        faults_of("drop_every=often")
