"""Which hour is offered to which venue, and what has become of each bid.

One battery cannot be sold twice, so each delivery hour belongs to one venue: even hours of the UTC
day to the first product, odd ones to the second, and so on around the plan. A bid's state is read
off its facts and never stored beside them.
"""

from dataclasses import dataclass, field
from enum import Enum

from cloud.facts import BidPrepared
from cloud.vpp.capability import HOUR_NS
from protos.clock import MINUTE_NS
from protos.ids import AccountId, effect_id
from protos.messages import Refusal


@dataclass(frozen=True, slots=True)
class Product:
    """What the desk sells at one venue. `market` is real time, `ahead` the day-ahead market."""

    venue: str
    node: str
    market: str
    ahead: str
    gate_lead_ns: int
    """The venue takes real-time bids until this long before the delivery hour."""
    step_ns: int = 15 * MINUTE_NS
    """How long one real-time price holds; an award has one price."""
    reserve_node: str = ""
    """Where the reserves' prices are published for: a region, not a node."""
    reserve_run: str = ""
    """The market run they come from: DAM_AS, RT_AS."""

    @property
    def series(self) -> tuple[str, str, str]:
        """The real-time price series that the product is paid by."""
        return self.venue, self.node, self.market

    def reserve_series(self, kind: str) -> tuple[str, str, str]:
        """The published price series of a reserve: SPIN, REG_UP ..."""
        return self.venue, self.reserve_node, f"{self.reserve_run}_{kind}"


OFFERED = (
    Product(
        *("caiso", "TH_SP15_GEN-APND", "RTM", "DAM", 75 * MINUTE_NS),
        reserve_node="AS_SP26",
        reserve_run="DAM_AS",
    ),
    Product(
        *("pjm", "51288", "RT", "DA", 65 * MINUTE_NS, HOUR_NS),
        reserve_node="PJM_RTO",
        reserve_run="RT_AS",
    ),
)


def product_for(offered: tuple[Product, ...], starts_ns: int) -> Product:
    """The one product that this hour's energy is offered as."""
    return offered[starts_ns // HOUR_NS % len(offered)]


def bid_id(product: Product, starts_ns: int, revision: int = 0) -> str:
    """The same hour at the same node is the same bid, whoever prepares it and how often; after a
    cancellation the next revision takes its place.
    """
    if revision:
        return effect_id("bid", product.venue, product.node, starts_ns, revision)
    return effect_id("bid", product.venue, product.node, starts_ns)


class BidState(Enum):
    """A draft never outlives its tick: what passes the limits is prepared, that is validated."""

    DRAFT = "draft"
    VALIDATED = "validated"
    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    CLEARED = "cleared"
    DISPATCHED = "dispatched"
    METERED = "metered"
    SETTLED = "settled"


@dataclass(slots=True)
class Bid:
    """One bid with what came back. `answer` is (accepted, reference, reason) once there is one."""

    prepared: BidPrepared
    exposure_micro: int
    answer: tuple[bool, str, str] | None = None
    awards: int = 0
    metered: int = 0
    submitted: bool = False
    cancelled: bool = False
    dispatched: bool = False
    revenue_micro: int = 0
    """The sum of what its metered awards earned, by our own meters."""
    statement: tuple[int, int] | None = None
    """Version and amount of the newest statement."""
    delivered_wh: dict[AccountId, int] = field(default_factory=dict)
    """What each home delivered for it, by account; drawn energy is not among it."""

    @property
    def ends_ns(self) -> int:
        return self.prepared.starts_ns + self.prepared.duration_ns

    @property
    def state(self) -> BidState:
        if self.cancelled:
            return BidState.CANCELLED
        if self.statement is not None:
            return BidState.SETTLED
        if self.awards:
            return self._after_clearing
        if self.answer is None:
            return BidState.SUBMITTED if self.submitted else BidState.VALIDATED
        return BidState.ACCEPTED if self.answer[0] else BidState.REJECTED

    @property
    def _after_clearing(self) -> BidState:
        if self.metered == self.awards:
            return BidState.METERED
        return BidState.DISPATCHED if self.dispatched else BidState.CLEARED

    @property
    def is_dead(self) -> bool:
        """Whether no award can come for it."""
        return self.cancelled or (self.answer is not None and not self.answer[0])

    def may_still_clear(self, at_ns: int) -> bool:
        """Whether an award could still come for it."""
        return not self.is_dead and at_ns < self.ends_ns

    def cancellation_objection(self, at_ns: int) -> Refusal | None:
        """Why it cannot be cancelled any more, or None."""
        if self.is_dead:
            return Refusal.UNKNOWN_OFFER
        if self.awards or at_ns > self.prepared.gate_ns:
            return Refusal.GATE_CLOSED
        return None

    def settle(self, version: int, amount_micro: int) -> Refusal | None:
        """Takes a statement's word; an older version than the one known changes nothing."""
        if not self.awards or self.metered < self.awards:
            return Refusal.BAD_INTERVAL
        if self.statement is not None and version <= self.statement[0]:
            same = (version, amount_micro) == self.statement
            return None if same else Refusal.CHANGED_REPLAY
        self.statement = (version, amount_micro)
        return None


def bid_state(bid: Bid) -> object:
    """All that the machine remembers of a bid, in plain values."""
    prepared = bid.prepared
    return [
        prepared.bid_id,
        prepared.venue,
        prepared.node,
        prepared.market if prepared.product == "EN" else f"{prepared.market}/{prepared.product}",
        [prepared.starts_ns, prepared.duration_ns, prepared.gate_ns],
        [[segment.power_w, segment.price_micro_per_mwh] for segment in prepared.curve],
        bid.exposure_micro,
        None if bid.answer is None else list(bid.answer),
        bid.awards,
        bid.metered,
        [bid.submitted, bid.cancelled, bid.dispatched],
        bid.revenue_micro,
        None if bid.statement is None else list(bid.statement),
        sorted(bid.delivered_wh.items()),
        [
            prepared.stored_wh,
            prepared.soc_min_wh,
            prepared.soc_max_wh,
            prepared.ramp_w_per_min,
        ],
    ]
