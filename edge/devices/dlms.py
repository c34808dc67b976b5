"""DLMS/COSEM push: a meter that sends its registers unasked, over HDLC or the wrapper, in the open or
under its own key (IEC 62056-5-3, security suite 0).

It decides which pushes are believed. It must never believe one whose tag is wrong, one that is not
newer than the last under the same key, or one in the open from a meter that was given a key.

Options: `framing` is "hdlc" (default on serial lines) or "wrapper" (default on sockets); `key_file`
and `auth_key_file` name files with 32 hexadecimal digits each; `open_ciphering = true` takes pushes
that are encrypted and not authenticated, as some countries' meters send them; an entry such as
`"1.8.0" = "10 Wh"` says what a count is worth where the meter does not.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from edge.devices.axdr import BadData, Octets, Told, number_of, parse, readings
from edge.devices.device import DeviceError, DeviceSpec
from edge.devices.hdlc import Frames, Wrapped
from edge.devices.listening import ListeningDevice, Telegram, make_link
from protos.clock import Clock

REVISION = 1
DATA_NOTIFICATION = 0x0F
GENERAL_GLO_CIPHERING = 0xDB
AUTHENTICATED, ENCRYPTED, SUITE = 0x10, 0x20, 0x0F
TAG_OCTETS = DATE_TIME_OCTETS = 12
NUMBERS = (bytes((0, 0, 96, 1, 0, 255)), bytes((0, 0, 42, 0, 0, 255)), bytes((1, 0, 0, 0, 0, 255)))
"""Codes behind which a meter says its own number (IEC 62056-6-1)."""

_CODE = re.compile(r"^\d{1,3}\.\d{1,3}\.\d{1,3}$")
_WORTH = re.compile(r"^(\d{1,7}(?:\.\d{1,6})?) (Wh|W|var|mV|mA|mHz)$")


class Unbelieved(ValueError):
    """A push that must not be used; the message says why."""


@dataclass(slots=True)
class Cipher:
    """Security suite 0: AES-128 in Galois counter mode, the system title and a counter as nonce."""

    key: bytes
    auth_key: bytes = b""
    takes_open: bool = False
    newest: dict[bytes, int] = field(default_factory=dict)

    def plain(self, source: Octets) -> tuple[bytes, bytes]:
        """The message inside, and the system title of who sent it. Raises Unbelieved, BadData."""
        title = source.take(source.length())
        if len(title) != 8:
            raise Unbelieved(f"a system title of {len(title)} octets")
        body = Octets(source.take(source.length()))
        control, counter = body.number(), int.from_bytes(body.take(4), "big")
        text = body.take(len(body.octets) - body.at)
        if control & SUITE or not control & ENCRYPTED:
            raise Unbelieved(f"security control {control:#04x}; suite 0 with encryption is known")
        nonce = title + counter.to_bytes(4, "big")
        if control & AUTHENTICATED:
            message = self._opened(nonce, control, text)
        elif self.takes_open:
            message = self._counted(nonce, text)
        else:
            raise Unbelieved("it is encrypted and not authenticated: option open_ciphering = true")
        # Only what opened may move the counter, else anybody could.
        if counter <= self.newest.get(title, -1):
            raise Unbelieved(f"it was sent before: counter {counter}")
        if title not in self.newest and self.newest:
            raise Unbelieved("another meter's system title under the same key")
        self.newest[title] = counter
        return message, title

    def _opened(self, nonce: bytes, control: int, text: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers import Cipher as Aes
        from cryptography.hazmat.primitives.ciphers import algorithms, modes

        if len(text) < TAG_OCTETS:
            raise Unbelieved("it is too short for its tag")
        mode = modes.GCM(nonce, text[-TAG_OCTETS:], min_tag_length=TAG_OCTETS)
        opener = Aes(algorithms.AES(self.key), mode).decryptor()
        opener.authenticate_additional_data(bytes((control,)) + self.auth_key)
        message = opener.update(text[:-TAG_OCTETS])
        try:
            return message + opener.finalize()
        except InvalidTag as error:
            raise Unbelieved("its tag is wrong: check key_file and auth_key_file") from error

    def _counted(self, nonce: bytes, text: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher as Aes
        from cryptography.hazmat.primitives.ciphers import algorithms, modes

        # The counter mode inside GCM begins at 2; 1 belongs to the tag that is not there.
        mode = modes.CTR(nonce + b"\0\0\0\2")
        return Aes(algorithms.AES(self.key), mode).decryptor().update(text)


class PushCutter:
    """Frames to pushes to values."""

    def __init__(self, frames: Frames | Wrapped, cipher: Cipher | None, told: Told) -> None:
        self._frames = frames
        self._cipher = cipher
        self._told = told
        self._unbelieved = 0
        self._why = ""
        self.bad = 0

    @property
    def advice(self) -> str:
        return self._why or "check baud, parity and framing: hdlc or wrapper"

    def feed(self, octets: bytes) -> list[Telegram]:
        whole: list[Telegram] = []
        for message in self._frames.feed(octets):
            try:
                whole.append(self._telegram(message))
            except (BadData, Unbelieved) as error:
                self._unbelieved += 1
                self._why = str(error)
        self.bad = self._frames.bad + self._unbelieved
        return whole

    def _telegram(self, message: bytes) -> Telegram:
        source, label = Octets(message), ""
        tag = source.number()
        if tag == GENERAL_GLO_CIPHERING:
            if self._cipher is None:
                raise Unbelieved("it is encrypted: option key_file")
            opened, title = self._cipher.plain(source)
            source, label = Octets(opened), title.hex()
            tag = source.number()
        elif self._cipher is not None:
            raise Unbelieved("it came in the open, though there is a key for it")
        if tag != DATA_NOTIFICATION:
            raise Unbelieved(f"message {tag:#04x} is no push; a wrong key looks like that")
        source.take(4)
        # Twelve octets of date and time, announced by their length or, by some, as present.
        if (announced := source.number()) not in {0, 1, DATE_TIME_OCTETS}:
            raise BadData(f"a date of {announced} octets")
        source.take(DATE_TIME_OCTETS if announced else 0)
        data = parse(source)
        if source.at != len(source.octets):
            raise BadData(f"{len(source.octets) - source.at} octets behind its end")
        values = readings(data, self._told)
        if not values:
            raise Unbelieved('no register with a unit: say "1.8.0" = "10 Wh" in the options')
        return Telegram(values, label, number_of(data, NUMBERS))


class DlmsDevice(ListeningDevice):
    """The `Device` port over pushes. Make it with `listen`."""

    @classmethod
    async def listen(cls, spec: DeviceSpec, clock: Clock) -> "DlmsDevice":
        """Opens the port and waits for the first believed push. Raises DeviceError."""
        framing = spec.options.get("framing", "hdlc" if spec.transport == "serial" else "wrapper")
        if framing not in {"hdlc", "wrapper"}:
            raise DeviceError(spec.name, f"framing {framing!r}", 'write "hdlc" or "wrapper"')
        frames = Frames() if framing == "hdlc" else Wrapped()
        cutter = PushCutter(frames, _cipher(spec), _told(spec))
        return await cls(spec, clock, REVISION, make_link(spec), cutter).until_first()


def _cipher(spec: DeviceSpec) -> Cipher | None:
    if "key_file" not in spec.options:
        return None
    auth = _key(spec, "auth_key_file") if "auth_key_file" in spec.options else b""
    return Cipher(_key(spec, "key_file"), auth, spec.options.get("open_ciphering") is True)


def _key(spec: DeviceSpec, option: str) -> bytes:
    """A key from its file. The message of an error never holds any of it."""
    path = Path(str(spec.options[option]))
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        key = b""
    if len(key) != 16:
        raise DeviceError(
            spec.name, f"{option} {path} holds no key", "put 32 hexadecimal digits there, mode 600"
        )
    return key


def _told(spec: DeviceSpec) -> Told:
    """What the installer says of codes. Raises DeviceError for one that cannot be read."""
    told: dict[str, tuple[Fraction, str]] = {}
    for code, worth in _codes(spec.options).items():
        found = _WORTH.match(str(worth))
        if found is None:
            raise DeviceError(
                spec.name, f"{code} = {worth!r}", 'write a factor and a unit, as "10 Wh"'
            )
        told[code] = (Fraction(found[1]), found[2])
    return told


def _codes(options: Mapping[str, str | int | bool]) -> dict[str, str | int | bool]:
    return {name: value for name, value in options.items() if _CODE.match(name)}
