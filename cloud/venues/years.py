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
    real += _memory(days, draw, keep=0.97, size=place.slow)
    real += _memory(days, draw, keep=0.6, size=place.quick)
    real += _spikes(place, ahead, draw) - _dips(place, days, draw)
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
    miss = _walk(days * HOURS, draw, keep=0.7, size=1.2 * place.slow).reshape(days, HOURS)
    return np.repeat(miss - 0.06 * ahead, STEPS // HOURS, axis=1)


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


def _spikes(place: Place, ahead: Floats, draw: np.random.Generator) -> Floats:
    """Scarcity: likelier in the dear hours, about 15 minutes long, up to the cap."""
    steep = np.repeat((ahead / ahead.mean()).clip(0.1, 3.0) ** 2, STEPS // HOURS, axis=1)
    chance = place.spikes_a_day / STEPS * steep / steep.mean()
    return _events(draw, chance.ravel(), place.spike, keep=0.75).reshape(ahead.shape[0], STEPS)


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
