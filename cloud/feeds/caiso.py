"""CAISO's OASIS reports, CSV or XML, alone or in a zip, and its daily texts.

The columns tell the report, because names vary by report: prices with their parts (PRC_LMP,
PRC_RTPD_LMP, PRC_INTVL_LMP, PRC_HASP_LMP), reserves (PRC_AS, AS_RESULTS, AS_REQ), demand and
renewable forecasts, gas and greenhouse indices, corrections (see `caiso_corrections`) and public
bids (see `caiso_bids`). In a report that nobody has listed here every column of numbers is a value.
The GMT stamps are the truth; OPR_DT and OPR_HR only repeat them. XML and CSV of one report give the
same rows but for the report's name. OASIS reports errors inside a zip with HTTP 200: code 1000 is
`NoData`, a busy server `Throttled`, every other code `RequestRefused`. Rows come unsorted and repeat
at window edges; a repetition with the same value is dropped, one with another value is Malformed
unless a column that was not looked at tells the two apart.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from sys import intern

from cloud.feeds import caiso_bids, caiso_corrections, caiso_texts
from cloud.feeds.archive import fields, members, table, xml_elements
from cloud.feeds.columns import index_of, is_nothing, label_columns, value_columns
from cloud.feeds.intervals import to_ns
from cloud.feeds.rows import (
    Contradiction,
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

SOURCE = "caiso"
NO_DATA = "1000"
BUSY = frozenset({"1003", "1009", "1010", "1012", "1015"})
"""Time-outs, faults of the server and a group zip still in the making: the same request later."""

BUSY_RETRY_S = 60

STARTS = (
    *("INTERVALSTARTTIME_GMT", "INTERVAL_START_GMT", "STARTTIME_GMT", "START_DATE_GMT"),
    *("TIMEINTERVALSTART_GMT", "START_TIME_GMT", "INTERVALSTARTTIME", "INTERVAL_START"),
)
ENDS = (
    *("INTERVALENDTIME_GMT", "INTERVAL_END_GMT", "ENDTIME_GMT", "END_DATE_GMT"),
    *("TIMEINTERVALEND_GMT", "END_TIME_GMT", "INTERVALENDTIME", "INTERVAL_END"),
)
VALUES = ("MW", "PRC", "VALUE", "GHG_PRC_IDX", "PRICE", "NEW_PRC", "CORRECTED_PRC")
PLACES = (
    *("NODE", "NODE_ID", "RESOURCE_NAME", "TAC_AREA_NAME", "TAC_ZONE_NAME", "TRADING_HUB"),
    *("ANC_REGION", "FUEL_REGION_ID", "BAA_GRP_ID", "TI_ID", "TIE_NAME", "NOMOGRAM_ID", "AREA"),
)
"""The first of these columns that a report has is its place; XML uses the later ones."""

DATA_ITEMS = {
    "LMP_PRC": "LMP",
    "LMP_ENE_PRC": "MCE",
    "LMP_CONG_PRC": "MCC",
    "LMP_LOSS_PRC": "MCL",
    "LMP_GHG_PRC": "MGHG",
    "SP_CLR_PRC": "SR",
    "NS_CLR_PRC": "NR",
    "RU_CLR_PRC": "RU",
    "RD_CLR_PRC": "RD",
    "RMU_CLR_PRC": "RMU",
    "RMD_CLR_PRC": "RMD",
}
"""XML names prices by data item alone; CSV has their types beside it, and those are the items."""

ITEMS = ("LMP_TYPE", "RENEWABLE_TYPE", "ANC_TYPE", "DATA_ITEM", "XML_DATA_ITEM", "LABEL")
MARKETS = ("MARKET_RUN_ID", "MKT_TYPE", "EXECUTION_TYPE")
ORDERS = ("OPR_DT", "OPR_HR", "OPR_INTERVAL", "POS", "GROUP", "RENEW_POS", "MARKET_RUN_ID_POS")
"""Columns of numbers that measure nothing."""

REPORTS = {
    "LMP_TYPE": "LMP",
    "RENEWABLE_TYPE": "SLD_REN_FCST",
    "TAC_AREA_NAME": "SLD_FCST",
    "ANC_TYPE": "AS",
    "FUEL_REGION_ID": "PRC_FUEL",
    "GHG_PRC_IDX": "PRC_GHG_ALLOWANCE",
}
ROOTS = ("OASIS", "RTO", "REPORT", "MESSAGEPAYLOAD", "ERROR")
"""What the root of OASIS XML is called, in some report or other."""

SAMPLE_LINES = 200
DIGITS = frozenset("0123456789")


def parse(body: bytes) -> Page:
    """Any OASIS answer or daily text. Raises FeedError."""
    files = members(SOURCE, body)
    if not all(file.strip() for _, file in files):
        raise EmptyBody(SOURCE)
    page = _file(files[0][1])
    for _, file in files[1:]:
        page.merge(_file(file))
    page.forget()
    if not page.rows and not page.absent:
        raise NoData(SOURCE, "", "a report without rows")
    return page


def _file(file: bytes) -> Page:
    if file.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"<":
        return _xml(file)
    if caiso_texts.is_watch(file):
        return caiso_texts.watch(file)
    try:
        return _csv(file, ())
    except Contradiction:
        # A column that is not looked at, as BAA or result type, may tell the two rows apart.
        extra = _telling_columns(file)
        if not extra:
            raise
        return _csv(file, extra)


@lru_cache(maxsize=4_096)
def _instant(label: str) -> int:
    return to_ns(datetime.fromisoformat(label))


def _csv(body: bytes, extra: Sequence[int]) -> Page:
    """The rows of one CSV report; `extra` are columns whose words belong to the item."""
    page = Page()
    lines = table(SOURCE, body)
    first, names = next(lines, (0, []))
    start, end = index_of(names, STARTS), index_of(names, ENDS)
    if caiso_bids.is_bids(names):
        return caiso_bids.rows(names, lines)
    if caiso_corrections.is_corrections(names):
        return caiso_corrections.rows(names, lines)
    if min(start, end) < 0:
        raise Malformed(SOURCE, f"no OASIS report has the columns {', '.join(names)[:200]}", first)
    value = index_of(names, VALUES)
    if value < 0:
        return _wide(names, list(lines), start, end)
    place, item = index_of(names, PLACES), index_of(names, ITEMS)
    market = index_of(names, MARKETS)
    report = next((name for column, name in REPORTS.items() if index_of(names, [column]) >= 0), "")
    width, report = len(names), report or "OASIS"
    for number, line in lines:
        if len(line) != width:
            raise Malformed(SOURCE, f"{len(line)} cells under {width} columns", number)
        page.entries += 1
        cell = line[value]
        if not cell or (cell[-1] not in DIGITS and is_nothing(cell)):
            page.absent += 1
            continue
        named = line[item] if item >= 0 else names[value]
        named = DATA_ITEMS.get(named, named)
        if extra:
            named = "/".join([named, *(line[one] for one in extra)])
        try:
            row = Row(
                SOURCE,
                report,
                intern(line[market]) if market >= 0 else "",
                intern(line[place]) if place >= 0 else "",
                intern(named),
                _instant(line[start]),
                _instant(line[end]),
                micro(cell),
            )
        except ValueError as error:
            raise Malformed(SOURCE, str(error), number) from error
        page.keep(row, number)
    return page


def _wide(
    names: Sequence[str], lines: Sequence[tuple[int, list[str]]], start: int, end: int
) -> Page:
    """A report with no column of the known names: every column of numbers is a value."""
    page = Page()
    place, market = index_of(names, PLACES), index_of(names, MARKETS)
    known = {start, end, place, market, *(index_of(names, [name]) for name in ORDERS)}
    sample = [line for _, line in lines[:SAMPLE_LINES]]
    values = value_columns(names, sample, known)
    if lines and not values:
        raise Malformed(SOURCE, f"no column of {', '.join(names)[:200]} holds a value", 1)
    labels = label_columns(names, sample, {*known, *values})
    for number, line in lines:
        if len(line) != len(names):
            raise Malformed(SOURCE, f"{len(line)} cells under {len(names)} columns", number)
        page.entries += 1
        said = [line[one] for one in labels if not names[one].upper().endswith(("_GMT", "TIME"))]
        try:
            span = _instant(line[start]), _instant(line[end])
            for one in values:
                if is_nothing(line[one]):
                    page.absent += 1
                    continue
                item = "/".join([*said, names[one].strip()])
                where = line[place] if place >= 0 else ""
                run = line[market] if market >= 0 else ""
                page.keep(Row(SOURCE, "OASIS", run, where, item, *span, micro(line[one])), number)
        except ValueError as error:
            raise Malformed(SOURCE, str(error), number) from error
    return page


def _telling_columns(body: bytes) -> list[int]:
    """The columns of words that the usual reading does not look at."""
    lines = list(table(SOURCE, body))
    names = lines[0][1]
    used = {index_of(names, one) for one in (STARTS, ENDS, VALUES, PLACES, ITEMS, MARKETS)}
    used |= {index_of(names, [name]) for name in ORDERS}
    return label_columns(names, [line for _, line in lines[1:]], used)


def _xml(body: bytes) -> Page:
    page = Page()
    header: dict[str, str] = {}
    tag = ""
    for tag, element in xml_elements(SOURCE, body):
        if tag == "ERROR":
            raise _refusal(fields(element))
        if tag == "REPORT_HEADER":
            header = fields(element)
        elif tag == "REPORT_DATA":
            _xml_row(header, fields(element), page)
    if not page.rows and not page.absent and not any(one in tag.upper() for one in ROOTS):
        raise NotData(SOURCE, f"XML of another kind: {tag}")
    return page


def _refusal(told: Mapping[str, str]) -> RequestRefused | Throttled:
    code, detail = told.get("ERR_CODE", ""), told.get("ERR_DESC", "an error without a text")
    if code in BUSY:
        return Throttled(SOURCE, BUSY_RETRY_S, f"{code}: {detail}")
    kind: Callable[[str, str, str], RequestRefused] = NoData if code == NO_DATA else RequestRefused
    return kind(SOURCE, code, detail)


def _first(told: Mapping[str, str], names: Iterable[str]) -> str:
    for name in names:
        found = told.get(name)
        if found:
            return found
    return ""


def _xml_row(header: Mapping[str, str], data: Mapping[str, str], page: Page) -> None:
    page.entries += 1
    value = data.get("VALUE") or _first(data, VALUES)
    if not value or (value[-1] not in DIGITS and is_nothing(value)):
        page.absent += 1
        return
    named = _first(data, ITEMS)
    try:
        row = Row(
            SOURCE,
            header.get("REPORT", "OASIS"),
            intern(_first(header, MARKETS) or _first(data, MARKETS)),
            intern(_first(data, PLACES)),
            intern(DATA_ITEMS.get(named, named)),
            _instant(_first(data, STARTS)),
            _instant(_first(data, ENDS)),
            micro(value),
        )
    except ValueError as error:
        raise Malformed(SOURCE, str(error)) from error
    page.keep(row)


def parse_renewables_watch(body: bytes) -> Page:
    """The daily renewables text and nothing else. Raises FeedError."""
    return caiso_texts.watch(members(SOURCE, body)[0][1])
