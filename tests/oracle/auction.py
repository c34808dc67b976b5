"""The naive auction: cheapest paths one after another, and the certificate that prices are duals.

Nothing here knows of curves, clips or subtrees.
"""

from collections.abc import Sequence

Arc = list[int]  # to, room, cost, the reverse arc's place
Order = tuple[int, int, int, int]
"""Node, side (1 sells), tick, Wh."""

SOURCE, SINK = -1, -2


class Flow:
    """A residual network with costs."""

    def __init__(self) -> None:
        self.arcs: dict[int, list[Arc]] = {}

    def add(self, start: int, end: int, room: int, cost: int) -> None:
        there, back = self.arcs.setdefault(start, []), self.arcs.setdefault(end, [])
        there.append([end, room, cost, len(back)])
        back.append([start, 0, -cost, len(there) - 1])

    def cheapest(self) -> list[Arc] | None:
        """Bellman and Ford's walk from source to sink, or None where none is left."""
        costs, came = {SOURCE: 0}, {}
        changed = True
        while changed:
            changed = False
            for node in list(costs):
                for arc in self.arcs[node]:
                    cost = costs[node] + arc[2]
                    if arc[1] > 0 and cost < costs.get(arc[0], 1 << 60):
                        costs[arc[0]], came[arc[0]] = cost, (node, arc)
                        changed = True
        if SINK not in costs or costs[SINK] > 0:
            return None
        path, node = [], SINK
        while node != SOURCE:
            node, arc = came[node]
            path.append(arc)
        return path

    def push(self, path: list[Arc]) -> tuple[int, int]:
        """As much as the walk can carry; what that is, and what it gains."""
        amount = min(arc[1] for arc in path)
        for arc in path:
            arc[1] -= amount
            self.arcs[arc[0]][arc[3]][1] += amount
        return amount, -amount * sum(arc[2] for arc in path)


def best(
    parents: Sequence[int], down: Sequence[int], up: Sequence[int], orders: Sequence[Order]
) -> tuple[int, int]:
    """The greatest welfare, and of the ways to it the greatest volume."""
    flow = Flow()
    for node, side, tick, quantity in orders:
        if side == 1:
            flow.add(SOURCE, node, quantity, tick)
        else:
            flow.add(node, SINK, quantity, -tick)
    for node in range(1, len(parents)):
        flow.add(parents[node], node, max(0, down[node]), 0)
        flow.add(node, parents[node], max(0, up[node]), 0)
    flow.arcs.setdefault(SOURCE, [])
    volume = welfare = 0
    while (path := flow.cheapest()) is not None:
        amount, gain = flow.push(path)
        volume, welfare = volume + amount, welfare + gain
    return welfare, volume


def certify(
    parents: Sequence[int],
    down: Sequence[int],
    up: Sequence[int],
    orders: Sequence[Order],
    trades: Sequence[tuple[int, int, int]],
    prices: Sequence[int],
) -> int:
    """Raises AssertionError unless the trades keep every limit and the prices prove them best.

    Weak duality: no trades' welfare exceeds surplus at some prices plus what the rooms are worth
    between them. Where both are equal, both are optimal. Returns the welfare.
    """
    sold, bought = [0] * len(orders), [0] * len(orders)
    supply = [0] * len(parents)
    for seller, buyer, energy in trades:
        assert energy > 0
        assert (orders[seller][1], orders[buyer][1]) == (1, 0)
        assert prices[orders[seller][0]] <= prices[orders[buyer][0]], "a trade against the prices"
        sold[seller] += energy
        bought[buyer] += energy
        supply[orders[seller][0]] += energy
        supply[orders[buyer][0]] -= energy
    worth = welfare = 0
    for place, (node, side, tick, quantity) in enumerate(orders):
        filled = sold[place] + bought[place]
        assert filled <= quantity
        gain = prices[node] - tick if side == 1 else tick - prices[node]
        assert gain >= 0 or filled == 0, "traded at a loss"
        assert gain <= 0 or filled == quantity, "left out though it would gain"
        worth += max(0, gain) * quantity
        welfare += filled * (tick if side == 0 else -tick)
    for node, flow in subtree_sums(parents, supply).items():
        assert -max(0, down[node]) <= flow <= max(0, up[node]), f"edge {node} is past its room"
        step = prices[node] - prices[parents[node]]
        worth += max(0, step) * max(0, down[node]) + max(0, -step) * max(0, up[node])
    assert welfare == worth, "the prices do not prove the trades best"
    return welfare


def subtree_sums(parents: Sequence[int], values: Sequence[int]) -> dict[int, int]:
    """What goes up from every node but the root."""
    sums = dict.fromkeys(range(1, len(parents)), 0)
    for node, value in enumerate(values):
        above = node
        while above != 0:
            sums[above] += value
            above = parents[above]
    return sums
