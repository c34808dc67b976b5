"""EIA's API v2: JSON with a string for every value, and nulls.

A period is a day, a month, a year or an hour, read as UTC. A weekly series names the day its week
ends on. `total` comes as a number or as a string; a page holds at most 5,000 rows. A 200 answer may
be years old, so freshness is judged by period (see `quality.age_ns`), never by the fetch.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cloud.feeds import archive
from cloud.feeds.intervals import HOUR_NS, to_ns
from cloud.feeds.rows import Malformed, NoData, Page, RequestRefused, Row, micro

SOURCE = "eia"
DAY_NS = 24 * HOUR_NS
PERIODS = {13: "%Y-%m-%dT%H", 10: "%Y-%m-%d", 7: "%Y-%m", 4: "%Y"}
PLACES = ("duoarea", "respondent", "area")
ITEMS = ("series", "type", "product")


def parse(body: bytes) -> Page:
    """One page of a route. Raises FeedError."""
    document = archive.document(SOURCE, archive.members(SOURCE, body)[0][1])
    if not isinstance(document, dict):
        raise Malformed(SOURCE, "not an answer of API v2")
    if "error" in document:
        raise RequestRefused(SOURCE, str(document.get("code", "")), str(document["error"]))
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


def _total(value: object) -> int | None:
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.isdigit() else None


def _entry(entry: Mapping[str, Any], page: Page, number: int) -> None:
    if entry.get("value") is None:
        page.absent += 1
        return
    try:
        start_ns, end_ns = period(str(entry["period"]))
        value = micro(str(entry["value"]))
    except (KeyError, ValueError) as error:
        raise Malformed(SOURCE, str(error), number) from error
    place = next((str(entry[name]) for name in PLACES if entry.get(name)), "US")
    item = next((str(entry[name]) for name in ITEMS if entry.get(name)), "value")
    unit = str(entry.get("units", ""))
    page.rows.append(Row(SOURCE, unit, "", place, item, start_ns, end_ns, value))


def period(label: str) -> tuple[int, int]:
    """A period's half-open interval in UTC. Raises ValueError."""
    form = PERIODS.get(len(label))
    if form is None:
        raise ValueError(f"{label!r} is no period")
    start = datetime.strptime(label, form).replace(tzinfo=UTC)
    if len(label) >= 10:
        step_ns = HOUR_NS if len(label) == 13 else DAY_NS
        return to_ns(start), to_ns(start) + step_ns
    months = 1 if len(label) == 7 else 12
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return to_ns(start), to_ns(start.replace(year=year, month=month + 1))
