"""Offers of one zone: what is taken, what it reserves, what it trades with.

Decides in this order: is the offer well formed and allowed, can the account carry it, has its own
connection any room, and then the book decides. It must never let an offer reach the book that could
not be paid, never trade past a limit of the grid (the book asks the slot's headroom before every
fill) and never say anything of an offer that its owner could not check.

Class within a price: certified renewable (2) before others (3). An offer counts as renewable when
it says so, sells, and its gateway has a photovoltaic device in its register map. Classes 0 and 1
belong to grid authorities; a gateway that asks for them is refused. What the grid lets nothing
through to rests and waits for room. In the last seconds before a gate, where the zone's rules have
an auction, offers gather unmatched and are cleared with the book's rest when it closes. The same
in the first seconds of a slot's market, where they have an opening: what it leaves goes into the
book, best first, and is matched from then on.
"""

from typing import Any

from cloud.commands import VoidTrades
from cloud.facts import (
    EdgePrice,
    Fact,
    OfferCancelled,
    OfferReduced,
    OfferRefused,
    PricesIndicated,
    Traded,
)
from cloud.market.admission import (
    keeps_time,
    limit_price,
    refuse_replacement,
    refuse_risk,
    refuse_terms,
)
from cloud.market.auction import Waiting
from cloud.market.bounding import clear_bounded
from cloud.market.offers import (
    OpenOffer,
    by_arrival,
    by_priority,
    cancelled,
    reduced,
    refused,
    rested,
)
from cloud.market.risk import Purse, Purses, owed_micro, unit_reserve_micro
from cloud.market.slots import Market, Markets
from cloud.market.streams import Gateway
from cloud.market.throttle import Throttle
from cloud.market.voiding import Unsettled
from ext import book as kernel
from protos.limits import OPEN_OFFERS_PER_DEVICE_MAX, SLOTS_AHEAD_MAX
from protos.messages import Offer, OrderKind, Refusal, Side, TimeInForce
from protos.units import PER_MILLE, val

OPEN_OFFERS_PER_ZONE_MAX = 1 << 17
BOOKS_MAX = 1 << (SLOTS_AHEAD_MAX + 1).bit_length()
"""More than the slots that are open together, so that no two of them share a place."""

TICKS_MIN = 1 << 10
TICKS_MAX = 1 << 15
"""How many prices a band may have; the book's ladders are powers of two."""

RENEWABLE_CLASS = 2
OTHER_CLASS = 3
BY_OWNER = 0
"""The reason of a cancellation that the owner asked for."""

Event = tuple[int, int, int, int, int, int]


class Trading:
    """All open offers of a zone, and the books they wait in."""

    def __init__(self, zone: str, markets: Markets, purses: Purses) -> None:
        self.zone = zone
        self.trades = 0
        self._markets = markets
        self._purses = purses
        self._orders = 0
        self._throttle = Throttle()
        self._openings: set[int] = set()
        self._offers: dict[int, OpenOffer] = {}
        self._by_number: dict[int, dict[int, OpenOffer]] = {}
        self._by_slot: dict[int, dict[int, OpenOffer]] = {}
        self._unsettled = Unsettled(zone)
        self._books = kernel.Books(1, TICKS_MIN, 1)

    def begin(self, ticks: int) -> None:
        """The books, with room for at least `ticks` prices from the fallback export tariff up."""
        ladder = max(TICKS_MIN, 1 << (ticks - 1).bit_length())
        self._books = kernel.Books(OPEN_OFFERS_PER_ZONE_MAX, ladder, BOOKS_MAX)

    def place(self, gateway: Gateway, offer: Offer, now_ns: int) -> list[Fact]:
        """Takes, trades or refuses one offer, also in place of an earlier one. Its number is used
        up in any case; what it was to replace stays where the offer is refused.
        """
        rules = self._markets.rules
        earlier = self._by_number.get(gateway.index, {}).get(offer.replaces)
        refusal = refuse_terms(self._markets, gateway, offer, now_ns)
        if refusal is None and offer.replaces:
            refusal = refuse_replacement(earlier, offer)
        gateway.offer_number = max(gateway.offer_number, offer.number)
        if refusal is not None:
            return [refused(self.zone, gateway, offer, refusal)]
        if not self._throttle.allows(gateway.account, offer.slot, rules):
            return [refused(self.zone, gateway, offer, Refusal.ORDERS_PER_TRADE)]
        entry = self._entry(gateway, offer, now_ns)
        refusal = refuse_risk(rules, entry, earlier)
        if refusal is not None:
            return [refused(self.zone, gateway, offer, refusal)]
        if earlier is not None and keeps_time(earlier, entry):
            return self._shrink(earlier, entry)
        market = self._open_market(offer.slot)
        # In an auction others may make the room.
        if not entry.gathered and not self._has_room(market, gateway.node, offer.side):
            return [refused(self.zone, gateway, offer, Refusal.NO_HEADROOM)]
        self._orders += 1
        mine = len(self._by_number.get(gateway.index, ()))
        if earlier is None and mine >= OPEN_OFFERS_PER_DEVICE_MAX:
            return [refused(self.zone, gateway, offer, Refusal.TOO_MANY_OPEN_OFFERS)]
        gone: list[Fact] = [self._withdraw(earlier, BY_OWNER)] if earlier is not None else []
        if entry.gathered:
            return gone + self._gather(entry, offer, now_ns)
        return gone + self._submit(market, entry, offer)

    def cancel(self, gateway: Gateway, number: int) -> list[Fact]:
        """Takes back what is left of the gateway's own offer."""
        entry = self._by_number.get(gateway.index, {}).get(number)
        if entry is None:
            refusal = Refusal.UNKNOWN_OFFER
            return [OfferRefused(self.zone, 0, gateway.device, number, 0, refusal)]
        return [self._withdraw(entry, BY_OWNER)]

    def withdraw(self, gateway: Gateway, reason: Refusal) -> list[Fact]:
        """Takes back all open offers of a gateway that may no longer trade."""
        entries = list(self._by_number.get(gateway.index, {}).values())
        return [self._withdraw(entry, reason) for entry in entries]

    def grant(self, purse: Purse, allowance_micro: int) -> list[Fact]:
        """Another allowance. Where it no longer carries what is open, the newest offers go first:
        a trade that the bank could not hold money for must not come about.
        """
        purse.allowance_micro = allowance_micro
        facts: list[Fact] = []
        if purse.open_micro and purse.reserved_micro > allowance_micro:
            mine = [e for e in self._offers.values() if e.purse is purse and e.unit_micro]
            for entry in sorted(mine, key=by_arrival, reverse=True):
                if purse.reserved_micro <= allowance_micro:
                    break
                facts.append(self._withdraw(entry, Refusal.NO_ALLOWANCE))
        return facts

    def void(self, command: VoidTrades) -> list[Fact]:
        """Undoes trades that the bank refused: purses, and the grid's room while the gate is open."""
        market = self._markets.open.get(command.slot)
        facts = self._unsettled.void(command, market, self._markets.rules)
        return facts + (self.resweep(market) if market and facts else [])

    def end_openings(self, now_ns: int) -> list[Fact]:
        """Clears what gathered in every opening that is over; the rest is matched from now on."""
        facts: list[Fact] = []
        for slot in sorted(self._openings):
            if not self._markets.is_opening(slot, now_ns):
                self._openings.remove(slot)
                facts += self._auction(slot)
                self._markets.charge_opening(self._markets.open[slot])
                self._books.resweep(slot)
                for entry in sorted(self._by_slot[slot].values(), key=by_priority):
                    facts += self._release(entry)
        return facts

    def close(self, slot: int) -> list[Fact]:
        """The gate closes: what still waits is cleared, the rest of it cancelled, oldest first,
        and the book goes.
        """
        facts = self._auction(slot)
        for entry in sorted(self._by_slot.pop(slot, {}).values(), key=by_arrival):
            self._forget(entry)
            entry.purse.drop(slot, entry.side, entry.energy_wh, entry.unit_micro)
            facts.append(cancelled(self.zone, entry, entry.energy_wh, Refusal.GATE_CLOSED))
        if slot in self._markets.open:
            self._books.close(slot)
        self._purses.close(slot)
        self._throttle.close(slot)
        return facts

    def resweep(self, market: Market) -> list[Fact]:
        """Lets those trade who waited for room, after a limit was changed."""
        facts: list[Fact] = []
        for event in self._books.resweep(market.slot):
            self._follow(market, event, None, facts)
        return facts

    def __getstate__(self) -> dict[str, object]:
        """For a snapshot: the books as bytes, beside rooms and flows that the markets keep."""
        books = self._books
        shape = (books.orders_max, books.ticks, books.books_max)
        return {**self.__dict__, "_books": (shape, books.snapshot())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        shape, resting = state["_books"]
        self._books = kernel.Books(*shape)
        markets = self._markets.open
        rooms = {slot: market.headroom for slot, market in markets.items()}
        flows = {slot: market.flow for slot, market in markets.items() if market.flow}
        self._books.restore(resting, rooms, flows)

    def state(self) -> object:
        return {
            "orders": self._orders,
            "trades": self.trades,
            "throttle": self._throttle.state(),
            "openings": sorted(self._openings),
            "offers": [entry.state() for _, entry in sorted(self._offers.items())],
            "unsettled": self._unsettled.state(),
        }

    def _entry(self, gateway: Gateway, offer: Offer, now_ns: int) -> OpenOffer:
        """What the offer is as an open one; it counts as the next to arrive."""
        rules = self._markets.rules
        price = limit_price(rules, offer)
        dearest_way = self._markets.wheeling.dearest(gateway.node)
        green = offer.renewable and offer.side is Side.SELL and gateway.produces
        return OpenOffer(
            self._orders + 1,
            gateway,
            self._purses.of(gateway.account),
            offer.number,
            offer.slot,
            offer.side,
            offer.energy_wh,
            price,
            unit_reserve_micro(offer.side, price, rules, dearest_way),
            RENEWABLE_CLASS if green else OTHER_CLASS,
            self._markets.is_gathering(offer.slot, now_ns),
            offer.kind is OrderKind.MARKET,
            offer.self_trade,
        )

    def _shrink(self, earlier: OpenOffer, terms: OpenOffer) -> list[Fact]:
        """Less of the same under another number, at the place in the queue that it has."""
        gone = cancelled(self.zone, earlier, earlier.energy_wh, BY_OWNER)
        if not earlier.gathered:
            tick = self._markets.tick(earlier.price_micro_per_kwh)
            (event,) = self._books.replace(earlier.slot, earlier.order, tick, terms.energy_wh)
            assert event[0] == kernel.RESTED, f"the book refused a checked reduction: {event}"
        self._forget(earlier)
        earlier.purse.drop(earlier.slot, earlier.side, earlier.energy_wh, earlier.unit_micro)
        earlier.number, earlier.energy_wh = terms.number, terms.energy_wh
        earlier.unit_micro, earlier.self_trade = terms.unit_micro, terms.self_trade
        self._remember(earlier)
        earlier.purse.hold(earlier.slot, earlier.side, earlier.energy_wh, earlier.unit_micro)
        return [gone, rested(self.zone, earlier)]

    def _submit(self, market: Market, entry: OpenOffer, offer: Offer) -> list[Fact]:
        """Hands the offer to the book and follows what comes of it."""
        is_market = offer.kind is OrderKind.MARKET
        tif = TimeInForce.IMMEDIATE_OR_CANCEL if is_market else offer.time_in_force
        events = self._enter(entry, tif)
        if events is None:
            return [refused(self.zone, entry.gateway, offer, Refusal.TOO_MANY_OPEN_OFFERS)]
        self._remember(entry)
        entry.purse.hold(entry.slot, entry.side, entry.energy_wh, entry.unit_micro)
        facts: list[Fact] = []
        for event in events:
            self._follow(market, event, offer, facts)
        return facts

    def _enter(self, entry: OpenOffer, tif: TimeInForce) -> list[Event] | None:
        """What the book makes of an offer; None where it is full."""
        events: list[Event] = self._books.submit(
            entry.slot,
            entry.order,
            int(entry.side),
            self._markets.tick(entry.price_micro_per_kwh),
            entry.energy_wh,
            entry.purse.index,
            entry.gateway.node,
            entry.cls,
            int(tif),
            int(entry.self_trade),
        )
        if events and events[0][0] == kernel.REJECTED:
            assert events[0][5] == kernel.FULL, f"the book refused a checked offer: {events[0]}"
            return None
        return events

    def _release(self, entry: OpenOffer) -> list[Fact]:
        """What an opening left of an offer goes into the book. That it rests was said before."""
        if entry.is_market:
            return [self._withdraw(entry, Refusal.MARKET_UNFILLED)]
        events = self._enter(entry, TimeInForce.GOOD_TILL_GATE)
        if events is None:
            return [self._withdraw(entry, Refusal.TOO_MANY_OPEN_OFFERS)]
        entry.gathered = False
        facts: list[Fact] = []
        for event in events:
            if event[0] != kernel.RESTED:
                self._follow(self._markets.open[entry.slot], event, None, facts)
        return facts

    def _gather(self, entry: OpenOffer, offer: Offer, now_ns: int) -> list[Fact]:
        """Lets the offer wait for the auction. What must trade at once cannot."""
        if offer.kind is OrderKind.LIMIT and offer.time_in_force is not TimeInForce.GOOD_TILL_GATE:
            at_once = offer.time_in_force is TimeInForce.FILL_OR_KILL
            reason = Refusal.FILL_OR_KILL_UNFILLED if at_once else Refusal.MARKET_UNFILLED
            return [refused(self.zone, entry.gateway, offer, reason)]
        if len(self._offers) >= OPEN_OFFERS_PER_ZONE_MAX:
            return [refused(self.zone, entry.gateway, offer, Refusal.TOO_MANY_OPEN_OFFERS)]
        self._remember(entry)
        entry.purse.hold(entry.slot, entry.side, entry.energy_wh, entry.unit_micro)
        if self._markets.is_opening(entry.slot, now_ns):
            self._openings.add(entry.slot)
        return [rested(self.zone, entry)]

    def _auction(self, slot: int) -> list[Fact]:
        """Clears what waits for a slot, if anything gathered. The book is not told: it closes, or
        is empty still.
        """
        entries = sorted(self._by_slot.get(slot, {}).values(), key=by_arrival)
        if not any(entry.gathered for entry in entries):
            return []
        market, tick = self._markets.open[slot], self._markets.tick
        waiting = [
            Waiting(
                entry.purse.index,
                entry.gateway.node,
                entry.side,
                tick(entry.price_micro_per_kwh),
                entry.energy_wh,
                entry.cls,
            )
            for entry in entries
        ]
        facts: list[Fact] = []
        clearing = clear_bounded(self._markets, market, self._books.ticks, waiting)
        for fill in clearing.fills:
            price, theirs = map(self._markets.price, (fill.seller_tick, fill.buyer_tick))
            parties = entries[fill.buyer], entries[fill.seller]
            energy_wh = market.admit(
                parties[1].gateway.node, parties[0].gateway.node, fill.energy_wh
            )
            if energy_wh:
                rent = val(energy_wh, theirs) - val(energy_wh, price)
                facts.append(self._traded(market, *parties, energy_wh, price, rent))
        a_tick = self._markets.rules.tick_micro_per_kwh
        steps = tuple(
            EdgePrice(element, step * a_tick, PER_MILLE) for element, step in clearing.steps
        )
        return [*facts, PricesIndicated(self.zone, slot, steps, is_final=True)]

    def _follow(self, market: Market, event: Event, offer: Offer | None, facts: list[Fact]) -> None:
        """One event of the book as a fact. `offer` is the one whose submission caused it."""
        kind, order, other, tick, energy_wh, reason = event
        if kind == kernel.TRADE:
            facts.append(self._trade(market, order, other, tick, energy_wh))
        elif kind == kernel.RESTED:
            facts.append(rested(self.zone, self._offers[order]))
        elif kind == kernel.CANCELLED:
            facts.append(self._lost(self._offers[order], energy_wh, reason, offer))
        elif kind == kernel.REDUCED:
            facts += [self._reduced(self._offers[o], energy_wh) for o in (order, other)]
        else:
            # A filled order was forgotten with its last trade.
            assert kind == kernel.FILLED, f"the book said {event}"

    def _trade(self, market: Market, maker: int, taker: int, tick: int, energy_wh: int) -> Traded:
        """Two offers meet, at the price of the one that was there first."""
        first, second = self._offers[maker], self._offers[taker]
        buyer, seller = (first, second) if first.side is Side.BUY else (second, first)
        return self._traded(market, buyer, seller, energy_wh, self._markets.price(tick), 0)

    def _traded(
        self,
        market: Market,
        buyer: OpenOffer,
        seller: OpenOffer,
        energy_wh: int,
        price: int,
        rent_micro: int,
    ) -> Traded:
        """What both owe takes the place of what their offers held."""
        rules = self._markets.rules
        way = self._markets.wheeling.fee(seller.gateway.node, buyer.gateway.node)
        for entry in (buyer, seller):
            owed = owed_micro(entry.side, energy_wh, price, rules, rent_micro, way)
            entry.purse.commit(entry.slot, energy_wh, entry.unit_micro, owed)
            self._throttle.count_trade(entry.gateway.account, entry.slot)
            entry.energy_wh -= energy_wh
            if entry.energy_wh == 0:
                self._forget(entry)
        market.count(seller.gateway.node, buyer.gateway.node, energy_wh, price)
        self.trades += 1
        traded = Traded(
            self.zone,
            market.slot,
            self.trades,
            energy_wh,
            price,
            buyer.gateway.account,
            buyer.gateway.device,
            buyer.number,
            seller.gateway.account,
            seller.gateway.device,
            seller.number,
            rent_micro,
            way,
        )
        self._unsettled.keep(traded, buyer, seller)
        return traded

    def _lost(
        self, entry: OpenOffer, energy_wh: int, reason: int, offer: Offer | None
    ) -> OfferRefused | OfferCancelled:
        """The book gave an offer back, in whole or what was left of it."""
        self._forget(entry)
        entry.purse.drop(entry.slot, entry.side, energy_wh, entry.unit_micro)
        if reason == kernel.SELF_TRADE:
            return cancelled(self.zone, entry, energy_wh, Refusal.SELF_TRADE)
        assert offer is not None, "only the offer in hand can have a remainder"
        if reason == kernel.KILLED:
            return refused(self.zone, entry.gateway, offer, Refusal.FILL_OR_KILL_UNFILLED)
        if energy_wh == offer.energy_wh:
            return refused(self.zone, entry.gateway, offer, Refusal.MARKET_UNFILLED)
        return cancelled(self.zone, entry, energy_wh, Refusal.MARKET_UNFILLED)

    def _reduced(self, entry: OpenOffer, energy_wh: int) -> OfferReduced | OfferCancelled:
        """The offer met one of its own account, and both lost the smaller amount."""
        entry.purse.drop(entry.slot, entry.side, energy_wh, entry.unit_micro)
        entry.energy_wh -= energy_wh
        if entry.energy_wh:
            return reduced(self.zone, entry, energy_wh)
        self._forget(entry)
        return cancelled(self.zone, entry, energy_wh, Refusal.SELF_TRADE)

    def _withdraw(self, entry: OpenOffer, reason: int) -> OfferCancelled:
        if not entry.gathered:
            (event,) = self._books.cancel(entry.slot, entry.order)
            assert event[0] == kernel.CANCELLED, f"the book does not know an open offer: {event}"
        self._forget(entry)
        entry.purse.drop(entry.slot, entry.side, entry.energy_wh, entry.unit_micro)
        return cancelled(self.zone, entry, entry.energy_wh, reason)

    def _open_market(self, slot: int) -> Market:
        is_new = slot not in self._markets.open
        market = self._markets.market(slot)
        if is_new:
            self._books.open(slot, market.headroom, market.flow)
        return market

    def _has_room(self, market: Market, node: int, side: Side) -> bool:
        """Whether the home's own connection can carry anything more in this direction."""
        if not market.headroom.is_shut(node, up=side is Side.SELL):
            return True
        # What the power flow withholds now it may give back.
        return market.flow is not None and market.flow.withheld_wh(node)[side] > 0

    def _remember(self, entry: OpenOffer) -> None:
        self._offers[entry.order] = entry
        self._by_number.setdefault(entry.gateway.index, {})[entry.number] = entry
        self._by_slot.setdefault(entry.slot, {})[entry.order] = entry

    def _forget(self, entry: OpenOffer) -> None:
        del self._offers[entry.order]
        del self._by_number[entry.gateway.index][entry.number]
        self._by_slot.get(entry.slot, {}).pop(entry.order, None)
