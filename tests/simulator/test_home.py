"""The physics of a home: exact balances, one path whoever looks, setpoints that end."""

import random
from dataclasses import astuple

import pytest

from edge.simulator.home import MW_NS_PER_WH, REGULATION_MW, TICK_NS, Home, history, traits_of
from edge.simulator.profiles import per_peak_at, quarter_of_year, shipped
from protos.clock import SECOND_NS, SLOT_NS

NOON_NS = 1_781_784_000 * SECOND_NS  # 2026-06-18 12:00 UTC, a clear day
HOUR_NS = 4 * SLOT_NS


def home_of(number: int = 1, seed: int = 7, at_ns: int = NOON_NS) -> Home:
    return Home(traits_of(number, seed), shipped(), at_ns)


def assert_balanced(home: Home, stored_at_first: int) -> None:
    count = home.counters
    assert (
        count.imported - count.exported
        == count.consumed - count.produced + count.charged - count.discharged
    )
    assert count.charged - count.discharged == home.stored - stored_at_first + count.lost
    assert min(astuple(count)) >= 0


@pytest.mark.parametrize("number", range(1, 21))
def test_every_counter_balances_to_the_last_bit_over_a_day_and_a_night(number: int) -> None:
    home = home_of(number)
    first, before = home.stored, history(home.traits)
    home.step(NOON_NS + 30 * HOUR_NS + 123_456_789)
    assert_balanced(home, first)
    assert home.counters.consumed > before.consumed + 2_000 * MW_NS_PER_WH
    assert home.counters.produced > before.produced + 2_000 * MW_NS_PER_WH


def test_counters_balance_through_setpoints_that_come_and_end_at_odd_instants() -> None:
    home, draw, at_ns = home_of(2), random.Random(3), NOON_NS
    first = home.stored
    for _ in range(400):
        at_ns += draw.randrange(1, 600 * SECOND_NS)
        home.step(at_ns)
        if draw.random() < 0.5:
            power_w = draw.randrange(-9_000, 9_000)
            home.steer_battery(power_w, power_w, at_ns + draw.randrange(1, 900 * SECOND_NS))
        else:
            home.limit_pv(draw.randrange(0, 9_000), at_ns + draw.randrange(1, 900 * SECOND_NS))
    home.step(at_ns + HOUR_NS)
    assert_balanced(home, first)
    assert home.counters.charged > history(home.traits).charged
    assert home.counters.discharged > history(home.traits).discharged


def test_the_path_of_a_home_does_not_depend_on_who_looks() -> None:
    quiet, watched, draw, at_ns = home_of(3), home_of(3), random.Random(4), NOON_NS
    end_ns = NOON_NS + 30 * HOUR_NS
    while at_ns < end_ns:
        watched.step(at_ns)
        at_ns += draw.randrange(1, 300 * SECOND_NS)
    watched.step(end_ns)
    quiet.step(end_ns)
    assert quiet.state() == watched.state()


def test_the_same_seed_and_number_build_the_same_home_and_others_differ() -> None:
    assert traits_of(4, 9) == traits_of(4, 9)
    assert traits_of(4, 9) != traits_of(4, 10)
    assert len({traits_of(number, 9) for number in range(1, 101)}) == 100


def test_twenty_homes_have_more_than_a_hundred_kilowatts_of_batteries_and_some_have_none() -> None:
    for seed in range(20):
        street = [traits_of(number, seed) for number in range(1, 21)]
        assert sum(traits.battery_w for traits in street) > 100_000
        assert sum(not traits.has_battery for traits in street) == 2
        assert sum(traits.serves_home for traits in street) == 10
        assert sum(traits.pv_peak_w >= 15_000 for traits in street) == 4
        assert all(sum(traits.shares) == 1_000 and min(traits.shares) > 0 for traits in street)


def test_a_year_of_load_and_sun_lies_where_a_household_and_a_roof_should() -> None:
    slot = NOON_NS // SLOT_NS
    first = slot - quarter_of_year(slot)
    for number in range(1, 21):
        traits = traits_of(number, 7)
        load, sun = shipped().loads[traits.load], shipped().suns[traits.sun]
        starts = [(first + quarter) * SLOT_NS for quarter in range(0, 365 * 96, 5)]
        load_wh = sum(per_peak_at(load, at_ns, traits.load_peak_w) for at_ns in starts) * 5 // 4
        sun_wh = sum(per_peak_at(sun, at_ns, traits.pv_peak_w) for at_ns in starts) * 5 // 4
        most_wh = 24_800_000 if number % 4 == 2 else 6_200_000
        assert 2_300_000 < load_wh < most_wh
        assert 550 < sun_wh // traits.pv_peak_w < 750


def test_a_home_begins_with_counters_in_balance_that_a_float_in_kwh_can_tell_apart() -> None:
    for seed in range(10):
        for number in range(1, 31):
            home = home_of(number, seed)
            assert_balanced(home, home.stored)
            assert max(astuple(home.counters)) < 8_000_000 * MW_NS_PER_WH
            assert min(home.counters.imported, home.counters.exported) >= 10_000 * MW_NS_PER_WH


def test_left_alone_a_battery_takes_the_surplus_and_serves_the_house() -> None:
    home = home_of(1)
    home.stored = 4_000 * MW_NS_PER_WH
    home.step(NOON_NS)
    for at_ns in range(NOON_NS, NOON_NS + 24 * HOUR_NS, TICK_NS * 7):
        home.step(at_ns)
        if home.battery_mw > 0:
            assert home.grid_mw >= -REGULATION_MW
        elif home.battery_mw < 0:
            assert home.grid_mw <= REGULATION_MW
    assert home.counters.charged > history(home.traits).charged
    assert home.counters.discharged > history(home.traits).discharged


@pytest.mark.parametrize("power_w", [-5_000, -1, 0, 1, 5_000])
def test_a_setpoint_acts_at_once_and_ends_by_itself(power_w: int) -> None:
    home = home_of(1)
    home.stored = home.traits.capacity_wh * MW_NS_PER_WH // 2
    home.step(NOON_NS)
    home.steer_battery(power_w, power_w, NOON_NS + 90 * SECOND_NS)
    home.step(NOON_NS)
    assert home.battery_mw == power_w * 1_000
    home.step(NOON_NS + 90 * SECOND_NS - 1)
    assert home.battery_mw == power_w * 1_000
    home.step(NOON_NS + 90 * SECOND_NS)
    assert home.battery_window_w is None
    assert home.battery_mw == pytest.approx(home.load_mw - home.pv_mw, abs=REGULATION_MW)


def test_a_setpoint_beyond_the_rating_is_bounded_by_the_rating() -> None:
    home = home_of(1)
    home.steer_battery(1_000_000, 1_000_000, None)
    home.step(NOON_NS)
    assert home.battery_mw == home.traits.battery_w * 1_000


def test_a_full_battery_takes_no_more_and_an_empty_one_keeps_its_reserve() -> None:
    home = home_of(1)
    capacity = home.traits.capacity_wh * MW_NS_PER_WH
    home.steer_battery(-8_000, -8_000, None)
    home.step(NOON_NS + 10 * HOUR_NS)
    assert home.battery_mw == 0
    assert capacity - 8_000_000 * SECOND_NS <= home.stored <= capacity
    home.steer_battery(8_000, 8_000, None)
    home.step(NOON_NS + 20 * HOUR_NS)
    assert home.battery_mw == 0
    assert capacity // 20 <= home.stored <= capacity // 20 + 9_000_000 * SECOND_NS


def test_a_limit_on_the_sun_holds_and_ends_by_itself() -> None:
    home = home_of(1)
    home.step(NOON_NS)
    free_mw = home.pv_mw
    assert free_mw > 500_000
    home.limit_pv(200, NOON_NS + 60 * SECOND_NS)
    home.step(NOON_NS)
    assert home.pv_mw == 200_000
    home.step(NOON_NS + 60 * SECOND_NS)
    assert home.pv_limit_w is None
    assert home.pv_mw > 200_000


def test_an_instant_that_has_passed_changes_nothing() -> None:
    home = home_of(1)
    home.step(NOON_NS + HOUR_NS)
    before = home.state()
    home.step(NOON_NS)
    assert home.state() == before


def test_counters_survive_a_restart_and_the_time_between_is_lived() -> None:
    home = home_of(5)
    home.step(NOON_NS + HOUR_NS + 17)
    again = home_of(5, at_ns=NOON_NS + 2 * HOUR_NS)
    again.restore(home.state(), NOON_NS + 2 * HOUR_NS)
    again.step(NOON_NS + 3 * HOUR_NS)
    home.step(NOON_NS + 3 * HOUR_NS)
    assert again.state() == home.state()


def test_a_long_absence_is_a_power_cut_and_not_a_long_computation() -> None:
    home = home_of(5)
    home.step(NOON_NS + HOUR_NS)
    later_ns = NOON_NS + 10_000 * HOUR_NS
    again = home_of(5, at_ns=later_ns)
    again.restore(home.state(), later_ns)
    again.step(later_ns)
    assert again.counters == home.counters
    assert again.at_ns == later_ns


def test_the_phases_sum_to_the_connection() -> None:
    home = home_of(8)
    for hour in range(24):
        home.step(NOON_NS + hour * HOUR_NS)
        assert sum(home.phases_mw) == home.grid_mw
