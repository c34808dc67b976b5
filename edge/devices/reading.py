"""Reads sets of registers of one unit: planned questions, refusals learnt, the plan renewed.

It turns bus errors into `DeviceError` with the device's name. It must never ask again after
silence, and never fill a hole that the device refused with anything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge.devices.device import DeviceError, DeviceSpec
from edge.devices.holes import load_holes, save_holes
from edge.devices.modbus.bus import Bus
from edge.devices.modbus.coalesce import Block, Unplannable, learn_cut, overhead_words, plan
from edge.devices.modbus.errors import (
    GATEWAY_PATH,
    GATEWAY_TARGET,
    ILLEGAL_ADDRESS,
    ILLEGAL_VALUE,
    BusError,
    Declined,
)
from edge.devices.modbus.timing import Manner
from edge.devices.profile import Transport

TCP_OVERHEAD_WORDS = 125.0
"""On a network a word costs nothing beside a round trip: every gap that fits is read along."""

REPLAN_AFTER = 10
"""Sweeps after which the plan is renewed once, with the measured turnaround."""

RECALL_AFTER = 100
"""Sweeps after which values that the device refused are asked for once more."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Where:
    """Registers [start, end) of one table, by the function that reads it."""

    function: int
    start: int
    end: int


class Reading:
    """All values of one unit, read together in as few milliseconds as its line allows."""

    def __init__(
        self, spec: DeviceSpec, bus: Bus, transport: Transport, places: Iterable[Where]
    ) -> None:
        self._spec = spec
        self._bus = bus
        self._transport = transport
        self._spans: dict[int, list[Span]] = {}
        for place in places:
            self._spans.setdefault(place.function, []).append((place.start, place.end))
        holes = load_holes(spec)
        self._cuts = {function: holes.cuts.get(function, set()) for function in self._spans}
        self._refused: dict[tuple[int, Span], int] = {}
        # Only values that are asked for still can be absent.
        self._absent = {
            (function, span)
            for function, span in holes.absent
            if span in self._spans.get(function, ())
        }
        self._seen: set[tuple[int, Span]] = set()
        self._sweeps = 0
        turnaround_ms = int(spec.options.get("turnaround_ms", transport.turnaround_ms))
        self._max_words = min(125, int(spec.options.get("max_words", transport.max_words)))
        self._turnaround_s = turnaround_ms / 1000
        gap_ms = int(spec.options.get("gap_ms", transport.gap_ms))
        manner = Manner(self._turnaround_s, gap_ms / 1000, self._max_words, transport.step)
        bus.introduce(spec.unit, manner)
        self._plan = self._make_plan(self._turnaround_s)

    @property
    def blocks(self) -> Mapping[int, list[Block]]:
        """The plan, by function."""
        return self._plan

    def _make_plan(self, turnaround_s: float) -> dict[int, list[Block]]:
        overhead = TCP_OVERHEAD_WORDS
        if self._spec.transport != "tcp":
            overhead = overhead_words(self._spec.baud, turnaround_s)
        made: dict[int, list[Block]] = {}
        for function, spans in self._spans.items():
            wanted = [span for span in spans if (function, span) not in self._absent]
            try:
                made[function] = plan(
                    wanted,
                    overhead,
                    self._max_words,
                    self._transport.forbidden,
                    self._cuts[function],
                )
            except Unplannable as error:
                advice = "raise max_words in the device's options"
                raise DeviceError(self._spec.name, str(error), advice) from error
        return made

    async def sweep(self) -> dict[tuple[int, int], int]:
        """Every register that could be read, by (function, address). Raises DeviceError."""
        image: dict[tuple[int, int], int] = {}
        for function in self._spans:
            await self._sweep_table(function, image)
        self._after_sweep(image)
        return image

    def _after_sweep(self, image: Mapping[tuple[int, int], int]) -> None:
        self._sweeps += 1
        if self._sweeps == 1 or self._absent:
            self._seen.update(
                (function, span)
                for function, spans in self._spans.items()
                for span in spans
                if (function, span[0]) in image
            )
        if self._sweeps == REPLAN_AFTER:
            measured = self._bus.turnaround_s(self._spec.unit)
            self._turnaround_s = self._turnaround_s if measured is None else measured
            self._plan = self._make_plan(self._turnaround_s)
        elif self._absent and self._sweeps % RECALL_AFTER == 0:
            self._absent.clear()
            save_holes(self._spec, self._cuts, self._absent)
            self._plan = self._make_plan(self._turnaround_s)

    async def _sweep_table(self, function: int, image: dict[tuple[int, int], int]) -> None:
        left = list(self._plan[function])
        while left:
            block = left.pop(0)
            try:
                words = await self._read(function, block)
            except Declined as declined:
                if not self._learn(function, block, declined):
                    raise self.problem(declined) from declined
                left = self._unread(function, image)
                continue
            except BusError as error:
                raise self.problem(error) from error
            for offset, word in enumerate(words):
                image[function, block.start + offset] = word

    async def _read(self, function: int, block: Block) -> tuple[int, ...]:
        spare = min(self._transport.spare, self._max_words - block.count)
        if any(
            low < block.end + spare and block.end < high for low, high in self._transport.forbidden
        ):
            spare = 0
        return await self._bus.read(self._spec.unit, function, block.start, block.count, spare)

    def _unread(self, function: int, image: Mapping[tuple[int, int], int]) -> list[Block]:
        """The blocks of the renewed plan that hold a value which was not read yet."""
        missing = [
            span
            for span in self._spans[function]
            if (function, span) not in self._absent and (function, span[0]) not in image
        ]
        return [
            block
            for block in self._plan[function]
            if any(block.start <= start and end <= block.end for start, end in missing)
        ]

    def _learn(self, function: int, block: Block, declined: Declined) -> bool:
        """Takes note of a refusal; True when the sweep can go on with a changed plan."""
        if declined.code not in {ILLEGAL_ADDRESS, ILLEGAL_VALUE}:
            return False
        spans = [span for span in self._spans[function] if (function, span) not in self._absent]
        key = (function, (block.start, block.end))
        self._refused[key] = self._refused.get(key, 0) + 1
        if not declined.certain and self._refused[key] < 2:
            return False
        cut = learn_cut(block, spans)
        if cut is not None:
            self._cuts[function].add(cut)
        else:
            gone = {(function, s) for s in spans if block.start <= s[0] and s[1] <= block.end}
            if gone & self._seen:
                # It was there before: a device that starts up refuses for a while.
                return False
            self._absent |= gone
        save_holes(self._spec, self._cuts, self._absent)
        self._plan = self._make_plan(self._turnaround_s)
        return any(self._plan.values())

    def problem(self, error: BusError) -> DeviceError:
        """The bus error as the poller knows it."""
        advice = error.advice
        if isinstance(error, Declined) and error.code in {GATEWAY_PATH, GATEWAY_TARGET}:
            advice = "check the unit number, and the device's power and wiring behind the gateway"
        return DeviceError(self._spec.name, error.problem, advice)
