"""The records that the wholesale side answers with, for REST and gRPC alike.

Frozen; their names are those on the wire, and money and energy are integers in the unit that a name
ends with.
"""

from dataclasses import dataclass

from cloud.store.prices import Known
from cloud.vpp.bids import Bid
from cloud.vpp.settlement import Dispute


@dataclass(frozen=True, slots=True)
class Market:
    """What is sold at one ISO, and how fresh what is known of it is."""

    iso: str
    node: str
    real_time: str
    day_ahead: str
    step_ns: int
    next_gate_ns: int
    price_age_ns: int | None
    is_stale: bool
    missing_intervals: int
    """Of today's real-time prices up to now."""


@dataclass(frozen=True, slots=True)
class Price:
    starts_ns: int
    ends_ns: int
    price_micro_per_mwh: int
    version: int
    seen_ns: int


@dataclass(frozen=True, slots=True)
class Prices:
    iso: str
    node: str
    market: str
    age_ns: int | None
    prices: list[Price]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Null where nothing at all is known of an hour."""

    iso: str
    node: str
    starts_ns: int
    step_ns: int
    price_micro_per_mwh: list[int | None]


@dataclass(frozen=True, slots=True)
class Segment:
    """Positive power discharges."""

    power_w: int
    price_micro_per_mwh: int


@dataclass(frozen=True, slots=True)
class Stated:
    version: int
    amount_micro: int


@dataclass(frozen=True, slots=True)
class BidView:
    bid_id: str
    iso: str
    node: str
    market: str
    state: str
    starts_ns: int
    duration_ns: int
    gate_ns: int
    curve: list[Segment]
    reason: str
    awards: int
    revenue_micro: int
    statement: Stated | None


@dataclass(frozen=True, slots=True)
class StatementDay:
    iso: str
    day: str
    version: int


@dataclass(frozen=True, slots=True)
class DisputeView:
    charge_code: str
    bid_id: str
    starts_ns: int
    reason: str
    cents: int
    since_version: int


@dataclass(frozen=True, slots=True)
class SettlementView:
    iso: str
    day: str
    versions: list[int]
    stated_cents: int
    expected_cents: int
    difference_cents: int
    unpriced_intervals: list[int]
    disputes: list[DisputeView]


@dataclass(frozen=True, slots=True)
class Risk:
    """The desk's limits and what of today's they have used; 0 is no limit."""

    is_open: bool
    is_halted: bool
    power_max_w: int
    exposure_max_micro: int
    power_min_w: int
    deviation_max_wh: int
    loss_max_micro: int
    soc_min_per_mille: int
    soc_max_per_mille: int
    deviation_wh: int
    revenue_micro: int


def bid_view(bid: Bid) -> BidView:
    prepared = bid.prepared
    return BidView(
        prepared.bid_id,
        prepared.venue,
        prepared.node,
        prepared.market,
        bid.state.value,
        prepared.starts_ns,
        prepared.duration_ns,
        prepared.gate_ns,
        [Segment(one.power_w, one.price_micro_per_mwh) for one in prepared.curve],
        "" if bid.answer is None else bid.answer[2],
        bid.awards,
        bid.revenue_micro,
        None if bid.statement is None else Stated(*bid.statement),
    )


def price_view(known: Known) -> Price:
    return Price(known.start_ns, known.end_ns, known.value_micro, known.version, known.seen_ns)


def dispute_view(dispute: Dispute) -> DisputeView:
    code, bid_id, starts_ns = dispute.difference.key
    return DisputeView(
        code,
        bid_id,
        starts_ns,
        dispute.difference.reason.value,
        dispute.difference.cents,
        dispute.opened_version,
    )
