"""From a day's outlook to its joint plan, and from that to the reserve offers of its hours, rounded
and ready to be journaled.

The linear programme is a solver's and stays outside the machine; what it found travels as whole kW
in commands, which the desk checks against what the fleet can really do. Capacity below the venues'
minimum is not offered; where a venue buys regulation as one product, the smaller side is. A price
taker asks what holding costs: the wear of the energy that a signal moves. What is offered can be
called in every hour, so the energy of all calls together must be in the battery, and room for all
that may be taken; the desk reckons so too.
"""

from collections.abc import Mapping, Sequence

from cloud.commands import OfferReserve
from cloud.vpp.capability import HOUR_NS
from cloud.vpp.cooptimum import (
    Budget,
    JointPlan,
    ReservePrices,
    ReserveRules,
    Room,
    joint_plan,
)
from cloud.vpp.curve import CENT_MICRO, STEP_W, WEAR_MICRO_PER_MWH
from cloud.vpp.optimum import HOUR_S
from cloud.vpp.reserve_outlook import Outlook, Prices
from cloud.vpp.reserves import SCORED, SOLD

POWER_MIN_W = 100_000
PER_MILLE = 1_000


def planned(outlook: Outlook) -> JointPlan:
    """The joint plan of an outlook's hours. Raises NoPlan.

    A battery that follows a regulation signal cannot hold another power at the same time, so an
    hour of regulation has no other reserve and no energy. Which hours those are is read off a plan
    without that rule; a second one then makes the best of them.
    """
    best = _best_kinds(outlook, _solved(outlook, outlook.reserves_micro, ()))
    only = {
        kind: tuple(price if kind == best[hour] else None for hour, price in enumerate(prices))
        for kind, prices in outlook.reserves_micro.items()
    }
    still = [hour for hour, kind in enumerate(best) if kind in SCORED]
    return _solved(outlook, only, still)


def _best_kinds(outlook: Outlook, plan: JointPlan) -> list[str]:
    """The product that each hour earns most with: one kind of regulation, or spinning reserve and
    whatever energy is worth beside it, which is what it brings more than at the day's mean price.
    """
    mean = sum(outlook.energy_micro) // len(outlook.energy_micro)
    best = []
    for hour, (power_w, energy) in enumerate(zip(plan.power_w, outlook.energy_micro, strict=True)):
        worth = {"SPIN": abs(power_w) * abs(energy - mean)}
        for kind, prices in outlook.reserves_micro.items():
            capacity_w = _capacity_w(plan, hour, kind)
            if capacity_w >= POWER_MIN_W:
                worth[kind] = worth.get(kind, 0) + capacity_w * (prices[hour] or 0)
        best.append(max(sorted(worth), key=worth.__getitem__))
    return best


def _solved(outlook: Outlook, by_product: Mapping[str, Prices], still: Sequence[int]) -> JointPlan:
    rules = ReserveRules(is_paired="REG" in by_product)
    hours = range(len(outlook.energy_micro))
    if rules.is_paired:
        # One price pays both ways: upward carries it.
        up = by_product["REG"]
        down: Prices = tuple(None if one is None else 0 for one in up)
    else:
        up, down = by_product["REG_UP"], by_product["REG_DOWN"]
    call_s, spin_s = rules.regulation_s, rules.spinning_s
    budgets = [
        Budget(hours, outlook.stored_wh, up_s=call_s, spin_s=spin_s),
        Budget(hours, max(0, outlook.plant.energy_wh - outlook.stored_wh), down_s=call_s),
    ]
    down_s = 0 if rules.is_paired else HOUR_S
    for part, most_wh in outlook.exposure_wh:
        budgets.append(Budget(part, most_wh, up_s=HOUR_S, down_s=down_s, spin_s=HOUR_S))
    return joint_plan(
        outlook.plant,
        outlook.energy_micro,
        ReservePrices(up, down, by_product["SPIN"]),
        HOUR_S,
        outlook.stored_wh,
        rules,
        Room(outlook.up_w, outlook.down_w, budgets, still),
    )


def _capacity_w(plan: JointPlan, hour: int, kind: str) -> int:
    """A product's capacity in an hour of a plan, in whole steps."""
    up_w, down_w = plan.up_w[hour], plan.down_w[hour]
    powers = {"SPIN": plan.spin_w[hour], "REG_UP": up_w, "REG_DOWN": down_w}
    return powers.get(kind, min(up_w, down_w)) // STEP_W * STEP_W


def reserve_offers(
    venue: str, plan: JointPlan, starts_ns: int, rules: ReserveRules | None = None
) -> list[OfferReserve]:
    """The offers of an hourly plan that begins at `starts_ns`, by hour and product."""
    asked = WEAR_MICRO_PER_MWH * (rules or ReserveRules()).moved_per_mille // PER_MILLE
    price = -(-asked // CENT_MICRO) * CENT_MICRO
    offers = []
    for hour in range(len(plan.spin_w)):
        for product in sorted(SOLD[venue]):
            capacity_w = _capacity_w(plan, hour, product)
            if capacity_w >= POWER_MIN_W:
                is_scored = product in SCORED
                terms = (starts_ns + hour * HOUR_NS, capacity_w, price if is_scored else 0)
                offers.append(OfferReserve(venue, product, *terms, is_scored))
    return offers
