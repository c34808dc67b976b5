"""A device that a profile describes: reads its points, writes its setpoints within its bounds.

It decides which answers are believable, by the profile's physical limits. It must never return a
value it did not just read, never write beyond the profile's bounds, and never wear out a register.
"""

import asyncio
from collections import deque

from edge.devices.device import (
    DeviceError,
    DeviceSpec,
    NotControllableError,
    Point,
    Sample,
    SetpointLimits,
)
from edge.devices.modbus.bus import Bus
from edge.devices.modbus.errors import BusError
from edge.devices.modbus.frames import READ_HOLDING
from edge.devices.profile import PointMap, Profile, RegisterValue, WriteMap
from edge.devices.reading import Reading, Where
from protos.clock import SECOND_NS, Clock
from protos.messages import DeviceEntry

DAY_NS = 86_400 * SECOND_NS


class MeteredDevice:
    """The `Device` port over one profile and one Modbus unit."""

    def __init__(self, spec: DeviceSpec, profile: Profile, bus: Bus, clock: Clock) -> None:
        self._spec = spec
        self._profile = profile
        self._bus = bus
        self._clock = clock
        self._reading = Reading(
            spec, bus, profile.transport, [_where(point) for point in profile.points]
        )
        self._points = tuple(Point(p.quantity, p.phase, p.billing) for p in profile.points)
        self._writes = {write.setpoint: write for write in profile.writes}
        self._written: dict[str, int] = {}
        self._wear: dict[str, deque[int]] = {write.id: deque() for write in profile.writes}
        self._turn = asyncio.Lock()

    @property
    def entry(self) -> DeviceEntry:
        spec, profile = self._spec, self._profile
        serial = str(spec.options.get("serial", ""))
        return DeviceEntry(spec.name, spec.role, profile.id, profile.revision, serial)

    @property
    def points(self) -> tuple[Point, ...]:
        return self._points

    @property
    def reading(self) -> Reading:
        return self._reading

    @property
    def limits(self) -> SetpointLimits | None:
        power, export = self._writes.get("power_w"), self._writes.get("export_limit_w")
        if power is None and export is None:
            return None
        return SetpointLimits(
            max_charge_w=max(0, -power.minimum) if power else 0,
            max_discharge_w=max(0, power.maximum) if power else 0,
            max_export_w=export.maximum if export else None,
        )

    async def read(self) -> Sample:
        image = await self._reading.sweep()
        at_ns, monotonic_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        values = tuple(self._value(point, image) for point in self._profile.points)
        return Sample(at_ns, monotonic_ns, values)

    def _value(self, point: PointMap, image: dict[tuple[int, int], int]) -> int | None:
        places = [(point.function, a) for a in range(point.value.addr, point.value.end)]
        if any(place not in image for place in places):
            return None
        value = point.value.canonical(tuple(image[place] for place in places))
        if value is None:
            return None
        low, high = point.minimum, point.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            raise DeviceError(
                self._spec.name,
                f"{point.id} reads {value}, outside {low} to {high}",
                "check profile, word order and wiring; nothing of this answer is used",
            )
        return value

    async def identify(self) -> str:
        """The device's serial number, "" where its profile knows none. Raises DeviceError."""
        if self._profile.serial is None:
            return ""
        function, value = self._profile.serial
        try:
            words = await self._bus.read(self._spec.unit, function, value.addr, value.width)
        except BusError as error:
            raise self._reading.problem(error) from error
        return value.text(words)

    # --- setpoints -------------------------------------------------------------------------------

    async def set_power(self, power_w: int, ttl_s: int) -> None:
        await self._set("power_w", power_w, ttl_s)

    async def set_export_limit(self, limit_w: int, ttl_s: int) -> None:
        await self._set("export_limit_w", limit_w, ttl_s)

    async def restore_default(self) -> None:
        for write in self._writes.values():
            async with self._turn:
                await self._put(write, write.default)

    async def _set(self, setpoint: str, value: int, ttl_s: int) -> None:
        write = self._writes.get(setpoint)
        if write is None:
            raise NotControllableError(
                self._spec.name, f"it has no setpoint {setpoint}", "choose another device"
            )
        async with self._turn:
            if write.timer is not None:
                seconds = max(1, min(ttl_s, (1 << (16 * write.timer.width)) - 1))
                await self._write_and_check(write, write.timer, seconds)
            await self._put(write, max(write.minimum, min(write.maximum, value)))

    async def _put(self, write: WriteMap, value: int) -> None:
        """Writes and reads back. Equal values are not written again to wearing memory."""
        if write.nonvolatile and self._written.get(write.id) == value:
            return
        if write.nonvolatile and value != write.default:
            self._spend(write)
        await self._write_and_check(write, write.value, value)
        self._written[write.id] = value

    def _spend(self, write: WriteMap) -> None:
        """Counts a write against the day's budget; the default is always allowed."""
        wear, now = self._wear[write.id], self._clock.now_ns()
        while wear and wear[0] <= now - DAY_NS:
            wear.popleft()
        if len(wear) >= write.max_writes_per_day:
            raise DeviceError(
                self._spec.name,
                f"{write.id} was written {len(wear)} times today",
                "its memory wears out; order fewer changes",
            )
        wear.append(now)

    async def _write_and_check(self, write: WriteMap, value: RegisterValue, wanted: int) -> None:
        words = value.registers(wanted)
        unit = self._spec.unit
        try:
            if write.function == 6:
                for offset, word in enumerate(words):
                    await self._bus.write(unit, 6, value.addr + offset, (word,))
            else:
                await self._bus.write(unit, write.function, value.addr, words)
            back = await self._bus.read(unit, READ_HOLDING, value.addr, len(words))
        except BusError as error:
            self._written.pop(write.id, None)
            raise self._reading.problem(error) from error
        if back != words:
            self._written.pop(write.id, None)
            raise DeviceError(
                self._spec.name,
                f"{write.id} reads back {back} after {words} was written",
                "check that the device accepts remote control",
            )

    async def close(self) -> None:
        """Nothing to let go of: the bus belongs to the pool."""


def _where(point: PointMap) -> Where:
    return Where(point.function, point.value.addr, point.value.end)
