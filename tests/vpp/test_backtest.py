"""The backtest knows no future, and the desk's strategy earns more than every simple one."""

import numpy as np
import pytest

from cloud.commands import CurveSegment
from cloud.venues.years import PLACES, make_prices
from cloud.vpp import backtest
from cloud.vpp.backtest import (
    PER_DAY,
    Learned,
    Stochastic,
    foresight,
    mean_schedule,
    plain,
    run,
    threshold,
)
from cloud.vpp.curve import is_well_formed
from cloud.vpp.learned import learn
from cloud.vpp.optimum import Plant

USD = 1_000_000
PLANT = Plant(4_000_000, 1_000_000, 1_000_000)
DAYS = range(10, 12)
TURN = 11 * PER_DAY - 60
"""From here on the second future differs: an afternoon hour."""


@pytest.fixture(scope="module")
def held():
    return make_prices(PLACES[0], 40, seed=11)


@pytest.fixture(scope="module")
def model():
    past = make_prices(PLACES[0], 120, seed=12)
    return backtest.trained(past.ahead, past.real)


def curves(strategy, ahead, real):
    """Every curve that is decided up to TURN."""
    decided = []

    def noted(past):
        curve = strategy(past)
        if past.step <= TURN:
            decided.append((past.step, curve))
        return curve

    run(PLANT, ahead, real, DAYS, noted)
    return decided


def other_future(prices):
    """The same past, and from TURN on another world; the day ahead of the last day too."""
    real, ahead = prices.real.copy(), prices.ahead.copy()
    flat = real.reshape(-1)
    flat[TURN:] = flat[TURN:] * 3 - 100 * USD
    ahead[DAYS.stop :] *= 2
    return ahead, real


@pytest.fixture(scope="module")
def value():
    past = make_prices(PLACES[0], 75, seed=12)
    return learn(PLANT, backtest.history_of(past.ahead.reshape(-1), past.real.reshape(-1)), 4_500)


def strategies(model, value):
    return {
        "learned": lambda: Learned(PLANT, model, value),
        "stochastic": lambda: Stochastic(PLANT, model),
        "plain": lambda: plain(PLANT),
        "mean": lambda: mean_schedule(PLANT),
        "threshold": lambda: threshold(PLANT, 30 * USD, 100 * USD),
    }


@pytest.mark.parametrize("name", ["learned", "stochastic", "plain", "mean", "threshold"])
def test_no_curve_depends_on_a_price_that_was_not_yet_known(name, held, model, value):
    make = strategies(model, value)[name]
    assert curves(make(), held.ahead, held.real) == curves(make(), *other_future(held))


def test_a_strategy_that_peeks_is_found_out(held):
    def peeking(real):
        flat = real.reshape(-1)

        def curve(past):
            coming = int(flat[past.step + 15 : past.step + 27].mean())
            return (CurveSegment(-1_000_000, -150 * USD), CurveSegment(0, coming))

        return curve

    ahead, real = other_future(held)
    honest = curves(peeking(held.real), held.ahead, held.real)
    assert honest != curves(peeking(real), ahead, real)


def test_the_past_ends_before_the_present_interval(held):
    seen = []
    run(PLANT, held.ahead, held.real, range(3, 4), lambda past: seen.append(past) or ())
    assert len(seen) == 24
    for past in seen:
        assert len(past.real) == past.step
        published = past.step // PER_DAY + 1 + (past.step % PER_DAY >= 13 * 12)
        assert len(past.ahead) == published * 24


def test_every_curve_of_a_day_is_one_that_a_venue_takes(held, model):
    for _, curve in curves(Stochastic(PLANT, model), held.ahead, held.real):
        assert curve == () or is_well_formed(curve)


def test_the_same_days_give_the_same_money_to_the_micro(held, model):
    once = run(PLANT, held.ahead, held.real, DAYS, Stochastic(PLANT, model))
    assert once == run(PLANT, held.ahead, held.real, DAYS, Stochastic(PLANT, model))


def test_the_battery_does_only_what_its_energy_allows(held):
    greedy = (CurveSegment(1_000_000, -150 * USD),)
    money, stored = run(PLANT, held.ahead, held.real, range(2), lambda _: greedy)
    assert money == 0
    assert set(stored) == {0}


def test_the_desks_strategy_earns_more_than_the_simple_ones(held, model, value):
    days = range(10, 18)
    oracle = foresight(PLANT, held.real, days)
    money = {
        name: run(PLANT, held.ahead, held.real, days, make())[0]
        for name, make in strategies(model, value).items()
    }
    assert oracle > money["stochastic"] > max(money["plain"], money["mean"], money["threshold"])
    assert money["stochastic"] > 0.7 * oracle


def test_made_years_have_the_shape_of_real_ones():
    for place in PLACES:
        prices = make_prices(place, 300, seed=5)
        real = prices.real / USD
        assert np.array_equal(prices.real, make_prices(place, 300, seed=5).real)
        assert real.min() >= -150
        assert real.max() <= 1_000
        assert 0.005 < (real < 0).mean() < 0.15
        assert 0.01 < (real > 100).mean() < 0.10
        spread = (real - np.repeat(prices.ahead / USD, 12, axis=1)).reshape(-1)
        assert np.corrcoef(spread[:-1], spread[1:])[0, 1] > 0.5
        by_hour = real.mean(axis=0).reshape(24, 12).mean(axis=1)
        assert by_hour.max() > 1.5 * by_hour.min()
        assert np.isclose(np.abs(spread.mean()), 0, atol=8)
