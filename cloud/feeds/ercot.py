"""ERCOT's public reports: CSV or XML in a zip, the public API's JSON, and the dashboards' JSON.

Labels are in Central prevailing time: a delivery date with an ending hour (and a quarter), or the
stamp of a dispatch run, which begins its five minutes. The repeated autumn hour has DSTFlag (or
RepeatedHourFlag) Y. Prices are one value a line; load, solar and wind reports are wide, each column
of numbers a row. Columns of words (a forecast's model, a reserve's kind) stand before the item. The
dashboards' stamps carry offsets.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from cloud.feeds.archive import document, fields, members, table, xml_elements
from cloud.feeds.columns import index_of, is_nothing, label_columns, normal, value_columns, word
from cloud.feeds.intervals import CENTRAL, HOUR_NS, NoSuchTime, from_local, hour_interval, to_ns
from cloud.feeds.rows import (
    EmptyBody,
    Malformed,
    NoData,
    NotData,
    Page,
    RequestRefused,
    Row,
    Throttled,
    micro,
)
from protos.clock import MINUTE_NS

SOURCE = "ercot"
API = "API"
DOCUMENTS = "ListDocsByRptTypeRes"
"""What stands above the list of a report's documents."""

DASHBOARD_DAYS = ("previousDay", "currentDay", "nextDay")
QUARTER_NS = 15 * MINUTE_NS
DISPATCH_NS = 5 * MINUTE_NS
DAYS = ("DeliveryDate", "OperDay", "OperatingDate", "Date")
HOURS = ("HourEnding", "DeliveryHour", "HE", "Hour")
STAMPS = ("SCEDTimestamp", "IntervalEnding", "SCEDIntervalEndingTime", "Timestamp")
ENDING = frozenset({"intervalending", "scedintervalendingtime"})
FLAGS = ("DSTFlag", "RepeatedHourFlag", "RepeatHourFlag", "DSTFlagInd")
PRICES = ("SettlementPointPrice", "LMP", "MCPC", "SystemLambda")
PRICE_ITEMS = {"mcpc": "MCPC", "systemlambda": "SystemLambda"}
PLACES = (
    *("SettlementPoint", "SettlementPointName", "BusName", "ElectricalBus", "ResourceName"),
    *("ConstraintName", "Zone"),
)
QUARTER = ("DeliveryInterval",)
KINDS = ("SettlementPointType",)
ISSUES = ("PostedDatetime", "PublishTime", "PublishDate")
DAY_FORM = "%m/%d/%Y"
API_DAY_FORM = "%Y-%m-%d"
STAMP_FORMS = ("%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S")
SAMPLE_LINES = 400
STEP_NS_MAX = 2 * HOUR_NS
RETRY = re.compile(r"try again in (\d{1,4}) second", re.IGNORECASE)
THROTTLE_S = 60


def parse(body: bytes) -> Page:
    """Any of these reports. Raises FeedError."""
    page = Page()
    for name, file in members(SOURCE, body):
        if not file.strip():
            raise EmptyBody(SOURCE)
        start = file.lstrip(b"\xef\xbb\xbf \r\n\t")[:1]
        if start in {b"{", b"["}:
            _json(file, page)
        else:
            report = name.rpartition(".")[0].rpartition(".")[2] or "REPORT"
            _table(report, _xml_lines(file) if start == b"<" else table(SOURCE, file), page)
    page.forget()
    if not page.rows and not page.absent:
        raise NoData(SOURCE, "", "a report without rows")
    return page


# ---- tables --------------------------------------------------------------------------------


def _table(report: str, lines: Iterator[tuple[int, list[str]]], page: Page) -> None:
    first, names = next(lines, (0, []))
    header = [cell.strip() for cell in names]
    if index_of(header, (*HOURS, *STAMPS)) < 0:
        raise Malformed(SOURCE, "no delivery date and ending hour in the header", first)
    body = list(lines)
    for number, line in body:
        if len(line) != len(header):
            raise Malformed(SOURCE, f"{len(line)} cells under {len(header)}", number)
    day_form = API_DAY_FORM if report == API else DAY_FORM
    columns = Columns(header, [line for _, line in body[:SAMPLE_LINES]], day_form)
    if body and not columns.values:
        raise Malformed(SOURCE, f"no column of {', '.join(header)[:200]} holds a value", first)
    for number, line in body:
        page.entries += 1
        try:
            span = columns.interval(line)
            for index in columns.values:
                if is_nothing(line[index]):
                    page.absent += 1
                    continue
                value = micro(line[index].strip())
                item = columns.item(line, index)
                page.keep(
                    Row(SOURCE, report, "", columns.place(line), item, *span, value,
                        columns.issued(line)),
                    number,
                )  # fmt: skip
        except ValueError as error:
            raise Malformed(SOURCE, str(error), number) from error


class Columns:
    """Where one report keeps its times, its place, its flag, its words and its values."""

    def __init__(
        self, header: Sequence[str], sample: Sequence[Sequence[str]], day_form: str
    ) -> None:
        self._header = header
        self._day_form = day_form
        self._day, self._hour = index_of(header, DAYS), index_of(header, HOURS)
        self._stamp = index_of(header, STAMPS) if self._hour < 0 else -1
        self._quarter, self._flag = index_of(header, QUARTER), index_of(header, FLAGS)
        self._place, self._issue = index_of(header, PLACES), index_of(header, ISSUES)
        kind = index_of(header, KINDS)
        known = {self._day, self._hour, self._stamp, self._quarter, self._flag}
        known |= {self._place, self._issue, kind}
        price = index_of(header, PRICES)
        if price >= 0:
            self.values = [price]
            self._named = PRICE_ITEMS.get(normal(header[price]), "LMP")
        else:
            self.values = value_columns(header, sample, known)
            self._named = ""
        self._words = label_columns(header, sample, {*known, *self.values})

    def interval(self, line: Sequence[str]) -> tuple[int, int]:
        """Half-open UTC from ERCOT's labels. Raises ValueError, NoSuchTime among it."""
        repeated = self._flag >= 0 and line[self._flag].strip().upper() in {"Y", "TRUE", "1"}
        if self._stamp >= 0:
            at_ns = from_local(_local(line[self._stamp]), CENTRAL, repeated=repeated)
            if normal(self._header[self._stamp]) in ENDING:
                return at_ns - DISPATCH_NS, at_ns
            return at_ns, at_ns + DISPATCH_NS
        day_text, hour_text = line[self._day] if self._day >= 0 else "", line[self._hour].strip()
        if not day_text:
            # Native load files: day and hour in one cell, the repeated hour with the word DST.
            repeated = repeated or hour_text.upper().endswith("DST")
            day_text, _, hour_text = hour_text.upper().removesuffix("DST").strip().partition(" ")
        ending = int(hour_text.partition(":")[0].strip())
        interval = hour_interval(self._date(day_text), ending, CENTRAL, repeated=repeated)
        quarter = line[self._quarter].strip() if self._quarter >= 0 else ""
        if not quarter:
            return interval.start_ns, interval.end_ns
        number = int(quarter)
        if not 1 <= number <= 4:
            raise NoSuchTime(f"interval {number} of an hour", CENTRAL)
        start_ns = interval.start_ns + (number - 1) * QUARTER_NS
        return start_ns, start_ns + QUARTER_NS

    def _date(self, text: str) -> date:
        whole = text.strip()
        if self._day_form == API_DAY_FORM:
            whole = whole.partition("T")[0]
        return datetime.strptime(whole, self._day_form).date()  # noqa: DTZ007

    def place(self, line: Sequence[str]) -> str:
        return line[self._place].strip() if self._place >= 0 else "ERCOT"

    def item(self, line: Sequence[str], index: int) -> str:
        said = [line[one].strip() for one in self._words]
        return "/".join([*(one for one in said if one), self._named or self._header[index]])

    def issued(self, line: Sequence[str]) -> int:
        """When a forecast was posted, 0 where the report does not say or not in a known way."""
        if self._issue < 0:
            return 0
        try:
            return from_local(_local(line[self._issue]), CENTRAL)
        except ValueError:
            return 0


def _local(text: str) -> datetime:
    for form in STAMP_FORMS:
        try:
            return datetime.strptime(text.strip().partition(".")[0], form)  # noqa: DTZ007
        except ValueError:
            continue
    raise ValueError(f"{text!r} is no time stamp")


def _xml_lines(file: bytes) -> Iterator[tuple[int, list[str]]]:
    """A report's XML as the lines of its CSV: what names an hour or a run is a line."""
    names: list[str] = []
    number = 0
    for _, element in xml_elements(SOURCE, file):
        told = fields(element)
        if index_of(list(told), (*HOURS, *STAMPS)) < 0:
            continue
        number += 1
        if not names:
            names = list(told)
            yield number, names
        if not told.keys() <= set(names):
            raise Malformed(SOURCE, "an element has fields that the first has not", number)
        yield number, [told.get(name, "") for name in names]
    if not names:
        raise NotData(SOURCE, "XML without delivery hours")


# ---- JSON ----------------------------------------------------------------------------------


def _json(body: bytes, page: Page) -> None:
    found = document(SOURCE, body)
    if isinstance(found, dict) and DOCUMENTS in found:
        raise NotData(SOURCE, "a list of documents and no report; fetch one of them by its DocID")
    if isinstance(found, dict) and isinstance(found.get("fields"), list):
        page.announced = _total(found.get("_meta"))
        _table(API, _api_lines(found), page)
        return
    if isinstance(found, dict):
        _refused(found)
    before = page.entries
    entries = list(_entries(found, ""))
    step_ns = _step([at_ns for at_ns, _, _ in entries])
    for at_ns, where, entry in entries:
        page.entries += 1
        _entry(at_ns, where, entry, step_ns, page)
    if page.entries == before and isinstance(found, dict) and {*DASHBOARD_DAYS} & found.keys():
        raise Malformed(SOURCE, "a dashboard's entries without a timestamp")
    if page.entries == before:
        raise NotData(SOURCE, "JSON without the days of a dashboard")


def _refused(found: Mapping[str, Any]) -> None:
    """Raises what the API's gateway says instead of data."""
    text = word(found.get("message") or found.get("error_description") or found.get("error"))
    if not text:
        return
    wait = RETRY.search(text)
    if wait is not None or "rate limit" in text.lower():
        raise Throttled(SOURCE, int(wait[1]) if wait else THROTTLE_S, text)
    raise RequestRefused(SOURCE, word(found.get("statusCode")), text)


def _total(meta: object) -> int | None:
    total = meta.get("totalRecords") if isinstance(meta, dict) else None
    return total if isinstance(total, int) else None


def _api_lines(found: Mapping[str, Any]) -> Iterator[tuple[int, list[str]]]:
    """The public API's answer as the lines of a table: `fields` name what each of `data` holds."""
    names = [word(one.get("name")) if isinstance(one, dict) else "" for one in found["fields"]]
    data = found.get("data")
    if not isinstance(data, list):
        raise Malformed(SOURCE, "fields without data")
    yield 1, names
    for number, line in enumerate(data, start=1):
        if isinstance(line, dict):
            yield number, [word(line.get(name)) for name in names]
        elif isinstance(line, list):
            yield number, [word(cell) for cell in line]
        else:
            raise Malformed(SOURCE, "a line of data is neither list nor record", number)


Entry = tuple[int, str, Mapping[str, Any]]
"""A dashboard's stamp, what stands above it, and its values."""


def _entries(found: object, above: str) -> Iterator[Entry]:
    """Everything with a stamp, however deep: as a field or as the key of a record."""
    if isinstance(found, list):
        for one in found:
            yield from _entries(one, above)
        return
    if not isinstance(found, dict):
        return
    if "timestamp" in found:
        yield _stamp(found["timestamp"]), above, found
        return
    for key, value in found.items():
        if not isinstance(value, dict | list):
            continue
        at_ns = _maybe_stamp(key)
        if at_ns is None or not isinstance(value, dict):
            yield from _entries(value, above)
            continue
        flat = {k: v for k, v in value.items() if not isinstance(v, dict | list)}
        if flat:
            yield at_ns, above, flat
        for kind, nested in value.items():
            if isinstance(nested, dict):
                yield at_ns, kind, nested


def _stamp(label: object) -> int:
    try:
        return to_ns(datetime.fromisoformat(str(label)))
    except ValueError as error:
        raise Malformed(SOURCE, f"no timestamp: {error}") from error


def _maybe_stamp(key: str) -> int | None:
    if len(key) < 16 or not key[:4].isdigit():
        return None
    try:
        return to_ns(datetime.fromisoformat(key))
    except ValueError:
        return None


def _step(stamps: Sequence[int]) -> int:
    """The commonest distance of stamps; an hour where one stamp stands alone."""
    ordered = sorted(set(stamps))
    distances = Counter(after - before for before, after in pairwise(ordered))
    if not distances:
        return HOUR_NS
    return min(STEP_NS_MAX, min(distances, key=lambda one: (-distances[one], one)))


def _entry(at_ns: int, where: str, entry: Mapping[str, Any], step_ns: int, page: Page) -> None:
    """One stamp's values. An hourly stamp ends its hour, any other begins its step; a step within an
    hour names that hour too.
    """
    hourly = "hourEnding" in entry and step_ns >= HOUR_NS
    span = (at_ns - HOUR_NS, at_ns) if hourly else (at_ns, at_ns + step_ns)
    for name, value in entry.items():
        if name in {"hourEnding", "epoch", "interval"} or isinstance(value, str | bool):
            continue
        if value is None:
            page.absent += 1
            continue
        if not isinstance(value, int | Decimal):
            raise Malformed(SOURCE, f"{name} is no number", page.entries)
        try:
            amount = micro(str(value))
        except ValueError as error:
            raise Malformed(SOURCE, f"{name}: {error}", page.entries) from error
        item = f"{where}/{name}" if where else name
        page.keep(Row(SOURCE, "DASHBOARD", "", "ERCOT", item, *span, amount), page.entries)
