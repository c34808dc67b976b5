"""What is open of an offer, what is said of it, and the orders in which offers are gone through.

Decides nothing. Both orders are total, so that a replay goes through the same offers the same way.
"""

from dataclasses import dataclass

from cloud.facts import OfferCancelled, OfferReduced, OfferRefused, OfferRested
from cloud.market.risk import Purse
from cloud.market.streams import Gateway
from protos.messages import Offer, Refusal, SelfTrade, Side


@dataclass(slots=True)
class OpenOffer:
    """What is left of an offer. `order` is its number in the book, `unit_micro` what a Wh holds."""

    order: int
    gateway: Gateway
    purse: Purse
    number: int
    slot: int
    side: Side
    energy_wh: int
    price_micro_per_kwh: int
    unit_micro: int
    cls: int
    gathered: bool
    """Whether it waits for an auction and is in no book."""
    is_market: bool
    """Whether it takes any price and must never rest in a book."""
    self_trade: SelfTrade = SelfTrade.OLDEST

    def state(self) -> object:
        return (
            self.order,
            self.gateway.device,
            self.number,
            self.slot,
            int(self.side),
            self.energy_wh,
            self.price_micro_per_kwh,
            self.unit_micro,
            self.cls,
            int(self.gathered),
            int(self.is_market),
            int(self.self_trade),
        )


def by_arrival(entry: OpenOffer) -> int:
    """Oldest first."""
    return entry.order


def by_priority(entry: OpenOffer) -> tuple[int, int, int, int]:
    """As a book ranks them: buyers first, in each side the best price, then class, then arrival."""
    price = entry.price_micro_per_kwh
    best_first = -price if entry.side is Side.BUY else price
    return int(entry.side), best_first, entry.cls, entry.order


def rested(zone: str, entry: OpenOffer) -> OfferRested:
    return OfferRested(
        zone,
        entry.slot,
        entry.gateway.device,
        entry.number,
        entry.gateway.account,
        int(entry.side),
        entry.energy_wh,
        entry.price_micro_per_kwh,
    )


def refused(zone: str, gateway: Gateway, offer: Offer, reason: Refusal) -> OfferRefused:
    return OfferRefused(zone, offer.slot, gateway.device, offer.number, offer.energy_wh, reason)


def cancelled(zone: str, entry: OpenOffer, energy_wh: int, reason: int) -> OfferCancelled:
    return OfferCancelled(zone, entry.slot, entry.gateway.device, entry.number, energy_wh, reason)


def reduced(zone: str, entry: OpenOffer, energy_wh: int) -> OfferReduced:
    """After the energy went."""
    device, left_wh = entry.gateway.device, entry.energy_wh
    return OfferReduced(zone, entry.slot, device, entry.number, energy_wh, left_wh)
