"""PJM Data Miner's JSON: the envelope with `items`, its errors, and the public tool notices.

Every numeric column of an item is a row, by the column's own name; LMP components take their short
names. Stamps are naive: `_utc` is the truth, `_ept` repeats it in Eastern prevailing time. An hourly
feed gives no end, so its interval is one hour; other feeds without one are refused. Superseded
versions (`row_is_current` false) are counted as absent.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from cloud.feeds import archive
from cloud.feeds.intervals import HOUR_NS, to_ns
from cloud.feeds.rows import Malformed, NoData, NotData, Page, RequestRefused, Row, micro
from protos.clock import MINUTE_NS

SOURCE = "pjm"
STEPS = {"hrl": HOUR_NS, "fivemin": 5 * MINUTE_NS, "five_min": 5 * MINUTE_NS}
LMP_ITEMS = {
    "total_lmp": "LMP",
    "system_energy_price": "MCE",
    "congestion_price": "MCC",
    "marginal_loss_price": "MCL",
}
"""PJM's columns carry `_da` or `_rt`; the parts are named as elsewhere so that one gate fits all."""

NOT_VALUES = {"pnode_id", "version_nbr", "row_is_current", "pnode_name", "type", "zone", "voltage"}
START, END = "datetime_beginning_utc", "datetime_ending_utc"


def parse(body: bytes) -> Page:
    """One page of a feed. Raises FeedError."""
    document = archive.document(SOURCE, archive.members(SOURCE, body)[0][1])
    if not isinstance(document, dict):
        raise Malformed(SOURCE, "not a Data Miner answer")
    if "errors" in document:
        raise refusal(document)
    if "messages" in document:
        raise NotData(SOURCE, "a tool notice, not a feed")
    items = document.get("items")
    if not isinstance(items, list):
        raise Malformed(SOURCE, "no items in the answer")
    links = _links(document)
    page = Page(announced=_whole(document.get("totalRows")), following=links.get("next"))
    feed = links.get("self", "").partition("?")[0].rstrip("/").rpartition("/")[2]
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise Malformed(SOURCE, "an item is no record", number)
        page.entries += 1
        _item(item, feed, page, number)
    if not items:
        raise NoData(SOURCE, "", "a page without items")
    return page


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
    return value if isinstance(value, int) else None


def _item(item: Mapping[str, Any], feed: str, page: Page, number: int) -> None:
    if item.get("row_is_current") is False:
        page.absent += 1
        return
    start_ns, end_ns = _interval(item, feed, number)
    place = str(item.get("pnode_id") or item.get("area") or item.get("forecast_area") or "PJM")
    found = 0
    for column, value in item.items():
        if column in NOT_VALUES or isinstance(value, str | bool):
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
        page.rows.append(Row(SOURCE, feed, market, place, name, start_ns, end_ns, amount))
        found += 1
    if not found:
        page.absent += 1


def _name(column: str) -> tuple[str, str]:
    """A column's item and market: the parts of a price are DA or RT, all else is as named."""
    stem, _, market = column.rpartition("_")
    if stem in LMP_ITEMS and market in {"da", "rt"}:
        return LMP_ITEMS[stem], market.upper()
    return column, ""


def _interval(item: Mapping[str, Any], feed: str, number: int) -> tuple[int, int]:
    try:
        start_ns = _utc(item[START])
        if END in item:
            end_ns = _utc(item[END])
        else:
            step = next((ns for part, ns in STEPS.items() if part in feed), None)
            if step is None:
                raise Malformed(SOURCE, f"feed {feed!r} gives no end of its intervals", number)
            end_ns = start_ns + step
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(SOURCE, f"no interval: {error}", number) from error
    if end_ns <= start_ns:
        raise Malformed(SOURCE, "an interval ends before it starts", number)
    return start_ns, end_ns


def _utc(label: object) -> int:
    if not isinstance(label, str):
        raise TypeError(f"{label!r} is no stamp")
    moment = datetime.fromisoformat(label)
    return to_ns(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)
