"""A SunSpec device: finds its models by itself, reads them, and steers it through 704, or 123 and 124.

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
from edge.devices.modbus.frames import READ_HOLDING
from edge.devices.profile import Transport
from edge.devices.reading import Reading, Where
from edge.devices.registers import ACCUMULATORS
from edge.devices.sunspec_beat import Heartbeat
from edge.devices.sunspec_control import (
    Order,
    Unscalable,
    active_power,
    active_power_default,
    active_power_limit,
    active_power_limit_default,
    battery_default,
    battery_power,
    battery_ratings,
    production_default,
    production_limit,
    production_rating,
)
from edge.devices.sunspec_map import (
    HEADER,
    Column,
    Found,
    columns,
    field,
    has,
    known,
    raw,
    scaled,
)
from edge.devices.sunspec_unit import Unit, walk
from protos.clock import Clock
from protos.messages import DeviceEntry, Quantity, Role

REVISION = 1
"""Of this driver's mapping, part of every signed reading."""

WITHOUT_TIMER = "may_steer_without_timer"
"""The option by which an installer takes it on himself that a device has no timer of its own."""

STATIC = (1, 120, 121, 124, 702, 802)
"""Models that say what the device is; read once."""

TRANSPORT = Transport(kinds=("tcp", "rtu", "rtu_over_tcp"), turnaround_ms=50, spare=1)

Planner = Callable[..., list[Order]]
AWAKE = frozenset({4, 5, 6, 7, 8})
"""Operating states of an inverter whose counters stand at what they say: not off, asleep or
starting."""


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
        self._turn = asyncio.Lock()
        self._beat = Heartbeat(unit)
        self._counted: set[Column] = set()
        self._moved = False
        self._adopt(models, static)

    def _adopt(self, models: Sequence[Found], static: dict[int, Sequence[int]]) -> None:
        """Takes over what a walk found."""
        self._found = {found.model: found for found in reversed(models)}
        self._static = static
        spec = self._unit.spec
        self._columns = columns(spec.role, list(self._found))
        self._ends = self._needed(self._columns)
        places = [
            Where(READ_HOLDING, self._found[model].address, self._found[model].address + end)
            for model, end in self._ends.items()
        ]
        self._reading = Reading(spec, self._unit.bus, TRANSPORT, places)
        flip = bool(spec.options.get("export_positive", self._text("Mn").startswith("SolarEdge")))
        self._flip = flip and spec.role not in {Role.PV, Role.BATTERY}

    @classmethod
    async def discover(cls, spec: DeviceSpec, clock: Clock, bus: Bus) -> "SunspecDevice":
        """Walks the device's map and reads who it is. Raises DeviceError."""
        unit = Unit(spec, bus)
        models, static = await _survey(unit)
        device = cls(unit, clock, models, static)
        if not device.points:
            numbers = ", ".join(str(found.model) for found in models)
            raise DeviceError(
                spec.name,
                f"its models ({numbers}) give nothing for role {spec.role.name}",
                "check the role, or the unit number of the meter behind the inverter",
            )
        return device

    async def _rediscover(self) -> None:
        """Finds a map anew that moved, as after a firmware update or a change of settings."""
        models, static = await _survey(self._unit)
        serial, points = self.entry.serial, self.points
        before = self._found, self._static
        self._adopt(models, static)
        if (self.entry.serial, self.points) != (serial, points):
            found = self.entry.serial
            self._adopt(list(before[0].values()), before[1])
            raise DeviceError(
                self._unit.spec.name,
                f"another map than before: serial {found!r}, was {serial!r}",
                "restart the agent if the device was exchanged on purpose",
            )
        self._moved = False

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

    def _control(self, *models: int) -> int:
        """The first of these models that the device has, 0 for none."""
        return next((model for model in models if model in self._found), 0)

    def _ratings(self) -> tuple[int, int]:
        """What the battery can take and give, W; narrowed by the installer, never widened."""
        if not self._control(704, 124) or self._unit.spec.role is not Role.BATTERY:
            return 0, 0
        charge, discharge = battery_ratings(self._static)
        options = self._unit.spec.options
        return (
            min(charge, int(options.get("max_charge_w", charge))),
            min(discharge, int(options.get("max_discharge_w", discharge))),
        )

    def _rating(self) -> int:
        return production_rating(self._static) if self._control(704, 123) else 0

    async def read(self) -> Sample:
        if self._moved:
            await self._rediscover()
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
            raise self._gone(found)
        return words

    def _gone(self, found: Found) -> DeviceError:
        self._moved = True
        return DeviceError(
            self._unit.spec.name,
            f"model {found.model} is no longer at register {found.address}",
            "the device changed its map; it is discovered anew at the next reading",
        )

    def _value(self, model: int, column: Column, words: Sequence[int]) -> int | None:
        value = scaled(model, column.name, words, column.per_unit)
        if value is None:
            return None
        if field(model, column.name).kind in ACCUMULATORS:
            return self._counter(model, column, value, words)
        signed = {Quantity.POWER_W, Quantity.REACTIVE_POWER_VAR}
        return -value if self._flip and column.point.quantity in signed else value

    def _counter(self, model: int, column: Column, value: int, words: Sequence[int]) -> int | None:
        """An accumulator's 0 means that there is nothing, or nothing yet: it is believed of a new
        device that is awake, never of one that has counted or that only wakes up.
        """
        if value:
            self._counted.add(column)
            return value
        asleep = has(model, "St") and raw(model, "St", words) not in AWAKE
        return None if asleep or column in self._counted else 0

    # --- setpoints -------------------------------------------------------------------------------

    async def set_power(self, power_w: int, ttl_s: int) -> None:
        charge, discharge = self._ratings()
        if not charge or not discharge:
            raise NotControllableError(
                self._unit.spec.name, "it is no battery with model 704 or 124", "choose another"
            )
        power_w = max(-charge, min(discharge, power_w))
        async with self._turn:
            if self._control(704, 124) == 704:
                await self._steer(704, active_power, power_w, ttl_s, charge, discharge)
            else:
                # The rates are shares of the device's own ratings, whatever the installer allows.
                self._static[124] = await self._unit.model(self._found[124])
                ratings = battery_ratings(self._static)
                await self._steer(124, battery_power, power_w, ttl_s, *ratings)

    async def set_export_limit(self, limit_w: int, ttl_s: int) -> None:
        rating = self._rating()
        if not rating:
            raise NotControllableError(
                self._unit.spec.name, "it has no model 704 or 123", "choose another device"
            )
        async with self._turn:
            if self._control(704, 123) == 704:
                await self._steer(704, active_power_limit, limit_w, ttl_s, rating)
            else:
                await self._steer(123, production_limit, limit_w, ttl_s, rating)

    async def set_charge_limit(self, limit_w: int, ttl_s: int) -> None:
        del limit_w, ttl_s
        raise NotControllableError(self._unit.spec.name, "it is no charger", "choose another")

    async def restore_default(self) -> None:
        async with self._turn:
            self._beat.end()
            if self._ratings() != (0, 0):
                model = self._control(704, 124)
                await self._obey(model, active_power_default if model == 704 else battery_default)
            if self._rating():
                model = self._control(704, 123)
                await self._obey(
                    model, active_power_limit_default if model == 704 else production_default
                )

    async def _steer(
        self, model: int, plan: Planner, value: int, ttl_s: int, *ratings: int
    ) -> None:
        """An order with its heartbeat; a failed one has none, so that the device lets go."""
        await self._beat.begin(self._found, ttl_s)
        try:
            await self._obey(model, plan, value, ttl_s, *ratings)
        except DeviceError:
            self._beat.end()
            raise

    async def _obey(self, model: int, plan: Planner, *values: int) -> None:
        """Writes what `plan` makes of the model's words, in order, and reads all of it back."""
        name, found = self._unit.spec.name, self._found[model]
        words = await self._unit.model(found)
        if tuple(words[:HEADER]) != (found.model, found.length):
            raise self._gone(found)
        try:
            orders: list[Order] = plan(words, *values)
        except Unscalable as error:
            raise DeviceError(name, str(error), "check the inverter's firmware") from error
        for order in orders:
            await self._unit.write(found.address + order.offset, order.words)
            if order.counts_down and any(order.words):
                await self._check_timer(model, found.address, order)
        back = await self._unit.model(found)
        for order in orders:
            got = back[order.offset : order.offset + len(order.words)]
            # Reversion timers may run down between write and reading back.
            if tuple(got) != order.words and not order.counts_down:
                raise DeviceError(
                    name,
                    f"model {model} offset {order.offset} reads {got} after {order.words}",
                    "allow remote control in the inverter's menu",
                )

    async def _check_timer(self, model: int, address: int, order: Order) -> None:
        """A timer that does not stick ends nothing: it is found out before anything moves."""
        if self._unit.spec.options.get(WITHOUT_TIMER) is True:
            return
        back = await self._unit.read(address + order.offset, len(order.words))
        if not (0,) * len(back) < tuple(back) <= order.words:
            raise DeviceError(
                self._unit.spec.name,
                f"model {model} keeps no reversion timer: {back} after {order.words}",
                f"set {WITHOUT_TIMER} = true only if it may stay steered while the agent is dead",
            )

    async def close(self) -> None:
        """Stops the heartbeat; the bus belongs to the pool."""
        self._beat.end()


async def _survey(unit: Unit) -> tuple[list[Found], dict[int, Sequence[int]]]:
    """The models of a device, and the words of those that say what it is."""
    models = await walk(unit)
    static: dict[int, Sequence[int]] = {}
    for found in models:
        if found.model in STATIC and found.model not in static:
            static[found.model] = await unit.model(found)
    return models, static
