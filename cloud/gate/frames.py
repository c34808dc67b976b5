"""What a gate process and the writer's process say to each other, and how it lies on the socket.

A frame is its length in four bytes, big-endian, then a MessagePack array with a tag. Both ends are
one release, started one by the other over a socket pair that nobody else holds, so the tags are not
for good. Frames of one turn of the loop travel together. Decides nothing.
"""

import asyncio
import socket
from typing import Any

import msgspec

from protos.ids import DeviceId

LENGTH_BYTES = 4
FRAME_BYTES_MAX = 8 << 20
"""Far more than either end ever makes; what is longer is a defect and ends the link."""


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One message. A seat is the gate's own number for one stream."""


class Begin(Frame, frozen=True, array_like=True, tag=1):
    """The first word down: where to listen, what to show there, and how much to log."""

    address: str
    key: bytes
    chain: bytes
    roots: bytes
    log_level: int


class Listening(Frame, frozen=True, array_like=True, tag=2):
    """The first word up; `problem` is empty if all is well."""

    problem: str


class Ask(Frame, frozen=True, array_like=True, tag=3):
    """Whose key? `number` names the question."""

    number: int
    device: DeviceId


class Renew(Frame, frozen=True, array_like=True, tag=4):
    number: int
    device: DeviceId
    csr_pem: bytes


class Answer(Frame, frozen=True, array_like=True, tag=5):
    """To Ask, Renew or Enter: bytes, a refusal (not 0) or what is wrong with the request."""

    number: int
    body: bytes = b""
    refusal: int = 0
    problem: str = ""


class Enter(Frame, frozen=True, array_like=True, tag=6):
    """A gateway has said hello. Answered by Entered, or by Answer under the seat's number."""

    seat: int
    device: DeviceId


class Entered(Frame, frozen=True, array_like=True, tag=7):
    seat: int
    durable_seq: int
    welcome: bytes
    leases: list[bytes]
    outcomes: list[bytes]


class Leave(Frame, frozen=True, array_like=True, tag=8):
    seat: int


class Envelopes(Frame, frozen=True, array_like=True, tag=9):
    """Checked ones: (seat, sequence, previous, payload, signature)."""

    items: list[tuple[int, int, bytes, bytes, bytes]]


class Landed(Frame, frozen=True, array_like=True, tag=10):
    """What became of them: (seat, sequence, durable sequence, refusal or 0)."""

    items: list[tuple[int, int, int, int]]


class Glimpse(Frame, frozen=True, array_like=True, tag=11):
    seat: int
    seq: int
    previous: bytes
    payload: bytes
    signature: bytes


class Lease(Frame, frozen=True, array_like=True, tag=12):
    seat: int
    message: bytes


class Outcomes(Frame, frozen=True, array_like=True, tag=13):
    seat: int
    bodies: list[bytes]


class Wrote(Frame, frozen=True, array_like=True, tag=14):
    """So many outcomes of a seat were written to its stream."""

    seat: int
    outcomes: int


class End(Frame, frozen=True, array_like=True, tag=15):
    seat: int


class Checkpoint(Frame, frozen=True, array_like=True, tag=16):
    """To everybody."""

    message: bytes


class Market(Frame, frozen=True, array_like=True, tag=17):
    """To everybody."""

    message: bytes


class Drain(Frame, frozen=True, array_like=True, tag=18):
    """Let the gateways go, then end."""


AnyFrame = (
    Begin | Listening | Ask | Renew | Answer | Enter | Entered | Leave | Envelopes | Landed
    | Glimpse | Lease | Outcomes | Wrote | End | Checkpoint | Market | Drain
)  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyFrame] = msgspec.msgpack.Decoder(AnyFrame)


class Link:
    """One end of the socket between two processes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._unsent: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def send(self, frame: Frame) -> None:
        """Goes out at the end of this turn of the loop. After the other end has gone: nowhere."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        body = _encoder.encode(frame)
        self._unsent += (len(body).to_bytes(LENGTH_BYTES, "big"), body)

    @property
    def waiting_bytes(self) -> int:
        """What the other end has not taken yet."""
        size: int = self._writer.transport.get_write_buffer_size()
        return size

    async def receive(self) -> Any:
        """The next frame; None when the other end has gone."""
        try:
            size = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
            assert size <= FRAME_BYTES_MAX, f"a frame of {size} bytes"
            body = await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return _decoder.decode(body)

    async def flush(self) -> None:
        """Waits until the socket has taken what was sent, or the other end has gone."""
        self._flush()
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if unsent and not self._writer.is_closing():
            self._writer.write(b"".join(unsent))


async def link_over(end: socket.socket) -> Link:
    """A link over one end of a socket pair, which it then owns."""
    end.setblocking(False)
    return Link(*await asyncio.open_connection(sock=end, limit=FRAME_BYTES_MAX))
