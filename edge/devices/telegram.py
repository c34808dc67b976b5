"""P1 telegrams and IEC 62056-21 data blocks: where they begin and end, and whether they are whole.

Pure. It must never hand on a telegram whose check sum is wrong, and never keep more octets than
one telegram may have.
"""

import re
from dataclasses import dataclass, field

TELEGRAM_MAX = 8192
"""Octets; the longest known are under 2 kB."""

_END = re.compile(rb"\r?\n!([0-9A-Fa-f]{4})?[ \t]*\r?\n")
STX, ETX, ACK = 2, 3, 6
BAUDS = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}
"""Baud rate by the identification's letter (IEC 62056-21, 6.3.14)."""


class BadTelegram(ValueError):
    """Octets that are no whole telegram; the message says why."""


def reflected_crc16(octets: bytes, polynomial: int, start: int) -> int:
    """A check sum of 16 bits, least bit first; the polynomial is written that way round too."""
    crc = start
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (polynomial if crc & 1 else 0)
    return crc


def crc16(octets: bytes) -> int:
    """CRC16 with x16 + x15 + x2 + 1, least bit first, from 0 (DSMR 5.0.2 P1, section 5.2)."""
    return reflected_crc16(octets, 0xA001, 0)


@dataclass(slots=True)
class Telegrams:
    """Cuts a stream into telegrams. `checked` asks for the check sum that DSMR 2 does not have."""

    checked: bool = True
    bad: int = 0
    _left: bytes = field(default=b"")

    def feed(self, octets: bytes) -> list[list[str]]:
        """The lines of every whole telegram that these octets complete; bad ones are counted."""
        self._left += octets
        whole: list[list[str]] = []
        while (start := self._left.find(b"/")) >= 0:
            self._left = self._left[start:]
            end = _END.search(self._left)
            again = self._left.find(b"\n/")
            if again >= 0 and (end is None or again < end.start()):
                # The next one began: of this one the end is lost.
                self.bad += 1
                self._left = self._left[again + 1 :]
                continue
            if end is None:
                break
            octets, self._left = self._left[: end.end()], self._left[end.end() :]
            try:
                whole.append(self._lines(octets, end))
            except BadTelegram:
                self.bad += 1
        if len(self._left) > TELEGRAM_MAX or b"/" not in self._left:
            self.bad += len(self._left) > TELEGRAM_MAX
            self._left = b""
        return whole

    def _lines(self, octets: bytes, end: re.Match[bytes]) -> list[str]:
        given = end[1]
        if given is None and self.checked:
            raise BadTelegram("it has no check sum")
        body = octets[: octets.index(b"!", end.start()) + 1]
        if given is not None and int(given, 16) != crc16(body):
            raise BadTelegram("its check sum is wrong")
        try:
            return body.decode("ascii").splitlines()
        except UnicodeDecodeError as error:
            raise BadTelegram("it is no plain text") from error


def identification(lines: list[str]) -> str:
    """Who sends, from a telegram's first line; "" where there is none."""
    return lines[0][1:].strip() if lines and lines[0].startswith("/") else ""


def block_lines(octets: bytes) -> list[str] | None:
    """The lines of a data block between STX and ETX with its check octet; None while it is not
    whole. Raises BadTelegram where the check octet is wrong (IEC 62056-21, 6.3.15).
    """
    start, end = octets.find(STX), octets.find(ETX)
    if start < 0 or end < 0 or len(octets) < end + 2:
        return None
    body = octets[start + 1 : end + 1]
    check = 0
    for octet in body:
        check ^= octet
    if check != octets[end + 1]:
        raise BadTelegram(f"its check octet is {octets[end + 1]:#04x}, not {check:#04x}")
    try:
        return body[:-1].decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise BadTelegram("it is no plain text") from error
