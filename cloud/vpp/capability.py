"""What the fleet can do: every battery as its gateway last signed it, and the power it can hold.

A battery counts only while its gateway is heard, and only above its reserve: the last tenth is the
household's. Power is what can be held for the whole of an interval, not what the plate says.
Never counts a battery whose state is older than FRESH_NS, and never promises energy twice.

How far a gateway can be relied on is learnt from the leases it held or failed; the fleet's firm
power is what it holds in about nine of ten cases, its gateways failing independently.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from math import isqrt

from cloud.commands import ObserveFleet
from protos.clock import MINUTE_NS
from protos.ids import AccountId, DeviceId
from protos.units import PER_MILLE, largest_remainder

FRESH_NS = 15 * MINUTE_NS
"""A gateway that was silent for longer than this is not counted on."""

RESERVE_PER_MILLE = 100
"""Of a battery's capacity, kept for the home and never sold."""

RAMP_W_PER_S = 500
"""How fast a lease lets one gateway's battery change its power."""

RAMP_W_PER_MIN = RAMP_W_PER_S * 60
HOUR_NS = 60 * MINUTE_NS


@dataclass(frozen=True, slots=True)
class Battery:
    """One gateway's battery as last heard. Positive `battery_w` is discharge."""

    device: DeviceId
    zone: str
    soc_per_mille: int
    capacity_wh: int
    max_charge_w: int
    max_discharge_w: int
    battery_w: int
    seen_ns: int
    account: AccountId = AccountId("")  # noqa: RUF009 - a str

    def stored_above_wh(self, floor_per_mille: int) -> int:
        """Energy above a state of charge, rounded down."""
        return self.capacity_wh * max(0, self.soc_per_mille - floor_per_mille) // PER_MILLE

    def room_below_wh(self, ceiling_per_mille: int) -> int:
        """Energy that still fits below a state of charge, rounded down."""
        return self.capacity_wh * max(0, ceiling_per_mille - self.soc_per_mille) // PER_MILLE


@dataclass(frozen=True, slots=True)
class Capability:
    """The power one gateway can hold either way for an interval, both as amounts >= 0."""

    device: DeviceId
    charge_w: int
    discharge_w: int


@dataclass(frozen=True, slots=True)
class FleetCapability:
    """The sum over the fleet for one interval, and what it could do with any charge."""

    charge_w: int
    discharge_w: int
    stored_wh: int
    usable_wh: int
    """From reserve to full, whatever is in it now."""
    plate_charge_w: int
    plate_discharge_w: int
    firm_charge_w: int = 0
    """What is held in about nine of ten cases, by what the gateways have shown."""
    firm_discharge_w: int = 0

    @property
    def firm(self) -> "FleetCapability":
        """The same fleet, promising only what it is relied on for."""
        return replace(self, charge_w=self.firm_charge_w, discharge_w=self.firm_discharge_w)

    @property
    def widest_w(self) -> int:
        return max(self.charge_w, self.discharge_w)


@dataclass(frozen=True, slots=True)
class FleetStorage:
    """The fleet's batteries as one store: energy in Wh, absolute, with 0 <= minimum <= stored <=
    maximum <= capacity, and how fast its power can change, in W per minute.
    """

    stored_wh: int
    soc_min_wh: int
    soc_max_wh: int
    ramp_w_per_min: int

    @property
    def is_sound(self) -> bool:
        bounds_hold = 0 <= self.soc_min_wh <= self.stored_wh <= self.soc_max_wh
        return bounds_hold and self.ramp_w_per_min > 0

    def after(self, taken_wh: int, sold_wh: int, bought_wh: int) -> "FleetStorage":
        """The store once `taken_wh` has gone out of it (negative: come in), by what is expected.

        `sold_wh` and `bought_wh`, amounts >= 0, are the most that may have gone out and come in:
        what is expected lies between them and within the bounds.
        """
        least = max(self.soc_min_wh, self.stored_wh - sold_wh)
        most = min(self.soc_max_wh, self.stored_wh + bought_wh)
        return replace(self, stored_wh=max(least, min(most, self.stored_wh - taken_wh)))


def power_for(energy_wh: int, duration_ns: int) -> int:
    """The constant power, in W rounded down, that uses up this energy in this time."""
    return energy_wh * HOUR_NS // duration_ns


def heard(command: ObserveFleet, at_ns: int) -> Battery:
    return Battery(
        command.device,
        command.zone,
        command.soc_per_mille,
        command.capacity_wh,
        command.max_charge_w,
        command.max_discharge_w,
        command.battery_w,
        at_ns,
        command.account,
    )


def is_plausible(battery: Battery) -> bool:
    return (
        0 <= battery.soc_per_mille <= PER_MILLE
        and battery.capacity_wh >= 0
        and battery.max_charge_w >= 0
        and battery.max_discharge_w >= 0
    )


RELIABLE = PER_MILLE
"""Of a gateway that has failed nothing yet."""

LEARN = 8
"""A lease's outcome moves a gateway's reliability by an eighth of what is left."""

NINE_OF_TEN_PER_MILLE = 1_282
"""Standard deviations below the mean that one in ten lies beneath."""


class Fleet:
    """All batteries by device. The state of charge that may be used lies within `soc_bounds`."""

    def __init__(self) -> None:
        self._batteries: dict[DeviceId, Battery] = {}
        self._reliable: dict[DeviceId, int] = {}
        self.soc_bounds = (0, PER_MILLE)

    def held(self, device: DeviceId, *, ok: bool) -> None:
        """A lease of this gateway ended as promised, or did not."""
        known = self._reliable.get(device, RELIABLE)
        self._reliable[device] = (
            known + (PER_MILLE - known) // LEARN if ok else known - known // LEARN
        )
        if self._reliable[device] >= PER_MILLE - LEARN:
            del self._reliable[device]

    def reliable_per_mille(self, device: DeviceId) -> int:
        return self._reliable.get(device, RELIABLE)

    def stored_wh(self, battery: Battery) -> int:
        return battery.stored_above_wh(max(RESERVE_PER_MILLE, self.soc_bounds[0]))

    def room_wh(self, battery: Battery) -> int:
        return battery.room_below_wh(self.soc_bounds[1])

    def observe(self, battery: Battery) -> None:
        self._batteries[battery.device] = battery

    def get(self, device: DeviceId) -> Battery | None:
        return self._batteries.get(device)

    def fresh(self, at_ns: int) -> list[Battery]:
        """The batteries that are heard, in the order of their devices."""
        return [
            self._batteries[device]
            for device in sorted(self._batteries)
            if at_ns - self._batteries[device].seen_ns <= FRESH_NS
        ]

    def forget_before(self, at_ns: int) -> None:
        for device in [d for d, battery in self._batteries.items() if battery.seen_ns < at_ns]:
            del self._batteries[device]
            self._reliable.pop(device, None)

    def capabilities(
        self, at_ns: int, duration_ns: int, barred: Container[DeviceId] = ()
    ) -> list[Capability]:
        """What each heard gateway can hold for `duration_ns`, in the order of the devices."""
        return [
            Capability(
                battery.device,
                min(battery.max_charge_w, power_for(self.room_wh(battery), duration_ns)),
                min(battery.max_discharge_w, power_for(self.stored_wh(battery), duration_ns)),
            )
            for battery in self.fresh(at_ns)
            if battery.device not in barred
        ]

    def capability(
        self, at_ns: int, duration_ns: int, sold_wh: int = 0, bought_wh: int = 0
    ) -> FleetCapability:
        """The fleet's power for an interval that comes after `sold_wh` went out and `bought_wh` in.

        What is promised is taken from each battery in proportion to what it holds, as the awards
        will be. Energy that is only promised to come in is not counted as there, nor room that is
        only promised to be freed: a promise may fail.
        """
        batteries = self.fresh(at_ns)
        stored = _less([self.stored_wh(battery) for battery in batteries], sold_wh)
        room = _less([self.room_wh(battery) for battery in batteries], bought_wh)
        charge = [
            min(battery.max_charge_w, power_for(room_wh, duration_ns))
            for battery, room_wh in zip(batteries, room, strict=True)
        ]
        discharge = [
            min(battery.max_discharge_w, power_for(stored_wh, duration_ns))
            for battery, stored_wh in zip(batteries, stored, strict=True)
        ]
        return FleetCapability(
            sum(charge),
            sum(discharge),
            sum(stored),
            sum(self.stored_wh(battery) + self.room_wh(battery) for battery in batteries),
            sum(battery.max_charge_w for battery in batteries),
            sum(battery.max_discharge_w for battery in batteries),
            self._firm_w(batteries, charge),
            self._firm_w(batteries, discharge),
        )

    def storage(self, at_ns: int) -> "FleetStorage":
        """All heard batteries taken as one store, as they are now.

        A battery below its reserve can give nothing, and one that is above its limit can take
        nothing: it then bounds the store where it stands.
        """
        batteries = self.fresh(at_ns)
        stored_wh = sum(battery.stored_above_wh(0) for battery in batteries)
        ramps = [
            min(RAMP_W_PER_MIN, battery.max_charge_w + battery.max_discharge_w)
            for battery in batteries
        ]
        return FleetStorage(
            stored_wh,
            stored_wh - sum(self.stored_wh(battery) for battery in batteries),
            stored_wh + sum(self.room_wh(battery) for battery in batteries),
            sum(ramps),
        )

    def _firm_w(self, batteries: Sequence[Battery], powers_w: Sequence[int]) -> int:
        """The sum of what independent gateways hold in nine of ten cases, rounded down."""
        mean = variance = 0
        for battery, power_w in zip(batteries, powers_w, strict=True):
            reliable = self._reliable.get(battery.device, RELIABLE)
            mean += power_w * reliable
            variance += power_w * power_w * reliable * (PER_MILLE - reliable)
        return max(0, mean - NINE_OF_TEN_PER_MILLE * isqrt(variance) // PER_MILLE) // PER_MILLE

    def state(self) -> object:
        return [
            [
                battery.device,
                battery.zone,
                battery.soc_per_mille,
                battery.capacity_wh,
                battery.max_charge_w,
                battery.max_discharge_w,
                battery.battery_w,
                battery.seen_ns,
                battery.account,
                self.reliable_per_mille(battery.device),
            ]
            for battery in (self._batteries[device] for device in sorted(self._batteries))
        ]


def _less(amounts: Sequence[int], taken: int) -> list[int]:
    """The amounts after `taken` of their sum is gone, each by its share."""
    taken = min(taken, sum(amounts))
    return [
        amount - part
        for amount, part in zip(amounts, largest_remainder(taken, amounts), strict=True)
    ]
