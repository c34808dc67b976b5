"""PJM Data Miner's answers: the JSON envelope with `items`, a bare list of them, or CSV.

Every numeric column of an item is a row, by the column's own name; LMP components take their short
names. Columns of words that say which series it is (service, fuel type, reserve kind) stand before
it. Stamps are naive: `_utc` is the truth, `_ept` repeats it in Eastern prevailing time and is read
only where there is no other. A feed that gives no end has the step its name tells, else the
commonest distance of its own stamps. When a forecast was made is the row's `issued_ns`. Superseded
versions (`row_is_current` false) are counted as absent; components that PJM has retired are nulls.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from cloud.feeds import archive
from cloud.feeds.columns import is_nothing, is_number, word
from cloud.feeds.intervals import EASTERN, HOUR_NS, DoubledHour, to_ns
from cloud.feeds.rows import (
    Malformed,
    NoData,
    NotData,
    Page,
    RequestRefused,
    Row,
    Throttled,
    micro,
)
from protos.clock import MINUTE_NS, SECOND_NS

SOURCE = "pjm"
STEPS = {
    "hrl": HOUR_NS,
    "fivemin": 5 * MINUTE_NS,
    "five_min": 5 * MINUTE_NS,
    "very_short_load_frcst": 5 * MINUTE_NS,
    "frcstd_7_day": HOUR_NS,
    "load_frcstd_hist": HOUR_NS,
    "reg_prices": HOUR_NS,
    "da_reserve_market_results": HOUR_NS,
    "ancillary_services": HOUR_NS,
}
FINER = {"reserve_market_results": (1_662_004_800 * SECOND_NS, HOUR_NS, 5 * MINUTE_NS)}
"""A feed that was hourly until a moment (2022-09-01 in Eastern time) and is finer since."""

LMP_ITEMS = {
    "total_lmp": "LMP",
    "system_energy_price": "MCE",
    "congestion_price": "MCC",
    "marginal_loss_price": "MCL",
}
"""PJM's columns carry `_da` or `_rt`; the parts are named as elsewhere so that one gate fits all."""

NOT_VALUES = {"pnode_id", "version_nbr", "row_is_current", "pnode_name", "type", "zone", "voltage"}
PLACES = (
    *("pnode_id", "area", "forecast_area", "load_area", "locale", "mkt_region", "pnode_name"),
    *("transmission_constraint", "monitored_facility", "interface_name", "tie_line", "zone"),
)
KINDS = (
    *("service", "ancillary_service", "fuel_type", "reserve_type", "product", "constraint"),
    *("contingency_facility", "schedule_type", "event_type"),
)
STARTS = (
    *("datetime_beginning", "forecast_datetime_beginning", "forecast_hour_beginning"),
    *("interval_datetime_beginning", "event_start", "datetime"),
)
ENDS = ("datetime_ending", "forecast_datetime_ending", "forecast_hour_ending", "event_end")
ISSUES = ("evaluated_at_datetime", "evaluated_at", "effective_datetime", "report_datetime")
THROTTLED_WORDS = ("rate limit", "call volume quota", "quota exceeded")
THROTTLE_S = 60
US_STAMP = "%m/%d/%Y %I:%M:%S %p"
Item = Mapping[str, Any]


def parse(body: bytes) -> Page:
    """One page of a feed. Raises FeedError."""
    page = Page()
    for _, file in archive.members(SOURCE, body):
        if file.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in {b"{", b"["}:
            _document(archive.document(SOURCE, file), page)
        else:
            _items(_records(file), "", page)
    page.forget()
    return page


def _document(document: object, page: Page) -> None:
    if isinstance(document, list):
        # `download=true` gives the items alone; several refusals come as a list too.
        refused = [one for one in document if isinstance(one, dict) and "errors" in one]
        if refused:
            raise refusal(refused[0])
        if not document:
            raise Malformed(SOURCE, "an empty list is no Data Miner answer")
        _items(document, "", page)
        return
    if not isinstance(document, dict):
        raise Malformed(SOURCE, "not a Data Miner answer")
    _refused(document)
    items = document.get("items")
    if not isinstance(items, list):
        raise Malformed(SOURCE, "no items in the answer")
    links = _links(document)
    page.announced = _whole(document.get("totalRows"))
    page.following = links.get("next")
    feed = links.get("self", "").partition("?")[0].rstrip("/").rpartition("/")[2]
    _items(items, feed, page)


def _refused(document: Mapping[str, Any]) -> None:
    """Raises what an answer is that holds no items by intention."""
    if "errors" in document:
        raise refusal(document)
    if "items" in document:
        return
    if "messages" in document:
        raise NotData(SOURCE, "a tool notice, not a feed")
    text = word(document.get("message") or document.get("error"))
    if text:
        if any(one in text.lower() for one in THROTTLED_WORDS):
            raise Throttled(SOURCE, THROTTLE_S, text)
        raise RequestRefused(SOURCE, word(document.get("statusCode")), text)


def parse_notices(body: bytes) -> list[tuple[int, str]]:
    """The public tool notices as (id, subject). Raises FeedError."""
    document = archive.document(SOURCE, archive.members(SOURCE, body)[0][1])
    messages = document.get("messages") if isinstance(document, dict) else None
    if not isinstance(messages, list):
        raise Malformed(SOURCE, "no messages in the answer")
    try:
        return [(int(one["userMessageId"]), str(one["subject"])) for one in messages]
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(SOURCE, f"a notice without {error}") from error


def refusal(document: Mapping[str, Any]) -> RequestRefused:
    """The in-band errors of one answer as one exception."""
    errors = document.get("errors")
    texts, fields = [], []
    for error in errors if isinstance(errors, list) else []:
        if isinstance(error, dict):
            texts.append(str(error.get("message", "")))
            fields.append(str(error.get("field", "")))
    return RequestRefused(SOURCE, ",".join(fields), "; ".join(texts) or "an error without a text")


def _links(document: Mapping[str, Any]) -> dict[str, str]:
    links = document.get("links")
    entries = links if isinstance(links, list) else []
    return {
        str(link.get("rel")): str(link.get("href")) for link in entries if isinstance(link, dict)
    }


def _whole(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _records(file: bytes) -> list[Item]:
    """The lines of Data Miner's CSV export as items. Raises Malformed."""
    lines = archive.table(SOURCE, file)
    number, names = next(lines, (0, []))
    header = [name.strip() for name in names]
    if not any(_is_stamp(name) for name in header):
        raise Malformed(SOURCE, "no feed has these columns: " + ", ".join(header)[:200], number)
    records: list[Item] = []
    for number, cells in lines:
        if len(cells) != len(header):
            raise Malformed(SOURCE, f"{len(cells)} cells under {len(header)}", number)
        records.append({name: _typed(name, cell) for name, cell in zip(header, cells, strict=True)})
    return records


def _is_stamp(name: str) -> bool:
    return any(name.startswith((f"{one}_utc", f"{one}_ept")) for one in STARTS)


def _typed(name: str, cell: str) -> object:
    """A CSV cell as JSON would have it."""
    text = cell.strip()
    if is_nothing(text):
        return None
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    is_word = name in PLACES or name in KINDS or name in NOT_VALUES
    return text if is_word or not is_number(text) else Decimal(text)


@dataclass(frozen=True, slots=True)
class Stamps:
    """An item's times; `end_ns` is None where the feed does not tell."""

    start_ns: int
    end_ns: int | None
    issued_ns: int


def _items(items: Sequence[object], feed: str, page: Page) -> None:
    if not items:
        raise NoData(SOURCE, "", "a page without items")
    doubled = DoubledHour(EASTERN)
    records: list[tuple[int, Item, Stamps]] = []
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise Malformed(SOURCE, "an item is no record", number)
        page.entries += 1
        if item.get("row_is_current") is False:
            page.absent += 1
            continue
        records.append((number, item, _stamps(item, doubled, number)))
    step_ns = _step(feed, [stamps for _, _, stamps in records])
    for number, item, stamps in records:
        end_ns = stamps.end_ns
        if end_ns is None:
            if step_ns is None:
                raise Malformed(SOURCE, f"feed {feed!r} gives no end of its intervals", number)
            end_ns = stamps.start_ns + step_ns
        _item(item, feed, Stamps(stamps.start_ns, end_ns, stamps.issued_ns), page, number)


def _item(item: Item, feed: str, stamps: Stamps, page: Page, number: int) -> None:
    assert stamps.end_ns is not None, "an item's end is known by now"
    place_name = next((name for name in PLACES if word(item.get(name))), "")
    place = word(item.get(place_name)) or "PJM"
    kinds = [word(item[name]) for name in KINDS if word(item.get(name)) and name != place_name]
    found = 0
    for column, value in item.items():
        if column in NOT_VALUES or column == place_name or isinstance(value, str | bool):
            continue
        if value is None:
            page.absent += 1
            continue
        if not isinstance(value, int | Decimal):
            raise Malformed(SOURCE, f"{column} is no number", number)
        name, market = _name(column)
        try:
            amount = micro(str(value))
        except ValueError as error:
            raise Malformed(SOURCE, f"{column}: {error}", number) from error
        named = "/".join([*kinds, name])
        span = (stamps.start_ns, stamps.end_ns)
        page.keep(Row(SOURCE, feed, market, place, named, *span, amount, stamps.issued_ns), number)
        found += 1
    if not found:
        page.absent += 1


def _name(column: str) -> tuple[str, str]:
    """A column's item and market: the parts of a price are DA or RT, all else is as named."""
    stem, _, market = column.rpartition("_")
    if stem in LMP_ITEMS and market in {"da", "rt"}:
        return LMP_ITEMS[stem], market.upper()
    return column, ""


def _stamps(item: Item, doubled: DoubledHour, number: int) -> Stamps:
    try:
        start = _stamp(item, STARTS, doubled)
        end = _stamp(item, ENDS, None)
        issued = _stamp(item, ISSUES, None)
    except (TypeError, ValueError, OverflowError) as error:
        raise Malformed(SOURCE, f"no interval: {error}", number) from error
    if start is None:
        raise Malformed(SOURCE, f"no interval: {STARTS[0]}_utc is missing", number)
    if end is not None and end <= start:
        raise Malformed(SOURCE, "an interval ends before it starts", number)
    return Stamps(start, end, issued or 0)


def _stamp(item: Item, names: Iterable[str], doubled: DoubledHour | None) -> int | None:
    """The first of these times that an item has; Eastern time only where its hour is certain."""
    for name in names:
        for column in (f"{name}_utc", f"{name}_gmt"):
            if item.get(column) is not None:
                return _utc(item[column])
    if doubled is None:
        return None
    for name in names:
        for column in (f"{name}_ept", name):
            if item.get(column) is not None:
                moment = _moment(item[column])
                if moment.tzinfo is not None:
                    return to_ns(moment)
                return doubled.resolve(_series(item), moment)
    return None


def _series(item: Item) -> str:
    """What tells one series of a feed from another, so that each has its own doubled hour."""
    return "/".join(word(item.get(name)) for name in (*PLACES, *KINDS, *NOT_VALUES))


def _step(feed: str, stamps: Sequence[Stamps]) -> int | None:
    """The length of intervals whose end is not given."""
    known = next((ns for part, ns in STEPS.items() if part in feed), None)
    if known is not None:
        return known
    starts = sorted({one.start_ns for one in stamps})
    if feed in FINER:
        since_ns, before, after = FINER[feed]
        return after if starts and starts[0] >= since_ns else before
    distances = Counter(after - before for before, after in pairwise(starts))
    return min(distances, key=lambda one: (-distances[one], one)) if distances else None


def _utc(label: object) -> int:
    moment = _moment(label)
    return to_ns(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)


def _moment(label: object) -> datetime:
    if not isinstance(label, str):
        raise TypeError(f"{label!r} is no stamp")
    if "/" in label:
        return datetime.strptime(label.strip(), US_STAMP)  # noqa: DTZ007 - the caller knows the zone
    return datetime.fromisoformat(label.strip())
