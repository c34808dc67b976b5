"""One home's billing meter: its import and export counters and what became of them per slot.

Decides which values of a batch reach the counters: GOOD ones of the billed columns, nothing else.
It must never fill a missing value with a neighbour's.
"""

from collections.abc import Sequence

from cloud.metering.columns import NONE, MapPlan
from cloud.metering.intervals import Counter, Grade
from protos.messages import Quality, QualityMark, SweepBatch

Row = tuple[int, int, Grade]
"""Import Wh, export Wh and the poorer grade of the two."""


class Meter:
    """The two counters behind one grid connection. A meter may lack one of them: it reads zero."""

    __slots__ = ("changed", "exported", "identity", "imported")

    def __init__(self) -> None:
        self.identity = ""
        self.imported: Counter | None = None
        self.exported: Counter | None = None
        self.changed: tuple[int, int] | None = None

    def record(self, plan: MapPlan, batch: SweepBatch, oldest_ms: int = 0) -> None:
        """Takes a batch whose shape fits the plan. Readings before `oldest_ms` are left out: they
        are settled no more, and one from 1970 would be a silence of two million slots.
        """
        if plan.meter != self.identity:
            self._attach(plan)
        times = batch.times_ms[plan.meter_device]
        for column, counter in (
            (plan.import_column, self.imported),
            (plan.export_column, self.exported),
        ):
            if column == NONE or counter is None:
                continue
            bad = _bad_sweeps(batch.marks, column) if batch.marks else frozenset()
            for sweep, at_ms in enumerate(times):
                if at_ms >= oldest_ms and sweep not in bad:
                    self._add(counter, at_ms, batch.values[column][sweep])

    def passed_ms(self) -> int:
        """Up to when every counter is known; -1 before the first reading."""
        known = [c.last_ms for c in (self.imported, self.exported) if c is not None]
        return min(known, default=-1)

    def row(self, slot: int) -> Row | None:
        """The slot's energies, or None where the evidence was let go."""
        if self.imported is None and self.exported is None:
            return 0, 0, Grade.OPEN
        imported = self.imported.energy(slot) if self.imported else (0, Grade.MEASURED)
        exported = self.exported.energy(slot) if self.exported else (0, Grade.MEASURED)
        if imported is None or exported is None:
            return None
        return imported[0], exported[0], min(imported[1], exported[1])

    def forget(self, horizon: int, needed: int) -> None:
        """Silences before slot `horizon` are closed, edges before slot `needed` dropped."""
        for counter in (self.imported, self.exported):
            if counter is not None:
                counter.forget(horizon)
                counter.trim(needed)

    def ignored(self) -> int:
        """How many values were not believed."""
        return sum(c.ignored for c in (self.imported, self.exported) if c is not None)

    def state(self) -> object:
        return (
            self.identity,
            self.imported and self.imported.state(),
            self.exported and self.exported.state(),
            self.changed,
        )

    def _attach(self, plan: MapPlan) -> None:
        """The first meter, or one that took its place."""
        for counter in (self.imported, self.exported):
            if counter is not None:
                counter.exchange()
        self.identity = plan.meter
        if plan.import_column != NONE and self.imported is None:
            self.imported = Counter()
        if plan.export_column != NONE and self.exported is None:
            self.exported = Counter()

    def _add(self, counter: Counter, at_ms: int, value_wh: int) -> None:
        touched = counter.add(at_ms, value_wh)
        if touched is not None:
            low, high = self.changed or touched
            self.changed = (min(low, touched[0]), max(high, touched[1]))


def _bad_sweeps(marks: Sequence[QualityMark], column: int) -> frozenset[int]:
    return frozenset(
        mark.sweep for mark in marks if mark.register == column and mark.quality is not Quality.GOOD
    )
