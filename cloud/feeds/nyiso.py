"""NYISO's public CSV files: Eastern prevailing time, and in price files no word on which hour.

Real-time prices are labelled by the end of their interval; hourly ones (day-ahead, or integrated
real time), loads, load forecasts and all else by its start. On the autumn day the hour from 01:00
is there twice and only the order of the lines tells which is which. NYISO's congestion is
subtracted: LBMP = energy + losses - congestion, and no energy column is given. Reserve prices, fuel
mix and interface flows are long files too: what names the line is a word, every number is a value.
Files may begin with an empty line.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from cloud.feeds.archive import members, table
from cloud.feeds.columns import normal
from cloud.feeds.intervals import EASTERN, HOUR_NS, DoubledHour, NoSuchTime, from_local
from cloud.feeds.rows import Malformed, NoData, Page, Row, micro
from protos.clock import MINUTE_NS

SOURCE = "nyiso"
STAMPS = frozenset({"timestamp", "eventtime", "rtdendtimestamp", "eventstarttime"})
ZONE = "timezone"
NAMES = frozenset({"name", "interfacename", "zonename", "generatorname", "limitingfacility"})
KINDS = frozenset({"fuelcategory", "contingency", "message"})
NUMBERS = frozenset({"ptid", "pointid", "gendptid", "facilityptid"})
"""Columns of numbers that name the line once more."""

OFFSETS = {"EST": False, "EDT": True}
"""Whether the stamp is in daylight time, where a Time Zone column says so."""

PRICE = "LBMP ($/MWHr)"
PRICE_ITEMS = {
    PRICE: "LMP",
    "Marginal Cost Losses ($/MWHr)": "MCL",
    "Marginal Cost Congestion ($/MWHr)": "MCC",
}
FORMATS = ("%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M")

Line = tuple[int, str, int, dict[str, str]]
"""Line number, place, label in UTC, values by item."""


def parse(body: bytes, market: str = "", step_ns: int | None = None) -> Page:
    """A price, load, forecast, reserve or flow file. Raises FeedError.

    `market` DA or RT decides whether a price's label is the start or the end of its interval; by
    default an hourly file is DA and any other RT. `step_ns` is the intervals' length; by default
    the commonest distance of a place's labels.
    """
    page = Page()
    lines: list[Line] = []
    for _, file in members(SOURCE, body):
        lines.extend(_lines(file))
    if not lines:
        raise NoData(SOURCE, "", "a file without lines")
    step = step_ns or _step(lines)
    is_price = "LMP" in lines[0][3]
    named = market or ("RT" if step < HOUR_NS else "DA" if is_price else "")
    ends = is_price and named == "RT" and step < HOUR_NS
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
                raise Malformed(SOURCE, f"{item}: {error}", number) from error
            span = (start_ns, start_ns + step)
            page.rows.append(Row(SOURCE, report, named, place, item, *span, value))
    return page


def _lines(body: bytes) -> Iterator[Line]:
    lines = table(SOURCE, body)
    number, header = next(lines, (0, []))
    names = [cell.strip() for cell in header]
    stamp = next((name for name in names if normal(name) in STAMPS), None)
    if stamp is None:
        raise Malformed(SOURCE, "the header has no Time Stamp", number)
    doubled = DoubledHour(EASTERN)
    for number, cells in lines:
        if len(cells) != len(names):
            raise Malformed(SOURCE, f"{len(cells)} cells under {len(names)}", number)
        entry = dict(zip(names, (cell.strip() for cell in cells), strict=True))
        try:
            yield from _entry(number, entry, stamp, doubled)
        except ValueError as error:
            raise Malformed(SOURCE, str(error), number) from error


def _entry(number: int, entry: dict[str, str], stamp: str, doubled: DoubledHour) -> Iterator[Line]:
    """One line of a long file, or one line a zone of a wide one."""
    label = _label(entry[stamp])
    words = {column: normal(column) for column in entry if column != stamp}
    place = next((entry[column] for column, one in words.items() if one in NAMES), None)
    kind = next((entry[column] for column, one in words.items() if one in KINDS), None)
    zone = next((entry[column] for column, one in words.items() if one == ZONE), None)
    if place is None and kind is None:
        label_ns = _resolved(label, "", zone, doubled)
        for column, one in words.items():
            if one != ZONE:
                yield number, column, label_ns, {"LOAD": entry[column]}
        return
    label_ns = _resolved(label, f"{place}/{kind}", zone, doubled)
    values = {
        PRICE_ITEMS.get(column, column.upper()): entry[column]
        for column, one in words.items()
        if one not in NAMES | KINDS | NUMBERS and one != ZONE
    }
    if kind is not None:
        values = {f"{kind}/{item}": cell for item, cell in values.items()}
    yield number, "NYISO" if place is None else place, label_ns, values


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
