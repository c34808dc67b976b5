"""The voltage rooms: integer, near to AC power flow, and safe in any combination of trades."""

import json
import random

import numpy as np
import pytest

from cloud.grid.data import read_shipped
from cloud.grid.network import load_network, quarter_of_year
from cloud.grid.referee import Referee
from cloud.grid.shipped import network_named
from cloud.grid.tables import NetworkError
from cloud.grid.voltage import BAND_PPB, LONELY_HOMES, along, below, least_below

NOON = 1_780_056_000 // 900
"""29 May 2026, 12:00 UTC."""


@pytest.fixture(scope="module")
def rural():
    return network_named("rural")


@pytest.fixture
def tiny():
    return network_named("tiny")


def linear_pu(network, slot):
    quarter = quarter_of_year(slot)
    flow = np.array(network.baseline_flow_w(slot))
    return network.voltage.voltage_ppb(flow, network.baseline.node_var(quarter)) / 1e9


def ac_pu(network, slot):
    quarter = quarter_of_year(slot)
    powers = network.baseline.node_w(quarter), network.baseline.node_var(quarter)
    return Referee(network).voltages_pu(*(power.astype(float) for power in powers))


def test_sums_and_minima_agree_with_walking_the_tree(rural):
    draw = random.Random(2)
    values = np.array([draw.randrange(-1_000, 1_000) for _ in range(rural.size)])
    end = rural.voltage.end
    sums, minima, paths = below(end, values), least_below(end, values), along(end, values)
    for node in draw.sample(range(rural.size), 200):
        subtree = values[node : rural.end[node]]
        assert sums[node] == subtree.sum()
        assert minima[node] == subtree.min()
        assert paths[node] == sum(int(values[e]) for e in [*rural.path(node), 0])


def test_the_linear_voltage_is_near_the_alternating_current_one(rural):
    for slot, points in ((NOON + 28, 0.001), (NOON + 48, 0.0025), (NOON - 16, 0.005)):
        apart = linear_pu(rural, slot) - ac_pu(rural, slot)
        assert np.abs(apart).max() < points


def test_what_the_linear_model_leaves_out_is_on_the_safe_side_for_feed_in(rural):
    apart = linear_pu(rural, NOON) - ac_pu(rural, NOON)
    assert apart.min() > -0.001


def test_a_node_above_the_band_leaves_no_room_towards_the_grid(rural):
    flow, var = (
        np.array(rural.baseline_flow_w(NOON)),
        rural.baseline.node_var(quarter_of_year(NOON)),
    )
    voltage = rural.voltage.voltage_ppb(flow, var)
    _, up = rural.voltage.room_w(flow, var)
    high = int(voltage.argmax())
    assert voltage[high] > BAND_PPB[1]
    assert all(up[element] < 0 for element in rural.path(high))


def test_all_rooms_used_at_once_bring_the_worst_node_to_the_edge_and_not_beyond(tiny):
    flow, var = np.array(tiny.baseline_flow_w(0)), tiny.baseline.node_var(0)
    down, up = tiny.voltage.room_w(flow, var)
    low = tiny.voltage.voltage_ppb(flow + down, var).min()
    high = tiny.voltage.voltage_ppb(flow - up, var).max()
    assert 0 <= low - BAND_PPB[0] < 100_000
    assert 0 <= BAND_PPB[1] - high < 100_000


def test_a_home_alone_at_the_lines_end_gets_more_than_its_even_share(tiny):
    weight = tiny.voltage.weight
    assert weight[3] == 1 + LONELY_HOMES
    assert weight[1] == 4 + LONELY_HOMES
    assert weight[3] * 4 > weight[1]


@pytest.mark.parametrize("way", ["to the grid", "from the grid", "home to home"])
def test_trades_that_fill_the_headroom_pass_the_referee(rural, way):
    tree = pytest.importorskip("ext.tree", reason="ext/ is not built: make ext")
    draw, referee = random.Random(way), Referee(rural)
    for slot in (NOON + 48, NOON + 96 * 190 + 28):
        room = tree.Headroom(tree.Tree(rural.parent), *rural.headroom_wh(slot, {}))
        fed_in = dict.fromkeys(range(rural.size), 0)
        for _ in range(3_000):
            seller, buyer = draw.sample(rural.home_nodes, 2)
            seller = 0 if way == "from the grid" else seller
            buyer = 0 if way == "to the grid" else buyer
            energy = min(draw.randrange(500, 12_000), room.room_wh(seller, buyer))
            if energy > 0:
                room.reserve(seller, buyer, energy)
                fed_in[seller] += 4 * energy
                fed_in[buyer] -= 4 * energy
        result = referee.check(slot, fed_in)
        assert sum(map(abs, fed_in.values())) > 5_000_000
        assert result.converged
        assert result.worst_loading_per_mille <= 1_000
        assert result.voltage_min_per_mille >= 900
        assert result.voltage_max_per_mille <= 1_100


def test_an_impedance_beyond_any_cable_is_refused():
    document = json.loads(read_shipped("tiny")[0])
    document["data"]["line"][0]["r1"] = 2.0
    with pytest.raises(NetworkError, match="10 pu of impedance"):
        load_network(json.dumps(document).encode())


def test_flows_beyond_all_measure_do_not_overflow(tiny):
    flow = np.array([0, 10**15, -(10**15), 0, 10**15, 0])
    down, up = tiny.voltage.room_w(flow, np.zeros(6, np.int64))
    assert down[4] < 0 < up[4]
    assert up[2] < 0
