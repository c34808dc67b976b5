"""The port of a Modbus bus, and the pool that gives each serial port or endpoint its one owner.

Two devices behind one port share its bus, so nobody speaks across anybody. The pool must never
open the same port twice.
"""

from typing import Protocol

from edge.devices.device import DeviceError, DeviceSpec
from edge.devices.modbus.links import SerialLink, SocketLink, split_address
from edge.devices.modbus.rtu import RtuBus
from edge.devices.modbus.tcp import TcpBus
from edge.devices.modbus.timing import Manner

TRANSPORTS = ("tcp", "rtu", "rtu_over_tcp")


class Bus(Protocol):
    """One line or connection. All methods raise `errors.BusError`; none retries by itself."""

    def introduce(self, unit: int, manner: Manner) -> None: ...
    def turnaround_s(self, unit: int) -> float | None: ...
    async def read(
        self, unit: int, function: int, address: int, count: int, spare: int = 0
    ) -> tuple[int, ...]: ...
    async def write(
        self, unit: int, function: int, address: int, values: tuple[int, ...]
    ) -> None: ...
    async def close(self) -> None: ...


class BusPool:
    """Every bus of this agent, by transport and address. Use inside a running event loop."""

    def __init__(self) -> None:
        self._buses: dict[tuple[str, str], Bus] = {}
        self._speeds: dict[tuple[str, str], tuple[int, str]] = {}

    def bus(self, spec: DeviceSpec) -> Bus:
        """The bus this device hangs on, made at first use. Raises DeviceError for a bad spec.

        Options read here, of the first device of a bus: in_flight, connect_delay_ms,
        idle_close_s (tcp), stop (rtu).
        """
        key = (spec.transport, spec.address)
        speed = (spec.baud, spec.parity)
        if key not in self._buses:
            self._buses[key] = _make(spec)
            self._speeds[key] = speed
        elif spec.transport == "rtu" and self._speeds[key] != speed:
            raise DeviceError(
                spec.name,
                f"{spec.address} is already used at {self._speeds[key]}",
                "give all devices of one line the same baud and parity",
            )
        return self._buses[key]

    async def close(self) -> None:
        for bus in self._buses.values():
            await bus.close()
        self._buses.clear()
        self._speeds.clear()


def _make(spec: DeviceSpec) -> Bus:
    if spec.transport not in TRANSPORTS:
        raise DeviceError(
            spec.name,
            f"unknown transport {spec.transport!r}",
            f"use one of {', '.join(TRANSPORTS)}",
        )
    if spec.transport == "rtu":
        return RtuBus(SerialLink(spec), spec.address, spec.baud)
    try:
        split_address(spec.address)
    except ValueError as error:
        raise DeviceError(spec.name, "bad address", str(error)) from error
    link = SocketLink(spec.address)
    if spec.transport == "rtu_over_tcp":
        return RtuBus(link, spec.address, spec.baud, paced=False)
    options = spec.options
    return TcpBus(
        link,
        spec.address,
        in_flight=int(options.get("in_flight", 1)),
        connect_delay_s=int(options.get("connect_delay_ms", 0)) / 1000,
        idle_close_s=float(options.get("idle_close_s", 0)),
    )
