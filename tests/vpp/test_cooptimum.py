"""Energy and reserves within one battery: against the solver-free optimum, and by hand."""

import random

import pytest

from cloud.vpp.cooptimum import (
    Budget,
    JointPlan,
    NoPlan,
    ReservePrices,
    ReserveRules,
    Room,
    joint_plan,
)
from cloud.vpp.hourly import certain
from cloud.vpp.optimum import Plant, best_plan
from cloud.vpp.reserve import reserve_offer
from cloud.vpp.spread import prior
from cloud.vpp.stochastic import solve

USD = 1_000_000
BATTERY = Plant(4_000_000, 1_000_000, 1_000_000)
NO_RESERVE = ReservePrices()


def energies(draw, steps):
    return [draw.randrange(-60, 250) * USD for _ in range(steps)]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("wear", [0, 8 * USD])
def test_without_reserves_it_is_the_exact_optimum(seed, wear):
    draw = random.Random(seed)
    prices = energies(draw, 48)
    plant = Plant(4_000_000, 1_000_000, 1_000_000, wear)
    exact = sum(best_plan(plant, prices, 3_600, 1_000_000).money_micro)
    joint = joint_plan(plant, prices, NO_RESERVE, 3_600, 1_000_000)
    assert abs(joint.money_micro - exact) <= max(200, abs(exact) // 10_000)
    assert joint.up_w == joint.down_w == joint.spin_w == (0,) * 48


def broken(plant: Plant, plan: JointPlan, rules: ReserveRules) -> list[str]:
    """Which promise of a plan the battery could not keep, by plain integers."""
    wrong = []
    slack = 2_000
    for power, up, down, spin, stored in zip(
        plan.power_w, plan.up_w, plan.down_w, plan.spin_w, plan.stored_wh, strict=True
    ):
        if power + up + spin > plant.discharge_w:
            wrong.append("power up")
        if power - down < -plant.charge_w:
            wrong.append("power down")
        needed = (up * rules.regulation_s + spin * rules.spinning_s) / 3_600 / 0.922
        if needed > stored + slack:
            wrong.append("energy up")
        if down * rules.regulation_s / 3_600 * 0.922 > plant.energy_wh - stored + slack:
            wrong.append("energy down")
        if not 0 <= stored <= plant.energy_wh:
            wrong.append("bounds")
    return wrong


@pytest.mark.parametrize("seed", range(20))
def test_every_plan_keeps_power_and_energy_for_all_that_it_promises(seed):
    draw = random.Random(seed)
    reserves = ReservePrices(*([draw.randrange(0, 40) * USD for _ in range(24)] for _ in range(3)))
    rules = ReserveRules(draw.choice((900, 3_600)), draw.choice((1_800, 3_600)), 150)
    plan = joint_plan(
        BATTERY, energies(draw, 24), reserves, 3_600, draw.randrange(4_000_000), rules
    )
    assert broken(BATTERY, plan, rules) == []


def test_the_checker_of_promises_finds_a_broken_one():
    plan = JointPlan((900_000,), (200_000,), (0,), (0,), (4_000_000,), 0)
    assert broken(BATTERY, plan, ReserveRules()) == ["power up"]


def test_reserves_are_sold_where_they_pay_more_than_energy():
    flat = [30 * USD] * 24
    spin = joint_plan(BATTERY, flat, ReservePrices(spin=[20 * USD] * 24), 3_600, 4_000_000)
    assert sum(spin.spin_w) >= 19_000_000
    none = joint_plan(BATTERY, flat, ReservePrices(spin=[0] * 24), 3_600, 4_000_000)
    assert sum(spin.power_w) <= sum(none.power_w)
    assert spin.money_micro > none.money_micro


def test_an_empty_battery_sells_no_upward_reserve_and_a_full_one_no_downward():
    still = ReserveRules(moved_per_mille=0)
    upward = ReservePrices(up=[90 * USD], spin=[90 * USD])
    # Energy costs more than the reserve pays, so an empty battery does not charge for it.
    empty = joint_plan(BATTERY, [1_000 * USD], upward, 3_600, 0, still)
    assert (empty.up_w, empty.spin_w) == ((0,), (0,))
    downward = ReservePrices(down=[90 * USD])
    # Nor does a full one give its energy away, at a price far below zero, to make room.
    full = joint_plan(BATTERY, [-1_000 * USD], downward, 3_600, 4_000_000, still)
    assert full.down_w == (0,)
    assert joint_plan(BATTERY, [0], downward, 3_600, 0, still).down_w[0] == 1_000_000


def test_more_products_never_earn_less():
    draw = random.Random(4)
    prices = energies(draw, 24)
    up, down, spin = ([draw.randrange(0, 30) * USD for _ in range(24)] for _ in range(3))
    none = joint_plan(BATTERY, prices, NO_RESERVE, 3_600).money_micro
    one = joint_plan(BATTERY, prices, ReservePrices(spin=spin), 3_600).money_micro
    everything = joint_plan(BATTERY, prices, ReservePrices(up, down, spin), 3_600).money_micro
    assert none <= one <= everything


@pytest.mark.parametrize("seed", range(8))
def test_a_plan_stays_within_what_others_have_left_of_each_hour_and_of_all(seed):
    draw = random.Random(seed)
    prices = ReservePrices(*([draw.randrange(5, 40) * USD for _ in range(24)] for _ in range(3)))
    up, down = ([draw.randrange(0, 900) * 1_000 for _ in range(24)] for _ in range(2))
    budgets = (
        Budget(range(24), draw.randrange(4_000_000), up_s=3_600, spin_s=1_800),
        Budget(range(6, 18), draw.randrange(2_000_000), up_s=3_600, down_s=3_600, spin_s=3_600),
    )
    plan = joint_plan(
        *(BATTERY, energies(draw, 24), prices, 3_600, 2_000_000, None, Room(up, down, budgets))
    )
    capacities = list(zip(plan.up_w, plan.down_w, plan.spin_w, strict=True))
    assert broken(BATTERY, plan, ReserveRules()) == []
    assert any(map(any, capacities))
    for hour, (more, less, spin) in enumerate(capacities):
        assert more + spin <= up[hour]
        assert less <= down[hour]
    for budget in budgets:
        seconds = (budget.up_s, budget.down_s, budget.spin_s)
        used = sum(
            watts * span
            for hour in budget.steps
            for watts, span in zip(capacities[hour], seconds, strict=True)
        )
        assert used // 3_600 <= budget.most_wh


def test_an_hour_without_a_price_is_not_sold_and_a_pair_is_as_much_up_as_down():
    reserves = ReservePrices([90 * USD, None, 90 * USD], [0, None, 0])
    rules = ReserveRules(is_paired=True)
    plan = joint_plan(BATTERY, [30 * USD] * 3, reserves, 3_600, 2_000_000, rules)
    assert plan.up_w == plan.down_w == (1_000_000, 0, 1_000_000)


def test_what_has_no_solution_is_no_plan():
    impossible = Room(budgets=(Budget(range(1), -1, up_s=3_600),))
    with pytest.raises(NoPlan, match="nfeasible"):
        joint_plan(BATTERY, [0], ReservePrices(up=[1]), 3_600, 0, None, impossible)


# ---- the offer price of reserve ------------------------------------------------------------


def worth_at(usd):
    return solve(BATTERY, prior(900), [usd * USD] * 4 + [60 * USD] * 92, 0)


def offer(usd, stored_wh, powers):
    worth = worth_at(usd)
    return reserve_offer(worth, certain(worth, 6, stored_wh), 0, powers)


UPWARD = [250_000, 500_000, 750_000, 1_000_000]


def test_reserve_costs_what_its_power_would_earn_on_energy():
    dear, cheap = offer(200, 4_000_000, UPWARD), offer(5, 4_000_000, UPWARD)
    assert len(dear) == len(cheap) == 4
    assert dear[0].price_micro_per_mwh > 50 * USD
    assert cheap[0].price_micro_per_mwh < dear[0].price_micro_per_mwh
    for curve in (dear, cheap):
        prices = [one.price_micro_per_mwh for one in curve]
        assert prices == sorted(prices)
        assert all(price % 10_000 == 0 for price in prices)


def test_reserve_is_offered_only_as_far_as_the_energy_lasts():
    assert offer(50, 0, UPWARD) == ()
    assert len(offer(50, 600_000, UPWARD)) == 2
    assert offer(50, 4_000_000, [-one for one in UPWARD]) == ()
    assert len(offer(50, 0, [-one for one in UPWARD])) == 4
