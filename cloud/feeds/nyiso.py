"""NYISO's public CSV files: Eastern prevailing time, and in price files no word on which hour.

Real-time prices are labelled by the end of their interval; hourly ones (day-ahead, or integrated
real time), loads, load forecasts and all else by its start. On the autumn day the hour from 01:00
is there twice and only the order of the lines tells which is which. NYISO's congestion is
subtracted: LBMP = energy + losses - congestion, and no energy column is given. Reserve prices, fuel
mix and interface flows are long files too: what names the line is a word, every number is a value.
Files may begin with an empty line. In price files an hourly label has no seconds and a five-minute
one has; the name of a file in a zip tells an integrated real-time price from a day-ahead one.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise

from cloud.feeds.archive import members, table
from cloud.feeds.columns import normal
from cloud.feeds.intervals import EASTERN, HOUR_NS, DoubledHour, NoSuchTime, from_local
from cloud.feeds.rows import Malformed, NoData, NotData, Page, Row, micro
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

PRICE_ITEMS = {"lbmp": "LMP", "marginalcostlosses": "MCL", "marginalcostcongestion": "MCC"}
"""By how a column's normal name starts: files to 2016 break the name off within its unit."""

REPORTS = {
    "lmp": "LBMP",
    "load": "LOAD",
    "integratedload": "LOAD",
    "genmw": "FUEL_MIX",
    "flow": "FLOWS",
    "constraintcost": "CONSTRAINTS",
    "10minspinning": "RESERVES",
}
"""What a line is, by how the normal name of one of its values starts."""

RUNS = {"damlbmp": "DA", "rtlbmp": "RT", "realtime": "RT"}
"""Parts of the names of price files, and their market."""

REAL_TIME_STEP_NS = 5 * MINUTE_NS
FORMATS = ("%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M")


@dataclass(frozen=True, slots=True)
class Line:
    """What one line says of one place, or of one zone of a wide file."""

    number: int
    place: str
    label_ns: int
    values: dict[str, str]
    kind: str = ""
    has_seconds: bool = False


def parse(body: bytes, market: str = "", step_ns: int | None = None) -> Page:
    """A price, load, forecast, reserve or flow file. Raises FeedError.

    `market` DA or RT decides whether a price's label is the start or the end of its interval; by
    default an hourly file is DA and any other RT. `step_ns` is the intervals' length; by default
    the commonest distance of a place's labels.
    """
    page = Page()
    lines: list[Line] = []
    for name, file in members(SOURCE, body):
        lines.extend(_lines(file))
        market = market or next((run for part, run in RUNS.items() if part in name.lower()), "")
    if not lines:
        raise NoData(SOURCE, "", "a file without lines")
    step = step_ns or _step(lines)
    is_price = "LMP" in lines[0].values
    named = market or ("RT" if step < HOUR_NS else "DA" if is_price else "")
    ends = is_price and named == "RT" and step < HOUR_NS
    report = _report(lines[0])
    for line in lines:
        page.entries += 1
        start_ns = line.label_ns - step if ends else line.label_ns
        for item, cell in line.values.items():
            if not cell:
                page.absent += 1
                continue
            try:
                value = micro(cell)
            except ValueError as error:
                raise Malformed(SOURCE, f"{item}: {error}", line.number) from error
            named_item = f"{line.kind}/{item}" if line.kind else item
            span = (start_ns, start_ns + step)
            page.rows.append(Row(SOURCE, report, named, line.place, named_item, *span, value))
    if not page.rows and not page.absent:
        raise NotData(SOURCE, "lines of words without a number")
    return page


def _report(line: Line) -> str:
    found = (
        report
        for start, report in REPORTS.items()
        if any(normal(item).startswith(start) for item in line.values)
    )
    return next(found, "NYISO")


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
                yield Line(number, column, label_ns, {"LOAD": entry[column]})
        return
    label_ns = _resolved(label, f"{place}/{kind}", zone, doubled)
    values = {
        _item(column, one): entry[column]
        for column, one in words.items()
        if one not in NAMES | KINDS | NUMBERS and one != ZONE
    }
    has_seconds = entry[stamp].count(":") > 1
    yield Line(number, place or "NYISO", label_ns, values, kind or "", has_seconds)


@lru_cache(maxsize=256)
def _item(column: str, name: str) -> str:
    return next(
        (item for part, item in PRICE_ITEMS.items() if name.startswith(part)), column.upper()
    )


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
    """The commonest positive distance between labels; a single label of a price tells by its form.

    Raises Malformed for any other single label.
    """
    labels = sorted({line.label_ns for line in lines})
    distances = Counter(after - before for before, after in pairwise(labels))
    if not distances and "LMP" in lines[0].values:
        return REAL_TIME_STEP_NS if lines[0].has_seconds else HOUR_NS
    if not distances:
        raise Malformed(
            SOURCE,
            "one time stamp alone does not say how long an interval is; read it with the day's others",
        )
    commonest = max(distances.values())
    step = min(distance for distance, count in distances.items() if count == commonest)
    if step < MINUTE_NS or step > timedelta(days=1) // timedelta(microseconds=1) * 1_000:
        raise Malformed(
            SOURCE, f"labels {step / 10**9:g} s apart, which no interval of a market is"
        )
    return step
