"""What was known of prices at each gate, as the numbers that the worth of energy is learned from.

Prices here are floats in currency per MWh and may be NaN where nothing was published: they describe
the past to a learning machine and never reach an account. Every number of a delivery hour is taken
from before its gate: real-time steps that were over, day-ahead prices that were public. Amounts of
money are in units of the week's usual price, so that a model of a cheap year holds in a dear one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.vpp.optimum import HOUR_S

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY_H = 24
WEEK_H = 7 * DAY_H
PATH_HOURS = 24
UNIT_MIN = 8.0
"""Currency per MWh: below it a usual price is too small to measure others by."""

PEAKS_OVER_H = (6, 12, 24)
PEAK_HOURS = 4
REAL_MEANS_S = (300, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 604_800)
SPREAD_MEANS_S = (300, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 604_800)
ROUGH_OVER_S = (3_600, 10_800, 86_400)
YESTERDAY_H = (0, 1, 2, 3, 4, 6, 8)
WEEK_AT_H = (0, 1, 2, 3, 4, 6, 8, 10, 12, 16, 20)


@dataclass(frozen=True, slots=True)
class History:
    """One node's prices. `starts_s` is a whole hour.

    `real` is (steps,), `ahead` (hours,) and may reach beyond; an hour of `ahead` was public from
    `public_s` (hours,) on.
    """

    step_s: int
    starts_s: int
    real: Floats
    ahead: Floats
    public_s: Ints

    @property
    def per_hour(self) -> int:
        return HOUR_S // self.step_s

    @property
    def hours(self) -> int:
        """Whole hours that are over."""
        return len(self.real) // self.per_hour


@dataclass(frozen=True, slots=True)
class Known:
    """`numbers` is (hours, columns); `reference` and `unit` (hours,) are in currency per MWh."""

    numbers: Floats
    reference: Floats
    unit: Floats


def known_at_gates(history: History, hours: Ints, lead_s: int) -> Known:
    """What was known `lead_s` before each of `hours`, counted from the history's start."""
    path = _paths(history, hours, lead_s)
    every = np.arange(max(int(hours.max()), len(history.real) // history.per_hour) + 1)
    reference = _paths(history, every, lead_s)[:, 0]
    unit = _units(reference)[hours]
    at = np.minimum((hours * HOUR_S - lead_s) // history.step_s, len(history.real))
    real = history.real
    spread = real - np.repeat(reference, history.per_hour)[: len(real)]
    money = [
        path,
        *(_peaks(path[:, 1 : 1 + span]) for span in PEAKS_OVER_H),
        _trailing_means(real, at, [seconds // history.step_s for seconds in REAL_MEANS_S]),
        _trailing_means(spread, at, [seconds // history.step_s for seconds in SPREAD_MEANS_S]),
        _roughness(real, at, [seconds // history.step_s for seconds in ROUGH_OVER_S]),
        _yesterday(history, hours, at, real),
        _yesterday(history, hours, at, spread)[:, :5],
        _week_means(history, hours, lead_s),
    ]
    numbers = np.hstack([_calendar(history, hours), np.hstack(money) / unit[:, None]])
    return Known(numbers, path[:, 0], unit)


def paths_at_gates(history: History, hours: Ints, lead_s: int) -> Floats:
    """Reference prices of PATH_HOURS hours from each of `hours`, as they stood at its gate."""
    return _paths(history, hours, lead_s)


def _calendar(history: History, hours: Ints) -> Floats:
    instants = history.starts_s + hours * HOUR_S
    turn = 2 * np.pi * (instants / 86_400) / 365.25
    return np.stack(
        [instants // HOUR_S % DAY_H, instants // 86_400 % 7, np.sin(turn), np.cos(turn)], axis=1
    ).astype(np.float64)


def _hourly(values: Floats, per_hour: int) -> Floats:
    """Means of the whole hours of a series of steps."""
    whole = len(values) // per_hour * per_hour
    means: Floats = values[:whole].reshape(-1, per_hour).mean(axis=1)
    return means


def _at(values: Floats, where: Ints) -> Floats:
    """`values[where]`, NaN outside."""
    inside = (where >= 0) & (where < len(values))
    found = np.full(where.shape, np.nan)
    found[inside] = values[where[inside]]
    return found


def _mean_of(layers: Sequence[Floats]) -> Floats:
    """The mean of what is known, element by element; NaN where nothing is."""
    total, count = np.zeros(layers[0].shape), np.zeros(layers[0].shape)
    for layer in layers:
        known = ~np.isnan(layer)
        total += np.where(known, layer, 0.0)
        count += known
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _week_mean(history: History, wanted: Ints, gates: Ints) -> Floats:
    """Mean real-time price of the same hour on seven days that were over at `gates`, in hours."""
    hourly = _hourly(history.real, history.per_hour)
    days = []
    for back in range(1, 9):
        hour = wanted - back * DAY_H
        days.append(np.where(hour + 1 <= gates, _at(hourly, hour), np.nan))
    recent = _mean_of(days[:7])
    return np.where(np.isnan(recent), _mean_of(days), recent)


def _paths(history: History, hours: Ints, lead_s: int) -> Floats:
    """The reference price of PATH_HOURS hours from each hour, as it stood at its gate.

    The day-ahead price where it was public, else that of the same hour a day or two before, else
    the week's mean of real time.
    """
    wanted = hours[:, None] + np.arange(PATH_HOURS)
    gates_s = history.starts_s + hours[:, None] * HOUR_S - lead_s
    path = np.full(wanted.shape, np.nan)
    for back in range(3):
        hour = wanted - back * DAY_H
        public = _at(history.public_s.astype(np.float64), hour) <= gates_s
        path = np.where(np.isnan(path) & public, _at(history.ahead, hour), path)
    mean = _week_mean(history, wanted, (hours * HOUR_S - lead_s)[:, None] // HOUR_S)
    return np.where(np.isnan(path), mean, path)


def _units(reference: Floats) -> Floats:
    """The usual price: the mean of the last week's references, without their signs."""
    size = np.abs(reference)
    means = _trailing_means(size, np.arange(1, len(size) + 1), [WEEK_H])[:, 0]
    return np.maximum(np.where(np.isnan(means), UNIT_MIN, means), UNIT_MIN)


def _peaks(path: Floats) -> Floats:
    """Highest, mean of the four highest, lowest, mean of the four lowest, mean."""
    ordered = np.sort(path, axis=1)
    return np.stack(
        [
            ordered[:, -1],
            ordered[:, -PEAK_HOURS:].mean(axis=1),
            ordered[:, 0],
            ordered[:, :PEAK_HOURS].mean(axis=1),
            path.mean(axis=1),
        ],
        axis=1,
    )


def _trailing_means(values: Floats, at: Ints, widths: Sequence[int]) -> Floats:
    """Means of the last `widths` values before each of `at`, over what is known of them."""
    known = ~np.isnan(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    ends = np.clip(at, 0, len(values))
    columns = []
    for width in widths:
        begins = np.maximum(ends - max(1, width), 0)
        count = counts[ends] - counts[begins]
        mean = (sums[ends] - sums[begins]) / np.maximum(count, 1)
        columns.append(np.where(count > 0, mean, np.nan))
    return np.stack(columns, axis=1)


def _roughness(values: Floats, at: Ints, widths: Sequence[int]) -> Floats:
    """Deviations over each of `widths`, then the longest one's highest and lowest value."""
    columns = []
    for width in widths:
        means = _trailing_means(values, at, [width])[:, 0]
        squares = _trailing_means(values * values, at, [width])[:, 0]
        columns.append(np.sqrt(np.maximum(squares - means * means, 0.0)))
    longest = widths[-1]
    padded = np.concatenate([np.full(longest, np.nan), values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, longest)[np.maximum(at, 0)]
    highest = np.where(np.isnan(windows), -np.inf, windows).max(axis=1)
    lowest = np.where(np.isnan(windows), np.inf, windows).min(axis=1)
    ends = [np.where(np.isfinite(end), end, np.nan) for end in (highest, lowest)]
    return np.stack([*columns, *ends], axis=1)


def _yesterday(history: History, hours: Ints, at: Ints, values: Floats) -> Floats:
    """A day before the hour and those after it, as far as they were over."""
    hourly = _hourly(values, history.per_hour)
    columns = []
    for later in YESTERDAY_H:
        hour = hours - DAY_H + later
        over = (hour + 1) * history.per_hour <= at
        columns.append(np.where(over, _at(hourly, hour), np.nan))
    return np.stack(columns, axis=1)


def _week_means(history: History, hours: Ints, lead_s: int) -> Floats:
    gates = (hours * HOUR_S - lead_s) // HOUR_S
    return np.stack([_week_mean(history, hours + later, gates) for later in WEEK_AT_H], axis=1)
