"""From the joint plan of a day to the reserve offers of its hours, rounded and ready to be journaled.

The linear programme is a solver's and stays outside the machine; what it found travels as whole kW
in commands, which the desk checks against what the fleet can really do. Capacity below the venues'
minimum is not offered; where a venue buys regulation as one product, the smaller side is. A price
taker asks what holding costs: the wear of the energy that a signal moves.
"""

from cloud.commands import OfferReserve
from cloud.vpp.capability import HOUR_NS
from cloud.vpp.cooptimum import JointPlan, ReserveRules
from cloud.vpp.curve import CENT_MICRO, STEP_W, WEAR_MICRO_PER_MWH
from cloud.vpp.reserves import SOLD

POWER_MIN_W = 100_000
PER_MILLE = 1_000


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
