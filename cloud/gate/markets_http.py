"""The wholesale side over HTTP: markets, prices, forecast, bids, settlements.

Reading is open like the rest of the console's address; withdrawing a bid and reconciling a
statement are the operator's. Numbers go out as integers in the units their names end with. Decides
nothing: the desk, the venues and the shadow settlement do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, HTTPException, Query, Request, params

from cloud.commands import RecordStatement, Statement, StatementLine
from cloud.facts import BidPrepared
from cloud.feeds.intervals import EASTERN, PACIFIC, Interval, trade_day
from cloud.store.prices import Known, PriceStore, Series
from cloud.store.settlements import SettlementStore
from cloud.venues.statements import parse_statement
from cloud.venues.venue import BadAnswer
from cloud.vpp.bids import OFFERED, Bid, Product
from cloud.vpp.settlement import (
    DayAccount,
    Dispute,
    Position,
    SettlementPrices,
    shadow,
)
from cloud.writer import Writer
from protos.clock import MINUTE_NS, Clock
from protos.messages import ADVICE

HOUR_NS = 60 * MINUTE_NS
FORECAST_HOURS = 24
ROWS_MAX = 5_000
STATEMENT_BYTES_MAX = 8 * 1024 * 1024
ZONES = {"caiso": PACIFIC, "pjm": EASTERN}
PUBLISHED = {"RTM": "RTPD", "DAM": "DAM", "RT": "RT", "DA": "DA"}
"""The publications' names of the desk's markets."""


class Withdrawals(Protocol):
    """Whoever speaks to the venues."""

    async def cancel(self, bid: BidPrepared, *, rebid: bool = False) -> bool: ...


@dataclass(frozen=True, slots=True)
class MarketServices:
    """What the wholesale routes stand on."""

    writer: Writer
    clock: Clock
    prices: PriceStore
    settlements: SettlementStore
    venues: Withdrawals


def markets_router(services: MarketServices, guarded: Sequence[params.Depends]) -> APIRouter:
    """All wholesale routes; `guarded` is what the operator's ones ask for."""
    router = APIRouter(prefix="/api")
    _add_prices(router, services)
    _add_bids(router, services, guarded)
    _add_settlements(router, services, guarded)
    return router


def _add_prices(router: APIRouter, services: MarketServices) -> None:
    @router.get("/markets")
    async def markets() -> list[dict[str, Any]]:
        now_ns = services.clock.now_ns()
        return [_market(product, now_ns) for product in OFFERED]

    @router.get("/markets/{iso}/prices")
    async def prices(
        iso: str,
        market: str = "",
        from_ns: int = 0,
        to_ns: int = 0,
        as_of_ns: int = 0,
    ) -> dict[str, Any]:
        product = _product(iso)
        now_ns = services.clock.now_ns()
        start_ns = from_ns or now_ns // HOUR_NS * HOUR_NS - 12 * HOUR_NS
        span = Interval(start_ns, to_ns or start_ns + 24 * HOUR_NS)
        named = PUBLISHED.get(market or product.market)
        if named is None:
            raise HTTPException(404, f"{iso} has {product.market} and {product.ahead}")
        series = Series(iso, named, product.node)
        found = services.prices.as_of(series, span, as_of_ns or now_ns)
        return {
            "iso": iso,
            "node": product.node,
            "market": named,
            "age_ns": services.prices.age_ns(series, now_ns),
            "prices": [_price(one) for one in found[:ROWS_MAX]],
        }

    @router.get("/forecast")
    async def forecast(
        iso: str, hours: Annotated[int, Query(ge=1, le=48)] = FORECAST_HOURS
    ) -> dict[str, Any]:
        product = _product(iso)
        start_ns = services.clock.now_ns() // HOUR_NS * HOUR_NS
        path = services.writer.core.desk.reference(product, start_ns, hours)
        return {
            "iso": iso,
            "node": product.node,
            "starts_ns": start_ns,
            "step_ns": HOUR_NS,
            "price_micro_per_mwh": path,
        }


def _add_bids(
    router: APIRouter, services: MarketServices, guarded: Sequence[params.Depends]
) -> None:
    desk = services.writer.core.desk

    @router.get("/bids")
    async def bids(state: str = "") -> list[dict[str, Any]]:
        return [_bid(one) for one in desk.bids() if state in {"", one.state.value}]

    @router.get("/bids/{bid_id}")
    async def bid(bid_id: str) -> dict[str, Any]:
        return _bid(_known(bid_id))

    @router.delete("/bids/{bid_id}", dependencies=list(guarded))
    async def withdraw(bid_id: str, *, rebid: bool = False) -> dict[str, Any]:
        standing = _known(bid_id)
        refusal = standing.cancellation_objection(services.clock.now_ns())
        if refusal is not None:
            raise HTTPException(409, f"{refusal.name}: {ADVICE[refusal]}")
        if not await services.venues.cancel(standing.prepared, rebid=rebid):
            raise HTTPException(409, f"{standing.prepared.venue} did not let the bid go; it stands")
        return _bid(_known(bid_id))

    def _known(bid_id: str) -> Bid:
        found = next((one for one in desk.bids() if one.prepared.bid_id == bid_id), None)
        if found is None:
            raise HTTPException(404, f"no bid {bid_id!r} of the last days")
        return found


def _add_settlements(
    router: APIRouter, services: MarketServices, guarded: Sequence[params.Depends]
) -> None:
    @router.get("/settlements")
    async def settlements() -> list[dict[str, Any]]:
        return [
            {"iso": venue, "day": day, "version": version}
            for venue, day, version in services.settlements.days()
        ]

    @router.get("/settlements/{iso}/{day}")
    async def settlement(iso: str, day: date) -> dict[str, Any]:
        bodies = services.settlements.statements(iso, day.isoformat())
        if not bodies:
            raise HTTPException(404, f"no statement of {iso} for {day} yet")
        return _account(services, iso, day, [parse_statement(body) for body in bodies])

    @router.post("/settlements/reconcile", dependencies=list(guarded))
    async def reconcile(request: Request) -> dict[str, Any]:
        body = await request.body()
        if len(body) > STATEMENT_BYTES_MAX:
            raise HTTPException(413, f"a statement has at most {STATEMENT_BYTES_MAX} bytes")
        try:
            statement = parse_statement(body)
            day = date.fromisoformat(statement.day)
        except (BadAnswer, ValueError) as error:
            raise HTTPException(422, str(error)) from error
        if statement.venue not in ZONES:
            raise HTTPException(422, f"no venue {statement.venue!r}; there are {', '.join(ZONES)}")
        new = services.settlements.keep_statement(
            statement.venue, statement.day, statement.version, body, services.clock.now_ns()
        )
        kept = services.settlements.statements(statement.venue, statement.day)
        if not new and body not in kept:
            raise HTTPException(409, f"version {statement.version} came before with other contents")
        if new:
            await _settle(services, statement)
        versions = [parse_statement(one) for one in kept]
        return _account(services, statement.venue, day, versions)


async def _settle(services: MarketServices, statement: Statement) -> None:
    """Tells the desk what each of its bids is paid; bids it has forgotten are refused there."""
    amounts: dict[str, int] = {}
    for line in statement.lines:
        amounts[line.bid_id] = amounts.get(line.bid_id, 0) + line.amount_cents
    known = {one.prepared.bid_id for one in services.writer.core.desk.bids()}
    for bid_id in sorted(amounts.keys() & known):
        micro = amounts[bid_id] * 10_000
        await services.writer.submit(RecordStatement(bid_id, statement.version, micro))


def _account(
    services: MarketServices, iso: str, day: date, versions: Sequence[Statement]
) -> dict[str, Any]:
    account = DayAccount(iso, day.isoformat())
    lines, unpriced = _expected(services, iso, day)
    for version in versions:
        account.receive(version, lines)
    newest = account.newest
    assert newest is not None, "an account is made of at least one statement"
    expected_cents = sum(line.amount_cents for line in lines)
    return {
        "iso": iso,
        "day": day.isoformat(),
        "versions": [one.version for one in versions],
        "stated_cents": newest.total_cents,
        "expected_cents": expected_cents,
        "difference_cents": newest.total_cents - expected_cents,
        "unpriced_intervals": unpriced,
        "disputes": [_dispute(one) for one in account.open_disputes],
    }


def _expected(
    services: MarketServices, iso: str, day: date
) -> tuple[tuple[StatementLine, ...], list[int]]:
    """Our lines of one trade day, and the starts that no price is known of."""
    product = _product(iso)
    span = trade_day(day, ZONES[iso])
    series = Series(iso, PUBLISHED[product.market], product.node)
    prices = {one.start_ns: one.value_micro for one in services.prices.latest(series, span)}
    kept = services.settlements.positions(iso, span.start_ns, span.end_ns)
    positions = [
        Position(one.bid_id, one.starts_ns, one.awarded_wh, one.delivered_wh or 0)
        for one in kept
        if one.starts_ns in prices
    ]
    unpriced = sorted({one.starts_ns for one in kept} - prices.keys())
    return shadow(iso, positions, SettlementPrices(prices, prices)), unpriced


def _product(iso: str) -> Product:
    found = next((product for product in OFFERED if product.venue == iso), None)
    if found is None:
        raise HTTPException(404, f"no market {iso!r}; there are {', '.join(ZONES)}")
    return found


def _market(product: Product, now_ns: int) -> dict[str, Any]:
    gate_ns = (now_ns + product.gate_lead_ns) // HOUR_NS * HOUR_NS + HOUR_NS
    return {
        "iso": product.venue,
        "node": product.node,
        "real_time": product.market,
        "day_ahead": product.ahead,
        "step_ns": product.step_ns,
        "next_gate_ns": gate_ns - product.gate_lead_ns,
    }


def _price(known: Known) -> dict[str, int]:
    return {
        "starts_ns": known.start_ns,
        "ends_ns": known.end_ns,
        "price_micro_per_mwh": known.value_micro,
        "version": known.version,
        "seen_ns": known.seen_ns,
    }


def _bid(bid: Bid) -> dict[str, Any]:
    prepared = bid.prepared
    return {
        "bid_id": prepared.bid_id,
        "iso": prepared.venue,
        "node": prepared.node,
        "market": prepared.market,
        "state": bid.state.value,
        "starts_ns": prepared.starts_ns,
        "duration_ns": prepared.duration_ns,
        "gate_ns": prepared.gate_ns,
        "curve": [
            {"power_w": one.power_w, "price_micro_per_mwh": one.price_micro_per_mwh}
            for one in prepared.curve
        ],
        "reason": "" if bid.answer is None else bid.answer[2],
        "revenue_micro": bid.revenue_micro,
        "statement": None
        if bid.statement is None
        else {"version": bid.statement[0], "amount_micro": bid.statement[1]},
    }


def _dispute(dispute: Dispute) -> dict[str, Any]:
    code, bid_id, starts_ns = dispute.difference.key
    return {
        "charge_code": code,
        "bid_id": bid_id,
        "starts_ns": starts_ns,
        "reason": dispute.difference.reason.value,
        "cents": dispute.difference.cents,
        "since_version": dispute.opened_version,
    }
