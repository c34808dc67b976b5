"""Time: nanoseconds since the Unix epoch in UTC, delivery slots of 15 minutes, and the Clock port.

Everything asks a Clock, nothing asks the machine, so that a demo can run a slot in seconds and a
test in none. Device time is evidence; the time in the journal is the truth. A bus or a socket
deadline is physical and uses the event loop's own time, never this clock.
"""

import os
import time
from dataclasses import dataclass
from typing import Protocol

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
SLOT_NS = 15 * MINUTE_NS
"""A delivery slot. Slot n covers [n * SLOT_NS, (n + 1) * SLOT_NS) since the epoch."""

SLOTS_PER_HOUR = 4
SLOTS_PER_DAY = 96
ENVIRONMENT = "GRIDTOKENX_CLOCK"


def slot_at(instant_ns: int) -> int:
    return instant_ns // SLOT_NS


def slot_start_ns(slot: int) -> int:
    return slot * SLOT_NS


def slot_end_ns(slot: int) -> int:
    return (slot + 1) * SLOT_NS


class Clock(Protocol):
    """Where time comes from. `now_ns` may be stepped by an operator, `monotonic_ns` never."""

    def now_ns(self) -> int: ...
    def monotonic_ns(self) -> int: ...
    async def sleep(self, seconds: float) -> None:
        """Waits that long on this clock, so an hour may pass in a minute."""


async def _sleep(seconds: float) -> None:
    # Where somebody sleeps, a loop has it already; who only reckons with times starts without it.
    import asyncio

    await asyncio.sleep(max(0.0, seconds))


class SystemClock:
    """The machine's own time."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    async def sleep(self, seconds: float) -> None:
        await _sleep(seconds)


@dataclass(frozen=True, slots=True)
class ScaledClock:
    """A clock that runs `speed` times as fast as the machine's, the same in every process.

    At the machine's time `anchor_ns` it reads `origin_ns`; processes that are given the same three
    numbers agree with each other.
    """

    speed: float
    anchor_ns: int
    origin_ns: int

    def now_ns(self) -> int:
        return self.origin_ns + int((time.time_ns() - self.anchor_ns) * self.speed)

    def monotonic_ns(self) -> int:
        return int(time.monotonic_ns() * self.speed)

    async def sleep(self, seconds: float) -> None:
        await _sleep(seconds / self.speed)

    def environment(self) -> dict[str, str]:
        """What a child process needs in its environment to read the same time."""
        return {ENVIRONMENT: f"{self.speed}:{self.anchor_ns}:{self.origin_ns}"}


def clock_from_environment() -> Clock:
    """The clock a process was started with: scaled where its parent said so, else the machine's."""
    text = os.environ.get(ENVIRONMENT)
    if not text:
        return SystemClock()
    try:
        speed, anchor, origin = text.split(":")
        return ScaledClock(float(speed), int(anchor), int(origin))
    except ValueError as error:
        raise ValueError(
            f"{ENVIRONMENT}={text!r} is no clock; write speed:anchor_ns:origin_ns or unset it"
        ) from error
