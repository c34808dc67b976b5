"""What the home's devices say together: grid power, battery power and charge, from fresh samples.

Must never hand on a value that is older than a few polls as if it were now.
"""

from collections.abc import Iterable

from edge.devices.device import SetpointLimits
from edge.leases import Measured, Steerable
from edge.offers import Store
from edge.poller import Poller
from protos.messages import Quantity, Role

FRESH_POLLS = 3


class Home:
    """The pollers of one gateway, seen by role."""

    def __init__(self, pollers: Iterable[Poller], fresh_ns: int) -> None:
        self._pollers = tuple(pollers)
        self._fresh_ns = fresh_ns

    def value(self, poller: Poller, quantity: Quantity, monotonic_ns: int) -> int | None:
        """The device's total of this quantity, None where it has none or did not answer lately."""
        sample, device = poller.latest, poller.device
        if sample is None or device is None:
            return None
        if monotonic_ns - sample.monotonic_ns > self._fresh_ns:
            return None
        for point, value in zip(device.points, sample.values, strict=True):
            if point.quantity is quantity and point.phase == 0:
                return value
        return None

    def total(self, role: Role, quantity: Quantity, monotonic_ns: int) -> int | None:
        """The sum over all devices of a role; None as soon as one of them is not known."""
        result = None
        for poller in self._of(role):
            value = self.value(poller, quantity, monotonic_ns)
            if value is None:
                return None
            result = value if result is None else result + value
        return result

    def _of(self, role: Role) -> list[Poller]:
        return [poller for poller in self._pollers if poller.spec.role is role]

    def measured(self, monotonic_ns: int) -> Measured:
        batteries = self._of(Role.BATTERY)
        quantity = Quantity.STATE_OF_CHARGE_PER_MILLE
        charges = [self.value(poller, quantity, monotonic_ns) for poller in batteries]
        known = [charge for charge in charges if charge is not None]
        grid_w = self.total(Role.GRID, Quantity.POWER_W, monotonic_ns)
        return Measured(
            self.total(Role.BATTERY, Quantity.POWER_W, monotonic_ns),
            min(known) if known and len(known) == len(charges) else None,
            any(_has(poller, quantity) for poller in batteries),
            None if grid_w is None else max(0, -grid_w),
            self.total(Role.EV_CHARGER, Quantity.POWER_W, monotonic_ns),
            self.total(Role.PV, Quantity.POWER_W, monotonic_ns),
            self._frequency_mhz(monotonic_ns),
            None if grid_w is None else max(0, grid_w),
        )

    def _frequency_mhz(self, monotonic_ns: int) -> int | None:
        """The grid's frequency, of the billed meter where it gives one."""
        for role in (Role.GRID, Role.PV, Role.BATTERY):
            for poller in self._of(role):
                value = self.value(poller, Quantity.FREQUENCY_MHZ, monotonic_ns)
                if value is not None:
                    return value
        return None

    def store(self, monotonic_ns: int) -> Store | None:
        """The batteries for a plan; None where their charge or capacity is not known."""
        charge = capacity = 0
        limits: list[SetpointLimits] = []
        for poller in self._of(Role.BATTERY):
            size = self.value(poller, Quantity.CAPACITY_WH, monotonic_ns)
            level = self.value(poller, Quantity.STATE_OF_CHARGE_PER_MILLE, monotonic_ns)
            if size is None or level is None or poller.device is None:
                return None
            capacity += size
            charge += size * level // 1_000
            limits.append(poller.device.limits or SetpointLimits(size, size))
        if not limits:
            return None
        return Store(
            charge,
            capacity,
            sum(item.max_charge_w for item in limits),
            sum(item.max_discharge_w for item in limits),
        )


def steerable(poller: Poller) -> Steerable | None:
    """The device as dispatch sees it; None where it has no setpoints."""
    device = poller.device
    if device is None or device.limits is None:
        return None
    limits = device.limits
    stores = poller.spec.role is Role.BATTERY and (
        limits.max_charge_w > 0 or limits.max_discharge_w > 0
    )
    return Steerable(poller.spec.name, limits, stores)


def shown(poller: Poller) -> list[dict[str, object]]:
    """The device's newest values as the gateway's own page shows them, empty before the first."""
    device, sample = poller.device, poller.latest
    if device is None or sample is None:
        return []
    return [
        {
            "quantity": point.quantity.name.lower(),
            "phase": point.phase,
            "value": value,
            "quality": quality.name,
        }
        for point, value, quality in zip(
            device.points, sample.values, poller.qualities, strict=True
        )
    ]


def _has(poller: Poller, quantity: Quantity) -> bool:
    device = poller.device
    return device is not None and any(point.quantity is quantity for point in device.points)
