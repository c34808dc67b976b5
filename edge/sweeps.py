"""Samples to sealed columns: the register map, the newest answer of each device, whole batches.

Pure. A device that did not answer keeps the time of its last answer and is marked, so that an old
value never looks fresh. Must never invent a time, a value or a quality.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from edge.devices.device import Point, Sample
from protos.codec import encode_payload
from protos.limits import (
    PAYLOAD_BYTES_MAX,
    REGISTERS_PER_MAP_MAX,
    SWEEPS_PER_BATCH_MAX,
    VALUES_PER_BATCH_MAX,
)
from protos.messages import (
    ClockQuality,
    DeviceEntry,
    Quality,
    QualityMark,
    RegisterEntry,
    RegisterMap,
    SweepBatch,
)

NANOSECONDS_PER_MS = 1_000_000
GONE_AFTER_SWEEPS = 5
"""A device that missed so many sweeps is not late any more, it is not there."""


@dataclass(slots=True)
class Column:
    """One device as the assembler sees it: its newest sample, and how long that has been used."""

    entry: DeviceEntry
    points: tuple[Point, ...]
    at_ms: int = 0
    values: tuple[int, ...] = ()
    qualities: tuple[Quality, ...] = ()
    missed: int = 0
    fresh: bool = False

    def take(self, sample: Sample, qualities: Sequence[Quality]) -> None:
        """A newer answer. A value that is not available repeats the last one."""
        before = self.values or (0,) * len(self.points)
        self.values = tuple(
            old if new is None else new for old, new in zip(before, sample.values, strict=True)
        )
        self.qualities = tuple(qualities)
        self.at_ms = sample.at_ns // NANOSECONDS_PER_MS
        self.fresh = True

    def current(self) -> tuple[Quality, ...]:
        """The qualities of this sweep; afterwards the sample counts as used."""
        if self.fresh:
            self.fresh, self.missed = False, 0
            return self.qualities
        self.missed += 1
        gone = self.missed >= GONE_AFTER_SWEEPS
        worse = Quality.NOT_AVAILABLE if gone else Quality.STALE
        return tuple(own if own is Quality.NOT_AVAILABLE else worse for own in self.qualities)


@dataclass(slots=True)
class Assembler:
    """The columns of all devices that ever answered, and the sweeps not yet sealed."""

    columns: list[Column] = field(default_factory=list)
    _times: list[tuple[int, ...]] = field(default_factory=list)
    _rows: list[tuple[int, ...]] = field(default_factory=list)
    _marks: list[QualityMark] = field(default_factory=list)

    @property
    def sweeps(self) -> int:
        return len(self._rows)

    @property
    def sweeps_max(self) -> int:
        """How many sweeps one batch can carry with these columns."""
        width = sum(len(column.points) + 1 for column in self.columns)
        return max(1, min(SWEEPS_PER_BATCH_MAX, VALUES_PER_BATCH_MAX // max(1, width)))

    def add(self, column: Column) -> None:
        """A device answered for the first time. The sweeps so far must be sealed before this."""
        assert not self._rows
        registers = sum(len(other.points) for other in self.columns) + len(column.points)
        if registers > REGISTERS_PER_MAP_MAX:
            raise ValueError(
                f"{column.entry.name}: {registers} registers, at most {REGISTERS_PER_MAP_MAX}"
                " a gateway; give this device to another gateway"
            )
        self.columns.append(column)

    def register_map(self, map_id: int) -> RegisterMap:
        return RegisterMap(
            map_id,
            tuple(column.entry for column in self.columns),
            tuple(
                RegisterEntry(device, point.quantity, point.phase, point.billing)
                for device, column in enumerate(self.columns)
                for point in column.points
            ),
        )

    def sweep(self) -> None:
        """One row: the newest value of every register, with its marks."""
        row: list[int] = []
        for column in self.columns:
            for offset, quality in enumerate(column.current()):
                if quality is not Quality.GOOD:
                    place = len(row) + offset
                    self._marks.append(QualityMark(len(self._rows), place, quality))
            row.extend(column.values)
        self._times.append(tuple(column.at_ms for column in self.columns))
        self._rows.append(tuple(row))

    def skip(self) -> None:
        """A sweep that is not kept: ages are counted all the same."""
        for column in self.columns:
            column.current()

    def take_payloads(
        self, map_id: int, boot_id: int, monotonic_ms: int, clock: ClockQuality
    ) -> list[bytes]:
        """The collected sweeps as payloads, in order, each within the treaty's size."""
        if not self._rows:
            return []
        batch = SweepBatch(
            map_id,
            boot_id,
            monotonic_ms,
            clock,
            tuple(zip(*self._times, strict=True)),
            tuple(zip(*self._rows, strict=True)),
            tuple(self._marks),
        )
        self.drop()
        return _encoded(batch)

    def drop(self) -> None:
        self._times, self._rows, self._marks = [], [], []


def _encoded(batch: SweepBatch) -> list[bytes]:
    try:
        return [encode_payload(batch)]
    except ValueError:
        if batch.sweeps == 1:
            raise ValueError(
                f"one sweep is more than {PAYLOAD_BYTES_MAX} bytes; use several gateways"
            ) from None
    middle = batch.sweeps // 2
    return _encoded(_part(batch, 0, middle)) + _encoded(_part(batch, middle, batch.sweeps))


def _part(batch: SweepBatch, start: int, end: int) -> SweepBatch:
    return SweepBatch(
        batch.map_id,
        batch.boot_id,
        batch.monotonic_ms,
        batch.clock_quality,
        tuple(column[start:end] for column in batch.times_ms),
        tuple(column[start:end] for column in batch.values),
        tuple(
            QualityMark(mark.sweep - start, mark.register, mark.quality)
            for mark in batch.marks
            if start <= mark.sweep < end
        ),
    )
