"""The grid's state from telemetry: near the truth, honest about what it did not believe."""

from math import nan, sqrt
from random import Random

import numpy as np
import pytest

from cloud.grid.estimator import Estimator, Measured
from cloud.grid.referee import Referee
from cloud.grid.shipped import network_named
from cloud.gridwork import to_command

SLOT = 1_960_000
NETWORK = network_named("tiny")
PHASE_MV = 400_000 / sqrt(3)


@pytest.fixture(scope="module")
def estimator():
    return Estimator(NETWORK)


@pytest.fixture(scope="module")
def referee():
    return Referee(NETWORK)


def told(referee, powers, silent=(), lies=None):
    """What homes at all low-voltage nodes say, where the truth is these powers."""
    active = np.array(NETWORK.node_w(SLOT), float)
    for node, power in powers.items():
        active[node] = power
    reactive = NETWORK.baseline.node_var(0).astype(float)
    truth = referee.voltages_pu(active, reactive)
    homes = []
    for node in powers:
        if node not in silent:
            mv = int(truth[node] * PHASE_MV)
            homes.append(Measured(f"home-{node}", node, powers[node], mv, mv))
    return [(lies or {}).get(h.device, h) for h in homes], truth


POWERS = {2: 3_000, 3: -6_000, 4: 2_000, 5: 9_000}


def test_with_all_homes_heard_the_state_is_the_truth(estimator, referee):
    homes, truth = told(referee, POWERS)
    state = estimator.estimate(SLOT, homes, {})
    assert state.converged
    assert np.abs(state.voltage_pu - truth).max() < 0.002
    assert state.rejected == ()
    for element in (2, 3, 4, 5):
        below = sum(w for node, w in POWERS.items() if NETWORK.is_below(node, element))
        assert abs(state.flow_w[element] - below) < 300


def test_silent_homes_are_assumed_and_the_voltages_of_others_correct_them(estimator, referee):
    homes, truth = told(referee, POWERS, silent=(3,))
    state = estimator.estimate(SLOT, homes, {})
    blind = estimator.estimate(SLOT, [], {})
    assert (state.measured, blind.measured) == (3, 0)
    assert np.abs(state.voltage_pu - truth).max() < np.abs(blind.voltage_pu - truth).max()


def test_what_trades_feed_in_is_expected_of_silent_homes(estimator):
    plain = estimator.estimate(SLOT, [], {})
    traded = estimator.estimate(SLOT, [], {3: 5_000})
    assert traded.flow_w[3] < plain.flow_w[3] - 4_000


@pytest.mark.parametrize("node", [2, 3, 4, 5])
def test_a_meter_that_contradicts_all_others_is_set_aside_and_named(estimator, referee, node):
    draw = Random(node)
    lie = Measured(f"home-{node}", node, POWERS[node], int(PHASE_MV * 1.2), int(PHASE_MV * 1.2))
    homes, truth = told(referee, POWERS, lies={lie.device: lie})
    draw.shuffle(homes)
    state = estimator.estimate(SLOT, homes, {})
    assert state.rejected == (lie.device,)
    assert np.abs(state.voltage_pu - truth).max() < 0.02


def test_a_number_that_is_none_is_no_state(estimator):
    state = estimator.estimate(SLOT, [Measured("home-2", 2, 0, nan, nan)], {})
    assert state.converged
    broken = estimator.estimate(SLOT, [Measured("home-2", 2, 0)], {3: nan})
    assert not broken.converged
    command = to_command("tiny", broken)
    assert (command.converged, command.flows) == (False, ())
    assert command.voltage_max_per_mille == 0


def test_the_command_has_whole_numbers_and_the_fullest_elements_first(estimator, referee):
    homes, _ = told(referee, POWERS)
    command = to_command("tiny", estimator.estimate(SLOT, homes, {}))
    assert all(type(number) is int for flow in command.flows for number in flow)
    loading = [per_mille for _, _, per_mille in command.flows]
    assert loading == sorted(loading, reverse=True)
    assert (command.measured, command.assumed) == (4, 2)
    assert 900 < command.voltage_min_per_mille <= command.voltage_max_per_mille < 1_100
