"""Facts as the gateways hear them, and what is kept for a gateway that is away."""

from collections import deque
from collections.abc import Iterator

from cloud.facts import (
    GateClosed,
    LeaseIssued,
    OfferCancelled,
    OfferReduced,
    OfferRefused,
    OfferRested,
    Traded,
    TradeVoided,
)
from protos import common_pb2
from protos import gateway_pb2 as pb
from protos.ids import DeviceId
from protos.limits import OPEN_OFFERS_PER_DEVICE_MAX
from protos.messages import ADVICE, Refusal

LEASES_KEPT_MAX = 16


def refused(reason: int) -> common_pb2.Refused:
    refusal = Refusal(reason)
    return common_pb2.Refused(reason=refusal, name=refusal.name, advice=ADVICE[refusal])


OfferFact = OfferRested | Traded | OfferCancelled | OfferReduced | OfferRefused | TradeVoided


def outcome_of(fact: OfferFact) -> Iterator[tuple[DeviceId, pb.OfferOutcome]]:
    """Whom a fact concerns as the owner of an offer, and what it says to them."""
    match fact:
        case OfferRested():
            yield (
                fact.device,
                pb.OfferOutcome(
                    number=fact.number,
                    state=pb.OFFER_STATE_RESTED,
                    price_micro_per_kwh=fact.price_micro_per_kwh,
                ),
            )
        case Traded():
            for device, number in (
                (fact.buyer_device, fact.buyer_number),
                (fact.seller_device, fact.seller_number),
            ):
                yield (
                    device,
                    pb.OfferOutcome(
                        number=number,
                        state=pb.OFFER_STATE_FILLED,
                        energy_wh=fact.energy_wh,
                        price_micro_per_kwh=fact.price_micro_per_kwh,
                    ),
                )
        case TradeVoided():
            for device, number in (
                (fact.buyer_device, fact.buyer_number),
                (fact.seller_device, fact.seller_number),
            ):
                outcome = pb.OfferOutcome(number=number, state=pb.OFFER_STATE_CANCELLED)
                outcome.refused.CopyFrom(refused(fact.reason))
                yield device, outcome
        case OfferCancelled():
            outcome = pb.OfferOutcome(number=fact.number, state=pb.OFFER_STATE_CANCELLED)
            if fact.reason:
                outcome.refused.CopyFrom(refused(fact.reason))
            yield fact.device, outcome
        case OfferReduced():
            yield (
                fact.device,
                pb.OfferOutcome(
                    number=fact.number,
                    state=pb.OFFER_STATE_REDUCED,
                    energy_wh=fact.energy_wh,
                    refused=refused(Refusal.SELF_TRADE),
                ),
            )
        case OfferRefused():
            yield (
                fact.device,
                pb.OfferOutcome(
                    number=fact.number,
                    state=pb.OFFER_STATE_REFUSED,
                    refused=refused(fact.reason),
                ),
            )


def lease_order(fact: LeaseIssued) -> pb.LeaseOrder:
    order = pb.LeaseOrder(
        lease_id=fact.lease_id,
        not_before_ns=fact.not_before_ns,
        expires_ns=fact.expires_ns,
        ramp_w_per_s=fact.ramp_w_per_s,
        reason=fact.reason,
    )
    if fact.power_w is not None:
        order.power_w = fact.power_w
    if fact.export_limit_w is not None:
        order.export_limit_w = fact.export_limit_w
    if fact.import_limit_w is not None:
        order.import_limit_w = fact.import_limit_w
    return order


def market_news(fact: GateClosed) -> pb.MarketNews:
    return pb.MarketNews(
        slot=fact.slot,
        last_price_micro_per_kwh=fact.last_price_micro_per_kwh,
        volume_wh=fact.volume_wh,
    )


class OfferBacklog:
    """Outcomes and leases for gateways without a stream, as they will be sent.

    Bounded a device: the oldest outcomes give way, which costs the agent knowledge of offers that
    are long gone and nothing else; of leases only those that still run are kept.
    """

    def __init__(self) -> None:
        self._outcomes: dict[DeviceId, deque[bytes]] = {}
        self._leases: dict[DeviceId, deque[tuple[int, bytes]]] = {}

    def keep_outcome(self, device: DeviceId, outcome: bytes) -> None:
        kept = self._outcomes.setdefault(device, deque(maxlen=OPEN_OFFERS_PER_DEVICE_MAX))
        kept.append(outcome)

    def take_outcomes(self, device: DeviceId) -> list[bytes]:
        return list(self._outcomes.pop(device, ()))

    def keep_lease(self, device: DeviceId, expires_ns: int, message: bytes, now_ns: int) -> None:
        kept = self._leases.setdefault(device, deque(maxlen=LEASES_KEPT_MAX))
        while kept and kept[0][0] <= now_ns:
            kept.popleft()
        kept.append((expires_ns, message))

    def leases(self, device: DeviceId, now_ns: int) -> list[bytes]:
        return [
            message for expires_ns, message in self._leases.get(device, ()) if expires_ns > now_ns
        ]
