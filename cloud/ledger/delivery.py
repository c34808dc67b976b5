"""How much of each trade was physically delivered: pro rata first, then the most that is possible.

Decides only Wh. Allocating each meter pro rata strands about a tenth of what could be delivered,
because a seller's share may fall on buyers who need less; augmenting along chains of trades
recovers all of it (a maximum flow from what sellers have left to what buyers still need). Must
never give a trade more than was agreed, nor a party more than its meter counted.

Trades come as parallel columns in trade-id order; parties are numbered in account order. Every
choice follows these numbers, so the same slot always delivers the same Wh. `ext/allocate` is this
module's `augment` in C, equal in every Wh; where it is not built, the one below serves.
"""

from collections.abc import Sequence
from typing import Protocol

from protos.units import largest_remainder


class Augment(Protocol):
    """Raises deliveries to a maximum flow. All in Wh; the last two say what is still left over."""

    def __call__(
        self,
        sellers: Sequence[int],
        buyers: Sequence[int],
        capacity_wh: Sequence[int],
        delivered_wh: Sequence[int],
        supply_wh: Sequence[int],
        demand_wh: Sequence[int],
    ) -> list[int]: ...


def pro_rata(
    parties: Sequence[int], energy_wh: Sequence[int], metered_wh: Sequence[int]
) -> list[int]:
    """Each party's metered Wh over its trades by largest remainder, at most what was traded."""
    trades_of: dict[int, list[int]] = {}
    for trade, party in enumerate(parties):
        trades_of.setdefault(party, []).append(trade)
    shares = [0] * len(parties)
    for party, trades in trades_of.items():
        agreed = [energy_wh[trade] for trade in trades]
        for trade, share in zip(trades, split_capped(metered_wh[party], agreed), strict=True):
            shares[trade] = share
    return shares


def split_capped(total: int, weights: Sequence[int]) -> Sequence[int]:
    """Largest remainder of min(total, sum of weights): no part exceeds its weight."""
    return weights if total >= sum(weights) else largest_remainder(total, weights)


def deliver(
    sellers: Sequence[int],
    buyers: Sequence[int],
    energy_wh: Sequence[int],
    exported_wh: Sequence[int],
    imported_wh: Sequence[int],
    augment: Augment,
) -> list[int]:
    """Delivered Wh of each trade: the smaller pro-rata share, raised to the maximum flow."""
    from_sellers = pro_rata(sellers, energy_wh, exported_wh)
    to_buyers = pro_rata(buyers, energy_wh, imported_wh)
    delivered = [min(pair) for pair in zip(from_sellers, to_buyers, strict=True)]
    supply, demand = list(exported_wh), list(imported_wh)
    for trade, amount in enumerate(delivered):
        supply[sellers[trade]] -= amount
        demand[buyers[trade]] -= amount
    return augment(sellers, buyers, energy_wh, delivered, supply, demand)


def augment_in_python(
    sellers: Sequence[int],
    buyers: Sequence[int],
    capacity_wh: Sequence[int],
    delivered_wh: Sequence[int],
    supply_wh: Sequence[int],
    demand_wh: Sequence[int],
) -> list[int]:
    """Dinic's algorithm on the trades, starting from the deliveries as they are."""
    return _Flow(sellers, buyers, capacity_wh, delivered_wh, supply_wh, demand_wh).maximum()


class _Flow:
    """The residual network. Nodes are the sellers, then the buyers; arcs are trades.

    A trade can carry more from its seller to its buyer while it is under its capacity, and give
    back from its buyer to its seller what it carries.
    """

    def __init__(
        self,
        sellers: Sequence[int],
        buyers: Sequence[int],
        capacity_wh: Sequence[int],
        delivered_wh: Sequence[int],
        supply_wh: Sequence[int],
        demand_wh: Sequence[int],
    ) -> None:
        self.first_buyer = len(supply_wh)
        self.left = [*supply_wh, *demand_wh]
        self.room = [c - d for c, d in zip(capacity_wh, delivered_wh, strict=True)]
        self.flow = list(delivered_wh)
        self.ends = [(s, self.first_buyer + b) for s, b in zip(sellers, buyers, strict=True)]
        self.arcs: list[list[int]] = [[] for _ in self.left]
        for trade, (seller, buyer) in enumerate(self.ends):
            self.arcs[seller].append(trade)
            self.arcs[buyer].append(trade)
        self.level: list[int] = []
        self.next_arc: list[int] = []

    def maximum(self) -> list[int]:
        while self._rank():
            self.next_arc = [0] * len(self.left)
            for seller in range(self.first_buyer):
                while self.left[seller] > 0 and self._push_from(seller):
                    pass
        return self.flow

    def _rank(self) -> bool:
        """Distances from sellers with supply left; whether a buyer in need is reached."""
        self.level = [-1] * len(self.left)
        queue = [node for node in range(self.first_buyer) if self.left[node] > 0]
        for node in queue:
            self.level[node] = 0
        reached = -1
        for node in queue:
            if 0 <= reached <= self.level[node]:
                break
            for trade in self.arcs[node]:
                other, room = self._across(node, trade)
                if room > 0 and self.level[other] < 0:
                    self.level[other] = self.level[node] + 1
                    queue.append(other)
                    if other >= self.first_buyer and self.left[other] > 0:
                        reached = self.level[other]
        return reached >= 0

    def _across(self, node: int, trade: int) -> tuple[int, int]:
        """The node at the other end, and how many Wh more can go there."""
        seller, buyer = self.ends[trade]
        return (buyer, self.room[trade]) if node == seller else (seller, self.flow[trade])

    def _push_from(self, seller: int) -> bool:
        """Sends what one shortest chain can carry; false when none is left."""
        chain: list[int] = []
        node = seller
        while node < self.first_buyer or self.left[node] <= 0:
            if self.next_arc[node] == len(self.arcs[node]):
                if not chain:
                    return False
                trade = chain.pop()
                node = self.ends[trade][0] if node >= self.first_buyer else self.ends[trade][1]
                self.next_arc[node] += 1
                continue
            trade = self.arcs[node][self.next_arc[node]]
            other, room = self._across(node, trade)
            if room > 0 and self.level[other] == self.level[node] + 1:
                chain.append(trade)
                node = other
            else:
                self.next_arc[node] += 1
        self._send(seller, node, chain)
        return True

    def _send(self, seller: int, buyer: int, chain: Sequence[int]) -> None:
        amount = min(self.left[seller], self.left[buyer])
        for step, trade in enumerate(chain):
            amount = min(amount, self.flow[trade] if step % 2 else self.room[trade])
        for step, trade in enumerate(chain):
            signed = -amount if step % 2 else amount
            self.flow[trade] += signed
            self.room[trade] -= signed
        self.left[seller] -= amount
        self.left[buyer] -= amount


try:
    from ext.allocate import augment as augment_in_c

    augment: Augment = augment_in_c
except ImportError:
    augment = augment_in_python
