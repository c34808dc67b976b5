"""The consumer port of a smart meter (P1, DSMR and its relatives): telegrams over a serial port or
a network socket.

It decides which values the meter gives, from its first whole telegram. It must never give a value
of a telegram whose check sum is wrong or that names another meter than the first.
"""

import asyncio
import logging

from edge.devices.device import DeviceError, DeviceSpec, Point
from edge.devices.modbus.links import Link, SerialLink, SocketLink, split_address
from edge.devices.modbus.timing import Reopening
from edge.devices.obis import Column, column_value, columns_of, parse_lines
from edge.devices.pushed import PushedDevice
from edge.devices.telegram import Telegrams, identification
from protos.clock import Clock

REVISION = 1
TRANSPORTS = ("tcp", "serial")
FIRST_S = 30.0
"""How long opening waits for a telegram: old meters speak every ten seconds."""

LOG_EVERY_S = 60.0
EQUIPMENT = "0-0:96.1.1("

log = logging.getLogger("edge.devices.p1")


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


class P1Device(PushedDevice):
    """The `Device` port over P1 telegrams. Make it with `listen`."""

    def __init__(self, spec: DeviceSpec, clock: Clock, link: Link) -> None:
        super().__init__(spec, clock, REVISION)
        self._link = link
        self._telegrams = Telegrams(checked=bool(spec.options.get("crc", True)))
        self._columns: tuple[Column, ...] = ()
        self._first = asyncio.Event()
        self._label = self._number = ""
        self._lost = asyncio.Event()
        self._bad_logged = 0
        self._log_at = 0.0
        self._problem = ""
        self._task = asyncio.get_running_loop().create_task(self._keep_open())

    @classmethod
    async def listen(cls, spec: DeviceSpec, clock: Clock) -> "P1Device":
        """Opens the port and waits for the first whole telegram. Raises DeviceError."""
        device = cls(spec, clock, make_link(spec))
        try:
            async with asyncio.timeout(float(spec.options.get("first_s", FIRST_S))):
                await device._first.wait()
        except TimeoutError as error:
            problem, advice = device._silence()
            await device.close()
            raise DeviceError(spec.name, problem, advice) from error
        except asyncio.CancelledError:
            await device.close()
            raise
        return device

    @property
    def points(self) -> tuple[Point, ...]:
        return tuple(column.point for column in self._columns)

    @property
    def bad_telegrams(self) -> int:
        return self._telegrams.bad

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
        for lines in self._telegrams.feed(octets):
            self._take(lines)
        if self._telegrams.bad > self._bad_logged:
            self._log_bad()

    def _log_bad(self) -> None:
        """A bad cable spoils every telegram: one line a minute says how many."""
        now = asyncio.get_running_loop().time()
        if now >= self._log_at:
            bad = self._telegrams.bad
            note = {"device": self._spec.name, "bad": bad - self._bad_logged, "bad_ever": bad}
            log.warning("spoilt telegrams were left out", extra=note)
            self._log_at = now + LOG_EVERY_S
            self._bad_logged = bad

    def _take(self, lines: list[str]) -> None:
        values = parse_lines(lines)
        serial = _equipment(lines)
        if not self._first.is_set():
            columns = columns_of(values)
            if not columns:
                self._problem = "its telegram has no value that is known"
                return
            self._columns, self._label = columns, identification(lines)
            self._number = serial
            self._serial = self._serial or serial
            self._first.set()
        elif identification(lines) != self._label or serial != self._number:
            self._problem = f"another meter speaks here now: {identification(lines)} {serial}"
            return
        self._mailbox.put(
            self._stamped(tuple(column_value(column, values) for column in self._columns))
        )

    def _silence(self) -> tuple[str, str]:
        if self._problem:
            return self._problem, "check the port and who else uses it"
        if self._telegrams.bad:
            return (
                f"{self._telegrams.bad} telegrams came, none of them whole",
                "check baud, parity and the cable; DSMR 2 has no check sum: option crc = false",
            )
        return "no telegram came", "check the cable, and that the port asks for data (RTS high)"

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._link.close()


def _equipment(lines: list[str]) -> str:
    """The meter's own number, written as the hexadecimal of its letters."""
    for line in lines:
        if line.startswith(EQUIPMENT):
            text = line[len(EQUIPMENT) :].partition(")")[0]
            try:
                return bytes.fromhex(text).decode("ascii")
            except ValueError:
                return text
    return ""
