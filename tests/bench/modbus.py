"""The Modbus engine's figures: TCP against libmodbus in C, a serial line against its own limit.

The C peers are compiled from this folder; where there is no compiler or no libmodbus, their rows
say so. Ratios are between runs in the same minute, client on one core and server on another.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from edge.devices.catalog import load_profiles
from edge.devices.device import DeviceSpec
from edge.devices.modbus.bus import Bus, BusPool
from edge.devices.modbus.coalesce import Block, overhead_words, plan
from edge.devices.modbus.errors import BusError
from edge.devices.modbus.frames import READ_HOLDING, READ_INPUT
from edge.devices.modbus.timing import Manner, char_s, frame_gap_s
from protos.messages import Role
from tests.bench.parts import part

Row = dict[str, Any]

HERE = Path(__file__).parent
READS = 1000
ROUNDS = 15
"""Many short rounds, ours and the C client's in turn: on a busy machine only neighbours compare."""
PATIENT = Manner(turnaround_s=0.5, step=2)
"""Time to wait for an answer on a machine that does other things as well; costs nothing otherwise."""

SDM630_30 = [
    *range(0x00, 0x24, 2),
    *(0x34, 0x38, 0x3C, 0x3E, 0x42, 0x46, 0x48, 0x4A, 0x4C, 0x4E, 0x156, 0x158),
]
"""Thirty values of an SDM630, two registers each, as in the published comparison."""


def rows() -> list[Row]:
    """All rows of this room; half a minute of one core."""
    with tempfile.TemporaryDirectory() as directory:
        return [
            *_tcp(Path(directory)),
            *_lines(Path(directory)),
            *_hostile(),
            *_models(),
        ]


def row(
    name: str,
    value: float | None,
    unit: str,
    target: float,
    direction: str,
    baseline: str | float | None = None,
    note: str = "",
) -> Row:
    """One figure: at least its target with `max`, at most with `min`."""
    ok = None
    if value is not None:
        ok = value >= target if direction == "max" else value <= target
    return {
        "name": name,
        "value": None if value is None else round(value, 3),
        "unit": unit,
        "target": target,
        "direction": direction,
        "ok": ok,
        "baseline": baseline,
        "note": note,
    }


def compile_peer(directory: Path, name: str, *libraries: str) -> Path | None:
    """A C program of this folder, None where it cannot be compiled."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    program = directory / name
    command = [compiler, "-O2", "-o", str(program), str(HERE / f"{name}.c"), *libraries]
    done = subprocess.run(command, check=False, capture_output=True)
    return program if done.returncode == 0 else None


@contextlib.contextmanager
def core(number: int) -> Iterator[None]:
    """Keeps this process on one core for a while; peers go to the other."""
    before = os.sched_getaffinity(0)
    if number in before:
        os.sched_setaffinity(0, {number})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- TCP -----------------------------------------------------------------------------------------


def _tcp(directory: Path) -> list[Row]:
    names = (
        "tcp sequential, share of libmodbus C",
        "tcp CPU per transaction",
        "tcp 8 in flight, share of libmodbus C",
    )
    peer = compile_peer(directory, "modbus_peer", "-lmodbus")
    if peer is None:
        note = "no C compiler or no libmodbus here"
        return [
            row(names[0], None, "ratio", 0.85, "max", note=note),
            row(names[1], None, "us", 40, "min", note=note),
            row(names[2], None, "ratio", 1, "max", note=note),
        ]
    port = free_port()
    with core(1):
        server = subprocess.Popen([peer, "server", str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        with core(0):
            rounds = [_tcp_round(peer, port) for _ in range(ROUNDS)]
    finally:
        server.kill()
        server.wait()
    ratio = median(ours / theirs for ours, _, _, _, _, theirs in rounds)
    others = median(other / theirs for _, _, _, other, _, theirs in rounds)
    at_once = median(many / theirs for _, _, many, _, _, theirs in rounds)
    ours, cpu, _, _, other_cpu, theirs = (median(column) for column in zip(*rounds, strict=True))
    note = f"60 registers, {ours:.0f}/s against {theirs:.0f}/s, median of {ROUNDS}"
    return [
        row(names[0], ratio, "ratio", 0.85, "max", f"pymodbus {others:.2f}", note),
        row(names[1], cpu, "us", 40, "min", f"pymodbus {other_cpu:.0f}"),
        row(names[2], at_once, "ratio", 1, "max", "pymodbus has one at a time"),
    ]


def _tcp_round(peer: Path, port: int) -> tuple[float, float, float, float, float, float]:
    """(our rate and CPU in us per transaction, our rate with eight questions in flight, pymodbus'
    rate and CPU, the C client's rate).
    """
    done = subprocess.run(
        [peer, "client", str(port), "60", str(READS)], capture_output=True, check=True, text=True
    )
    rate, cpu = asyncio.run(_tcp_ours(port))
    many = asyncio.run(_tcp_at_once(port, 8))
    other_rate, other_cpu = asyncio.run(_tcp_pymodbus(port))
    return rate, cpu, many, other_rate, other_cpu, float(done.stdout)


async def _tcp_ours(port: int) -> tuple[float, float]:
    pool = BusPool()
    bus = pool.bus(DeviceSpec("peer", Role.GRID, "", "tcp", f"127.0.0.1:{port}"))
    bus.introduce(1, PATIENT)
    for _ in range(100):
        await bus.read(1, READ_INPUT, 0, 60)
    cpu, began = process_time(), perf_counter()
    for _ in range(READS):
        words = await bus.read(1, READ_INPUT, 0, 60)
        assert len(words) == 60
    took, cpu = perf_counter() - began, process_time() - cpu
    await pool.close()
    return READS / took, 1e6 * cpu / READS


async def _tcp_at_once(port: int, in_flight: int) -> float:
    """Transactions per second with so many questions open on the one connection."""
    pool = BusPool()
    options = {"in_flight": in_flight}
    bus = pool.bus(DeviceSpec("peer", Role.GRID, "", "tcp", f"127.0.0.1:{port}", options=options))

    bus.introduce(1, PATIENT)

    async def ask(reads: int) -> None:
        for _ in range(reads):
            words = await bus.read(1, READ_INPUT, 0, 60)
            assert len(words) == 60

    await ask(100)
    began = perf_counter()
    await asyncio.gather(*(ask(READS // in_flight) for _ in range(in_flight)))
    took = perf_counter() - began
    await pool.close()
    return READS // in_flight * in_flight / took


async def _tcp_pymodbus(port: int) -> tuple[float, float]:
    from pymodbus.client import AsyncModbusTcpClient

    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    await client.connect()
    for _ in range(100):
        await client.read_input_registers(0, count=60)
    cpu, began = process_time(), perf_counter()
    for _ in range(READS // 2):
        reply = await client.read_input_registers(0, count=60)
        assert len(reply.registers) == 60
    took, cpu = perf_counter() - began, process_time() - cpu
    client.close()
    return READS // 2 / took, 1e6 * cpu / (READS // 2)


# --- the serial line -----------------------------------------------------------------------------


class Line:
    """A paced slave in its own process."""

    def __init__(self, program: Path, baud: int, turnaround_us: int = 0) -> None:
        self.baud = baud
        with core(1):
            self.process = subprocess.Popen(
                [program, str(baud), str(turnaround_us)], stdout=subprocess.PIPE, text=True
            )
        assert self.process.stdout is not None
        self.path = self.process.stdout.readline().strip()

    def spec(self) -> DeviceSpec:
        return DeviceSpec("slave", Role.GRID, "", "rtu", self.path, 1, self.baud)

    def close(self) -> tuple[int, int, float]:
        """(requests, those too early, shortest gap in us)."""
        self.process.terminate()
        out, _ = self.process.communicate(timeout=5)
        requests, early, shortest = out.split()
        return int(requests), int(early), float(shortest)


def ideal_s(baud: int, blocks: list[Block], turnaround_s: float = 0.0) -> float:
    """What the line itself needs: every character, and t3.5 before either frame."""
    return sum(
        (13 + 2 * block.count) * char_s(baud) + 2 * frame_gap_s(baud) + turnaround_s
        for block in blocks
    )


def _lines(directory: Path) -> list[Row]:
    program = compile_peer(directory, "modbus_line")
    if program is None:
        note = "no C compiler here"
        return [row("rtu 9600 baud, 2 registers", None, "% of line", 97, "max", note=note)]
    made: list[Row] = []
    early = 0
    for baud, count, reads, target, baseline in (
        (9600, 2, 60, 97.0, "pymodbus with t3.5: 95.9"),
        (9600, 60, 15, 99.5, "pymodbus with t3.5: 99.7"),
        (19200, 2, 100, 97.0, "pymodbus with t3.5: 91.7"),
    ):
        share, too_early = _share(program, baud, count, reads)
        early += too_early
        name = f"rtu {baud} baud, {count} registers"
        made.append(row(name, share, "% of line", target, "max", baseline))
    made.append(row("frames sent before t3.5", early, "frames", 0, "min", "pymodbus 198 of 201"))
    made.append(_coalescing(program))
    return made


def _share(program: Path, baud: int, count: int, reads: int) -> tuple[float, int]:
    line = Line(program, baud)
    with core(0):
        took = asyncio.run(_read_blocks(line, [Block(10, count)], reads))
    _, early, _ = line.close()
    return 100 * ideal_s(baud, [Block(10, count)]) / took, early


async def _read_blocks(line: Line, blocks: list[Block], rounds: int) -> float:
    """Median seconds of one round over the blocks. Functions alternate, so that neighbouring
    answers differ in shape at the same length.
    """
    pool = BusPool()
    bus = pool.bus(line.spec())
    bus.introduce(1, PATIENT)
    took: list[float] = []
    for n in range(rounds + 1):
        began = perf_counter()
        for index, block in enumerate(blocks):
            function = READ_INPUT if (n + index) % 2 else READ_HOLDING
            words = await bus.read(1, function, block.start, block.count)
            assert words == tuple(range(block.start, block.end))
        took.append(perf_counter() - began)
    await pool.close()
    return median(took[1:])


def _coalescing(program: Path) -> Row:
    blocks = plan([(a, a + 2) for a in SDM630_30], overhead_words(9600, 0.0), 80)
    line = Line(program, 9600)
    with core(0):
        took = asyncio.run(_read_blocks(line, blocks, 5))
        singly = asyncio.run(_read_blocks(line, [Block(a, 2) for a in SDM630_30], 1))
    line.close()
    note = f"{len(blocks)} questions, line limit {1000 * ideal_s(9600, blocks):.0f} ms"
    name, baseline = "30 values of an SDM630 at 9600 baud", f"{1000 * singly:.0f} singly"
    return row(name, 1000 * took, "ms", 232, "min", baseline, note)


# --- wrong values --------------------------------------------------------------------------------


def _hostile() -> list[Row]:
    accepted, asked = asyncio.run(_ours_against_hostile())
    note = f"of {asked} reads: late, doubled, spoilt, cut, foreign, short answers, noise"
    wrong, of = asyncio.run(_pymodbus_against_late())
    baseline = f"pymodbus {wrong} of {of} against late answers only"
    return [row("wrong values accepted", accepted, "values", 0, "min", baseline, note)]


def _models() -> list[Row]:
    """What the shipped profiles are, counted after all of them passed their golden registers."""
    profiles = load_profiles().values()
    makers = {profile.id.split("/")[0] for profile in profiles}
    writes = [write for profile in profiles for write in profile.writes]
    timed = sum(write.failsafe == "device_timer" for write in writes)
    note = f"{len(makers)} makers; {len(writes)} set-points, {timed} with the device's own timer"
    return [row("device models as data files", len(profiles), "files", 40, "max", None, note)]


async def _ours_against_hostile() -> tuple[int, int]:
    hostile = part("devices/conftest.py")
    mischief = ["late", "twice", "corrupt", "cut", "foreign", "noise", "short", "drop"]
    async with hostile.Yard() as yard:
        made = [
            await yard.rtu_over_tcp(mischief=mischief, rate=0.03, seed=100 + n) for n in range(20)
        ] + [await yard.rtu(mischief=mischief, rate=0.03, seed=200 + n) for n in range(5)]
        counts = await asyncio.gather(
            *(_poll(yard.pool.bus(spec), slave, hostile.value_at) for slave, spec in made)
        )
    return sum(wrong for wrong, _ in counts), sum(asked for _, asked in counts)


async def _poll(bus: Bus, slave: Any, value_at: Callable[[int, int], int]) -> tuple[int, int]:
    bus.introduce(1, Manner(turnaround_s=0.001, step=2))
    wrong = 0
    for n in range(400):
        slave.epoch += 1
        address = 10 * (n % 3)
        try:
            words = await bus.read(1, READ_HOLDING, address, 4, 2)
        except BusError as error:
            await asyncio.sleep(getattr(error, "retry_in_s", 0.0))
            continue
        wrong += words != tuple(value_at(slave.epoch, a) for a in range(address, address + 4))
    return wrong, 400


async def _pymodbus_against_late() -> tuple[int, int]:
    """The same kind of slave, late answers only, asked by pymodbus with retries as it comes."""
    try:
        from pymodbus import FramerType
        from pymodbus.client import AsyncModbusTcpClient
        from pymodbus.exceptions import ModbusException
    except ImportError:
        return 0, 0
    hostile = part("devices/conftest.py")
    wrong = 0
    async with hostile.Yard() as yard:
        slave, spec = await yard.rtu_over_tcp(
            mischief=["late"], rate=0.1, seed=7, late_s=(0.15, 0.15)
        )
        host, port = spec.address.split(":")
        client = AsyncModbusTcpClient(
            host, port=int(port), framer=FramerType.RTU, timeout=0.1, retries=3
        )
        await client.connect()
        for n in range(100):
            slave.epoch += 1
            address = 10 * (n % 3)
            try:
                reply = await client.read_holding_registers(address, count=4)
            except ModbusException:
                continue
            words = tuple(getattr(reply, "registers", ()))
            wrong += words != tuple(
                hostile.value_at(slave.epoch, a) for a in range(address, address + 4)
            )
        client.close()
    return wrong, 100


if __name__ == "__main__":
    for line in rows():
        print(line)
