"""SMA's Energy Meter and Sunny Home Manager as they are shipped: datagrams to a multicast group, once
a second, without being asked.

Format: SMA, "EMETER-Protokoll" (EMETER-Protokoll-TI-en-10). It must never use a datagram of another
meter than the first, one that is not whole, or one that is older than the last.

`address` is the group, 239.12.255.254:9522 unless somebody changed it; option `interface` is the own
address on the network where the meter is, `serial` the meter's number where there are several.
"""

import asyncio
import socket
import struct
from fractions import Fraction

from edge.devices.device import DeviceError, DeviceSpec
from edge.devices.listening import ListeningDevice, Telegram
from edge.devices.modbus.links import OnLost, OnOctets, split_address
from protos.clock import Clock

REVISION = 1
HEAD = b"SMA\0"
TAG_GROUP, TAG_DATA, TAG_END = 0x02A0, 0x0010, 0x0000
ENERGY_METER = 0x6069
SOFTWARE = 144
ACTUAL, COUNTER = 4, 8
RECEIVE_MAX = 2_048

_TOTALS = {1: ("1.7.0", "1.8.0"), 2: ("2.7.0", "2.8.0"), 3: ("3.7.0", ""), 4: ("4.7.0", "")}
"""Channel as OBIS codes of its actual value and its counter; 3 and 4 are reactive."""


class BadDatagram(ValueError):
    """A datagram of the group that is no whole telegram of an energy meter."""


def parse_datagram(octets: bytes) -> Telegram | None:
    """What an energy meter said; None for a datagram of another kind. Raises BadDatagram."""
    if octets[:4] != HEAD or len(octets) < 28:
        return None
    place, body = 4, b""
    while place + 4 <= len(octets):
        length, tag = struct.unpack_from(">HH", octets, place)
        place += 4
        if tag == TAG_END:
            break
        if place + length > len(octets):
            raise BadDatagram("it ends too soon")
        if tag == TAG_DATA:
            body = octets[place : place + length]
        place += length
    if len(body) < 12 or int.from_bytes(body[:2], "big") != ENERGY_METER:
        return None
    susy, serial = struct.unpack_from(">HI", body, 2)
    return Telegram(_values(body[12:]), f"SMA {susy}", str(serial))


def ticker_ms(octets: bytes) -> int:
    """The meter's own milliseconds, which start again from 0 after 2**32."""
    return int.from_bytes(octets[24:28], "big")


def _values(body: bytes) -> dict[str, tuple[Fraction, str]]:
    values: dict[str, tuple[Fraction, str]] = {}
    place = 0
    while place + 8 <= len(body):
        channel, index, kind, tariff = body[place : place + 4]
        place += 4
        if channel == SOFTWARE:
            place += 4
            continue
        if channel or tariff or kind not in {ACTUAL, COUNTER} or place + kind > len(body):
            raise BadDatagram(f"value {channel}:{index}.{kind}.{tariff} is not known")
        number = int.from_bytes(body[place : place + kind], "big")
        place += kind
        values.update(_value(index, kind, number))
    return values


def _value(index: int, kind: int, number: int) -> dict[str, tuple[Fraction, str]]:
    """A channel's value in canonical units: power comes in tenths of W, energy in Ws."""
    phase, base = divmod(index, 20)
    if kind == COUNTER:
        code = _TOTALS.get(index, ("", ""))[1]
        return {code: (Fraction(number, 3_600), "Wh")} if code else {}
    if index in _TOTALS:
        return {_TOTALS[index][0]: (Fraction(number, 10), "W" if index < 3 else "var")}
    if index == 14:
        return {"14.7.0": (Fraction(number), "mHz")}
    if phase in {1, 2, 3} and base in {1, 2, 11, 12}:
        unit = {1: "W", 2: "W", 11: "mA", 12: "mV"}[base]
        worth = Fraction(number, 10) if unit == "W" else Fraction(number)
        return {f"{index}.7.0": (worth, unit)}
    return {}


class GroupLink:
    """A membership in a multicast group; every datagram is handed on whole."""

    def __init__(self, group: str, port: int, interface: str) -> None:
        self._group, self._port, self._interface = group, port, interface
        self._socket: socket.socket | None = None

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    async def open(self, on_octets: OnOctets, on_lost: OnLost) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Bound to the group itself: what is sent to this machine alone is not for us.
            listener.bind((self._group, self._port))
            member = socket.inet_aton(self._group) + socket.inet_aton(self._interface)
            listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        self._socket = listener

        def readable() -> None:
            try:
                on_octets(listener.recv(RECEIVE_MAX))
            except BlockingIOError:
                return
            except OSError as error:
                on_lost(str(error))

        asyncio.get_running_loop().add_reader(listener.fileno(), readable)

    def write(self, octets: bytes) -> None:
        """Nobody is asked anything here."""

    def close(self) -> None:
        listener, self._socket = self._socket, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener.fileno())
            listener.close()


class DatagramCutter:
    """One datagram is one telegram. Others than the wanted meter's are not for us."""

    advice = "check who else sends to this group"

    def __init__(self, serial: str) -> None:
        self._serial = serial
        self._last_ms: dict[str, int] = {}
        self.bad = 0

    def feed(self, octets: bytes) -> list[Telegram]:
        try:
            telegram = parse_datagram(octets)
        except BadDatagram:
            self.bad += 1
            return []
        if telegram is None or telegram.number != (self._serial or telegram.number):
            return []
        # The first meter that is heard is the one, so that a second cannot mix in.
        self._serial = telegram.number
        ticks = ticker_ms(octets)
        last = self._last_ms.get(telegram.number)
        # Less than half the circle ahead is newer; a meter that starts again is one that stood still.
        if last is not None and not 0 < (ticks - last) % (1 << 32) < 1 << 31 and ticks > 60_000:
            self.bad += 1
            return []
        self._last_ms[telegram.number] = ticks
        return [telegram]


class SpeedwireDevice(ListeningDevice):
    """The `Device` port over an energy meter's datagrams. Make it with `listen`."""

    @classmethod
    async def listen(cls, spec: DeviceSpec, clock: Clock) -> "SpeedwireDevice":
        """Joins the group and waits for the first datagram. Raises DeviceError."""
        if spec.transport != "udp":
            raise DeviceError(spec.name, f"{spec.profile} over {spec.transport}", "use udp")
        try:
            group, port = split_address(spec.address)
            interface = str(spec.options.get("interface", "0.0.0.0"))  # noqa: S104
            socket.inet_aton(group), socket.inet_aton(interface)
        except (ValueError, OSError) as error:
            raise DeviceError(
                spec.name, f"bad address: {error}", "write 239.12.255.254:9522"
            ) from error
        cutter = DatagramCutter(str(spec.options.get("serial", "")))
        link = GroupLink(group, port, interface)
        return await cls(spec, clock, REVISION, link, cutter).until_first()
