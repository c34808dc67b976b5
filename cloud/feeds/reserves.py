"""The prices of reserve capacity among a publication's rows, by the desk's own names.

CAISO publishes what each reserve region adds (OASIS PRC_AS): a resource is paid the sum over all the
regions that it lies in, so a sum that lacks a region is no price. PJM publishes one price by area and
service (Data Miner's reserve_market_results). Micro-units per MW and hour; the market's name is its
run and the product, DAM_AS_SPIN.
"""

from collections.abc import Iterable, Sequence

from cloud.commands import ObservePrice
from cloud.feeds.rows import Malformed, Row

REGIONS = ("AS_CAISO_EXP", "AS_CAISO", "AS_SP26_EXP", "AS_SP26")
"""What a resource south of Path 26 lies in; the last is its own."""

LOCALE = "PJM_RTO"
CAISO_ITEMS = {
    "SR": "SPIN",
    "RU": "REG_UP",
    "RD": "REG_DOWN",
    "SP_CLR_PRC": "SPIN",
    "RU_CLR_PRC": "REG_UP",
    "RD_CLR_PRC": "REG_DOWN",
}
"""By OASIS's name in CSV, and in XML."""

CAISO_REPORTS = frozenset({"AS", "PRC_AS", "PRC_INTVL_AS"})
"""The first is how a CSV file tells itself; requirements and results come in others' files."""

PJM_ITEMS = {"SR/mcp": "SPIN", "REG/mcp": "REG"}
PJM_RUNS = {"reserve_market_results": "RT", "da_reserve_market_results": "DA"}
MARK = "_AS_"


def reserve_prices(rows: Iterable[Row]) -> list[ObservePrice]:
    """The reserve prices of one publication. Raises Malformed where a region is missing."""
    regional: dict[tuple[str, int, int], dict[str, int]] = {}
    found = []
    for row in price_rows(rows):
        market, span = _market(row), (row.start_ns, row.end_ns - row.start_ns)
        if row.source == "caiso":
            regional.setdefault((market, *span), {})[row.place] = row.value_micro
        else:
            found.append(ObservePrice(row.source, LOCALE, market, *span, row.value_micro))
    return found + [_sum(*key, parts) for key, parts in regional.items()]


def price_rows(rows: Iterable[Row]) -> list[Row]:
    """The rows that reserve prices are made of."""
    return [row for row in rows if _market(row)]


def _market(row: Row) -> str:
    """The desk's name of the market that a row is a price of; empty where it is none."""
    if row.source == "caiso" and row.report in CAISO_REPORTS and row.place in REGIONS:
        run, product = row.market, CAISO_ITEMS.get(row.item)
    elif row.source == "pjm" and row.place == LOCALE:
        run, product = PJM_RUNS.get(row.report, ""), PJM_ITEMS.get(row.item)
    else:
        return ""
    return f"{run}{MARK}{product}" if run and product else ""


def _sum(market: str, starts_ns: int, duration_ns: int, parts: dict[str, int]) -> ObservePrice:
    missing: Sequence[str] = [region for region in REGIONS if region not in parts]
    if missing:
        raise Malformed("caiso", f"{market} at {starts_ns} lacks {', '.join(missing)}")
    total = sum(parts.values())
    return ObservePrice("caiso", REGIONS[-1], market, starts_ns, duration_ns, total)


def is_reserve(market: str) -> bool:
    return MARK in market


def run_of(market: str) -> str:
    """The market run that a price comes from: DAM of DAM_AS_SPIN, and of DAM itself."""
    return market.partition(MARK)[0]
