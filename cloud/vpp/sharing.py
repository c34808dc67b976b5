"""Which homes a venue's payment belongs to: what each delivered for the bid that is paid.

A statement pays for a bid; the homes that delivered for it get their part by Wh. The desk only says
who delivered and what the amount is in the zones' currency; the bank splits and posts. Purchases
are the operator's: a home that was charged pays for the energy where its meter counts it.
"""

from cloud.commands import Delivery, ShareRules
from cloud.facts import RevenueStated
from cloud.vpp.bids import Bid
from protos.units import PER_MILLE

MILLION = 1_000_000
HOME_SHARE = ShareRules(owners_per_mille=800, rate_micro=MILLION)
"""Four fifths to the homes, and a venue's unit of currency worth one of the zones' until it is
told otherwise."""


def are_sound(rules: ShareRules) -> bool:
    return 0 <= rules.owners_per_mille <= PER_MILLE and rules.rate_micro > 0


def converted_micro(amount_micro: int, rate_micro: int) -> int:
    """An amount in the other currency, halves up, rounded once."""
    return (2 * amount_micro * rate_micro + MILLION) // (2 * MILLION)


def stated(bid: Bid, rules: ShareRules) -> RevenueStated:
    """What the newest statement of a bid means for the homes. The bid has one."""
    assert bid.statement is not None, "a bid without a statement has nothing to share"
    version, amount_micro = bid.statement
    return RevenueStated(
        bid.prepared.venue,
        bid.prepared.bid_id,
        version,
        converted_micro(amount_micro, rules.rate_micro),
        rules.owners_per_mille,
        tuple(Delivery(account, energy) for account, energy in sorted(bid.delivered_wh.items())),
    )
