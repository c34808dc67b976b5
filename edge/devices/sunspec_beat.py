"""A controller's heartbeat: counts up once a second while a setpoint is in force, and no longer.

A device with model 715 or 802 takes a beat that stands still as the controller's death and goes
back to its own ways. So it must never beat for an order that ended, and never from a process that
hangs: the beat lives in the agent's own event loop.
"""

import asyncio
from collections.abc import Mapping

from edge.devices.device import DeviceError
from edge.devices.registers import encode
from edge.devices.sunspec_map import HEADER, Found, field, raw
from edge.devices.sunspec_unit import Unit

BEATS = {715: "ControllerHb", 802: "CtrlHb"}
EVERY_S = 1.0
LOCAL = 1
"""LocRemCtl: someone at the device has it in hand."""


class Heartbeat:
    """The beat of one device, silent at first."""

    def __init__(self, unit: Unit, every_s: float = EVERY_S) -> None:
        self._unit = unit
        self._every_s = every_s
        self._until = 0.0
        self._task: asyncio.Task[None] | None = None

    async def begin(self, models: Mapping[int, Found], ttl_s: int) -> None:
        """Beats at once, then for `ttl_s` seconds. Raises DeviceError, also where somebody at the
        device has taken it in hand.
        """
        loop = asyncio.get_running_loop()
        self._until = loop.time() + ttl_s
        if self._task is not None and not self._task.done():
            return
        beats = [
            (models[model], name, count)
            for model, name in BEATS.items()
            if model in models
            and (count := await self._count(models[model], model, name)) is not None
        ]
        if beats:
            for found, name, count in beats:
                await self._write(found, name, count + 1)
            self._task = loop.create_task(self._run(beats))

    def end(self) -> None:
        """Stands still."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _count(self, found: Found, model: int, name: str) -> int | None:
        """Where the count stands; None where the device does not listen to it."""
        place = field(model, name)
        words = await self._unit.model(found, place.offset + place.width)
        if tuple(words[:HEADER]) != (found.model, found.length):
            return None
        if model == 715 and raw(715, "LocRemCtl", words) == LOCAL:
            raise DeviceError(
                self._unit.spec.name,
                "it is under local control",
                "leave local mode at the device itself",
            )
        count = raw(model, name, words)
        return count if isinstance(count, int) else None

    async def _run(self, beats: list[tuple[Found, str, int]]) -> None:
        loop, turn = asyncio.get_running_loop(), 1
        while True:
            await asyncio.sleep(self._every_s)
            if loop.time() >= self._until:
                return
            turn += 1
            for found, name, count in beats:
                try:
                    await self._write(found, name, count + turn)
                except DeviceError:
                    # One beat is lost; a device that hears none for long ends the order itself.
                    continue

    async def _write(self, found: Found, name: str, count: int) -> None:
        place = field(found.model, name)
        # All ones mean not implemented, so the count starts again before.
        count %= (1 << (16 * place.width)) - 2
        await self._unit.write(found.address + place.offset, encode(count, place.kind))
