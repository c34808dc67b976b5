"""The exact plan earns what the best of all schedules earns, and never does the impossible."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.vpp.backtest import follow
from cloud.vpp.optimum import Plant, best_plan

USD = 1_000_000
HOUR_S = 3_600
IDEAL = Plant(2_000, 1_000, 1_000, efficiency_per_mille=1_000)


def every_schedule(plant, prices, step_s):
    """The most that any schedule of full, no and reverse power earns."""
    best = 0
    for powers in product((-plant.charge_w, 0, plant.discharge_w), repeat=len(prices)):
        stored = money = 0
        for power, price in zip(powers, prices, strict=True):
            done, stored = follow(plant, power, stored, step_s)
            money += done * price // USD
        best = max(best, money)
    return best


@settings(max_examples=150, deadline=None)
@given(prices=st.lists(st.integers(0, 300), min_size=1, max_size=7))
def test_no_schedule_earns_more_than_the_plan(prices):
    prices = [price * USD for price in prices]
    plan = best_plan(IDEAL, prices, HOUR_S)
    assert sum(plan.money_micro) == pytest.approx(every_schedule(IDEAL, prices, HOUR_S), abs=20)


@settings(max_examples=150, deadline=None)
@given(
    prices=st.lists(st.integers(-200, 2_000), min_size=1, max_size=60),
    stored=st.integers(0, 4_000_000),
)
def test_a_plan_stays_within_power_and_energy(prices, stored):
    plant = Plant(4_000_000, 1_000_000, 1_000_000, 8 * USD)
    plan = best_plan(plant, [price * USD for price in prices], 300, stored)
    before = stored
    for after in plan.stored_wh:
        assert 0 <= after <= plant.energy_wh
        assert -plant.drained_wh(300) <= after - before <= plant.filled_wh(300)
        before = after
    assert sum(plan.money_micro) >= -len(prices)


def test_losses_are_paid_before_a_cycle_is_worth_it():
    plant = Plant(1_000, 1_000, 1_000, efficiency_per_mille=900)
    assert sum(best_plan(plant, [100 * USD, 120 * USD], HOUR_S).money_micro) == 0
    assert sum(best_plan(plant, [100 * USD, 130 * USD], HOUR_S).money_micro) > 0


def test_wear_is_a_cost_of_discharge():
    plant = Plant(1_000, 1_000, 1_000, 30 * USD, 1_000)
    assert sum(best_plan(plant, [100 * USD, 129 * USD], HOUR_S).money_micro) == 0
    assert sum(best_plan(plant, [100 * USD, 131 * USD], HOUR_S).money_micro) == 1_000
    assert sum(best_plan(plant, [0, 100 * USD], HOUR_S, 0).money_micro) == 70_000
