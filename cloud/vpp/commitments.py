"""What the desk's open bids and awards already bind: energy before an hour, money of a day."""

from collections.abc import Mapping

from cloud.vpp.awards import AwardBook
from cloud.vpp.bids import Bid, Product, bid_id
from cloud.vpp.prices import DAY_NS
from cloud.vpp.risk import buy_back_micro

Bids = Mapping[str, Bid]


def promised_wh(bids: Bids, before_ns: int, at_ns: int) -> tuple[int, int]:
    """Energy that may have to go out and come in before an hour, by awards and open bids.

    A bid is for one hour, so its W are Wh.
    """
    sold = bought = 0
    for bid in bids.values():
        if bid.prepared.starts_ns >= before_ns or not bid.may_still_clear(at_ns):
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


def revision(bids: Bids, product: Product, hour_ns: int) -> int:
    """How many bids for this hour were withdrawn before."""
    count = 0
    while bid_id(product, hour_ns, count) in bids:
        count += 1
    return count
