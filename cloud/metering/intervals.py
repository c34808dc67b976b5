"""From a billing meter's running counters to the energy of each delivery slot.

Decides which counter readings are believed and what a slot's energy is worth as evidence. A slot's
energy is the difference of the counter between its two edges; an edge's value is interpolated, in
integers, between the readings around it. It must never integrate power, never let a counter run
backwards and never call an interpolation over a long silence a measurement.

Times are ms UTC as the gateway signed them, energies Wh.
"""

from dataclasses import dataclass
from enum import IntEnum

from protos.clock import SLOT_NS

SLOT_MS = SLOT_NS // 1_000_000
METER_POWER_W_MAX = 250_000
"""No home's connection carries more: about 360 A on three phases. A faster counter is suspect."""

COUNTER_STEP_WH = 1_000
"""Room for meters that count in whole kWh, where one step may come between two close readings."""

EXCHANGE_MS = SLOT_MS
"""Suspect values that agree among themselves this long are a new counter, not a fault."""

GAPS_MAX = 64
"""Long silences kept open for late data, per counter. The oldest is closed first."""

MS_PER_HOUR = 3_600_000


class Grade(IntEnum):
    """How a slot's energy is known. Only MEASURED may mint."""

    OPEN = 0
    """The counter has not reached the slot's end: what is known so far."""

    ESTIMATED = 1
    """Interpolated over a silence longer than a slot, or counted for a part of the slot only."""

    MEASURED = 2


@dataclass(slots=True)
class Gap:
    """A silence of more than a slot between two believed readings. Broken: the counter changed."""

    from_ms: int
    from_wh: int
    to_ms: int
    to_wh: int
    offset_wh: int
    broken: bool


@dataclass(slots=True)
class Candidate:
    """A run of values that do not fit the counter but fit each other. Raw counter values."""

    first_ms: int
    first_wh: int
    last_ms: int
    last_wh: int


def is_plausible(step_wh: int, duration_ms: int) -> bool:
    """Whether a counter can have grown by so much in so long."""
    return 0 <= step_wh <= METER_POWER_W_MAX * duration_ms // MS_PER_HOUR + COUNTER_STEP_WH


class Counter:
    """One running energy register of one meter.

    Values are kept as read plus `offset_wh`, which makes the sequence run on over an exchanged or
    restarted counter: what was counted across the exchange is unknown and taken as nothing.
    """

    __slots__ = (
        "breaks",
        "candidate",
        "edges",
        "first_ms",
        "first_wh",
        "gaps",
        "ignored",
        "last_ms",
        "last_wh",
        "offset_wh",
        "renewed",
    )

    def __init__(self) -> None:
        self.first_ms = -1
        self.first_wh = 0
        self.last_ms = -1
        self.last_wh = 0
        self.offset_wh = 0
        self.ignored = 0
        self.edges: dict[int, int] = {}
        self.gaps: list[Gap] = []
        self.breaks: list[int] = []
        self.candidate: Candidate | None = None
        self.renewed = False

    def add(self, at_ms: int, value_wh: int) -> tuple[int, int] | None:
        """Takes one good reading. Returns the first and last slot whose energy may have changed,
        None if the reading was not believed or said nothing new.
        """
        if self.first_ms < 0:
            return self._begin(at_ms, value_wh)
        last_ms = self.last_ms
        if at_ms <= last_ms:
            return self._fill(at_ms, value_wh) if at_ms < last_ms else None
        if self.renewed:
            return self._restart(value_wh, at_ms, value_wh)
        value = value_wh + self.offset_wh
        if not is_plausible(value - self.last_wh, at_ms - last_ms):
            return self._suspect(at_ms, value_wh)
        self.candidate = None
        before, slot = last_ms // SLOT_MS, at_ms // SLOT_MS
        if before != slot:
            self._join(Gap(last_ms, self.last_wh, at_ms, value, self.offset_wh, broken=False))
        self.last_ms = at_ms
        self.last_wh = value
        return before, slot

    def exchange(self) -> None:
        """The next reading comes from another meter, which goes on from this one's last value."""
        self.renewed = self.first_ms >= 0

    def energy(self, slot: int) -> tuple[int, Grade] | None:
        """A slot's energy in Wh and its grade. None where the evidence was already let go."""
        start = self._edge(slot)
        end = self._edge(slot + 1)
        if start is not None and end is not None:
            tight = start[1] and end[1] and slot not in self.breaks
            return end[0] - start[0], Grade.MEASURED if tight else Grade.ESTIMATED
        start_ms = slot * SLOT_MS
        if self.first_ms < 0 or self.last_ms <= start_ms:
            return 0, Grade.OPEN
        if self.first_ms >= start_ms + SLOT_MS:
            return 0, Grade.ESTIMATED
        if end is None and self.last_ms < start_ms + SLOT_MS:
            return self._so_far(start_ms, start), Grade.OPEN
        if end is not None and self.first_ms > start_ms:
            return end[0] - self.first_wh, Grade.ESTIMATED
        return None

    def forget(self, slot: int) -> None:
        """Lets go of what only slots before `slot` need and of silences that ended before it."""
        limit_ms = slot * SLOT_MS
        if self.gaps and (self.gaps[0].to_ms < limit_ms or len(self.gaps) > GAPS_MAX):
            self.gaps = [gap for gap in self.gaps[-GAPS_MAX:] if gap.to_ms >= limit_ms]

    def trim(self, slot: int) -> None:
        """Drops edges that neither slots from `slot` on, nor the newest, nor any gap can need."""
        floor = min(slot, self.last_ms // SLOT_MS)
        if self.gaps:
            floor = min(floor, self.gaps[0].from_ms // SLOT_MS)
        for edge in [edge for edge in self.edges if edge < floor]:
            del self.edges[edge]
        if self.breaks and self.breaks[0] < floor:
            self.breaks = [broken for broken in self.breaks if broken >= floor]

    def state(self) -> object:
        candidate = self.candidate
        return (
            (self.first_ms, self.first_wh, self.last_ms, self.last_wh, self.offset_wh),
            self.ignored,
            sorted(self.edges.items()),
            [(g.from_ms, g.from_wh, g.to_ms, g.to_wh, g.offset_wh, g.broken) for g in self.gaps],
            list(self.breaks),
            self.renewed,
            candidate
            and (candidate.first_ms, candidate.first_wh, candidate.last_ms, candidate.last_wh),
        )

    def _begin(self, at_ms: int, value_wh: int) -> tuple[int, int]:
        self.first_ms = self.last_ms = at_ms
        self.first_wh = self.last_wh = value_wh
        if at_ms % SLOT_MS == 0:
            self.edges[at_ms // SLOT_MS] = value_wh
        return at_ms // SLOT_MS, at_ms // SLOT_MS

    def _join(self, gap: Gap) -> None:
        """Fixes the edges between two readings, or keeps the silence between them as a gap."""
        first = gap.from_ms // SLOT_MS + 1
        last = gap.to_ms // SLOT_MS
        if gap.to_ms % SLOT_MS == 0:
            self.edges[last] = gap.to_wh
            last -= 1
        if gap.broken:
            self.breaks.extend(range(first - 1, gap.to_ms // SLOT_MS + 1))
        if first > last:
            return
        if gap.broken or gap.to_ms - gap.from_ms > SLOT_MS:
            self.gaps.append(gap)
            self.gaps.sort(key=_gap_start)
            return
        for edge in range(first, last + 1):
            self.edges[edge] = _between(gap, edge * SLOT_MS)

    def _fill(self, at_ms: int, value_wh: int) -> tuple[int, int] | None:
        """Late data: a reading from inside a silence divides it."""
        gap = next((gap for gap in self.gaps if gap.from_ms < at_ms < gap.to_ms), None)
        if gap is None:
            return None
        value = value_wh + gap.offset_wh
        if (
            gap.broken
            or not is_plausible(value - gap.from_wh, at_ms - gap.from_ms)
            or not is_plausible(gap.to_wh - value, gap.to_ms - at_ms)
        ):
            self.ignored += 1
            return None
        self.gaps.remove(gap)
        self._join(Gap(gap.from_ms, gap.from_wh, at_ms, value, gap.offset_wh, broken=False))
        self._join(Gap(at_ms, value, gap.to_ms, gap.to_wh, gap.offset_wh, broken=False))
        return gap.from_ms // SLOT_MS, gap.to_ms // SLOT_MS

    def _suspect(self, at_ms: int, value_wh: int) -> tuple[int, int] | None:
        """A value that cannot be true is set aside, until a whole run of them agrees."""
        self.ignored += 1
        run = self.candidate
        if run is None or not is_plausible(value_wh - run.last_wh, at_ms - run.last_ms):
            self.candidate = Candidate(at_ms, value_wh, at_ms, value_wh)
            return None
        run.last_ms, run.last_wh = at_ms, value_wh
        if at_ms - run.first_ms < EXCHANGE_MS:
            return None
        return self._restart(run.first_wh, at_ms, value_wh)

    def _restart(self, base_wh: int, at_ms: int, value_wh: int) -> tuple[int, int]:
        """The counter was exchanged: its value `base_wh` means what the old one's last value did."""
        last_ms = self.last_ms
        self.offset_wh = self.last_wh - base_wh
        value = value_wh + self.offset_wh
        self._join(Gap(last_ms, self.last_wh, at_ms, value, self.offset_wh, broken=True))
        self.last_ms, self.last_wh = at_ms, value
        self.candidate, self.renewed = None, False
        return last_ms // SLOT_MS, at_ms // SLOT_MS

    def _edge(self, edge: int) -> tuple[int, bool] | None:
        """The counter at the start of slot `edge`, and whether readings within a slot of each
        other enclose it.
        """
        value = self.edges.get(edge)
        if value is not None:
            return value, True
        at_ms = edge * SLOT_MS
        for gap in self.gaps:
            if gap.from_ms < at_ms < gap.to_ms:
                return _between(gap, at_ms), False
        return None

    def _so_far(self, start_ms: int, start: tuple[int, bool] | None) -> int:
        """The slot's energy from a counter that has not reached its end.

        What was counted, spread over the whole slot at the same mean power if at least a third of
        the slot is known; else what was counted and no more: a single step of a coarse counter
        says nothing about a mean.
        """
        base_wh, base_ms = (start[0], start_ms) if start else (self.first_wh, self.first_ms)
        known_wh, known_ms = self.last_wh - base_wh, self.last_ms - base_ms
        return known_wh * SLOT_MS // known_ms if 3 * known_ms >= SLOT_MS else known_wh


def _gap_start(gap: Gap) -> int:
    return gap.from_ms


def _between(gap: Gap, at_ms: int) -> int:
    """Linear between the two readings, rounded down: monotone, so no slot comes out negative."""
    grown = (gap.to_wh - gap.from_wh) * (at_ms - gap.from_ms)
    return gap.from_wh + grown // (gap.to_ms - gap.from_ms)
