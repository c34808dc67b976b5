"""Wrong values accepted: the agent's bus against hostile slaves, in a time that is computed.

The real engine, with its real timeouts, silences and back-offs, runs on an event loop whose clock
jumps to the next timer, over wires that carry octets after the time they take. The slaves are those
of the tests: answers late, doubled, spoilt, cut, short, foreign, swapped, noise between them. What a
register holds changes before every read, so an answer to any other question is a wrong value.

Ten thousand reads a line kind by default; GRIDTOKENX_HOSTILE_READS says how many in all.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from edge.devices.modbus import alarm
from edge.devices.modbus.errors import BusError
from edge.devices.modbus.frames import READ_HOLDING
from edge.devices.modbus.rtu import RtuBus
from edge.devices.modbus.tcp import TcpBus
from edge.devices.modbus.timing import Manner, char_s
from tests.bench.modbus import row
from tests.bench.parts import part
from tests.sim.loop import VirtualLoop

READS = int(os.environ.get("GRIDTOKENX_HOSTILE_READS", "10000"))
SESSION_READS = 500
"""One line with its slave; many of them, each with a seed of its own."""

RATE = 0.05
BAUD = 19_200
UNITS = (1, 2)
SERIAL = ("late", "later", "twice", "corrupt", "cut", "foreign", "noise", "busy", "short", "drop",
          "trickle", "swap")  # fmt: skip
TCP = (
    "late",
    "twice",
    "zero",
    "other",
    "unit",
    "short",
    "split",
    "swap",
    "drop",
    "garbage",
    "reset",
)
KINDS = ("rtu", "rtu_over_tcp", "tcp", "tcp, some ids 0", "tcp, all ids 0")
Row = dict[str, Any]


class Wire:
    """A link of the agent's to a slave; octets keep their order and take their time each way."""

    def __init__(self, baud: int = 0, delay_s: float = 0.0) -> None:
        self.is_open = False
        self.hear: Callable[[bytes], None] = lambda octets: None
        self.opened: Callable[[], None] = lambda: None
        self._char_s = char_s(baud) if baud else 0.0
        self._delay_s = delay_s
        self._free_at = [0.0, 0.0]
        self._number = 0

    async def open(self, on_octets: Any, on_lost: Any) -> None:
        self._on_octets, self._on_lost = on_octets, on_lost
        self._number += 1
        self.is_open = True
        self.opened()

    def write(self, octets: bytes) -> None:
        self._carry(0, octets, self.hear)

    def answer(self, octets: bytes) -> None:
        self._carry(1, octets, self._arrived)

    def _arrived(self, octets: bytes) -> None:
        if self.is_open:
            self._on_octets(octets)

    def _carry(self, way: int, octets: bytes, to: Callable[[bytes], None]) -> None:
        loop, number = asyncio.get_running_loop(), self._number
        start = max(loop.time() + self._delay_s, self._free_at[way])
        self._free_at[way] = start + len(octets) * self._char_s

        def deliver() -> None:
            if self.is_open and number == self._number:
                to(octets)

        loop.call_at(self._free_at[way], deliver)

    def abort(self) -> None:
        """The far side hangs up."""
        if self.is_open:
            self.is_open = False
            self._on_lost("the other side closed the connection")

    def close(self) -> None:
        self.is_open = False


def slaves() -> ModuleType:
    """The hostile slaves of the tests."""
    return part("devices/conftest.py")


@contextlib.contextmanager
def without_kernel_timers() -> Iterator[None]:
    """The kernel knows nothing of computed time; the engine has another way for such machines."""
    before = alarm._kernel_timer
    alarm._kernel_timer = lambda: (None, -1)
    try:
        yield
    finally:
        alarm._kernel_timer = before


def _made(kind: str, seed: int) -> tuple[Any, Any, Any]:
    """(bus, slave, what ends it)."""
    hostile = slaves()
    if kind.startswith("rtu"):
        paced = kind == "rtu"
        wire = Wire(BAUD) if paced else Wire(0, 0.002)
        slave = hostile.SerialSlave(
            wire.answer, mischief=SERIAL, rate=RATE, seed=seed, late_s=(0.02, 0.6)
        )
        wire.hear = slave.octets
        return RtuBus(wire, "line", BAUD, paced=paced), slave, slave.task.cancel
    wire = Wire(0, 0.002)
    slave = hostile.TcpSlave(mischief=TCP, rate=RATE, seed=seed, late_s=(0.3, 2.5))
    slave.zero_ids = kind.endswith("all ids 0")
    if kind.endswith("some ids 0"):
        slave.mischief = ["zero", "late", "swap"]
    peer = [hostile._TcpPeer(slave)]

    class Plug:
        write = staticmethod(wire.answer)
        abort = staticmethod(wire.abort)

    def opened() -> None:
        peer[0] = hostile._TcpPeer(slave)
        peer[0].connection_made(Plug)

    wire.opened = opened
    wire.hear = lambda octets: peer[0].data_received(octets)  # noqa: PLW0108  (another peer later)
    return TcpBus(wire, "gateway", in_flight=1 + seed % 4), slave, lambda: None


async def _session(kind: str, seed: int, reads: int, tally: Counter[str]) -> None:
    """So many reads of one line; adds to right, wrong and refused."""
    bus, slave, end = _made(kind, seed)
    units = UNITS if kind.startswith("rtu") else UNITS[:1]
    for unit in units:
        bus.introduce(unit, Manner(turnaround_s=0.005, step=2))
    value_at = slaves().value_at

    async def ask(number: int) -> None:
        address, count = 10 * (number % 3), (2, 4)[number % 2]
        slave.epoch += 1
        before = slave.epoch
        try:
            words = await bus.read(units[number % len(units)], READ_HOLDING, address, count, 2)
        except BusError as error:
            tally["refused"] += 1
            await asyncio.sleep(getattr(error, "retry_in_s", 0.0) or 0.001)
            return
        # With several questions in flight the slave may see a later epoch, never an earlier one.
        span = range(address, address + count)
        believed = any(
            words == tuple(value_at(epoch, at) for at in span)
            for epoch in range(before, slave.epoch + 1)
        )
        tally["right" if believed else "wrong"] += 1

    at_once = 1 if kind.startswith("rtu") else 1 + seed % 4
    for first in range(0, reads, at_once):
        await asyncio.gather(*(ask(n) for n in range(first, min(reads, first + at_once))))
    await bus.close()
    end()
    for name, count in slave.struck.items():
        tally[name] += count


def struggle(kind: str, reads: int, first_seed: int = 1) -> Counter[str]:
    """right, wrong and refused reads of one kind of line, and how often each mischief struck."""
    tally: Counter[str] = Counter()
    with without_kernel_timers():
        for seed in range(first_seed, first_seed + -(-reads // SESSION_READS)):
            left = min(SESSION_READS, reads - sum(tally[n] for n in ("right", "wrong", "refused")))
            with asyncio.Runner(loop_factory=VirtualLoop) as runner:
                runner.run(_session(kind, seed, left, tally))
    return tally


def rows() -> list[Row]:
    """One row a kind of line, and their sum."""
    made, wrong, asked = [], 0, 0
    began = time.monotonic()
    for kind in KINDS:
        tally = struggle(kind, READS // len(KINDS))
        of = tally["right"] + tally["wrong"] + tally["refused"]
        wrong, asked = wrong + tally["wrong"], asked + of
        struck = of and sum(tally.values()) - of
        note = (
            f"of {of} reads, {struck} of them disturbed; {tally['refused']} refused with an error"
        )
        made.append(_row(f"wrong values accepted, {kind}", tally["wrong"], note))
    note = f"of {asked} reads in computed time, {time.monotonic() - began:.0f} s; in full with"
    note += " GRIDTOKENX_HOSTILE_READS=1000000"
    return [_row("wrong values accepted, all lines", wrong, note), *made]


def _row(name: str, wrong: int, note: str) -> Row:
    return row(name, wrong, "values", 0, "min", "pymodbus 63 of 75 after one stall", note)


if __name__ == "__main__":
    for line in rows():
        print(line["name"], line["value"], line["note"])
