"""CAISO's OASIS reports, CSV or XML, alone or in a zip, and the daily renewables text.

Reads PRC_LMP, PRC_RTPD_LMP, PRC_INTVL_LMP and their like, SLD_FCST, SLD_REN_FCST, ENE_SLRS: the
columns tell the report, because names vary by report. The GMT stamps are the truth; OPR_DT and
OPR_HR only repeat them. OASIS reports errors inside a zip with HTTP 200: code 1000 is `NoData`,
every other code `RequestRefused`. Rows come unsorted and repeat at window edges; a repetition with
the same value is dropped, one with another value is Malformed.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from sys import intern
from xml.etree import ElementTree as ET

from cloud.feeds.archive import members, safe_xml, table, text
from cloud.feeds.intervals import PACIFIC, NoSuchTime, hour_interval, to_ns
from cloud.feeds.rows import EmptyBody, Malformed, NoData, Page, RequestRefused, Row, micro

SOURCE = "caiso"
NO_DATA = "1000"

STARTS = ("INTERVALSTARTTIME_GMT", "INTERVAL_START_GMT", "STARTTIME_GMT", "START_DATE_GMT")
ENDS = ("INTERVALENDTIME_GMT", "INTERVAL_END_GMT", "ENDTIME_GMT", "END_DATE_GMT")
VALUES = ("MW", "PRC", "VALUE")
PLACES = ("NODE", "NODE_ID", "RESOURCE_NAME", "TAC_AREA_NAME", "TRADING_HUB", "ANC_REGION")
"""The first of these columns that a report has is its place; XML uses the later ones."""

ITEMS = ("LMP_TYPE", "RENEWABLE_TYPE", "ANC_TYPE", "DATA_ITEM", "XML_DATA_ITEM")
MARKETS = ("MARKET_RUN_ID", "MKT_TYPE", "EXECUTION_TYPE")

REPORTS = {"LMP_TYPE": "LMP", "RENEWABLE_TYPE": "SLD_REN_FCST", "TAC_AREA_NAME": "SLD_FCST"}
WATCH_HEADER = "Hourly Breakdown of Renewable Resources"

Key = tuple[str, str, str, str, int]


def parse(body: bytes) -> Page:
    """Any OASIS answer. Raises FeedError."""
    page = Page()
    seen: dict[Key, int] = {}
    for _, file in members(SOURCE, body):
        if not file.strip():
            raise EmptyBody(SOURCE)
        if file.lstrip()[:1] == b"<":
            _xml(file, page, seen)
        else:
            _csv(file, page, seen)
    if not page.rows and not page.absent:
        raise NoData(SOURCE, "", "a report without rows")
    return page


@lru_cache(maxsize=4_096)
def _instant(label: str) -> int:
    return to_ns(datetime.fromisoformat(label))


def _column(header: Mapping[str, int], names: tuple[str, ...]) -> int:
    return next((header[name] for name in names if name in header), -1)


def _csv(body: bytes, page: Page, seen: dict[Key, int]) -> None:
    lines = table(SOURCE, body)
    _, names = next(lines, (0, []))
    header = {name.strip(): index for index, name in enumerate(names)}
    start, end = _column(header, STARTS), _column(header, ENDS)
    value, place = _column(header, VALUES), _column(header, PLACES)
    item, market = _column(header, ITEMS), _column(header, MARKETS)
    if min(start, end, value) < 0:
        raise Malformed(SOURCE, f"no OASIS report has the columns {', '.join(names)[:200]}", 1)
    report = next((name for column, name in REPORTS.items() if column in header), "OASIS")
    width = len(names)
    for number, line in lines:
        if len(line) != width:
            raise Malformed(SOURCE, f"{len(line)} cells under {width} columns", number)
        if not line[value].strip():
            page.absent += 1
            continue
        try:
            row = Row(
                SOURCE,
                report,
                intern(line[market]) if market >= 0 else "",
                intern(line[place]) if place >= 0 else "",
                intern(line[item]) if item >= 0 else "",
                _instant(line[start]),
                _instant(line[end]),
                micro(line[value]),
            )
        except ValueError as error:
            raise Malformed(SOURCE, str(error), number) from error
        _keep(row, page, seen, number)


def _keep(row: Row, page: Page, seen: dict[Key, int], line: int) -> None:
    """Adds a row unless it repeats one; the same row with another value is a contradiction."""
    page.entries += 1
    if row.end_ns <= row.start_ns:
        raise Malformed(SOURCE, "an interval ends before it starts", line)
    key = (row.market, row.place, row.item, row.report, row.start_ns)
    before = seen.get(key)
    if before is None:
        seen[key] = row.value_micro
        page.rows.append(row)
    elif before != row.value_micro:
        raise Malformed(SOURCE, f"{row.place} {row.item} has two values for one interval", line)


def _xml(body: bytes, page: Page, seen: dict[Key, int]) -> None:
    safe_xml(SOURCE, body)
    header: dict[str, str] = {}
    try:
        for _, element in ET.iterparse(io.BytesIO(body)):  # noqa: S314 - no document type
            if not len(element):
                continue
            tag = _local(element.tag)
            if tag == "ERROR":
                raise _refusal(_fields(element))
            if tag == "REPORT_HEADER":
                header = _fields(element)
            elif tag == "REPORT_DATA":
                _xml_row(header, _fields(element), page, seen)
                element.clear()
    except ET.ParseError as error:
        raise Malformed(SOURCE, str(error), error.position[0]) from error
    except LookupError as error:
        raise Malformed(SOURCE, f"not XML: {error}") from error


def _fields(element: ET.Element) -> dict[str, str]:
    return {_local(child.tag): (child.text or "").strip() for child in element}


@lru_cache(maxsize=256)
def _local(tag: str) -> str:
    """A tag without its namespace."""
    return intern(tag.rpartition("}")[2])


def _refusal(fields: Mapping[str, str]) -> RequestRefused:
    code, detail = fields.get("ERR_CODE", ""), fields.get("ERR_DESC", "an error without a text")
    kind: Callable[[str, str, str], RequestRefused] = NoData if code == NO_DATA else RequestRefused
    return kind(SOURCE, code, detail)


def _first(fields: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((fields[name] for name in names if fields.get(name)), "")


def _xml_row(
    header: Mapping[str, str], data: Mapping[str, str], page: Page, seen: dict[Key, int]
) -> None:
    if not data.get("VALUE"):
        page.absent += 1
        return
    try:
        row = Row(
            SOURCE,
            header.get("REPORT", "OASIS"),
            intern(_first(header, MARKETS)),
            intern(_first(data, PLACES)),
            intern(_first(data, ITEMS)),
            _instant(_first(data, STARTS)),
            _instant(_first(data, ENDS)),
            micro(data["VALUE"]),
        )
    except ValueError as error:
        raise Malformed(SOURCE, str(error)) from error
    _keep(row, page, seen, 0)


def parse_renewables_watch(body: bytes) -> Page:
    """The daily renewables text: the first table, MW by hour and kind in Pacific prevailing time.

    On the spring day hour 3 does not exist and holds exception texts, some over two lines, beside
    zeros: its cells are counted as absent. Raises FeedError.
    """
    lines = re.sub(r'"[^"]*"', "?", text(SOURCE, members(SOURCE, body)[0][1])).splitlines()
    if len(lines) < 3 or WATCH_HEADER not in lines[0]:
        raise Malformed(SOURCE, "not a daily renewables text", 1)
    try:
        day = datetime.strptime(lines[0].split()[0], "%m/%d/%y").date()  # noqa: DTZ007
    except ValueError as error:
        raise Malformed(SOURCE, str(error), 1) from error
    kinds = [cell.strip() for cell in lines[1].split("\t") if cell.strip()][1:]
    page = Page()
    for number, hour, cells in _watch_lines(lines[2:]):
        if len(cells) != len(kinds):
            raise Malformed(SOURCE, f"{len(cells)} cells under {len(kinds)} kinds", number)
        try:
            interval = hour_interval(day, hour, PACIFIC)
        except NoSuchTime:
            page.absent += len(cells)
            continue
        for kind, cell in zip(kinds, cells, strict=True):
            page.entries += 1
            try:
                value = micro(cell)
            except ValueError as error:
                raise Malformed(SOURCE, str(error), number) from error
            span = (interval.start_ns, interval.end_ns)
            page.rows.append(Row(SOURCE, "RENEWABLES_WATCH", "ACTUAL", "CAISO", kind, *span, value))
    return page


def _watch_lines(lines: list[str]) -> Iterator[tuple[int, int, list[str]]]:
    """Line number, hour and cells of the first table; a blank line ends it."""
    for number, line in enumerate(lines, start=3):
        cells = [cell.strip() for cell in line.split("\t") if cell.strip()]
        if not cells:
            return
        if not cells[0].isdigit():
            raise Malformed(SOURCE, f"{cells[0]!r} is no hour", number)
        yield number, int(cells[0]), cells[1:]
