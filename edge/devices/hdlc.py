"""Frames that carry DLMS: HDLC on serial lines (IEC 62056-46), the wrapper on sockets (IEC 62056-47).

Pure. It must never hand on a frame whose check sequence is wrong, a message with a missing part, or
keep more octets than one message may have.
"""

from dataclasses import dataclass, field

from edge.devices.telegram import reflected_crc16

FLAG = 0x7E
MESSAGE_MAX = 8_192
FRAME_MIN = 7
"""Format, two addresses of one octet, control, check."""

LLC = (b"\xe6\xe7\x00", b"\xe6\xe6\x00")
WRAPPER = 1


def crc16_x25(octets: bytes) -> int:
    """The check sequence of HDLC (ISO/IEC 13239): x16 + x12 + x5 + 1, least bit first, inverted."""
    return reflected_crc16(octets, 0x8408, 0xFFFF) ^ 0xFFFF


@dataclass(slots=True)
class Frames:
    """Cuts a stream of HDLC frames into messages, joined where they were sent in parts."""

    bad: int = 0
    _left: bytes = field(default=b"")
    _parts: bytes = field(default=b"")

    def feed(self, octets: bytes) -> list[bytes]:
        """The messages that these octets complete; spoilt frames are counted."""
        self._left += octets
        whole: list[bytes] = []
        while (start := self._left.find(FLAG)) >= 0:
            self._left = self._left[start:].lstrip(b"\x7e")
            if len(self._left) < 2:
                self._left = b"\x7e" + self._left
                break
            length = (self._left[0] & 0x07) << 8 | self._left[1]
            if self._left[0] & 0xF0 != 0xA0 or length < FRAME_MIN:
                # Not a frame's beginning: the next flag may be one.
                self._spoilt()
                continue
            if len(self._left) <= length:
                self._left = b"\x7e" + self._left
                break
            if self._left[length] != FLAG:
                self._spoilt()
                continue
            frame, self._left = self._left[:length], self._left[length:]
            whole.extend(self._message(frame))
        if FLAG not in self._left or len(self._left) > MESSAGE_MAX:
            self._left = b""
        return whole

    def _spoilt(self) -> None:
        self.bad += 1
        self._parts = b""

    def _message(self, frame: bytes) -> list[bytes]:
        if crc16_x25(frame[:-2]) != int.from_bytes(frame[-2:], "little"):
            self._spoilt()
            return []
        head = _head(frame)
        if head is None or crc16_x25(frame[:head]) != int.from_bytes(
            frame[head : head + 2], "little"
        ):
            self._spoilt()
            return []
        self._parts += frame[head + 2 : -2]
        if len(self._parts) > MESSAGE_MAX:
            self._spoilt()
            return []
        if frame[0] & 0x08:
            return []
        message, self._parts = self._parts, b""
        return [message[3:] if message[:3] in LLC else message]


def _head(frame: bytes) -> int | None:
    """How long the header is: two addresses, each ending with its first odd octet, and control."""
    at = 2
    for _ in range(2):
        end = next((i for i in range(at, min(at + 4, len(frame) - 2)) if frame[i] & 1), None)
        if end is None:
            return None
        at = end + 1
    # A header without information has no check of its own, and nothing to say to us.
    return at + 1 if at + 5 <= len(frame) else None


@dataclass(slots=True)
class Wrapped:
    """Cuts a stream of wrapped messages. Out of step it looks for the next version word."""

    bad: int = 0
    _left: bytes = field(default=b"")

    def feed(self, octets: bytes) -> list[bytes]:
        self._left += octets
        whole: list[bytes] = []
        while len(self._left) >= 8:
            length = int.from_bytes(self._left[6:8], "big")
            if int.from_bytes(self._left[:2], "big") != WRAPPER or not 0 < length <= MESSAGE_MAX:
                self.bad += 1
                start = self._left.find(b"\x00\x01", 1)
                self._left = self._left[start:] if start > 0 else b""
                continue
            if len(self._left) < 8 + length:
                break
            whole.append(self._left[8 : 8 + length])
            self._left = self._left[8 + length :]
        return whole
