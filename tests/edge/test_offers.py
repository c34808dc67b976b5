"""Forecast, battery, price rule and the numbers of offers, without clock or disk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import BatterySection, OffersSection
from edge.offers import Forecast, Store, Trader, after_battery, price
from edge.terms import Terms
from protos.clock import SECOND_NS, SLOT_NS, slot_at
from protos.messages import Side

TERMS = Terms("z", 10_000, 1_000_000, 5_000_000, 300)
WISHES = OffersSection(enabled=True)
START = 2_000_000 * SLOT_NS


def seen(power_w: int, slots: int = 2, start: int = START) -> Forecast:
    forecast = Forecast()
    for second in range(0, slots * 900, 10):
        forecast.observe(power_w, start + second * SECOND_NS)
    return forecast


def trader(**more) -> Trader:
    return Trader("home", WISHES, BatterySection(), **more)


def test_before_anything_was_seen_nothing_is_expected_and_nothing_offered():
    assert Forecast().expect(slot_at(START)) is None
    assert trader().plan(START, TERMS, Forecast(), None) is None


def test_what_persists_is_expected_to_persist():
    assert seen(1200).expect(slot_at(START) + 3) == 300
    assert seen(-1200).expect(slot_at(START) + 3) == -300


def test_yesterdays_same_slot_counts_more_the_farther_the_slot_is():
    forecast = seen(1000, slots=96)
    day = START + 96 * SLOT_NS
    for second in range(0, 900 * 5, 10):
        forecast.observe(3000, day + second * SECOND_NS)
    now = slot_at(day) + 4
    near, far = forecast.expect(now + 1), forecast.expect(now + 12)
    assert 250 < near < 750
    assert far == 250


def test_a_clock_that_goes_back_does_not_count_time_twice():
    forecast = seen(1000)
    forecast.observe(9_000_000, START)
    forecast.observe(1000, START + SECOND_NS)
    assert abs(forecast.expect(slot_at(START) + 3) - 250) < 10


def test_the_battery_serves_the_home_first_and_keeps_its_reserve():
    store = Store(5000, 10_000, 4000, 4000)
    assert after_battery([800, 3000], store, 400) == [0, 2800]
    assert after_battery([-2000, -2000], store, 0) == [-1000, -1000]
    assert after_battery([500], None, 0) == [500]


@given(
    st.lists(st.integers(-5000, 5000), max_size=20),
    st.integers(0, 10_000),
    st.integers(0, 1000),
)
def test_the_plan_never_moves_more_than_the_battery_holds(needs, charge, reserve):
    left = after_battery(needs, Store(charge, 10_000, 4000, 4000), reserve)
    level = charge
    for need, rest in zip(needs, left, strict=True):
        level += rest - need
        assert level <= 10_000
        assert level >= min(charge, 10_000 * reserve // 1000)
        assert abs(rest - need) <= 1000


def test_deficit_is_bought_and_surplus_is_sold_as_renewable():
    bought = trader().plan(START + SLOT_NS * 2, TERMS, seen(1000), None)
    sold = trader().plan(START + SLOT_NS * 2, TERMS, seen(-1000), None)
    assert {(o.side, o.energy_wh, o.renewable) for o in bought.offers} == {(Side.BUY, 225, False)}
    assert {(o.side, o.energy_wh, o.renewable) for o in sold.offers} == {(Side.SELL, 225, True)}


def test_no_offer_is_made_for_a_slot_whose_gate_closes():
    late = START + SLOT_NS * 2 + 590 * SECOND_NS
    slots = [offer.slot for offer in trader().plan(late, TERMS, seen(1000), None).offers]
    assert slots == [slot_at(late) + 2, slot_at(late) + 3, slot_at(late) + 4]


def test_a_slot_is_offered_once_and_numbers_only_grow():
    one = trader()
    forecast = seen(1000)
    now = START + SLOT_NS * 2
    first = one.plan(now, TERMS, forecast, None)
    assert [offer.number for offer in first.offers] == [1, 2, 3, 4]
    assert one.plan(now + SECOND_NS, TERMS, forecast, None) is None
    second = one.plan(now + SLOT_NS, TERMS, forecast, None)
    assert [offer.number for offer in second.offers] == [5]
    assert one.offered_to == slot_at(now) + 5


def test_after_a_restart_nothing_is_offered_twice():
    now = START + SLOT_NS * 2
    again = trader(last_number=4, offered_to=slot_at(now) + 4)
    assert again.plan(now, TERMS, seen(1000), None) is None
    later = again.plan(now + SLOT_NS, TERMS, seen(1000), None)
    assert [(o.number, o.slot) for o in later.offers] == [(5, slot_at(now) + 5)]


def test_an_offer_is_replaced_by_name_when_the_forecast_turned():
    one = trader()
    now = START + SLOT_NS * 2
    one.plan(now, TERMS, seen(1000), None)
    turned = one.plan(now, TERMS, seen(-1000), None)
    assert [cancel.number for cancel in turned.cancels] == [1, 2, 3, 4]
    assert {offer.side for offer in turned.offers} == {Side.SELL}
    assert [offer.number for offer in turned.offers] == [5, 6, 7, 8]


def test_what_was_traded_is_owed_and_not_replaced():
    one = trader()
    now = START + SLOT_NS * 2
    one.plan(now, TERMS, seen(1000), None)
    one.filled(1, 225)
    turned = one.plan(now, TERMS, seen(-1000), None)
    assert [cancel.number for cancel in turned.cancels] == [2, 3, 4]
    assert one.traded_wh == 225


def test_an_offer_that_lost_a_part_to_its_own_account_is_compared_by_what_is_left():
    one = trader()
    now = START + SLOT_NS * 2
    first = one.plan(now, TERMS, seen(1000), None).offers[0]
    assert one.plan(now, TERMS, seen(1000), None) is None
    one.reduced(1, first.energy_wh // 2)
    one.reduced(99, 5)
    again = one.plan(now, TERMS, seen(1000), None)
    assert [cancel.number for cancel in again.cancels] == [1]
    assert again.offers[0].energy_wh == first.energy_wh


@given(
    st.text(max_size=10),
    st.integers(0, 1 << 22),
    st.sampled_from(Side),
    st.integers(1, 96),
    st.integers(0, 6_000_000),
    st.integers(0, 6_000_000),
    st.integers(1, 7),
)
def test_prices_stay_in_the_band_on_the_tick_and_within_the_owners_limits(
    home, slot, side, ahead, sell_min, buy_max, tick
):
    wishes = OffersSection(
        enabled=True, sell_min_micro_per_kwh=sell_min, buy_max_micro_per_kwh=buy_max
    )
    terms = Terms("z", tick * 10_000, 1_000_000, 5_000_000, 300)
    limit = price(home, slot, side, ahead, terms, wishes)
    if limit is None:
        assert sell_min > 4_900_000 if side is Side.SELL else buy_max < 1_100_000
        return
    assert limit % (tick * 10_000) == 0
    assert 1_000_000 <= limit <= 5_000_000
    assert limit >= sell_min or side is Side.BUY
    assert limit <= (buy_max or limit) or side is Side.SELL


def test_homes_differ_and_most_pairs_cross():
    slot = slot_at(START)
    asks = [price(f"s{n}", slot, Side.SELL, 1, TERMS, WISHES) for n in range(20)]
    bids = [price(f"b{n}", slot, Side.BUY, 1, TERMS, WISHES) for n in range(20)]
    assert len(set(asks)) > 15
    crossed = sum(bid >= ask for bid in bids for ask in asks)
    assert crossed > 300


@pytest.mark.parametrize("energy", [0, 8, -8])
def test_trifles_are_not_offered_but_looked_at_again(energy):
    one = trader()
    now = START + SLOT_NS * 2
    assert one.plan(now, TERMS, seen(energy * 4), None) is None
    assert one.plan(now, TERMS, seen(2000), None) is not None
