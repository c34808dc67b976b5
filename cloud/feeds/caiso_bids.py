"""The bids that CAISO publishes ninety days late (PUB_BID, day-ahead and real-time), as rows.

A bid curve is a list of points: MW where a step begins and its price. Each point is two rows, whose
item is `product/number/MW` and `product/number/PRICE`; numbers count from 1 in order of MW. A self
schedule is `product/SELFSCHED`, with its kind after it where one is named, and the bounds of the
stored energy at the hour's end are `SOC_MIN` and `SOC_MAX` in MWh. The place is the resource's
number, since names are masked. In CAISO's sign a negative MW charges.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from sys import intern

from cloud.feeds.columns import index_of, is_nothing
from cloud.feeds.intervals import to_ns
from cloud.feeds.rows import Malformed, Page, Row, micro

SOURCE = "caiso"
REPORT = "PUB_BID"
X, Y = "SCH_BID_XAXISDATA", "SCH_BID_Y1AXISDATA"
HOUR = ("TIMEINTERVALSTART_GMT", "TIMEINTERVALEND_GMT")
CURVE = ("SCH_BID_TIMEINTERVALSTART_GMT", "SCH_BID_TIMEINTERVALSTOP_GMT")
DAY = ("STARTTIME_GMT", "STOPTIME_GMT")
"""A line tells its time in one of these pairs and leaves the others empty."""

SELF = "SELFSCHED"
SINGLE = {
    "SELFSCHEDMW": SELF,
    "MINEOHSTATEOFCHARGE": "SOC_MIN",
    "MAXEOHSTATEOFCHARGE": "SOC_MAX",
}

Curve = tuple[str, str, str, int, int]


def is_bids(names: Sequence[str]) -> bool:
    return index_of(names, [X]) >= 0 and index_of(names, [Y]) >= 0


@dataclass(frozen=True, slots=True)
class Columns:
    """Where each thing stands in a line; -1 where it does not."""

    market: int
    place: int
    product: int
    hour: tuple[tuple[int, int], ...]
    curve: tuple[tuple[int, int], ...]
    described: int
    x: int
    y: int
    single: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, names: Sequence[str]) -> "Columns":
        hour, curve, day = (
            (index_of(names, (start,)), index_of(names, (end,)))
            for start, end in (HOUR, CURVE, DAY)
        )
        if max(min(hour), min(curve)) < 0:
            raise Malformed(SOURCE, "bids without the GMT times of their hour", 1)
        return cls(
            index_of(names, ("MARKET_RUN_ID", "MARKETTYPE")),
            index_of(names, ("RESOURCEBID_SEQ", "RESOURCE_ID")),
            index_of(names, ("MARKETPRODUCTTYPE",)),
            (hour, curve, day),
            (curve, hour, day),
            index_of(names, ("PRODUCTBID_DESC",)),
            index_of(names, (X,)),
            index_of(names, (Y,)),
            tuple((index_of(names, (column,)), kind) for column, kind in SINGLE.items()),
        )


def rows(names: Sequence[str], lines: Iterator[tuple[int, list[str]]]) -> Page:
    """The page of one file. Raises Malformed."""
    page = Page()
    columns = Columns.of(names)
    curves: dict[Curve, dict[int, int]] = {}
    for number, line in lines:
        if len(line) != len(names):
            raise Malformed(SOURCE, f"{len(line)} cells under {len(names)} columns", number)
        page.entries += 1
        try:
            if not _line(columns, line, page, curves, number):
                page.absent += 1
        except ValueError as error:
            raise Malformed(SOURCE, str(error), number) from error
    for (market, place, product, start_ns, end_ns), points in curves.items():
        for count, mw in enumerate(sorted(points), start=1):
            for kind, value in (("MW", mw), ("PRICE", points[mw])):
                item = intern(f"{product}/{count}/{kind}")
                page.keep(Row(SOURCE, REPORT, market, place, item, start_ns, end_ns, value))
    return page


def _line(
    columns: Columns,
    line: Sequence[str],
    page: Page,
    curves: dict[Curve, dict[int, int]],
    number: int,
) -> bool:
    """Takes one line apart; whether it said anything. Raises ValueError."""
    market, place = _cell(line, columns.market), _cell(line, columns.place)
    product = _cell(line, columns.product) or "EN"
    said = False
    x, y = _cell(line, columns.x), _cell(line, columns.y)
    if not is_nothing(x) and not is_nothing(y):
        span = _span(line, columns.curve)
        points = curves.setdefault((market, place, product, *span), {})
        mw, price = micro(x), micro(y)
        # Two points of one MW are a step of no width: the dearer one is where the next begins.
        points[mw] = max(price, points.get(mw, price))
        said = True
    for column, kind in columns.single:
        value = _cell(line, column)
        if not is_nothing(value):
            described = _cell(line, columns.described) if kind == SELF else ""
            item = intern("/".join(one for one in (product, kind, described) if one))
            span = _span(line, columns.hour)
            page.keep(Row(SOURCE, REPORT, market, place, item, *span, micro(value)), number)
            said = True
    return said


def _cell(line: Sequence[str], column: int) -> str:
    return intern(line[column].strip()) if column >= 0 else ""


def _span(line: Sequence[str], pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The first of these times that the line has. Raises ValueError."""
    for start, end in pairs:
        if _cell(line, start) and _cell(line, end):
            return _instant(line[start]), _instant(line[end])
    raise ValueError("a bid without the GMT times of its hour")


@lru_cache(maxsize=512)
def _instant(label: str) -> int:
    return to_ns(datetime.fromisoformat(label))
