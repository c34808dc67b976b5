"""A year through a network: the same figures as power flow by hand, at any growth."""

import json

import numpy as np
import pytest

from cloud.grid.data import read_shipped
from cloud.grid.network import load_network
from cloud.grid.planning import QUANTILES, plan_lines, plan_record, plan_year, sweep_of
from cloud.grid.referee import Referee


@pytest.fixture(scope="module")
def village():
    """The six-node network with a short year of two profiles: a day of load, a day of sun."""
    document = json.loads(read_shipped("tiny")[0])
    document["data"].pop("sym_load", None)
    document["data"].pop("sym_gen", None)
    document["gridtokenx"] |= {
        "profile_per_peak": 1_000,
        "base_w": [[3, 0, 9_000], [5, 0, 14_000], [3, 1, -21_000]],
        "base_var": [[5, 0, 3_000]],
    }
    hours = np.arange(96)
    load = 500 + 400 * np.sin(hours / 96 * 2 * np.pi)
    sun = np.maximum(0, 1_000 * np.sin((hours - 24) / 48 * np.pi)) * ((hours > 24) & (hours < 72))
    archive = io_bytes(np.stack([load, sun]).astype("<i2"))
    return load_network(json.dumps(document).encode(), archive)


def io_bytes(profiles):
    import io

    buffer = io.BytesIO()
    np.savez(buffer, profiles=profiles)
    return buffer.getvalue()


def loadings(network, element, scale=1.0):
    found = []
    for quarter in range(96):
        end = network.voltage.end
        p, q = (
            np.sum(node[element : end[element]].astype(float))
            for node in (network.baseline.node_w(quarter), network.baseline.node_var(quarter))
        )
        found.append(np.hypot(p, q) * scale / network.limit_w[element] * 1_000)
    return np.array(found)


@pytest.mark.parametrize("growth", [0.0, 7.0])
def test_each_elements_quantiles_are_those_of_its_year(village, growth):
    plan = plan_year(village, growth_per_cent=growth, years=3)
    scale = (1 + growth / 100) ** 3
    assert {year.element for year in plan.elements} == {1, 2, 3, 4, 5}
    for year in plan.elements:
        truth = loadings(village, year.element, scale)
        # The profiles' products are rounded to whole W there and not here.
        assert np.abs(np.quantile(truth, QUANTILES) - year.quantiles).max() <= 2
        assert abs(truth.max() - year.greatest) <= 2
        assert abs(int((truth > 1_000).sum()) // 4 - year.hours_full) <= 1
    ranked = [year.greatest for year in plan.elements]
    assert ranked == sorted(ranked, reverse=True)


def test_the_networks_extremes_are_those_of_the_independent_power_flow(village):
    plan = plan_year(village)
    referee = Referee(village)
    worst, low, high = [], [], []
    slot = 96 * 365 * 40
    for quarter in range(96):
        verdict = referee.check(slot + quarter, {})
        worst.append(verdict.worst_loading_per_mille)
        low.append(verdict.voltage_min_per_mille)
        high.append(verdict.voltage_max_per_mille)
    assert abs(max(plan.voltage_high) - np.quantile(high, QUANTILES[-1])) <= 1
    assert abs(min(plan.voltage_low) - np.quantile(low, 1 - QUANTILES[-1])) <= 1
    # A line's loading is a current there and an apparent power here.
    assert abs(max(plan.loading) - np.quantile(worst, QUANTILES[-1])) < 60


def test_a_network_that_cannot_carry_its_growth_says_so(village):
    plan = plan_year(village, growth_per_cent=100, years=9)
    assert 0 < plan.failed <= plan.quarters
    assert any("no solution" in line for line in plan_lines(village, plan, 3))
    assert {year.greatest_ac for year in plan.elements} >= {-1}


def test_the_plan_can_be_read_by_people_and_by_programs(village):
    plan = plan_year(village, count=2)
    lines = plan_lines(village, plan, 2)
    assert "hours over" in lines[-3]
    assert len(json.loads(json.dumps(plan_record(village, plan)))["elements"]) == 2


@pytest.mark.parametrize(("growth", "years"), [(-100, 1), (101, 1), (3, 41), (3, -1), (1e9, 2)])
def test_a_growth_that_cannot_be_meant_is_refused(village, growth, years):
    with pytest.raises(ValueError, match="give"):
        plan_year(village, growth_per_cent=growth, years=years)


def test_a_sweep_is_made_of_the_networks_own_wires(village):
    assert sweep_of(village).size == village.size
