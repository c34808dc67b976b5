"""What the desk's open bids and awards already bind: energy before an hour, money of a day."""

from collections.abc import Container, Mapping

from cloud.commands import BidAhead, CurveSegment, RecordAward
from cloud.facts import BidPrepared, ReservePrepared
from cloud.vpp.awards import AwardBook
from cloud.vpp.bids import Bid, Product, bid_id
from cloud.vpp.capability import HOUR_NS
from cloud.vpp.prices import DAY_NS, PRICE_MICRO_MAX
from cloud.vpp.reserves import DOWN, UP, call_wh
from cloud.vpp.risk import Limits, buy_back_micro, objection
from protos.clock import MINUTE_NS
from protos.messages import Refusal

Bids = Mapping[str, Bid]
SUBMIT_MARGIN_NS = MINUTE_NS
"""Nothing is bid later than this before a gate: it would reach the venue too late."""

AHEAD_NS_MAX = 3 * DAY_NS


def promised_wh(bids: Bids, before_ns: int, at_ns: int) -> tuple[int, int]:
    """Energy that may have to go out and come in before an hour, by awards and open bids.

    A bid is for one hour, so its W are Wh.
    """
    sold = bought = 0
    for bid in bids.values():
        if bid.prepared.starts_ns >= before_ns or not bid.may_still_clear(at_ns):
            continue
        if bid.prepared.product != "EN":
            called_wh = call_wh(bid.prepared)
            sold += called_wh if bid.prepared.product in UP else 0
            bought += called_wh if bid.prepared.product in DOWN else 0
            continue
        sold += max(0, bid.prepared.curve[-1].power_w)
        bought += max(0, -bid.prepared.curve[0].power_w)
    return sold, bought


def committed_micro(bids: Bids, book: AwardBook, hour_ns: int, at_ns: int) -> int:
    """The delivery day's exposure: open bids at their worst, and of the hours that are over
    whatever was sold and not delivered.
    """
    day = hour_ns // DAY_NS
    total = 0
    for bid in bids.values():
        if bid.prepared.starts_ns // DAY_NS == day and bid.may_still_clear(at_ns):
            total += bid.exposure_micro
    for (bid_key, starts_ns), award in book.running.items():
        if starts_ns // DAY_NS == day and not bids[bid_key].may_still_clear(at_ns):
            total += buy_back_micro(award.energy_wh)
    for (bid_key, starts_ns), finished in book.finished.items():
        if starts_ns // DAY_NS == day and not bids[bid_key].may_still_clear(at_ns):
            total += buy_back_micro(finished.short_wh)
    return total


def reserve_objection(
    limits: Limits, bids: Bids, book: AwardBook, offer: ReservePrepared, at_ns: int
) -> Refusal | None:
    """What is wrong with a reserve offer's time, or with its money and size, or None."""
    if at_ns > offer.gate_ns - SUBMIT_MARGIN_NS:
        return Refusal.GATE_CLOSED
    if offer.starts_ns > at_ns + AHEAD_NS_MAX:
        return Refusal.BAD_INTERVAL
    committed = committed_micro(bids, book, offer.starts_ns, at_ns)
    return objection(limits, offer.curve, offer.duration_ns, committed)


def award_objection(bid: Bid, book: AwardBook, award: RecordAward, at_ns: int) -> Refusal | None:
    """What is wrong with an award: outside the bid's hour, size or life. Fails closed."""
    ends_ns = award.starts_ns + award.duration_ns
    inside = bid.prepared.starts_ns <= award.starts_ns < ends_ns <= bid.ends_ns
    if not inside or book.overlaps(award.bid_id, award.starts_ns, ends_ns):
        return Refusal.BAD_INTERVAL
    if bid.is_dead:
        return Refusal.UNKNOWN_OFFER
    if at_ns >= ends_ns:
        return Refusal.EXPIRED
    if abs(award.price_micro_per_mwh) > PRICE_MICRO_MAX:
        return Refusal.BAD_PRICE
    curve = bid.prepared.curve
    if not min(0, curve[0].power_w) <= award.power_w <= max(0, curve[-1].power_w):
        return Refusal.RISK_LIMIT
    return None


def revision(bids: Bids, product: Product, hour_ns: int) -> int:
    """How many bids for this hour were withdrawn before."""
    count = 0
    while bid_id(product, hour_ns, count) in bids:
        count += 1
    return count


def ahead_objection(
    command: BidAhead, product: Product | None, decided: Container[int], at_ns: int
) -> Refusal | None:
    """What is wrong with the time or the place of a day-ahead offer, or None."""
    hour_ns = command.starts_ns
    if product is None:
        return Refusal.UNKNOWN_OFFER
    if hour_ns % HOUR_NS or not command.gate_ns < hour_ns <= at_ns + AHEAD_NS_MAX:
        return Refusal.BAD_INTERVAL
    if at_ns > command.gate_ns - SUBMIT_MARGIN_NS:
        return Refusal.GATE_CLOSED
    return Refusal.DUPLICATE_NUMBER if hour_ns in decided else None


def prepared_energy(
    bids: Bids,
    product: Product,
    market: str,
    hour_ns: int,
    gate_ns: int,
    curve: tuple[CurveSegment, ...],
) -> BidPrepared:
    """An energy bid for one hour; after a cancellation the next revision."""
    identity = bid_id(product, hour_ns, revision(bids, product, hour_ns))
    where = (product.venue, product.node, market)
    return BidPrepared(identity, *where, hour_ns, HOUR_NS, gate_ns, curve)
