"""From a file's tables to a radial tree: which branch feeds which node, its limit and impedance.

Decides numbering (parents before children, a subtree is one range), merges parallel branches, and
where current can choose its way, which branches the tree has (the fewest to the source) and which
close a loop. It must never accept what the market cannot treat: an island, two sources.

Per unit means 1 MVA and each node's rated voltage. A branch is power-grid-model's pi circuit: an
ideal transformer of ratio `k` at its from side, then half the shunt, the series impedance, and the
other half (power-grid-model, "branch" component; its own model, written anew here).
"""

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import pi, sqrt

from cloud.grid.tables import (
    NetworkError,
    Row,
    Tables,
    in_service,
    number,
    positive,
    sidecar_names,
    whole,
)
from protos.units import round_measured

BASE_VA = 1e6
NO_LIMIT_W = 1 << 31
"""The grid above the root is taken as boundless: 2 GW. No element of a zone may have more, so that
a limit's square fits 64 bits.
"""

FREQUENCY_HZ = 50.0

STAR_STAR, DELTA_STAR = (1, 1), (2, 1)
"""power-grid-model's windings, from and to, of a transformer that is earthed on its low side. In a
tree the turn of the second changes no voltage and no current.
"""

VOLTAGE_MIN_V, VOLTAGE_MAX_V = 10.0, 1e6
VOLTAGE_REFERENCE_PU = (0.5, 1.5)


class ElementKind(StrEnum):
    """What stands above a node. The root has the grid above it."""

    GRID = "grid"
    LINE = "line"
    TRANSFORMER = "transformer"


@dataclass(frozen=True, slots=True)
class Branch:
    """One line or transformer between two node ids of the file."""

    from_node: int
    to_node: int
    kind: ElementKind
    name: str
    limit_w: float
    series_pu: complex
    shunt_pu: complex
    ratio: float
    zero: "ZeroSequence | None" = None


@dataclass(frozen=True, slots=True)
class ZeroSequence:
    """What current through earth and neutral meets in a branch, seen from its to side; the shunt is
    that at its from end and at its to end.
    """

    series_pu: complex
    shunts_pu: tuple[complex, complex]


@dataclass(frozen=True, slots=True)
class Edge:
    """What joins a node to its parent: parallel branches as one, seen from the parent.

    `series_pu` is ohmic impedance per unit at the child's side, `ratio` the child's voltage per
    parent's voltage without load; the shunts are admittances at either end.
    """

    kind: ElementKind
    name: str
    limit_w: int
    series_pu: complex
    ratio: float
    shunt_parent_pu: complex
    shunt_child_pu: complex
    zero: ZeroSequence | None = None
    """At the child's side, shunts at the parent and at the child; None where it is not known."""

    rows: tuple[int, ...] = ()
    """Of the file's branches, lines before transformers."""

    signs: tuple[int, ...] = ()
    """1 for each whose from end is the parent's."""


@dataclass(frozen=True, slots=True)
class Chord:
    """What closes a loop between two nodes of the tree; its edge is seen from the first."""

    first: int
    second: int
    edge: Edge


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes in preorder. `edges[i]` is above node i; `branch_child` goes lines, transformers."""

    node_ids: Sequence[int]
    parent: "array[int]"
    end: "array[int]"
    edges: Sequence[Edge]
    branch_child: Sequence[int]
    chords: Sequence[Chord] = ()


def node_voltages(tables: Tables) -> dict[int, float]:
    """Rated voltage by node id, in volt."""
    rated: dict[int, float] = {}
    for row in tables.node:
        identity = whole(row, "id", "node")
        if identity in rated:
            raise NetworkError(f"network: node {identity} stands twice")
        rated[identity] = positive(row, "u_rated", "node")
        if not VOLTAGE_MIN_V <= rated[identity] <= VOLTAGE_MAX_V:
            raise NetworkError(f"network: node {identity} has no rated voltage of this world")
    return rated


def root_of(tables: Tables) -> tuple[int, float]:
    """The node of the one source, and its voltage per unit."""
    live = [row for row in tables.source if in_service(row, "status")]
    if len(live) != 1:
        raise NetworkError(f"network: one source in service is needed, there are {len(live)}")
    voltage = number(live[0], "u_ref", "source")
    if not VOLTAGE_REFERENCE_PU[0] <= voltage <= VOLTAGE_REFERENCE_PU[1]:
        raise NetworkError(f"network: the source's u_ref {voltage} is not near 1")
    return whole(live[0], "node", "source"), voltage


def branches_of(tables: Tables, rated_v: Mapping[int, float]) -> list[Branch | None]:
    """Lines, then transformers, in the file's order; None where one is switched off."""
    names = sidecar_names(tables, "branch_names")
    rows = [(row, "line") for row in tables.line]
    rows += [(row, "transformer") for row in tables.transformer]
    result: list[Branch | None] = []
    for i, (row, kind) in enumerate(rows):
        ends = [whole(row, key, kind) for key in ("from_node", "to_node")]
        if any(end not in rated_v for end in ends):
            raise NetworkError(f"network: {kind} {row.get('id')!r} ends at an unknown node")
        if not in_service(row, "from_status", "to_status"):
            result.append(None)
            continue
        name = names[i] if i < len(names) else f"{kind} {row.get('id')}"
        make = _line if kind == "line" else _transformer
        result.append(make(row, name, ends[0], ends[1], rated_v))
    return result


def _line(row: Row, name: str, a: int, b: int, rated_v: Mapping[int, float]) -> Branch:
    if rated_v[a] != rated_v[b]:
        raise NetworkError(f"network: line {row.get('id')!r} joins two voltages")
    ohm = rated_v[b] ** 2 / BASE_VA
    series = complex(number(row, "r1", "line"), number(row, "x1", "line")) / ohm
    susceptance = 2 * pi * FREQUENCY_HZ * number(row, "c1", "line")
    shunt = complex(number(row, "tan1", "line"), 1) * susceptance * ohm
    limit = sqrt(3) * rated_v[b] * positive(row, "i_n", "line")
    zero = _zero_of_line(row, ohm)
    return Branch(a, b, ElementKind.LINE, name, limit, _nonzero(series, row), shunt, 1.0, zero)


def _zero_of_line(row: Row, ohm: float) -> ZeroSequence | None:
    """A line that says nothing of its zero sequence has none that could be guessed."""
    if row.get("r0") is None or row.get("x0") is None:
        return None
    r, x, c, loss = (number(row, key, "line") for key in ("r0", "x0", "c0", "tan0"))
    half = complex(loss, 1) * 2 * pi * FREQUENCY_HZ * c * ohm / 2
    return ZeroSequence(_nonzero(complex(r, x) / ohm, row), (half, half))


def _transformer(row: Row, name: str, a: int, b: int, rated_v: Mapping[int, float]) -> Branch:
    windings = tuple(whole(row, key, "transformer") for key in ("winding_from", "winding_to"))
    if whole(row, "clock", "transformer") % 12 and windings != DELTA_STAR:
        raise NetworkError(
            f"network: transformer {row.get('id')!r} turns the phase; export it with clock 0"
        )
    turned = [positive(row, key, "transformer") for key in ("u1", "u2")]
    side = whole(row, "tap_side", "transformer")
    steps = number(row, "tap_pos", "transformer") - number(row, "tap_nom", "transformer")
    if side not in {0, 1}:
        raise NetworkError(f"network: transformer {row.get('id')!r} has its tap at no side")
    turned[side] += steps * number(row, "tap_size", "transformer")
    if not all(VOLTAGE_MIN_V <= volt <= VOLTAGE_MAX_V for volt in turned):
        raise NetworkError(f"network: transformer {row.get('id')!r} is tapped out of this world")
    rated_va = positive(row, "sn", "transformer")
    per_unit = turned[1] ** 2 / rated_va / (rated_v[b] ** 2 / BASE_VA)
    total = number(row, "uk", "transformer")
    resistive = number(row, "pk", "transformer") / rated_va
    series = complex(resistive, sqrt(max(total**2 - resistive**2, 0.0))) * per_unit
    loss = number(row, "p0", "transformer") / rated_va
    magnetic = sqrt(max(number(row, "i0", "transformer") ** 2 - loss**2, 0.0))
    shunt = complex(loss, -magnetic) / per_unit
    ratio = (turned[0] / turned[1]) / (rated_v[a] / rated_v[b])
    kind = ElementKind.TRANSFORMER
    zero = None
    if windings == DELTA_STAR:  # a short circuit behind the series impedance, for either current
        zero = ZeroSequence(series, (0j, shunt))
    elif windings == STAR_STAR:
        zero = ZeroSequence(series, (shunt / 2, shunt / 2))
    return Branch(a, b, kind, name, rated_va, _nonzero(series, row), shunt, ratio, zero)


def _nonzero(series: complex, row: Row) -> complex:
    if abs(series) < 1e-12:
        raise NetworkError(f"network: branch {row.get('id')!r} has no impedance; fuse its nodes")
    return series


def grow(rated_v: Mapping[int, float], branches: Sequence[Branch | None], root: int) -> Tree:
    """The tree below `root`, and what closes loops. Raises NetworkError for nodes without supply."""
    if root not in rated_v:
        raise NetworkError(f"network: the source is at the unknown node {root}")
    near = _neighbours(branches)
    above_of = _supplies(near, root)
    node_ids: list[int] = []
    parent, edges = array("q"), [_grid_edge()]
    index: dict[int, int] = {}
    stack = [root]
    below: dict[int, list[int]] = defaultdict(list)
    for node, above in above_of.items():
        below[above].append(node)
    while stack:
        node = stack.pop()
        index[node] = len(node_ids)
        node_ids.append(node)
        parent.append(index[above_of[node]] if node != root else -1)
        if node != root:
            edges.append(_merged(near[node][above_of[node]], branches, node))
        stack.extend(sorted(below[node], reverse=True))
    lost = sorted(set(rated_v) - set(index))
    if lost:
        raise NetworkError(f"network: {len(lost)} nodes have no supply, the first is {lost[0]}")
    children = [
        -1 if branch is None else max(index[branch.from_node], index[branch.to_node])
        for branch in branches
    ]
    chords = _chords(near, above_of, index, branches)
    return Tree(node_ids, parent, _ends(parent), edges, children, chords)


def _supplies(near: Mapping[int, Mapping[int, list[int]]], root: int) -> dict[int, int]:
    """By which neighbour every node but the root is fed: that on the shortest way, smaller first."""
    above, reached, queue = {}, {root}, [root]
    for node in queue:
        for other in sorted(near[node]):
            if other not in reached:
                reached.add(other)
                above[other] = node
                queue.append(other)
    return above


def _chords(
    near: Mapping[int, Mapping[int, list[int]]],
    above: Mapping[int, int],
    index: Mapping[int, int],
    branches: Sequence[Branch | None],
) -> list[Chord]:
    pairs = sorted(
        (index[node], index[other], node, other)
        for node in list(near)
        for other in near[node]
        if index[node] < index[other] and above.get(other) != node and above.get(node) != other
    )
    return [
        Chord(first, second, _merged(near[node][other], branches, other))
        for first, second, node, other in pairs
    ]


def _neighbours(branches: Sequence[Branch | None]) -> dict[int, dict[int, list[int]]]:
    near: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, branch in enumerate(branches):
        if branch is not None:
            if branch.from_node == branch.to_node:
                raise NetworkError(f"network: branch {branch.name!r} ends where it starts")
            near[branch.from_node][branch.to_node].append(i)
            near[branch.to_node][branch.from_node].append(i)
    return near


def _ends(parent: Sequence[int]) -> "array[int]":
    """One past the last node of each subtree: in preorder a subtree is a range."""
    ends = array("q", range(1, len(parent) + 1))
    for node in range(len(parent) - 1, 0, -1):
        ends[parent[node]] = max(ends[parent[node]], ends[node])
    return ends


def _grid_edge() -> Edge:
    return Edge(ElementKind.GRID, "grid", NO_LIMIT_W, 0j, 1.0, 0j, 0j)


def _merged(rows: Sequence[int], branches: Sequence[Branch | None], child: int) -> Edge:
    """Parallel branches as one: admittances add, and the first to reach its limit limits all."""
    parallel = [branch for branch in (branches[row] for row in rows) if branch is not None]
    seen = [_from_parent(branch, child) for branch in parallel]
    ratio = seen[0].ratio
    if any(abs(edge.ratio - ratio) > 1e-12 for edge in seen):
        raise NetworkError(f"network: the parallels above node {child} have different taps")
    admittance = sum((1 / edge.series_pu for edge in seen), 0j)
    limit = min(edge.limit_w * abs(admittance * edge.series_pu) for edge in seen)
    return Edge(
        kind=seen[0].kind,
        name=" + ".join(edge.name for edge in seen),
        limit_w=_bounded(limit, child),
        series_pu=1 / admittance,
        ratio=ratio,
        shunt_parent_pu=sum((edge.shunt_parent_pu for edge in seen), 0j),
        shunt_child_pu=sum((edge.shunt_child_pu for edge in seen), 0j),
        zero=_merged_zero([edge.zero for edge in seen]),
        rows=tuple(rows),
        signs=tuple(1 if branch.to_node == child else -1 for branch in parallel),
    )


def _merged_zero(parallel: Sequence[ZeroSequence | None]) -> ZeroSequence | None:
    known = [zero for zero in parallel if zero is not None]
    if len(known) < len(parallel):
        return None
    above, below = (sum((zero.shunts_pu[end] for zero in known), 0j) for end in (0, 1))
    return ZeroSequence(1 / sum((1 / zero.series_pu for zero in known), 0j), (above, below))


def _bounded(limit: float, child: int) -> int:
    if limit > NO_LIMIT_W:
        raise NetworkError(f"network: the branch above node {child} has a limit above 2 GW")
    return round_measured(limit)


def _from_parent(branch: Branch, child: int) -> Edge:
    """A branch fed from its to side has its ideal transformer at the child's side instead."""
    inner, outer = branch.shunt_pu / 2, branch.shunt_pu / 2 / branch.ratio**2
    limit = round_measured(branch.limit_w)
    if branch.to_node == child:
        series, ratio, shunts = branch.series_pu, 1 / branch.ratio, (outer, inner)
        zero = branch.zero
    else:
        series, ratio, shunts = branch.series_pu * branch.ratio**2, branch.ratio, (inner, outer)
        zero = _turned(branch)
    return Edge(branch.kind, branch.name, limit, series, ratio, *shunts, zero)


def _turned(branch: Branch) -> ZeroSequence | None:
    """A line is the same from both ends; a transformer that is fed from its low side is none that
    single phases may hang from.
    """
    return branch.zero if branch.kind is ElementKind.LINE else None
