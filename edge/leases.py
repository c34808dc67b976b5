"""What the dispatch machine is told and what it answers: measurements in, actions and reports out.

Pure, with the rules a lease must meet before a device hears of it. Must never accept what the
device's own profile or the treaty's limits forbid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edge.devices.device import SetpointLimits
from protos.ids import DeviceId
from protos.limits import LEASE_NS_MAX, SETPOINT_W_MAX
from protos.messages import Lease, LeaseReport, LeaseState
from protos.units import largest_remainder

LEASE_ID_MAX = 64


@dataclass(frozen=True, slots=True)
class Steerable:
    """A device with setpoints. `stores` says whether it can charge and discharge."""

    name: str
    limits: SetpointLimits
    stores: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """What the devices say now: power of all batteries, of the grid connection (what is fed in and
    what is drawn, one of them 0), of all chargers and of all roofs in W, the lowest state of charge, and the grid's frequency; None where it is
    not known.
    """

    battery_w: int | None = None
    charge_per_mille: int | None = None
    knows_charge: bool = False
    export_w: int | None = None
    draw_w: int | None = None
    production_w: int | None = None
    frequency_mhz: int | None = None
    import_w: int | None = None


@dataclass(frozen=True, slots=True)
class Remember:
    """Write to disk, before anything else, that these devices are steered; empty: none is."""

    devices: tuple[str, ...]
    leases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetPower:
    device: str
    power_w: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class SetExportLimit:
    device: str
    limit_w: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class SetChargeLimit:
    device: str
    limit_w: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Restore:
    device: str


@dataclass(frozen=True, slots=True)
class Report:
    report: LeaseReport


Setpoint = SetPower | SetExportLimit | SetChargeLimit
Action = Remember | Setpoint | Restore | Report


def amount_w(action: Setpoint) -> int:
    """What a setpoint asks for."""
    return action.power_w if isinstance(action, SetPower) else action.limit_w


def asked_w(lease: Lease, kind: type[Setpoint]) -> int | None:
    """What a lease says of this kind of setpoint; None where it says nothing."""
    if kind is SetPower:
        return lease.power_w
    return lease.export_limit_w if kind is SetExportLimit else lease.charge_limit_w


def orders_of(lease: Lease) -> str:
    """What a lease asks for, in words."""
    orders = []
    if lease.power_w is not None:
        verb = "charge with" if lease.power_w < 0 else "discharge with"
        orders.append(f"{verb} {abs(lease.power_w)} W")
    if lease.export_limit_w is not None:
        orders.append(f"feed in {lease.export_limit_w} W at most")
    if lease.charge_limit_w is not None:
        orders.append(f"cars draw {lease.charge_limit_w} W at most")
    if lease.import_limit_w is not None:
        orders.append(f"draw {lease.import_limit_w} W from the grid at most")
    return ", ".join(orders)


def charge_shares(limit_w: int, chargers: Sequence[Steerable]) -> list[int]:
    """A limit for all chargers together, split so that no car is offered less than it can take:
    where it does not reach for all, the last ones pause.
    """
    for count in range(len(chargers), 0, -1):
        served = chargers[:count]
        most = [known(item.limits.max_draw_w) for item in served]
        parts = largest_remainder(min(limit_w, sum(most)), most)
        if all(part >= item.limits.least_draw_w for part, item in zip(parts, served, strict=True)):
            return parts + [0] * (len(chargers) - count)
    return [0] * len(chargers)


def power_range(stores: Sequence[Steerable]) -> tuple[int, int]:
    """From full charge (negative) to full discharge, in W, of all batteries together."""
    charge = sum(item.limits.max_charge_w for item in stores)
    return -charge, sum(item.limits.max_discharge_w for item in stores)


def problem_of(lease: Lease, device: DeviceId, fleet: Sequence[Steerable], at_ns: int) -> str:
    """Why a lease must not be followed; empty for one that may."""
    if lease.device != device:
        return "another gateway's lease"
    if not 0 < len(lease.lease_id) <= LEASE_ID_MAX or not lease.lease_id.isprintable():
        return f"a lease id has 1 to {LEASE_ID_MAX} printable characters"
    if lease.expires_ns <= at_ns:
        return "expired"
    if lease.expires_ns <= lease.not_before_ns:
        return "ends before it starts"
    if lease.not_before_ns > at_ns + LEASE_NS_MAX:
        return "more than a day ahead"
    if lease.expires_ns - max(at_ns, lease.not_before_ns) > LEASE_NS_MAX:
        return "longer than a day"
    if not 0 <= lease.ramp_w_per_s <= SETPOINT_W_MAX:
        return "the ramp is out of range"
    return _outside(lease, fleet)


def _outside(lease: Lease, fleet: Sequence[Steerable]) -> str:
    """What of the order this home cannot do."""
    stores = [item for item in fleet if item.stores]
    chargers = [item for item in fleet if item.limits.max_draw_w is not None]
    curtailed = [item for item in fleet if item.limits.max_export_w is not None]
    limits = (
        ("export", lease.export_limit_w, curtailed, "no inverter that can be curtailed"),
        ("charge", lease.charge_limit_w, chargers, "no charger that can be limited"),
        ("import", lease.import_limit_w, stores + chargers, "nothing that can draw less"),
    )
    if lease.power_w is None and all(limit_w is None for _, limit_w, _, _ in limits):
        return "neither power nor a limit of export, import or charging"
    if lease.power_w is not None:
        if not stores:
            return "no battery that can be steered"
        low, high = power_range(stores)
        if not low <= lease.power_w <= high:
            return f"{lease.power_w} W is outside {low} to {high} W"
    for name, limit_w, devices, problem in limits:
        if limit_w is not None and not devices:
            return problem
        if limit_w is not None and not 0 <= limit_w <= SETPOINT_W_MAX:
            return f"the {name} limit is out of range"
    return ""


def known(value: int | None) -> int:
    return 0 if value is None else value


def report(
    lease_id: str,
    state: LeaseState,
    at_ns: int,
    applied_w: int = 0,
    measured_w: int = 0,
    detail: str = "",
) -> Report:
    return Report(LeaseReport(lease_id, state, at_ns, applied_w, measured_w, detail))


def report_of(
    lease: Lease,
    state: LeaseState,
    at_ns: int,
    measured: Measured,
    ramp_w: int,
    detail: str = "",
) -> Report:
    """With the battery's power, for a curtailment with what is fed in, for chargers with what
    they draw, for an import limit with what the home draws.
    """
    if lease.power_w is not None:
        applied, seen = ramp_w, measured.battery_w
    elif lease.export_limit_w is None and lease.charge_limit_w is not None:
        applied, seen = lease.charge_limit_w, measured.draw_w
    elif lease.export_limit_w is None:
        applied, seen = known(lease.import_limit_w), measured.import_w
    else:
        applied, seen = known(lease.export_limit_w), measured.export_w
    note = detail or ("not measured" if seen is None else "")
    return report(lease.lease_id, state, at_ns, applied, known(seen), note)
