"""Authorities' signed orders: whether one may be believed, and which command it becomes.

Decides by the order's own bytes: the signature by the key the authority was registered with, the
names, the area, the times and the reason. What passes becomes one command that carries the bytes and
the signature, so that anybody who reads the journal can check it again. Must never act on bytes
other than those that were signed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import DecodeError

from cloud.commands import (
    OrderCurtailment,
    OrderDemandResponse,
    OrderReserve,
    OverrideLimit,
    ZoneCommand,
)
from cloud.facts import (
    CurtailmentPlanned,
    Fact,
    LeaseIssued,
    LeaseReported,
    LimitOverridden,
    OverrideContested,
    ReserveActivated,
    ResponseCalled,
    ResponseEnded,
)
from cloud.registry import Authority
from protos import utility_pb2 as pb
from protos.clock import MINUTE_NS
from protos.messages import LeaseState, Refusal

DOMAIN = b"gridtokenx/order/v1\x00"
ORDER_BYTES_MAX = 4_096
ORDER_ID_MAX = 64
ISSUED_NS_MAX = 10 * MINUTE_NS
CLOCKS_NS_MAX = MINUTE_NS
"""By how much an authority's clock may be ahead of ours."""

EVERYWHERE = "*"
"""The area of an authority that may order in every zone: a transmission operator's."""

ORDERS_KEPT_MAX = 1_024

TOLD = (
    LimitOverridden,
    OverrideContested,
    CurtailmentPlanned,
    ReserveActivated,
    ResponseCalled,
    ResponseEnded,
    LeaseIssued,
    LeaseReported,
)
"""The facts that say what became of an order."""


class Refused(Exception):
    """An order that is not carried out; the message says what is wrong with it."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def read_order(
    request: pb.SubmitOrderRequest, caller: str, standing: Authority, now_ns: int
) -> pb.AuthorityOrder:
    """The order inside a request. Raises Refused unless it is the caller's own, in time and place."""
    if len(request.order) > ORDER_BYTES_MAX:
        raise Refused(Refusal.TOO_LARGE, f"an order has at most {ORDER_BYTES_MAX} bytes")
    if not _is_signed(standing.public_key, request.signature, request.order):
        raise Refused(
            Refusal.BAD_SIGNATURE,
            "sign the order's bytes with the key of the certificate; an authority that was registered "
            "before orders were signed must be registered again",
        )
    try:
        order = pb.AuthorityOrder.FromString(request.order)
    except DecodeError as error:
        raise Refused(Refusal.MALFORMED, "order is no AuthorityOrder") from error
    _check_names(order, caller, standing)
    _check_times(order, now_ns)
    return order


def _check_names(order: pb.AuthorityOrder, caller: str, standing: Authority) -> None:
    if not 0 < len(order.order_id) <= ORDER_ID_MAX:
        raise Refused(Refusal.MALFORMED, f"order_id: 1 to {ORDER_ID_MAX} characters")
    if order.authority != caller:
        raise Refused(
            Refusal.NOT_AUTHORISED,
            f"the order is {order.authority!r}'s and the certificate {caller!r}'s",
        )
    if standing.area not in {order.zone, EVERYWHERE}:
        raise Refused(
            Refusal.WRONG_AREA,
            f"{caller} is registered for area {standing.area!r}, not for zone {order.zone!r}",
        )
    if order.reason not in pb.OrderReason.values() or not order.reason:
        known = ", ".join(name.removeprefix("ORDER_REASON_") for name in pb.OrderReason.keys()[1:])
        raise Refused(Refusal.UNKNOWN_REASON, f"reason: one of {known}")
    if order.WhichOneof("action") is None:
        raise Refused(Refusal.MALFORMED, "action: limit, curtailment, reserve or response")


def _check_times(order: pb.AuthorityOrder, now_ns: int) -> None:
    if not now_ns - ISSUED_NS_MAX <= order.issued_ns <= now_ns + CLOCKS_NS_MAX:
        raise Refused(Refusal.EXPIRED, "issued_ns is not of the last ten minutes; sign it again")
    if order.ends_ns <= now_ns:
        raise Refused(Refusal.EXPIRED, "ends_ns lies in the past")
    if order.ends_ns <= order.starts_ns:
        raise Refused(Refusal.BAD_INTERVAL, "ends_ns must lie after starts_ns")


def command_of(
    order: pb.AuthorityOrder, request: pb.SubmitOrderRequest, standing: Authority
) -> ZoneCommand:
    """What an order asks of its zone."""
    reason = pb.OrderReason.Name(order.reason).removeprefix("ORDER_REASON_")
    match order.WhichOneof("action"):
        case "limit_w":
            return OverrideLimit(
                order.zone,
                order.element,
                order.limit_w,
                order.authority,
                reason,
                order.ends_ns,
                standing.rank,
                # Who is named for this zone outranks who may order everywhere.
                order.zone if standing.area == order.zone else "",
                order.starts_ns,
                order.order_id,
                request.order,
                request.signature,
            )
        case "curtail_to_w":
            kind: type[OrderCurtailment | OrderReserve | OrderDemandResponse] = OrderCurtailment
            power_w = order.curtail_to_w
        case "reserve_w":
            kind, power_w = OrderReserve, order.reserve_w
        case _:
            kind, power_w = OrderDemandResponse, order.reduce_by_w
    return kind(
        order.zone,
        order.order_id,
        order.element,
        power_w,
        order.starts_ns,
        order.ends_ns,
        order.authority,
        reason,
        request.order,
        request.signature,
    )


def _is_signed(public_key: bytes, signature: bytes, order: bytes) -> bool:
    try:
        key = serialization.load_der_public_key(public_key)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        key.verify(signature, DOMAIN + order, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(slots=True)
class Standing:
    """An order and how its leases stand. `signed` is empty for one from before a restart."""

    status: pb.OrderStatus
    signed: bytes = b""
    leases: dict[str, int] = field(default_factory=dict)

    def is_of(self, order: pb.AuthorityOrder, signed: bytes) -> bool:
        """Whether this is the same order again, by its bytes or what facts keep of them."""
        if self.signed:
            return self.signed == signed
        known = self.status
        return (known.authority, known.ends_ns) == (order.authority, order.ends_ns)

    def shown(self) -> pb.OrderStatus:
        states = list(self.leases.values())
        ended = {LeaseState.EXPIRED, LeaseState.REVERTED}
        status = pb.OrderStatus()
        status.CopyFrom(self.status)
        status.gateways = len(states)
        status.confirmed = sum(state in {LeaseState.ACTIVE, *ended} for state in states)
        status.reverted = sum(state in ended for state in states)
        status.failed = sum(s in {LeaseState.FAILED, LeaseState.REFUSED} for s in states)
        return status


class OrderBook:
    """All orders that were carried out lately, made from facts.

    `update` is a fact listener for the kinds in TOLD.
    """

    def __init__(self) -> None:
        self._orders: dict[str, Standing] = {}
        self._by_lease: dict[str, Standing] = {}

    def get(self, order_id: str) -> Standing | None:
        return self._orders.get(order_id)

    def update(self, facts: Sequence[Fact], _at_ns: int) -> None:
        current: Standing | None = None
        awaited = 0
        for fact in facts:
            match fact:
                case LimitOverridden() if fact.order_id:
                    self._take(
                        fact.order_id, fact.authority, "LIMIT", fact.starts_ns, fact.until_ns
                    )
                case OverrideContested():
                    self._contest(fact)
                case CurtailmentPlanned():
                    current = self._plan(fact, "CURTAILMENT")
                    awaited = fact.gateways
                case ReserveActivated():
                    current = self._plan(fact, "RESERVE")
                    current.status.asked_w = fact.power_w
                    current.status.planned_w = fact.activated_w
                    awaited = fact.gateways
                case ResponseCalled():
                    current = self._plan(fact, "RESPONSE")
                    current.status.asked_w = fact.reduction_w
                    current.status.planned_w = sum(home.reduction_w for home in fact.homes)
                    awaited = len(fact.homes)
                case ResponseEnded():
                    known = self._orders.get(fact.order_id)
                    if known is not None:
                        known.status.delivered_w = fact.reduced_w
                case LeaseIssued() if current is not None and awaited:
                    current.leases[fact.lease_id] = 0
                    self._by_lease[fact.lease_id] = current
                    awaited -= 1
                case LeaseReported() if fact.lease_id in self._by_lease:
                    self._by_lease[fact.lease_id].leases[fact.lease_id] = fact.state

    def _plan(
        self, fact: CurtailmentPlanned | ReserveActivated | ResponseCalled, action: str
    ) -> Standing:
        return self._take(fact.order_id, fact.authority, action, fact.starts_ns, fact.ends_ns)

    def _take(
        self, order_id: str, authority: str, action: str, starts_ns: int, ends_ns: int
    ) -> Standing:
        while len(self._orders) >= ORDERS_KEPT_MAX:
            for lease in self._orders.pop(next(iter(self._orders))).leases:
                self._by_lease.pop(lease, None)
        status = pb.OrderStatus(
            order_id=order_id,
            authority=authority,
            action=action,
            starts_ns=starts_ns,
            ends_ns=ends_ns,
        )
        standing = self._orders[order_id] = Standing(status)
        return standing

    def _contest(self, fact: OverrideContested) -> None:
        """The newest limit of the one that yields says to whom."""
        for standing in reversed(self._orders.values()):
            if standing.status.action == "LIMIT" and standing.status.authority == fact.yields:
                standing.status.yields_to, standing.status.decided_by = fact.holds, fact.by
                return
