"""How many prices CAISO corrected after it had published them (the group report PRC_CORR_GRP).

A line is a trade date, an hour by Pacific time, a market, an area and a count; without an hour it is
about the whole trade date. Counts of one interval, method and kind of energy are added. A line that
says that there was nothing to correct has no value.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date

from cloud.feeds.columns import index_of, is_nothing
from cloud.feeds.intervals import PACIFIC, Interval, operating_hour, trade_day
from cloud.feeds.rows import MILLION, Malformed, Page, Row

SOURCE = "caiso"
REPORT = "PRC_CORR"
DAY, HOUR, COUNT = "TRADE_DATE", "HOUR_ENDING", "CORRECTION_COUNT"
WORDS = ("ENERGY_TYPECODE", "CORRECTION_METHOD", "INTERVAL")
NOTHING_SAID = "no records found"

Key = tuple[str, str, str, int, int]


def is_corrections(names: Sequence[str]) -> bool:
    return min(index_of(names, [one]) for one in (DAY, HOUR, COUNT)) >= 0


def rows(names: Sequence[str], lines: Iterator[tuple[int, list[str]]]) -> Page:
    """The page of one file. Raises Malformed."""
    page = Page()
    counts: Counter[Key] = Counter()
    columns = {name: index_of(names, [name]) for name in (DAY, HOUR, COUNT, *WORDS)}
    columns |= {name: index_of(names, [name]) for name in ("MARKET", "AFFECTED_AREA")}
    for number, line in lines:
        if len(line) != len(names):
            raise Malformed(SOURCE, f"{len(line)} cells under {len(names)} columns", number)
        page.entries += 1
        told = {name: line[at].strip() if at >= 0 else "" for name, at in columns.items()}
        if is_nothing(told[COUNT]) or NOTHING_SAID in "".join(line).lower():
            page.absent += 1
            continue
        try:
            span = _span(told[DAY], told[HOUR])
            count = int(told[COUNT].removesuffix(".0"))
        except ValueError as error:
            raise Malformed(SOURCE, str(error), number) from error
        item = "/".join(told[name] for name in WORDS if told[name])
        key = (told["MARKET"], told["AFFECTED_AREA"], item, span.start_ns, span.end_ns)
        counts[key] += count
    for (market, place, item, start_ns, end_ns), count in counts.items():
        page.keep(Row(SOURCE, REPORT, market, place, item, start_ns, end_ns, count * MILLION))
    return page


def _span(day_text: str, hour_text: str) -> Interval:
    """The hour, or the whole trade date where none is named. Raises ValueError."""
    day = date.fromisoformat(day_text[:10])
    if is_nothing(hour_text):
        return trade_day(day, PACIFIC)
    return operating_hour(day, int(hour_text.removesuffix(".0")))
