"""The worth of energy is learned from what was known, and agrees with the exact optimum in hindsight."""

import numpy as np
import pytest

from cloud.venues.years import PLACES, make_prices
from cloud.vpp import learned
from cloud.vpp.hindsight import PIECES, worth_followed, worth_in_hindsight
from cloud.vpp.history import History, known_at_gates
from cloud.vpp.learned import TooShort, learn, loaded
from cloud.vpp.optimum import Plant, best_plan

PLANT = Plant(4_000_000, 1_000_000, 1_000_000)
HOUR_S = 3_600
LEAD_S = 4_500
DAYS = 70


def hourly(days, seed=3):
    """Made prices in hourly steps, the day ahead public at one o'clock of the day before."""
    made = make_prices(PLACES[0], days + 1, seed)
    real = made.real[:days].reshape(-1, 12).mean(axis=1) / 1e6
    public_s = (np.arange((days + 1) * 24) // 24 - 1) * 86_400 + 13 * HOUR_S
    return History(HOUR_S, 0, real, made.ahead.reshape(-1) / 1e6, public_s)


@pytest.fixture(scope="module")
def history():
    return hourly(DAYS)


@pytest.fixture(scope="module")
def model(history):
    return learn(PLANT, history, LEAD_S)


# ---- answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("wear_micro", [0, 20_000_000])
def test_the_worth_in_hindsight_is_what_the_exact_plan_earns_with_the_energy(history, wear_micro):
    plant = Plant(4_000_000, 1_000_000, 1_000_000, wear_micro)
    worth = worth_in_hindsight(plant, history.real, HOUR_S)
    for day in (0, 20, 40):
        coming = history.real[day * 24 + 1 : day * 24 + 72]
        prices = np.rint(coming * 1e6).astype(int).tolist()
        full, empty = (
            sum(best_plan(plant, prices, HOUR_S, wh).money_micro) for wh in (4_000_000, 0)
        )
        assert worth[day * 24].sum() * 4 / PIECES == pytest.approx(
            (full - empty) / 1e6, rel=0.04, abs=2
        )


def test_whoever_believes_the_truth_earns_it(history):
    truth = worth_in_hindsight(PLANT, history.real, HOUR_S)
    earned = worth_followed(PLANT, history.real, HOUR_S, truth)
    assert earned[:-72].sum() == pytest.approx(truth[:-72].sum(), rel=0.02)


def test_whoever_thinks_energy_worthless_sells_it_at_once():
    real = np.tile([50.0, 10.0, 10.0, 10.0, 10.0, 10.0], 12)
    earned = worth_followed(PLANT, real, HOUR_S, np.zeros((len(real), PIECES)))
    # The lowest piece after the first hour goes out in the hour after it, for 10 less the loss.
    assert earned[0][0] == pytest.approx(10 * 0.922, rel=0.001)
    # Who waits saves what it costs to store it again.
    waiting = worth_in_hindsight(PLANT, real, HOUR_S)
    assert waiting[0][0] == pytest.approx(10 / 0.922, rel=0.001)


def test_in_a_step_of_unknown_price_the_plant_stands_still():
    real = np.array([np.nan] * 30 + [40.0] * 42)
    worth = worth_in_hindsight(PLANT, real, HOUR_S)
    assert np.isfinite(worth).all()
    assert worth[0][0] == pytest.approx(40 * 0.922, rel=0.001)


# ---- what was known ------------------------------------------------------------------------


def test_nothing_after_a_gate_is_known_at_it(history):
    hours = np.arange(20 * 24, 30 * 24)
    before = known_at_gates(history, hours, LEAD_S)
    for hour in (20 * 24, 24 * 24 + 14, 29 * 24 + 3):
        gate_s = hour * HOUR_S - LEAD_S
        real = history.real.copy()
        real[gate_s // HOUR_S :] += 1_000.0
        ahead = np.where(history.public_s <= gate_s, history.ahead, history.ahead + 1_000.0)
        other = History(HOUR_S, 0, real, ahead, history.public_s)
        upto = hours <= hour
        after = known_at_gates(other, hours, LEAD_S)
        np.testing.assert_array_equal(after.numbers[upto], before.numbers[upto])
        np.testing.assert_array_equal(after.unit[upto], before.unit[upto])
        assert not np.array_equal(after.numbers[hours > hour], before.numbers[hours > hour])


def test_the_last_step_before_the_gate_is_known_at_it(history):
    hour = 25 * 24 + 6
    real = history.real.copy()
    real[hour - 3] += 100.0  # the newest one that is over 75 minutes before
    other = History(HOUR_S, 0, real, history.ahead, history.public_s)
    at = np.array([hour])
    first, second = (known_at_gates(one, at, LEAD_S).numbers for one in (history, other))
    assert not np.array_equal(first, second)


def test_a_live_history_tells_the_same_as_the_whole_one(history):
    """It ends at the gate, and was cut off three weeks before."""
    hour = 40 * 24 + 17
    cut = 19 * 24
    live = History(
        HOUR_S,
        cut * HOUR_S,
        history.real[cut : hour - 2],
        history.ahead[cut : 42 * 24],
        history.public_s[cut : 42 * 24],
    )
    whole = known_at_gates(history, np.array([hour]), LEAD_S)
    told = known_at_gates(live, np.array([hour - cut]), LEAD_S)
    np.testing.assert_allclose(told.numbers, whole.numbers, atol=1e-5)
    np.testing.assert_allclose(told.unit, whole.unit)


def test_without_a_day_ahead_the_weeks_mean_is_the_reference():
    real = np.tile(np.arange(24.0), 30)
    nothing = np.full(31 * 24, np.nan)
    history = History(HOUR_S, 0, real, nothing, np.zeros(31 * 24, np.int64))
    known = known_at_gates(history, np.array([20 * 24 + 7]), LEAD_S)
    assert known.reference.tolist() == [7.0]
    assert np.isfinite(known.numbers).all()


# ---- the model -----------------------------------------------------------------------------


def test_the_table_falls_with_charge_and_says_more_at_dear_hours(history, model):
    spreads = (-2.0, -0.5, 0.0, 0.5, 2.0)
    prices, worth = model.table(history, 50 * 24 + 15, spreads)
    assert worth.shape == (5, PIECES)
    assert worth.dtype == prices.dtype == np.int64
    assert (np.diff(prices) > 0).all()
    assert (np.diff(worth, axis=1) <= 0).all()
    noon, peak = (model.table(history, 50 * 24 + at, (0.0,))[1][0] for at in (2, 17))
    assert peak.mean() > noon.mean()


def test_a_model_says_the_same_after_it_was_put_away(history, model):
    again = loaded(model.dumped())
    assert (again.plant, again.step_s, again.lead_s) == (PLANT, HOUR_S, LEAD_S)
    for first, second in zip(
        model.table(history, 1_000, (0.0, 1.0)),
        again.table(history, 1_000, (0.0, 1.0)),
        strict=True,
    ):
        np.testing.assert_array_equal(first, second)


def test_the_same_history_grows_the_same_trees(history, model):
    assert learn(PLANT, history, LEAD_S).dumped() == model.dumped()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"plant": [1], "trees": "tree"}', '{"trees": 5}']
)
def test_what_is_no_model_is_said_to_be_none(text):
    with pytest.raises(ValueError, match="not a model of the worth of energy"):
        loaded(text)


def test_too_little_history_is_said_with_its_days():
    with pytest.raises(TooShort, match="20 days"):
        learn(PLANT, hourly(20), LEAD_S)


def test_gaps_in_the_past_are_stepped_over():
    made = hourly(DAYS)
    made.real[300:340] = np.nan
    made.real[::50] = np.nan
    made.ahead[600:648] = np.nan
    _, worth = learn(PLANT, made, LEAD_S).table(made, 1_500, (0.0,))
    assert 0 < worth.mean() < learned.WORTH_MAX * 100 * 1_000_000
