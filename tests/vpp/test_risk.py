"""Limits come before bids, and what cannot be checked does not pass."""

import pytest

from cloud.commands import CurveSegment
from cloud.vpp.capability import HOUR_NS, Battery, Fleet, power_for
from cloud.vpp.risk import Limits, exposure_micro, objection
from protos.clock import MINUTE_NS
from protos.messages import Refusal
from tests.vpp.fleet import device

USD = 1_000_000
LIMITS = Limits(500_000, 10_000 * USD, 100_000)


def curve(charge_w, discharge_w):
    return (
        CurveSegment(-charge_w, -150 * USD),
        CurveSegment(0, 30 * USD),
        CurveSegment(discharge_w, 50 * USD),
    )


def test_a_bid_inside_all_limits_passes():
    assert objection(LIMITS, curve(100_000, 120_000), HOUR_NS, 0) is None


@pytest.mark.parametrize(
    ("charge_w", "discharge_w", "committed", "refusal"),
    [
        (99_999, 99_999, 0, Refusal.BELOW_MINIMUM),
        (100_000, 500_001, 0, Refusal.RISK_LIMIT),
        (500_001, 100_000, 0, Refusal.RISK_LIMIT),
        (100_000, 500_000, 9_000 * USD + 1, Refusal.RISK_LIMIT),
    ],
)
def test_each_limit_refuses_on_its_own(charge_w, discharge_w, committed, refusal):
    assert objection(LIMITS, curve(charge_w, discharge_w), HOUR_NS, committed) == refusal


def test_the_last_micro_of_the_daily_exposure_may_still_be_used():
    assert objection(LIMITS, curve(100_000, 500_000), HOUR_NS, 9_000 * USD) is None


def test_an_empty_or_falling_curve_or_no_time_fails_closed():
    assert objection(LIMITS, (), HOUR_NS, 0) == Refusal.MALFORMED
    assert objection(LIMITS, curve(1, 2)[::-1], HOUR_NS, 0) == Refusal.MALFORMED
    assert objection(LIMITS, curve(100_000, 100_000), 0, 0) == Refusal.MALFORMED


def test_a_sale_may_cost_its_buy_back_at_the_hard_cap():
    assert exposure_micro(curve(0, 100_000)[1:], HOUR_NS) == 200 * USD
    assert exposure_micro(curve(0, 100_000)[1:], 15 * MINUTE_NS) == 50 * USD


def test_a_purchase_may_cost_the_highest_price_bid_for_it():
    assert exposure_micro(curve(100_000, 1), HOUR_NS) == 3 * USD


def test_limits_that_contradict_themselves_are_not_sound():
    assert not Limits(50, 1, 100).are_sound
    assert not Limits(100, -1, 100).are_sound
    assert not Limits(100, 1, 0).are_sound


def battery(number, soc, seen_ns=0, **changes):
    values = {"capacity_wh": 10_000, "max_charge_w": 5_000, "max_discharge_w": 5_000} | changes
    return Battery(
        device(number),
        "rural",
        soc,
        values["capacity_wh"],
        values["max_charge_w"],
        values["max_discharge_w"],
        0,
        seen_ns,
    )


def fleet(*batteries):
    made = Fleet()
    for each in batteries:
        made.observe(each)
    return made


def test_a_battery_holds_the_smaller_of_its_plate_and_its_energy():
    able = fleet(battery(1, 400), battery(2, 900)).capabilities(0, HOUR_NS)
    assert [(one.charge_w, one.discharge_w) for one in able] == [(5_000, 3_000), (1_000, 5_000)]


def test_a_shorter_interval_lets_the_same_energy_give_more_power():
    assert power_for(1_000, HOUR_NS // 4) == 4_000
    assert fleet(battery(1, 200)).capabilities(0, HOUR_NS // 4)[0].discharge_w == 4_000


def test_the_homes_reserve_is_never_counted():
    assert fleet(battery(1, 100)).capability(0, HOUR_NS).discharge_w == 0
    assert fleet(battery(1, 50)).capability(0, HOUR_NS).stored_wh == 0


def test_a_gateway_that_fell_silent_is_not_counted():
    made = fleet(battery(1, 500), battery(2, 500, seen_ns=10 * MINUTE_NS))
    assert len(made.fresh(15 * MINUTE_NS)) == 2
    assert [one.device for one in made.fresh(16 * MINUTE_NS)] == [device(2)]


def test_what_is_promised_is_not_promised_again():
    made = fleet(battery(1, 600), battery(2, 600))
    assert made.capability(0, HOUR_NS).discharge_w == 10_000
    assert made.capability(0, HOUR_NS, sold_wh=4_000).discharge_w == 6_000
    assert made.capability(0, HOUR_NS, sold_wh=99_000).discharge_w == 0
    assert made.capability(0, HOUR_NS, bought_wh=6_000).charge_w == 2_000
