"""A device that a profile describes: reads its points, writes its setpoints within its bounds.

It decides which answers are believable, by the profile's physical limits. It must never return a
value it did not just read, never write beyond the profile's bounds, and never wear out a register.
"""

import asyncio
from collections import deque
from dataclasses import replace

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
from edge.devices.profile import Amps, Place, PointMap, Profile, Step, WriteMap
from edge.devices.reading import Reading, Where
from protos.clock import SECOND_NS, Clock
from protos.messages import DeviceEntry

DAY_NS = 86_400 * SECOND_NS
MOST = {"export_limit_w": "max_export_w", "charge_limit_w": "max_draw_w"}
"""The installer's option that narrows a limit from above."""


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
        draw = self._writes.get("charge_limit_w")
        if power is None and export is None and draw is None:
            return None
        charge, discharge = self._bounds(power) if power else (0, 0)
        amps = self._amps(draw) if draw else None
        return SetpointLimits(
            max_charge_w=max(0, -charge),
            max_discharge_w=max(0, discharge),
            max_export_w=self._bounds(export)[1] if export else None,
            max_draw_w=self._bounds(draw)[1] if draw else None,
            least_draw_w=amps.least_w if amps else 0,
            wears=any(write.wears_by_value for write in self._writes.values()),
        )

    @property
    def failsafe(self) -> str:
        """Who ends a setpoint when the agent is dead, for people; "" where it takes none."""
        if not self._writes:
            return ""
        if all(write.failsafe != "agent" for write in self._writes.values()):
            return "ends a setpoint by itself"
        return "only the agent ends a setpoint, after its restart"

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

    async def set_charge_limit(self, limit_w: int, ttl_s: int) -> None:
        await self._set("charge_limit_w", limit_w, ttl_s)

    async def restore_default(self) -> None:
        for write in self._writes.values():
            async with self._turn:
                for step in write.restore:
                    wanted = step.constant if step.own is None else await self._asked(step.own)
                    await self._put(write, step, wanted)

    async def _set(self, setpoint: str, value: int, ttl_s: int) -> None:
        write = self._writes.get(setpoint)
        if write is None:
            raise NotControllableError(
                self._spec.name, f"it has no setpoint {setpoint}", "choose another device"
            )
        low, high = self._bounds(write)
        value = max(low, min(high, value))
        amps = self._amps(write)
        if amps is not None and not amps.current_ma(value):
            value = 0
        async with self._turn:
            rating = await self._asked(write.rating) if write.rating else 0
            for step in write.steps:
                own = await self._asked(step.own) if step.own else 0
                wanted = own if step.own else step.wanted(value, ttl_s, rating, amps)
                await self._put(write, step, wanted, paid=not step.nonvolatile)

    def _bounds(self, write: WriteMap) -> tuple[int, int]:
        """The profile's bounds, narrowed by what the installer says of this device, never widened."""
        options = self._spec.options
        if write.setpoint in MOST:
            most = write.maximum
            if write.amps is not None and self._amps(write) != write.amps:
                most //= write.amps.phases
            return write.minimum, min(most, int(options.get(MOST[write.setpoint], most)))
        charge = min(-write.minimum, int(options.get("max_charge_w", -write.minimum)))
        discharge = min(write.maximum, int(options.get("max_discharge_w", write.maximum)))
        return -charge, discharge

    def _amps(self, write: WriteMap) -> Amps | None:
        """The charger's phases as it was wired: the installer may say that only one is."""
        if write.amps is None or int(self._spec.options.get("phases", 0)) != 1:
            return write.amps
        return replace(write.amps, phases=1)

    async def _asked(self, place: Place) -> int:
        """What the device says of itself there; never a guess."""
        function, value = place
        try:
            words = await self._bus.read(self._spec.unit, function, value.addr, value.width)
        except BusError as error:
            raise self._reading.problem(error) from error
        said = value.canonical(words)
        if not said or said < 0:
            raise DeviceError(
                self._spec.name, "it does not say its rated power or limit", "check the profile"
            )
        return said

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
        function, shown = step.readback or (READ_HOLDING, step.value)
        try:
            if step.function == 6:
                for offset, word in enumerate(words):
                    await self._bus.write(unit, 6, address + offset, (word,))
            else:
                await self._bus.write(unit, step.function, address, words)
            back = await self._bus.read(unit, function, shown.addr, shown.width)
        except BusError as error:
            raise self._reading.problem(error) from error
        wrote, got = step.value.canonical(words), shown.canonical(back)
        if back != words and not _is_same(step, wrote, got):
            raise DeviceError(
                self._spec.name,
                f"{write.id} reads back {got} after {wrote} was written to {address}",
                "check that the device accepts remote control",
            )

    async def close(self) -> None:
        """Nothing to let go of: the bus belongs to the pool."""


def _is_same(step: Step, wrote: int | None, got: int | None) -> bool:
    """Whether what the device shows is what was written. A timer may run down meanwhile, and one
    that the device takes only in its remote mode may read as anything at first; a timer that reads
    as 0 or longer than it was set is none that a setpoint may lean on.
    """
    if step.source == "ttl":
        return step.early or (wrote is not None and got is not None and 0 < got <= wrote)
    return step.readback is not None and wrote == got
