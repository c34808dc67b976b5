"""What every parser gives: rows of exact integers, and the errors that are not rows.

A value is an integer number of millionths of its unit: micro-units of currency per MWh for prices,
W for MW. A parser either returns a page or raises a FeedError; it never drops a line in silence:
what has no value is counted in `absent`. Nothing here fetches anything.
"""

from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

import msgspec

MILLION = 1_000_000
PLACES = 6
SCALES: tuple[int, ...] = tuple(10 ** (PLACES - places) for places in range(PLACES + 1))
PLAIN_DIGITS_MAX = 12
"""Digits before the point: a value in millionths stays far inside 64 bits."""

DIGITS_MAX = 40
"""ERCOT publishes 18 decimals; a longer text is no measurement."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """One value of one interval, as published.

    `place` is a node, hub, zone or area; `item` says what the value is (LMP, MCC, LOAD ...).
    """

    source: str
    report: str
    market: str
    place: str
    item: str
    start_ns: int
    end_ns: int
    value_micro: int
    issued_ns: int = 0
    """When the source made this forecast, where it says so: a later one does not contradict it."""


Key = tuple[str, str, str, str, int, int, int]
"""Market, place, item, report, start, end and issue of a row: what may have one value only."""


@dataclass(slots=True)
class Page:
    """One answer of a source. `announced` is how many entries it says exist, where it says so."""

    rows: list[Row] = field(default_factory=list)
    absent: int = 0
    entries: int = 0
    announced: int | None = None
    following: str | None = None
    """Where the next page is, for sources that page."""

    _seen: dict[Key, int] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the answer lies on another page."""
        return self.following is None and (self.announced in {None, self.entries})

    def keep(self, row: Row, line: int = 0) -> None:
        """Adds a row unless it repeats one. Raises Malformed for another value of the same row."""
        start_ns, end_ns = row.start_ns, row.end_ns
        if end_ns <= start_ns:
            raise Malformed(row.source, "an interval ends before it starts", line)
        seen = self._seen
        key = (row.market, row.place, row.item, row.report, start_ns, end_ns, row.issued_ns)
        before = seen.setdefault(key, row.value_micro)
        if before != row.value_micro:
            raise Contradiction(row.source, row.place, row.item, line)
        if len(seen) > len(self.rows):
            self.rows.append(row)

    def merge(self, other: "Page") -> None:
        """Adds what another file of the same answer holds. Raises Malformed as `keep` does."""
        for row in other.rows:
            self.keep(row)
        self.absent += other.absent
        self.entries += other.entries

    def forget(self) -> None:
        """Lets go of what only the reading of the answer needed."""
        self._seen = {}


class FeedError(Exception):
    """A source's answer holds no rows. The subclass says what to do about it."""

    def __init__(self, source: str, detail: str) -> None:
        super().__init__(f"{source}: {detail}")
        self.source = source
        self.detail = detail


class Throttled(FeedError):
    """Not now: asked too often, or the source is busy. Wait `retry_s` seconds and ask the same again.

    Told by the body: the status may say 200.
    """

    def __init__(self, source: str, retry_s: int, detail: str) -> None:
        super().__init__(source, detail)
        self.retry_s = retry_s


class RequestRefused(FeedError):
    """The source understood the request and refuses it; asking again changes nothing."""

    def __init__(self, source: str, code: str, detail: str) -> None:
        super().__init__(source, f"{code}: {detail}" if code else detail)
        self.code = code


class NoData(RequestRefused):
    """Nothing is published for this selection: not yet, or no longer."""


class Malformed(FeedError):
    """Not what this source publishes; `line` counts from 1 where lines exist."""

    def __init__(self, source: str, detail: str, line: int = 0) -> None:
        super().__init__(source, f"line {line}: {detail}" if line else detail)
        self.line = line


class Contradiction(Malformed):
    """Two values where there can be one: either a damaged file or a column that tells them apart."""

    def __init__(self, source: str, place: str, item: str, line: int) -> None:
        super().__init__(source, f"{place} {item} has two values for one interval", line)


class EmptyBody(Malformed):
    """A publication of no bytes, or of nothing but white space."""

    def __init__(self, source: str) -> None:
        super().__init__(source, "an empty publication")


class NotData(FeedError):
    """A well-formed answer of another kind: a notice, a login page."""


def micro(text: str) -> int:
    """A decimal text as an integer number of millionths, halves to even. Raises ValueError."""
    whole, _, part = text.partition(".")
    digits = whole + part
    if len(part) <= PLACES and len(digits) <= PLAIN_DIGITS_MAX and _is_plain(digits):
        return int(digits) * SCALES[len(part)]
    return _by_decimal(text)


def _is_plain(digits: str) -> bool:
    """Whether int() reads exactly this: ASCII digits after at most one sign."""
    return digits.isascii() and (digits.isdigit() or (digits[:1] == "-" and digits[1:].isdigit()))


def _by_decimal(text: str) -> int:
    if len(text) > DIGITS_MAX:
        raise ValueError(f"{text[:DIGITS_MAX]!r}... is no measurement")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number") from None
    if not value.is_finite() or value.adjusted() >= PLAIN_DIGITS_MAX:
        raise ValueError(f"{text!r} is out of range")
    return int((value * MILLION).to_integral_value(ROUND_HALF_EVEN))
