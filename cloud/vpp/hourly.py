"""One hour's bid from the stochastic worth: the best power at each price, knowing only the gate.

Between the gate and the hour the state of charge moves by bids that can no longer be changed, so it
is a distribution: it is carried forward over bins and levels, step by step, under the curves that
stand. For each bin the power is chosen that is best on average over the hour's steps; the bins'
powers must rise with their prices, and the price between two bins' powers is where both are worth
the same. Integers throughout. Never gives more than ten segments.
"""

from collections.abc import Sequence

import numpy as np

from cloud.facts import CurveSegment
from cloud.vpp.curve import CENT_MICRO, PRICE_CAP_MICRO, PRICE_FLOOR_MICRO, power_at
from cloud.vpp.optimum import HOUR_S, MICRO_WH_PER_MWH
from cloud.vpp.spread import ONE_BITS, Ints
from cloud.vpp.stochastic import LEVELS, Worth, levels, reach

MASS = 1 << 30
"""A certain state's weight; what rounding loses on the way is lost to all states alike."""

Curve = Sequence[CurveSegment]


def certain(worth: Worth, at_bin: int, stored_wh: int) -> Ints:
    """All mass in one bin, at one energy."""
    mass = np.zeros((worth.model.bins, LEVELS), dtype=np.int64)
    scaled = max(0, min(stored_wh, worth.plant.energy_wh)) * (LEVELS - 1)
    lower = min(scaled // worth.plant.energy_wh, LEVELS - 2)
    upper = (scaled - lower * worth.plant.energy_wh) * MASS // worth.plant.energy_wh
    mass[at_bin, lower], mass[at_bin, lower + 1] = MASS - upper, upper
    return mass


def carried(worth: Worth, mass: Ints, step: int, curve: Curve) -> Ints:
    """The distribution one step later, the fleet following `curve`."""
    energy = levels(worth.plant)
    moved = np.zeros_like(mass)
    for one in range(worth.model.bins):
        power_w = power_at(curve, int(worth.prices[step][one]))
        way = reach(worth.plant, power_w, worth.model.step_s, energy)
        upper = mass[one] * way.upper_part >> ONE_BITS
        np.add.at(moved[one], way.lower, mass[one] - upper)
        np.add.at(moved[one], way.lower + 1, upper)
    return next_bins(worth, moved, step)


def next_bins(worth: Worth, mass: Ints, step: int) -> Ints:
    block = (worth.starts_s + step * worth.model.step_s) // HOUR_S % 24 // 2
    moved: Ints = worth.model.moves[block].T @ mass >> ONE_BITS
    return moved


def best_curve(
    worth: Worth, mass: Ints, first: int, powers_w: Sequence[int]
) -> tuple[CurveSegment, ...]:
    """The curve of the hour whose first step is `first`, `mass` being the state at its start.

    `powers_w` are the powers that may be offered, rising, zero among them; ten at most.
    """
    gains = np.zeros((worth.model.bins, len(powers_w)), dtype=np.int64)
    energy = levels(worth.plant)
    ways = [reach(worth.plant, power, worth.model.step_s, energy) for power in powers_w]
    steps = HOUR_S // worth.model.step_s
    chosen: tuple[CurveSegment, ...] = ()
    for _ in range(2):
        gains[:] = 0
        here = mass
        for step in range(first, first + steps):
            gains += _step_gains(worth, here, step, ways)
            here = carried(worth, here, step, chosen) if chosen else _pushed(worth, here, step)
        chosen = _staircase(worth, gains, first + steps // 2, powers_w)
    return chosen


def _pushed(worth: Worth, mass: Ints, step: int) -> Ints:
    """The distribution one step later with the energy as it is."""
    return next_bins(worth, mass, step)


def _step_gains(worth: Worth, mass: Ints, step: int, ways: Sequence[object]) -> Ints:
    raise NotImplementedError
