"""The grid's side of a zone: outages, alarms, envelopes, re-dispatch and authorities' orders.

Decides who may trade while an element has failed, and which leases keep homes within envelopes,
cuts and curtailments. An order changes limits; it never skips the physics. Must never suspend a home whose grid is not out, nor cut more of a slot than a home has traded.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from cloud.commands import (
    CheckLoops,
    Command,
    FollowSignal,
    OptOut,
    OrderCurtailment,
    OrderDemandResponse,
    OrderReserve,
    OverrideLimit,
    RecordReferee,
    RecordState,
    Redispatch,
    SetGridRules,
    SurveyGrid,
)
from cloud.facts import (
    CurtailmentPlanned,
    EnvelopesSet,
    Fact,
    GridRulesSet,
    HomeCompensation,
    LeaseIssued,
    LimitOverridden,
    LoopsChecked,
    OfferRefused,
    OverrideContested,
    Redispatched,
    StateEstimated,
    ZoneRefused,
)
from cloud.grid.network import Network
from cloud.grid.outage import Heard
from cloud.grid.redispatch import Candidate
from cloud.grid.topology import NO_LIMIT_W
from cloud.market.authority import referee_fact, refuse_curtailment, refuse_override
from cloud.market.calling import Calls, is_callable
from cloud.market.curtailing import plan_leases
from cloud.market.enveloping import RAMP_W_PER_S, Caps, envelope_leases, slot_envelopes
from cloud.market.slots import Markets
from cloud.market.storing import storage_leases
from cloud.market.streams import Gateway
from cloud.market.trading import Trading
from cloud.market.watch import GridWatch, are_sound
from protos.clock import SECOND_NS, SLOTS_PER_HOUR, slot_at, slot_end_ns, slot_start_ns
from protos.ids import DeviceId, effect_id
from protos.messages import Offer, Refusal
from protos.units import val


class GridSide:
    """One zone's. The gateways, markets and rules are the zone's own."""

    def __init__(
        self,
        zone: str,
        network: Network,
        markets: Markets,
        trading: Trading,
        gateways: Mapping[DeviceId, Gateway],
    ) -> None:
        self.zone = zone
        self.watch = GridWatch(zone, network)
        self.caps = Caps()
        self.envelopes: EnvelopesSet | None = None
        self.estimate: StateEstimated | None = None
        self._stored = -1
        self._network = network
        self._markets = markets
        self._trading = trading
        self._gateways = gateways
        self.calls = Calls(zone, network, gateways, self.present, self._envelopes_now)

    # ---- what the zone asks -----------------------------------------------------------------

    def suspends(self, node: int, slot: int, now_ns: int) -> bool:
        """Whether a home may not trade a slot, because its grid is out and may still be by then."""
        near = slot_at(now_ns) + self.watch.rules.suspend_slots
        return slot <= near and bool(self.watch.out) and self.watch.is_dark(node)

    def refuse(self, gateway: Gateway, offer: Offer) -> OfferRefused:
        """The word on an offer of a home that is suspended; its number is used up."""
        gateway.offer_number = max(gateway.offer_number, offer.number)
        reason = Refusal.SUSPENDED
        return OfferRefused(
            self.zone, offer.slot, gateway.device, offer.number, offer.energy_wh, reason
        )

    def candidates(self, slot: int) -> list[Candidate]:
        """The homes whose trades of a closed slot could be taken back."""
        net_wh = self._markets.traded_wh(slot)
        homes = [gateway for gateway in self._gateways.values() if not gateway.expelled]
        at_node = Counter(gateway.node for gateway in homes)
        found = []
        for gateway in homes:
            sold_wh = -net_wh.get(gateway.node, 0)
            # Homes at one node share what was traded there.
            sold_w = abs(sold_wh) * SLOTS_PER_HOUR // at_node[gateway.node]
            relief = gateway.snapshot.max_discharge_w if is_callable(gateway) else 0
            found.append(
                Candidate(
                    gateway.device,
                    gateway.node,
                    sold_w if sold_wh > 0 else 0,
                    min(sold_w, relief) if sold_wh < 0 else 0,
                )
            )
        return found

    def present(self, now_ns: int) -> Iterable[Gateway]:
        """The gateways that are heard and whose grid is not out."""
        silent_ns = self.watch.rules.silent_s * SECOND_NS
        for gateway in self._gateways.values():
            heard = Heard(gateway.node, gateway.heard_ns, every_ns=gateway.gap_ns)
            if gateway.expelled or heard.is_silent(now_ns, silent_ns):
                continue
            if not self.watch.is_dark(gateway.node):
                yield gateway

    def state(self) -> object:
        return {
            "watch": self.watch.state(),
            "caps": self.caps.state(),
            "envelopes": self.envelopes.slot if self.envelopes else -1,
            "estimate": self.estimate.slot if self.estimate else -1,
            "stored": self._stored,
            "calls": self.calls.state(),
        }

    # ---- commands ---------------------------------------------------------------------------

    def apply(self, command: Command, now_ns: int) -> list[Fact]:
        match command:
            case OverrideLimit():
                return self._override(command, now_ns)
            case OrderCurtailment():
                return self._curtail(command, now_ns)
            case RecordReferee():
                return [referee_fact(self.zone, command)]
            case CheckLoops():
                return self._check_loops(command)
            case SetGridRules():
                return self._obey(command)
            case Redispatch():
                return self._redispatch(command, now_ns)
            case SurveyGrid():
                return self._survey(now_ns)
            case RecordState():
                return [self._estimated(command)]
            case OrderReserve() | FollowSignal() | OrderDemandResponse() | OptOut():
                return self.calls.apply(command, now_ns)
        raise AssertionError(f"a zone was sent {type(command).__name__}")

    def _survey(self, now_ns: int) -> list[Fact]:
        """Outages, alarms, envelopes of a slot whose gate has closed, ends of events. The offers
        of homes that an outage has cut off are taken back at once.
        """
        gateways = [gateway for gateway in self._gateways.values() if not gateway.expelled]
        self.caps.expire(now_ns)
        changed = self.watch.survey_outages(gateways, now_ns)
        facts: list[Fact] = [*changed]
        gone = [fact.element for fact in changed if fact.is_out]
        for gateway in gateways:
            if any(self._network.is_below(gateway.node, element) for element in gone):
                facts += self._trading.withdraw(gateway, Refusal.SUSPENDED)
        facts += self.watch.survey_quality(gateways, now_ns)
        facts += self._envelop(gateways, now_ns)
        facts += self._make_room(now_ns)
        return facts + self.calls.observe(now_ns)

    # ---- rules and envelopes ----------------------------------------------------------------

    def _obey(self, command: SetGridRules) -> list[Fact]:
        if not are_sound(command.rules):
            return [ZoneRefused(self.zone, "grid rules", Refusal.MALFORMED)]
        if command.rules == self.watch.rules:
            return []
        self.watch.obey(command.rules)
        return [GridRulesSet(self.zone, command.rules)]

    def _envelop(self, gateways: list[Gateway], now_ns: int) -> list[Fact]:
        slot = self._markets.next_slot - 1
        done = self.envelopes.slot if self.envelopes else -1
        if slot <= done or slot not in self._markets.closed or slot_end_ns(slot) <= now_ns:
            return []
        self.envelopes = self._envelopes_of(slot, gateways)
        leases: list[LeaseIssued] = []
        if self.watch.rules.envelopes:
            leases = envelope_leases(self.envelopes, self.watch.rules, self._gateways, self.caps)
        return [self.envelopes, *leases]

    def _make_room(self, now_ns: int) -> list[LeaseIssued]:
        """Once for each slot whose gate has closed, before it begins."""
        slot = self._markets.next_slot - 1
        if not self.watch.rules.storage or slot <= self._stored or slot_start_ns(slot) < now_ns:
            return []
        self._stored = slot
        callable_now = [gateway for gateway in self.present(now_ns) if is_callable(gateway)]
        flows = self._markets.flows_w
        limits = self._markets.limits
        return storage_leases(self.zone, self._network, slot, flows, limits, callable_now)

    def _envelopes_now(self, slot: int, gateways: list[Gateway]) -> EnvelopesSet:
        """Those of the slot's closing where all the gateways are in them, else fresh ones."""
        known = self.envelopes
        if known is not None and known.slot == slot:
            devices = {home.device for home in known.homes}
            if all(gateway.device in devices for gateway in gateways):
                return known
        return self._envelopes_of(slot, gateways)

    def _envelopes_of(self, slot: int, gateways: list[Gateway]) -> EnvelopesSet:
        markets = self._markets
        return slot_envelopes(
            self.zone,
            self._network,
            slot,
            markets.limits(slot),
            markets.traded_wh(slot),
            gateways,
            self.watch.rules.connection_export_w,
        )

    def _estimated(self, state: RecordState) -> StateEstimated:
        self.estimate = StateEstimated(
            self.zone,
            state.slot,
            state.converged,
            state.measured,
            state.assumed,
            state.voltage_min_per_mille,
            state.voltage_max_per_mille,
            state.flows,
            state.rejected,
        )
        return self.estimate

    def _check_loops(self, check: CheckLoops) -> list[Fact]:
        """The room of the loops follows an AC power flow; who waited for it may trade."""
        market, loops = self._markets.open.get(check.slot), self._network.loops
        if market is None or loops is None:
            return [ZoneRefused(self.zone, "loops", Refusal.UNKNOWN_SLOT)]
        columns = check.offset_w, check.cap_w
        if any(len(column) != len(loops.names) for column in columns) or any(
            abs(power) > NO_LIMIT_W for column in columns for power in column
        ):
            return [ZoneRefused(self.zone, "loops", Refusal.MALFORMED)]
        self._markets.correct(market, *columns)
        fact = LoopsChecked(
            self.zone,
            check.slot,
            check.trades,
            check.converged,
            check.worst_loading_per_mille,
            check.voltage_min_per_mille,
            check.voltage_max_per_mille,
        )
        return [fact, *self._trading.resweep(market)]

    # ---- re-dispatch ------------------------------------------------------------------------

    def _redispatch(self, command: Redispatch, now_ns: int) -> list[Fact]:
        """The homes' cuts as leases; what each loses is valued at the dearest replacement."""
        ends_ns = slot_end_ns(command.slot)
        if ends_ns <= now_ns or not 0 < command.element < self._network.size:
            return [ZoneRefused(self.zone, "re-dispatch", Refusal.BAD_INTERVAL)]
        known = {candidate.device: candidate for candidate in self.candidates(command.slot)}
        leases: list[Fact] = []
        homes = []
        base_w = self._network.node_w(command.slot)
        for cut in command.cuts:
            candidate = known.get(cut.device)
            if candidate is None:
                continue
            power_w = max(-candidate.relief_w, min(cut.power_w, candidate.export_w))
            if not power_w:
                continue
            gateway = self._gateways[cut.device]
            energy_wh = abs(power_w) // SLOTS_PER_HOUR
            dearest = self._markets.rules.fallback_import_micro_per_kwh
            homes.append(
                HomeCompensation(
                    cut.device, gateway.account, power_w, energy_wh, val(energy_wh, dearest)
                )
            )
            left_w = max(0, candidate.export_w - base_w[candidate.node] - power_w)
            lease = LeaseIssued(
                effect_id("redispatch", self.zone, command.slot, cut.device),
                cut.device,
                max(now_ns, slot_start_ns(command.slot)),
                ends_ns,
                RAMP_W_PER_S,
                None if power_w > 0 else -power_w,
                left_w if power_w > 0 else None,
                "re-dispatch",
            )
            self.caps.add(lease)
            leases.append(lease)
        fact = Redispatched(
            self.zone,
            command.slot,
            command.element,
            command.exporting,
            command.before_per_mille,
            command.after_per_mille,
            tuple(homes),
        )
        return [fact, *leases]

    # ---- authorities ------------------------------------------------------------------------

    def _override(self, order: OverrideLimit, now_ns: int) -> list[Fact]:
        refusal = refuse_override(self._network, order, now_ns)
        if refusal is not None:
            return [ZoneRefused(self.zone, order.authority, refusal)]
        facts: list[Fact] = [
            LimitOverridden(
                self.zone,
                order.element,
                order.limit_w,
                order.authority,
                order.reason,
                order.until_ns,
                order.starts_ns,
                order.order_id,
            )
        ]
        conflicts, changed = self._markets.override(order)
        for conflict in conflicts:
            holds, yields = conflict.stronger, conflict.weaker
            facts.append(
                OverrideContested(
                    self.zone,
                    order.element,
                    holds.authority,
                    holds.limit_w,
                    yields.authority,
                    yields.limit_w,
                    conflict.decided_by,
                )
            )
        for market in changed:
            facts += self._trading.resweep(market)
        return facts

    def _curtail(self, order: OrderCurtailment, now_ns: int) -> list[Fact]:
        refusal = refuse_curtailment(self._network, order, now_ns)
        if refusal is not None:
            return [ZoneRefused(self.zone, order.order_id, refusal)]
        issued = plan_leases(self._network, order, self._gateways.values(), now_ns)
        for lease in issued:
            self.caps.add(lease)
        plan = CurtailmentPlanned(
            self.zone,
            order.order_id,
            order.element,
            order.limit_w,
            order.starts_ns,
            order.ends_ns,
            order.authority,
            order.reason,
            len(issued),
        )
        return [plan, *issued]
