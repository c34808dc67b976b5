"""Recursive ridge regression: each slot from the slots before it, its own forecasts included.

Decides nothing but numbers. One linear model is fitted to the whole history (ridge, closed form)
for one slot ahead and applied again and again; how wrong that was from many past starts, horizon by
horizon, gives the bounds. What is too short to learn from is answered by the mean of the same quarter
hours of the last days, and what is shorter than a day by its last value.

For generation a place can be given: the clear sky of each slot is then a regressor, and with it what
of the clear sky the last slot left (smart persistence).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloud.forecast.port import Floats, Forecast, checked, rounded_forecast
from cloud.forecast.sky import Place, clear_sky_w_per_m2
from protos.clock import SLOTS_PER_DAY

DAY, WEEK = SLOTS_PER_DAY, 7 * SLOTS_PER_DAY
LAGS = (1, 2, 3, 4, DAY, DAY + 1, WEEK - 1, WEEK, WEEK + 1)
REACH = WEEK + 1
"""How far back a regressor looks."""

LEARN_MIN = 2 * WEEK
"""A history shorter than this, and the reach, teaches no ridge."""

LEARN_MAX = 26 * WEEK
RIDGE = 1.0
"""Against thousands of equations with regressors near one: keeps constant and equal ones harmless."""

STARTS_MAX = 224
"""Past starts from which the error of each horizon is measured: four weeks, eight a day."""

START_STEP = 12
BAND = (0.1, 0.9)
FULL_SKY_W_PER_M2 = 1_000.0
DIM_SKY_W_PER_M2 = 20.0
"""Below, the quotient of yield and clear sky means nothing."""


@dataclass(frozen=True, slots=True)
class RidgeForecaster:
    """A Forecaster. With a place, for what the sun drives there."""

    place: Place | None = None

    def forecast(self, history_wh: Sequence[int], start_slot: int, horizon: int) -> Forecast:
        history = checked(history_wh, start_slot, horizon)
        if len(history) < REACH + LEARN_MIN:
            return _same_quarters(history, horizon)
        history = history[-(LEARN_MAX + REACH) :]
        first = start_slot - len(history)
        sky = self._sky(first, len(history) + horizon)
        unit = max(1.0, float(np.abs(history).mean()))
        history /= unit
        weights = _fit(history, first, sky)
        past = _past_starts(len(history), horizon)
        ran = _run(history, [len(history), *past], first, sky, weights, horizon)
        median = ran[0]
        low, high = median, median
        if past:
            truth = np.stack([history[start : start + horizon] for start in past])
            missed = truth - ran[1:]
            low, high = (
                median + np.asarray(np.quantile(missed, share, axis=0), np.float64)
                for share in BAND
            )
        return rounded_forecast(median * unit, low * unit, high * unit, history)

    def _sky(self, first: int, count: int) -> Floats | None:
        return None if self.place is None else clear_sky_w_per_m2(self.place, first, count)


def _past_starts(length: int, horizon: int) -> list[int]:
    """Where in the history a forecast of this horizon can be checked against what came."""
    last = length - horizon
    starts = range(last, max(REACH, last - STARTS_MAX * START_STEP), -START_STEP)
    return list(starts)


def _fit(history: Floats, first: int, sky: Floats | None) -> Floats:
    times = np.arange(REACH, len(history))
    total = np.concatenate(([0.0], np.cumsum(history)))
    columns = [history[times - lag] for lag in LAGS]
    columns.append((total[times] - total[times - DAY]) / DAY)
    columns.append(sum((history[times - DAY * day] for day in range(1, 8)), 0 * times) / 7)
    if sky is not None:
        columns += _sunny(sky[times], sky[times - 1], history[times - 1])
    quarter = np.eye(DAY)[(first + times) % DAY]
    regressors = np.concatenate((np.stack(columns, axis=1), quarter), axis=1)
    square = regressors.T @ regressors
    square += np.eye(len(square)) * RIDGE
    return np.asarray(np.linalg.solve(square, regressors.T @ history[times]), np.float64)


def _run(
    history: Floats,
    starts: list[int],
    first: int,
    sky: Floats | None,
    weights: Floats,
    horizon: int,
) -> Floats:
    """The forecasts from several starts at once: one row a start."""
    begin = np.array(starts)
    seen = np.stack([history[start - REACH : start] for start in starts])
    curve = np.concatenate((seen, np.zeros((len(starts), horizon))), axis=1)
    for step in range(horizon):
        now = REACH + step
        columns = [curve[:, now - lag] for lag in LAGS]
        columns.append(curve[:, now - DAY : now].mean(axis=1))
        columns.append(np.mean([curve[:, now - DAY * day] for day in range(1, 8)], axis=0))
        if sky is not None:
            place = begin + step
            columns += _sunny(sky[place], sky[place - 1], curve[:, now - 1])
        by_quarter = weights[len(columns) :][(first + begin + step) % DAY]
        curve[:, now] = np.stack(columns, axis=1) @ weights[: len(columns)] + by_quarter
    return curve[:, REACH:]


def _sunny(now: Floats, before: Floats, last: Floats) -> list[Floats]:
    """The clear sky, and the same times what of it was last left."""
    bright = before > DIM_SKY_W_PER_M2
    kept = np.where(bright, last / np.maximum(before, DIM_SKY_W_PER_M2), 0.0)
    return [now / FULL_SKY_W_PER_M2, kept * now]


def _same_quarters(history: Floats, horizon: int) -> Forecast:
    """The mean of the same quarter hour on the days there are, within what those days had."""
    days = len(history) // DAY
    if days == 0:
        flat = np.full(horizon, history[-1])
        return rounded_forecast(flat, flat * 0 + history.min(), flat * 0 + history.max(), history)
    table = history[-days * DAY :].reshape(days, DAY)
    place = np.arange(horizon) % DAY
    mean, low, high = table.mean(axis=0), table.min(axis=0), table.max(axis=0)
    return rounded_forecast(mean[place], low[place], high[place], history)
