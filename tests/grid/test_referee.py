"""The referee: another program's AC power flow of a slot, closed against everything unsolved."""

import json

import pytest

from cloud.grid.data import read_shipped
from cloud.grid.network import load_network
from cloud.grid.referee import UNSOLVED, UNSOLVED_LOADING_PER_MILLE, Referee
from cloud.grid.shipped import network_named
from cloud.grid.tables import NetworkError

NOON = 1_780_056_000 // 900
"""29 May 2026, 12:00 UTC: the solar villages' transformers are over their limits."""


@pytest.fixture(scope="module")
def tiny():
    return network_named("tiny")


@pytest.fixture(scope="module")
def rural():
    return network_named("rural")


def test_a_calm_slot_is_within_limits(tiny):
    result = Referee(tiny).check(0, {})
    assert result.converged
    assert 200 <= result.worst_loading_per_mille <= 230
    assert 950 <= result.voltage_min_per_mille <= result.voltage_max_per_mille <= 1_000


def test_what_a_home_feeds_in_is_seen_at_its_line(tiny):
    referee = Referee(tiny)
    assert referee.check(0, {3: 60_000}).worst_element == 3
    assert referee.check(0, {3: 60_000}).worst_loading_per_mille > 1_000
    assert referee.check(0, {3: 60_000}).voltage_max_per_mille > 1_000


def test_a_check_leaves_no_trace_in_the_next(tiny):
    referee = Referee(tiny)
    before = referee.check(0, {})
    referee.check(0, {3: 60_000, 5: -20_000})
    assert referee.check(0, {}) == before


def test_an_active_tap_moves_the_voltage():
    document = json.loads(read_shipped("tiny")[0])
    with_tap = Referee(load_network(json.dumps(document).encode())).check(0, {})
    document["data"]["transformer"][0]["tap_pos"] = 0
    without = Referee(load_network(json.dumps(document).encode())).check(0, {})
    assert without.voltage_min_per_mille - with_tap.voltage_min_per_mille > 20


def test_the_taps_of_the_shipped_network_are_active(rural):
    ratios = {
        round(ratio, 3)
        for ratio, kind in zip(rural.electric.ratio, rural.kinds, strict=True)
        if kind == "transformer"
    }
    assert ratios == {1.0, round(1 / 1.025, 3), round(1 / 0.975, 3)}


def test_transformer_loading_is_apparent_power_over_rated(rural):
    """The village's transformer by our own tree, without losses, within two points of AC."""
    result = Referee(rural).check(NOON, {})
    assert rural.kinds[result.worst_element] == "transformer"
    flow, limit = rural.baseline_flow_w(NOON), rural.limit_w
    own = abs(flow[result.worst_element]) * 1_000 // limit[result.worst_element]
    assert own > 1_000
    assert abs(result.worst_loading_per_mille - own) <= 20


def test_an_impossible_slot_is_unsolved_and_beyond_every_limit(tiny, rural):
    for network, node in ((tiny, 5), (rural, rural.home_nodes[0])):
        result = Referee(network).check(0, {node: -100_000_000})
        assert result == UNSOLVED
        assert not result.converged
        assert result.worst_loading_per_mille == UNSOLVED_LOADING_PER_MILLE
        assert result.voltage_min_per_mille == 0


def test_a_number_that_is_none_is_unsolved(tiny):
    assert Referee(tiny).check(0, {3: float("nan")}) == UNSOLVED


def test_a_node_that_is_not_there_is_a_broken_invariant(tiny):
    for node in (-1, 6):
        with pytest.raises(AssertionError):
            Referee(tiny).check(0, {node: 1})


def test_after_an_unsolved_slot_the_next_is_solved_again(tiny):
    referee = Referee(tiny)
    before = referee.check(0, {})
    referee.check(0, {5: -100_000_000})
    assert referee.check(0, {}) == before


def test_a_branch_that_is_off_is_no_element():
    document = json.loads(read_shipped("tiny")[0])
    spare = {**document["data"]["line"][0], "id": 16, "from_node": 3, "to_node": 5}
    document["data"]["line"].append({**spare, "from_status": 0})
    network = load_network(json.dumps(document).encode())
    assert list(network.branch_element) == [2, 3, 4, 5, -1, 1]
    assert Referee(network).check(0, {}) == Referee(network_named("tiny")).check(0, {})


def test_two_of_a_kind_in_parallel_are_one_element():
    document = json.loads(read_shipped("tiny")[0])
    document["data"]["transformer"].append({**document["data"]["transformer"][0], "id": 16})
    network = load_network(json.dumps(document).encode())
    assert network.limit_w[1] == 200_000
    single = Referee(network_named("tiny")).check(0, {1: -60_000})
    double = Referee(network).check(0, {1: -60_000})
    assert single.worst_element == double.worst_element == 1
    assert single.worst_loading_per_mille == pytest.approx(
        2 * double.worst_loading_per_mille, rel=0.02
    )


def test_what_power_grid_model_refuses_is_a_network_error():
    document = json.loads(read_shipped("tiny")[0])
    document["data"]["line"][0]["id"] = 13
    network = load_network(json.dumps(document).encode())
    with pytest.raises(NetworkError, match="power-grid-model refuses"):
        Referee(network)
