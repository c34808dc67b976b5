"""The grid operators' API: they read feeders, loading and trades, and order curtailments.

A caller is who its certificate says; it must be registered as an authority. Reading costs the
machines nothing: it comes from views and from the zone's own figures. An order becomes a journaled
command like every other.
"""

from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from cloud.commands import FollowSignal, OrderCurtailment, ZoneCommand
from cloud.facts import Fact, SignalFollowed, ZoneRefused
from cloud.gate import grid_state
from cloud.gate.orders import EVERYWHERE, TOLD, OrderBook, Refused, command_of, read_order
from cloud.gate.peers import authority_of
from cloud.grid.congestion import most_loaded
from cloud.market.zone import Zone
from cloud.store.views import CurtailmentRow, Views
from cloud.writer import Writer
from protos import utility_pb2 as pb
from protos import utility_pb2_grpc
from protos.clock import Clock, slot_at
from protos.limits import LEASE_NS_MAX
from protos.messages import ADVICE, LeaseState, Refusal

PAGE_DEFAULT = 50
PAGE_MAX = 1_000
REQUEST_ID_MAX = 64


class UtilityGate(utility_pb2_grpc.UtilityServiceServicer):
    """gridtokenx.grid.v1.UtilityService."""

    def __init__(
        self,
        writer: Writer,
        views: Views,
        clock: Clock,
        flows_of: grid_state.FlowsOf,
        orders: OrderBook | None = None,
    ) -> None:
        """`flows_of` is what is expected of a slot to come."""
        self._flows_of = flows_of
        self._writer = writer
        self._views = views
        self._clock = clock
        self._orders = OrderBook() if orders is None else orders
        writer.listen(self._orders.update, *TOLD)

    async def ListZones(  # noqa: N802 - named by the treaty
        self, _request: pb.ListZonesRequest, context: Any
    ) -> pb.ListZonesResponse:
        await self._authority(context)
        current = slot_at(self._clock.now_ns())
        return pb.ListZonesResponse(
            zones=[
                pb.Zone(
                    name=zone.name,
                    network_sha256=zone.network.sha256.hex(),
                    nodes=len(zone.network.parent),
                    currency=zone.rules.currency,
                    current_slot=current,
                )
                for zone in self._writer.core.zones.values()
            ]
        )

    async def ListFeeders(  # noqa: N802
        self, request: pb.ListFeedersRequest, context: Any
    ) -> pb.ListFeedersResponse:
        await self._authority(context)
        zone = await self._zone(request.zone, context)
        slot = request.slot or slot_at(self._clock.now_ns())
        every = zone.element_flows(slot)
        flows = most_loaded(every, len(every))
        start, end = await _page(request.page_size, request.page_token, len(flows), context)
        return pb.ListFeedersResponse(
            feeders=[grid_state.feeder_of(zone, flow) for flow in flows[start:end]],
            next_page_token=str(end) if end < len(flows) else "",
            slot=slot,
        )

    async def ListTrades(  # noqa: N802
        self, request: pb.ListTradesRequest, context: Any
    ) -> pb.ListTradesResponse:
        await self._authority(context)
        await self._zone(request.zone, context)
        trades = [
            trade
            for trade in self._views.trades
            if trade.zone == request.zone and trade.slot == request.slot
        ]
        start, end = await _page(request.page_size, request.page_token, len(trades), context)
        return pb.ListTradesResponse(
            trades=[
                pb.Trade(
                    trade=trade.trade,
                    energy_wh=trade.energy_wh,
                    price_micro_per_kwh=trade.price_micro_per_kwh,
                    buyer=trade.buyer,
                    seller=trade.seller,
                )
                for trade in trades[start:end]
            ],
            next_page_token=str(end) if end < len(trades) else "",
        )

    async def OrderCurtailment(  # noqa: N802
        self, request: pb.OrderCurtailmentRequest, context: Any
    ) -> pb.OrderCurtailmentResponse:
        authority = await self._authority(context)
        zone = await self._zone(request.zone, context)
        await self._in_area(authority, request.zone, context)
        await self._check_order(request, zone, context)
        if request.request_id not in self._views.curtailments:
            await self._carry_out(
                OrderCurtailment(
                    request.zone,
                    request.request_id,
                    request.element,
                    request.limit_w,
                    request.starts_ns,
                    request.ends_ns,
                    authority,
                    request.reason,
                ),
                context,
            )
        return pb.OrderCurtailmentResponse(
            curtailment=_curtailment(self._views.curtailments[request.request_id])
        )

    async def GetCurtailment(  # noqa: N802
        self, request: pb.GetCurtailmentRequest, context: Any
    ) -> pb.GetCurtailmentResponse:
        await self._authority(context)
        row = self._views.curtailments.get(request.request_id)
        if row is None:
            await abort(
                context,
                grpc.StatusCode.NOT_FOUND,
                Refusal.UNKNOWN_ELEMENT,
                f"no curtailment {request.request_id!r}; order it first",
            )
        return pb.GetCurtailmentResponse(curtailment=_curtailment(row))

    async def SubmitOrder(  # noqa: N802
        self, request: pb.SubmitOrderRequest, context: Any
    ) -> pb.SubmitOrderResponse:
        caller = await self._authority(context)
        standing = self._writer.core.registry.authorities[caller]
        now_ns = self._clock.now_ns()
        try:
            order = read_order(request, caller, standing, now_ns)
        except Refused as error:
            denied = {Refusal.NOT_AUTHORISED, Refusal.WRONG_AREA, Refusal.BAD_SIGNATURE}
            code = grpc.StatusCode.INVALID_ARGUMENT
            if error.reason in denied:
                code = grpc.StatusCode.PERMISSION_DENIED
            await abort(context, code, error.reason, str(error))
        await self._zone(order.zone, context)
        known = self._orders.get(order.order_id)
        if known is None:
            await self._carry_out(command_of(order, request, standing), context)
            known = self._orders.get(order.order_id)
            if known is not None:
                known.signed = request.order
        if known is None or not known.is_of(order, request.order):
            reason = Refusal.CHANGED_REPLAY
            await abort(context, grpc.StatusCode.ALREADY_EXISTS, reason, ADVICE[reason])
        return pb.SubmitOrderResponse(status=known.shown())

    async def GetOrder(  # noqa: N802
        self, request: pb.GetOrderRequest, context: Any
    ) -> pb.GetOrderResponse:
        await self._authority(context)
        known = self._orders.get(request.order_id)
        if known is None:
            await abort(
                context,
                grpc.StatusCode.NOT_FOUND,
                Refusal.UNKNOWN_ELEMENT,
                f"no order {request.order_id!r} of late; submit it first",
            )
        return pb.GetOrderResponse(status=known.shown())

    async def SendSignal(  # noqa: N802
        self, request: pb.SendSignalRequest, context: Any
    ) -> pb.SendSignalResponse:
        caller = await self._authority(context)
        await self._zone(request.zone, context)
        await self._in_area(caller, request.zone, context)
        facts = await self._carry_out(
            FollowSignal(request.zone, request.element, request.power_w, caller), context
        )
        (followed,) = [fact for fact in facts if isinstance(fact, SignalFollowed)]
        return pb.SendSignalResponse(set_w=followed.set_w, gateways=followed.gateways)

    async def ListOutages(  # noqa: N802
        self, request: pb.ListOutagesRequest, context: Any
    ) -> pb.ListOutagesResponse:
        await self._authority(context)
        return grid_state.outages_of(await self._zone(request.zone, context))

    async def ListAlarms(  # noqa: N802
        self, request: pb.ListAlarmsRequest, context: Any
    ) -> pb.ListAlarmsResponse:
        await self._authority(context)
        return grid_state.alarms_of(await self._zone(request.zone, context))

    async def ListEnvelopes(  # noqa: N802
        self, request: pb.ListEnvelopesRequest, context: Any
    ) -> pb.ListEnvelopesResponse:
        await self._authority(context)
        zone = await self._zone(request.zone, context)
        fact = zone.grid.envelopes
        if fact is None:
            return pb.ListEnvelopesResponse()
        count = len(fact.homes)
        start, end = await _page(request.page_size, request.page_token, count, context)
        return pb.ListEnvelopesResponse(
            envelopes=grid_state.envelopes_of(zone, fact, start, end),
            next_page_token=str(end) if end < count else "",
            slot=fact.slot,
        )

    async def ListCongestion(  # noqa: N802
        self, request: pb.ListCongestionRequest, context: Any
    ) -> pb.ListCongestionResponse:
        await self._authority(context)
        zone = await self._zone(request.zone, context)
        first = slot_at(self._clock.now_ns())
        least = request.loading_per_mille
        return await grid_state.congestion_of(zone, first, request.slots, least, self._flows_of)

    async def GetGridState(  # noqa: N802
        self, request: pb.GetGridStateRequest, context: Any
    ) -> pb.GetGridStateResponse:
        await self._authority(context)
        found = grid_state.state_of(await self._zone(request.zone, context))
        if found is None:
            await abort(
                context,
                grpc.StatusCode.NOT_FOUND,
                Refusal.TOO_EARLY,
                "no home has been heard yet; the state is estimated once a minute",
            )
        return found

    async def _in_area(self, caller: str, zone: str, context: Any) -> None:
        if self._writer.core.registry.authorities[caller].area not in {zone, EVERYWHERE}:
            reason = Refusal.WRONG_AREA
            await abort(context, grpc.StatusCode.PERMISSION_DENIED, reason, ADVICE[reason])

    async def _carry_out(self, command: ZoneCommand, context: Any) -> list[Fact]:
        """The facts of a command that was not refused."""
        facts = await self._writer.submit(command)
        for fact in facts:
            if isinstance(fact, ZoneRefused):
                reason = Refusal(fact.reason)
                code = grpc.StatusCode.FAILED_PRECONDITION
                await abort(context, code, reason, ADVICE[reason])
        return facts

    async def _check_order(
        self, request: pb.OrderCurtailmentRequest, zone: Zone, context: Any
    ) -> None:
        problem = None
        if not 0 < len(request.request_id) <= REQUEST_ID_MAX:
            problem = Refusal.MALFORMED, f"request_id: 1 to {REQUEST_ID_MAX} characters"
        elif not 0 < request.element < len(zone.network.parent):
            problem = Refusal.UNKNOWN_ELEMENT, "element: take one from ListFeeders"
        elif not self._clock.now_ns() < request.ends_ns:
            problem = Refusal.BAD_INTERVAL, "ends_ns lies in the past"
        elif not 0 < request.ends_ns - request.starts_ns <= LEASE_NS_MAX:
            problem = Refusal.BAD_INTERVAL, "ends_ns must lie after starts_ns, by a day at most"
        elif not request.reason:
            problem = Refusal.MALFORMED, "reason: give the code that is to be logged"
        if problem is not None:
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, *problem)

    async def _authority(self, context: Any) -> str:
        peer = authority_of(context)
        if peer is None or peer.name not in self._writer.core.registry.authorities:
            await abort(
                context,
                grpc.StatusCode.PERMISSION_DENIED,
                Refusal.NOT_AUTHORISED,
                "use the certificate of a registered authority: gridtokenx authority NAME",
            )
        return peer.name

    async def _zone(self, name: str, context: Any) -> Zone:
        zone = self._writer.core.zones.get(name)
        if zone is None:
            known = ", ".join(self._writer.core.zones)
            await abort(
                context,
                grpc.StatusCode.NOT_FOUND,
                Refusal.UNKNOWN_ELEMENT,
                f"no zone {name!r}; there are: {known}",
            )
        return zone


def _curtailment(row: CurtailmentRow) -> pb.Curtailment:
    states = list(row.leases.values())
    running = {LeaseState.ACTIVE, LeaseState.EXPIRED, LeaseState.REVERTED}
    ended = {LeaseState.EXPIRED, LeaseState.REVERTED}
    failed = {LeaseState.FAILED, LeaseState.REFUSED}
    plan = row.plan
    return pb.Curtailment(
        request_id=plan.order_id,
        zone=plan.zone,
        element=plan.element,
        limit_w=plan.limit_w,
        starts_ns=plan.starts_ns,
        ends_ns=plan.ends_ns,
        authority=plan.authority,
        reason=plan.reason,
        gateways=plan.gateways,
        confirmed=sum(state in running for state in states),
        reverted=sum(state in ended for state in states),
        failed=sum(state in failed for state in states),
    )


async def _page(size: int, token: str, count: int, context: Any) -> tuple[int, int]:
    """Start and end of a page. Sizes are coerced; what cannot be meant is refused."""
    if size < 0 or (token and not token.isdigit()):
        await abort(
            context,
            grpc.StatusCode.INVALID_ARGUMENT,
            Refusal.MALFORMED,
            "page_size must not be negative, page_token must come from the page before",
        )
    start = min(int(token or 0), count)
    return start, min(start + (min(size, PAGE_MAX) or PAGE_DEFAULT), count)


async def abort(context: Any, code: grpc.StatusCode, reason: Refusal, message: str) -> NoReturn:
    """Ends the call with a rich status: the reason for programs, the sentence for people."""
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason.name, domain="gridtokenx"))
    status = status_pb2.Status(code=code.value[0], message=message, details=[detail])
    await context.abort(
        code,
        message,
        trailing_metadata=(("grpc-status-details-bin", status.SerializeToString()),),
    )
    raise AssertionError("abort does not return")
