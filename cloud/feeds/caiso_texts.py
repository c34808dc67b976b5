"""CAISO's two texts outside OASIS: the daily renewables watch and the outlook's files.

The watch was published to 2021: the first table, MW by hour and kind in Pacific prevailing time.
The outlook is CSV by five minutes whose file does not say its day, so whoever fetched it must.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime

from cloud.feeds.archive import members, table, text
from cloud.feeds.columns import is_nothing
from cloud.feeds.intervals import PACIFIC, DoubledHour, NoSuchTime, hour_interval
from cloud.feeds.rows import Malformed, NoData, Page, Row, micro
from protos.clock import MINUTE_NS

SOURCE = "caiso"
WATCH_HEADER = "Hourly Breakdown of Renewable Resources"
OUTLOOK_STEP_NS = 5 * MINUTE_NS


def is_watch(file: bytes) -> bool:
    return WATCH_HEADER.encode() in file[:200]


def watch(file: bytes) -> Page:
    """The daily renewables text.

    On the spring day hour 3 does not exist and holds exception texts, some over two lines, beside
    zeros: its cells are counted as absent. Raises FeedError.
    """
    lines = re.sub(r'"[^"]*"', "?", text(SOURCE, file)).splitlines()
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
    if not page.entries and not page.absent:
        raise NoData(SOURCE, "", "a renewables text without hours")
    return page


def outlook(body: bytes, day: date) -> Page:
    """One outlook file (fuelsource, demand, netdemand, co2 ...) of the trade day `day`, MW or t.

    Each column beside Time is an item; the labels begin their five minutes. Raises FeedError.
    """
    page = Page()
    lines = table(SOURCE, members(SOURCE, body)[0][1])
    _, names = next(lines, (0, []))
    if not names or names[0].strip().lower() != "time" or len(names) < 2:
        raise Malformed(SOURCE, "not an outlook file: its first column is not Time", 1)
    doubled = DoubledHour(PACIFIC)
    for number, line in lines:
        if len(line) != len(names):
            raise Malformed(SOURCE, f"{len(line)} cells under {len(names)} columns", number)
        page.entries += 1
        try:
            label = datetime.combine(day, datetime.strptime(line[0].strip(), "%H:%M").time())  # noqa: DTZ007
            start_ns = doubled.resolve("", label)
        except NoSuchTime:
            page.absent += len(line) - 1
            continue
        except ValueError as error:
            raise Malformed(SOURCE, str(error), number) from error
        for name, cell in zip(names[1:], line[1:], strict=True):
            if is_nothing(cell):
                page.absent += 1
                continue
            span = (start_ns, start_ns + OUTLOOK_STEP_NS)
            try:
                value = micro(cell.strip())
            except ValueError as error:
                raise Malformed(SOURCE, str(error), number) from error
            page.keep(Row(SOURCE, "OUTLOOK", "ACTUAL", "CAISO", name.strip(), *span, value), number)
    page.forget()
    if not page.rows and not page.absent:
        raise NoData(SOURCE, "", "an outlook file without lines")
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
