"""What a bid says of the batteries behind it, and what they must be able to do for it.

The energy in them at an hour's start is what the newest telemetry says, less what is expected to go
out before: awards as they were given, and the rest of each open bid at the price that is expected.
A bid stays within that energy for the whole of its hour, and within the ramp from any power of the
hours beside it to any of its own. Where the venue's own optimisation minds the state of charge, a
day-ahead offer only has to fit the batteries, since what comes before it is the venue's to plan.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TypeVar

import msgspec

from cloud.commands import CurveSegment
from cloud.facts import BidPrepared, ReservePrepared
from cloud.vpp.awards import AwardBook
from cloud.vpp.bids import Bid
from cloud.vpp.capability import HOUR_NS, FleetCapability, FleetStorage
from cloud.vpp.curve import power_at
from cloud.vpp.reserves import DOWN, UP
from cloud.vpp.risk import Swing
from protos.clock import MINUTE_NS, SECOND_NS
from protos.units import energy_wh

RAMP_WITHIN_NS = 15 * MINUTE_NS
"""An energy award has one power for a quarter of an hour at least, and the next may be any other."""

RESERVE_WITHIN_NS = 10 * MINUTE_NS
"""Reserve is what can be reached in ten minutes."""

Curves = Sequence[Sequence[CurveSegment]]
AnyBid = TypeVar("AnyBid", bound=BidPrepared)


def expected_wh(
    bids: Iterable[Bid],
    book: AwardBook,
    price_of: Callable[[BidPrepared], int | None],
    before_ns: int,
    at_ns: int,
) -> int:
    """Energy in Wh that is expected to go out from now to an hour's start; negative comes in.

    `price_of` gives the price that a bid's hour is expected to have. A reserve is not expected to be
    called.
    """
    total = 0
    for bid in bids:
        prepared = bid.prepared
        if prepared.product != "EN" or prepared.starts_ns >= before_ns:
            continue
        if not bid.may_still_clear(at_ns):
            continue
        from_ns = max(at_ns, prepared.starts_ns)
        open_ns = bid.ends_ns - from_ns
        for award in book.running.values():
            if award.bid_id == prepared.bid_id:
                awarded_ns = max(0, award.ends_ns - max(from_ns, award.starts_ns))
                total += energy_wh(award.power_w, awarded_ns)
                open_ns -= awarded_ns
        price = price_of(prepared)
        if price is not None:
            total += energy_wh(power_at(prepared.curve, price), open_ns)
    return total


def curves_beside(bids: Mapping[str, Bid], hour_ns: int, at_ns: int) -> Curves:
    """The energy bids of the hours before and after, at whatever venue, that may still clear."""
    return [
        bid.prepared.curve
        for bid in bids.values()
        if bid.prepared.product == "EN"
        and abs(bid.prepared.starts_ns - hour_ns) == HOUR_NS
        and bid.may_still_clear(at_ns)
    ]


def ramped(able: FleetCapability, storage: FleetStorage, beside: Curves) -> FleetCapability:
    """What is left of a fleet's power if it is to turn from any power of this hour, or of the hours
    beside it, to any other of this hour within an award's time.

    Each way gets half of that swing, so that the next hour can have as much.
    """
    reach_w = storage.ramp_w_per_min * RAMP_WITHIN_NS // MINUTE_NS
    bought_w, sold_w = _widest(beside)
    charge_w = max(0, min(reach_w // 2, reach_w - sold_w))
    discharge_w = max(0, min(reach_w // 2, reach_w - bought_w))
    return replace(
        able,
        charge_w=min(able.charge_w, charge_w),
        discharge_w=min(able.discharge_w, discharge_w),
        plate_charge_w=min(able.plate_charge_w, charge_w),
        plate_discharge_w=min(able.plate_discharge_w, discharge_w),
    )


def swing_of(prepared: BidPrepared, beside: Curves) -> Swing:
    """What a bid may ask of the batteries at the most."""
    if isinstance(prepared, ReservePrepared):
        capacity_w = prepared.curve[-1].power_w
        charge_w, discharge_w = (capacity_w if prepared.product in way else 0 for way in (DOWN, UP))
        call_ns = prepared.call_s * SECOND_NS
        return Swing(charge_w, discharge_w, call_ns, capacity_w, RESERVE_WITHIN_NS)
    charge_w, discharge_w = _widest([prepared.curve])
    bought_w, sold_w = _widest(beside)
    turn_w = max(charge_w + max(discharge_w, sold_w), discharge_w + bought_w)
    return Swing(charge_w, discharge_w, prepared.duration_ns, turn_w, RAMP_WITHIN_NS)


def saying(prepared: AnyBid, storage: FleetStorage) -> AnyBid:
    """The bid with what it says of its batteries."""
    return msgspec.structs.replace(prepared, **asdict(storage))


def _widest(curves: Curves) -> tuple[int, int]:
    """The most that any of the curves charges and discharges, in W, amounts >= 0."""
    charge_w = max([0, *(-curve[0].power_w for curve in curves)])
    return charge_w, max([0, *(curve[-1].power_w for curve in curves)])
