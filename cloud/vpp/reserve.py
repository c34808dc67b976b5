"""What reserve must pay for an hour: the energy trade that its power could have made instead.

The stochastic worth knows what each block of power is expected to earn on energy in the hour, over
all prices that may come; a block that is held back for upward reserve forgoes the discharge, one
for downward reserve the charge. Its offer price is that gain, so that reserve is sold exactly when
it pays more. Blocks whose energy would not last the product's call are not offered. Integers
throughout; prices in whole cents, rounded up.
"""

from collections.abc import Sequence

import numpy as np

from cloud.commands import CurveSegment
from cloud.vpp.curve import CENT_MICRO
from cloud.vpp.hourly import Curve, carried
from cloud.vpp.optimum import HOUR_S, MICRO_WH_PER_MWH
from cloud.vpp.spread import Ints
from cloud.vpp.stochastic import LEVELS, Worth, levels, reach

CALL_S = 3_600
"""How long a call may last: an hour of regulation, the longest of the products."""


def reserve_offer(
    worth: Worth,
    mass: Ints,
    first: int,
    powers_w: Sequence[int],
    standing: Curve = (),
    call_s: int = CALL_S,
) -> tuple[CurveSegment, ...]:
    """Rising segments for upward reserve (positive powers) or downward (negative ones).

    `powers_w` are the amounts to price, of one sign and growing; `mass` is the state at the hour's
    start and `first` its first step. `standing` is the energy curve that moves the state meanwhile.
    """
    offered: list[CurveSegment] = []
    kept = 0
    lasting = _lasting_w(worth, mass, call_s, upward=powers_w[0] > 0)
    for power_w in powers_w:
        if abs(power_w) > lasting:
            break
        gain = _expected_gain(worth, mass, first, power_w, standing)
        # Per MW and hour of the block that this power adds to the one before.
        before = 0 if not offered else abs(offered[-1].power_w)
        block_w = abs(power_w) - before
        price = max(0, gain - kept) * MICRO_WH_PER_MWH // block_w
        price = -(-price // CENT_MICRO) * CENT_MICRO
        if offered:
            price = max(price, offered[-1].price_micro_per_mwh)
        offered.append(CurveSegment(power_w, price))
        kept = max(kept, gain)
    return tuple(offered)


def _expected_gain(worth: Worth, mass: Ints, first: int, power_w: int, standing: Curve) -> int:
    """What using this power for energy is expected to earn over the hour: in each step and state
    the gain where there is one, nothing where holding is better.
    """
    way = reach(worth.plant, power_w, worth.model.step_s)
    total = 0
    here = mass
    for step in range(first, first + HOUR_S // worth.model.step_s):
        kept = worth.expected[step]
        price = worth.prices[step][:, None]
        gain = way.money(price, worth.plant.wear_micro_per_mwh) + way.later(kept) - kept
        weight = int(here.sum())
        if weight:
            # Shares first: the product of a whole mass and money leaves 64 bits.
            shares = (here << 20) // weight
            total += int((shares * np.maximum(gain, 0) >> 20).sum())
        here = carried(worth, here, step, standing)
    return total


def _lasting_w(worth: Worth, mass: Ints, call_s: int, *, upward: bool) -> int:
    """The power that the energy of nine in ten states lasts for."""
    energy = levels(worth.plant)
    room = energy if upward else worth.plant.energy_wh - energy
    by_level = mass.sum(axis=0)
    order = np.argsort(room, kind="stable")
    seen = np.cumsum(by_level[order])
    at = int(np.searchsorted(seen, seen[-1] // 10, side="right"))
    lasting_wh = int(room[order[min(at, LEVELS - 1)]])
    efficiency = worth.plant.efficiency_per_mille
    usable = lasting_wh * efficiency // 1_000 if upward else lasting_wh * 1_000 // efficiency
    return usable * HOUR_S // call_s
