"""A zone's network: a tree with limits, what closes loops over it, and the base flow that is there
without any trade.

Element i is what stands above node i: the line or transformer through which its subtree is fed.
Nodes are in preorder, so the subtree of i is `range(i, end[i])`, and a flow is a difference of two
running sums. Flows are whole W, positive towards the customers, without losses; deciding with them
is exact and the same everywhere. The floats here serve the solvers (`ext.sweep`, `referee`) only;
nothing in this module decides with one.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np

from cloud.grid.baseline import Baseline, Integers, read_baseline
from cloud.grid.loops import Loops, find_loops, lifted
from cloud.grid.tables import (
    NetworkError,
    Tables,
    in_service,
    read_tables,
    sidecar_names,
    sidecar_numbers,
    whole,
)
from cloud.grid.topology import (
    NO_LIMIT_W,
    ElementKind,
    Tree,
    branches_of,
    grow,
    node_voltages,
    root_of,
)
from cloud.grid.voltage import VoltageModel, below, voltage_model
from protos.clock import SECOND_NS, SLOT_NS, SLOTS_PER_DAY, SLOTS_PER_HOUR
from protos.units import PER_MILLE

__all__ = ["Electric", "ElementKind", "HomeGroup", "Network", "NetworkError", "load_network"]

LOW_VOLTAGE_V = 1_000

PHASES = {"ABC": 0, "A": 1, "B": 2, "C": 3}
PHASES_ARE = "a phase is A, B, C or ABC"

RESERVE_DOWN_PER_MILLE = 100
"""Kept free in flow towards the customers for what whole watts on a lossless tree do not see:
losses below the element and the current of a sagging voltage. Filled to the brim with random
trades, the rural network was up to 11 % over by AC power flow without it and never over with it,
for 2.5 % of the volume. Towards the grid losses help, and nothing is kept.
"""


@dataclass(frozen=True, slots=True)
class HomeGroup:
    """Home connection points on one feeder. Both elements are above all of the nodes."""

    transformer: int
    feeder: int
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Electric:
    """What a solver needs of each node's edge, per unit of 1 MVA and rated voltage.

    Series impedance at the child's side, no-load voltage of the child per voltage of its parent,
    and at each node the shunt admittance to earth of all branches that end there.
    """

    r_pu: "array[float]"
    x_pu: "array[float]"
    ratio: "array[float]"
    g_pu: "array[float]"
    b_pu: "array[float]"
    root_voltage_pu: float
    phases: "array[int]"
    """0 where a node hangs from all three phases alike, else 1 to 3 for A to C."""

    zero: tuple["array[float]", "array[float]", "array[float]", "array[float]"] | None
    """r, x, g and b of the zero sequence, where a home hangs from one phase."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Network:
    """All a zone knows of its wires. Nothing in it ever changes.

    `home_nodes` are the low-voltage connection points, in order; `home_groups` the same by feeder.
    `limit_w` is the rating at rated voltage and unity power factor (a transformer's is its rated
    apparent power); element 0, the grid above the root, has `NO_LIMIT_W`.
    `node_ids` and `branch_element` (lines, then transformers; -1 where switched off) lead back to
    the components of `source`, which is the file as it was given.
    """

    name: str
    sha256: bytes
    source: bytes
    parent: "array[int]"
    end: "array[int]"
    limit_w: "array[int]"
    rated_v: "array[int]"
    kinds: tuple[ElementKind, ...]
    element_names: tuple[str, ...]
    node_names: tuple[str, ...]
    home_nodes: tuple[int, ...]
    home_groups: tuple[HomeGroup, ...]
    electric: Electric
    node_ids: "array[int]"
    branch_element: "array[int]"
    baseline: Baseline
    voltage: VoltageModel
    loops: Loops | None = None

    def __repr__(self) -> str:
        return f"<Network {self.name}: {self.size} nodes>"

    @property
    def size(self) -> int:
        return len(self.parent)

    def is_below(self, node: int, element: int) -> bool:
        """Whether the element feeds the node."""
        return element <= node < self.end[element]

    def path(self, node: int) -> list[int]:
        """The elements from the node up to the grid, the root's own left out."""
        elements = []
        while node > 0:
            elements.append(node)
            node = self.parent[node]
        return elements

    def node_w(self, slot: int) -> list[int]:
        """What each node takes from the grid in a slot without any trade."""
        return _listed(self.baseline.node_w(quarter_of_year(slot)))

    def node_var(self, slot: int) -> list[int]:
        """The same of reactive power."""
        return _listed(self.baseline.node_var(quarter_of_year(slot)))

    def baseline_flow_w(self, slot: int) -> list[int]:
        """Active power through each element in a slot of the UTC calendar without any trade."""
        return self.through(self.node_w(slot))

    def through(self, node_w: Sequence[int]) -> list[int]:
        """What flows through each element for what every node draws: all of its subtree's, or in a
        loop the part that goes this way.
        """
        flow = _listed(self._flows(np.array(node_w, np.int64)))
        if self.loops is not None:
            for element, power in zip(self.loops.elements, self.loops.flow(node_w), strict=True):
                if element >= 0:
                    flow[element] = power
        return flow

    def baseline_flow_var(self, slot: int) -> list[int]:
        """Reactive power through each element, in the same sign."""
        return _listed(self._flows(self.baseline.node_var(quarter_of_year(slot))))

    def capacity_w(self, slot: int, overrides: Mapping[int, int]) -> list[int]:
        """What active power each element may carry beside the base's reactive power.

        floor(sqrt(limit² - reactive²)), the P-cap of a rating that counts apparent power; zero
        where reactive power alone fills it. An authority's override lowers it and never raises it
        beyond what the element bears.
        """
        return _listed(self._capacity(slot, overrides))

    def headroom_wh(self, slot: int, overrides: Mapping[int, int]) -> tuple[list[int], list[int]]:
        """Room left in each element towards the customers and towards the grid, in Wh of a slot.

        The lesser of what the element's limit leaves (towards the customers less a reserve for
        losses) and what the voltages below leave, floored. Negative where the base is already over:
        then only relief may be traded. In a loop the limits are not seen here but by `ext.loops`; the
        voltages are those of the tree alone, which are worse.
        """
        quarter = quarter_of_year(slot)
        flow = self._flows(self.baseline.node_w(quarter))
        capacity = self._capacity(slot, overrides)
        if self.loops is not None:
            capacity = np.array(lifted(_listed(capacity), self.loops, NO_LIMIT_W), np.int64)
        kept = (capacity * RESERVE_DOWN_PER_MILLE + PER_MILLE - 1) // PER_MILLE
        voltage_down, voltage_up = self.voltage.room_w(flow, self.baseline.node_var(quarter))
        down = np.minimum(capacity - kept - flow, voltage_down)
        up = np.minimum(capacity + flow, voltage_up)
        return _listed(down // SLOTS_PER_HOUR), _listed(up // SLOTS_PER_HOUR)

    def _flows(self, node: Integers) -> Integers:
        return below(self.voltage.end, node)

    def _capacity(self, slot: int, overrides: Mapping[int, int]) -> Integers:
        reactive = self._flows(self.baseline.node_var(quarter_of_year(slot)))
        limit = np.frombuffer(self.limit_w, np.int64)
        # Beyond the limit the square is not needed; within it, it stays below 2**62.
        reactive = np.minimum(np.abs(reactive), limit)
        capacity = _root(limit * limit - reactive * reactive)
        for element, override in overrides.items():
            assert 0 <= element < self.size, f"no element {element}"
            capacity[element] = max(0, min(int(capacity[element]), override))
        return capacity


def _root(square: Integers) -> Integers:
    """floor(sqrt(n)) for n below 2**62, exact: the float only guesses, integers decide."""
    root = np.sqrt(square.astype(np.float64)).astype(np.int64)
    root -= root * root > square
    root += (root + 1) * (root + 1) <= square
    return root


def _listed(numbers: Integers) -> list[int]:
    listed: list[int] = numbers.tolist()
    return listed


def quarter_of_year(slot: int) -> int:
    """Which quarter hour of its UTC year a slot is, counted from 1 January."""
    start = datetime.fromtimestamp(slot * (SLOT_NS // SECOND_NS), UTC)
    return (start.timetuple().tm_yday - 1) * SLOTS_PER_DAY + slot % SLOTS_PER_DAY


def load_network(data: bytes, profiles: bytes | None = None) -> Network:
    """The network of a file and its year of base flows. Raises NetworkError for unfit data.

    Without profiles the base is the file's own constant loads and generators. The hash covers both
    files: with another base the same trades would be judged differently.
    """
    tables = read_tables(data)
    rated_v = node_voltages(tables)
    root, root_voltage = root_of(tables)
    tree = grow(rated_v, branches_of(tables, rated_v), root)
    index = {node: i for i, node in enumerate(tree.node_ids)}
    names = _node_names(tables)
    groups = _home_groups(tables, tree, index, rated_v)
    electric = _electric(tree, root_voltage, _home_phases(tables, tree, index))
    if tree.chords:
        _refuse_turns(tables)
    homes = tuple(sorted(node for group in groups for node in group.nodes))
    return Network(
        name=str(tables.sidecar.get("name", "network")),
        sha256=sha256(sha256(data).digest() + sha256(profiles or b"").digest()).digest(),
        source=data,
        parent=tree.parent,
        end=tree.end,
        limit_w=array("q", [edge.limit_w for edge in tree.edges]),
        rated_v=array("q", [round(rated_v[node]) for node in tree.node_ids]),
        kinds=tuple(edge.kind for edge in tree.edges),
        element_names=tuple(edge.name for edge in tree.edges),
        node_names=tuple(names[node] for node in tree.node_ids),
        home_nodes=homes,
        home_groups=groups,
        electric=electric,
        node_ids=array("q", tree.node_ids),
        branch_element=array("q", tree.branch_child),
        baseline=read_baseline(tables, index, profiles),
        voltage=voltage_model(
            tree.end,
            electric.r_pu,
            electric.x_pu,
            electric.b_pu,
            _no_load(tree, electric),
            homes,
        ),
        loops=find_loops(tree.parent, tree.edges, tree.chords),
    )


def _refuse_turns(tables: Tables) -> None:
    """In a loop a transformer that turns the phase would drive a current of its own."""
    for row in tables.transformer:
        if in_service(row, "from_status", "to_status") and whole(row, "clock", "transformer") % 12:
            raise NetworkError(
                f"network: transformer {row.get('id')!r} turns the phase of a network with loops"
            )


def _node_names(tables: Tables) -> dict[int, str]:
    given = sidecar_names(tables, "node_names")
    return {
        int(row["id"]): given[i] if i < len(given) else f"node {row['id']}"
        for i, row in enumerate(tables.node)
    }


def _home_groups(
    tables: Tables, tree: Tree, index: Mapping[int, int], rated_v: Mapping[int, float]
) -> tuple[HomeGroup, ...]:
    groups: dict[tuple[int, int], list[int]] = {}
    for identity in sidecar_numbers(tables, "home_nodes"):
        if identity not in index:
            raise NetworkError(f"network: home node {identity!r} is not in the network")
        if rated_v[identity] >= LOW_VOLTAGE_V:
            raise NetworkError(f"network: home node {identity!r} is not at low voltage")
        node = index[identity]
        groups.setdefault(_feeder(tree, node), []).append(node)
    return tuple(HomeGroup(*key, tuple(sorted(nodes))) for key, nodes in sorted(groups.items()))


def _feeder(tree: Tree, node: int) -> tuple[int, int]:
    """The transformer above a node, and the first element below that transformer's busbar."""
    below = node
    while node > 0 and tree.edges[node].kind is not ElementKind.TRANSFORMER:
        below, node = node, tree.parent[node]
    return node, below


def _home_phases(tables: Tables, tree: Tree, index: Mapping[int, int]) -> "array[int]":
    """From `home_phases` of the sidecar, a word for each of its `home_nodes`."""
    homes, words = sidecar_numbers(tables, "home_nodes"), sidecar_names(tables, "home_phases")
    phases = array("q", [0] * len(tree.edges))
    if words and len(words) != len(homes):
        raise NetworkError(f"network: {len(homes)} home nodes have {len(words)} home_phases")
    for identity, word in zip(homes, words, strict=False):
        if word not in PHASES:
            raise NetworkError(f"network: home node {identity!r} hangs from {word!r}; {PHASES_ARE}")
        phases[index[identity]] = PHASES[word]
    return phases


def _electric(tree: Tree, root_voltage: float, phases: "array[int]") -> Electric:
    ends = [(edge.shunt_parent_pu, edge.shunt_child_pu) for edge in tree.edges]
    series = [edge.series_pu for edge in tree.edges]
    r, x, g, b = _columns(tree, series, ends)
    ratio = array("d", [edge.ratio for edge in tree.edges])
    zero = _zero_columns(tree, phases) if any(phases) else None
    return Electric(r, x, ratio, g, b, root_voltage, phases, zero)


def _columns(
    tree: Tree, series: Sequence[complex], ends: Sequence[tuple[complex, complex]]
) -> tuple["array[float]", "array[float]", "array[float]", "array[float]"]:
    """Series impedances, and at each node the shunts of all branches that end there."""
    shunts = [0j] * len(series)
    for node, (above, own) in enumerate(ends):
        shunts[node] += own
        if node:
            shunts[tree.parent[node]] += above
    return (
        array("d", [z.real for z in series]),
        array("d", [z.imag for z in series]),
        array("d", [shunt.real for shunt in shunts]),
        array("d", [shunt.imag for shunt in shunts]),
    )


def _zero_columns(
    tree: Tree, phases: "array[int]"
) -> tuple["array[float]", "array[float]", "array[float]", "array[float]"]:
    """Everything in a low-voltage grid with a home on one phase must say its zero sequence."""
    heads = {_feeder(tree, node)[0] for node, phase in enumerate(phases) if phase}
    series, ends = [0j] * len(tree.edges), [(0j, 0j)] * len(tree.edges)
    for head in heads:
        for node in range(max(1, head), tree.end[head]):
            edge = tree.edges[node]
            if edge.zero is None:
                raise NetworkError(
                    f"network: {edge.name!r} feeds homes on single phases and has no zero sequence;"
                    " a line needs r0, x0, c0 and tan0, a transformer an earthed star below"
                )
            series[node], ends[node] = edge.zero.series_pu, edge.zero.shunts_pu
    return _columns(tree, series, ends)


def _no_load(tree: Tree, electric: Electric) -> list[float]:
    """Every node's voltage per unit as the taps alone make it."""
    voltages = [electric.root_voltage_pu]
    for node in range(1, len(tree.parent)):
        voltages.append(voltages[tree.parent[node]] * electric.ratio[node])
    return voltages
