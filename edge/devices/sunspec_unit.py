"""One unit's SunSpec map on a bus: where it begins, which models follow, their words.

It decides nothing of what the models mean. It must never walk a chain without end, and never write
but where it is told.
"""

from edge.devices.device import DeviceError, DeviceSpec
from edge.devices.modbus.bus import Bus
from edge.devices.modbus.errors import BusError, Declined
from edge.devices.modbus.frames import READ_HOLDING, WRITE_REGISTERS
from edge.devices.modbus.timing import Manner
from edge.devices.sunspec_map import BASES, END_ID, HEADER, MARKER, Found

MAX_MODELS = 64
TURNAROUND_S = 0.05


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
