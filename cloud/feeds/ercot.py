"""ERCOT's public reports: CSV in a zip, labelled by the ending hour in Central prevailing time.

The repeated autumn hour has DSTFlag (or RepeatedHourFlag) Y. Settlement point prices are one value
a line; load and solar reports are wide, each column a row. Also reads the dashboard's JSON, whose
stamps carry offsets.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from cloud.feeds.archive import document, members, table
from cloud.feeds.intervals import CENTRAL, HOUR_NS, NoSuchTime, hour_interval, to_ns
from cloud.feeds.rows import EmptyBody, Malformed, NoData, NotData, Page, Row, micro
from protos.clock import MINUTE_NS

SOURCE = "ercot"
QUARTER_NS = 15 * MINUTE_NS
DAYS = ("DeliveryDate", "DELIVERY_DATE", "OperDay")
HOURS = ("HourEnding", "HOUR_ENDING", "DeliveryHour")
FLAGS = ("DSTFlag", "RepeatedHourFlag")
PRICES = ("SettlementPointPrice", "LMP")
PLACES = ("SettlementPoint", "SettlementPointName", "BusName")
QUARTER = "DeliveryInterval"
KINDS = ("SettlementPointType",)
DASHBOARD_DAYS = ("previousDay", "currentDay", "nextDay")


def parse(body: bytes) -> Page:
    """Any of these reports. Raises FeedError."""
    page = Page()
    for name, file in members(SOURCE, body):
        if not file.strip():
            raise EmptyBody(SOURCE)
        if file.lstrip()[:1] in {b"{", b"["}:
            _dashboard(file, page)
        else:
            _csv(name, file, page)
    if not page.rows and not page.absent:
        raise NoData(SOURCE, "", "a report without rows")
    return page


def _csv(name: str, body: bytes, page: Page) -> None:
    lines = table(SOURCE, body)
    header = [cell.strip() for cell in next(lines, (0, []))[1]]
    columns = {column: index for index, column in enumerate(header)}
    day, hour = _index(columns, DAYS), _index(columns, HOURS)
    if day < 0 or hour < 0:
        raise Malformed(SOURCE, "no delivery date and ending hour in the header", 1)
    report = name.rpartition(".")[0].rpartition(".")[2] or "REPORT"
    values = _values(columns)
    place, flag = _index(columns, PLACES), _index(columns, FLAGS)
    for number, line in lines:
        if len(line) != len(header):
            raise Malformed(SOURCE, f"{len(line)} cells under {len(header)}", number)
        page.entries += 1
        try:
            start_ns, end_ns = _interval(
                line[day],
                line[hour],
                line[columns[QUARTER]] if QUARTER in columns else "",
                repeated=flag >= 0 and line[flag].strip() == "Y",
            )
            for item, index in values:
                where = line[place].strip() if place >= 0 else "ERCOT"
                _cell(page, (report, where, item, start_ns, end_ns), line[index])
        except ValueError as error:
            raise Malformed(SOURCE, str(error), number) from error


def _index(columns: Mapping[str, int], names: tuple[str, ...]) -> int:
    return next((columns[name] for name in names if name in columns), -1)


def _values(columns: Mapping[str, int]) -> list[tuple[str, int]]:
    """The value columns: the one price, or all that are not labels."""
    price = _index(columns, PRICES)
    if price >= 0:
        return [("LMP", price)]
    labels = {*DAYS, *HOURS, *FLAGS, *PLACES, *KINDS, QUARTER}
    return [(name, index) for name, index in columns.items() if name not in labels]


def _cell(page: Page, where: tuple[str, str, str, int, int], cell: str) -> None:
    report, place, item, start_ns, end_ns = where
    if not cell.strip():
        page.absent += 1
        return
    value = micro(cell.strip())
    page.rows.append(Row(SOURCE, report, "", place, item, start_ns, end_ns, value))


def _interval(day: str, hour: str, quarter: str, *, repeated: bool) -> tuple[int, int]:
    """Half-open UTC from ERCOT's labels. Raises ValueError, NoSuchTime among it."""
    whole_day = datetime.strptime(day.strip(), "%m/%d/%Y").date()  # noqa: DTZ007
    ending = int(hour.strip().partition(":")[0])
    interval = hour_interval(whole_day, ending, CENTRAL, repeated=repeated)
    if not quarter.strip():
        return interval.start_ns, interval.end_ns
    number = int(quarter)
    if not 1 <= number <= 4:
        raise NoSuchTime(f"interval {number} of an hour", CENTRAL)
    start_ns = interval.start_ns + (number - 1) * QUARTER_NS
    return start_ns, start_ns + QUARTER_NS


def _dashboard(body: bytes, page: Page) -> None:
    """The dashboard's days of hourly values; each entry's stamp is the end of its hour."""
    found = document(SOURCE, body)
    if not isinstance(found, dict) or not any(day in found for day in DASHBOARD_DAYS):
        raise NotData(SOURCE, "JSON without the days of a dashboard")
    for name in DASHBOARD_DAYS:
        day = found.get(name)
        entries = day.get("data") if isinstance(day, dict) else None
        for number, entry in enumerate(entries or [], start=1):
            if not isinstance(entry, dict):
                raise Malformed(SOURCE, "an entry is no record", number)
            page.entries += 1
            _dashboard_entry(entry, page, number)


def _dashboard_entry(entry: Mapping[str, Any], page: Page, number: int) -> None:
    try:
        end_ns = to_ns(datetime.fromisoformat(str(entry["timestamp"])))
    except (KeyError, ValueError) as error:
        raise Malformed(SOURCE, f"no timestamp: {error}", number) from error
    for item, value in entry.items():
        if item in {"hourEnding", "epoch"} or isinstance(value, str | bool):
            continue
        if value is None:
            page.absent += 1
        elif isinstance(value, int | Decimal):
            try:
                _cell(page, ("DASHBOARD", "ERCOT", item, end_ns - HOUR_NS, end_ns), str(value))
            except ValueError as error:
                raise Malformed(SOURCE, f"{item}: {error}", number) from error
        else:
            raise Malformed(SOURCE, f"{item} is no number", number)
