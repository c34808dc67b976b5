"""The state of the grid from telemetry: weighted least squares by power-grid-model.

Homes that are heard are measurements (power and voltage at their node); every other node is a
pseudo-measurement, its base flow and trades, believed little. A gateway whose values contradict the
others by more than four times their spread is set aside and named, the worst first, and the rest is
solved again, four times at most. It fails closed: a state with one number that is none is no state. Its floats are
rounded where they become a command.

Must never take a silent home's last word for a measurement, nor hide whom it set aside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from cloud.grid.network import Network, quarter_of_year
from cloud.grid.referee import filled, node_order, solver_data
from cloud.grid.topology import FREQUENCY_HZ
from protos.ids import DeviceId
from protos.units import PER_MILLE

Floats = npt.NDArray[np.float64]

POWER_SIGMA_W, POWER_SIGMA_SHARE = 50.0, 0.02
ASSUMED_SIGMA_W, ASSUMED_SIGMA_SHARE = 500.0, 0.5
VOLTAGE_SIGMA = 0.005
SOURCE_SIGMA = 0.001
SUSPECT_SIGMAS = 4.0
ROUNDS_MAX = 4
LIAR_SHARE = 0.8
"""Of the worst doubt: who is doubted as much is set aside with it."""

TOLERANCE_PU = 1e-4
"""Of the iteration, which converges slowly; fifty times finer than a meter's own spread."""

ITERATIONS_MAX = 100
LIVE_PU = 0.2


@dataclass(frozen=True, slots=True)
class Measured:
    """What one home says now: W drawn, and the voltages of its lowest and highest phase in mV, not
    positive where it has none.
    """

    device: DeviceId
    node: int
    grid_w: int
    voltage_low_mv: int = -1
    voltage_high_mv: int = -1


@dataclass(frozen=True, slots=True)
class State:
    """Voltages per unit by node, flows in W by element towards the customers, and their loading
    per mille; all empty where nothing was found.
    """

    slot: int
    converged: bool
    measured: int
    assumed: int
    voltage_pu: Floats
    flow_w: Floats
    loading: Floats
    rejected: tuple[DeviceId, ...]


class Estimator:
    """One network's. Not to be shared between threads."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._data, self._load_ids = solver_data(network.source, network.node_ids)
        self._order = node_order(network)
        self._elements = np.array(network.branch_element, np.int64)
        index = {int(identity): node for node, identity in enumerate(network.node_ids)}
        self._downward = {
            kind: np.array(
                [
                    index[int(row["to_node"])] > index[int(row["from_node"])]
                    for row in self._data[kind]
                ],
                bool,
            )
            for kind in ("line", "transformer")
        }
        self._first_id = 1 + int(self._load_ids.max())

    def estimate(
        self, slot: int, homes: Sequence[Measured], injections_w: Mapping[int, int]
    ) -> State:
        """The state in a slot. `injections_w` is what trades feed in at each node that is silent."""
        kept = [home for home in homes if np.isfinite(home.grid_w)]
        rejected: list[DeviceId] = []
        for turn in range(ROUNDS_MAX):
            found = self._solve(slot, kept, injections_w)
            if found is None:
                break
            state, doubts = found
            worst = max(doubts.values(), default=0.0)
            if worst <= SUSPECT_SIGMAS or turn == ROUNDS_MAX - 1:
                return replace(state, rejected=tuple(rejected))
            # A liar makes its neighbours doubtful too; those that are much less so are kept.
            least = max(SUSPECT_SIGMAS, worst * LIAR_SHARE)
            rejected += sorted(device for device, doubt in doubts.items() if doubt > least)
            kept = [home for home in kept if doubts[home.device] <= least]
        return self._nothing(slot, len(kept), tuple(rejected))

    def _nothing(self, slot: int, measured: int, rejected: tuple[DeviceId, ...]) -> State:
        none = np.zeros(0)
        size = self._network.size
        return State(slot, False, measured, size - measured, none, none, none, rejected)

    def _solve(
        self, slot: int, homes: Sequence[Measured], injections_w: Mapping[int, int]
    ) -> tuple[State, dict[DeviceId, float]] | None:
        from power_grid_model import PowerGridModel
        from power_grid_model.errors import PowerGridError  # type: ignore[attr-defined]

        powers, sigmas, reactive = self._powers(slot, homes, injections_w)
        voltages = [(h, pu) for h in homes if (pu := self._voltage_pu(h)) is not None]
        data = dict(self._data)
        data["sym_power_sensor"] = self._power_sensors(powers, sigmas, reactive)
        data["sym_voltage_sensor"] = self._voltage_sensors(voltages)
        try:
            model = PowerGridModel(data, system_frequency=FREQUENCY_HZ)
            output = model.calculate_state_estimation(
                error_tolerance=TOLERANCE_PU, max_iterations=ITERATIONS_MAX
            )
        except PowerGridError:
            return None
        state = self._state(slot, homes, output)
        if state is None:
            return None
        return state, self._doubts(homes, voltages, sigmas, output)

    def _powers(
        self, slot: int, homes: Sequence[Measured], injections_w: Mapping[int, int]
    ) -> tuple[Floats, Floats, Floats]:
        """Power, its spread and reactive power of every node."""
        quarter = quarter_of_year(slot)
        active = self._network.baseline.node_w(quarter).astype(np.float64)
        reactive = self._network.baseline.node_var(quarter).astype(np.float64)
        for node, power_w in injections_w.items():
            active[node] -= power_w
        spread = ASSUMED_SIGMA_W + ASSUMED_SIGMA_SHARE * np.abs(active)
        told: dict[int, float] = {}
        for home in homes:
            told[home.node] = told.get(home.node, 0.0) + home.grid_w
        for node, drawn in told.items():
            active[node] = drawn
            spread[node] = POWER_SIGMA_W + POWER_SIGMA_SHARE * abs(drawn)
        return active, spread, reactive

    def _voltage_pu(self, home: Measured) -> float | None:
        """The mean of the extreme phases, of the node's rated phase voltage."""
        rated_mv = self._network.rated_v[home.node] * 1_000 / sqrt(3)
        value = (home.voltage_low_mv + home.voltage_high_mv) / 2 / rated_mv
        return value if value >= LIVE_PU else None

    def _power_sensors(self, powers: Floats, sigmas: Floats, reactive: Floats) -> Any:
        count = self._network.size
        columns = {
            "id": np.arange(self._first_id, self._first_id + count, dtype=np.int32),
            "measured_object": self._load_ids,
            "measured_terminal_type": 4,
            "p_sigma": sigmas,
            "q_sigma": ASSUMED_SIGMA_W + ASSUMED_SIGMA_SHARE * np.abs(reactive),
            "p_measured": powers,
            "q_measured": reactive,
        }
        return filled("input", "sym_power_sensor", columns)

    def _voltage_sensors(self, voltages: Sequence[tuple[Measured, float]]) -> Any:
        network = self._network
        nodes = [0, *(home.node for home, _ in voltages)]
        values = [network.electric.root_voltage_pu, *(pu for _, pu in voltages)]
        sigmas = [SOURCE_SIGMA, *[VOLTAGE_SIGMA] * len(voltages)]
        rated = np.array([network.rated_v[node] for node in nodes], float)
        first = self._first_id + network.size
        columns = {
            "id": np.arange(first, first + len(nodes), dtype=np.int32),
            "measured_object": np.array([network.node_ids[node] for node in nodes], np.int32),
            "u_sigma": np.array(sigmas) * rated,
            "u_measured": np.array(values) * rated,
        }
        return filled("input", "sym_voltage_sensor", columns)

    def _state(self, slot: int, homes: Sequence[Measured], output: Any) -> State | None:
        network = self._network
        voltage = np.empty(network.size)
        voltage[self._order] = output["node"]["u_pu"]
        flow, loading = np.zeros(network.size), np.zeros(network.size)
        for kind, part in (("line", slice(0, len(output["line"]))),
                           ("transformer", slice(len(output["line"]), None))):  # fmt: skip
            rows, elements = output[kind], self._elements[part]
            live = elements >= 0
            # What enters at the child's end, turned round, is what the customers get.
            child = np.where(self._downward[kind], -rows["p_to"], -rows["p_from"])
            np.add.at(flow, elements[live], child[live])
            np.maximum.at(loading, elements[live], rows["loading"][live] * PER_MILLE)
        if not (np.isfinite(voltage).all() and np.isfinite(flow).all()):
            return None
        if not np.isfinite(loading).all() or not output["node"]["energized"].all():
            return None
        measured = len({home.node for home in homes})
        return State(
            slot,
            True,
            measured,
            network.size - measured,
            voltage,
            flow,
            loading,
            (),
        )

    def _doubts(
        self,
        homes: Sequence[Measured],
        voltages: Sequence[tuple[Measured, float]],
        sigmas: Floats,
        output: Any,
    ) -> dict[DeviceId, float]:
        """How many spreads each home's values are off what the others say."""
        power = np.abs(output["sym_power_sensor"]["p_residual"]) / sigmas
        doubts = {home.device: float(power[home.node]) for home in homes}
        rated = self._network.rated_v
        for (home, _), row in zip(voltages, output["sym_voltage_sensor"][1:], strict=True):
            off = abs(float(row["u_residual"])) / (VOLTAGE_SIGMA * rated[home.node])
            doubts[home.device] = max(doubts[home.device], off)
        return doubts
