"""Gates that a day of prices passes before it is believed.

Component identity: the price is the sum of its parts; mixed columns, swapped signs and lost parts
break it. Completeness: every interval of the trade day is there once; lost chunks and shifted
clocks break it. Age is judged by what the newest row is about. A gate finds and reports; it never
repairs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cloud.feeds.intervals import Interval
from cloud.feeds.rows import Row

TOTAL = "LMP"
PARTS = frozenset({"MCE", "MCC", "MCL", "MGHG", "ENE", "CONG", "LOSS", "GHG"})
"""Every part a price may have; older files lack the greenhouse part."""

ENERGY = frozenset({"MCE", "ENE"})
TOLERANCE_MICRO = 20
"""Parts are rounded in the fifth decimal each: two units of it."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A price that is not the sum of its parts, or has none. `difference_micro` is price - sum."""

    place: str
    market: str
    start_ns: int
    difference_micro: int | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a span one series covers."""

    expected: int
    missing: tuple[int, ...]
    strangers: tuple[int, ...]
    """Starts that lie outside the span or off its steps."""

    @property
    def is_complete(self) -> bool:
        return not self.missing and not self.strangers


def identity(rows: Iterable[Row], tolerance_micro: int = TOLERANCE_MICRO) -> list[Discrepancy]:
    """Where the price is not the sum of its parts. A price without an energy part is one too."""
    prices: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        if row.item == TOTAL or row.item in PARTS:
            prices.setdefault((row.place, row.market, row.start_ns), []).append(row)
    found = []
    for key, group in prices.items():
        difference = _difference(group)
        if difference is None or abs(difference) > tolerance_micro:
            found.append(Discrepancy(*key, difference))
    return found


def _difference(group: Sequence[Row]) -> int | None:
    total = [row.value_micro for row in group if row.item == TOTAL]
    if len(total) != 1 or not any(row.item in ENERGY for row in group):
        return None
    return total[0] - sum(row.value_micro for row in group if row.item in PARTS)


def coverage(rows: Iterable[Row], span: Interval, step_ns: int) -> Coverage:
    """Which steps of the span the rows of one series hold. Give the rows of one place and item."""
    expected = list(span.steps(step_ns))
    held = {row.start_ns for row in rows if row.end_ns - row.start_ns == step_ns}
    wanted = set(expected)
    return Coverage(
        len(expected),
        tuple(start for start in expected if start not in held),
        tuple(sorted(held - wanted)),
    )


def age_ns(rows: Iterable[Row], at_ns: int) -> int:
    """How long ago the newest interval ended; negative for a forecast. Raises ValueError."""
    return at_ns - max(row.end_ns for row in rows)


def outside(rows: Iterable[Row], lowest_micro: int, highest_micro: int) -> list[Row]:
    """The rows whose value no such quantity has."""
    return [row for row in rows if not lowest_micro <= row.value_micro <= highest_micro]
