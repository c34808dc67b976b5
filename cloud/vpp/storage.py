"""What a bid says of the batteries behind it, and what they must be able to do for it.

The energy in them at an hour's start is what the newest telemetry says, less what is expected to go
out before: awards as they were given, and the rest of each open bid at the price that is expected.
A bid stays within that energy for the whole of its hour, and within the ramp from any power of the
hours beside it to any of its own. Where the venue's own optimisation minds the state of charge, a
day-ahead offer only has to fit the batteries, since what comes before it is the venue's to plan.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

import msgspec

from cloud.commands import CurveSegment
from cloud.facts import BidPrepared, ReservePrepared
from cloud.vpp.awards import AwardBook
from cloud.vpp.bids import Bid, Product
from cloud.vpp.capability import HOUR_NS, FleetCapability, FleetStorage
from cloud.vpp.commitments import promised_wh
from cloud.vpp.curve import power_at
from cloud.vpp.homes import HomeForecast
from cloud.vpp.prices import PriceBook, reference_price
from cloud.vpp.reserves import DOWN, UP
from cloud.vpp.risk import Swing, storage_objection
from protos.clock import MINUTE_NS, SECOND_NS
from protos.messages import Refusal
from protos.units import energy_wh

RAMP_WITHIN_NS = 15 * MINUTE_NS
"""An energy award has one power for a quarter of an hour at least, and the next may be any other."""

RESERVE_WITHIN_NS = 10 * MINUTE_NS
"""Reserve is what can be reached in ten minutes."""

MINDED = frozenset({"caiso"})
"""The venues whose own optimisation keeps a storage within its energy limits over the day."""

Curves = Sequence[Sequence[CurveSegment]]
AnyBid = TypeVar("AnyBid", bound=BidPrepared)


@dataclass(frozen=True, slots=True)
class Promises:
    """All that may move energy before an hour, and the prices it is expected to move at."""

    bids: Mapping[str, Bid]
    book: AwardBook
    homes: HomeForecast
    prices: PriceBook
    offered: Sequence[Product]

    def expected_wh(self, before_ns: int, at_ns: int) -> int:
        """Energy in Wh that bids are expected to take out from now to an hour's start; negative is
        put in. A reserve is not expected to be called.
        """
        return sum(
            self._expected_of(bid, at_ns)
            for bid in self.bids.values()
            if bid.prepared.product == "EN"
            and bid.prepared.starts_ns < before_ns
            and bid.may_still_clear(at_ns)
        )

    def _expected_of(self, bid: Bid, at_ns: int) -> int:
        prepared = bid.prepared
        from_ns = max(at_ns, prepared.starts_ns)
        open_ns, total_wh = bid.ends_ns - from_ns, 0
        for award in self.book.running.values():
            if award.bid_id == prepared.bid_id:
                awarded_ns = max(0, award.ends_ns - max(from_ns, award.starts_ns))
                total_wh += energy_wh(award.power_w, awarded_ns)
                open_ns -= awarded_ns
        price = self._price_of(prepared)
        if price is not None:
            total_wh += energy_wh(power_at(prepared.curve, price), open_ns)
        return total_wh

    def _price_of(self, prepared: BidPrepared) -> int | None:
        """The price that an open bid's hour is expected to have."""
        product = next(one for one in self.offered if one.venue == prepared.venue)
        markets = (product.ahead, product.market)
        return reference_price(
            self.prices, product.venue, product.node, *markets, prepared.starts_ns
        )


def stated(
    prepared: AnyBid,
    now: FleetStorage,
    promises: Promises,
    at_ns: int,
    *,
    is_ahead: bool,
) -> tuple[AnyBid, Refusal | None]:
    """The bid with what it says of its batteries, which are `now` as they are; and why they could not
    do what it offers, if so.
    """
    hour_ns = prepared.starts_ns
    sold_wh, bought_wh = promised_wh(promises.bids, hour_ns, at_ns)
    drawn_wh, charged_wh = promises.homes.between(at_ns, hour_ns)
    taken_wh = promises.expected_wh(hour_ns, at_ns) + drawn_wh - charged_wh
    storage = now.after(taken_wh, sold_wh + drawn_wh, bought_wh + charged_wh)
    swing = swing_of(prepared, curves_beside(promises.bids, hour_ns, at_ns))
    minded = is_ahead and prepared.venue in MINDED
    return saying(prepared, storage), storage_objection(storage, swing, from_anywhere=minded)


def curves_beside(bids: Mapping[str, Bid], hour_ns: int, at_ns: int) -> Curves:
    """The energy bids of the hours before and after, at whatever venue, that may still clear."""
    return [
        bid.prepared.curve
        for bid in bids.values()
        if bid.prepared.product == "EN"
        and abs(bid.prepared.starts_ns - hour_ns) == HOUR_NS
        and bid.may_still_clear(at_ns)
    ]


def ramped(
    able: FleetCapability,
    storage: FleetStorage,
    bids: Mapping[str, Bid],
    hour_ns: int,
    at_ns: int,
) -> FleetCapability:
    """What is left of a fleet's power for an hour if it is to turn from any power of this hour, or of
    the hours beside it, to any other of this hour within an award's time.

    Each way gets half of that swing, so that the next hour can have as much.
    """
    reach_w = storage.ramp_w_per_min * RAMP_WITHIN_NS // MINUTE_NS
    bought_w, sold_w = _widest(curves_beside(bids, hour_ns, at_ns))
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
