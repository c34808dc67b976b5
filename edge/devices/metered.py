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
from edge.devices.profile import PointMap, Profile, Step, WriteMap
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
            spec,
            bus,
            profile.transport,
            [Where(*place) for point in profile.points for place in point.places()],
        )
        self._points = tuple(
            Point(p.quantity, p.phase, p.billing, p.rollover_wh, p.max_rate_w)
            for p in profile.points
        )
        self._writes = {
            write.setpoint: write
            for write in profile.writes
            if not write.consent or spec.options.get(write.consent) is True
        }
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
        charge, discharge = self._bounds(power) if power else (0, 0)
        return SetpointLimits(
            max_charge_w=max(0, -charge),
            max_discharge_w=max(0, discharge),
            max_export_w=self._bounds(export)[1] if export else None,
        )

    async def read(self) -> Sample:
        image = await self._reading.sweep()
        at_ns, monotonic_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        values = tuple(self._value(point, image) for point in self._profile.points)
        return Sample(at_ns, monotonic_ns, values)

    def _value(self, point: PointMap, image: dict[tuple[int, int], int]) -> int | None:
        value = point.read(image)
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
                for step in write.restore:
                    await self._put(write, step, step.constant)

    async def _set(self, setpoint: str, value: int, ttl_s: int) -> None:
        write = self._writes.get(setpoint)
        if write is None:
            raise NotControllableError(
                self._spec.name, f"it has no setpoint {setpoint}", "choose another device"
            )
        low, high = self._bounds(write)
        value = max(low, min(high, value))
        async with self._turn:
            rating = await self._rating(write)
            for step in write.steps:
                await self._put(
                    write, step, step.wanted(value, ttl_s, rating), paid=not step.nonvolatile
                )

    def _bounds(self, write: WriteMap) -> tuple[int, int]:
        """The profile's bounds, narrowed by what the installer says of this device, never widened."""
        options = self._spec.options
        if write.setpoint == "export_limit_w":
            return write.minimum, min(
                write.maximum, int(options.get("max_export_w", write.maximum))
            )
        charge = min(-write.minimum, int(options.get("max_charge_w", -write.minimum)))
        discharge = min(write.maximum, int(options.get("max_discharge_w", write.maximum)))
        return -charge, discharge

    async def _rating(self, write: WriteMap) -> int:
        if write.rating is None:
            return 0
        function, value = write.rating
        try:
            words = await self._bus.read(self._spec.unit, function, value.addr, value.width)
        except BusError as error:
            raise self._reading.problem(error) from error
        rating = value.canonical(words)
        if not rating or rating < 0:
            raise DeviceError(
                self._spec.name, "it does not say its rated power", "check the profile"
            )
        return rating

    async def _put(self, write: WriteMap, step: Step, wanted: int, *, paid: bool = True) -> None:
        """Writes and reads back. Wearing memory that holds the value already is left alone, and
        counts against the day's budget unless it is `paid`, as what restores the default is.
        """
        words = step.value.registers(wanted)
        if step.nonvolatile and await self._holds(step, words):
            return
        if not paid:
            self._spend(write)
        await self._write_and_check(write, step, words)

    async def _holds(self, step: Step, words: tuple[int, ...]) -> bool:
        try:
            held = await self._bus.read(self._spec.unit, READ_HOLDING, step.value.addr, len(words))
        except BusError as error:
            raise self._reading.problem(error) from error
        return held == words

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

    async def _write_and_check(self, write: WriteMap, step: Step, words: tuple[int, ...]) -> None:
        unit, address = self._spec.unit, step.value.addr
        try:
            if step.function == 6:
                for offset, word in enumerate(words):
                    await self._bus.write(unit, 6, address + offset, (word,))
            else:
                await self._bus.write(unit, step.function, address, words)
            back = await self._bus.read(unit, READ_HOLDING, address, len(words))
        except BusError as error:
            raise self._reading.problem(error) from error
        # A timer may run down between write and reading back.
        if back != words and step.source != "ttl":
            raise DeviceError(
                self._spec.name,
                f"{write.id} reads back {back} after {words} was written",
                "check that the device accepts remote control",
            )

    async def close(self) -> None:
        """Nothing to let go of: the bus belongs to the pool."""
