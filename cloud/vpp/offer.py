"""The desk's bid for one hour: from published prices and the fleet's ability to a curve.

The spread model is fitted to the real-time prices of the last weeks that the desk has seen beside
their reference; before two days of them are known, the prior stands in. Only what the price book
holds at the time is used. Integers throughout.
"""

from collections.abc import Sequence

from cloud.commands import CurveSegment
from cloud.vpp.bids import Product
from cloud.vpp.capability import HOUR_NS, FleetCapability
from cloud.vpp.curve import BLOCKS, STEP_W, WEAR_MICRO_PER_MWH
from cloud.vpp.hourly import best_curve, carried, certain
from cloud.vpp.optimum import Plant
from cloud.vpp.prices import PriceBook, spreads
from cloud.vpp.risk import Limits
from cloud.vpp.spread import SpreadModel, fit, prior
from cloud.vpp.stochastic import solve
from cloud.vpp.valued import Told, told_worth
from protos.clock import SECOND_NS

UNSEEN_STEPS = 8
"""How far back a spread of zero is assumed when no real-time price is known."""

SEEN_STEPS_MAX = 96
"""An older spread says nothing about the hour."""


def hour_offer(
    book: PriceBook,
    product: Product,
    starts_ns: int,
    path: Sequence[int],
    able: FleetCapability,
    power_max_w: int,
    told: Told | None = None,
) -> tuple[CurveSegment, ...]:
    """The curve for the hour at `starts_ns`, whose reference path is `path`, hourly; () for none.

    What energy is worth in that hour is `told`, or else found by the stochastic programme.
    """
    charge_w, discharge_w = (min(w, power_max_w) for w in (able.charge_w, able.discharge_w))
    powers = _powers(charge_w, discharge_w)
    if len(powers) == 1 or able.usable_wh <= 0:
        return ()
    plant = fleet_plant(able, power_max_w)
    step_ns = product.step_ns
    newest_ns, seen = spreads(book, product.series, product.ahead, step_ns)
    model = _model(seen, newest_ns, step_ns)
    lead, spread = _last_spread(seen, newest_ns, starts_ns, step_ns)
    begins_s = (starts_ns - lead * step_ns) // SECOND_NS
    per_hour = HOUR_NS // step_ns
    if told is None:
        steps = [path[0]] * lead + [price for price in path for _ in range(per_hour)]
        worth = solve(plant, model, steps, begins_s)
    else:
        worth = told_worth(told, plant, model, [path[0]] * (lead + per_hour), begins_s)
    mass = certain(worth, model.bin_of(spread), able.stored_wh)
    for step in range(lead):
        mass = carried(worth, mass, step, ())
    return best_curve(worth, mass, lead, powers)


def fleet_plant(able: FleetCapability, power_max_w: int) -> Plant:
    """The fleet taken as one battery, at the power its plates allow."""
    return Plant(
        able.usable_wh,
        min(max(able.charge_w, able.plate_charge_w), power_max_w),
        min(max(able.discharge_w, able.plate_discharge_w), power_max_w),
        WEAR_MICRO_PER_MWH,
    )


def plant_within(limits: Limits, able: FleetCapability) -> Plant | None:
    """The same within the desk's limits; None where it is less than they ask for."""
    plant = fleet_plant(able, limits.power_max_w)
    least_w = max(1, limits.power_min_w)
    is_enough = plant.energy_wh > 0 and min(plant.charge_w, plant.discharge_w) >= least_w
    return plant if is_enough else None


def _powers(charge_w: int, discharge_w: int) -> list[int]:
    """What may be offered: whole kW, four blocks either way at most, and zero."""
    buys, sells = (
        sorted({watts // STEP_W * block // BLOCKS * STEP_W for block in range(1, BLOCKS + 1)} - {0})
        for watts in (charge_w, discharge_w)
    )
    return [*(-power for power in reversed(buys)), 0, *sells]


def _model(seen: Sequence[int], newest_ns: int, step_ns: int) -> SpreadModel:
    step_s = step_ns // SECOND_NS
    if len(seen) * step_ns < 2 * 24 * HOUR_NS:
        return prior(step_s)
    first_ns = newest_ns - (len(seen) - 1) * step_ns
    return fit(seen, first_ns // SECOND_NS, step_s)


def _last_spread(
    seen: Sequence[int], newest_ns: int, starts_ns: int, step_ns: int
) -> tuple[int, int]:
    """How many steps before the hour a spread was last known, and that spread."""
    if seen:
        # Prices of the hour itself may be known before its bid is made, and of later ones too.
        lead = max(1, (starts_ns - newest_ns) // step_ns)
        if lead <= SEEN_STEPS_MAX:
            return lead, seen[-1]
    return UNSEEN_STEPS, 0
