"""From a day's outlook to its joint plan, and from that to the reserve offers of its hours, rounded
and ready to be journaled.

The linear programme is a solver's and stays outside the machine; what it found travels as whole kW
in commands, which the desk checks against what the fleet can really do. Capacity below the venues'
minimum is not offered; where a venue buys regulation as one product, the smaller side is. A price
taker asks what holding costs: the wear of the energy that a signal moves. What is offered can be
called in every hour, so the energy of all calls together must be in the battery, and room for all
that may be taken; the desk reckons so too.
"""

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
from cloud.vpp.reserve_outlook import Outlook
from cloud.vpp.reserves import SOLD

POWER_MIN_W = 100_000
PER_MILLE = 1_000


def planned(outlook: Outlook) -> JointPlan:
    """The joint plan of an outlook's hours. Raises NoPlan."""
    by_product = outlook.reserves_micro
    rules = ReserveRules(is_paired="REG" in by_product)
    hours = range(len(outlook.energy_micro))
    if rules.is_paired:
        # One price pays both ways: upward carries it.
        up = by_product["REG"]
        down: tuple[int | None, ...] = tuple(None if one is None else 0 for one in up)
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
        Room(outlook.up_w, outlook.down_w, budgets),
    )


def reserve_offers(
    venue: str, plan: JointPlan, starts_ns: int, rules: ReserveRules | None = None
) -> list[OfferReserve]:
    """The offers of an hourly plan that begins at `starts_ns`, by hour and product."""
    asked = WEAR_MICRO_PER_MWH * (rules or ReserveRules()).moved_per_mille // PER_MILLE
    price = -(-asked // CENT_MICRO) * CENT_MICRO
    offers = []
    for hour, (up_w, down_w, spin_w) in enumerate(
        zip(plan.up_w, plan.down_w, plan.spin_w, strict=True)
    ):
        powers = {"SPIN": spin_w, "REG_UP": up_w, "REG_DOWN": down_w, "REG": min(up_w, down_w)}
        for product in sorted(SOLD[venue]):
            capacity_w = powers[product] // STEP_W * STEP_W
            if capacity_w >= POWER_MIN_W:
                at_ns = starts_ns + hour * HOUR_NS
                asked_micro = 0 if product == "SPIN" else price
                offers.append(OfferReserve(venue, product, at_ns, capacity_w, asked_micro))
    return offers
