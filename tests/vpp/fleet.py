"""Batteries and hours for the desk's tests: plain numbers, so that a reader can check the sums."""

from cloud.commands import AdvanceDesk, ObserveFleet, ObservePrice, OpenDesk
from cloud.facts import BidPrepared, LeaseIssued
from cloud.vpp.capability import HOUR_NS
from cloud.vpp.desk import Desk
from protos.clock import MINUTE_NS
from protos.ids import DeviceId

DAY_NS = 24 * HOUR_NS
MIDNIGHT = 1_784_073_600 * 1_000_000_000
"""2026-07-15T00:00Z: an even hour, so it belongs to the first venue."""

USD = 1_000_000
OPEN = OpenDesk(500_000, 10_000 * USD, 100_000)
CHEAP = 20
DEAR = 120


def device(number: int) -> DeviceId:
    return DeviceId(f"{number:032x}")


def battery(number: int, soc: int = 600, power_w: int = 0, **changes: int) -> ObserveFleet:
    """A 14 kWh, 8 kW battery: at 600 per mille it holds 7 kWh above its reserve and has 5.6 free."""
    return ObserveFleet(
        device(number),
        "rural",
        soc,
        changes.get("capacity_wh", 14_000),
        changes.get("max_charge_w", 8_000),
        changes.get("max_discharge_w", 8_000),
        power_w,
    )


def price(hour_ns: int, usd: int, venue: str = "caiso") -> ObservePrice:
    node, market = {"caiso": ("TH_SP15_GEN-APND", "DAM"), "pjm": ("51288", "DA")}[venue]
    return ObservePrice(venue, node, market, hour_ns, HOUR_NS, usd * USD)


def duck(hour_of_day: int) -> int:
    """Cheap from 8 to 16, dear from 18 to 22, in between otherwise."""
    if 8 <= hour_of_day < 16:
        return CHEAP
    return DEAR if 18 <= hour_of_day < 22 else 60


def desk_at(at_ns: int, homes: int = 20, soc: int = 600) -> Desk:
    """An open desk that knows two days of prices and a fleet of equal homes."""
    desk = Desk()
    desk.apply(OPEN, at_ns - 30 * MINUTE_NS)
    for venue in ("caiso", "pjm"):
        for hour in range(48):
            desk.apply(price(MIDNIGHT + hour * HOUR_NS, duck(hour % 24), venue), at_ns - HOUR_NS)
    for number in range(homes):
        desk.apply(battery(number, soc), at_ns)
    return desk


def gate_ns(hour: int) -> int:
    lead = 75 if hour % 2 == 0 else 65
    return MIDNIGHT + hour * HOUR_NS - lead * MINUTE_NS


def bids(desk: Desk, at_ns: int) -> list[BidPrepared]:
    return [fact for fact in desk.apply(AdvanceDesk(), at_ns) if isinstance(fact, BidPrepared)]


def leases(desk: Desk, at_ns: int) -> list[LeaseIssued]:
    return [fact for fact in desk.apply(AdvanceDesk(), at_ns) if isinstance(fact, LeaseIssued)]
