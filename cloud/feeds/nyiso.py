"""NYISO's public CSV files: Eastern prevailing time, and in price files no word on which hour.

Zonal prices are labelled by the end of their interval in real time and by its start day-ahead;
loads and load forecasts by their start. On the autumn day the hour from 01:00 is there twice and
only the order of the lines tells which is which. NYISO's congestion is subtracted:
LBMP = energy + losses - congestion, and no energy column is given. Files may begin with an empty
line.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from cloud.feeds.archive import members, table
from cloud.feeds.intervals import EASTERN, DoubledHour, NoSuchTime, from_local
from cloud.feeds.rows import Malformed, NoData, Page, Row, micro
from protos.clock import MINUTE_NS

SOURCE = "nyiso"
STAMP = "Time Stamp"
NAMES = ("Name", "PTID")
OFFSETS = {"EST": False, "EDT": True}
"""Whether the stamp is in daylight time, where a Time Zone column says so."""

PRICE_ITEMS = {
    "LBMP ($/MWHr)": "LMP",
    "Marginal Cost Losses ($/MWHr)": "MCL",
    "Marginal Cost Congestion ($/MWHr)": "MCC",
}
FORMATS = ("%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M")

Line = tuple[int, str, int, dict[str, str]]
"""Line number, place, label in UTC, values by item."""


def parse(body: bytes, market: str = "RT", step_ns: int | None = None) -> Page:
    """A price, load or forecast file. Raises FeedError.

    `market` DA or RT decides whether a price's label is the start or the end of its interval.
    `step_ns` is the intervals' length; by default the commonest distance of a place's labels.
    """
    page = Page()
    lines: list[Line] = []
    for _, file in members(SOURCE, body):
        lines.extend(_lines(file))
    if not lines:
        raise NoData(SOURCE, "", "a file without lines")
    step = step_ns or _step(lines)
    is_price = "LMP" in lines[0][3]
    ends = is_price and market == "RT"
    report = "LBMP" if is_price else "LOAD"
    for number, place, label_ns, values in lines:
        page.entries += 1
        start_ns = label_ns - step if ends else label_ns
        for item, cell in values.items():
            if not cell:
                page.absent += 1
                continue
            try:
                value = micro(cell)
            except ValueError as error:
                raise Malformed(SOURCE, str(error), number) from error
            span = (start_ns, start_ns + step)
            page.rows.append(Row(SOURCE, report, market, place, item, *span, value))
    return page


def _lines(body: bytes) -> Iterator[Line]:
    lines = table(SOURCE, body)
    number, header = next(lines, (0, []))
    names = [cell.strip() for cell in header]
    if not names or names[0] != STAMP:
        raise Malformed(SOURCE, f"the header does not begin with {STAMP}", number)
    doubled = DoubledHour(EASTERN)
    for number, cells in lines:
        if len(cells) != len(names):
            raise Malformed(SOURCE, f"{len(cells)} cells under {len(names)}", number)
        entry = dict(zip(names, (cell.strip() for cell in cells), strict=True))
        try:
            yield from _entry(number, entry, doubled)
        except ValueError as error:
            raise Malformed(SOURCE, str(error), number) from error


def _entry(number: int, entry: dict[str, str], doubled: DoubledHour) -> Iterator[Line]:
    """One line of a long file, or one line a zone of a wide one."""
    label = _label(entry[STAMP])
    if "Name" not in entry:
        label_ns = doubled.resolve("", label)
        for place, cell in entry.items():
            if place != STAMP:
                yield number, place, label_ns, {"LOAD": cell}
        return
    place = entry["Name"]
    label_ns = _resolved(label, place, entry.get("Time Zone"), doubled)
    values = {
        PRICE_ITEMS.get(column, column.upper()): cell
        for column, cell in entry.items()
        if column not in {STAMP, "Time Zone", *NAMES}
    }
    yield number, place, label_ns, values


def _resolved(label: datetime, place: str, zone: str | None, doubled: DoubledHour) -> int:
    """The label in UTC, by its own zone where the file has one. Raises NoSuchTime."""
    if zone is None:
        return doubled.resolve(place, label)
    if zone not in OFFSETS:
        raise ValueError(f"{zone!r} is neither EST nor EDT")
    for repeated in (False, True):
        try:
            label_ns = from_local(label, EASTERN, repeated=repeated)
        except NoSuchTime:
            continue
        moment = datetime.fromtimestamp(label_ns // 1_000_000_000, tz=EASTERN)
        if bool(moment.dst()) == OFFSETS[zone]:
            return label_ns
    raise NoSuchTime(f"{label} {zone}", EASTERN)


def _label(stamp: str) -> datetime:
    for form in FORMATS:
        try:
            return datetime.strptime(stamp, form)  # noqa: DTZ007 - the zone comes after
        except ValueError:
            continue
    raise ValueError(f"{stamp!r} is no time stamp")


def _step(lines: Sequence[Line]) -> int:
    """The commonest positive distance between labels. Raises Malformed for a single label."""
    labels = sorted({label_ns for _, _, label_ns, _ in lines})
    distances = Counter(after - before for before, after in pairwise(labels))
    if not distances:
        raise Malformed(SOURCE, "one time stamp alone does not say how long an interval is")
    commonest = max(distances.values())
    step = min(distance for distance, count in distances.items() if count == commonest)
    if step < MINUTE_NS or step > timedelta(days=1) // timedelta(microseconds=1) * 1_000:
        raise Malformed(SOURCE, f"an interval of {step} ns")
    return step
