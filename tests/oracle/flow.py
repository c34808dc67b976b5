"""AC flow of a radial network the naive way: complex numbers, dictionaries, recursion by hand.

An independent twin of `ext.sweep` for small networks. It reads the file's own tables and knows
nothing of the tree, the per-unit arrays or the numbering that the product derives from them.
"""

from cmath import sqrt
from math import pi

FREQUENCY_HZ = 50.0


def solve(document, taken_va, sweeps=60):
    """Voltages in volt by node id; `taken_va` is complex power by node id, positive when taken."""
    data = document["data"]
    rated = {row["id"]: row["u_rated"] for row in data["node"]}
    branches = [_line(row) for row in data["line"]]
    branches += [_transformer(row) for row in data["transformer"]]
    source = data["source"][0]
    root = source["node"]
    order, feeder = _walk(branches, root)
    volt = {node: complex(rated[node]) for node in rated}
    volt[root] = complex(source["u_ref"] * rated[root])
    for _ in range(sweeps):
        amp = {node: (taken_va.get(node, 0) / volt[node]).conjugate() for node in rated}
        for node in reversed(order[1:]):
            a, _b, z, y, k = feeder[node]
            amp[node] += volt[node] * y / 2
            amp[a] += (amp[node] + volt[a] / k * y / 2) / k
        for node in order[1:]:
            a, _b, z, _y, k = feeder[node]
            volt[node] = volt[a] / k - z * amp[node]
    return volt


def _walk(branches, root):
    order, feeder, left = [root], {}, list(branches)
    for node in order:
        for branch in [b for b in left if node in b[:2]]:
            assert branch[0] == node, "the oracle wants branches drawn from the source outwards"
            left.remove(branch)
            feeder[branch[1]] = branch
            order.append(branch[1])
    return order, feeder


def _line(row):
    series = complex(row["r1"], row["x1"])
    return (
        row["from_node"],
        row["to_node"],
        series,
        2 * pi * FREQUENCY_HZ * row["c1"] * complex(row["tan1"], 1),
        1.0,
    )


def _transformer(row):
    high, low = row["u1"], row["u2"]
    step = (row["tap_pos"] - row["tap_nom"]) * row["tap_size"]
    high, low = (high + step, low) if row["tap_side"] == 0 else (high, low + step)
    base = low**2 / row["sn"]
    resistance = row["pk"] / row["sn"] * base
    reactance = sqrt((row["uk"] * base) ** 2 - resistance**2).real
    loss = row["p0"] / low**2
    magnetising = sqrt((row["i0"] / base) ** 2 - loss**2).real
    series, shunt = complex(resistance, reactance), complex(loss, -magnetising)
    return row["from_node"], row["to_node"], series, shunt, high / low
