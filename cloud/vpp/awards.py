"""An award on its way to the batteries: shares, leases, replacements, and what was delivered.

An award is split over the gateways in proportion to what each can hold, for one slot at a time;
the leases end with the slot and are given anew for the next, so a lost cloud leaves no battery
running. A gateway that refuses or fails is barred from the award and its share goes to the others
at the next tick. Delivered energy is the gateways' own measured power over time; a measurement
counts for at most HOLD_NS, so silence is never energy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from cloud.facts import AwardMetered, LeaseIssued, ReserveMetered
from cloud.vpp.capability import HOUR_NS, RAMP_W_PER_S, Capability, Fleet
from cloud.vpp.prices import DAY_NS
from protos.clock import MINUTE_NS, SECOND_NS, slot_at, slot_end_ns, slot_start_ns
from protos.ids import DeviceId, effect_id
from protos.messages import LeaseState
from protos.units import energy_wh, largest_remainder

DISPATCH_LEAD_NS = 2 * MINUTE_NS
"""A lease leaves this long before it begins, so that it arrives in time."""

METER_GRACE_NS = MINUTE_NS
"""How long after its end an award waits for the last reports."""

HOLD_NS = 5 * MINUTE_NS
EARLY_NS = 30 * SECOND_NS
"""A lease that is over this long before its end was given up: the agent stops, the home objects."""

MICRO_WH_PER_MWH = 1_000_000


def metered_revenue(quantity_wh: int, price_micro: int) -> int:
    """Micro-units of a quantity at a price per MWh: (2 * Wh * price + 10^6) div (2 * 10^6), halves up."""
    return (2 * quantity_wh * price_micro + MICRO_WH_PER_MWH) // (2 * MICRO_WH_PER_MWH)


@dataclass(slots=True)
class Share:
    """One gateway's part of an award in the present slot. Positive power is discharge."""

    lease_id: str
    power_w: int


@dataclass(slots=True)
class Meter:
    """One gateway's measured power, held until the next measurement; the sum is in W·ns."""

    last_ns: int
    last_w: int
    total: int = 0

    def measure(self, at_ns: int, power_w: int, starts_ns: int, ends_ns: int) -> None:
        self.total += self._held(at_ns, starts_ns, ends_ns)
        if at_ns >= self.last_ns:
            self.last_ns, self.last_w = at_ns, power_w

    def total_at(self, at_ns: int, starts_ns: int, ends_ns: int) -> int:
        """The sum so far, the newest measurement being held as long as it may; changes nothing."""
        return self.total + self._held(at_ns, starts_ns, ends_ns)

    def _held(self, at_ns: int, starts_ns: int, ends_ns: int) -> int:
        since = max(self.last_ns, starts_ns)
        until = min(at_ns, ends_ns, self.last_ns + HOLD_NS)
        return self.last_w * max(0, until - since)


@dataclass(frozen=True, slots=True)
class Finished:
    """What is kept of a metered award: its terms, and the energy sold but not delivered."""

    terms: tuple[int, int, int]
    short_wh: int


@dataclass(slots=True)
class Award:
    """What the venue bought (positive power) or sold for one interval."""

    bid_id: str
    venue: str
    starts_ns: int
    duration_ns: int
    power_w: int
    price_micro_per_mwh: int
    slot: int = -1
    """The slot that has been dispatched last."""
    attempt: int = 0
    shares: dict[DeviceId, Share] = field(default_factory=dict)
    barred: dict[DeviceId, None] = field(default_factory=dict)
    meters: dict[DeviceId, Meter] = field(default_factory=dict)
    missing_w: int = 0
    """Power of failed shares that nobody has taken over yet, an amount >= 0."""

    @property
    def ends_ns(self) -> int:
        return self.starts_ns + self.duration_ns

    @property
    def terms(self) -> tuple[int, int, int]:
        """Duration, power and price: what a repeated award must repeat."""
        return self.duration_ns, self.power_w, self.price_micro_per_mwh

    @property
    def energy_wh(self) -> int:
        return energy_wh(self.power_w, self.duration_ns)

    def dispatch(self, fleet: Fleet, at_ns: int) -> list[LeaseIssued]:
        """The leases that are due now: a new slot's, or replacements for failed ones."""
        if self.power_w == 0 or at_ns >= self.ends_ns:
            return []
        slot = slot_at(max(at_ns + DISPATCH_LEAD_NS, self.starts_ns))
        if at_ns + DISPATCH_LEAD_NS < self.starts_ns or slot_start_ns(slot) >= self.ends_ns:
            slot = self.slot
        if slot > self.slot:
            return self._begin(slot, fleet, at_ns)
        if self.missing_w and at_ns < slot_end_ns(self.slot):
            return self._replace(fleet, at_ns)
        return []

    def report(
        self, device: DeviceId, lease_id: str, state: int, at_ns: int, measured_w: int
    ) -> bool | None:
        """A gateway's word on its lease; whether it ended as promised, None while it runs.

        Only the lease it now holds can fail it or be measured: what a curtailment measures is not
        the battery.
        """
        share = self.shares.get(device)
        if share is None or share.lease_id != lease_id:
            return None
        if state == LeaseState.ACTIVE:
            self.measure(device, at_ns, measured_w)
        over = state in {LeaseState.EXPIRED, LeaseState.REVERTED}
        ended_early = over and at_ns < self._slot_ends_ns - EARLY_NS
        if ended_early or state in {LeaseState.REFUSED, LeaseState.FAILED}:
            self.missing_w += abs(share.power_w)
            self.barred[device] = None
            del self.shares[device]
            return False
        return True if over else None

    def measure(self, device: DeviceId, at_ns: int, power_w: int) -> None:
        meter = self.meters.get(device)
        if meter is not None:
            meter.measure(at_ns, power_w, self.starts_ns, self.ends_ns)

    def strayed_wh(self, at_ns: int) -> int:
        """How far what was delivered by now lies from what had to be, an amount >= 0."""
        due_wh = energy_wh(self.power_w, max(0, min(at_ns, self.ends_ns) - self.starts_ns))
        totals = [
            meter.total_at(at_ns, self.starts_ns, self.ends_ns) for meter in self.meters.values()
        ]
        return abs(energy_wh(sum(totals), 1) - due_wh)

    def outcome(self) -> AwardMetered | ReserveMetered:
        """What is said of it, once METER_GRACE_NS has passed."""
        return self.metered()

    def metered(self) -> AwardMetered:
        """The result, once METER_GRACE_NS has passed: energy by the reports, money by the price,
        rounded once for the whole award; a purchase is negative.
        """
        delivered = energy_wh(sum(self._totals().values()), 1)
        revenue = metered_revenue(delivered, self.price_micro_per_mwh)
        return AwardMetered(self.bid_id, self.energy_wh, delivered, revenue, self.starts_ns)

    def delivered_wh(self) -> dict[DeviceId, int]:
        """What each gateway gave away, rounded down; whoever only drew is not among them."""
        given = {device: total // HOUR_NS for device, total in self._totals().items()}
        return {device: energy for device, energy in given.items() if energy > 0}

    def _totals(self) -> dict[DeviceId, int]:
        """Each gateway's power over the award's time, in W times ns."""
        for meter in self.meters.values():
            meter.measure(self.ends_ns, 0, self.starts_ns, self.ends_ns)
        return {device: meter.total for device, meter in self.meters.items()}

    @property
    def _slot_ends_ns(self) -> int:
        return min(slot_end_ns(self.slot), self.ends_ns)

    def _begin(self, slot: int, fleet: Fleet, at_ns: int) -> list[LeaseIssued]:
        """A slot's first leases: the whole award over everyone who may be counted on."""
        self.slot, self.attempt, self.missing_w = slot, 0, 0
        self.shares.clear()
        begins_ns = max(slot_start_ns(slot), self.starts_ns, at_ns)
        able = fleet.capabilities(at_ns, self._slot_ends_ns - begins_ns, self.barred)
        parts = self._split(abs(self.power_w), [self._amount(one) for one in able])
        return self._lease(able, parts, begins_ns, fleet, at_ns)

    def _replace(self, fleet: Fleet, at_ns: int) -> list[LeaseIssued]:
        """The failed shares, given to whoever has power to spare for the rest of the slot."""
        self.attempt += 1
        able = fleet.capabilities(at_ns, self._slot_ends_ns - at_ns, self.barred)
        held = [self._held(one.device) for one in able]
        spare = [max(0, self._amount(one) - has) for one, has in zip(able, held, strict=True)]
        extra = self._split(self.missing_w, spare)
        self.missing_w = 0
        parts = [has + more if more else 0 for has, more in zip(held, extra, strict=True)]
        return self._lease(able, parts, max(at_ns, self.starts_ns), fleet, at_ns)

    def _split(self, power_w: int, weights: Sequence[int]) -> list[int]:
        """Parts of as much as the weights can bear; no part is larger than its weight."""
        return largest_remainder(min(power_w, sum(weights)), weights)

    def _amount(self, capability: Capability) -> int:
        return capability.discharge_w if self.power_w > 0 else capability.charge_w

    def _held(self, device: DeviceId) -> int:
        share = self.shares.get(device)
        return 0 if share is None else abs(share.power_w)

    def _lease(
        self,
        able: Sequence[Capability],
        parts: Sequence[int],
        begins_ns: int,
        fleet: Fleet,
        at_ns: int,
    ) -> list[LeaseIssued]:
        """Leases for the non-zero parts. A gateway's new lease takes the place of its last one."""
        leases = []
        sign = 1 if self.power_w > 0 else -1
        for one, part in zip(able, parts, strict=True):
            if part == 0:
                continue
            lease_id = effect_id(
                "lease", self.bid_id, self.starts_ns, self.slot, self.attempt, one.device
            )
            self.shares[one.device] = Share(lease_id, sign * part)
            self._start_meter(one.device, fleet, at_ns)
            leases.append(
                LeaseIssued(
                    lease_id=lease_id,
                    device=one.device,
                    not_before_ns=begins_ns,
                    expires_ns=self._slot_ends_ns,
                    ramp_w_per_s=RAMP_W_PER_S,
                    power_w=sign * part,
                    export_limit_w=None,
                    reason=f"award at {self.venue}",
                )
            )
        return leases

    def _start_meter(self, device: DeviceId, fleet: Fleet, at_ns: int) -> None:
        battery = fleet.get(device)
        if battery is not None and device not in self.meters:
            self.meters[device] = Meter(at_ns, battery.battery_w)

    def state(self) -> object:
        return [
            self.bid_id,
            self.venue,
            self.starts_ns,
            self.duration_ns,
            self.power_w,
            self.price_micro_per_mwh,
            [self.slot, self.attempt, self.missing_w],
            [
                [device, share.lease_id, share.power_w]
                for device, share in sorted(self.shares.items(), key=itemgetter(0))
            ],
            sorted(self.barred),
            [
                [device, meter.last_ns, meter.last_w, meter.total]
                for device, meter in sorted(self.meters.items(), key=itemgetter(0))
            ],
        ]


def energies(result: AwardMetered | ReserveMetered) -> tuple[int, int]:
    """What had to be delivered and what was, in Wh."""
    if isinstance(result, ReserveMetered):
        return result.called_wh, result.delivered_wh
    return result.awarded_wh, result.delivered_wh


class AwardBook:
    """All awards that run, and the terms of those that are over and metered."""

    def __init__(self) -> None:
        self.running: dict[tuple[str, int], Award] = {}
        self.finished: dict[tuple[str, int], Finished] = {}

    def terms(self, bid: str, starts_ns: int) -> tuple[int, int, int] | None:
        """What a repeated award must repeat; None where it is new."""
        award = self.running.get((bid, starts_ns))
        if award is not None:
            return award.terms
        done = self.finished.get((bid, starts_ns))
        return None if done is None else done.terms

    def overlaps(self, bid: str, starts_ns: int, ends_ns: int) -> bool:
        """Whether the bid has an award for a part of this time."""
        taken = [(key[1], award.ends_ns) for key, award in self.running.items() if key[0] == bid]
        taken += [
            (key[1], key[1] + done.terms[0]) for key, done in self.finished.items() if key[0] == bid
        ]
        return any(start < ends_ns and starts_ns < end for start, end in taken)

    def strayed_wh(self, day: int, at_ns: int) -> int:
        """How far the awards of a UTC day of delivery that are not metered yet have strayed."""
        running = [one for one in self.running.values() if one.starts_ns // DAY_NS == day]
        return sum(one.strayed_wh(at_ns) for one in running)

    def finish(self, at_ns: int) -> list[tuple[Award, AwardMetered | ReserveMetered]]:
        """Ends the awards that were over METER_GRACE_NS ago, and says what became of each."""
        over = [one for one in self.running.items() if at_ns >= one[1].ends_ns + METER_GRACE_NS]
        found = []
        for key, award in over:
            del self.running[key]
            result = award.outcome()
            asked, given = energies(result)
            short_wh = max(0, asked - given) if award.power_w > 0 else 0
            self.finished[key] = Finished(award.terms, short_wh)
            found.append((award, result))
        return found

    def state(self) -> list[object]:
        return [
            [award.state() for _, award in sorted(self.running.items(), key=itemgetter(0))],
            [
                [*key, *done.terms, done.short_wh]
                for key, done in sorted(self.finished.items(), key=itemgetter(0))
            ],
        ]
