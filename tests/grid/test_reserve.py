"""Reserves: nobody is asked for more than it has, the sum is what was asked, the order is fair."""

from random import Random

import pytest

from cloud.grid.reserve import (
    Store,
    Unit,
    fair_response,
    follow_signal,
    keep_headroom,
    merit_order,
)


def units(draw: Random, count: int) -> list[Unit]:
    found = []
    for i in range(count):
        low, high = -draw.randrange(0, 5_000), draw.randrange(0, 5_000)
        now = draw.randint(low, high)
        found.append(Unit(f"d{i}", now, low, high, draw.randrange(3), draw.randrange(3)))
    return found


def test_a_signal_is_followed_exactly_where_room_and_ramp_suffice():
    fleet = [Unit("a", 0, -3_000, 3_000), Unit("b", 0, -1_000, 1_000)]
    assert follow_signal(1_000, fleet) == [750, 250]
    assert follow_signal(-800, fleet) == [-600, -200]
    assert follow_signal(0, fleet) == [0, 0]


def test_no_unit_moves_faster_than_its_ramp():
    assert follow_signal(3_000, [Unit("a", 0, -3_000, 3_000)]) == [1_200]
    assert follow_signal(3_000, [Unit("a", 1_200, -3_000, 3_000)]) == [2_400]
    assert follow_signal(3_000, [Unit("a", 0, -3_000, 3_000)], elapsed_s=0) == [0]


@pytest.mark.parametrize("seed", range(20))
def test_setpoints_stay_within_the_units_and_never_pass_the_signal(seed):
    draw = Random(seed)
    fleet = units(draw, 30)
    wanted = draw.randint(-80_000, 80_000)
    now = sum(unit.now_w for unit in fleet)
    setpoints = follow_signal(wanted, fleet)
    assert all(
        unit.low_w <= power <= unit.high_w for unit, power in zip(fleet, setpoints, strict=True)
    )
    assert min(now, wanted) <= sum(setpoints) <= max(now, wanted)
    for _ in range(60):
        fleet = [
            Unit(u.device, power, u.low_w, u.high_w)
            for u, power in zip(fleet, setpoints, strict=True)
        ]
        setpoints = follow_signal(wanted, fleet)
    reach = sum(u.high_w for u in fleet) if wanted > now else sum(u.low_w for u in fleet)
    assert sum(setpoints) == (min(wanted, reach) if wanted > now else max(wanted, reach))


def test_a_call_takes_the_cheapest_first_and_the_last_in_part():
    fleet = [Unit("a", 0, 0, 100, 2), Unit("b", 10, 0, 100, 1, 5), Unit("c", 0, 0, 100, 1, 4)]
    assert [(u.device, w) for u, w in merit_order(150, fleet)] == [("c", 100), ("b", 60)]
    assert [(u.device, w) for u, w in merit_order(-5, fleet)] == [("b", 5)]
    assert merit_order(0, fleet) == []


def test_a_response_asks_first_who_was_asked_least():
    fleet = [Unit("a", 0, 0, 100, 0, 7), Unit("b", 0, 0, 100, 9, 0)]
    assert [u.device for u, _ in fair_response(50, fleet)] == ["b"]
    assert fair_response(-50, fleet) == []


def test_a_peak_that_is_seen_coming_is_prepared_for_and_shaved():
    store = Store(2_000, 2_000, 4_000, 0, 1_000)
    flow = [500, 500, 500, 500, 1_500, 1_500, 500]
    schedule = keep_headroom(flow, [1_000] * len(flow), store)
    left = [f - p for f, p in zip(flow, schedule, strict=True)]
    assert left == [500, 500, 1_000, 1_000, 1_000, 1_000, 500]


def test_a_noon_of_feed_in_is_charged_away():
    store = Store(2_000, 2_000, 4_000, 0, 1_000)
    assert keep_headroom([0, -3_000, -1_500, 0], [1_000] * 4, store) == [0, -2_000, -500, 0]


@pytest.mark.parametrize("seed", range(20))
def test_storage_never_makes_an_element_worse_nor_holds_more_than_it_can(seed):
    draw = Random(seed)
    flow = [draw.randint(-4_000, 4_000) for _ in range(96)]
    store = Store(
        draw.randrange(3_000),
        draw.randrange(3_000),
        draw.randrange(8_000),
        0,
        draw.randint(800, 1_000),
    )
    limit = draw.randint(500, 3_000)
    stored = 0.0
    for power, f in zip(keep_headroom(flow, [limit] * len(flow), store), flow, strict=True):
        assert -store.charge_w <= power <= store.discharge_w
        assert abs(f - power) <= max(limit, abs(f))
        scale = store.efficiency_per_mille / 1_000
        stored -= power / 4 / scale if power > 0 else power / 4 * scale
        assert -1e-6 <= stored <= store.capacity_wh + len(flow)
