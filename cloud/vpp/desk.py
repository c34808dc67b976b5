"""The desk machine: from prices and batteries to bids, from awards to leases and their result.

A delivery hour is decided once, from BID_WINDOW_NS before the venue's gate; at the last call the desk
says why it does not bid. Limits come first and fail closed. Nothing here submits anything.
"""

from operator import attrgetter, itemgetter

from cloud.commands import (
    AdvanceDesk,
    BidAhead,
    CallReserve,
    DeskCommand,
    ObserveFleet,
    ObservePrice,
    OfferReserve,
    OpenDesk,
    RecordAward,
    RecordCancellation,
    RecordLease,
    RecordPerformance,
    RecordReply,
    RecordStatement,
    RecordSubmission,
    ValueEnergy,
)
from cloud.facts import (
    Awarded,
    BidAnswered,
    BidCancelled,
    BidHeldBack,
    BidPrepared,
    BidSubmitted,
    DeskOpened,
    DeskRefused,
    Fact,
)
from cloud.vpp import reserve_outlook
from cloud.vpp.awards import Award, AwardBook, energies
from cloud.vpp.bids import OFFERED, Bid, Product, bid_state, product_for
from cloud.vpp.capability import HOUR_NS, Fleet, FleetCapability, heard, is_plausible
from cloud.vpp.commitments import (
    SUBMIT_MARGIN_NS,
    ahead_objection,
    award_objection,
    committed_micro,
    prepared_energy,
    promised_wh,
    reserve_objection,
)
from cloud.vpp.offer import hour_offer, plant_within
from cloud.vpp.operator_rules import OperatorRules, Rule
from cloud.vpp.optimum import Plant
from cloud.vpp.prices import (
    DAY_NS,
    MEMORY_NS,
    PriceBook,
    observe_price,
    reference_path,
    reference_price,
)
from cloud.vpp.reserves import (
    ReserveAward,
    call_reserve,
    held_in,
    offer_objection,
    prepared_reserve,
    room_objection,
    room_w,
    score_reserve,
    standing_awards,
)
from cloud.vpp.risk import Limits, exposure_micro, exposure_room_wh, objection
from cloud.vpp.sharing import Payments
from cloud.vpp.storage import AnyBid, Promises, ramped, stated
from cloud.vpp.valued import ToldWorths
from protos.clock import MINUTE_NS
from protos.messages import Refusal

BID_WINDOW_NS = 30 * MINUTE_NS
LAST_CALL_NS = 3 * MINUTE_NS
"""This long before the gate the desk stops waiting for more batteries."""

HORIZON_HOURS = 24
HOURS_AHEAD = 3
"""Gates lie less than two hours before delivery; a window opens half an hour before its gate."""

KEEP_NS = 2 * DAY_NS
KEEP_PAID_NS = 14 * DAY_NS
"""Bids with awards, which statements come for days later; the settlement store keeps them longer."""


class Desk:
    """The virtual power plant of one operator."""

    def __init__(self, offered: tuple[Product, ...] = OFFERED) -> None:
        self._offered = offered
        self._limits: Limits | None = None
        self._opened_ns = 0
        self._prices = PriceBook()
        self._told = ToldWorths()
        self._fleet = Fleet()
        self._bids: dict[str, Bid] = {}
        self._decided: dict[int, None] = {}
        self._book = AwardBook()
        self.rules = OperatorRules()
        self._payments = Payments()
        self._pruned_ns = 0

    def apply(self, command: DeskCommand, at_ns: int) -> list[Fact]:
        match command:
            case AdvanceDesk():
                return self._advance(at_ns)
            case ObserveFleet():
                return self._observe_fleet(command, at_ns)
            case ObservePrice():
                return observe_price(self._prices, command)
            case RecordLease():
                return self._record_lease(command, at_ns)
            case RecordReply():
                return self._record_reply(command)
            case RecordAward():
                return self._record_award(command, at_ns)
            case RecordSubmission() | RecordCancellation():
                return self._record_life(command, at_ns)
            case RecordStatement():
                return self._record_statement(command)
            case OpenDesk():
                return self._open(command, at_ns)
        if isinstance(command, Rule):
            told = self.rules.apply(command, self._fleet)
            return told + self._payments.catch_up(self.rules.sharing)
        return self._apply_ordered(command, at_ns)

    def _apply_ordered(self, command: DeskCommand, at_ns: int) -> list[Fact]:
        """What the desk does not decide by itself."""
        match command:
            case BidAhead():
                return self._bid_ahead(command, at_ns)
            case OfferReserve():
                return self._offer_reserve(command, at_ns)
            case ValueEnergy():
                return self._told.take(command, at_ns)
            case CallReserve():
                return call_reserve(self._book, command)
            case RecordPerformance():
                return score_reserve(self._book, command)
        raise AssertionError(f"the desk takes no {type(command).__name__}")

    @property
    def is_open(self) -> bool:
        return self._limits is not None

    @property
    def limits(self) -> Limits | None:
        return self._limits

    def live_bids(self, at_ns: int) -> list[Bid]:
        """The bids whose hour is not over, by start: what a restarted venue pump must know."""
        live = [bid for bid in self._bids.values() if at_ns < bid.ends_ns]
        return sorted(live, key=attrgetter("prepared.starts_ns", "prepared.bid_id"))

    def bids(self) -> list[Bid]:
        """All bids that are remembered, by start."""
        return sorted(self._bids.values(), key=attrgetter("prepared.starts_ns", "prepared.bid_id"))

    def reserve_awards(self) -> list[Awarded]:
        return standing_awards(self._book)

    def takes_statement(self, bid_id: str) -> bool:
        """Whether a statement of this bid would reach its homes: for years, not for days."""
        return self._payments.find(self._bids, bid_id) is not None

    def reference(self, product: Product, starts_ns: int, hours: int) -> list[int | None]:
        """The price that each hour is expected to have, None where nothing is known."""
        markets = (product.ahead, product.market)
        return [
            reference_price(
                self._prices, product.venue, product.node, *markets, starts_ns + hour * HOUR_NS
            )
            for hour in range(hours)
        ]

    def plant(self, at_ns: int) -> Plant | None:
        """The batteries that are heard, taken as one; None before the desk is open, and for too few."""
        able = self._fleet.capability(at_ns, HOUR_NS)
        return None if self._limits is None else plant_within(self._limits, able)

    def lacks_worth(self, product: Product, hour_ns: int) -> bool:
        """Whether the hour's bid is still to be made, and nobody has told what energy is worth."""
        told = self._told.of(product.venue, product.node, hour_ns)
        return told is None and hour_ns not in self._decided

    def outlook(
        self, venue: str, starts_ns: int, hours: int, at_ns: int
    ) -> reserve_outlook.Outlook | Refusal:
        """What a plan of the venue's reserves in these hours stands on, or why none may be made."""
        product = self._product(venue)
        if product is None or self._limits is None:
            return Refusal.UNKNOWN_OFFER if product is None else Refusal.RISK_LIMIT
        hours_ns = range(starts_ns, starts_ns + hours * HOUR_NS, HOUR_NS)
        seen: dict[tuple[int, int], FleetCapability] = {}
        return reserve_outlook.outlook(
            self._offered,
            product,
            self._prices,
            (self._limits, self.rules.guard),
            hours_ns,
            lambda hour_ns: self._able(hour_ns, at_ns, seen),
            lambda hour_ns: committed_micro(self._bids, self._book, hour_ns, at_ns),
        )

    def reserve_room_w(self, offer: OfferReserve, at_ns: int) -> int:
        """How much of a reserve would be taken for its hour now, by power, energy and limits."""
        if self._limits is None:
            return 0
        committed = committed_micro(self._bids, self._book, offer.starts_ns, at_ns)
        held = room_w(offer, self._able(offer.starts_ns, at_ns), self._bids, at_ns)
        # A W for an hour is a Wh.
        return min(held, self._limits.power_max_w, exposure_room_wh(self._limits, committed))

    def _product(self, venue: str) -> Product | None:
        return next((one for one in self._offered if one.venue == venue), None)

    # ---- what is observed ------------------------------------------------------------------

    def _open(self, command: OpenDesk, at_ns: int) -> list[Fact]:
        limits = Limits(command.power_max_w, command.exposure_max_micro, command.power_min_w)
        if not limits.are_sound:
            return [DeskRefused("limits", Refusal.MALFORMED)]
        if limits == self._limits:
            return []
        if self._limits is None:
            self._opened_ns = at_ns
        self._limits = limits
        return [DeskOpened(command.power_max_w, command.exposure_max_micro, command.power_min_w)]

    def _observe_fleet(self, command: ObserveFleet, at_ns: int) -> list[Fact]:
        battery = heard(command, at_ns)
        if not is_plausible(battery):
            return [DeskRefused(f"battery/{command.device}", Refusal.MALFORMED)]
        self._fleet.observe(battery)
        for award in self._book.running.values():
            award.measure(command.device, at_ns, command.battery_w)
        return []

    def _record_lease(self, command: RecordLease, at_ns: int) -> list[Fact]:
        for award in self._book.running.values():
            ok = award.report(
                command.device, command.lease_id, command.state, at_ns, command.measured_w
            )
            if ok is not None:
                self._fleet.held(command.device, ok=ok)
        return []

    # ---- what the venue says ---------------------------------------------------------------

    def _record_reply(self, command: RecordReply) -> list[Fact]:
        bid = self._bids.get(command.bid_id)
        if bid is None:
            return [DeskRefused(command.bid_id, Refusal.UNKNOWN_OFFER)]
        answer = (command.accepted, command.venue_reference, command.reason)
        if bid.answer is not None:
            same = bid.answer == answer
            return [] if same else [DeskRefused(command.bid_id, Refusal.CHANGED_REPLAY)]
        bid.answer = answer
        return [BidAnswered(command.bid_id, *answer)]

    def _record_life(
        self, command: RecordSubmission | RecordCancellation, at_ns: int
    ) -> list[Fact]:
        """A bid leaves or is withdrawn."""
        bid = self._bids.get(command.bid_id)
        if bid is None:
            return [DeskRefused(command.bid_id, Refusal.UNKNOWN_OFFER)]
        if isinstance(command, RecordSubmission):
            if bid.submitted:
                return []
            bid.submitted = True
            return [BidSubmitted(command.bid_id)]
        refusal = bid.cancellation_objection(at_ns)
        if refusal is not None:
            return [DeskRefused(command.bid_id, refusal)]
        bid.cancelled = True
        if command.rebid:
            self._decided.pop(bid.prepared.starts_ns, None)
        return [BidCancelled(command.bid_id, command.rebid)]

    def _record_statement(self, command: RecordStatement) -> list[Fact]:
        bid = self._payments.find(self._bids, command.bid_id)
        if bid is None:
            return [DeskRefused(command.bid_id, Refusal.UNKNOWN_OFFER)]
        return self._payments.settle(bid, command, self.rules.sharing)

    def _record_award(self, command: RecordAward, at_ns: int) -> list[Fact]:
        bid = self._bids.get(command.bid_id)
        if bid is None:
            return [DeskRefused(command.bid_id, Refusal.UNKNOWN_OFFER)]
        terms = (command.duration_ns, command.power_w, command.price_micro_per_mwh)
        known = self._book.terms(command.bid_id, command.starts_ns)
        if known is not None:
            return [] if known == terms else [DeskRefused(command.bid_id, Refusal.CHANGED_REPLAY)]
        refusal = award_objection(bid, self._book, command, at_ns)
        if refusal is not None:
            return [DeskRefused(command.bid_id, refusal)]
        venue = bid.prepared.venue
        where = (command.bid_id, venue, command.starts_ns, *terms)
        product = bid.prepared.product
        award = Award(*where) if product == "EN" else ReserveAward(*where, product=product)
        self._book.running[command.bid_id, command.starts_ns] = award
        bid.awards += 1
        return [Awarded(command.bid_id, venue, command.starts_ns, *terms)]

    # ---- time passes -----------------------------------------------------------------------

    def _advance(self, at_ns: int) -> list[Fact]:
        facts: list[Fact] = []
        if self._limits is not None:
            for ahead in range(HOURS_AHEAD + 1):
                hour_ns = (at_ns // HOUR_NS + ahead) * HOUR_NS
                facts.extend(self._decide(self._limits, hour_ns, at_ns))
        for award in self._book.running.values():
            # Under the kill switch what runs ends with its slot, and nothing follows it.
            leases = [] if self.rules.guard.is_halted else award.dispatch(self._fleet, at_ns)
            if leases:
                self._bids[award.bid_id].dispatched = True
            facts.extend(leases)
        facts.extend(self._meter(at_ns))
        if at_ns - self._pruned_ns >= HOUR_NS:
            self._prune(at_ns)
        return facts

    def _decide(self, limits: Limits, hour_ns: int, at_ns: int) -> list[Fact]:
        """The bid for one delivery hour, or why there is none, or nothing yet."""
        product = product_for(self._offered, hour_ns)
        gate_ns = hour_ns - product.gate_lead_ns
        if hour_ns in self._decided or gate_ns <= self._opened_ns:
            return []
        if at_ns < gate_ns - BID_WINDOW_NS:
            return []
        if at_ns > gate_ns - SUBMIT_MARGIN_NS:
            outcome: BidPrepared | Refusal = Refusal.GATE_CLOSED
        else:
            outcome = self._bid(limits, product, hour_ns, at_ns)
        if isinstance(outcome, BidPrepared):
            self._decided[hour_ns] = None
            exposure = exposure_micro(outcome.curve, outcome.duration_ns)
            self._bids[outcome.bid_id] = Bid(outcome, exposure)
            return [outcome]
        if at_ns < gate_ns - LAST_CALL_NS:
            return []
        self._decided[hour_ns] = None
        return [BidHeldBack(product.venue, hour_ns, outcome)]

    def _bid(
        self, limits: Limits, product: Product, hour_ns: int, at_ns: int
    ) -> BidPrepared | Refusal:
        halted = self.rules.guard.objection(hour_ns // DAY_NS)
        if halted is not None:
            return halted
        able = self._able(hour_ns, at_ns)
        if self.rules.states_storage:
            able = ramped(able, self._fleet.storage(at_ns), self._bids, hour_ns, at_ns)
        if able.widest_w < limits.power_min_w:
            return Refusal.BELOW_MINIMUM
        path = reference_path(
            self._prices,
            product.venue,
            product.node,
            (product.ahead, product.market),
            hour_ns,
            HORIZON_HOURS,
        )
        if path is None:
            return Refusal.NO_PRICE
        told = self._told.of(product.venue, product.node, hour_ns)
        curve = hour_offer(self._prices, product, hour_ns, path, able, limits.power_max_w, told)
        committed = committed_micro(self._bids, self._book, hour_ns, at_ns)
        refusal = objection(limits, curve, HOUR_NS, committed)
        if refusal is not None:
            return refusal
        terms = (hour_ns, hour_ns - product.gate_lead_ns, curve)
        prepared = prepared_energy(self._bids, product, product.market, *terms)
        prepared, unfit = self._said(prepared, at_ns)
        return unfit or prepared

    def _able(
        self, hour_ns: int, at_ns: int, seen: dict[tuple[int, int], FleetCapability] | None = None
    ) -> FleetCapability:
        """What the fleet can do in an hour after all that is promised before and reserved in it.

        `seen` keeps what was reckoned for other hours of the same moment.
        """
        sold_wh, bought_wh = promised_wh(self._bids, hour_ns, at_ns)
        drawn_wh, charged_wh = self.rules.homes.between(at_ns, hour_ns)
        held = held_in(self._bids, hour_ns, at_ns)
        taken = sold_wh + drawn_wh + held.up_wh, bought_wh + charged_wh + held.down_wh
        able = None if seen is None else seen.get(taken)
        if able is None:
            able = self._fleet.capability(at_ns, HOUR_NS, *taken)
        if seen is not None:
            seen[taken] = able
        return held.less(able.firm if self.rules.promises_firm else able)

    def _offer_reserve(self, command: OfferReserve, at_ns: int) -> list[Fact]:
        """A reserve offer under the same limits; its power is not offered again as energy."""
        product = self._product(command.venue)
        refusal = offer_objection(command, product)
        hour_ns = command.starts_ns
        if refusal is None:
            refusal = self.rules.guard.objection(hour_ns // DAY_NS)
        if refusal is not None or product is None or self._limits is None:
            return [DeskRefused(f"reserve/{hour_ns}", refusal or Refusal.RISK_LIMIT)]
        prepared, unfit = self._said(prepared_reserve(command, product, self._bids), at_ns)
        refusal = reserve_objection(self._limits, self._bids, self._book, prepared, at_ns)
        if refusal is None:
            refusal = room_objection(command, self._able(hour_ns, at_ns), self._bids, at_ns)
        refusal = refusal or unfit
        if refusal is not None:
            return [DeskRefused(f"reserve/{hour_ns}", refusal)]
        exposure = exposure_micro(prepared.curve, HOUR_NS)
        self._bids[prepared.bid_id] = Bid(prepared, exposure)
        if command.alone:
            self._decided[hour_ns] = None
        return [prepared]

    def _bid_ahead(self, command: BidAhead, at_ns: int) -> list[Fact]:
        """A day-ahead offer under the same limits; its hour is then not bid for again."""
        product = self._product(command.venue)
        hour_ns = command.starts_ns
        refusal = ahead_objection(command, product, self._decided, at_ns)
        if refusal is None:
            refusal = self.rules.guard.objection(hour_ns // DAY_NS)
        if refusal is None and self._limits is None:
            refusal = Refusal.RISK_LIMIT
        if refusal is None:
            assert self._limits is not None, "an open desk has limits"
            committed = committed_micro(self._bids, self._book, hour_ns, at_ns)
            refusal = objection(self._limits, command.curve, HOUR_NS, committed)
        if refusal is not None:
            return [DeskRefused(f"ahead/{command.venue}/{hour_ns}", refusal)]
        assert product is not None, "an unknown venue was refused"
        terms = (hour_ns, command.gate_ns, command.curve)
        prepared = prepared_energy(self._bids, product, product.ahead, *terms)
        prepared, unfit = self._said(prepared, at_ns, is_ahead=True)
        if unfit is not None:
            return [DeskRefused(f"ahead/{command.venue}/{hour_ns}", unfit)]
        self._decided[hour_ns] = None
        self._bids[prepared.bid_id] = Bid(prepared, exposure_micro(command.curve, HOUR_NS))
        return [prepared]

    def _said(
        self, bid: AnyBid, at_ns: int, *, is_ahead: bool = False
    ) -> tuple[AnyBid, Refusal | None]:
        """The bid with what it says of its batteries, and why they cannot do what it offers, or why
        the day strays too far for another.
        """
        if not self.rules.states_storage:
            return bid, None
        day = bid.starts_ns // DAY_NS
        straying = self.rules.guard.objection(day, self._book.strayed_wh(day, at_ns))
        open_ = Promises(self._bids, self._book, self.rules.homes, self._prices, self._offered)
        bid, unfit = stated(bid, self._fleet.storage(at_ns), open_, at_ns, is_ahead=is_ahead)
        return bid, straying or unfit

    def _meter(self, at_ns: int) -> list[Fact]:
        """The results of awards that are over."""
        facts: list[Fact] = []
        for award, result in self._book.finish(at_ns):
            bid = self._bids[award.bid_id]
            bid.metered += 1
            bid.revenue_micro += result.revenue_micro
            for device, energy in award.delivered_wh().items():
                battery = self._fleet.get(device)
                if battery is not None and battery.account:
                    so_far = bid.delivered_wh.get(battery.account, 0)
                    bid.delivered_wh[battery.account] = so_far + energy
            day = result.starts_ns // DAY_NS
            self.rules.guard.note(day, *energies(result), result.revenue_micro)
            facts.append(result)
        return facts

    def _prune(self, at_ns: int) -> None:
        """Forgets what no rule looks at any more, so that years of trading need no more memory."""
        self._pruned_ns = at_ns
        self._prices.forget_before(at_ns - MEMORY_NS)
        self._told.forget_before(at_ns)
        self._fleet.forget_before(at_ns - KEEP_NS)
        old = at_ns - KEEP_NS
        self._decided = {hour: None for hour in self._decided if hour >= old}
        gone = [
            key
            for key, bid in self._bids.items()
            if bid.ends_ns < (at_ns - KEEP_PAID_NS if bid.awards else old)
        ]
        for key in gone:
            bid = self._bids.pop(key)
            if self.rules.sharing.declared is not None:
                self._payments.keep(bid)
        finished = self._book.finished
        self._book.finished = {key: v for key, v in finished.items() if key[0] in self._bids}
        self.rules.guard.forget_before(old // DAY_NS)

    def state(self) -> object:
        return [
            None if self._limits is None else self._limits.state(),
            self._opened_ns,
            self._pruned_ns,
            self._prices.state(),
            self._fleet.state(),
            [bid_state(bid) for _, bid in sorted(self._bids.items(), key=itemgetter(0))],
            sorted(self._decided),
            *self._book.state(),
            *self.rules.state(),
            self._payments.state(),
            *self._told.state(),
        ]
