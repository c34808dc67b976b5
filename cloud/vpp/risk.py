"""The desk's limits, checked before a bid exists. What cannot be checked does not pass.

Power: no interval's bid or award is larger than the limit. Exposure: what a day's bids could cost
at the worst, which for a sale is buying all of it back at the venue's hard cap (an award is a
physical duty, it cannot be stopped out of) and for a purchase is paying the highest price bid; of
a metered award what was not delivered remains.
Energy: where bids say their storage, none asks for more than is stored above its minimum, or fits
below its maximum, for as long as it may run; nor for a quicker turn than the batteries can make.
Never lets a curve pass that is not a rising staircase. A day that has strayed or lost more than its
limit makes no more bids (where bids say their storage, awards that still run count as far as they
have strayed), and while the kill switch is on nothing is bid or dispatched: an award
that was given cannot be stopped out of, so what is limited is what may still be added.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from cloud.commands import CurveSegment
from cloud.vpp.capability import FleetStorage
from cloud.vpp.curve import is_well_formed
from protos.clock import MINUTE_NS
from protos.messages import Refusal
from protos.units import energy_wh

HARD_CAP_MICRO = 2_000_000_000
"""2,000 per MWh, the energy bid cap since trade date 2021-03-20."""

MICRO_WH_PER_MWH = 1_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Power in W per interval, money in micro-units per UTC day of delivery."""

    power_max_w: int
    exposure_max_micro: int
    power_min_w: int

    @property
    def are_sound(self) -> bool:
        return 0 < self.power_min_w <= self.power_max_w and self.exposure_max_micro >= 0

    def state(self) -> list[int]:
        return [self.power_max_w, self.exposure_max_micro, self.power_min_w]


def buy_back_micro(sold_wh: int) -> int:
    """The cost of buying back energy at the hard cap, rounded up; nothing for a purchase."""
    return -(-max(0, sold_wh) * HARD_CAP_MICRO // MICRO_WH_PER_MWH)


def exposure_room_wh(limits: Limits, committed_micro: int) -> int:
    """How much more energy may be sold into a day whose exposure so far is this, rounded down."""
    left_micro = max(0, limits.exposure_max_micro - committed_micro)
    return left_micro * MICRO_WH_PER_MWH // HARD_CAP_MICRO


def exposure_micro(curve: Sequence[CurveSegment], duration_ns: int) -> int:
    """The most that one bid can cost.

    A charge at `power_w` is bought at no more than the price of the segment after it, where it
    would become a smaller one.
    """
    worst = buy_back_micro(energy_wh(curve[-1].power_w, duration_ns))
    for segment, following in pairwise(curve):
        if segment.power_w < 0:
            paid = max(0, following.price_micro_per_mwh)
            worst = max(
                worst, -(energy_wh(segment.power_w, duration_ns) * paid // MICRO_WH_PER_MWH)
            )
    return worst


def objection(
    limits: Limits, curve: Sequence[CurveSegment], duration_ns: int, committed_micro: int
) -> Refusal | None:
    """Why this bid must not be made, or None. `committed_micro` is the day's exposure so far."""
    if not is_well_formed(curve) or duration_ns <= 0:
        return Refusal.MALFORMED
    widest_w = max(abs(curve[0].power_w), abs(curve[-1].power_w))
    if widest_w < limits.power_min_w:
        return Refusal.BELOW_MINIMUM
    if widest_w > limits.power_max_w:
        return Refusal.RISK_LIMIT
    if committed_micro + exposure_micro(curve, duration_ns) > limits.exposure_max_micro:
        return Refusal.RISK_LIMIT
    return None


@dataclass(frozen=True, slots=True)
class Swing:
    """The most that a bid may ask of its batteries: so much power either way, amounts >= 0, for
    `duration_ns`, and a change of power of `turn_w` within `turn_ns`.
    """

    charge_w: int
    discharge_w: int
    duration_ns: int
    turn_w: int
    turn_ns: int


def storage_objection(
    storage: FleetStorage, swing: Swing, *, from_anywhere: bool = False
) -> Refusal | None:
    """Why the batteries could not do what is offered, or None. No storage known is none there.

    A Wh at the terminals counts as one in the store, as in what the fleet can hold: what charging
    loses leaves more room, what discharging loses is not counted. `from_anywhere` takes the store to
    be as full, or as empty, as would serve.
    """
    if not storage.is_sound:
        return Refusal.NO_BATTERY
    out_wh, in_wh = storage.stored_wh - storage.soc_min_wh, storage.soc_max_wh - storage.stored_wh
    if from_anywhere:
        out_wh = in_wh = out_wh + in_wh
    if energy_wh(swing.discharge_w, swing.duration_ns) > out_wh:
        return Refusal.NOT_STORED
    if energy_wh(swing.charge_w, swing.duration_ns) > in_wh:
        return Refusal.NOT_STORED
    if swing.turn_w * MINUTE_NS > storage.ramp_w_per_min * swing.turn_ns:
        return Refusal.TOO_STEEP
    return None


@dataclass(slots=True)
class Day:
    """What one UTC day of delivery has strayed and lost so far."""

    deviation_wh: int = 0
    revenue_micro: int = 0


@dataclass(slots=True)
class Guard:
    """The kill switch and the limits of a day; 0 is no limit. Deviation is summed without signs."""

    is_halted: bool = False
    deviation_max_wh: int = 0
    loss_max_micro: int = 0
    soc_min_per_mille: int = 0
    soc_max_per_mille: int = 1_000
    days: dict[int, Day] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        return (
            min(self.deviation_max_wh, self.loss_max_micro) >= 0
            and 0 <= self.soc_min_per_mille < self.soc_max_per_mille <= 1_000
        )

    def note(self, day: int, awarded_wh: int, delivered_wh: int, revenue_micro: int) -> None:
        """A metered award of this day."""
        account = self.days.setdefault(day, Day())
        account.deviation_wh += abs(delivered_wh - awarded_wh)
        account.revenue_micro += revenue_micro

    def objection(self, day: int, straying_wh: int = 0) -> Refusal | None:
        """Why no bid may be added for this day, or None. `straying_wh` is by how much its awards
        stray that are not metered yet.
        """
        so_far = self.days.get(day, Day())
        if self.is_halted:
            return Refusal.RISK_LIMIT
        strayed_wh = so_far.deviation_wh + straying_wh
        if self.deviation_max_wh and strayed_wh >= self.deviation_max_wh:
            return Refusal.RISK_LIMIT
        if self.loss_max_micro and -so_far.revenue_micro >= self.loss_max_micro:
            return Refusal.RISK_LIMIT
        return None

    def forget_before(self, day: int) -> None:
        self.days = {key: account for key, account in self.days.items() if key >= day}

    def state(self) -> object:
        return [
            self.is_halted,
            [self.deviation_max_wh, self.loss_max_micro],
            [self.soc_min_per_mille, self.soc_max_per_mille],
            [[key, one.deviation_wh, one.revenue_micro] for key, one in sorted(self.days.items())],
        ]
