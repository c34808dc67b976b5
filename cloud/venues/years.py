"""Years of five-minute prices with the shape of real ones, made here from a seed.

A daily shape (duck, camel, island) moved by seasons, weekdays and weather; a day-ahead price of
each hour that misses by an error of its own; real time around it: a slow and a quick disturbance
with memory, noons below zero, and spikes that come in the steep hours, last some intervals and
have a heavy tail. How the strategies without foresight fare on them was held against what is
published for real nodes; no price of a real market is in them. Same name and seed, same prices.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STEPS = 288
HOURS = 24
CENT_MICRO = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """One node's habits; prices in currency per MWh."""

    name: str
    shape: tuple[int, ...]
    sun: float
    """How far a sunny day pulls its noon down."""
    quick: float
    slow: float
    spikes_a_day: float
    spike: float
    dips_a_day: float
    wild: float = 0.0
    """How much rougher one day is than another: deviation of the logarithm of its roughness."""
    linger: float = 0.75
    """The chance that a spike goes on for another five minutes."""
    slow_keep: float = 0.97
    miss: float = 1.2
    """How far the day ahead misses an hour, in parts of `slow`."""


PLACES = (
    Place(
        "duck",
        (
            31,
            29,
            28,
            27,
            28,
            32,
            37,
            34,
            27,
            23,
            20,
            18,
            17,
            18,
            20,
            23,
            29,
            38,
            48,
            51,
            45,
            40,
            36,
            33,
        ),
        8.0,
        6.0,
        8.0,
        2.0,
        200.0,
        1.2,
    ),
    Place(
        "camel",
        (
            24,
            22,
            21,
            21,
            22,
            27,
            36,
            40,
            36,
            33,
            32,
            31,
            31,
            31,
            32,
            34,
            39,
            46,
            52,
            48,
            40,
            35,
            30,
            27,
        ),
        3.0,
        5.0,
        6.0,
        1.5,
        200.0,
        0.4,
    ),
    Place(
        "island",
        (
            26,
            23,
            22,
            21,
            22,
            26,
            33,
            38,
            37,
            36,
            36,
            36,
            37,
            38,
            40,
            44,
            51,
            58,
            60,
            53,
            45,
            37,
            32,
            28,
        ),
        0.0,
        6.0,
        7.0,
        1.5,
        190.0,
        0.35,
    ),
)


HARD_PLACES = (
    Place(
        "city",
        (22, 20, 19, 18, 19, 23, 28, 30, 29, 28, 28, 28, 28, 28, 29, 31, 34, 38, 40, 37, 32, 28, 25, 23),
        0.0, 3.0, 9.0, 0.75, 90.0, 0.15,
        wild=0.9, linger=0.88, slow_keep=0.985, miss=0.35,
    ),
    Place(
        "valley",
        (30, 28, 27, 27, 29, 35, 42, 38, 26, 18, 14, 12, 11, 12, 15, 20, 30, 50, 66, 68, 56, 46, 39, 33),
        4.0, 4.0, 11.0, 0.9, 110.0, 0.5,
        wild=0.9, linger=0.9, slow_keep=0.985, miss=0.5,
    ),
)  # fmt: skip
"""Places whose statistics were set by those of real ones, which are harder to trade than PLACES: a
small daily range, a spread that lasts (correlation 0.4 over an hour, 0.3 over three, 0.1 over a
day), rough days that come together, spikes that linger, quiet within most hours."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Integer micro-units per MWh: day ahead (days, 24) and real time (days, 288)."""

    ahead: NDArray[np.int64]
    real: NDArray[np.int64]


def make_prices(place: Place, days: int, seed: int) -> Prices:
    """`days` days of one place. Day 0 is the first of January of some year."""
    draw = np.random.Generator(np.random.Philox(key=[seed, sum(map(ord, place.name))]))
    ahead = _ahead(place, days, draw)
    real = np.repeat(ahead, STEPS // HOURS, axis=1) + _hourly_miss(place, ahead, draw)
    rough = _roughness(place, days, draw)
    real += rough * _memory(days, draw, keep=place.slow_keep, size=place.slow)
    real += rough * _memory(days, draw, keep=0.6, size=place.quick)
    real += _spikes(place, ahead, rough, draw) - _dips(place, days, draw)
    real = np.clip(real, -150.0, 1_000.0)
    return Prices(_to_micro(ahead), _to_micro(real))


def _ahead(place: Place, days: int, draw: np.random.Generator) -> Floats:
    day = np.arange(days)
    season = 1.0 + 0.18 * np.cos(2 * np.pi * (day - 210) / 365.25)
    weather = _walk(days, draw, keep=0.75, size=0.16)
    cloud = np.clip(0.9 + _walk(days, draw, keep=0.6, size=0.5), 0.0, 2.0)
    hours = np.arange(HOURS)
    noon = np.exp(-(((hours - 12.5) / 2.8) ** 2))
    level = np.array(place.shape, dtype=np.float64) * (season * (1 + weather))[:, None]
    level *= np.where(day % 7 >= 5, 0.9, 1.0)[:, None]
    ahead: Floats = level - place.sun * cloud[:, None] * noon + draw.normal(0, 1.5, level.shape)
    return ahead


def _hourly_miss(place: Place, ahead: Floats, draw: np.random.Generator) -> Floats:
    """What the day ahead got wrong, by hour, with memory over the hours."""
    days = len(ahead)
    miss = _walk(days * HOURS, draw, keep=0.7, size=place.miss * place.slow).reshape(days, HOURS)
    return np.repeat(miss - 0.06 * ahead, STEPS // HOURS, axis=1)


def _roughness(place: Place, days: int, draw: np.random.Generator) -> Floats:
    """A factor a day, one on average, with memory: storms and outages last."""
    if not place.wild:
        return np.ones((days, 1))
    logarithm = _walk(days, draw, keep=0.6, size=place.wild) - place.wild**2 / 2
    return np.exp(logarithm)[:, None]


def _walk(length: int, draw: np.random.Generator, keep: float, size: float) -> Floats:
    """A disturbance with memory: standard deviation `size`, correlation `keep` a step."""
    kicks = draw.normal(0, size * (1 - keep**2) ** 0.5, length)
    values = np.empty(length)
    value = 0.0
    for at, kick in enumerate(kicks):
        value = keep * value + kick
        values[at] = value
    return values


def _memory(days: int, draw: np.random.Generator, keep: float, size: float) -> Floats:
    return _walk(days * STEPS, draw, keep, size).reshape(days, STEPS)


def _spikes(place: Place, ahead: Floats, rough: Floats, draw: np.random.Generator) -> Floats:
    """Scarcity: likelier in the dear hours and on rough days, 15 minutes or longer, to the cap."""
    steep = np.repeat((ahead / ahead.mean()).clip(0.1, 3.0) ** 2, STEPS // HOURS, axis=1) * rough
    chance = place.spikes_a_day / STEPS * steep / steep.mean()
    return _events(draw, chance.ravel(), place.spike, keep=place.linger).reshape(
        ahead.shape[0], STEPS
    )


def _dips(place: Place, days: int, draw: np.random.Generator) -> Floats:
    """More sun than load: around noon, about half an hour."""
    steps = np.arange(STEPS) / 12
    chance = np.tile(np.exp(-(((steps - 12) / 4.0) ** 2)) + 0.1, days)
    chance *= place.dips_a_day / STEPS / chance.mean()
    return _events(draw, chance, 30.0, keep=0.85).reshape(days, STEPS)


def _events(draw: np.random.Generator, chance: Floats, size: float, keep: float) -> Floats:
    begins = draw.random(len(chance)) < chance
    values = np.zeros(len(chance))
    for at in np.flatnonzero(begins):
        length = int(draw.geometric(1 - keep))
        height = size * draw.lognormal(-0.4, 0.9)
        end = min(len(values), int(at) + length)
        values[int(at) : end] += height * draw.uniform(0.6, 1.1, end - int(at))
    return values


def _to_micro(prices: Floats) -> NDArray[np.int64]:
    return (np.rint(prices * 100).astype(np.int64)) * CENT_MICRO
