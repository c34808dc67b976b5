"""Whether an offer may be: its terms, what it replaces, and whether its account can carry it.

Decides before anything is changed, and changes nothing itself: a refused offer leaves what it was
to replace as it stood.
"""

from cloud.commands import ZoneRules
from cloud.market.offers import OpenOffer
from cloud.market.slots import Markets
from cloud.market.streams import Gateway
from protos.limits import OFFER_ENERGY_WH_MAX, PRICE_MICRO_PER_KWH_MAX
from protos.messages import Offer, OrderKind, Refusal, Side, TimeInForce


def refuse_terms(markets: Markets, gateway: Gateway, offer: Offer, now_ns: int) -> Refusal | None:
    """Why the offer is not one that could be traded, whoever made it."""
    if offer.number <= gateway.offer_number:
        return Refusal.DUPLICATE_NUMBER
    if offer.kind not in {OrderKind.LIMIT, OrderKind.MARKET}:
        return Refusal.NOT_AUTHORISED
    if not 0 < offer.energy_wh <= OFFER_ENERGY_WH_MAX:
        return Refusal.BAD_ENERGY
    refusal = markets.refuse(offer.slot, now_ns)
    if refusal is not None or offer.kind is OrderKind.MARKET:
        return refusal
    rules, price = markets.rules, offer.price_micro_per_kwh
    if abs(price) > PRICE_MICRO_PER_KWH_MAX:
        return Refusal.BAD_PRICE
    low, high = rules.fallback_export_micro_per_kwh, rules.fallback_import_micro_per_kwh
    if not low <= price <= high:
        return Refusal.PRICE_OUTSIDE_BAND
    if (price - low) % rules.tick_micro_per_kwh:
        return Refusal.PRICE_OFF_TICK
    return None


def refuse_replacement(earlier: OpenOffer | None, offer: Offer) -> Refusal | None:
    """Why the offer cannot take the place of that one.

    What must trade at once could be gone together with the offer that it replaced.
    """
    if earlier is None:
        return Refusal.UNKNOWN_OFFER
    is_same = (earlier.slot, earlier.side) == (offer.slot, offer.side)
    stays = offer.kind is OrderKind.LIMIT and offer.time_in_force is TimeInForce.GOOD_TILL_GATE
    return None if is_same and stays else Refusal.BAD_REPLACEMENT


def refuse_risk(rules: ZoneRules, entry: OpenOffer, earlier: OpenOffer | None) -> Refusal | None:
    """Why its account cannot carry the offer beside what it has open and does not give up for it."""
    purse, freed_wh, freed_micro = entry.purse, 0, 0
    if earlier is not None:
        freed_wh, freed_micro = earlier.energy_wh, earlier.energy_wh * earlier.unit_micro
    position_wh = purse.position_wh(entry.slot, entry.side) - freed_wh + entry.energy_wh
    if position_wh > rules.position_max_wh:
        return Refusal.POSITION_LIMIT
    held_micro = entry.energy_wh * entry.unit_micro
    if held_micro and purse.reserved_micro - freed_micro + held_micro > purse.allowance_micro:
        return Refusal.NO_ALLOWANCE
    return None


def keeps_time(earlier: OpenOffer, entry: OpenOffer) -> bool:
    """Whether the offer asks for nothing more than the one it replaces: then it stands in its place
    in the queue. More energy, another price or class queues anew.
    """
    return (
        not earlier.is_market
        and entry.price_micro_per_kwh == earlier.price_micro_per_kwh
        and entry.cls == earlier.cls
        and entry.energy_wh <= earlier.energy_wh
    )


def limit_price(rules: ZoneRules, offer: Offer) -> int:
    """Micro-units per kWh. A market offer takes any price of the band."""
    if offer.kind is not OrderKind.MARKET:
        return offer.price_micro_per_kwh
    if offer.side is Side.BUY:
        return rules.fallback_import_micro_per_kwh
    return rules.fallback_export_micro_per_kwh
