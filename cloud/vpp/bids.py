"""Which hour is offered to which venue, and what has become of each bid.

One battery cannot be sold twice, so each delivery hour belongs to one venue: even hours of the UTC
day to the first product, odd ones to the second, and so on around the plan. A bid's state is read
off its facts and never stored beside them.
"""

from dataclasses import dataclass
from enum import Enum

from cloud.facts import BidPrepared
from cloud.vpp.capability import HOUR_NS
from protos.clock import MINUTE_NS
from protos.ids import effect_id


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

    @property
    def series(self) -> tuple[str, str, str]:
        """The real-time price series that the product is paid by."""
        return self.venue, self.node, self.market


OFFERED = (
    Product("caiso", "TH_SP15_GEN-APND", "RTM", "DAM", 75 * MINUTE_NS),
    Product("pjm", "51288", "RT", "DA", 65 * MINUTE_NS, HOUR_NS),
)


def product_for(offered: tuple[Product, ...], starts_ns: int) -> Product:
    """The one product that this hour's energy is offered as."""
    return offered[starts_ns // HOUR_NS % len(offered)]


def bid_id(product: Product, starts_ns: int) -> str:
    """The same hour at the same node is the same bid, whoever prepares it and how often."""
    return effect_id("bid", product.venue, product.node, starts_ns)


class BidState(Enum):
    """Validated is prepared: nothing leaves the desk that did not pass its limits."""

    VALIDATED = "validated"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    CLEARED = "cleared"
    METERED = "metered"


@dataclass(slots=True)
class Bid:
    """One bid with what came back. `answer` is (accepted, reference, reason) once there is one."""

    prepared: BidPrepared
    exposure_micro: int
    answer: tuple[bool, str, str] | None = None
    awards: int = 0
    metered: int = 0

    @property
    def ends_ns(self) -> int:
        return self.prepared.starts_ns + self.prepared.duration_ns

    @property
    def state(self) -> BidState:
        if self.awards:
            return BidState.METERED if self.metered == self.awards else BidState.CLEARED
        if self.answer is None:
            return BidState.VALIDATED
        return BidState.ACCEPTED if self.answer[0] else BidState.REJECTED

    def may_still_clear(self, at_ns: int) -> bool:
        """Whether an award could still come for it."""
        rejected = self.answer is not None and not self.answer[0]
        return not rejected and at_ns < self.ends_ns
