"""What to offer: a forecast of the home's surplus or need, the battery, and the owner's wishes.

Pure. A forecast is a plan and may be wrong; it is never metered, billed or sent as a reading. Must
never name an offer number twice, offer outside the zone's band or the owner's limits, or replace an
offer without cancelling it by name.

The price rule, between the band's lower edge L (what the grid pays for surplus) and its upper edge
U (what the grid charges): a seller asks L + (U-L) * (15 to 55 %), a buyer bids L + (U-L) * (45 to
85 %); where in that span comes from a hash of (home, slot), so homes differ, prices cross, and the
same home asks the same again. With every slot that delivery comes nearer both concede 2 % of U-L,
because what stays unsold goes to the grid at the edge. Sellers round up to the tick, buyers down.
"""

from collections import deque
from dataclasses import dataclass, replace
from hashlib import blake2b

from edge.config import BatterySection, OffersSection
from edge.terms import Terms
from protos.clock import MINUTE_NS, SECOND_NS, SLOT_NS, SLOTS_PER_DAY, slot_at, slot_start_ns
from protos.limits import OFFER_ENERGY_WH_MAX, SLOTS_AHEAD_MAX
from protos.messages import Cancel, Offer, OfferBatch, Side
from protos.units import energy_wh

DAYS_KEPT = 7
RECENT_SLOTS = 4
ENERGY_WH_MIN = 10
"""Smaller offers cost more to carry than they are worth."""

GATE_MARGIN_NS = 20 * SECOND_NS
OBSERVED_NS_MIN = MINUTE_NS
REPLACE_PER_MILLE = 300
"""An open offer is replaced when the forecast moved by so much of it."""

PER_MILLE = 1_000
SELL_FROM, BUY_FROM, SPREAD = 150, 450, 400
CONCESSION_PER_SLOT = 20


@dataclass(frozen=True, slots=True)
class Store:
    """The home's batteries as a plan needs them. Energy in Wh, power in W."""

    charge_wh: int
    capacity_wh: int
    max_charge_w: int
    max_discharge_w: int


class Forecast:
    """The grid connection's energy a slot, import positive, from what was seen before."""

    def __init__(self) -> None:
        self._days: dict[int, deque[int]] = {}
        self._recent: deque[int] = deque(maxlen=RECENT_SLOTS)
        self._slot = 0
        self._sum_w_ns = 0
        self._seen_ns = 0
        self._at_ns = 0
        self._power_w = 0

    def observe(self, power_w: int, at_ns: int) -> None:
        """The connection's power from now on, W. Times that go back only start anew."""
        slot = slot_at(at_ns)
        if slot != self._slot:
            self._close(slot)
        elif at_ns > self._at_ns:
            span = at_ns - self._at_ns
            self._sum_w_ns += self._power_w * span
            self._seen_ns += span
        self._at_ns, self._power_w = at_ns, power_w

    def _close(self, slot: int) -> None:
        if self._seen_ns >= OBSERVED_NS_MIN:
            energy = energy_wh(self._sum_w_ns // self._seen_ns, SLOT_NS)
            self._recent.append(energy)
            place = self._slot % SLOTS_PER_DAY
            self._days.setdefault(place, deque(maxlen=DAYS_KEPT)).append(energy)
        self._slot, self._sum_w_ns, self._seen_ns = slot, 0, 0

    def expect(self, slot: int) -> int | None:
        """Wh of that slot, import positive; None before anything was seen.

        The mean of the same time on earlier days, and what the last hour was; the nearer the slot,
        the more the last hour counts: half at the next slot, nothing after eight.
        """
        recent = self._persisting()
        days = self._days.get(slot % SLOTS_PER_DAY)
        if not days:
            return recent
        usual = sum(days) // len(days)
        if recent is None:
            return usual
        weight = max(0, 500 - 62 * max(0, slot - self._slot - 1))
        return (recent * weight + usual * (PER_MILLE - weight)) // PER_MILLE

    def _persisting(self) -> int | None:
        parts = list(self._recent)
        if self._seen_ns >= OBSERVED_NS_MIN:
            parts.append(energy_wh(self._sum_w_ns // self._seen_ns, SLOT_NS))
        if parts:
            return sum(parts) // len(parts)
        return None


def after_battery(needs_wh: list[int], store: Store | None, reserve_per_mille: int) -> list[int]:
    """What is left of each slot's need (import positive) when the battery serves the home first."""
    if store is None:
        return needs_wh
    charge, reserve = store.charge_wh, store.capacity_wh * reserve_per_mille // PER_MILLE
    result = []
    for need in needs_wh:
        if need < 0:
            room = min(store.capacity_wh - charge, energy_wh(store.max_charge_w, SLOT_NS))
            taken = min(-need, max(0, room))
            charge += taken
            result.append(need + taken)
        else:
            spare = min(charge - reserve, energy_wh(store.max_discharge_w, SLOT_NS))
            given = min(need, max(0, spare))
            charge -= given
            result.append(need - given)
    return result


def price(
    home: str, slot: int, side: Side, slots_ahead: int, terms: Terms, wishes: OffersSection
) -> int | None:
    """The limit in micro-units per kWh by the rule above; None where the owner's limit and the
    zone's band leave no price.
    """
    low, high = terms.price_min_micro_per_kwh, terms.price_max_micro_per_kwh
    tick = max(1, terms.tick_micro_per_kwh)
    digest = blake2b(f"{home}/{slot}".encode(), digest_size=4, person=b"gtx/price").digest()
    place = int.from_bytes(digest, "big") % (SPREAD + 1)
    near = CONCESSION_PER_SLOT * max(0, wishes.slots_ahead - slots_ahead)
    if side is Side.SELL:
        part = max(0, SELL_FROM + place - near)
        wanted = max(low + (high - low) * part // PER_MILLE, wishes.sell_min_micro_per_kwh)
        rounded = -(-wanted // tick) * tick
        return rounded if rounded <= high else None
    part = min(PER_MILLE, BUY_FROM + place + near)
    wanted = low + (high - low) * part // PER_MILLE
    if wishes.buy_max_micro_per_kwh:
        wanted = min(wanted, wishes.buy_max_micro_per_kwh)
    rounded = wanted // tick * tick
    return rounded if rounded >= low else None


class Trader:
    """The home's own offers: which are open, and which numbers were used.

    `last_number` and `offered_to` (the last slot offered for) come from the disk and go back there
    with the batch that uses them.
    """

    def __init__(
        self,
        home: str,
        wishes: OffersSection,
        battery: BatterySection,
        last_number: int = 0,
        offered_to: int = 0,
    ) -> None:
        self._home = home
        self._wishes = wishes
        self._battery = battery
        self._open: dict[int, Offer] = {}
        self._decided: set[int] = set()
        self._floor = offered_to
        self.last_number = last_number
        self.offered_to = offered_to
        self.traded_wh = 0

    @property
    def open_offers(self) -> int:
        return len(self._open)

    def plan(
        self, at_ns: int, terms: Terms, forecast: Forecast, store: Store | None
    ) -> OfferBatch | None:
        """New offers for slots not offered yet, and replacements where the forecast moved far."""
        now = slot_at(at_ns)
        self._open = {n: offer for n, offer in self._open.items() if offer.slot > now}
        self._decided = {slot for slot in self._decided if slot > now}
        slots = [
            slot
            for slot in range(now + 1, now + 1 + min(self._wishes.slots_ahead, SLOTS_AHEAD_MAX))
            if slot_start_ns(slot) - terms.gate_closure_s * SECOND_NS > at_ns + GATE_MARGIN_NS
        ]
        expected = [forecast.expect(slot) for slot in slots]
        needs = [need for need in expected if need is not None]
        if not slots or len(needs) < len(slots):
            return None
        if self._battery.self_consumption:
            needs = after_battery(needs, store, self._battery.reserve_per_mille)
        offers: list[Offer] = []
        cancels: list[Cancel] = []
        for slot, need in zip(slots, needs, strict=True):
            self._plan_slot(slot, need, slot - now, terms, offers, cancels)
        if not offers and not cancels:
            return None
        return OfferBatch(tuple(offers), tuple(cancels))

    def _plan_slot(
        self,
        slot: int,
        need_wh: int,
        ahead: int,
        terms: Terms,
        offers: list[Offer],
        cancels: list[Cancel],
    ) -> None:
        side = Side.BUY if need_wh > 0 else Side.SELL
        energy = min(OFFER_ENERGY_WH_MAX, abs(need_wh) * self._wishes.share_per_mille // PER_MILLE)
        mine = [offer for offer in self._open.values() if offer.slot == slot]
        decided = slot in self._decided or slot <= self._floor
        if decided and not (mine and self._has_moved(mine[0], side, energy)):
            return
        cancels.extend(Cancel(offer.number) for offer in mine)
        for offer in mine:
            del self._open[offer.number]
        limit = price(self._home, slot, side, ahead, terms, self._wishes)
        if energy < ENERGY_WH_MIN or limit is None:
            return
        self.last_number += 1
        self._decided.add(slot)
        self.offered_to = max(self.offered_to, slot)
        renewable = side is Side.SELL and self._wishes.renewable
        offer = Offer(self.last_number, slot, side, energy, limit, renewable=renewable)
        self._open[offer.number] = offer
        offers.append(offer)

    @staticmethod
    def _has_moved(offer: Offer, side: Side, energy_wh_: int) -> bool:
        if offer.side is not side:
            return True
        moved = abs(offer.energy_wh - energy_wh_)
        return moved * PER_MILLE > offer.energy_wh * REPLACE_PER_MILLE and moved >= ENERGY_WH_MIN

    def filled(self, number: int, energy_wh_: int) -> None:
        """Part of an offer was traded: what is owed stays owed, so it is not replaced any more."""
        self.traded_wh += energy_wh_
        self._open.pop(number, None)

    def reduced(self, number: int, energy_wh_: int) -> None:
        """Part of an offer met another one of the same account and is gone without a trade."""
        offer = self._open.get(number)
        if offer is not None:
            self._open[number] = replace(offer, energy_wh=offer.energy_wh - energy_wh_)

    def closed(self, number: int) -> None:
        """An offer was refused or withdrawn."""
        self._open.pop(number, None)
