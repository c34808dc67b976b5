"""What the grid's pumps and forecasts cost: a process's size, a price update, estimates, remedies."""

import random
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from cloud.forecast.ridge import DAY, RidgeForecaster
from cloud.grid.congestion import edge_steps, pack_steps
from cloud.grid.estimator import Estimator, Measured
from cloud.grid.network import Network, quarter_of_year
from cloud.grid.redispatch import Candidate, remedy
from cloud.grid.referee import Referee
from tests.bench.grid_rows import Row, row, seconds
from tests.bench.parts import as_installed

NOON = 1_780_056_000 // 900
EVENING = NOON + 36
SPREAD = 3_600_000
SLOT_2016 = int(datetime(2016, 1, 1, tzinfo=UTC).timestamp()) // 900
HOUSEHOLDS = [14, 18, 20, 34, 36]
"""The shipped profiles of households."""

FORECASTS = 24

IMPORT = """
import time
def held():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
begin, begin_cpu = time.perf_counter(), time.process_time()
import numpy
bare = time.process_time() - begin_cpu
import cloud.grid.estimator, cloud.grid.planning, cloud.grid.referee, cloud.grid.shipped
wall, cpu, small = time.perf_counter() - begin, time.process_time() - begin_cpu, held()
network = cloud.grid.shipped.network_named("rural")
begin_cpu = time.process_time()
import power_grid_model
solver = time.process_time() - begin_cpu
cloud.grid.referee.Referee(network)
print(cpu, wall, bare, small, held(), solver)
"""


def rows(network: Network) -> list[Row]:
    return [
        *_process(),
        *_update(network),
        *_estimate(network),
        *_redispatch(network),
        *_forecast(network),
    ]


def _process() -> list[Row]:
    """Processor time, because other work on the machine is no property of ours."""
    with tempfile.TemporaryDirectory() as directory:
        environment = as_installed(Path(directory))
        runs = [
            subprocess.run(
                [sys.executable, "-c", IMPORT],
                capture_output=True,
                text=True,
                check=True,
                env=environment,
            ).stdout.split()
            for _ in range(7)
        ]
    cpu, wall, bare, small, whole, solver = (min(float(run[i]) for run in runs) for i in range(6))
    note = f"the room without power-grid-model, processor time; {wall:.3f} s by the clock; "
    note += f"numpy alone {bare:.3f} s; the solver when a gate first closes {solver:.3f} s"
    held = f"with the 5,479-node network, its year and the referee's model {whole:.0f} MB"
    return [
        row("grid process import", cpu, "s", 0.15, "power-grid-model 0.067", note),
        row("grid process RSS", small, "MB", 60, "power-grid-model 29", held),
    ]


def _update(network: Network) -> list[Row]:
    """The slot of the year whose base flow fills most elements, and trades that fill as many more."""
    draw = random.Random(5)
    capacity = network.capacity_w(NOON, {})
    flows = network.baseline_flow_w(NOON)
    for element in draw.sample(range(1, network.size), 180):
        flows[element] = (
            draw.choice((-1, 1)) * capacity[element] * draw.randint(800, 1_050) // 1_000
        )
    steps = edge_steps(flows, capacity, SPREAD)
    taken = seconds(lambda: pack_steps(NOON, edge_steps(flows, capacity, SPREAD)), 20)
    note = f"{len(steps)} steps of {network.size} elements"
    return [
        row("price update of a slot, computed and packed", taken * 1e3, "ms", 100, "none", note),
        row(
            "price update of a slot, payload",
            len(pack_steps(NOON, steps)),
            "byte",
            2_000,
            "a price a node 44,000",
            note,
        ),
    ]


def _estimate(network: Network) -> list[Row]:
    draw = random.Random(6)
    estimator, referee = Estimator(network), Referee(network)
    active = np.array(network.node_w(NOON), float)
    nodes = draw.sample(network.home_nodes, 200)
    for node in nodes:
        active[node] += draw.randint(-4_000, 4_000)
    reactive = network.baseline.node_var(quarter_of_year(NOON)).astype(float)
    truth = referee.voltages_pu(active, reactive)
    homes = [
        Measured(
            f"home-{node}", node, int(active[node]), *[int(truth[node] * 400_000 / 3**0.5)] * 2
        )
        for node in nodes
    ]
    taken = seconds(lambda: estimator.estimate(NOON, homes, {}), 5)
    state = estimator.estimate(NOON, homes, {})
    off = float(np.abs(state.voltage_pu - truth)[nodes].max())
    note = f"200 homes heard, {network.size - 200} nodes assumed, {len(state.rejected)} set aside"
    return [
        row("state estimation of 5,479 nodes", taken * 1e3, "ms", 1_000, "none", note),
        row("state estimation, worst voltage of a heard home", off, "pu", 0.005, "none", note),
    ]


def _redispatch(network: Network) -> list[Row]:
    """Twenty homes of one grid sell four times what their transformer carries."""
    group = max(network.home_groups, key=lambda g: len(g.nodes))
    each = 4 * network.limit_w[group.transformer] // 20
    injections = dict.fromkeys(group.nodes[:20], each)
    candidates = [Candidate(f"home-{n}", n, w, 0) for n, w in injections.items()]
    referee = Referee(network)
    taken = seconds(lambda: remedy(referee, network, EVENING, injections, candidates), 3)
    found = remedy(referee, network, EVENING, injections, candidates)
    assert found is not None
    before, after = (v.worst_loading_per_mille for v in (found.before, found.after))
    note = f"worst loading {before} per mille before, {after} after"
    return [row("re-dispatch of an overloaded slot", taken * 1e3, "ms", 1_000, "none", note)]


def _forecast(network: Network) -> list[Row]:
    """Five households together, the last quarter of the year, from random starts."""
    history = network.baseline.profiles[HOUSEHOLDS].astype(np.int64).sum(axis=0)
    draw = random.Random(7)
    ours: dict[int, list[float]] = {1: [], DAY: []}
    naive: dict[int, list[float]] = {1: [], DAY: []}
    for _ in range(FORECASTS):
        start = draw.randrange(26_400, len(history) - DAY)
        seen = history[:start]
        for horizon, errors in ours.items():
            truth = history[start : start + horizon]
            curve = RidgeForecaster().forecast(seen.tolist(), SLOT_2016 + start, horizon)
            errors.append(float(np.abs(np.array(curve.median_wh) - truth).mean()))
            guess = seen[-1] if horizon == 1 else seen[-DAY:]
            naive[horizon].append(float(np.abs(guess - truth).mean()))
    taken = seconds(
        lambda: RidgeForecaster().forecast(history[:26_400].tolist(), SLOT_2016 + 26_400, DAY), 3
    )
    note = f"{FORECASTS} forecasts of 5 households together, October to December"
    found = []
    for horizon, name in ((1, "a quarter hour ahead"), (DAY, "a day ahead")):
        ratio = sum(ours[horizon]) / sum(naive[horizon])
        size = sum(ours[horizon]) / FORECASTS / float(history[26_400:].mean())
        base = "persistence" if horizon == 1 else "yesterday"
        words = f"{note}; mean error {size:.3f} of the mean"
        found.append(
            row(f"forecast error against {base}, {name}", ratio, "ratio", 0.95, base, words)
        )
    return [*found, row("forecast of a day, half a year learnt", taken * 1e3, "ms", 500, "none")]
