"""One hour's bid from the stochastic worth: the best power at each price, knowing only the gate.

Between the gate and the hour the state of charge moves by bids that can no longer be changed, so it
is a distribution: it is carried forward over bins and levels, step by step, under the curves that
stand. For each bin the power is chosen that is best on average over the hour's steps; the bins'
powers must rise with their prices, and the price between two powers is where both are worth the
same. Beyond the outermost bins, up to the floor and the cap, energy is worth what it is in them.
Integers throughout. Never gives more than ten segments.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from cloud.commands import CurveSegment
from cloud.vpp.curve import CENT_MICRO, PRICE_CAP_MICRO, PRICE_FLOOR_MICRO, STEP_W, power_at
from cloud.vpp.optimum import HOUR_S
from cloud.vpp.spread import ONE_BITS, Ints, block_of
from cloud.vpp.stochastic import LEVELS, Worth, reach

MASS = 1 << 30
"""A certain state's weight; what rounding loses on the way is lost to all states alike."""

COARSE_BITS = 6
"""Weights lose these before they multiply money, so that the product stays inside 64 bits."""

RARE_BITS = 12
"""No bin is impossible: each has at least this small a part of the mass."""

PASSES = 2
"""The first pass takes the energy of the hour's start for all its steps, the second moves it."""

Curve = Sequence[CurveSegment]


def certain(worth: Worth, at_bin: int, stored_wh: int) -> Ints:
    """All mass in one bin, at one energy: (bins, levels)."""
    mass = np.zeros((worth.model.bins, LEVELS), dtype=np.int64)
    scaled = max(0, min(stored_wh, worth.plant.energy_wh)) * (LEVELS - 1)
    lower = min(scaled // worth.plant.energy_wh, LEVELS - 2)
    upper = (scaled - lower * worth.plant.energy_wh) * MASS // worth.plant.energy_wh
    mass[at_bin, lower], mass[at_bin, lower + 1] = MASS - upper, upper
    return mass


def carried(worth: Worth, mass: Ints, step: int, curve: Curve) -> Ints:
    """The distribution one step later, the fleet following `curve`; an empty one holds."""
    if not curve:
        return _next_bins(worth, mass, step)
    powers = [power_at(curve, price) for price in worth.prices[step].tolist()]
    ways = [reach(worth.plant, power_w, worth.model.step_s) for power_w in powers]
    lower = np.stack([way.lower for way in ways])
    upper = mass * np.stack([way.upper_part for way in ways]) >> ONE_BITS
    moved = np.zeros_like(mass)
    rows = np.arange(worth.model.bins)[:, None]
    np.add.at(moved, (rows, lower), mass - upper)
    np.add.at(moved, (rows, lower + 1), upper)
    return _next_bins(worth, moved, step)


def _next_bins(worth: Worth, mass: Ints, step: int) -> Ints:
    block = block_of(worth.starts_s + step * worth.model.step_s)
    moved: Ints = worth.model.moves[block].T @ mass >> ONE_BITS
    return moved


def best_curve(
    worth: Worth, mass: Ints, first: int, powers_w: Sequence[int]
) -> tuple[CurveSegment, ...]:
    """The curve of the hour whose first step is `first`; `mass` is the state at its start.

    `powers_w` are what may be offered, rising, zero among them, ten at most. Empty where nothing
    but standing still pays at any price.
    """
    curve: tuple[CurveSegment, ...] = ()
    prices = worth.prices[first].tolist()
    prices = [min(PRICE_FLOOR_MICRO, prices[0]), *prices, max(PRICE_CAP_MICRO, prices[-1])]
    for _ in range(PASSES):
        gains = np.zeros((len(prices), len(powers_w)), dtype=np.int64)
        weights = np.zeros(len(prices), dtype=np.int64)
        here = mass
        for step in range(first, first + HOUR_S // worth.model.step_s):
            likely = _with_ends((here + (here.sum(axis=0) >> RARE_BITS)) >> COARSE_BITS)
            gains += _gains(worth, likely, step, prices, powers_w)
            weights += likely.sum(axis=1)
            here = carried(worth, here, step, curve)
        gains -= np.abs(np.array(powers_w)) // STEP_W
        per_weight = gains // np.maximum(1, weights)[:, None]
        curve = _staircase(prices, gains.tolist(), per_weight, powers_w)
    return curve


def _with_ends(by_bin: Ints) -> Ints:
    """The first and the last bin once more: they stand for the price floor and the cap."""
    return np.concatenate([by_bin[:1], by_bin, by_bin[-1:]])


def _gains(
    worth: Worth, likely: Ints, step: int, prices: Sequence[int], powers_w: Sequence[int]
) -> Ints:
    """What each power brings over holding, (prices, powers), by how likely each state is."""
    kept, price = _with_ends(worth.expected[step]), np.array(prices, dtype=np.int64)[:, None]
    gains = []
    for power_w in powers_w:
        way = reach(worth.plant, power_w, worth.model.step_s)
        gain = way.money(price, worth.plant.wear_micro_per_mwh) + way.later(kept) - kept
        gains.append((likely * gain).sum(axis=1))
    return np.stack(gains, axis=1)


def _rising(gains: Sequence[Sequence[int]]) -> list[int]:
    """Which power each bin runs at, so that powers never fall and the sum of gains is largest."""
    totals = [0] * len(gains[0])
    came: list[list[int]] = []
    for bin_gains in gains:
        best, best_from, origins = totals[0], 0, []
        fresh = []
        for power, gain in enumerate(bin_gains):
            if totals[power] > best:
                best, best_from = totals[power], power
            origins.append(best_from)
            fresh.append(best + gain)
        totals = fresh
        came.append(origins)
    power = max(range(len(totals)), key=lambda one: (totals[one], -one))
    chosen = []
    for origins in reversed(came):
        chosen.append(power)
        power = origins[power]
    return chosen[::-1]


def _staircase(
    prices: Sequence[int],
    gains: Sequence[Sequence[int]],
    per_weight: Ints,
    powers_w: Sequence[int],
) -> tuple[CurveSegment, ...]:
    """Strictly rising segments in whole cents: one for each power that some bin runs at."""
    chosen = _rising(gains)
    segments = [CurveSegment(powers_w[chosen[0]], PRICE_FLOOR_MICRO)]
    for lower_bin, (low, high) in enumerate(pairwise(chosen)):
        for power in range(low, high):
            gained = per_weight[:, power + 1] - per_weight[:, power]
            step = _crossing(prices, lower_bin, gained)
            _append(segments, powers_w[power + 1], step)
    if len(segments) == 1:
        return ()
    return tuple(segments)


def _crossing(prices: Sequence[int], lower_bin: int, gained: Ints) -> int:
    """The price between two bins at which one more block of power is worth nothing."""
    loss, gain = max(0, -int(gained[lower_bin])), max(0, int(gained[lower_bin + 1]))
    low, high = prices[lower_bin], prices[lower_bin + 1]
    if loss + gain == 0:
        return (low + high) // 2
    return low + (high - low) * loss // (loss + gain)


def _append(segments: list[CurveSegment], power_w: int, price: int) -> None:
    """One more step; a price that does not rise widens the step before it instead."""
    cents = -(-price // CENT_MICRO) if power_w > 0 else price // CENT_MICRO
    price = max(PRICE_FLOOR_MICRO, min(cents * CENT_MICRO, PRICE_CAP_MICRO))
    last = segments[-1].price_micro_per_mwh
    if price <= last:
        segments[-1] = CurveSegment(power_w, last)
    else:
        segments.append(CurveSegment(power_w, price))
