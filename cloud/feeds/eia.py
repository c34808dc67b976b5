"""EIA's API v2: JSON with a string for every value, and nulls; its first version's series too.

A period is a day, a month, a quarter, a year or an hour, read as UTC unless it carries its offset.
An hour is named by its end, as in all of EIA-930. A weekly series names the day its week ends on. A
route whose values have names of their own (`price` beside `price-units`) gives a row for each.
`total` comes as a number or as a string; a page holds at most 5,000 rows. The browser's download of
a route is CSV with the same columns. A 200 answer may be years old, so freshness is judged by
period (see `quality.age_ns`), never by the fetch.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cloud.feeds import archive
from cloud.feeds.columns import is_nothing, word
from cloud.feeds.intervals import HOUR_NS, to_ns
from cloud.feeds.rows import Malformed, NoData, Page, RequestRefused, Row, Throttled, micro

SOURCE = "eia"
DAY_NS = 24 * HOUR_NS
OVER_LIMIT = "OVER_RATE_LIMIT"
OVER_LIMIT_S = 3_600
"""A key's requests are counted by the hour."""

PERIODS = {13: "%Y-%m-%dT%H", 10: "%Y-%m-%d", 7: "%Y-%m", 4: "%Y"}
QUARTERLY = re.compile(r"\d{4}-?Q[1-4]")
LOCAL_HOUR = re.compile(r"\d{4}-\d\d-\d\dT\d\d[+-]\d\d(:?\d\d)?")
HISTORY_FORMS = {
    "Day": ("%m/%d/%Y", "%Y-%m-%d"),
    "Week of": ("%m/%d/%Y", "%Y-%m-%d"),
    "Month": ("%b %Y", "%Y-%m"),
    "Year": ("%Y", "%Y"),
}
"""What heads the times of a series' history, how they are written, and the period they mean."""

PLACES = ("duoarea", "respondent", "fromba", "area", "stateid", "location", "plantCode")
ITEMS = ("series", "seriesId", "fueltype", "type", "product", "energySourceCode", "toba")


def parse(body: bytes) -> Page:
    """One page of a route. Raises FeedError."""
    page, *others = [_page(file) for _, file in archive.members(SOURCE, body)]
    for other in others:
        page.merge(other)
    page.forget()
    return page


def _page(file: bytes) -> Page:
    if file.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] not in {b"{", b"["}:
        return _table(file)
    document = archive.document(SOURCE, file)
    if not isinstance(document, dict):
        raise Malformed(SOURCE, "not an answer of API v2")
    _refused(document)
    if isinstance(document.get("series"), list):
        return _first_version(document["series"])
    response = document.get("response")
    data = response.get("data") if isinstance(response, dict) else None
    if not isinstance(response, dict) or not isinstance(data, list):
        raise Malformed(SOURCE, "no response.data in the answer")
    if not data:
        raise NoData(SOURCE, "", "a page without data")
    page = Page(announced=_total(response.get("total")))
    for number, entry in enumerate(data, start=1):
        if not isinstance(entry, dict):
            raise Malformed(SOURCE, "an entry is no record", number)
        page.entries += 1
        _entry(entry, page, number)
    return page


def _table(file: bytes) -> Page:
    """A download as CSV: a route's columns as in JSON, or a series' history below its title."""
    lines = archive.table(SOURCE, file)
    header: list[str] = []
    for _, names in lines:
        header = [name.strip() for name in names]
        if "period" in header or header[0] in HISTORY_FORMS:
            break
    else:
        told = ", ".join(header)[:200]
        raise Malformed(SOURCE, f"neither JSON nor a table with a column period: {told}", 1)
    page = Page()
    form = HISTORY_FORMS.get(header[0])
    for number, line in lines:
        if len(line) != len(header):
            raise Malformed(SOURCE, f"{len(line)} cells under {len(header)} columns", number)
        page.entries += 1
        entry = dict(zip(header, line, strict=True))
        if form is None:
            _entry(entry, page, number)
            continue
        for series in header[1:]:
            label = _history_label(line[0].strip(), *form, number)
            _entry({"period": label, "series": series, "value": entry[series]}, page, number)
    if not page.entries:
        raise NoData(SOURCE, "", "a table without lines")
    return page


def _history_label(cell: str, read: str, write: str, number: int) -> str:
    try:
        return datetime.strptime(cell, read).strftime(write)  # noqa: DTZ007 - a day, no moment
    except ValueError as error:
        raise Malformed(SOURCE, str(error), number) from error


def _refused(document: Mapping[str, Any]) -> None:
    """Raises an answer that is an error, in either of the places where EIA puts it."""
    nested = document.get("data")
    told = document.get("error") or (nested.get("error") if isinstance(nested, dict) else None)
    if told is None and "error" not in document:
        return
    code, text = word(document.get("code")), word(told)
    if isinstance(told, dict):
        code, text = word(told.get("code")) or code, word(told.get("message"))
    if code == OVER_LIMIT:
        raise Throttled(SOURCE, OVER_LIMIT_S, f"{code}: {text}")
    raise RequestRefused(SOURCE, code, text or "an error without a text")


def _first_version(series: list[Any]) -> Page:
    """Version 1: series with pairs of period and value."""
    page = Page()
    for one in series:
        if not isinstance(one, dict) or not isinstance(one.get("data"), list):
            raise Malformed(SOURCE, "a series without data")
        for number, pair in enumerate(one["data"], start=1):
            if not isinstance(pair, list) or len(pair) != 2:
                raise Malformed(SOURCE, "an entry is no pair of period and value", number)
            entry = {
                "period": pair[0],
                "value": pair[1],
                "series": one.get("series_id"),
                "units": one.get("units"),
            }
            page.entries += 1
            _entry(entry, page, number)
    if not page.entries:
        raise NoData(SOURCE, "", "series without data")
    return page


def _total(value: object) -> int | None:
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.isdigit() else None


def _entry(entry: Mapping[str, Any], page: Page, number: int) -> None:
    place = next((str(entry[name]) for name in PLACES if entry.get(name)), "US")
    item = next((str(entry[name]) for name in ITEMS if entry.get(name)), "value")
    named = {"value": item} if "value" in entry else _named(entry)
    if not named:
        raise Malformed(SOURCE, "an entry without a value", number)
    for column, name in named.items():
        value = entry[column]
        if value is None or is_nothing(str(value)):
            page.absent += 1
            continue
        try:
            start_ns, end_ns = period(str(entry["period"]))
            amount = micro(str(value))
        except (KeyError, ValueError, OverflowError) as error:
            raise Malformed(SOURCE, str(error), number) from error
        unit = word(entry.get("units") or entry.get(f"{column}-units"))
        page.keep(Row(SOURCE, unit, "", place, name, start_ns, end_ns, amount), number)


def _named(entry: Mapping[str, Any]) -> dict[str, str]:
    """The columns that have units of their own."""
    return {column: column for column in entry if f"{column}-units" in entry}


def period(label: str) -> tuple[int, int]:
    """A period's half-open interval in UTC. Raises ValueError."""
    if len(label) == 8 and label.isdigit():
        label = f"{label[:4]}-{label[4:6]}-{label[6:]}"
    elif len(label) == 6 and label.isdigit():
        label = f"{label[:4]}-{label[4:]}"
    elif QUARTERLY.fullmatch(label):
        return _months(datetime(int(label[:4]), 3 * int(label[-1]) - 2, 1, tzinfo=UTC), 3)
    elif LOCAL_HOUR.fullmatch(label):
        hour, offset = label[:13], label[13:].replace(":", "").ljust(5, "0")
        end_ns = to_ns(datetime.strptime(hour + offset, "%Y-%m-%dT%H%z"))
        return end_ns - HOUR_NS, end_ns
    form = PERIODS.get(len(label))
    if form is None:
        raise ValueError(f"{label!r} is no period")
    start = datetime.strptime(label, form).replace(tzinfo=UTC)
    if len(label) == 13:
        return to_ns(start) - HOUR_NS, to_ns(start)
    if len(label) == 10:
        return to_ns(start), to_ns(start) + DAY_NS
    return _months(start, 1 if len(label) == 7 else 12)


def _months(start: datetime, months: int) -> tuple[int, int]:
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return to_ns(start), to_ns(start.replace(year=year, month=month + 1))
