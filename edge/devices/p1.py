"""The consumer port of a smart meter (P1, DSMR and its relatives): telegrams over a serial port or
a network socket.

It decides which values the meter gives, from its first whole telegram. It must never give a value
of a telegram whose check sum is wrong or that names another meter than the first.
"""

from edge.devices.device import DeviceSpec
from edge.devices.listening import ListeningDevice, Telegram, make_link
from edge.devices.obis import parse_lines
from edge.devices.telegram import Telegrams, identification
from protos.clock import Clock

REVISION = 1
EQUIPMENT = "0-0:96.1.1("


class P1Cutter:
    """Telegrams of plain text with a check sum."""

    advice = "check baud, parity and the cable; DSMR 2 has no check sum: option crc = false"

    def __init__(self, *, checked: bool) -> None:
        self._telegrams = Telegrams(checked=checked)
        self.bad = 0

    def feed(self, octets: bytes) -> list[Telegram]:
        whole = self._telegrams.feed(octets)
        self.bad = self._telegrams.bad
        return [
            Telegram(parse_lines(lines), identification(lines), _equipment(lines))
            for lines in whole
        ]


class P1Device(ListeningDevice):
    """The `Device` port over P1 telegrams. Make it with `listen`."""

    @classmethod
    async def listen(cls, spec: DeviceSpec, clock: Clock) -> "P1Device":
        """Opens the port and waits for the first whole telegram. Raises DeviceError."""
        cutter = P1Cutter(checked=bool(spec.options.get("crc", True)))
        return await cls(spec, clock, REVISION, make_link(spec), cutter).until_first()


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
