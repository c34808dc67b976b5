"""Simulated devices on real wires: Modbus TCP sockets, and pseudo-terminals as slow as a bus.

A serial slave sends each character when its stop bit would have passed at its baud, by an absolute
clock, and begins 3.5 characters after the request's end. Deadlines are the event loop's; the only
thing asked of the simulation's clock is the instant a request is served at. This module never
decides what a register holds.
"""

import asyncio
import contextlib
import os
import tty
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge.devices.modbus import frames
from edge.devices.modbus.errors import DEVICE_BUSY, GATEWAY_TARGET
from edge.devices.modbus.frames import Fault, Malformed, Request
from edge.devices.modbus.timing import char_s, frame_gap_s
from edge.simulator import wire
from edge.simulator.faults import Faults, Mischief, shortened

GAP_SLACK_S = 0.000_05
BURST_CHARACTERS = 3
"""Characters written at one waking: never as many as would look like the end of a frame."""

TCP_FRAME_MAX = 6 + 1 + frames.MAX_PDU
SPLIT_AT = 5
SPLIT_PAUSE_S = 0.002
RECEIVED_MAX = 4_096
"""A line that babbles without a silence is not remembered further back."""

PENDING_MAX = 64
"""Replies that wait on one wire. A client that sends more without reading loses the newest."""


@dataclass(slots=True)
class Station:
    """The devices on one wire, by unit id, with the faults they share."""

    images: Mapping[int, wire.Image]
    now_ns: Callable[[], int]
    mischief: Mischief = field(default_factory=Mischief)

    @property
    def faults(self) -> Faults:
        return self.mischief.faults

    def reply(self, request: Request | Fault) -> bytes:
        """The reply of a unit that is on this wire, with the faults that alter its content."""
        if self.mischief.strikes(self.faults.busy_every):
            return wire.refusal(request, DEVICE_BUSY)
        pdu = wire.answer(self.images[request.unit], request, self.now_ns())
        return shortened(pdu) if self.mischief.strikes(self.faults.short_every) else pdu


class TcpDevice:
    """One listening Modbus TCP port."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self._server: asyncio.Server | None = None
        self._sessions: set[_Session] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listens, and returns host:port as it turned out."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Session(self), host, port)
        address = self._server.sockets[0].getsockname()
        return f"{address[0]}:{address[1]}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for session in list(self._sessions):
                session.end()
            await self._server.wait_closed()
            self._server = None

    def admits(self, session: "_Session") -> bool:
        if self._sessions and self.station.faults.single_client:
            return False
        self._sessions.add(session)
        return True

    def forget(self, session: "_Session") -> None:
        self._sessions.discard(session)


class _Session(asyncio.Protocol):
    """One client's connection. Requests are served in their order, also behind a late reply."""

    def __init__(self, device: TcpDevice) -> None:
        self._device = device
        self._station = device.station
        self._received = bytearray()
        self._free_at = 0.0
        self._waiting = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._device.admits(self):
            transport.abort()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  the port's name
        self._device.forget(self)

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def end(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            while not self._transport.is_closing():
                head = bytes(self._received[:TCP_FRAME_MAX])
                used, transaction, request = frames.next_tcp_request(head)
                if request is None:
                    return
                del self._received[:used]
                self._serve(transaction, request)
        except Malformed:
            self._transport.abort()

    def _serve(self, transaction: int, request: Request | Fault) -> None:
        mischief = self._station.mischief
        mischief.begin()
        if mischief.strikes(mischief.faults.reset_every):
            self._transport.abort()
            return
        if request.unit in self._station.images:
            pdu = self._station.reply(request)
        else:
            pdu = wire.refusal(request, GATEWAY_TARGET)
        echoed = 0 if mischief.faults.zero_tid else transaction
        self._reply(frames.to_tcp(echoed, request.unit, pdu))

    def _reply(self, frame: bytes) -> None:
        """Sends at once where nothing is late, else in its turn."""
        loop, mischief = asyncio.get_running_loop(), self._station.mischief
        now = loop.time()
        self._free_at = max(now, self._free_at) + mischief.delay_s
        for pause_s, part in self._parts(mischief.frames(frame)):
            self._free_at += pause_s
            if not self._waiting and self._free_at <= now:
                self._transport.write(part)
            elif self._waiting < PENDING_MAX:
                self._waiting += 1
                loop.call_at(self._free_at, self._send, part)

    def _parts(self, parts: Iterable[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
        for pause_s, part in parts:
            if self._station.mischief.strikes(self._station.faults.split_every):
                yield pause_s, part[:SPLIT_AT]
                yield SPLIT_PAUSE_S, part[SPLIT_AT:]
            else:
                yield pause_s, part

    def _send(self, part: bytes) -> None:
        self._waiting -= 1
        self._transport.write(part)


class SerialBus:
    """One pseudo-terminal with slaves behind it, at the speed of its baud.

    `link`, where given, is made a symbolic link to the terminal and removed at the end, so that the
    bus keeps its name over restarts.
    """

    def __init__(self, station: Station, baud: int = 9600, turnaround_ms: int = 0) -> None:
        self.station = station
        self._character_s = char_s(baud)
        self._gap_s = frame_gap_s(baud)
        self._turnaround_s = turnaround_ms / 1_000
        self._received = bytearray()
        self._began_at = 0.0
        self._line_free_at = 0.0
        self._pending: deque[tuple[float, bytes]] = deque()
        self._sent = 0
        self._silence: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._link: Path | None = None
        self._ours = self._theirs = -1

    def start(self, link: Path | None = None) -> str:
        """Opens the terminal and returns the path a client opens."""
        self._loop = asyncio.get_running_loop()
        # The client's end stays open here too: else the last client's leaving would hang up.
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self._loop.add_reader(self._ours, self._receive)
        name = os.ttyname(self._theirs)
        if link is None:
            return name
        link.unlink(missing_ok=True)
        link.symlink_to(name)
        self._link = link
        return str(link)

    async def close(self) -> None:
        if self._ours < 0:
            return
        for timer in (self._silence, self._sending):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._ours)
        os.close(self._ours)
        os.close(self._theirs)
        self._ours = self._theirs = -1
        if self._link is not None:
            self._link.unlink(missing_ok=True)

    def _receive(self) -> None:
        now = self._loop.time()
        if not self._received:
            self._began_at = now
        self._received += os.read(self._ours, RECEIVED_MAX)
        self._split()
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        del self._received[:-RECEIVED_MAX]
        if self._received:
            wait_s = len(self._received) * self._character_s + self._gap_s
            self._silence = self._loop.call_later(wait_s, self._give_up)

    def _give_up(self) -> None:
        """The line fell silent in the middle of a frame: what came is lost."""
        self._silence = None
        self._received.clear()

    def _split(self) -> None:
        """Takes whole requests off what was received. After a broken one nothing can be trusted
        before the next silence, so it stays until that ends it.
        """
        try:
            while True:
                head = bytes(self._received[: frames.MAX_RTU])
                used, request = frames.next_rtu_request(head)
                if request is None:
                    return
                del self._received[:used]
                began_at, ended_at = self._began_at, self._began_at + used * self._character_s
                self._began_at = ended_at
                if not self._is_too_early(began_at):
                    self._serve(request, ended_at)
                self._line_free_at = max(self._line_free_at, ended_at)
        except Malformed:
            return

    def _is_too_early(self, began_at: float) -> bool:
        if began_at >= self._line_free_at + self._gap_s - GAP_SLACK_S:
            return False
        self.station.mischief.early_requests += 1
        return bool(self.station.faults.strict_gap)

    def _serve(self, request: Request | Fault, ended_at: float) -> None:
        if request.unit not in self.station.images or len(self._pending) >= PENDING_MAX:
            return
        mischief = self.station.mischief
        mischief.begin()
        reply = frames.to_rtu(request.unit, self.station.reply(request))
        if mischief.strikes(mischief.faults.bad_crc_every):
            reply = reply[:-1] + bytes((reply[-1] ^ 0x5A,))
        begins_at = ended_at + self._gap_s + self._turnaround_s + mischief.delay_s
        for pause_s, part in mischief.frames(reply):
            begins_at = max(begins_at, self._line_free_at) + pause_s
            self._pending.append((begins_at, part))
            self._line_free_at = begins_at + len(part) * self._character_s
        if self._sending is None and self._pending:
            self._schedule()

    def _schedule(self) -> None:
        """Wakes when the next few characters will have passed."""
        begins_at, frame = self._pending[0]
        passed = min(self._sent + BURST_CHARACTERS, len(frame))
        self._sending = self._loop.call_at(begins_at + passed * self._character_s, self._send)

    def _send(self) -> None:
        begins_at, frame = self._pending[0]
        passed = int((self._loop.time() - begins_at) / self._character_s + 0.01)
        until = min(len(frame), max(passed, self._sent + 1))
        # Where nobody listens the terminal fills up; a line loses what nobody reads.
        with contextlib.suppress(BlockingIOError):
            os.write(self._ours, frame[self._sent : until])
        self._sent = until
        if self._sent == len(frame):
            self._pending.popleft()
            self._sent = 0
        self._sending = None
        if self._pending:
            self._schedule()
