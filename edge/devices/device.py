"""The port behind which every meter, inverter and battery looks the same.

A driver turns its device's registers into whole numbers in the units of `protos.messages.Quantity`
and a control request into writes. It never invents a value: what it could not read is None, what
it could not believe raises. It knows nothing of the cloud, of offers or of signing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from protos.messages import DeviceEntry, Quantity, Role


@dataclass(frozen=True, slots=True)
class Point:
    """One value a device gives. `phase` is 0 for the total; `billing` marks the device's own
    energy counters, the only values that are ever settled. A counter starts again from 0 at
    `rollover_wh` and never grows faster than `max_rate_w`; 0 where the model does not say.
    """

    quantity: Quantity
    phase: int = 0
    billing: bool = False
    rollover_wh: int = 0
    max_rate_w: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of a device: values in the order of its points, None where not available.

    The times are those of the reply, on the agent's clock.
    """

    at_ns: int
    monotonic_ns: int
    values: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class SetpointLimits:
    """What the device's own profile permits. No order from outside can exceed it. Powers in W.

    `max_draw_w` is what a charger takes at most; below `least_draw_w` it can only pause. `wears`
    says that a new value costs the device a write to memory that wears out.
    """

    max_charge_w: int
    max_discharge_w: int
    max_export_w: int | None = None
    max_draw_w: int | None = None
    least_draw_w: int = 0
    wears: bool = False


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """How one device is reached, as an installer writes it.

    `transport` is "tcp", "rtu", "rtu_over_tcp", "serial", "mqtt" or "udp"; `address` is host:port
    or a serial port's path. `profile` names a file of firmware-configs ("eastron/sdm630") or a way
    to talk that needs none: "sunspec", "p1", "iec62056-21", "mqtt", "dlms", "sma-speedwire".
    """

    name: str
    role: Role
    profile: str
    transport: str
    address: str
    unit: int = 1
    baud: int = 9600
    parity: str = "N"
    options: Mapping[str, str | int | bool] = field(default_factory=dict)


class DeviceError(Exception):
    """A device did not do what was asked. Retried by the poller within its back-off."""

    def __init__(self, device: str, problem: str, advice: str) -> None:
        super().__init__(f"{device}: {problem}; {advice}")
        self.device = device
        self.problem = problem
        self.advice = advice


class NotControllableError(DeviceError):
    """The device has no setpoint of this kind."""


class Device(Protocol):
    """A meter, inverter or battery that can be read and, where it has setpoints, steered."""

    @property
    def entry(self) -> DeviceEntry: ...
    @property
    def points(self) -> tuple[Point, ...]: ...
    @property
    def limits(self) -> SetpointLimits | None:
        """None for a device that cannot be steered."""

    async def read(self) -> Sample:
        """One sweep over all points. Raises DeviceError; never returns an old or guessed value."""

    async def set_power(self, power_w: int, ttl_s: int) -> None:
        """Charge (negative) or discharge until `ttl_s` real seconds from now, device timer first."""

    async def set_export_limit(self, limit_w: int, ttl_s: int) -> None:
        """Cap production for `ttl_s` real seconds, device timer first."""

    async def set_charge_limit(self, limit_w: int, ttl_s: int) -> None:
        """Cap what a charger gives its car, 0 pauses, for `ttl_s` real seconds, device timer first."""

    async def restore_default(self) -> None:
        """Undo every setpoint: what the device does when nobody steers it."""

    async def close(self) -> None: ...
