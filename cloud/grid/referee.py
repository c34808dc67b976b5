"""An independent opinion on a closed slot: full AC power flow by power-grid-model.

The market decides with whole watts on a lossless tree; here the same slot is solved with voltages,
reactive power and losses by another program from the network's own file, not from our tree. It
fails closed: what did not converge, or has one number that is none, is a violation. It only ever
reports; what to do about it is the zone's business.

Loadings are defined as power-grid-model defines them: a line's is current over rated current, a
transformer's is apparent power over rated apparent power (S/Sn, the greater side), not I/In.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cloud.grid.network import Network, quarter_of_year
from cloud.grid.tables import NetworkError, read_tables, unpacked
from cloud.grid.topology import FREQUENCY_HZ
from protos.units import PER_MILLE, round_measured

Floats = npt.NDArray[np.float64]

UNSOLVED_LOADING_PER_MILLE = 1_000_000
"""Stands for the loading of a slot that was not solved, so that no comparison takes it for good."""

_ERROR_TOLERANCE = 1e-8
_ITERATIONS_MAX = 30


@dataclass(frozen=True, slots=True)
class RefereeResult:
    """The verdict. Without convergence, loading and voltages are beyond every limit."""

    converged: bool
    worst_element: int
    worst_loading_per_mille: int
    voltage_min_per_mille: int
    voltage_max_per_mille: int
    lowest_node: int = 0
    highest_node: int = 0


UNSOLVED = RefereeResult(False, 0, UNSOLVED_LOADING_PER_MILLE, 0, UNSOLVED_LOADING_PER_MILLE)


class Referee:
    """One network's model, built once. Not to be shared between threads."""

    def __init__(self, network: Network, *, three_phase: bool = False) -> None:
        """Imports power-grid-model. Raises NetworkError where its validation refuses the file.

        With `three_phase`, and a file that gives homes their phase, the unbalanced flow is asked.
        """
        self._network = network
        self._share = _phase_share(network) if three_phase and network.electric.zero else None
        self._load = "sym_load" if self._share is None else "asym_load"
        self._model, self._load_ids = _model(network, self._load)
        self._elements = np.array(network.branch_element, np.int64)
        self._nodes = node_order(network)
        self._output: Mapping[str, Any] | None = None

    def check(self, slot: int, injections_w: Mapping[int, int]) -> RefereeResult:
        """A slot with its base flow and, by node, what the trades feed in (negative: take)."""
        quarter = quarter_of_year(slot)
        active = self._network.baseline.node_w(quarter).astype(np.float64)
        reactive = self._network.baseline.node_var(quarter).astype(np.float64)
        for node, power_w in injections_w.items():
            assert 0 <= node < self._network.size, f"no node {node}"
            active[node] -= power_w
        # power-grid-model reads a NaN as "as before", so one must not get that far.
        return self._solve(active, reactive) if np.isfinite(active).all() else UNSOLVED

    def branches(
        self, slot: int, injections_w: Mapping[int, int]
    ) -> tuple[RefereeResult, Mapping[str, Floats]]:
        """The same beside p_from, p_to (W) and loading of each of the file's branches, lines first;
        nothing of them without a solution.
        """
        verdict = self.check(slot, injections_w)
        if not verdict.converged or self._output is None:
            return verdict, {}
        lines, units = self._output["line"], self._output["transformer"]
        names = ("p_from", "p_to", "loading")
        return verdict, {name: np.concatenate([lines[name], units[name]]) for name in names}

    def voltages_pu(self, active_w: Floats, reactive_var: Floats) -> Floats:
        """Every node's voltage, with three phases each one's, for given powers taken, W and var; for
        comparing other solvers.

        Raises power-grid-model's own errors where there is no solution.
        """
        return np.array(self._flow(active_w, reactive_var, 1e-10)["node"]["u_pu"])

    def _solve(self, active: Floats, reactive: Floats) -> RefereeResult:
        from power_grid_model.errors import (  # type: ignore[attr-defined]
            IterationDiverge,
            MaxIterationReached,
            SparseMatrixError,
        )

        try:
            output = self._flow(active, reactive, _ERROR_TOLERANCE)
        except (IterationDiverge, MaxIterationReached, SparseMatrixError):
            return UNSOLVED
        return _verdict(output, self._elements, self._nodes)

    def _flow(self, active: Floats, reactive: Floats, tolerance: float) -> Mapping[str, Any]:
        if self._share is not None:
            active, reactive = (column[:, None] * self._share for column in (active, reactive))
        update = {"id": self._load_ids, "p_specified": active, "q_specified": reactive}
        self._model.update(update_data={self._load: filled("update", self._load, update)})
        output: Mapping[str, Any] = self._model.calculate_power_flow(
            symmetric=self._share is None,
            error_tolerance=tolerance,
            max_iterations=_ITERATIONS_MAX,
            output_component_types={
                "node": ["u_pu", "energized"],
                "line": ["loading", "p_from", "p_to"],
                "transformer": ["loading", "p_from", "p_to"],
            },
        )
        self._output = output
        return output


def _phase_share(network: Network) -> Floats:
    """What part of a node's power each phase carries: nodes by phases."""
    phases = np.array(network.electric.phases, np.int64)
    return np.where(phases[:, None] == 0, 1 / 3, (phases[:, None] == (1, 2, 3)).astype(np.float64))


def node_order(network: Network) -> npt.NDArray[np.int64]:
    """Our number of each node in the order of the file, which is that of the solver's answers."""
    index = {identity: node for node, identity in enumerate(network.node_ids)}
    rows = read_tables(network.source).node
    return np.array([index[int(row["id"])] for row in rows], np.int64)


def _verdict(
    output: Mapping[str, Any], elements: npt.NDArray[np.int64], nodes: npt.NDArray[np.int64]
) -> RefereeResult:
    loading = np.concatenate([output["line"]["loading"], output["transformer"]["loading"]])
    loading, elements = loading[elements >= 0], elements[elements >= 0]
    voltage = output["node"]["u_pu"]
    lanes = voltage.size // len(voltage)  # 1, or the three phases
    whole = bool(np.isfinite(loading).all() and np.isfinite(voltage).all())
    if not whole or not output["node"]["energized"].all():
        return UNSOLVED
    worst = int(loading.argmax())
    return RefereeResult(
        converged=True,
        worst_element=int(elements[worst]),
        worst_loading_per_mille=round_measured(float(loading[worst]), PER_MILLE),
        voltage_min_per_mille=round_measured(float(voltage.min()), PER_MILLE),
        voltage_max_per_mille=round_measured(float(voltage.max()), PER_MILLE),
        lowest_node=int(nodes[voltage.argmin() // lanes]),
        highest_node=int(nodes[voltage.argmax() // lanes]),
    )


def _model(network: Network, load: str) -> tuple[Any, npt.NDArray[np.int32]]:
    from power_grid_model import PowerGridModel
    from power_grid_model.errors import PowerGridError  # type: ignore[attr-defined]

    dataset, ids = solver_data(network.source, network.node_ids, load)
    try:
        return PowerGridModel(dataset, system_frequency=FREQUENCY_HZ), ids
    except PowerGridError as error:
        raise NetworkError(f"network: power-grid-model refuses it: {error}") from error


def solver_data(
    source: bytes, node_ids: Sequence[int], load: str = "sym_load"
) -> tuple[dict[Any, Any], npt.NDArray[np.int32]]:
    """A file's wires and source as power-grid-model takes them, with one load of our own at each
    node, and the loads' ids by node. Raises NetworkError where it refuses the file.
    """
    from power_grid_model.errors import PowerGridError  # type: ignore[attr-defined]
    from power_grid_model.utils import json_deserialize  # type: ignore[attr-defined]

    document = json.loads(unpacked(source))
    for constant in ("sym_load", "sym_gen"):
        document["data"].pop(constant, None)
        document.get("attributes", {}).pop(constant, None)
    try:
        dataset: dict[Any, Any] = json_deserialize(json.dumps(document))
    except PowerGridError as error:
        raise NetworkError(f"network: power-grid-model refuses it: {error}") from error
    first = 1 + max(int(rows["id"].max()) for rows in dataset.values() if len(rows))
    ids = np.arange(first, first + len(node_ids), dtype=np.int32)
    loads = {
        "id": ids,
        "node": np.array(node_ids),
        "status": 1,
        "type": 0,
        "p_specified": 0.0,
        "q_specified": 0.0,
    }
    dataset[load] = filled("input", load, loads)
    return dataset, ids


def filled(kind: str, component: str, columns: Mapping[str, Any]) -> Any:
    """Rows of a component as power-grid-model takes them; what is not given is left open."""
    from power_grid_model import initialize_array

    rows = initialize_array(kind, component, len(columns["id"]))
    for name, values in columns.items():
        rows[name] = values
    return rows
