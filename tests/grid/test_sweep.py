"""The compiled sweep against power-grid-model, against a naive oracle, and against bad input."""

import json
import random
from array import array

import numpy as np
import pytest

pytest.importorskip("ext.sweep", reason="ext/ is not built: make ext")

from cloud.grid.data import read_shipped
from cloud.grid.network import load_network, quarter_of_year
from cloud.grid.referee import Referee
from cloud.grid.shipped import network_named
from ext.sweep import Sweep
from tests.oracle import flow as oracle

PIN_PU = 1e-6
"""What the product promises against power-grid-model. What is reached is tested, too."""


def sweep_of(network):
    wires = network.electric
    return Sweep(
        network.parent,
        wires.r_pu,
        wires.x_pu,
        wires.g_pu,
        wires.b_pu,
        wires.ratio,
        wires.root_voltage_pu,
    )


def pgm_voltages(referee, p_w, q_var):
    return referee.voltages_pu(np.array(p_w, float), np.array(q_var, float))


@pytest.fixture(scope="module")
def rural():
    return network_named("rural")


@pytest.fixture(scope="module")
def tiny():
    return network_named("tiny")


def test_the_rural_network_agrees_with_power_grid_model_in_random_states(rural):
    sweep, referee, draw = sweep_of(rural), Referee(rural), random.Random(11)
    for _ in range(25):
        quarter = draw.randrange(365 * 96)
        stress = draw.choice((0, 500, 2_000))
        p_w = [w + draw.gauss(0, stress) for w in rural.baseline.node_w(quarter).tolist()]
        q_var = [v + draw.gauss(0, stress / 3) for v in rural.baseline.node_var(quarter).tolist()]
        assert sweep.solve(p_w, q_var, 1e-10)
        worst = np.abs(np.array(sweep.voltages_pu()) - pgm_voltages(referee, p_w, q_var)).max()
        assert worst <= PIN_PU
        assert worst <= 1e-7


def test_reversed_and_parallel_branches_agree_with_power_grid_model():
    document = json.loads(read_shipped("tiny")[0])
    data = document["data"]
    unit = data["transformer"][0]
    unit |= {"from_node": 1, "to_node": 0, "u1": 400.0, "u2": 20_000.0, "tap_side": 1}
    data["transformer"].append({**unit, "id": 16, "sn": 50_000.0, "pk": 900.0})
    data["line"].append({**data["line"][0], "id": 17, "from_node": 2, "to_node": 1, "r1": 0.2})
    network = load_network(json.dumps(document).encode())
    sweep, referee, draw = sweep_of(network), Referee(network), random.Random(3)
    for _ in range(20):
        p_w = [draw.gauss(0, 15_000) for _ in range(6)]
        q_var = [draw.gauss(0, 5_000) for _ in range(6)]
        assert sweep.solve(p_w, q_var, 1e-11)
        assert np.array(sweep.voltages_pu()) == pytest.approx(
            pgm_voltages(referee, p_w, q_var), abs=1e-9
        )


def test_the_tiny_network_agrees_with_the_naive_oracle(tiny):
    document = json.loads(read_shipped("tiny")[0])
    sweep, draw = sweep_of(tiny), random.Random(5)
    for _ in range(20):
        p_w = [draw.gauss(0, 12_000) for _ in range(6)]
        q_var = [draw.gauss(0, 4_000) for _ in range(6)]
        taken = {i: complex(p, q) for i, (p, q) in enumerate(zip(p_w, q_var, strict=True))}
        volt = oracle.solve(document, taken)
        assert sweep.solve(p_w, q_var, 1e-12)
        for node in range(6):
            own = sweep.voltage_pu(node) * tiny.rated_v[node]
            assert own == pytest.approx(abs(volt[node]), rel=1e-9)


def test_three_warm_sweeps_after_a_trade_are_as_good_as_a_new_solution(rural):
    group = rural.home_groups[0]
    quarter = quarter_of_year(1_978_000)
    p_w = rural.baseline.node_w(quarter).astype(float).tolist()
    q_var = rural.baseline.node_var(quarter).astype(float).tolist()
    warm, cold = sweep_of(rural), sweep_of(rural)
    warm.solve(p_w, q_var, 1e-10)
    seller, buyer = group.nodes[0], group.nodes[-1]
    warm.add(seller, -5_000.0)
    warm.add(buyer, 5_000.0)
    assert warm.sweeps(3, group.transformer) < 1e-6
    p_w[seller] -= 5_000
    p_w[buyer] += 5_000
    cold.solve(p_w, q_var, 1e-10)
    apart = np.abs(np.array(warm.voltages_pu()) - np.array(cold.voltages_pu()))
    assert apart.max() < 1e-5


def test_a_subtrees_sweep_touches_nothing_above_it(tiny):
    sweep = sweep_of(tiny)
    sweep.solve([0.0] * 6, [0.0] * 6)
    before = list(sweep.voltages_pu())
    sweep.add(5, 9_000.0)
    sweep.sweeps(5, 4)
    after = list(sweep.voltages_pu())
    assert after[:4] == before[:4]
    assert after[4] < before[4]
    assert after[5] < before[5]


def test_many_trades_in_one_call_equal_as_many_single_ones(tiny):
    one, many = sweep_of(tiny), sweep_of(tiny)
    sellers, buyers = array("i", [2, 3, 5]), array("i", [4, 5, 2])
    many.trades(sellers, buyers, 1_500.0, 3)
    for seller, buyer in zip(sellers, buyers, strict=True):
        one.add(seller, -1_500.0)
        one.add(buyer, 1_500.0)
        one.sweeps(3)
    assert list(one.voltages_pu()) == list(many.voltages_pu())


def test_the_flow_into_an_element_is_what_is_taken_below_and_the_losses(tiny):
    sweep = sweep_of(tiny)
    sweep.solve([0, 0, 8_000, 0, 0, 12_000], [0, 0, 1_000, 0, 0, 2_000], 1e-12)
    active, reactive = sweep.flow_va(2)
    assert 8_000 < active < 8_050
    assert 900 < reactive < 1_100
    assert sum(sweep.flow_va(e)[0] for e in (2, 4)) < sweep.flow_va(1)[0] < 21_000


def test_the_same_state_gives_the_same_bits(rural):
    results = []
    for _ in range(2):
        sweep = sweep_of(rural)
        sweep.solve([10.0 * (i % 7) for i in range(rural.size)], [0.0] * rural.size)
        results.append(sweep.voltages_pu().tobytes())
    assert results[0] == results[1]


def test_beyond_the_nose_it_says_zero_and_starts_anew(tiny):
    sweep = sweep_of(tiny)
    assert sweep.solve([0, 0, 0, 0, 0, 5_000_000], [0] * 6) == 0
    assert sweep.solve([0, 0, 0, 0, 0, 5_000], [0] * 6) > 0


def test_what_is_not_a_number_never_converges(tiny):
    sweep = sweep_of(tiny)
    for bad in (float("nan"), float("inf")):
        assert sweep.solve([0, 0, bad, 0, 0, 0], [0] * 6) == 0
    sweep.load([0, 0, float("nan"), 0, 0, 0], [0] * 6)
    assert not sweep.sweeps(3) < 1


def test_unfit_input_is_refused(tiny):
    wires = tiny.electric
    columns = [wires.r_pu, wires.x_pu, wires.g_pu, wires.b_pu, wires.ratio]
    for parent in (
        [-1, 0, 1, 0, 1, 1],
        [0, 0, 1, 2, 1, 4],
        [-1, 0, 1, 3, 1, 4],
        [-1, -1, 1, 2, 1, 4],
    ):
        with pytest.raises(ValueError, match=r"preorder|root"):
            Sweep(parent, *columns, 1.0)
    with pytest.raises(ValueError, match="one entry a node"):
        Sweep(list(tiny.parent)[:5], *columns, 1.0)
    with pytest.raises(ValueError, match="one entry a node"):
        Sweep([], [], [], [], [], [], 1.0)
    sweep = sweep_of(tiny)
    with pytest.raises(ValueError, match="5 powers for 6 nodes"):
        sweep.solve([0.0] * 5, [0.0] * 6)
    for call in (
        lambda: sweep.add(6, 1.0),
        lambda: sweep.voltage_pu(-1),
        lambda: sweep.flow_va(6),
        lambda: sweep.sweeps(1, 6),
        lambda: sweep.trades(array("i", [0]), array("i", [6]), 1.0, 1),
    ):
        with pytest.raises(IndexError):
            call()
    with pytest.raises(ValueError, match="a buyer for each seller"):
        sweep.trades(array("i", [0]), array("i", []), 1.0, 1)


def test_many_steps_in_one_call_find_what_single_solutions_find(rural):
    quarters = [quarter_of_year(1_780_056_000 // 900 + 7 * step) for step in range(12)]
    p = np.array([rural.baseline.node_w(q) for q in quarters], float)
    q = np.array([rural.baseline.node_var(q) for q in quarters], float)
    limits = np.array(rural.limit_w, float)
    least, most, fullest = sweep_of(rural).steps(p, q, limits, 1e-9)
    for step in range(len(quarters)):
        sweep = sweep_of(rural)
        assert sweep.solve(p[step], q[step], 1e-10)
        volts = np.array(sweep.voltages_pu())
        loads = [np.hypot(*sweep.flow_va(e)) / limits[e] for e in range(1, rural.size)]
        assert abs(volts.min() - least[step]) < 1e-7
        assert abs(volts.max() - most[step]) < 1e-7
        assert abs(max(loads) - fullest[step]) < 1e-5


def test_a_step_that_does_not_converge_is_no_number_and_the_next_is_solved(tiny):
    p = np.zeros((3, tiny.size))
    p[1] = 1e12
    columns = sweep_of(tiny).steps(p, np.zeros_like(p), [0.0] * tiny.size)
    for column in columns:
        assert np.isnan(column[1])
        assert np.isfinite([column[0], column[2]]).all()
    assert columns[2][0] == 0.0


def test_rows_of_another_width_are_refused(tiny):
    rows = np.zeros((2, tiny.size + 1))
    with pytest.raises(ValueError, match="rows"):
        sweep_of(tiny).steps(rows, rows, [0.0] * tiny.size)
