"""The closing auction: which of a slot's offers take part, and at what prices they trade.

All offers that wait when a gate closes are cleared at once: the trades of greatest welfare within
the room of every element, at one price a node (`ext.auction` says how). A seller gets its node's
price and a buyer pays its own node's; trades never cross, so that between the two is never a loss
but the rent of the congested elements between them. Must never let an account trade with itself.
Only offers that gathered unmatched can trade here: of those the continuous book left, no pair that
the grid could carry is crossed, and flows on a tree always come apart into such pairs.
"""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from ext.auction import clear
from ext.tree import Headroom
from protos.messages import Side


class Waiting(NamedTuple):
    """One offer as the auction sees it. `owner` is the account's number."""

    owner: int
    node: int
    side: Side
    tick: int
    energy_wh: int
    cls: int


class Fill(NamedTuple):
    """Two offers, by their places, and the price in ticks at the node of each."""

    seller: int
    buyer: int
    energy_wh: int
    seller_tick: int
    buyer_tick: int


class Clearing(NamedTuple):
    """All trades, and where the price steps: (element, ticks dearer below it), by element."""

    fills: list[Fill]
    steps: list[tuple[int, int]]


def clear_offers(headroom: Headroom, ticks: int, waiting: Sequence[Waiting]) -> Clearing:
    """The clearing of offers that stand in order of arrival. The headroom is only read."""
    places = _places(waiting)
    taking = [waiting[place] for place in places]
    trades, prices = clear(
        headroom,
        ticks,
        array("i", [offer.node for offer in taking]),
        array("B", [int(offer.side) for offer in taking]),
        array("i", [offer.tick for offer in taking]),
        array("q", [offer.energy_wh for offer in taking]),
        array("B", [offer.cls for offer in taking]),
    )
    fills = [
        Fill(
            places[seller],
            places[buyer],
            energy_wh,
            prices[taking[seller].node],
            prices[taking[buyer].node],
        )
        for seller, buyer, energy_wh in trades
    ]
    parents = headroom.tree.parents
    steps = [
        (element, prices[element] - prices[parents[element]])
        for element in range(1, len(parents))
        if prices[element] != prices[parents[element]]
    ]
    return Clearing(fills, steps)


def _places(waiting: Sequence[Waiting]) -> list[int]:
    """Who takes part. An account that would buy from itself keeps the side it was first on.

    Where its dearest bid is below its cheapest ask, no prices could bring the two together.
    """
    first: dict[int, Side] = {}
    bid: dict[int, int] = {}
    ask: dict[int, int] = {}
    for offer in waiting:
        first.setdefault(offer.owner, offer.side)
        if offer.side is Side.BUY:
            bid[offer.owner] = max(offer.tick, bid.get(offer.owner, offer.tick))
        else:
            ask[offer.owner] = min(offer.tick, ask.get(offer.owner, offer.tick))
    crossed = {owner for owner in bid if owner in ask and bid[owner] >= ask[owner]}
    return [
        place
        for place, offer in enumerate(waiting)
        if offer.owner not in crossed or offer.side is first[offer.owner]
    ]
