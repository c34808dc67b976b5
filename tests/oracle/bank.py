"""The settlement rule once more, as slowly and plainly as it can be said, for comparing with.

Shares nothing with the bank but the wording of the rule: its own rounding with exact fractions,
its own shares, and a maximum flow by searching for any path that still carries. Volumes are
compared as optima (there may be several ways to reach one), money for given deliveries.
"""

from collections import deque
from fractions import Fraction
from math import floor


def half_up(amount: Fraction) -> int:
    return floor(amount + Fraction(1, 2))


def value(wh: int, price: int) -> int:
    return half_up(Fraction(wh * price, 1000))


def optimum_wh(trades, exported, imported) -> int:
    """The most Wh that can be delivered: Edmonds-Karp on a network with source and sink."""
    residual: dict = {"source": {}, "sink": {}}

    def arc(start, end, capacity):
        residual.setdefault(start, {})
        residual.setdefault(end, {})
        residual[start][end] = residual[start].get(end, 0) + capacity
        residual[end].setdefault(start, 0)

    for seller, wh in exported.items():
        arc("source", ("s", seller), wh)
    for buyer, wh in imported.items():
        arc(("b", buyer), "sink", wh)
    for trade in trades:
        arc(("s", trade.seller), ("b", trade.buyer), trade.energy_wh)
    total = 0
    while True:
        came_from = {"source": None}
        queue = deque(["source"])
        while queue and "sink" not in came_from:
            node = queue.popleft()
            for other, room in residual[node].items():
                if room > 0 and other not in came_from:
                    came_from[other] = node
                    queue.append(other)
        if "sink" not in came_from:
            return total
        path = []
        node = "sink"
        while came_from[node] is not None:
            path.append((came_from[node], node))
            node = came_from[node]
        amount = min(residual[start][end] for start, end in path)
        for start, end in path:
            residual[start][end] -= amount
            residual[end][start] += amount
        total += amount


def legs(q, price, delivered, untaken, missing, rules, wheeling=0):
    """Buyer, seller, utility, grid fee, trading fee, rounding: positive is received."""
    worth = value(delivered, price)
    grid_fee = half_up(Fraction(worth * rules.grid_fee_bps, 10_000))
    grid_fee += value(delivered, rules.grid_fee_micro_per_kwh + wheeling)
    fee = half_up(Fraction(worth * rules.trading_fee_bps, 10_000))
    utility = rounding = 0
    buyer, seller = -(worth + grid_fee), worth - fee
    if untaken:
        # The utility takes what the buyer left, at its own price; the buyer makes it whole.
        whole = value(delivered + untaken, price) - worth
        from_utility = min(whole, value(untaken, rules.fallback_export_micro_per_kwh))
        seller, utility, buyer = (
            seller + whole,
            utility - from_utility,
            buyer - (whole - from_utility),
        )
    if missing:
        # The utility supplies what the seller owed, at its own price; the seller pays the rest.
        from_buyer = value(delivered + missing, price) - worth
        cost = max(from_buyer, value(missing, rules.fallback_import_micro_per_kwh))
        seller_has = seller + seller_bound(q, price, rules)
        from_seller = min(cost - from_buyer, seller_has)
        if rules.post_rounding:
            rounding = from_buyer + from_seller - cost
        buyer, seller, utility = (
            buyer - from_buyer,
            seller - from_seller,
            utility + from_buyer + from_seller - rounding,
        )
    return buyer, seller, utility, grid_fee, fee, rounding


def buyer_bound(q, price, rules, wheeling=0) -> int:
    worth = value(q, price)
    by_value = half_up(Fraction(worth * rules.grid_fee_bps, 10_000))
    return worth + by_value + value(q, rules.grid_fee_micro_per_kwh + wheeling)


def seller_bound(q, price, rules) -> int:
    return max(0, value(q, rules.fallback_import_micro_per_kwh) - value(q, price))


def shares(total: int, weights: list[int]) -> list[int]:
    """Largest remainder of min(total, all) with exact fractions; ties to the earlier."""
    whole = sum(weights)
    if total >= whole:
        return list(weights)
    exact = [Fraction(total * weight, whole) for weight in weights]
    parts = [floor(part) for part in exact]
    while sum(parts) < total:
        rest = [part - given for part, given in zip(exact, parts, strict=True)]
        parts[rest.index(max(rest))] += 1
    return parts


def leftovers(trades, delivered, metered, side) -> list[int]:
    """What a party metered beyond its deliveries, over its trades in proportion to their gaps."""
    result = [0] * len(trades)
    for party, wh in metered.items():
        mine = [i for i, trade in enumerate(trades) if getattr(trade, side) == party]
        gaps = [trades[i].energy_wh - delivered[i] for i in mine]
        over = wh - sum(delivered[i] for i in mine)
        for i, part in zip(mine, shares(over, gaps), strict=True):
            result[i] = part
    return result


def money(trades, delivered, exported, imported, rules):
    """Each party's net money for these deliveries, unsold export included; then the system's."""
    untaken = leftovers(trades, delivered, exported, "seller")
    missing = leftovers(trades, delivered, imported, "buyer")
    net = dict.fromkeys([*exported, *imported], 0)
    utility = grid_fees = fees = roundings = 0
    for i, trade in enumerate(trades):
        buyer, seller, balancing, grid_fee, fee, rounding = legs(
            trade.energy_wh,
            trade.price_micro_per_kwh,
            delivered[i],
            untaken[i],
            missing[i],
            rules,
            trade.wheeling_micro_per_kwh,
        )
        net[trade.buyer] += buyer
        net[trade.seller] += seller
        utility += balancing
        grid_fees += grid_fee
        fees += fee
        roundings += rounding
    for seller, wh in exported.items():
        ready = sum(
            delivered[i] + untaken[i] for i, trade in enumerate(trades) if trade.seller == seller
        )
        # All of it was read by a meter, so that where unsold energy is banked nobody buys it.
        left = 0 if rules.bank_unsold else wh - ready
        bought = value(left, rules.fallback_export_micro_per_kwh)
        net[seller] += bought
        utility -= bought
    return net, utility, grid_fees, fees, roundings
