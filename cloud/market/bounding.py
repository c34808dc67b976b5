"""An auction where voltages bind: cleared again within what the power flow refused.

The clearing is exact for the room of each element, but it sees no voltage. So its fills are tried on
a copy of the slot's flow; where that refuses some, the element to blame gets no more room than what
was admitted through it, and the offers are cleared anew: the energy goes to those whom the wires
bear, and the price steps where the voltage binds, as at any full element. Whole numbers and the
power flow that decides every fill anyway, so a replay agrees; no solver of a linear programme has a
say. It ends when every fill passes, or after `auction_rounds`; what is then too much is cut.
"""

from collections.abc import Sequence

from cloud.market.auction import Clearing, Fill, Waiting, clear_offers
from cloud.market.slots import Market, Markets
from ext.tree import Headroom


def clear_bounded(
    markets: Markets, market: Market, ticks: int, waiting: Sequence[Waiting]
) -> Clearing:
    """The clearing of offers that stand in order of arrival. The market is only read."""
    room = markets.auction_headroom(market)
    clearing = clear_offers(room, ticks, waiting)
    if market.flow is None:
        return clearing
    for _ in range(markets.rules.auction_rounds):
        if not _tighten(markets, market, room, waiting, clearing.fills):
            break
        clearing = clear_offers(room, ticks, waiting)
    return clearing


def _tighten(
    markets: Markets,
    market: Market,
    room: Headroom,
    waiting: Sequence[Waiting],
    fills: Sequence[Fill],
) -> bool:
    """Takes room from the elements to blame for what the flow refuses. Whether there are any."""
    trial = markets.copied(market)
    flow = trial.flow
    assert flow is not None
    wanted_wh: dict[int, int] = {}
    admitted_wh: dict[int, int] = {}
    for fill in fills:
        seller, buyer = waiting[fill.seller].node, waiting[fill.buyer].node
        admitted = trial.admit(seller, buyer, fill.energy_wh)
        for net, energy_wh in ((wanted_wh, fill.energy_wh), (admitted_wh, admitted)):
            net[seller] = net.get(seller, 0) - energy_wh
            net[buyer] = net.get(buyer, 0) + energy_wh
    wanted, through = markets.through_wh(wanted_wh), markets.through_wh(admitted_wh)
    is_tighter = False
    for element in range(1, len(through)):
        down_wh, up_wh = room.edge(element)
        kept_down, kept_up = flow.withheld_wh(element)
        # Only what the clearing would use less of can change it.
        if kept_down > 0 and through[element] < min(wanted[element], down_wh):
            down_wh, is_tighter = through[element], True
        if kept_up > 0 and -through[element] < min(-wanted[element], up_wh):
            up_wh, is_tighter = -through[element], True
        room.set_edge(element, down_wh, up_wh)
    return is_tighter
