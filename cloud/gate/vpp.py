"""The wholesale side over gRPC: the twin of its REST routes, with the operator's rights.

A caller is who its certificate says and must be a registered authority; what changes something
needs the operator's token besides. All answers are those of `Markets`.
"""

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from datetime import date
from typing import Any, TypeVar

import grpc

from cloud.gate.market_news import MarketNews, TooManyListeners
from cloud.gate.market_views import BidView, SettlementView
from cloud.gate.markets import MarketProblem, Markets, MarketServices, Trouble
from cloud.gate.peers import authority_of
from cloud.gate.utility import abort
from protos import vpp_pb2 as pb
from protos import vpp_pb2_grpc
from protos.messages import Refusal

CODES = {
    Trouble.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Trouble.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    Trouble.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Trouble.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
}
FORECAST_HOURS = 24
T = TypeVar("T")


class VppGate(vpp_pb2_grpc.VppServiceServicer):
    """gridtokenx.vpp.v1.VppService."""

    def __init__(self, services: MarketServices, news: MarketNews, token: str) -> None:
        self._services = services
        self._markets = Markets(services)
        self._news = news
        self._token = token

    async def ListMarkets(  # noqa: N802 - named by the treaty
        self, _request: pb.ListMarketsRequest, context: Any
    ) -> pb.ListMarketsResponse:
        await self._reader(context)
        found = [pb.Market(**asdict(one)) for one in self._markets.markets()]
        return pb.ListMarketsResponse(markets=found)

    async def ListPrices(  # noqa: N802
        self, request: pb.ListPricesRequest, context: Any
    ) -> pb.ListPricesResponse:
        await self._reader(context)
        asked = (request.market, request.from_ns, request.to_ns, request.as_of_ns)
        found = await _asked(context, lambda: self._markets.prices(request.iso, *asked))
        return pb.ListPricesResponse(
            iso=found.iso,
            node=found.node,
            market=found.market,
            age_ns=found.age_ns,
            prices=[pb.Price(**asdict(one)) for one in found.prices],
        )

    async def GetForecast(  # noqa: N802
        self, request: pb.GetForecastRequest, context: Any
    ) -> pb.GetForecastResponse:
        await self._reader(context)
        hours = request.hours or FORECAST_HOURS
        found = await _asked(context, lambda: self._markets.forecast(request.iso, hours))
        return pb.GetForecastResponse(
            iso=found.iso,
            node=found.node,
            starts_ns=found.starts_ns,
            step_ns=found.step_ns,
            hours=[pb.ForecastHour(price_micro_per_mwh=one) for one in found.price_micro_per_mwh],
        )

    async def ListBids(  # noqa: N802
        self, request: pb.ListBidsRequest, context: Any
    ) -> pb.ListBidsResponse:
        await self._reader(context)
        found = await _asked(context, lambda: self._markets.bids(request.state, request.iso))
        return pb.ListBidsResponse(bids=[_bid(one) for one in found])

    async def GetBid(self, request: pb.GetBidRequest, context: Any) -> pb.GetBidResponse:  # noqa: N802
        await self._reader(context)
        found = await _asked(context, lambda: self._markets.bid(request.bid_id))
        return pb.GetBidResponse(bid=_bid(found))

    async def OfferReserve(  # noqa: N802
        self, request: pb.OfferReserveRequest, context: Any
    ) -> pb.OfferReserveResponse:
        await self._operator(context)
        terms = (request.product, request.starts_ns, request.capacity_w)
        price_micro = request.price_micro_per_mw_h
        try:
            found = await self._markets.offer_reserve(request.iso, *terms, price_micro)
        except MarketProblem as problem:
            await _refuse(context, problem)
            raise
        return pb.OfferReserveResponse(bid=_bid(found))

    async def WithdrawBid(  # noqa: N802
        self, request: pb.WithdrawBidRequest, context: Any
    ) -> pb.WithdrawBidResponse:
        await self._operator(context)
        try:
            found = await self._markets.withdraw(request.bid_id, rebid=request.rebid)
        except MarketProblem as problem:
            await _refuse(context, problem)
            raise
        return pb.WithdrawBidResponse(bid=_bid(found))

    async def ListSettlements(  # noqa: N802
        self, _request: pb.ListSettlementsRequest, context: Any
    ) -> pb.ListSettlementsResponse:
        await self._reader(context)
        found = [pb.StatementDay(**asdict(one)) for one in self._markets.settlements()]
        return pb.ListSettlementsResponse(days=found)

    async def GetSettlement(  # noqa: N802
        self, request: pb.GetSettlementRequest, context: Any
    ) -> pb.GetSettlementResponse:
        await self._reader(context)
        found = await _asked(
            context, lambda: self._markets.settlement(request.iso, _day(request.day))
        )
        return pb.GetSettlementResponse(settlement=_settlement(found))

    async def Reconcile(  # noqa: N802
        self, request: pb.ReconcileRequest, context: Any
    ) -> pb.ReconcileResponse:
        await self._operator(context)
        try:
            found = await self._markets.reconcile(request.statement)
        except MarketProblem as problem:
            await _refuse(context, problem)
            raise
        return pb.ReconcileResponse(settlement=_settlement(found))

    async def GetRisk(self, _request: pb.GetRiskRequest, context: Any) -> pb.GetRiskResponse:  # noqa: N802
        await self._reader(context)
        return pb.GetRiskResponse(risk=pb.Risk(**asdict(self._markets.risk())))

    async def HaltDesk(self, request: pb.HaltDeskRequest, context: Any) -> pb.HaltDeskResponse:  # noqa: N802
        await self._operator(context)
        try:
            found = await self._markets.halt(is_halted=request.is_halted, reason=request.reason)
        except MarketProblem as problem:
            await _refuse(context, problem)
            raise
        return pb.HaltDeskResponse(risk=pb.Risk(**asdict(found)))

    async def WatchMarkets(  # noqa: N802
        self, request: pb.WatchMarketsRequest, context: Any
    ) -> AsyncIterator[pb.WatchMarketsResponse]:
        await self._reader(context)
        kinds = frozenset(request.kinds)
        try:
            async for one in self._news.follow():
                if not kinds or one.kind in kinds:
                    yield pb.WatchMarketsResponse(
                        kind=one.kind, at_ns=one.at_ns, body_json=one.body, lost=one.lost
                    )
        except TooManyListeners:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many listeners; try later")

    async def _reader(self, context: Any) -> None:
        peer = authority_of(context)
        if peer is None or peer.name not in self._services.writer.core.registry.authorities:
            await abort(
                context,
                grpc.StatusCode.PERMISSION_DENIED,
                Refusal.NOT_AUTHORISED,
                "use the certificate of a registered authority: gridtokenx authority NAME",
            )

    async def _operator(self, context: Any) -> None:
        await self._reader(context)
        shown = dict(context.invocation_metadata() or ()).get("authorization", "")
        given = shown.encode() if isinstance(shown, str) else shown
        if not secrets.compare_digest(given, f"Bearer {self._token}".encode()):
            await abort(
                context,
                grpc.StatusCode.UNAUTHENTICATED,
                Refusal.NOT_AUTHORISED,
                "send the operator's token as metadata: authorization: Bearer TOKEN",
            )


async def _asked(context: Any, ask: Callable[[], T]) -> T:
    """The answer, or the end of the call with what to do."""
    try:
        return ask()
    except MarketProblem as problem:
        await _refuse(context, problem)
        raise


async def _refuse(context: Any, problem: MarketProblem) -> None:
    await abort(context, CODES[problem.trouble], problem.reason, problem.text)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise MarketProblem(Trouble.BAD_REQUEST, "day: YYYY-MM-DD of the trade day") from error


def _bid(view: BidView) -> pb.Bid:
    fields = asdict(view)
    curve = [pb.Segment(**one) for one in fields.pop("curve")]
    stated = fields.pop("statement")
    return pb.Bid(**fields, curve=curve, statement=None if stated is None else pb.Stated(**stated))


def _settlement(view: SettlementView) -> pb.Settlement:
    fields = asdict(view)
    disputes = [pb.Dispute(**one) for one in fields.pop("disputes")]
    return pb.Settlement(**fields, disputes=disputes)
