"""The three-phase sweep against power-grid-model's asymmetric calculation, and against the balanced
sweep.
"""

import random
from math import pi, sqrt

import numpy as np
import power_grid_model as pgm
import pytest

pytest.importorskip("ext.sweep3", reason="ext/ is not built: make ext")

from ext.sweep import Sweep
from ext.sweep3 import CLOCKS, Sweep3

LINE_V, HIGH_V = 400.0, 20_000.0
PIN_PU = 1e-8


class Street:
    """A transformer (element 1) and below it lines at random; both models of it."""

    def __init__(self, seed: int, nodes: int, clock: int) -> None:
        self.draw = draw = random.Random(seed)
        self.clock = clock
        parents = [-1, 0, *(draw.randrange(max(1, n - 3), n) for n in range(2, nodes))]
        order, children = [], [[] for _ in parents]
        for node in range(1, nodes):
            children[parents[node]].append(node)
        stack = [0]
        while stack:
            node = stack.pop()
            order.append(node)
            stack += reversed(children[node])
        place = {node: at for at, node in enumerate(order)}
        self.parent = [place[parents[node]] if node else -1 for node in order]
        self.size = nodes
        self.lines = [
            (draw.uniform(0.01, 0.03), draw.uniform(0.004, 0.008), draw.uniform(1e-8, 1e-7))
            for _ in range(nodes)
        ]

    def power(self) -> tuple[np.ndarray, np.ndarray]:
        """W and var by node and phase; nothing at the two nodes of the transformer."""
        p = np.array([[self.draw.gauss(200, 900) for _ in range(3)] for _ in range(self.size)])
        q = np.array([[self.draw.gauss(0, 200) for _ in range(3)] for _ in range(self.size)])
        p[:2] = q[:2] = 0
        return p, q

    def sweep(self) -> Sweep3:
        ohm = LINE_V**2 / 1e6
        z1, z0, y1, y0 = ([0j] * self.size for _ in range(4))
        rated, short, loss = 400e3, 0.04, 0.01
        z1[1] = complex(loss, sqrt(short**2 - loss**2)) / rated * 1e6
        z0[1] = z1[1]
        for node in range(2, self.size):
            r, x, c = self.lines[node]
            z1[node], z0[node] = complex(r, x) / ohm, complex(4 * r, 3 * x) / ohm
            for end in (node, self.parent[node]):
                y1[end] += 1j * pi * 50 * c * ohm
                y0[end] += 1j * pi * 50 * 0.6 * c * ohm
        clocks = [0, self.clock, *[0] * (self.size - 2)]
        return Sweep3(self.parent, z1, z0, y1, y0, [1.0] * self.size, clocks, 1.02)

    def referee(self) -> pgm.PowerGridModel:
        n = self.size
        node = pgm.initialize_array("input", "node", n)
        node["id"], node["u_rated"] = range(n), LINE_V
        node["u_rated"][0] = HIGH_V
        line = pgm.initialize_array("input", "line", n - 2)
        line["id"], line["to_node"] = range(n, 2 * n - 2), range(2, n)
        line["from_node"] = self.parent[2:]
        line["from_status"] = line["to_status"] = 1
        line["r1"], line["x1"], line["c1"] = zip(*self.lines[2:], strict=True)
        line["r0"], line["x0"], line["c0"] = 4 * line["r1"], 3 * line["x1"], 0.6 * line["c1"]
        line["tan1"] = line["tan0"] = 0
        line["i_n"] = 300
        source = pgm.initialize_array("input", "source", 1)
        source["id"], source["node"], source["status"] = 3 * n, 0, 1
        source["u_ref"], source["sk"], source["z01_ratio"] = 1.02, 1e18, 1
        load = pgm.initialize_array("input", "asym_load", n - 2)
        load["id"], load["node"] = range(4 * n, 5 * n - 2), range(2, n)
        load["status"], load["type"] = 1, 0
        load["p_specified"] = load["q_specified"] = 0
        return pgm.PowerGridModel(
            {
                "node": node,
                "line": line,
                "transformer": self._transformer(),
                "source": source,
                "asym_load": load,
            }
        )

    def _transformer(self) -> np.ndarray:
        one = pgm.initialize_array("input", "transformer", 1)
        one["id"], one["from_node"], one["to_node"] = 3 * self.size + 1, 0, 1
        one["from_status"] = one["to_status"] = 1
        one["u1"], one["u2"], one["sn"], one["uk"] = HIGH_V, LINE_V, 400e3, 0.04
        one["pk"], one["i0"], one["p0"] = 4e3, 0, 0
        one["winding_from"], one["winding_to"] = (2 if self.clock else 1), 1
        one["clock"], one["tap_side"] = self.clock, 0
        for name in ("tap_pos", "tap_min", "tap_max", "tap_nom", "tap_size"):
            one[name] = 0
        return one

    def voltages(self, model: pgm.PowerGridModel, p: np.ndarray, q: np.ndarray) -> np.ndarray:
        update = pgm.initialize_array("update", "asym_load", self.size - 2)
        update["id"] = range(4 * self.size, 5 * self.size - 2)
        update["p_specified"], update["q_specified"] = p[2:], q[2:]
        model.update(update_data={"asym_load": update})
        solved = model.calculate_power_flow(symmetric=False, error_tolerance=1e-11)
        return solved["node"]["u_pu"]


@pytest.mark.parametrize("clock", [0, *CLOCKS])
def test_unbalanced_streets_agree_with_power_grid_model(clock: int) -> None:
    for seed in range(6):
        street = Street(seed, 40, clock)
        sweep, model = street.sweep(), street.referee()
        for _ in range(5):
            p, q = street.power()
            assert sweep.solve(p.ravel(), q.ravel(), 1e-11)
            found = np.array(sweep.voltages_pu()).reshape(-1, 3)
            wanted = street.voltages(model, p, q)
            assert wanted.max() - wanted.min() > 0.01
            assert np.abs(found - wanted).max() < PIN_PU


def test_balanced_load_is_the_balanced_sweep_on_every_phase() -> None:
    street = Street(1, 40, 0)
    p, q = street.power()
    p[:], q[:] = p.mean(axis=1, keepdims=True), q.mean(axis=1, keepdims=True)
    three = street.sweep()
    assert three.solve(p.ravel(), q.ravel(), 1e-12)
    ohm, zero = LINE_V**2 / 1e6, [0.0] * 40
    r = [line[0] / ohm for line in street.lines]
    x = [line[1] / ohm for line in street.lines]
    b = [0.0] * 40
    for node in range(2, 40):
        for end in (node, street.parent[node]):
            b[end] += pi * 50 * street.lines[node][2] * ohm
    r[:2], x[:2] = (0.0, 0.01 / 0.4), (0.0, sqrt(0.04**2 - 0.01**2) / 0.4)
    one = Sweep(street.parent, r, x, zero, b, [1.0] * 40, 1.02)
    assert one.solve(p.sum(axis=1), q.sum(axis=1), 1e-12)
    phases = np.array(three.voltages_pu()).reshape(-1, 3)
    assert np.abs(phases - np.array(one.voltages_pu())[:, None]).max() < 1e-10


def test_three_warm_sweeps_follow_a_trade() -> None:
    street = Street(3, 120, 11)
    street.lines = [(r / 5, x / 5, c) for r, x, c in street.lines]
    sweep, (p, q) = street.sweep(), (power / 5 for power in street.power())
    assert sweep.solve(p.ravel(), q.ravel(), 1e-11)
    sweep.add(60, 1, 500.0)
    assert sweep.sweeps(3, 1) < 1e-5
    warm = np.array(sweep.voltages_pu())
    p[60, 1] += 500.0
    sweep.reset()
    assert sweep.solve(p.ravel(), q.ravel(), 1e-11)
    assert np.abs(warm - np.array(sweep.voltages_pu())).max() < 1e-5


def test_one_loaded_phase_sags_and_lifts_another() -> None:
    street = Street(3, 20, 5)
    sweep = street.sweep()
    assert sweep.settle()
    before = np.array(sweep.voltages_pu()).reshape(-1, 3)[19]
    sweep.add(19, 0, 4_000.0)
    assert sweep.settle()
    after = np.array(sweep.voltages_pu()).reshape(-1, 3)[19]
    assert after[0] < before[0]
    assert after[1:].max() > before[1:].max()
    through = sweep.current_pu(19)
    assert through[0] > 3 * max(through[1:])


def test_what_cannot_be_is_refused_and_what_is_no_number_never_converges() -> None:
    street = Street(3, 5, 11)
    sweep = street.sweep()
    assert sweep.solve([float("nan")] * 15, [0.0] * 15) == 0
    assert sweep.solve([1e9] * 15, [0.0] * 15) == 0
    assert sweep.solve([0.0] * 15, [0.0] * 15) > 0
    for wrong in ((5, 0), (0, 3), (-1, 0)):
        with pytest.raises(IndexError):
            sweep.add(*wrong, 1.0)
    with pytest.raises(IndexError):
        sweep.sweeps(1, 5)
    with pytest.raises(ValueError, match="15 phases"):
        sweep.load([0.0], [0.0])
    column = [0j] * 2
    with pytest.raises(ValueError, match="clock of 3"):
        Sweep3([-1, 0], column, column, column, column, [1.0] * 2, [0, 3], 1.0)
    with pytest.raises(ValueError, match="preorder"):
        Sweep3([-1, 1], column, column, column, column, [1.0] * 2, [0, 0], 1.0)


def test_a_subtrees_sweep_touches_nothing_above_it() -> None:
    street = Street(3, 30, 11)
    sweep = street.sweep()
    assert sweep.settle()
    before = np.array(sweep.voltages_pu()).reshape(-1, 3)
    sweep.add(29, 2, 900.0)
    sweep.sweeps(4, 29)
    after = np.array(sweep.voltages_pu()).reshape(-1, 3)
    assert (after[:29] == before[:29]).all()
    assert after[29, 2] < before[29, 2]
