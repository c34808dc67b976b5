"""What a trade brings through the branches of a network's loops, as whole numbers.

The network's tree carries what every node draws; a branch that closes a loop takes part of it over.
How much follows from Kirchhoff's second law over each loop, with impedances alone (as a DC power
flow has it, but with |z|: a cable of low voltage is more resistive than reactive). There is one
unknown a loop, so the system is small, and it is solved with + - * / in a fixed order: every
machine gets the same factors, rounded once to parts of 2**20.

Decides nothing. Whatever is not in a loop has no row here: there the tree is exact.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

from cloud.grid.tables import NetworkError
from cloud.grid.topology import Chord, Edge
from protos.units import PER_MILLE

ONE = 1 << 20
LOOPS_MAX, BRANCHES_MAX = 64, 1_024
RESERVE_PER_MILLE = 100
"""Of each limit, until an AC power flow has been asked: losses, voltages, what factors leave out."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Loops:
    """The branches of all loops: first the tree's, by element, then those that close a loop.

    `factors[node][branch]` is what of a W drawn at the node flows through the branch, from its first
    end to its second (a tree's: towards the customers), in parts of ONE. `rows` are the places in
    the file of each branch, lines before transformers, and `signs` 1 where the file's from end is
    the first.
    """

    elements: tuple[int, ...]
    """-1 for those that close a loop."""

    names: tuple[str, ...]
    limit_w: tuple[int, ...]
    factors: tuple[tuple[int, ...], ...]
    rows: tuple[tuple[int, ...], ...]
    signs: tuple[tuple[int, ...], ...]

    def flow(self, node_w: Mapping[int, int] | Sequence[int]) -> list[int]:
        """What flows through each branch for what every node draws, rounded down."""
        pairs = node_w.items() if isinstance(node_w, Mapping) else enumerate(node_w)
        total = [0] * len(self.names)
        for node, power in pairs:
            if power:
                for branch, factor in enumerate(self.factors[node]):
                    total[branch] += factor * power
        return [parts // ONE for parts in total]

    def caps_w(self, node_var: Sequence[int], limits: Mapping[int, int]) -> list[int]:
        """What each branch may carry beside the base's reactive power, less the reserve.

        `limits` are orders in W by element, which lower it.
        """
        caps = []
        for element, limit, var in zip(
            self.elements, self.limit_w, self.flow(node_var), strict=True
        ):
            kept = limit - -(-limit * RESERVE_PER_MILLE // PER_MILLE)
            cap = isqrt(max(0, kept * kept - var * var))
            caps.append(max(0, min(cap, limits.get(element, cap))))
        return caps


def find_loops(
    parent: Sequence[int], edges: Sequence[Edge], chords: Sequence[Chord]
) -> Loops | None:
    """The loops that `chords` close over a tree; None where there is none. Raises NetworkError."""
    if not chords:
        return None
    if len(chords) > LOOPS_MAX:
        raise NetworkError(f"network: {len(chords)} loops; a zone has at most {LOOPS_MAX}")
    depth = _depths(parent)
    rings = [_ring(chord, parent, depth) for chord in chords]
    elements = sorted({element for ring in rings for element in ring})
    if len(elements) + len(chords) > BRANCHES_MAX:
        raise NetworkError(
            f"network: its loops have {len(elements) + len(chords)} branches; at most {BRANCHES_MAX}"
        )
    size = [abs(edge.series_pu) for edge in edges]
    shares = _shares(parent, size, [abs(chord.edge.series_pu) for chord in chords], rings)
    members = [edges[element] for element in elements] + [chord.edge for chord in chords]
    return Loops(
        elements=(*elements, *[-1] * len(chords)),
        names=tuple(edge.name for edge in members),
        limit_w=tuple(edge.limit_w for edge in members),
        factors=tuple(_factors(node, parent, elements, rings, row) for node, row in shares),
        rows=tuple(edge.rows for edge in members),
        signs=tuple(edge.signs for edge in members),
    )


def _depths(parent: Sequence[int]) -> list[int]:
    depth = [0] * len(parent)
    for node in range(1, len(parent)):
        depth[node] = depth[parent[node]] + 1
    return depth


def _ring(chord: Chord, parent: Sequence[int], depth: Sequence[int]) -> dict[int, int]:
    """The tree's elements of a loop: -1 where what flows through the chord goes back up, 1 down."""
    up, down = chord.second, chord.first
    ring = {}
    while up != down:
        if depth[up] >= depth[down]:
            ring[up], up = -1, parent[up]
        else:
            ring[down], down = 1, parent[down]
    return ring


def _shares(
    parent: Sequence[int],
    size: Sequence[float],
    chord_size: Sequence[float],
    rings: Sequence[Mapping[int, int]],
) -> Iterable[tuple[int, list[float]]]:
    """Node by node, what of a W drawn there flows through each chord."""
    count = len(rings)
    table = []
    for a, ring in enumerate(rings):
        row = []
        for b, other in enumerate(rings):
            common = sorted(ring.keys() & other.keys())
            total = chord_size[a] if a == b else 0.0
            for element in common:
                total += ring[element] * other[element] * size[element]
            row.append(total)
        table.append(row + [float(a == b) for b in range(count)])
    inverse = _inverse(table)
    fall = [[0.0] * count for _ in parent]
    for node in range(len(parent)):
        if node:
            above = fall[parent[node]]
            fall[node] = [above[a] - ring.get(node, 0) * size[node] for a, ring in enumerate(rings)]
        share = []
        for row in inverse:
            total = 0.0
            for factor, voltage in zip(row, fall[node], strict=True):
                total += factor * voltage
            share.append(total)
        yield node, share


def _inverse(table: list[list[float]]) -> list[list[float]]:
    """Gauss and Jordan, of a matrix beside the unit matrix. Impedances make it positive definite, so
    no row has to be exchanged.
    """
    count = len(table)
    for a in range(count):
        if not table[a][a] > 0:
            raise NetworkError("network: a loop has no impedance")
        pivot = table[a][a]
        table[a] = [value / pivot for value in table[a]]
        for b in range(count):
            if b != a:
                factor = table[b][a]
                table[b] = [x - factor * y for x, y in zip(table[b], table[a], strict=True)]
    return [row[count:] for row in table]


def _factors(
    node: int,
    parent: Sequence[int],
    elements: Sequence[int],
    rings: Sequence[Mapping[int, int]],
    share: Sequence[float],
) -> tuple[int, ...]:
    """Through the tree's elements and then the chords. What chords carry is rounded first, so that
    what comes into a node and what leaves it stay equal.
    """
    carried = [round(part * ONE) for part in share]
    path = set()
    while node > 0:
        path.add(node)
        node = parent[node]
    through = [
        ONE * (element in path)
        + sum(ring.get(element, 0) * part for ring, part in zip(rings, carried, strict=True))
        for element in elements
    ]
    return (*through, *carried)


def lifted(limit_w: Sequence[int], loops: Loops, to_w: int) -> "array[int]":
    """Limits of the tree's elements without those that loops decide about."""
    lifted = array("q", limit_w)
    for element in loops.elements:
        if element >= 0:
            lifted[element] = to_w
    return lifted
