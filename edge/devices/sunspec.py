"""A SunSpec device: finds its models by itself, reads them, and steers it through 123 and 124.

It decides which of the device's models give which value in its role. Before every sweep's values
are used, each model's id and length must still stand where they were found. It must never leave a
setpoint without the device's own reversion timer.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from edge.devices.device import (
    DeviceError,
    DeviceSpec,
    NotControllableError,
    Point,
    Sample,
    SetpointLimits,
)
from edge.devices.modbus.bus import Bus
from edge.devices.modbus.errors import BusError, Declined
from edge.devices.modbus.frames import READ_HOLDING, WRITE_REGISTERS
from edge.devices.modbus.timing import Manner
from edge.devices.profile import Transport
from edge.devices.reading import Reading, Where
from edge.devices.sunspec_control import (
    Order,
    Unscalable,
    battery_default,
    battery_power,
    battery_ratings,
    production_default,
    production_limit,
    production_rating,
)
from edge.devices.sunspec_map import (
    BASES,
    END_ID,
    HEADER,
    MARKER,
    Column,
    Found,
    columns,
    field,
    known,
    raw,
    scaled,
)
from protos.clock import Clock
from protos.messages import DeviceEntry, Quantity, Role

REVISION = 1
"""Of this driver's mapping, part of every signed reading."""

MAX_MODELS = 64
TURNAROUND_S = 0.05
STATIC = (1, 120, 121, 702)
"""Models that say what the device is; read once."""

TRANSPORT = Transport(kinds=("tcp", "rtu", "rtu_over_tcp"), turnaround_ms=50, spare=1)


Planner = Callable[..., list[Order]]
TIMERS = {123: "WMaxLimPct_RvrtTms", 124: "InOutWRte_RvrtTms"}


class Unit:
    """Holding registers of one unit, with errors under the device's name."""

    def __init__(self, spec: DeviceSpec, bus: Bus) -> None:
        self.spec = spec
        self.bus = bus
        turnaround = int(spec.options.get("turnaround_ms", TURNAROUND_S * 1000)) / 1000
        bus.introduce(spec.unit, Manner(turnaround_s=turnaround))

    async def read(self, address: int, count: int) -> tuple[int, ...]:
        try:
            return await self.bus.read(self.spec.unit, READ_HOLDING, address, count, 1)
        except BusError as error:
            raise DeviceError(self.spec.name, error.problem, error.advice) from error

    async def write(self, address: int, words: tuple[int, ...]) -> None:
        try:
            await self.bus.write(self.spec.unit, WRITE_REGISTERS, address, words)
        except BusError as error:
            raise DeviceError(self.spec.name, error.problem, error.advice) from error

    async def has_marker(self, base: int) -> bool:
        """Whether the letters SunS stand here. Raises DeviceError when nothing answers."""
        try:
            return await self.bus.read(self.spec.unit, READ_HOLDING, base, 2, 1) == MARKER
        except Declined:
            return False
        except BusError as error:
            raise DeviceError(self.spec.name, error.problem, error.advice) from error

    async def model(self, found: Found, end: int | None = None) -> tuple[int, ...]:
        """A model's words from its id on, up to `end` or its whole length, 125 at most."""
        whole = HEADER + found.length if end is None else end
        return await self.read(found.address, min(125, whole))


async def walk(unit: Unit) -> list[Found]:
    """The models of a device, in order. Raises DeviceError where there are none."""
    option = unit.spec.options.get("base")
    for base in BASES if option is None else (int(option),):
        if await unit.has_marker(base):
            return await _walk_from(unit, base + len(MARKER))
    raise DeviceError(
        unit.spec.name,
        "it answers but has no SunSpec marker at 40000, 0 or 50000",
        "switch SunSpec on in the inverter, check the unit number, or name its profile",
    )


async def _walk_from(unit: Unit, address: int) -> list[Found]:
    found: list[Found] = []
    while len(found) < MAX_MODELS and address < 65534:
        model, length = await unit.read(address, HEADER)
        if model == END_ID:
            break
        found.append(Found(model, address, length))
        address += HEADER + length
    return found


class SunspecDevice:
    """The `Device` port over a SunSpec map. Make it with `discover`."""

    def __init__(
        self,
        unit: Unit,
        clock: Clock,
        models: Sequence[Found],
        static: dict[int, Sequence[int]],
    ) -> None:
        self._unit = unit
        self._clock = clock
        self._found = {found.model: found for found in reversed(models)}
        self._static = static
        spec = unit.spec
        self._columns = columns(spec.role, list(self._found))
        self._ends = self._needed(self._columns)
        places = [
            Where(READ_HOLDING, self._found[model].address, self._found[model].address + end)
            for model, end in self._ends.items()
        ]
        self._reading = Reading(spec, unit.bus, TRANSPORT, places)
        maker = self._text("Mn")
        flip = bool(spec.options.get("export_positive", maker.startswith("SolarEdge")))
        self._flip = flip and spec.role not in {Role.PV, Role.BATTERY}
        self._turn = asyncio.Lock()

    @classmethod
    async def discover(cls, spec: DeviceSpec, clock: Clock, bus: Bus) -> "SunspecDevice":
        """Walks the device's map and reads who it is. Raises DeviceError."""
        unit = Unit(spec, bus)
        models = await walk(unit)
        static: dict[int, Sequence[int]] = {}
        for found in models:
            if found.model in {*STATIC, 124} and found.model not in static:
                static[found.model] = await unit.model(found)
        device = cls(unit, clock, models, static)
        if not device.points:
            numbers = ", ".join(str(found.model) for found in models)
            raise DeviceError(
                spec.name,
                f"its models ({numbers}) give nothing for role {spec.role.name}",
                "check the role, or the unit number of the meter behind the inverter",
            )
        return device

    def _needed(self, wanted: Sequence[tuple[int, Column]]) -> dict[int, int]:
        """How far each model must be read so that values and scale factors come together."""
        ends: dict[int, int] = {}
        for model, column in wanted:
            place = field(model, column.name)
            ends[model] = max(ends.get(model, HEADER), place.offset + place.width)
            if place.factor:
                ends[model] = max(ends[model], field(model, place.factor).offset + 1)
        return {model: min(end, HEADER + self._found[model].length) for model, end in ends.items()}

    def _text(self, name: str) -> str:
        words = self._static.get(1)
        value = raw(1, name, words) if words else None
        return value if isinstance(value, str) else ""

    @property
    def entry(self) -> DeviceEntry:
        spec = self._unit.spec
        return DeviceEntry(spec.name, spec.role, "sunspec", REVISION, self._text("SN"))

    @property
    def label(self) -> str:
        """Maker and model as the device says."""
        return f"{self._text('Mn')} {self._text('Md')}".strip()

    @property
    def models(self) -> tuple[int, ...]:
        return tuple(model for model in self._found if known(model))

    @property
    def points(self) -> tuple[Point, ...]:
        return tuple(column.point for _, column in self._columns)

    @property
    def limits(self) -> SetpointLimits | None:
        charge, discharge = self._ratings()
        rating = self._rating()
        if not charge and not discharge and not rating:
            return None
        return SetpointLimits(charge, discharge, rating or None)

    def _ratings(self) -> tuple[int, int]:
        if 124 not in self._found or self._unit.spec.role is not Role.BATTERY:
            return 0, 0
        return battery_ratings(self._static)

    def _rating(self) -> int:
        return production_rating(self._static) if 123 in self._found else 0

    async def read(self) -> Sample:
        image = await self._reading.sweep()
        at_ns, monotonic_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        words = {model: self._words(model, image) for model in self._ends}
        values = tuple(self._value(model, column, words[model]) for model, column in self._columns)
        return Sample(at_ns, monotonic_ns, values)

    def _words(self, model: int, image: Mapping[tuple[int, int], int]) -> tuple[int, ...]:
        """A model's words, after its id and length proved to be where they were found."""
        found, end = self._found[model], self._ends[model]
        span = range(found.address, found.address + end)
        if any((READ_HOLDING, address) not in image for address in span):
            return ()
        words = tuple(image[READ_HOLDING, address] for address in span)
        if words[:HEADER] != (found.model, found.length):
            raise DeviceError(
                self._unit.spec.name,
                f"model {model} is no longer at register {found.address}",
                "the device changed its map; restart the agent to discover it anew",
            )
        return words

    def _value(self, model: int, column: Column, words: Sequence[int]) -> int | None:
        value = scaled(model, column.name, words, column.per_unit)
        if value is None:
            return None
        signed = {Quantity.POWER_W, Quantity.REACTIVE_POWER_VAR}
        return -value if self._flip and column.point.quantity in signed else value

    # --- setpoints -------------------------------------------------------------------------------

    async def set_power(self, power_w: int, ttl_s: int) -> None:
        charge, discharge = self._ratings()
        if not charge or not discharge:
            raise NotControllableError(
                self._unit.spec.name, "it is no battery with model 124", "choose another device"
            )
        async with self._turn:
            words = await self._unit.model(self._found[124])
            self._static[124] = words
            charge, discharge = self._ratings()
            await self._obey(124, battery_power, words, power_w, ttl_s, charge, discharge)

    async def set_export_limit(self, limit_w: int, ttl_s: int) -> None:
        rating = self._rating()
        if not rating:
            raise NotControllableError(
                self._unit.spec.name, "it has no model 123", "choose another device"
            )
        async with self._turn:
            words = await self._unit.model(self._found[123])
            await self._obey(123, production_limit, words, limit_w, ttl_s, rating)

    async def restore_default(self) -> None:
        async with self._turn:
            if self._ratings() != (0, 0):
                words = await self._unit.model(self._found[124])
                await self._obey(124, battery_default, words)
            if self._rating():
                words = await self._unit.model(self._found[123])
                await self._obey(123, production_default, words)

    async def _obey(self, model: int, plan: Planner, words: Sequence[int], *values: int) -> None:
        """Writes what `plan` makes of the words, in order, and reads all of it back."""
        name, found = self._unit.spec.name, self._found[model]
        if tuple(words[:HEADER]) != (found.model, found.length):
            raise DeviceError(name, f"model {model} moved", "restart the agent")
        try:
            orders: list[Order] = plan(words, *values)
        except Unscalable as error:
            raise DeviceError(name, str(error), "check the inverter's firmware") from error
        for order in orders:
            await self._unit.write(found.address + order.offset, order.words)
        back = await self._unit.model(found)
        for order in orders:
            got = back[order.offset : order.offset + len(order.words)]
            if tuple(got) != order.words and not _counts_down(model, order):
                raise DeviceError(
                    name,
                    f"model {model} offset {order.offset} reads {got} after {order.words}",
                    "allow remote control in the inverter's menu",
                )

    async def close(self) -> None:
        """Nothing to let go of: the bus belongs to the pool."""


def _counts_down(model: int, order: Order) -> bool:
    """Reversion timers may run down between write and reading back."""
    return order.offset == field(model, TIMERS[model]).offset
