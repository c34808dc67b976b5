"""A bid curve from what stored energy is worth: charge when it is cheaper, discharge when dearer.

The worth of energy is found backwards over the reference path, hour by hour: at each level of
charge the best of holding, charging and discharging. What a kWh is worth in the battery at the end
of the delivery hour is then the price below which it is better kept and above which it is better
sold. Integers throughout. Never makes a curve that falls, crosses itself or has more than ten
steps.

A curve is read thus: at price p the fleet runs at the `power_w` of the last segment whose price is
at most p. The first segment stands at the price floor, so it is where the fleet goes when energy
is cheapest; powers and prices both rise strictly from segment to segment.
"""

from collections.abc import Sequence
from itertools import pairwise

from cloud.commands import CurveSegment

SEGMENTS_MAX = 10
BLOCKS = 4
"""Steps on either side of zero: nine points in all, below the ten that the venues take."""

PRICE_FLOOR_MICRO = -150_000_000
PRICE_CAP_MICRO = 1_000_000_000
"""The soft energy cap, 1,000 per MWh. Above it a venue asks for proof of cost, which a battery has
not; the hard cap of 2,000 is the venue's to enforce."""

CENT_MICRO = 10_000
"""Bid prices are whole cents: sales rounded up, purchases down."""

STEP_W = 1_000
"""Bid powers are whole kW: a thousandth of a MW is the finest that travels."""

EFFICIENCY_PER_MILLE = 922
"""One way, so 0.85 there and back."""

WEAR_MICRO_PER_MWH = 8_000_000
"""What a MWh of discharge costs the battery itself."""

LEVELS = 40
MICRO_WH_PER_MWH = 1_000_000


def stored_worth(
    path: Sequence[int],
    energy_max_wh: int,
    charge_w: int,
    discharge_w: int,
    wear_micro: int = WEAR_MICRO_PER_MWH,
) -> list[int]:
    """Worth of stored energy at the start of `path`, in micro-units of currency.

    The answer has LEVELS + 1 entries for 0 to `energy_max_wh` in equal steps; `path` is hourly, in
    micro per MWh. After the path's end energy is worth nothing, so the path should be a day long.
    """
    worth = [0] * (LEVELS + 1)
    for price in reversed(path):
        worth = [
            _best_worth(
                level, price, price - wear_micro, worth, energy_max_wh, charge_w, discharge_w
            )
            for level in range(LEVELS + 1)
        ]
    return worth


def _best_worth(
    level: int,
    price: int,
    net_price: int,
    later: list[int],
    energy_max_wh: int,
    charge_w: int,
    discharge_w: int,
) -> int:
    """The best of holding, charging and discharging for one hour from this level; a sale brings
    `net_price`.
    """
    energy = energy_max_wh * level // LEVELS
    sold = min(discharge_w, energy * EFFICIENCY_PER_MILLE // 1_000)
    bought = min(charge_w, (energy_max_wh - energy) * 1_000 // EFFICIENCY_PER_MILLE)
    emptier = energy - -(-sold * 1_000 // EFFICIENCY_PER_MILLE)
    fuller = energy + bought * EFFICIENCY_PER_MILLE // 1_000
    return max(
        later[level],
        sold * net_price // MICRO_WH_PER_MWH + at(later, emptier, energy_max_wh),
        -bought * price // MICRO_WH_PER_MWH + at(later, fuller, energy_max_wh),
    )


def at(worth: Sequence[int], energy_wh: int, energy_max_wh: int) -> int:
    """The worth at any energy between the levels, on the straight line between its neighbours."""
    if energy_max_wh <= 0:
        return 0
    energy_wh = max(0, min(energy_wh, energy_max_wh))
    level, rest = divmod(energy_wh * LEVELS, energy_max_wh)
    if level >= LEVELS:
        return worth[LEVELS]
    return worth[level] + (worth[level + 1] - worth[level]) * rest // energy_max_wh


def offer_curve(
    worth: Sequence[int],
    stored_wh: int,
    energy_max_wh: int,
    charge_w: int,
    discharge_w: int,
    wear_micro: int = WEAR_MICRO_PER_MWH,
) -> tuple[CurveSegment, ...]:
    """The curve of one delivery hour, from full charge to full discharge; empty if neither fits.

    `worth` is that of the energy at the end of the hour, `stored_wh` the energy at its start.
    Powers are amounts >= 0 and are rounded down to whole kW.
    """
    buys = _buy_steps(worth, stored_wh, energy_max_wh, charge_w // STEP_W * STEP_W)
    sells = _sell_steps(worth, stored_wh, energy_max_wh, discharge_w // STEP_W * STEP_W, wear_micro)
    if not buys and not sells:
        return ()
    points = [(-power, price) for power, price in buys] + [(0, None)] + list(sells)
    return _staircase(points)


def _blocks(power_w: int) -> list[int]:
    """Cumulated powers of up to four blocks, each a whole number of kW."""
    steps = power_w // STEP_W
    powers = [steps * block // BLOCKS * STEP_W for block in range(1, BLOCKS + 1)]
    return sorted({power for power in powers if power > 0})


def _sell_steps(
    worth: Sequence[int], stored_wh: int, energy_max_wh: int, power_w: int, wear_micro: int
) -> list[tuple[int, int]]:
    """(power, price of the step that ends there) with rising prices: the worth given up, and wear.

    The power is held for an hour, so W here are Wh.
    """
    steps: list[tuple[int, int]] = []
    below_w, price = 0, PRICE_FLOOR_MICRO
    for upto_w in _blocks(power_w):
        before = at(worth, stored_wh - below_w * 1_000 // EFFICIENCY_PER_MILLE, energy_max_wh)
        after = at(worth, stored_wh - upto_w * 1_000 // EFFICIENCY_PER_MILLE, energy_max_wh)
        asked = -((after - before) * MICRO_WH_PER_MWH // (upto_w - below_w)) + wear_micro
        price = max(price, -(-asked // CENT_MICRO) * CENT_MICRO)
        steps.append((upto_w, price))
        below_w = upto_w
    return steps


def _buy_steps(
    worth: Sequence[int], stored_wh: int, energy_max_wh: int, power_w: int
) -> list[tuple[int, int]]:
    """(power, price of the step towards zero from there), deepest charge and lowest price first."""
    steps: list[tuple[int, int]] = []
    below_w, price = 0, PRICE_CAP_MICRO - CENT_MICRO
    for upto_w in _blocks(power_w):
        before = at(worth, stored_wh + below_w * EFFICIENCY_PER_MILLE // 1_000, energy_max_wh)
        after = at(worth, stored_wh + upto_w * EFFICIENCY_PER_MILLE // 1_000, energy_max_wh)
        gained = (after - before) * MICRO_WH_PER_MWH // (upto_w - below_w)
        price = min(price, gained // CENT_MICRO * CENT_MICRO)
        steps.append((upto_w, price))
        below_w = upto_w
    return steps[::-1]


def _staircase(points: Sequence[tuple[int, int | None]]) -> tuple[CurveSegment, ...]:
    """Strictly rising segments from rising powers.

    A buying point's price is that of the step from it towards zero, so it is the price of the next
    point; a selling point carries its own. Equal prices are one step; prices are kept inside the
    venues' band.
    """
    segments = [CurveSegment(points[0][0], PRICE_FLOOR_MICRO)]
    bought_at: int | None = points[0][1]
    for power_w, price in points[1:]:
        step = bought_at if power_w <= 0 else price
        assert step is not None, "a step without a price"
        step = max(PRICE_FLOOR_MICRO + CENT_MICRO, min(step, PRICE_CAP_MICRO))
        if power_w > 0 and segments[-1].power_w <= 0 and step <= segments[-1].price_micro_per_mwh:
            step = segments[-1].price_micro_per_mwh + CENT_MICRO
        if step <= segments[-1].price_micro_per_mwh:
            segments[-1] = CurveSegment(power_w, segments[-1].price_micro_per_mwh)
        else:
            segments.append(CurveSegment(power_w, step))
        bought_at = price
    return tuple(segments)


def power_at(curve: Sequence[CurveSegment], price_micro_per_mwh: int) -> int:
    """What the curve offers at a price, in W; 0 below its first segment."""
    power_w = 0
    for segment in curve:
        if segment.price_micro_per_mwh > price_micro_per_mwh:
            break
        power_w = segment.power_w
    return power_w


def is_well_formed(curve: Sequence[CurveSegment]) -> bool:
    """Rises strictly in power and price, has 2 to 10 segments and stays inside the price band."""
    return (
        1 < len(curve) <= SEGMENTS_MAX
        and all(
            low.power_w < high.power_w and low.price_micro_per_mwh < high.price_micro_per_mwh
            for low, high in pairwise(curve)
        )
        and curve[0].price_micro_per_mwh >= PRICE_FLOOR_MICRO
        and curve[-1].price_micro_per_mwh <= PRICE_CAP_MICRO
    )
