"""A small meshed network: power-grid-model as its engine, sensitivities between two of its answers.

The tree's headroom does not hold where current can choose its way. Here every branch has a power
transfer distribution factor per node (PTDF, DC power flow: reactances alone, lossless), kept as a
whole number in parts of 2**20, and a trade's effect on each branch is a difference of two of them.
Decides how much of a trade may pass: it may not worsen a branch beyond its limit; a branch that is
over already blocks only what loads it further. Every few accepted trades, and whenever a branch is
nearly full, the flows are taken anew from an AC power flow, so that what the factors leave out does
not add up; a trade that it finds too large is taken back and tried at half its size.

Must never round in favour of a trade, nor look at fewer branches than could bind: the active set is
refreshed before what it leaves out could have been used up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
import numpy.typing as npt

from cloud.grid.referee import UNSOLVED, RefereeResult, filled, solver_data
from cloud.grid.tables import NetworkError, read_tables
from cloud.grid.topology import FREQUENCY_HZ, Branch, branches_of, node_voltages, root_of
from protos.units import PER_MILLE, round_measured

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

ONE = 1 << 20
ACTIVE = 32
ACCEPTS_PER_CHECK = 8
NODES_MAX = 2_000
"""Factors are a table of branches by nodes."""

NEAR_PER_MILLE = 850
FULL_PER_MILLE = 1_000
"""A trade that fills a branch further than the first is checked at once, and taken back if it
brought one beyond the second.
"""

TRIES_MAX = 4
MARGIN_PER_MILLE = 10
"""Of each limit, for what the factors leave out between two checks."""


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Nodes by number, the source first. `ptdf[b, n]` is what of a W fed in at n, and taken out at
    the source, flows through branch b from its from end, in parts of ONE.
    """

    source: bytes
    node_ids: tuple[int, ...]
    branches: tuple[Branch, ...]
    places: Integers
    """Each branch's row among the file's lines, then transformers."""

    limit_w: Integers
    ptdf: Integers


def load_mesh(data: bytes) -> Mesh:
    """The mesh of a network file, radial or not. Raises NetworkError for unfit data and islands."""
    tables = read_tables(data)
    rated_v = node_voltages(tables)
    root, _ = root_of(tables)
    if len(rated_v) > NODES_MAX:
        raise NetworkError(f"network: {len(rated_v)} nodes; a mesh has at most {NODES_MAX}")
    every = branches_of(tables, rated_v)
    live = [(i, branch) for i, branch in enumerate(every) if branch is not None]
    nodes = (root, *(node for node in rated_v if node != root))
    index = {node: i for i, node in enumerate(nodes)}
    branches = tuple(branch for _, branch in live)
    return Mesh(
        data,
        nodes,
        branches,
        np.array([i for i, _ in live], np.int64),
        np.array([round_measured(branch.limit_w) for branch in branches], np.int64),
        _factors(branches, index),
    )


def _factors(branches: Sequence[Branch], index: Mapping[int, int]) -> Integers:
    size, count = len(index), len(branches)
    incidence = np.zeros((count, size))
    susceptance = np.zeros(count)
    for row, branch in enumerate(branches):
        incidence[row, index[branch.from_node]] = 1
        incidence[row, index[branch.to_node]] = -1
        # A cable of low voltage is more resistive than reactive: its impedance decides the way.
        susceptance[row] = 1 / abs(branch.series_pu)
    weighted = susceptance[:, None] * incidence
    laplacian = (incidence.T @ weighted)[1:, 1:]
    try:
        inverse = np.linalg.inv(laplacian)
    except np.linalg.LinAlgError as error:
        raise NetworkError("network: a part of the mesh has no supply") from error
    if not np.isfinite(inverse).all() or np.abs(inverse).max() > 1e12:
        raise NetworkError("network: a part of the mesh has no supply")
    factors = np.zeros((count, size))
    factors[:, 1:] = weighted[:, 1:] @ inverse
    return np.rint(factors * ONE).astype(np.int64)


class MeshedGate:
    """One slot's room in a mesh. `base_w` and `base_var` are what every node draws without trades."""

    def __init__(self, mesh: Mesh, base_w: Sequence[int], base_var: Sequence[int]) -> None:
        self.mesh = mesh
        self.accepted = 0
        self.verdict = UNSOLVED
        """The independent power flow's last word; unsolved until the first."""

        self._engine = _Engine(mesh)
        self._node_w = np.array(base_w, np.int64)
        self._node_var = np.array(base_var, np.int64)
        self._flow_w = np.zeros(len(mesh.branches), np.int64)
        self._cap_w = np.zeros(len(mesh.branches), np.int64)
        self._active = np.zeros(0, np.int64)
        self._slack_w = 0
        self.check()

    def check(self) -> RefereeResult:
        """Takes flows and limits anew from an AC power flow. Without one nothing may pass."""
        found = self._engine.solve(self._node_w, self._node_var)
        if found is None:
            self.verdict, self._cap_w = UNSOLVED, np.zeros_like(self._cap_w)
        else:
            self._flow_w, self._cap_w, self.verdict = found
        self._refresh()
        return self.verdict

    def room_w(self, seller: int, buyer: int) -> int:
        """The most that may be traded from one node to another now, in W, rounded down."""
        return self._room(seller, buyer, self._active, self._slack_w)

    def take(self, seller: int, buyer: int, power_w: int) -> int:
        """Trades as much of the power as may pass, and returns it."""
        room = self.room_w(seller, buyer)
        if room < power_w and self._slack_w < power_w:
            # What binds may be that the active set is stale.
            self._refresh()
            room = self.room_w(seller, buyer)
        power_w = max(0, min(power_w, room))
        for _ in range(TRIES_MAX):
            if not power_w:
                break
            if self._try(seller, buyer, power_w):
                self.accepted += 1
                return power_w
            power_w //= 2
        return 0

    def _try(self, seller: int, buyer: int, power_w: int) -> bool:
        """Trades by the factors; where that fills a branch, the power flow has the last word."""
        before = self.verdict.worst_loading_per_mille
        shift = (self.mesh.ptdf[:, seller] - self.mesh.ptdf[:, buyer]) * power_w
        # Away from zero, so that no branch is fuller than it is taken for.
        self._flow_w += np.sign(shift) * (-(-np.abs(shift) // ONE))
        self._move(seller, buyer, power_w)
        self._slack_w -= power_w + 1
        rows = self._active
        fullest = (
            np.abs(self._flow_w[rows]) * PER_MILLE > self._cap_w[rows] * NEAR_PER_MILLE
        ).any()
        if fullest or (self.accepted + 1) % ACCEPTS_PER_CHECK == 0:
            if self.check().worst_loading_per_mille > max(FULL_PER_MILLE, before):
                self._move(buyer, seller, power_w)
                self.check()
                return False
        elif self._slack_w <= 0:
            self._refresh()
        return True

    def _move(self, seller: int, buyer: int, power_w: int) -> None:
        self._node_w[seller] -= power_w
        self._node_w[buyer] += power_w

    def _room(self, seller: int, buyer: int, rows: Integers, most_w: int) -> int:
        ptdf = self.mesh.ptdf[rows]
        effect = ptdf[:, seller] - ptdf[:, buyer]
        # A lowering effect is rounded away, a raising one up: neither in favour of the trade.
        flow = np.where(effect > 0, self._flow_w[rows], -self._flow_w[rows])
        left = self._cap_w[rows] - flow
        size = np.abs(effect)
        binding = size > 0
        # A branch that is over already blocks only what loads it further: what lowers its flow has
        # all the room up to its limit on the other side.
        left = np.maximum(left[binding], 0)
        if not len(left):
            return most_w
        return min(most_w, int((left * ONE // size[binding]).min()))

    def _refresh(self) -> None:
        """The branches nearest to their limits, and what may be traded before another could bind.

        No factor difference is more than one, so a branch outside has its slack until as many W have
        been traded.
        """
        slack = self._cap_w - np.abs(self._flow_w)
        order = np.argsort(slack, kind="stable")
        self._active = order[:ACTIVE]
        outside = order[ACTIVE:]
        largest = int(self.mesh.limit_w.max()) if len(self.mesh.limit_w) else 0
        self._slack_w = int(slack[outside].min()) if len(outside) else 2 * largest


class _Engine:
    """power-grid-model on the mesh's own file, with one load of ours at each node."""

    def __init__(self, mesh: Mesh) -> None:
        from power_grid_model import PowerGridModel
        from power_grid_model.errors import PowerGridError  # type: ignore[attr-defined]

        data, self._ids = solver_data(mesh.source, mesh.node_ids)
        try:
            self._model = PowerGridModel(data, system_frequency=FREQUENCY_HZ)
        except PowerGridError as error:
            raise NetworkError(f"network: power-grid-model refuses it: {error}") from error
        self._mesh = mesh

    def solve(
        self, node_w: Integers, node_var: Integers
    ) -> tuple[Integers, Integers, RefereeResult] | None:
        """Flows from the from ends and caps in W by branch, and the verdict; None without one."""
        from power_grid_model.errors import PowerGridError  # type: ignore[attr-defined]

        update = {"id": self._ids, "p_specified": node_w, "q_specified": node_var}
        self._model.update(update_data={"sym_load": filled("update", "sym_load", update)})
        try:
            output = self._model.calculate_power_flow(error_tolerance=1e-8, max_iterations=30)
        except PowerGridError:
            return None
        columns = {
            key: np.concatenate([output["line"][key], output["transformer"][key]])[
                self._mesh.places
            ]
            for key in ("p_from", "p_to", "q_from", "q_to", "loading")
        }
        voltage = np.asarray(output["node"]["u_pu"])
        if not (np.isfinite(voltage).all() and all(np.isfinite(c).all() for c in columns.values())):
            return None
        worst = int(columns["loading"].argmax())
        verdict = RefereeResult(
            True,
            worst,
            round_measured(float(columns["loading"][worst]), PER_MILLE),
            round_measured(float(voltage.min()), PER_MILLE),
            round_measured(float(voltage.max()), PER_MILLE),
        )
        # The end that carries more counts, in the direction of the from end.
        greater = np.where(
            np.abs(columns["p_from"]) >= np.abs(columns["p_to"]),
            columns["p_from"],
            -columns["p_to"],
        )
        flows = [round_measured(float(p)) for p in greater]
        return np.array(flows, np.int64), self._caps(flows, columns["loading"]), verdict

    def _caps(self, flows: Sequence[int], loading: Floats) -> Integers:
        """What active power each branch may carry beside what fills it already otherwise: the
        reactive power and the voltage of now, as the loading tells them, less the margin.
        """
        caps = []
        for flow, limit, full in zip(flows, self._mesh.limit_w.tolist(), loading, strict=True):
            used = round_measured(float(full) * limit)
            other = max(0, used * used - flow * flow)
            kept = limit - -(-limit * MARGIN_PER_MILLE // PER_MILLE)
            caps.append(isqrt(max(0, kept * kept - other)))
        return np.array(caps, np.int64)
