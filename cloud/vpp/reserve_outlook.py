"""What a day's plan of reserves stands on: prices as the desk expects them, and what it may promise.

Everything here is what the desk knows at a moment, in integers; the plan itself is a solver's and
made outside. An hour belongs to one venue: the others' hours keep their energy price, because the
battery is the same, and have no reserve price. Never guesses the price of a reserve that was not
published on any of the last days.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cloud.vpp.bids import Product, product_for
from cloud.vpp.capability import FleetCapability
from cloud.vpp.curve import WEAR_MICRO_PER_MWH
from cloud.vpp.optimum import Plant
from cloud.vpp.prices import DAY_NS, PriceBook, reference_price, reserve_price
from cloud.vpp.reserves import SOLD
from cloud.vpp.risk import Guard, Limits, exposure_room_wh
from protos.messages import Refusal

Prices = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Outlook:
    """Hourly from `starts_ns`. Prices in micro-units per MWh and per MW and hour; None where a
    product has no price or the hour is another venue's.
    """

    venue: str
    starts_ns: int
    plant: Plant
    stored_wh: int
    """What is stored above the reserve and not promised."""
    energy_micro: tuple[int, ...]
    reserves_micro: Mapping[str, Prices]
    up_w: tuple[int, ...]
    """What each hour may still promise upward, and downward."""
    down_w: tuple[int, ...]
    exposure_wh: tuple[tuple[range, int], ...]
    """Of the hours of each UTC day: the energy whose buying back the day's limit still covers."""


def outlook(
    offered: tuple[Product, ...],
    product: Product,
    book: PriceBook,
    bounds: tuple[Limits, Guard],
    hours_ns: range,
    able_in: Callable[[int], FleetCapability],
    committed_micro: Callable[[int], int],
) -> Outlook | Refusal:
    """The outlook for these hours (starts in ns); why there is none where nothing could be offered."""
    limits, guard = bounds
    for hour_ns in (hours_ns[0], hours_ns[-1]):
        refusal = guard.objection(hour_ns // DAY_NS)
        if refusal is not None:
            return refusal
    able = [able_in(hour_ns) for hour_ns in hours_ns]
    most_w = limits.power_max_w
    up_w = tuple(min(one.discharge_w, most_w) for one in able)
    down_w = tuple(min(one.charge_w, most_w) for one in able)
    if max(*up_w, *down_w) < limits.power_min_w:
        return Refusal.BELOW_MINIMUM
    energy = _energy(offered, book, hours_ns)
    reserves = {
        kind: tuple(
            reserve_price(book, product.reserve_series(kind), hour_ns)
            if product_for(offered, hour_ns) is product
            else None
            for hour_ns in hours_ns
        )
        for kind in sorted(SOLD[product.venue])
    }
    if energy is None or all(one is None for prices in reserves.values() for one in prices):
        return Refusal.NO_PRICE
    first = able[0]
    charge_w, discharge_w = min(first.plate_charge_w, most_w), min(first.plate_discharge_w, most_w)
    return Outlook(
        product.venue,
        hours_ns[0],
        Plant(first.usable_wh, charge_w, discharge_w, WEAR_MICRO_PER_MWH),
        first.stored_wh,
        energy,
        reserves,
        up_w,
        down_w,
        _exposure(limits, hours_ns, committed_micro),
    )


def _energy(
    offered: tuple[Product, ...], book: PriceBook, hours_ns: Sequence[int]
) -> tuple[int, ...] | None:
    """The reference price of each hour at the venue it belongs to; an hour of which nothing is known
    takes the mean of the others.
    """
    prices = []
    for hour_ns in hours_ns:
        one = product_for(offered, hour_ns)
        prices.append(reference_price(book, one.venue, one.node, one.ahead, one.market, hour_ns))
    known = [price for price in prices if price is not None]
    if not known:
        return None
    mean = sum(known) // len(known)
    return tuple(mean if price is None else price for price in prices)


def _exposure(
    limits: Limits, hours_ns: Sequence[int], committed_micro: Callable[[int], int]
) -> tuple[tuple[range, int], ...]:
    days: dict[int, list[int]] = {}
    for number, hour_ns in enumerate(hours_ns):
        days.setdefault(hour_ns // DAY_NS, []).append(number)
    return tuple(
        (
            range(numbers[0], numbers[-1] + 1),
            exposure_room_wh(limits, committed_micro(hours_ns[numbers[0]])),
        )
        for numbers in days.values()
    )
