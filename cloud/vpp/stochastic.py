"""What stored energy is worth when prices are uncertain: the stochastic dynamic programme.

State: the bin of the spread and the level of charge. Backwards over the reference path, each step
takes the best of holding, charging and discharging at the bin's price, given the expected worth of
what is left. Integers throughout, so the answer does not depend on the machine; the products of
worth and probability stay inside 64 bits for fleets up to WORTH_MAX_MICRO.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cloud.vpp.optimum import HOUR_S, MICRO_WH_PER_MWH, Plant
from cloud.vpp.spread import ONE, ONE_BITS, Ints, SpreadModel, block_of

LEVELS = 61
PRICE_MAX_MICRO = 2_000_000_000
"""Beyond the hard cap no price is believed."""

WORTH_MAX_MICRO = 1 << 46


@dataclass(frozen=True, slots=True)
class Reach:
    """One power held for one step, from every level: money is `sold_wh` times the price.

    The level after it lies between `lower` and `lower + 1`, `upper_part` of ONE above the first.
    """

    sold_wh: Ints
    lower: Ints
    upper_part: Ints

    def money(self, price: Ints, wear_micro_per_mwh: int) -> Ints:
        """Micro-units at `price` per MWh, which broadcasts against levels. Sales bear the wear."""
        net = np.where(self.sold_wh > 0, price - wear_micro_per_mwh, price)
        return self.sold_wh * net // MICRO_WH_PER_MWH

    def later(self, worth: Ints) -> Ints:
        """`worth` over (..., levels) as it is after the step."""
        below, above = worth[..., self.lower], worth[..., self.lower + 1]
        return below + ((above - below) * self.upper_part >> ONE_BITS)


@lru_cache(maxsize=512)
def reach(plant: Plant, power_w: int, step_s: int) -> Reach:
    """Positive power discharges. What the battery cannot do is not done."""
    energy, efficiency = levels(plant), plant.efficiency_per_mille
    if power_w >= 0:
        asked = power_w * step_s * 1_000 // (HOUR_S * efficiency)
        after = np.maximum(energy - asked, 0)
        sold = (energy - after) * efficiency // 1_000
    else:
        asked = -power_w * step_s * efficiency // (HOUR_S * 1_000)
        after = np.minimum(energy + asked, plant.energy_wh)
        sold = -((after - energy) * 1_000 // efficiency)
    scaled = after * (LEVELS - 1)
    lower = np.minimum(scaled // plant.energy_wh, LEVELS - 2)
    part = (scaled - lower * plant.energy_wh) * ONE // plant.energy_wh
    return Reach(sold, lower, part)


def levels(plant: Plant) -> Ints:
    """The energy of each level in Wh."""
    return plant.energy_wh * np.arange(LEVELS, dtype=np.int64) // (LEVELS - 1)


@dataclass(frozen=True, slots=True)
class Worth:
    """`expected[t]` is (bins, levels): what energy is worth after step t, its bin known.

    `prices[t]` is the price each bin has in step t.
    """

    plant: Plant
    model: SpreadModel
    starts_s: int
    expected: Ints
    prices: Ints

    def step_at(self, instant_s: int) -> int:
        return (instant_s - self.starts_s) // self.model.step_s


def solve(plant: Plant, model: SpreadModel, path: Sequence[int], starts_s: int) -> Worth:
    """Worth over `path`, the reference price of each step from `starts_s`, in micro per MWh.

    Energy left at the end is worth nothing, so the path should reach a day beyond its use.
    """
    assert plant.energy_wh > 0, "a plant without a battery has no worth"
    step_s, steps = model.step_s, len(path)
    ways = [reach(plant, power, step_s) for power in (plant.discharge_w, -plant.charge_w)]
    blocks = [block_of(starts_s + step * step_s) for step in range(steps)]
    prices = np.asarray(path, dtype=np.int64)[:, None] + model.centres[blocks]
    prices = np.clip(prices, -PRICE_MAX_MICRO, PRICE_MAX_MICRO)
    expected = np.zeros((steps, model.bins, LEVELS), dtype=np.int64)
    worth = expected[0]
    for step in range(steps - 1, -1, -1):
        if step < steps - 1:
            expected[step] = model.moves[blocks[step]] @ worth >> ONE_BITS
        kept, price = expected[step], prices[step][:, None]
        worth = kept
        for way in ways:
            worth = np.maximum(worth, way.money(price, plant.wear_micro_per_mwh) + way.later(kept))
    assert abs(worth).max() < WORTH_MAX_MICRO, "more money than the arithmetic is made for"
    return Worth(plant, model, starts_s, expected, prices)
