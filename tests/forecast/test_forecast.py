"""Forecasts: better than doing nothing, honest about how sure they are, and whole numbers."""

from datetime import UTC, datetime
from random import Random

import numpy as np
import pytest

from cloud.forecast.port import HORIZON_MAX
from cloud.forecast.ridge import DAY, LEARN_MIN, REACH, RidgeForecaster
from cloud.forecast.sky import Place, clear_sky_w_per_m2
from cloud.grid.shipped import network_named

SLOT_2016 = int(datetime(2016, 1, 1, tzinfo=UTC).timestamp()) // 900
KASSEL = Place(51.3, 9.5)
BANGKOK = Place(13.75, 100.5)


@pytest.fixture(scope="module")
def profiles():
    return network_named("rural").baseline.profiles.astype(np.int64)


@pytest.fixture(scope="module")
def households(profiles):
    """Five households of the shipped year together, in Wh a slot."""
    return profiles[[14, 18, 20, 34, 36]].sum(axis=0)


def error(forecast, truth):
    return np.abs(np.array(forecast.median_wh) - truth).mean()


@pytest.fixture(scope="module")
def days(households):
    """Forecasts of six days: history, truth and curve of each."""
    found = []
    for start in range(26_000, 34_000, 1_550):
        seen = households[:start]
        curve = RidgeForecaster().forecast(seen.tolist(), SLOT_2016 + start, DAY)
        found.append((seen, households[start : start + DAY], curve))
    return found


def test_a_day_ahead_it_beats_yesterday_and_last_week_by_a_tenth(days):
    ours = [error(curve, truth) for _, truth, curve in days]
    theirs = [
        [np.abs(seen[-back:][:DAY] - truth).mean() for back in (DAY, 7 * DAY)]
        for seen, truth, _ in days
    ]
    assert np.mean(ours) < 0.9 * np.mean(theirs, axis=0).min()


def test_four_fifths_of_what_comes_lies_within_the_bounds(days):
    inside = [
        (np.array(curve.low_wh) <= truth) & (truth <= np.array(curve.high_wh))
        for _, truth, curve in days
    ]
    assert 0.65 < np.mean(inside) < 0.95


def test_with_the_sun_known_generation_a_day_ahead_is_forecast_better(profiles):
    plants = profiles[[63, 64, 67, 68, 69, 70, 71]].sum(axis=0)
    blind, seeing = [], []
    for start in range(9_000, 17_000, 1_550):
        seen, truth = plants[:start].tolist(), plants[start : start + DAY]
        blind.append(error(RidgeForecaster().forecast(seen, SLOT_2016 + start, DAY), truth))
        curve = RidgeForecaster(KASSEL).forecast(seen, SLOT_2016 + start, DAY)
        seeing.append(error(curve, truth))
        assert min(curve.low_wh) >= 0
    assert np.mean(seeing) < np.mean(blind)


def test_the_same_history_gives_the_same_whole_numbers(households):
    history = households[: REACH + LEARN_MIN].tolist()
    first = RidgeForecaster().forecast(history, SLOT_2016 + len(history), 8)
    assert first == RidgeForecaster().forecast(history, SLOT_2016 + len(history), 8)
    for low, median, high in zip(first.low_wh, first.median_wh, first.high_wh, strict=True):
        assert type(median) is int
        assert low <= median <= high


@pytest.mark.parametrize("length", [1, 5, DAY - 1, DAY, 3 * DAY + 7, REACH + LEARN_MIN - 1])
def test_short_histories_are_answered_with_what_they_show(length):
    draw = Random(length)
    history = [draw.randrange(0, 500) for _ in range(length)]
    curve = RidgeForecaster().forecast(history, 10_000, 100)
    assert {len(values) for values in curve} == {100}
    assert min(history) <= min(curve.low_wh)
    assert max(curve.high_wh) <= max(history)


@pytest.mark.parametrize("value", [0, 700, -700])
def test_what_never_changes_stays(value):
    curve = RidgeForecaster().forecast([value] * (REACH + 2 * LEARN_MIN), 50_000, DAY)
    assert all(abs(expected - value) <= 2 for expected in curve.median_wh)


@pytest.mark.parametrize(
    ("history", "start", "horizon"),
    [([], 10, 1), ([1, 2], 1, 1), ([1], 10, 0), ([1], 10, HORIZON_MAX + 1), ([1 << 50], 10, 1)],
)
def test_what_cannot_be_meant_is_refused(history, start, horizon):
    with pytest.raises(ValueError, match=r"history|horizon"):
        RidgeForecaster().forecast(history, start, horizon)


def test_the_sun_rises_in_the_east_and_stands_highest_at_noon():
    for place in (KASSEL, BANGKOK, Place(-33.9, 151.2)):
        day = clear_sky_w_per_m2(place, SLOT_2016 + 172 * DAY, DAY)
        noon_utc = (12 - place.longitude_deg / 15) % 24
        assert abs(int(day.argmax()) / 4 - noon_utc) % 24 < 0.6
        assert day.min() == 0
    # Solstices in Kassel: about 62 and 15 degrees of noon height.
    june = clear_sky_w_per_m2(KASSEL, SLOT_2016 + 172 * DAY, DAY).max()
    december = clear_sky_w_per_m2(KASSEL, SLOT_2016 + 355 * DAY, DAY).max()
    assert 860 < june < 940
    assert 200 < december < 260


def test_a_place_lies_on_the_earth():
    with pytest.raises(ValueError, match="latitude first"):
        Place(100.5, 13.75)
