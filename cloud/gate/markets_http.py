"""The wholesale side over HTTP: markets, prices, forecast, bids, settlements, risk, and its news.

Reading is open like the rest of the console's address; withdrawing a bid, reconciling a statement
and the desk's rules are the operator's. All answers are those of `Markets`.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import date
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, params
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse, ServerSentEvent

from cloud.commands import LimitDay
from cloud.gate.market_news import MarketNews, TooManyListeners
from cloud.gate.market_views import (
    BidView,
    Forecast,
    Market,
    Prices,
    Risk,
    Segment,
    SettlementView,
    StatementDay,
)
from cloud.gate.markets import (
    PUBLISHED,
    STATEMENT_BYTES_MAX,
    MarketProblem,
    Markets,
    MarketServices,
)

__all__ = ["PUBLISHED", "MarketServices", "markets_router"]

FORECAST_HOURS = 24
PING_S = 15


class Halt(BaseModel):
    """The kill switch and why it is turned."""

    model_config = ConfigDict(extra="forbid")
    is_halted: bool
    reason: str = Field(min_length=1, max_length=200)


class Point(BaseModel):
    """One step of a curve. Positive power discharges, negative charges."""

    model_config = ConfigDict(extra="forbid")
    power_w: int = Field(ge=-(1 << 40), le=1 << 40)
    price_micro_per_mwh: int = Field(ge=-(1 << 50), le=1 << 50)


class ReserveOffer(BaseModel):
    """Capacity for one hour; the price is for a MW held for an hour."""

    model_config = ConfigDict(extra="forbid")
    iso: str
    product: str
    starts_ns: int
    capacity_w: int
    price_micro_per_mw_h: int


class AheadOffer(BaseModel):
    """A day-ahead offer for one hour."""

    model_config = ConfigDict(extra="forbid")
    iso: str
    starts_ns: int
    curve: list[Point] = Field(min_length=2, max_length=11)


class DayLimits(BaseModel):
    """What a UTC day of delivery may go wrong by; 0 is no limit."""

    model_config = ConfigDict(extra="forbid")
    deviation_max_wh: int = Field(ge=0, le=1 << 50)
    loss_max_micro: int = Field(ge=0, le=1 << 60)
    soc_min_per_mille: int = Field(default=0, ge=0, le=1_000)
    soc_max_per_mille: int = Field(default=1_000, ge=0, le=1_000)


def markets_router(
    services: MarketServices, guarded: Sequence[params.Depends], news: MarketNews | None = None
) -> APIRouter:
    """All wholesale routes; `guarded` is what the operator's ones ask for."""
    router = APIRouter(prefix="/api", tags=["wholesale"])
    markets = Markets(services)
    _add_prices(router, markets)
    _add_bids(router, markets, guarded)
    _add_settlements(router, markets, guarded)
    _add_risk(router, markets, guarded)
    if news is not None:
        _add_news(router, news)
    return router


def _told(problem: MarketProblem) -> HTTPException:
    return HTTPException(problem.trouble.value, problem.text)


def _add_prices(router: APIRouter, markets: Markets) -> None:
    @router.get("/markets", summary="The ISOs, their next gates and how fresh their prices are")
    async def list_markets() -> list[Market]:
        return markets.markets()

    @router.get("/markets/{iso}/prices", summary="Prices of one market, as known at a moment")
    async def prices(
        iso: str, market: str = "", from_ns: int = 0, to_ns: int = 0, as_of_ns: int = 0
    ) -> Prices:
        try:
            return markets.prices(iso, market, from_ns, to_ns, as_of_ns)
        except MarketProblem as problem:
            raise _told(problem) from problem

    @router.get("/forecast", summary="The reference price of each coming hour")
    async def forecast(
        iso: str, hours: Annotated[int, Query(ge=1, le=48)] = FORECAST_HOURS
    ) -> Forecast:
        try:
            return markets.forecast(iso, hours)
        except MarketProblem as problem:
            raise _told(problem) from problem


def _add_bids(router: APIRouter, markets: Markets, guarded: Sequence[params.Depends]) -> None:
    @router.get("/bids", summary="The bids of the last days, by start")
    async def bids(state: str = "", iso: str = "") -> list[BidView]:
        try:
            return markets.bids(state, iso)
        except MarketProblem as problem:
            raise _told(problem) from problem

    @router.get("/bids/{bid_id}", summary="One bid")
    async def bid(bid_id: str) -> BidView:
        try:
            return markets.bid(bid_id)
        except MarketProblem as problem:
            raise _told(problem) from problem

    @router.post(
        "/bids/ahead",
        dependencies=list(guarded),
        summary="Offers an hour in a day-ahead market, which the desk does not do by itself",
    )
    async def ahead(asked: AheadOffer) -> BidView:
        curve = [Segment(one.power_w, one.price_micro_per_mwh) for one in asked.curve]
        try:
            return await markets.offer_ahead(asked.iso, asked.starts_ns, curve)
        except MarketProblem as problem:
            raise _told(problem) from problem

    @router.post(
        "/bids/reserve",
        dependencies=list(guarded),
        summary="Offers reserve capacity for an hour: SPIN, REG_UP, REG_DOWN, or PJM's REG",
    )
    async def reserve(asked: ReserveOffer) -> BidView:
        terms = (asked.product, asked.starts_ns, asked.capacity_w, asked.price_micro_per_mw_h)
        try:
            return await markets.offer_reserve(asked.iso, *terms)
        except MarketProblem as problem:
            raise _told(problem) from problem

    @router.delete(
        "/bids/{bid_id}", dependencies=list(guarded), summary="Withdraws a bid before its gate"
    )
    async def withdraw(bid_id: str, *, rebid: bool = False) -> BidView:
        try:
            return await markets.withdraw(bid_id, rebid=rebid)
        except MarketProblem as problem:
            raise _told(problem) from problem


def _add_settlements(
    router: APIRouter, markets: Markets, guarded: Sequence[params.Depends]
) -> None:
    @router.get("/settlements", summary="The days that have a statement, with its newest version")
    async def settlements() -> list[StatementDay]:
        return markets.settlements()

    @router.get("/settlements/{iso}/{day}", summary="A day's statement beside our own figures")
    async def settlement(iso: str, day: date) -> SettlementView:
        try:
            return markets.settlement(iso, day)
        except MarketProblem as problem:
            raise _told(problem) from problem

    @router.post(
        "/settlements/reconcile",
        dependencies=list(guarded),
        summary="Takes a statement (XML) and compares it line by line",
        openapi_extra={"requestBody": {"content": {"text/xml": {"schema": {"type": "string"}}}}},
    )
    async def reconcile(request: Request) -> SettlementView:
        try:
            return await markets.reconcile(await _body(request))
        except MarketProblem as problem:
            raise _told(problem) from problem


async def _body(request: Request) -> bytes:
    """The body, read no further than a statement may be long."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > STATEMENT_BYTES_MAX:
            break
    return b"".join(parts)


def _add_risk(router: APIRouter, markets: Markets, guarded: Sequence[params.Depends]) -> None:
    @router.get("/risk", summary="The desk's limits and what is used of them today")
    async def risk() -> Risk:
        return markets.risk()

    @router.put("/risk/halt", dependencies=list(guarded), summary="Turns the kill switch")
    async def halt(asked: Halt) -> Risk:
        try:
            return await markets.halt(is_halted=asked.is_halted, reason=asked.reason)
        except MarketProblem as problem:
            raise _told(problem) from problem

    @router.put("/risk/day", dependencies=list(guarded), summary="Sets the limits of a day")
    async def day(asked: DayLimits) -> Risk:
        try:
            return await markets.limit(
                LimitDay(
                    asked.deviation_max_wh,
                    asked.loss_max_micro,
                    asked.soc_min_per_mille,
                    asked.soc_max_per_mille,
                )
            )
        except MarketProblem as problem:
            raise _told(problem) from problem


def _add_news(router: APIRouter, news: MarketNews) -> None:
    async def events() -> AsyncIterator[ServerSentEvent]:
        try:
            async for one in news.follow():
                if one.lost:
                    yield ServerSentEvent(event="lost", data=str(one.lost))
                yield ServerSentEvent(event=one.kind, id=str(one.at_ns), data=one.body)
        except TooManyListeners:
            yield ServerSentEvent(event="full", data="too many listeners; try again later")

    @router.get("/markets/stream", summary="Prices, bids, awards and alerts as they happen (SSE)")
    async def stream() -> EventSourceResponse:
        return EventSourceResponse(events(), ping=PING_S)
