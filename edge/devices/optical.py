"""A meter behind an optical head, IEC 62056-21 mode C: asked for its data block, at its own speed.

It decides when to ask and at what speed to listen. It must never use a block whose check octet is
wrong, and never ask a meter for its programming mode.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from edge.devices.device import DeviceError, DeviceSpec, Point, Sample
from edge.devices.listening import make_link
from edge.devices.modbus.links import Link, SerialLink
from edge.devices.obis import Column, column_value, columns_of, parse_lines
from edge.devices.pushed import PushedDevice
from edge.devices.telegram import BAUDS, TELEGRAM_MAX, BadTelegram, block_lines, identification
from protos.clock import Clock

Found = TypeVar("Found")

REVISION = 1
START_BAUD = 300
REQUEST = b"/?!\r\n"
REACTION_S = 0.2
"""A meter needs so long to change over (IEC 62056-21, 6.3.12)."""

ANSWER_S = 4.0
BLOCK_S = 25.0
"""A block of 1000 characters at 300 baud takes 33 s; meters that slow are set faster."""


class OpticalDevice(PushedDevice):
    """The `Device` port over mode C. Make it with `listen`. Every reading asks anew."""

    def __init__(self, spec: DeviceSpec, clock: Clock, link: Link) -> None:
        super().__init__(spec, clock, REVISION)
        self._link = link
        self._columns: tuple[Column, ...] = ()
        self._heard = bytearray()
        self._news = asyncio.Event()
        self._problem = ""
        self._label = ""

    @classmethod
    async def listen(cls, spec: DeviceSpec, clock: Clock) -> "OpticalDevice":
        """Reads the meter once to learn what it gives. Raises DeviceError."""
        # An optical head speaks with seven bits and even parity unless the installer knows better.
        given = {"bits": 7} | dict(spec.options)
        parity = "E" if int(given["bits"]) == 7 else spec.parity
        spec = replace(spec, options=given, parity=parity, baud=START_BAUD)
        device = cls(spec, clock, make_link(spec))
        values = parse_lines(await device._exchange())
        device._columns = columns_of(values)
        if not device._columns:
            raise DeviceError(
                spec.name, "its data block has no value that is known", "send us the block"
            )
        return device

    @property
    def points(self) -> tuple[Point, ...]:
        return tuple(column.point for column in self._columns)

    async def read(self) -> Sample:
        """One data block. Raises DeviceError."""
        values = parse_lines(await self._exchange())
        return self._stamped(tuple(column_value(column, values) for column in self._columns))

    async def _exchange(self) -> list[str]:
        """Sign-on, change of speed, data block. The port is closed after it, whatever happens."""
        spec = self._spec
        try:
            await self._link.open(self._octets, self._lost)
        except OSError as error:
            raise DeviceError(spec.name, str(error), "check the port") from error
        try:
            return await self._sign_on()
        except BadTelegram as error:
            raise DeviceError(spec.name, str(error), "clean the optics; move the head") from error
        finally:
            self._link.close()
            self._heard.clear()

    async def _sign_on(self) -> list[str]:
        self._heard.clear()
        self._problem = ""
        self._link.write(REQUEST)
        line = await self._line()
        label = identification([line])
        if len(label) < 4:
            raise BadTelegram(f"{line!r} is no identification")
        if self._label not in {"", label}:
            raise DeviceError(
                self._spec.name,
                f"another meter answers now: {label}",
                "restart the agent if the meter was exchanged on purpose",
            )
        self._label = label
        speed = label[3] if isinstance(self._link, SerialLink) and label[3] in BAUDS else "0"
        await asyncio.sleep(REACTION_S)
        self._link.write(b"\x060" + speed.encode() + b"0\r\n")
        if isinstance(self._link, SerialLink):
            self._link.set_baud(BAUDS[speed])
        return await self._block()

    async def _line(self) -> str:
        """The identification line; an optical head may send our own question back before it."""

        def line() -> bytes | None:
            text = bytes(self._heard).replace(REQUEST, b"")
            start, end = text.find(b"/"), text.find(b"\r\n")
            return text[start:end] if 0 <= start < end else None

        found = await self._until(line, ANSWER_S, "no identification came")
        self._heard.clear()
        return found.decode("ascii", "replace")

    async def _block(self) -> list[str]:
        return await self._until(
            lambda: block_lines(bytes(self._heard)), BLOCK_S, "the data block did not end"
        )

    async def _until(
        self, whole: Callable[[], Found | None], patience_s: float, problem: str
    ) -> Found:
        """What `whole` makes of the octets so far, as soon as it makes something of them."""
        try:
            async with asyncio.timeout(patience_s):
                while (found := whole()) is None:
                    if self._problem:
                        raise DeviceError(self._spec.name, self._problem, "check the port")
                    if len(self._heard) > TELEGRAM_MAX:
                        raise BadTelegram("it never ends")
                    self._news.clear()
                    await self._news.wait()
                return found
        except TimeoutError as error:
            raise DeviceError(
                self._spec.name, problem, "check that the head sits on the meter's eye"
            ) from error

    def _octets(self, octets: bytes) -> None:
        self._heard += octets
        self._news.set()

    def _lost(self, reason: str) -> None:
        self._problem = reason
        self._news.set()

    async def close(self) -> None:
        self._link.close()
