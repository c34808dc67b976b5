"""A bid curve always rises, buys below what it sells for, and follows the worth of energy."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.commands import CurveSegment
from cloud.vpp.curve import (
    PRICE_CAP_MICRO,
    SEGMENTS_MAX,
    at,
    is_well_formed,
    offer_curve,
    power_at,
    stored_worth,
)

USD = 1_000_000
DAY = [60] * 8 + [20] * 8 + [60] * 2 + [120] * 4 + [60] * 2


def curve_for(path, stored_wh=140_000, usable_wh=250_000, charge_w=110_000, discharge_w=140_000):
    worth = stored_worth([price * USD for price in path], usable_wh, 160_000, 160_000)
    return offer_curve(worth, stored_wh, usable_wh, charge_w, discharge_w)


def test_before_the_evening_peak_energy_is_not_sold_at_noon_prices():
    curve = curve_for(DAY[12:] + DAY[:12])
    assert power_at(curve, 20 * USD) <= 0
    assert power_at(curve, 130 * USD) == 140_000


def test_a_cheap_hour_before_dear_ones_is_for_charging():
    curve = curve_for([120] * 4 + [60] * 20, stored_wh=0, discharge_w=0)
    assert power_at(curve, 20 * USD) == -110_000


def test_after_the_last_dear_hour_what_is_left_is_sold_at_what_a_cheap_hour_refills_for():
    curve = curve_for([20] * 24)
    sold = next(s for s in curve if s.power_w > 0)
    assert sold.price_micro_per_mwh < 40 * USD


def test_the_price_of_a_sale_covers_the_wear_of_the_battery():
    worth = [0] * 41
    curve = offer_curve(worth, 100_000, 200_000, 0, 100_000)
    assert curve[-1].price_micro_per_mwh >= 8 * USD


def test_a_fleet_that_can_do_nothing_makes_no_curve():
    assert curve_for(DAY, charge_w=0, discharge_w=0) == ()
    assert curve_for(DAY, charge_w=999, discharge_w=999) == ()


def test_worth_is_read_on_the_straight_line_between_two_levels():
    worth = [level * 1_000 for level in range(41)]
    assert at(worth, 0, 40_000) == 0
    assert at(worth, 500, 40_000) == 500
    assert at(worth, 40_000, 40_000) == 40_000
    assert at(worth, 99_999, 40_000) == 40_000
    assert at(worth, 5, 0) == 0


def test_a_price_below_the_first_segment_runs_nothing():
    curve = (CurveSegment(-5_000, 0), CurveSegment(0, 10), CurveSegment(5_000, 20))
    assert [power_at(curve, price) for price in (-1, 0, 9, 10, 19, 20, 99)] == [
        *(0, -5_000, -5_000, 0, 0, 5_000, 5_000)
    ]


def test_a_falling_flat_long_or_overpriced_curve_is_not_well_formed():
    rising = [CurveSegment(1_000 * n, USD * n) for n in range(SEGMENTS_MAX)]
    assert is_well_formed(rising)
    assert not is_well_formed(rising[::-1])
    assert not is_well_formed([*rising, CurveSegment(99_000, 99 * USD)])
    assert not is_well_formed([rising[0], CurveSegment(1_000, 0)])
    assert not is_well_formed([rising[0], CurveSegment(0, USD)])
    assert not is_well_formed([rising[0], CurveSegment(1_000, PRICE_CAP_MICRO + 1)])
    assert not is_well_formed([rising[0], CurveSegment(1_000, -151 * USD), rising[2]])
    assert not is_well_formed(rising[:1])
    assert not is_well_formed(())


@settings(max_examples=300, deadline=None)
@given(
    path=st.lists(st.integers(-200, 2_500), min_size=1, max_size=24),
    stored=st.integers(0, 1_000_000),
    room=st.integers(0, 1_000_000),
    charge=st.integers(0, 500_000),
    discharge=st.integers(0, 500_000),
)
def test_every_curve_of_every_day_is_well_formed(path, stored, room, charge, discharge):
    usable = stored + room
    worth = stored_worth([price * USD for price in path], usable, charge, discharge)
    curve = offer_curve(worth, stored, usable, min(charge, room), min(discharge, stored))
    assert curve == () or is_well_formed(curve)
    if curve:
        assert -min(charge, room) <= curve[0].power_w <= 0 <= curve[-1].power_w
        assert curve[-1].power_w <= min(discharge, stored)
        assert any(segment.power_w == 0 for segment in curve)
