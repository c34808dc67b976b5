"""What people and pages read: small tables kept up to date from facts, and made again by replay.

Nothing here is the truth and nothing decides by it. Every table is bounded; what falls out of one
is still in the journal.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cloud.facts import (
    AuthorityRegistered,
    Awarded,
    AwardMetered,
    BatchAccepted,
    BatchPosted,
    BatchRefused,
    BidAnswered,
    BidCancelled,
    BidHeldBack,
    BidPrepared,
    BidSettled,
    BidSubmitted,
    BlockSealed,
    CurtailmentPlanned,
    Fact,
    GateClosed,
    GatewayAdmitted,
    GatewayExpelled,
    LeaseIssued,
    LeaseReported,
    LimitOverridden,
    OfferRefused,
    OfferRested,
    RefereeRecorded,
    ReserveMetered,
    ReservePrepared,
    SlotMetered,
    SlotSettled,
    Statement,
    Telemetry,
    Traded,
    TransfersRefused,
    ZoneRefused,
)
from cloud.store.grid_alarms import GRID_FACTS, alarm_of
from protos.messages import LeaseState, Refusal

BID_FACTS = (
    BidPrepared,
    ReservePrepared,
    BidSubmitted,
    BidCancelled,
    BidAnswered,
    BidHeldBack,
    Awarded,
    AwardMetered,
    ReserveMetered,
    BidSettled,
)
SLOTS_KEPT_MAX = 384
TRADES_KEPT_MAX = 20_000
BLOCKS_KEPT_MAX = 200
ALARMS_KEPT_MAX = 200
BIDS_KEPT_MAX = 500
STATEMENTS_KEPT_MAX = 96
TRANSFER_BATCHES_KEPT_MAX = 100_000


class Powers(Protocol):
    """What is seen of a home at one instant."""

    @property
    def at_ns(self) -> int: ...
    @property
    def grid_w(self) -> int: ...
    @property
    def pv_w(self) -> int: ...
    @property
    def battery_w(self) -> int: ...
    @property
    def load_w(self) -> int: ...
    @property
    def soc_per_mille(self) -> int: ...
    @property
    def capacity_wh(self) -> int: ...


@dataclass(slots=True)
class GatewayRow:
    device: str
    zone: str
    account: str
    node: int
    seen_ns: int = 0
    seq: int = 0
    grid_w: int = 0
    pv_w: int = 0
    battery_w: int = 0
    load_w: int = 0
    soc_per_mille: int = 0
    capacity_wh: int = 0
    is_glimpse: bool = False
    """Whether the powers were shown ahead of the gateway's backlog and are not yet in order."""


@dataclass(slots=True)
class SlotRow:
    slot: int
    state: str = "open"
    trades: int = 0
    volume_wh: int = 0
    last_price_micro_per_kwh: int = 0
    delivered_wh: int = 0
    revision: int = 0
    referee_per_mille: int | None = None


@dataclass(slots=True)
class BidRow:
    bid_id: str
    venue: str
    starts_ns: int
    duration_ns: int
    power_w: int
    price_micro_per_mwh: int
    state: str
    reason: str = ""
    awarded_w: int | None = None
    delivered_wh: int | None = None
    revenue_micro: int | None = None


@dataclass(slots=True)
class AlarmRow:
    """Priority 1 is the most urgent. `key` names what it is about: it rises once, not each time."""

    key: str
    priority: int
    at_ns: int
    source: str
    message: str
    count: int = 1
    acknowledged: bool = False


@dataclass(slots=True)
class TransferBatchRow:
    """A batch of transfers: when it was journaled, where its leaf lies, and what was refused."""

    at_ns: int
    position: int
    refused: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class CurtailmentRow:
    plan: CurtailmentPlanned
    leases: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Totals:
    """Counters since the journal began."""

    readings: int = 0
    batches: int = 0
    offers: int = 0
    trades: int = 0
    slots_settled: int = 0
    minted_wh: int = 0
    burned_wh: int = 0
    conservation_error_wh: int = 0
    blocks: int = 0
    bids_prepared: int = 0
    bids_answered: int = 0
    bids_accepted: int = 0
    leases_sent: int = 0
    leases_confirmed: int = 0
    leases_reverted: int = 0
    leases_failed: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class Views:
    """All tables. `update` is a fact listener of the writer."""

    def __init__(self) -> None:
        self.version = 0
        self.at_ns = 0
        self.totals = Totals()
        self.gateways: dict[str, GatewayRow] = {}
        self.slots: dict[tuple[str, int], SlotRow] = {}
        self.feeders: dict[str, GateClosed] = {}
        self.trades: deque[Traded] = deque(maxlen=TRADES_KEPT_MAX)
        self.bids: dict[str, BidRow] = {}
        self.blocks: deque[BlockSealed] = deque(maxlen=BLOCKS_KEPT_MAX)
        self.alarms: dict[str, AlarmRow] = {}
        self.curtailments: dict[str, CurtailmentRow] = {}
        self.authorities: dict[str, AuthorityRegistered] = {}
        self.statements: dict[str, deque[tuple[int, Statement]]] = {}
        self.transfer_batches: deque[TransferBatchRow] = deque(maxlen=TRANSFER_BATCHES_KEPT_MAX)
        self.leaves = 0
        self._lease_states: dict[str, int] = {}
        self._planned: CurtailmentRow | None = None

    def update(self, facts: Sequence[Fact], at_ns: int) -> None:
        for fact in facts:
            self._update(fact, at_ns)
            if fact.LOGGED:
                self.leaves += 1
        self.at_ns = max(self.at_ns, at_ns)
        self.version += 1

    def glimpse(self, device: str, seen: Powers) -> None:
        """A home's newest powers, ahead of its backlog. Gone at a restart, like all that is seen."""
        row = self.gateways.get(device)
        if row is not None and seen.at_ns > row.seen_ns:
            self._see(row, seen)
            row.is_glimpse = True
            self.version += 1

    def acknowledge(self, key: str) -> bool:
        """Marks an alarm as seen. False if there is none of that name (any more)."""
        if key not in self.alarms:
            return False
        self.alarms[key].acknowledged = True
        self.version += 1
        return True

    def statement(self, account: str, slot: int | None = None) -> tuple[int, Statement] | None:
        """The leaf position and statement of an account's newest (or given) slot."""
        kept = self.statements.get(account, ())
        for position, statement in reversed(kept):
            if slot is None or statement.slot == slot:
                return position, statement
        return None

    def _update(self, fact: Fact, at_ns: int) -> None:
        match fact:
            case Telemetry() | BatchAccepted() | GatewayAdmitted() | GatewayExpelled():
                self._gateway(fact)
            case BatchRefused(device=device, reason=reason):
                self._refused(reason)
                name = Refusal(reason).name
                self.alarm(
                    f"batch/{device}/{name}", 2, at_ns, device[:12], f"batch refused: {name}"
                )
            case OfferRested() | Traded() | OfferRefused():
                self._market(fact)
            case GateClosed() | SlotMetered() | SlotSettled() | RefereeRecorded():
                self._slot(fact, at_ns)
            case Statement() | BatchPosted() | TransfersRefused():
                self._proven(fact, at_ns)
            case BlockSealed():
                self.totals.blocks += 1
                self.blocks.append(fact)
            case LeaseIssued() | LeaseReported() | CurtailmentPlanned() | LimitOverridden():
                self._dispatch(fact, at_ns)
            case ZoneRefused(reason=reason):
                self._refused(reason)
            case AuthorityRegistered():
                self.authorities[fact.authority] = fact
            case _ if isinstance(fact, BID_FACTS):
                self._bid(fact, at_ns)
            case _ if isinstance(fact, GRID_FACTS):
                self._grid(fact, at_ns)

    def _proven(self, fact: Statement | BatchPosted | TransfersRefused, at_ns: int) -> None:
        """Where the leaves lie that receipts are asked for."""
        match fact:
            case Statement():
                kept = self.statements.setdefault(fact.account, deque(maxlen=STATEMENTS_KEPT_MAX))
                kept.append((self.leaves, fact))
            case BatchPosted():
                self.transfer_batches.append(TransferBatchRow(at_ns, self.leaves))
            case TransfersRefused():
                self.transfer_batches[-1].refused = fact.refused

    def _grid(self, fact: Fact, at_ns: int) -> None:
        found = alarm_of(fact)
        if found is None:
            return
        if found.priority:
            self.alarm(found.key, found.priority, at_ns, found.source, found.message)
        else:
            self.alarms.pop(found.key, None)

    def _gateway(self, fact: Telemetry | BatchAccepted | GatewayAdmitted | GatewayExpelled) -> None:
        match fact:
            case BatchAccepted():
                self.totals.batches += 1
                self.totals.readings += fact.readings
                self.totals.offers += fact.offers
                row = self.gateways.get(fact.device)
                if row is not None:
                    row.seq = fact.seq
            case Telemetry():
                row = self.gateways.get(fact.device)
                if row is not None and fact.at_ns >= row.seen_ns:
                    self._see(row, fact)
                    row.is_glimpse = False
            case GatewayAdmitted():
                self.gateways.setdefault(
                    fact.device, GatewayRow(fact.device, fact.zone, fact.account, fact.node)
                )
            case GatewayExpelled():
                self.gateways.pop(fact.device, None)

    @staticmethod
    def _see(row: GatewayRow, seen: Powers) -> None:
        row.seen_ns = seen.at_ns
        row.grid_w, row.pv_w = seen.grid_w, seen.pv_w
        row.battery_w, row.load_w = seen.battery_w, seen.load_w
        row.soc_per_mille, row.capacity_wh = seen.soc_per_mille, seen.capacity_wh

    def _market(self, fact: OfferRested | Traded | OfferRefused) -> None:
        match fact:
            case OfferRested():
                self._slot_row(fact.zone, fact.slot)
            case Traded():
                self.totals.trades += 1
                self.trades.append(fact)
                row = self._slot_row(fact.zone, fact.slot)
                row.trades += 1
                row.volume_wh += fact.energy_wh
                row.last_price_micro_per_kwh = fact.price_micro_per_kwh
            case OfferRefused():
                self._refused(fact.reason)

    def _slot(
        self, fact: GateClosed | SlotMetered | SlotSettled | RefereeRecorded, at_ns: int
    ) -> None:
        row = self._slot_row(fact.zone, fact.slot)
        match fact:
            case GateClosed():
                row.state = "closed"
                self.feeders[fact.zone] = fact
            case SlotMetered():
                row.state = "metered"
            case SlotSettled():
                row.state = "settled"
                row.delivered_wh, row.revision = fact.delivered_wh, fact.revision
                self.totals.slots_settled += fact.revision == 0
                self.totals.minted_wh += fact.minted_wh
                self.totals.burned_wh += fact.burned_wh
                self.totals.conservation_error_wh += abs(fact.conservation_error_wh)
            case RefereeRecorded():
                row.referee_per_mille = fact.worst_loading_per_mille
                if not fact.converged:
                    self.alarm(
                        f"referee/{fact.zone}/{fact.slot}", 1, at_ns, fact.zone,
                        f"power flow of slot {fact.slot} did not converge",
                    )  # fmt: skip
                elif fact.worst_loading_per_mille > 1_000:
                    self.alarm(
                        f"loading/{fact.zone}/{fact.worst_element}", 2, at_ns, fact.zone,
                        f"element {fact.worst_element} at "
                        f"{fact.worst_loading_per_mille / 10:.1f} % in slot {fact.slot}",
                    )  # fmt: skip

    def _bid(self, fact: Fact, at_ns: int) -> None:
        match fact:
            case BidPrepared():
                self.totals.bids_prepared += 1
                top = max(fact.curve, key=lambda segment: segment.power_w)
                _forget_oldest(self.bids, BIDS_KEPT_MAX)
                self.bids[fact.bid_id] = BidRow(
                    fact.bid_id,
                    fact.venue,
                    fact.starts_ns,
                    fact.duration_ns,
                    top.power_w,
                    top.price_micro_per_mwh,
                    "prepared",
                )
            case BidAnswered():
                self.totals.bids_answered += 1
                self.totals.bids_accepted += fact.accepted
                self._set_bid(fact.bid_id, "accepted" if fact.accepted else "rejected", fact.reason)
                if not fact.accepted:
                    self.alarm(
                        f"bid/{fact.bid_id}", 2, at_ns, "desk", f"bid rejected: {fact.reason}"
                    )
            case BidHeldBack(reason=reason):
                self._refused(reason)
            case BidSubmitted(bid_id=bid):
                self._set_bid(bid, "submitted", "")
            case BidCancelled(bid_id=bid):
                self._set_bid(bid, "cancelled", "")
            case _:
                self._award(fact)

    def _award(self, fact: Fact) -> None:
        match fact:
            case Awarded():
                row = self._set_bid(fact.bid_id, "awarded", "")
                if row is not None:
                    row.awarded_w = fact.power_w
            case AwardMetered() | ReserveMetered():
                row = self._set_bid(fact.bid_id, "delivered", "")
                if row is not None:
                    row.delivered_wh, row.revenue_micro = fact.delivered_wh, fact.revenue_micro
            case BidSettled(bid_id=bid, amount_micro=amount, version=version):
                row = self._set_bid(bid, "settled", f"version {version}" if version > 1 else "")
                if row is not None:
                    row.revenue_micro = amount

    def _dispatch(
        self,
        fact: LeaseIssued | LeaseReported | CurtailmentPlanned | LimitOverridden,
        at_ns: int,
    ) -> None:
        match fact:
            case LeaseIssued():
                self.totals.leases_sent += 1
                self._lease_states[fact.lease_id] = 0
                _forget_oldest(self._lease_states, TRADES_KEPT_MAX)
                # A plan is followed at once by its leases, as many as it counts.
                if self._planned and len(self._planned.leases) < self._planned.plan.gateways:
                    self._planned.leases[fact.lease_id] = 0
            case LeaseReported():
                self._lease_report(fact, at_ns)
            case CurtailmentPlanned():
                _forget_oldest(self.curtailments, ALARMS_KEPT_MAX)
                self._planned = self.curtailments[fact.order_id] = CurtailmentRow(fact)
                self.alarm(
                    f"curtailment/{fact.order_id}", 2, at_ns, fact.authority,
                    f"curtailment below element {fact.element}: {fact.reason}",
                )  # fmt: skip
            case LimitOverridden():
                self.alarm(
                    f"limit/{fact.zone}/{fact.element}", 3, at_ns, fact.authority,
                    f"limit of element {fact.element} set to {fact.limit_w} W: {fact.reason}",
                )  # fmt: skip

    def _lease_report(self, fact: LeaseReported, at_ns: int) -> None:
        """Each lease counts once as confirmed and once as ended, however often it is reported."""
        before = self._lease_states.get(fact.lease_id, 0)
        state = LeaseState(fact.state)
        confirmed, ended = 1, 2
        if state in {LeaseState.ACTIVE, LeaseState.EXPIRED, LeaseState.REVERTED}:
            self.totals.leases_confirmed += not before & confirmed
            before |= confirmed
        if state in {LeaseState.EXPIRED, LeaseState.REVERTED}:
            self.totals.leases_reverted += not before & ended
            before |= ended
        if state in {LeaseState.REFUSED, LeaseState.FAILED}:
            self.totals.leases_failed += not before & ended
            before |= ended
            self.alarm(
                f"lease/{fact.device}", 3, at_ns, fact.device[:12], f"setpoint {state.name.lower()}"
            )
        self._lease_states[fact.lease_id] = before
        for curtailment in self.curtailments.values():
            if fact.lease_id in curtailment.leases:
                curtailment.leases[fact.lease_id] = fact.state

    def _set_bid(self, bid_id: str, state: str, reason: str) -> BidRow | None:
        row = self.bids.get(bid_id)
        if row is not None:
            row.state, row.reason = state, reason
        return row

    def _slot_row(self, zone: str, slot: int) -> SlotRow:
        key = (zone, slot)
        if key not in self.slots:
            _forget_oldest(self.slots, SLOTS_KEPT_MAX)
            self.slots[key] = SlotRow(slot)
        return self.slots[key]

    def _refused(self, reason: int) -> None:
        self.totals.refused[Refusal(reason).name] += 1

    def alarm(self, key: str, priority: int, at_ns: int, source: str, message: str) -> None:
        """Raises an alarm, or counts it again: first-out order, one row a cause."""
        row = self.alarms.get(key)
        if row is not None:
            row.count += 1
            return
        _forget_oldest(self.alarms, ALARMS_KEPT_MAX)
        self.alarms[key] = AlarmRow(key, priority, at_ns, source, message)


def _forget_oldest(table: dict[Any, Any], count_max: int) -> None:
    while len(table) >= count_max:
        del table[next(iter(table))]
