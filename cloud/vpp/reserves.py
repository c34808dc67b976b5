"""Reserve capacity from offer to payment: held back from everything else, called, measured, paid.

A watt that is offered as reserve is offered once: it leaves what the hour's energy bid may use, with
the energy that the longest call would take, and an offer that the rest does not leave is refused.
An award holds its part of every gateway; a call turns some of it into leases, as an energy award
would, and ends with its time. Capacity is paid by MW and hour at the award's price; regulation only
in proportion to its performance, and nothing where none was measured. What the energy of a call is
worth is the statement's word. Decides nothing about prices: offers come as commands.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cloud.commands import CallReserve, CurveSegment, OfferReserve, RecordPerformance
from cloud.facts import (
    Awarded,
    AwardMetered,
    BidPrepared,
    DeskRefused,
    Fact,
    LeaseIssued,
    ReserveCalled,
    ReserveMetered,
    ReservePrepared,
)
from cloud.vpp.awards import Award, AwardBook, metered_revenue
from cloud.vpp.bids import Bid, Product
from cloud.vpp.capability import HOUR_NS, Fleet, FleetCapability
from cloud.vpp.curve import PRICE_FLOOR_MICRO, STEP_W
from protos.clock import SECOND_NS
from protos.ids import DeviceId, effect_id
from protos.messages import Refusal
from protos.units import PER_MILLE, energy_wh, largest_remainder

PRICE_MAX_MICRO = 250_000_000
"""CAISO's cap on ancillary service bids, 250 a MW and hour (tariff 39.6.1.3); PJM's for regulation is
lower and its own to enforce."""

CALL_S = {"SPIN": 1_800, "REG_UP": 3_600, "REG_DOWN": 3_600, "REG": 3_600}
"""How long a product must be able to run: half an hour of spinning, an hour of regulation."""

UP = frozenset({"SPIN", "REG_UP", "REG"})
DOWN = frozenset({"REG_DOWN", "REG"})
SCORED = frozenset({"REG_UP", "REG_DOWN", "REG"})
SOLD = {"caiso": frozenset({"SPIN", "REG_UP", "REG_DOWN"}), "pjm": frozenset({"SPIN", "REG"})}
"""PJM buys regulation up and down as one product, CAISO as two."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the hour's reserves keep: power and the energy of their longest calls, both >= 0."""

    up_w: int = 0
    down_w: int = 0
    up_wh: int = 0
    down_wh: int = 0

    def less(self, able: FleetCapability) -> FleetCapability:
        """What is left of a fleet's ability for an energy bid of the same hour."""
        return replace(
            able,
            charge_w=max(0, able.charge_w - self.down_w),
            discharge_w=max(0, able.discharge_w - self.up_w),
            firm_charge_w=max(0, able.firm_charge_w - self.down_w),
            firm_discharge_w=max(0, able.firm_discharge_w - self.up_w),
            plate_charge_w=max(0, able.plate_charge_w - self.down_w),
            plate_discharge_w=max(0, able.plate_discharge_w - self.up_w),
        )


def call_wh(bid: BidPrepared) -> int:
    """The energy that the longest call of a reserve takes."""
    assert isinstance(bid, ReservePrepared), "energy is not called"
    return energy_wh(bid.curve[-1].power_w, bid.call_s * SECOND_NS)


def held_in(bids: Mapping[str, Bid], hour_ns: int, at_ns: int) -> Held:
    """What live reserve offers and awards of this hour keep back."""
    up_w = down_w = up_wh = down_wh = 0
    for bid in bids.values():
        prepared = bid.prepared
        if prepared.product == "EN" or prepared.starts_ns != hour_ns:
            continue
        if not bid.may_still_clear(at_ns):
            continue
        capacity_w = prepared.curve[-1].power_w
        if prepared.product in UP:
            up_w, up_wh = up_w + capacity_w, up_wh + call_wh(prepared)
        if prepared.product in DOWN:
            down_w, down_wh = down_w + capacity_w, down_wh + call_wh(prepared)
    return Held(up_w, down_w, up_wh, down_wh)


def prepared_reserve(
    command: OfferReserve, product: Product, bids: Mapping[str, Bid]
) -> ReservePrepared:
    """The bid of an offer that may be made; after a cancellation the next revision."""
    revision = 0
    where = (product.venue, product.node, command.starts_ns, command.product)
    while (identity := effect_id("bid", *where, revision)) in bids:
        revision += 1
    return ReservePrepared(
        identity,
        product.venue,
        product.node,
        product.market,
        command.starts_ns,
        HOUR_NS,
        command.starts_ns - product.gate_lead_ns,
        (
            CurveSegment(0, PRICE_FLOOR_MICRO),
            CurveSegment(command.capacity_w, command.price_micro_per_mw_h),
        ),
        command.product,
        CALL_S[command.product],
    )


def offer_objection(command: OfferReserve, product: Product | None) -> Refusal | None:
    """What is wrong with an offer in itself, or None."""
    if product is None or command.product not in SOLD.get(command.venue, ()):
        return Refusal.UNKNOWN_OFFER
    if command.starts_ns % HOUR_NS:
        return Refusal.BAD_INTERVAL
    if not 0 <= command.price_micro_per_mw_h <= PRICE_MAX_MICRO:
        return Refusal.BAD_PRICE
    if command.capacity_w <= 0 or command.capacity_w % STEP_W:
        return Refusal.MALFORMED
    return None


def room_objection(
    command: OfferReserve, able: FleetCapability, bids: Mapping[str, Bid], at_ns: int
) -> Refusal | None:
    """Whether the fleet has the power, `able` being what earlier reserves left of it."""
    room = room_w(command, able, bids, at_ns)
    return Refusal.NO_RESERVE if command.capacity_w > room else None


def room_w(
    command: OfferReserve, able: FleetCapability, bids: Mapping[str, Bid], at_ns: int
) -> int:
    """How much of an offer's product the hour still has room for; the whole span of the hour's energy
    bids is spoken for, and what is to be alone has no room beside anything.
    """
    beside = [
        bid.prepared
        for bid in bids.values()
        if bid.prepared.starts_ns == command.starts_ns and bid.may_still_clear(at_ns)
    ]
    if command.alone and beside:
        return 0
    curves = [one.curve for one in beside if one.product == "EN"]
    sold_w = sum(max(0, curve[-1].power_w) for curve in curves)
    bought_w = sum(max(0, -curve[0].power_w) for curve in curves)
    # Each of W held for an hour needs no more energy than the ability was reckoned with.
    rooms = []
    if command.product in UP:
        rooms.append(able.discharge_w - sold_w)
    if command.product in DOWN:
        rooms.append(able.charge_w - bought_w)
    return min(rooms)


def call_reserve(book: AwardBook, command: CallReserve) -> list[Fact]:
    """Begins a call of an award that runs."""
    award = running(book, command.bid_id, command.starts_ns)
    if award is None:
        return [DeskRefused(command.bid_id, Refusal.UNKNOWN_OFFER)]
    refusal = award.start(command)
    if refusal is not None:
        return [DeskRefused(command.bid_id, refusal)]
    terms = (command.starts_ns, command.duration_ns, command.power_w)
    return [ReserveCalled(command.bid_id, *terms)]


def score_reserve(book: AwardBook, command: RecordPerformance) -> list[Fact]:
    """Takes the measured performance of an award that is not metered yet."""
    award = running(book, command.bid_id, command.starts_ns)
    refusal = Refusal.UNKNOWN_OFFER if award is None else award.score(command)
    return [] if refusal is None else [DeskRefused(command.bid_id, refusal)]


def standing_awards(book: AwardBook) -> list[Awarded]:
    """The reserve awards that are not metered yet, as they were said: for a pump that just started."""
    return [
        Awarded(award.bid_id, award.venue, award.starts_ns, *award.terms)
        for award in book.running.values()
        if isinstance(award, ReserveAward)
    ]


def running(book: AwardBook, bid_id: str, at_ns: int) -> "ReserveAward | None":
    """The reserve award of a bid whose interval holds this moment."""
    for (bid, starts_ns), award in book.running.items():
        if bid == bid_id and starts_ns <= at_ns < award.ends_ns and isinstance(award, ReserveAward):
            return award
    return None


@dataclass(slots=True)
class ReserveAward(Award):
    """Capacity that the venue bought for one interval: `power_w` at a price for MW and hour."""

    product: str = ""
    parts_w: dict[DeviceId, int] = field(default_factory=dict)
    """What each gateway holds, from the award's first moment."""
    call: Award | None = None
    called_wh: int = 0
    given_wh: int = 0
    performance: int | None = None

    def dispatch(self, fleet: Fleet, at_ns: int) -> list[LeaseIssued]:
        if not self.parts_w and at_ns >= self.starts_ns:
            able = fleet.capabilities(at_ns, self.duration_ns)
            weights = [one.charge_w if self._is_down else one.discharge_w for one in able]
            shares = largest_remainder(min(self.power_w, sum(weights)), weights)
            self.parts_w = {
                one.device: part for one, part in zip(able, shares, strict=True) if part
            }
        return [] if self.call is None else self.call.dispatch(fleet, at_ns)

    @property
    def _is_down(self) -> bool:
        return self.product not in UP

    def start(self, command: CallReserve) -> Refusal | None:
        """A call, which takes the place of the one before; why it cannot be, or None."""
        ends_ns = command.starts_ns + command.duration_ns
        if not self.starts_ns <= command.starts_ns < ends_ns <= self.ends_ns:
            return Refusal.BAD_INTERVAL
        lowest = -self.power_w if self.product in DOWN else 0
        highest = self.power_w if self.product in UP else 0
        if not lowest <= command.power_w <= highest:
            return Refusal.RISK_LIMIT
        if self.call is not None and command.starts_ns < self.call.ends_ns:
            self.call.duration_ns = max(0, command.starts_ns - self.call.starts_ns)
        self._close_call()
        terms = (command.duration_ns, command.power_w, 0)
        self.call = Award(self.bid_id, self.venue, command.starts_ns, *terms)
        return None

    def strayed_wh(self, at_ns: int) -> int:
        so_far = 0 if self.call is None else self.call.strayed_wh(at_ns)
        return abs(self.given_wh - self.called_wh) + so_far

    def _close_call(self) -> None:
        if self.call is not None:
            result = self.call.metered()
            self.called_wh += result.awarded_wh
            self.given_wh += result.delivered_wh
            self.call = None

    def report(
        self, device: DeviceId, lease_id: str, state: int, at_ns: int, measured_w: int
    ) -> bool | None:
        if self.call is None:
            return None
        return self.call.report(device, lease_id, state, at_ns, measured_w)

    def measure(self, device: DeviceId, at_ns: int, power_w: int) -> None:
        if self.call is not None:
            self.call.measure(device, at_ns, power_w)

    def score(self, command: RecordPerformance) -> Refusal | None:
        parts = (command.accuracy, command.delay, command.precision)
        if self.product not in SCORED or not all(0 <= one <= PER_MILLE for one in parts):
            return Refusal.MALFORMED
        self.performance = sum(parts) // len(parts)
        return None

    @property
    def paid_wh(self) -> int:
        """Capacity over its time that is paid for, rounded down."""
        if self.product not in SCORED:
            return self.energy_wh
        return self.energy_wh * (self.performance or 0) // PER_MILLE

    def outcome(self) -> AwardMetered | ReserveMetered:
        self._close_call()
        performance = PER_MILLE if self.product not in SCORED else self.performance or 0
        return ReserveMetered(
            self.bid_id,
            self.starts_ns,
            self.energy_wh,
            self.called_wh,
            self.given_wh,
            performance,
            metered_revenue(self.paid_wh, self.price_micro_per_mwh),
        )

    def delivered_wh(self) -> dict[DeviceId, int]:
        """Who held what for how long: by that the payment is shared."""
        held = {one: energy_wh(part, self.duration_ns) for one, part in self.parts_w.items()}
        return {device: energy for device, energy in held.items() if energy > 0}

    def state(self) -> object:
        call = None if self.call is None else self.call.state()
        return [
            Award.state(self),
            self.product,
            sorted(self.parts_w.items()),
            call,
            [self.called_wh, self.given_wh, self.performance],
        ]
