"""The trial of a learned worth: money counted forwards, and what the plain programme believes."""

import numpy as np
import pytest

from cloud.vpp.hindsight import DAY_S, PIECES, earned, worth_in_hindsight, worth_of_paths
from cloud.vpp.history import History
from cloud.vpp.learned import TooShort
from cloud.vpp.optimum import HOUR_S, Plant, best_plan
from cloud.vpp.trial import Trial, known_days, tried

PLANT = Plant(4_000_000, 1_000_000, 1_000_000, 0)
RANDOM = np.random.Generator(np.random.Philox(key=3))
PRICES = np.round(RANDOM.gamma(2.0, 20.0, 24 * 10), 2)


def flat(worth, steps):
    return np.full((steps, PIECES), float(worth))


def test_who_buys_cheap_and_sells_dear_earns_what_the_meter_says():
    real = np.array([10.0, 10.0, 100.0, np.nan, 100.0])
    kept = 0.9
    plant = Plant(4_000_000, 1_000_000, 1_000_000, 5_000_000, 900)
    # Two hours in, each 1 MWh at the meter and 0.9 stored; then 0.9 MWh out, the rest of 0.72.
    first_out = min(1 / kept, 2 * kept) * kept
    rest = (2 * kept - first_out / kept) * kept
    money = -20 + (first_out + rest) * (100 - 5)
    assert earned(plant, real, HOUR_S, flat(50, 5)) == pytest.approx(money)


def test_who_believes_that_energy_is_worth_nothing_or_too_much_earns_nothing():
    assert earned(PLANT, PRICES, HOUR_S, flat(0, len(PRICES))) == 0
    assert earned(PLANT, np.full(30, 50.0), HOUR_S, flat(50, 30)) == 0


def test_hindsight_followed_forwards_earns_what_the_exact_plan_earns():
    believed = worth_in_hindsight(PLANT, PRICES, HOUR_S)
    best = sum(best_plan(PLANT, (PRICES * 1e6).astype(int).tolist(), HOUR_S).money_micro) / 1e6
    assert 0.97 * best < earned(PLANT, PRICES, HOUR_S, believed) <= best * 1.0001


def test_a_path_of_three_days_is_worth_what_hindsight_of_them_is():
    path = PRICES[: 3 * 24]
    worth = worth_of_paths(PLANT, path[None, :], HOUR_S, 24)
    assert np.allclose(worth[0], worth_in_hindsight(PLANT, path, HOUR_S)[:24])


def test_paths_do_not_touch_each_other():
    paths = PRICES.reshape(10, 24)
    together = worth_of_paths(PLANT, paths, HOUR_S, 4)
    alone = [worth_of_paths(PLANT, path[None, :], HOUR_S, 4)[0] for path in paths]
    assert np.array_equal(together, np.stack(alone))


def test_a_trial_is_passed_by_earning_more_and_something():
    assert Trial(700, 699).is_passed
    assert not Trial(700, 700).is_passed
    assert not Trial(-5, -10).is_passed
    assert not Trial(0, 0).is_passed


def test_days_are_counted_without_gaps_and_too_few_are_refused():
    steps = 80 * DAY_S // HOUR_S
    real = np.full(steps, 20.0)
    real[24:50] = np.nan
    public_s = np.arange(steps, dtype=np.int64) * HOUR_S
    history = History(HOUR_S, 0, real, np.full(steps, 20.0), public_s)
    assert known_days(history) == 78
    with pytest.raises(TooShort, match=r"80 days of prices; .* from 88 on"):
        tried(PLANT, history, 6_300)
