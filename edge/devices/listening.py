"""Devices that send telegrams unasked over a port: kept open, cut into telegrams, learnt from the
first whole one.

A cutter knows the format; this knows the port. It must never give a value of a telegram that its
cutter did not find whole, or that names another meter than the first.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from edge.devices.device import DeviceError, DeviceSpec, Point
from edge.devices.modbus.links import Link, SerialLink, SocketLink, split_address
from edge.devices.modbus.timing import Reopening
from edge.devices.obis import Column, Values, column_value, columns_of
from edge.devices.pushed import PushedDevice
from protos.clock import Clock

TRANSPORTS = ("tcp", "serial")
FIRST_S = 30.0
"""How long opening waits for a telegram: old meters speak every ten seconds."""

LOG_EVERY_S = 60.0

log = logging.getLogger("edge.devices.listening")


@dataclass(frozen=True, slots=True)
class Telegram:
    """What a meter said at once: values by OBIS code, who it calls itself, and its number."""

    values: Values
    label: str
    number: str


class Cutter(Protocol):
    """Turns octets as they come into whole telegrams; counts what was spoilt, and says why."""

    bad: int

    @property
    def advice(self) -> str:
        """What to do when nothing whole comes."""

    def feed(self, octets: bytes) -> Sequence[Telegram]: ...


def make_link(spec: DeviceSpec) -> Link:
    """The way a spec names. Raises DeviceError."""
    if spec.transport not in TRANSPORTS:
        raise DeviceError(
            spec.name, f"{spec.profile} is not spoken over {spec.transport}", "use tcp or serial"
        )
    if spec.transport == "serial":
        return SerialLink(spec)
    try:
        split_address(spec.address)
    except ValueError as error:
        raise DeviceError(spec.name, "bad address", str(error)) from error
    return SocketLink(spec.address)


class ListeningDevice(PushedDevice):
    """The `Device` port over telegrams. Make it with `listen`."""

    def __init__(
        self, spec: DeviceSpec, clock: Clock, revision: int, link: Link, cutter: Cutter
    ) -> None:
        super().__init__(spec, clock, revision)
        self._link = link
        self._cutter = cutter
        self._columns: tuple[Column, ...] = ()
        self._first = asyncio.Event()
        self._label = self._number = ""
        self._lost = asyncio.Event()
        self._bad_logged = 0
        self._log_at = 0.0
        self._problem = ""
        self._task = asyncio.get_running_loop().create_task(self._keep_open())

    async def until_first(self) -> Self:
        """Waits for the first whole telegram. Raises DeviceError, closed."""
        try:
            async with asyncio.timeout(float(self._spec.options.get("first_s", FIRST_S))):
                await self._first.wait()
        except TimeoutError as error:
            problem, advice = self._silence()
            await self.close()
            raise DeviceError(self._spec.name, problem, advice) from error
        except asyncio.CancelledError:
            await self.close()
            raise
        return self

    @property
    def points(self) -> tuple[Point, ...]:
        return tuple(column.point for column in self._columns)

    @property
    def bad_telegrams(self) -> int:
        return self._cutter.bad

    async def _keep_open(self) -> None:
        """One attempt to open per back-off, for as long as the device is used."""
        loop, reopening = asyncio.get_running_loop(), Reopening()
        while True:
            self._lost.clear()
            try:
                await self._link.open(self._heard, self._dropped)
            except OSError as error:
                self._problem = str(error)
            else:
                self._problem = ""
                began = loop.time()
                await self._lost.wait()
                if loop.time() - began > reopening.first_s:
                    reopening.opened()
            await asyncio.sleep(reopening.failed(loop.time()))

    def _dropped(self, reason: str) -> None:
        self._link.close()
        self._problem = reason
        self._lost.set()

    def _heard(self, octets: bytes) -> None:
        for telegram in self._cutter.feed(octets):
            self._take(telegram)
        if self._cutter.bad > self._bad_logged:
            self._log_bad()

    def _log_bad(self) -> None:
        """A bad cable spoils every telegram: one line a minute says how many."""
        now = asyncio.get_running_loop().time()
        if now >= self._log_at:
            bad = self._cutter.bad
            note = {"device": self._spec.name, "bad": bad - self._bad_logged, "bad_ever": bad}
            log.warning("spoilt telegrams were left out", extra=note)
            self._log_at = now + LOG_EVERY_S
            self._bad_logged = bad

    def _take(self, telegram: Telegram) -> None:
        if not self._first.is_set():
            columns = columns_of(telegram.values)
            if not columns:
                self._problem = "its telegram has no value that is known"
                return
            self._columns, self._label = columns, telegram.label
            self._number = telegram.number
            self._serial = self._serial or telegram.number
            self._first.set()
        elif (telegram.label, telegram.number) != (self._label, self._number):
            who = f"{telegram.label} {telegram.number}".strip()
            self._problem = f"another meter speaks here now: {who}"
            return
        values = telegram.values
        self._mailbox.put(
            self._stamped(tuple(column_value(column, values) for column in self._columns))
        )

    def _silence(self) -> tuple[str, str]:
        if self._problem:
            return self._problem, "check the port and who else uses it"
        if self._cutter.bad:
            return f"{self._cutter.bad} telegrams came, none of them whole", self._cutter.advice
        return "no telegram came", "check the cable, and that the port asks for data (RTS high)"

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._link.close()
