"""One owner per Modbus TCP endpoint: one connection, several questions in flight where allowed.

It decides when to connect, how many questions may be open, and which answer belongs to which by
transaction id, unit, function and octet count together. It must never take an answer without its
own id, never open a second connection, and never connect more than once per back-off.
"""

import asyncio
import random
from collections import deque
from struct import Struct, unpack_from

from edge.devices.modbus.errors import (
    GATEWAY_PATH,
    GATEWAY_TARGET,
    BusError,
    Declined,
    Garbled,
    LinkLost,
    Overloaded,
    Silent,
    Unreachable,
)
from edge.devices.modbus.frames import (
    BIT_READS,
    FAULT_BIT,
    Malformed,
    Reply,
    Request,
    answer_write,
    next_tcp,
    parse_reply,
    reply_pdu,
    request_pdu,
    to_tcp,
)
from edge.devices.modbus.links import Link
from edge.devices.modbus.timing import Manner, Reopening, reply_timeout_s
from edge.devices.modbus.units import Units

MAX_PENDING = 256
SILENT_LIMIT = 3
"""After this many unanswered questions in a row the connection is made anew."""

NETWORK_S = 0.5
"""Round trip and scheduling that a network may add to a device's own turnaround."""

ID_STEP = 36
"""Ids are 37 apart, so that a server which is off by one names no other question in flight."""

_TIMEOUT_S = reply_timeout_s(NETWORK_S, Manner())
_READ = Struct(">HHHBBHH")
_ANSWER = Struct(">HHHBBB")
_ID = Struct(">H")


class _Ask:
    """An open question: what its answer must begin with, and how long it must be. `frame` is the
    beginning of the whole frame that answers it, where it is known beforehand.
    """

    __slots__ = ("deadline", "frame", "future", "head", "length", "sent", "unit")

    def __init__(
        self,
        unit: int,
        head: bytes,
        length: int,
        future: asyncio.Future[bytes],
        frame: bytes = b"",
    ) -> None:
        self.unit = unit
        self.head = head
        self.length = length
        self.future = future
        self.frame = frame
        self.sent = 0.0
        self.deadline = 0.0


class TcpBus:
    """The owner of one Modbus TCP endpoint."""

    def __init__(
        self,
        link: Link,
        address: str,
        *,
        in_flight: int = 1,
        connect_delay_s: float = 0.0,
        idle_close_s: float = 0.0,
    ) -> None:
        self._link = link
        self._address = address
        self._window = in_flight
        self._connect_delay_s = connect_delay_s
        self._idle_close_s = idle_close_s
        self._units = Units()
        self._reopening = Reopening()
        self._opening: asyncio.Task[Unreachable | None] | None = None
        self._timeouts: dict[int, float] = {}
        self._asks: dict[int, _Ask] = {}
        self._turns: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._left = b""
        self._transaction = random.randrange(1, 65536)
        self._silent = 0
        self._troubled = False
        self._strays = 0
        self._last_stray = 0
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time

    def introduce(self, unit: int, manner: Manner) -> None:
        self._units.introduce(unit, manner)
        self._timeouts[unit] = reply_timeout_s(NETWORK_S, manner)

    def turnaround_s(self, unit: int) -> float | None:
        return self._units.turnaround_s(unit)

    async def read(
        self, unit: int, function: int, address: int, count: int, spare: int = 0
    ) -> tuple[int, ...]:
        """`count` words or bits. `spare` is for lines without transaction ids. Raises BusError."""
        del spare
        if self._units.is_any_resting:
            self._units.check(unit, self._now())
        octets = (count + 7) // 8 if function in BIT_READS else 2 * count
        # The common case costs no other coroutine: this is the agent's hottest path.
        if not self._link.is_open or len(self._asks) >= self._window:
            await self._turn()
        transaction = self._new_id()
        frame = _ANSWER.pack(transaction, 0, 3 + octets, unit, function, octets)
        ask = self._send(
            transaction,
            _READ.pack(transaction, 0, 6, unit, function, address, count),
            _Ask(unit, frame[7:], 2 + octets, self._loop.create_future(), frame),
        )
        try:
            pdu = await ask.future
        finally:
            self._leave(transaction)
        if function in BIT_READS:
            reply = parse_reply(unit, pdu)
            assert isinstance(reply, Reply)
            return reply.values[:count]
        return unpack_from(f">{count}H", pdu, 2)

    async def write(self, unit: int, function: int, address: int, values: tuple[int, ...]) -> None:
        """Raises BusError; then it is unknown whether the write was done."""
        request = Request(unit, function, address, len(values), values)
        echo = reply_pdu(answer_write(request))
        await self._turn(urgent=True)
        transaction = self._new_id()
        ask = self._send(
            transaction,
            to_tcp(transaction, unit, request_pdu(request)),
            _Ask(unit, echo, len(echo), self._loop.create_future()),
        )
        try:
            await ask.future
        finally:
            self._leave(transaction)

    async def close(self) -> None:
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        for timer in (self._timer, self._idle):
            if timer is not None:
                timer.cancel()
        self._drop("the bus was closed")
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_exception(LinkLost(self._address, "the bus was closed"))

    # --- asking ----------------------------------------------------------------------------------

    async def _turn(self, *, urgent: bool = False) -> None:
        """Waits for an open connection and a place in the window."""
        while True:
            if self._closed:
                raise LinkLost(self._address, "the bus was closed")
            if not self._link.is_open:
                await self._ensure_open()
            elif len(self._asks) < self._window:
                return
            else:
                await self._queue(urgent=urgent)

    def _new_id(self) -> int:
        """An id that is not in use. 0 is never used: servers that do not copy ids answer with it."""
        transaction = (self._transaction + ID_STEP) % 65535 + 1
        while transaction in self._asks:
            transaction = (transaction + ID_STEP) % 65535 + 1
        self._transaction = transaction
        return transaction

    async def _queue(self, *, urgent: bool) -> None:
        if len(self._turns) >= MAX_PENDING:
            raise Overloaded(len(self._turns))
        turn = self._loop.create_future()
        if urgent:
            self._turns.appendleft(turn)
        else:
            self._turns.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._next_turn()
            raise

    def _next_turn(self) -> None:
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _send(self, transaction: int, octets: bytes, ask: _Ask) -> _Ask:
        ask.sent = now = self._now()
        ask.deadline = now + self._timeouts.get(ask.unit, _TIMEOUT_S)
        self._asks[transaction] = ask
        self._link.write(octets)
        if self._timer is None:
            self._timer = self._loop.call_at(ask.deadline, self._expire)
        return ask

    def _leave(self, transaction: int) -> None:
        """The question is over, whatever came of it: the next one may go."""
        self._asks.pop(transaction, None)
        if self._turns:
            self._next_turn()
        elif self._idle_close_s and not self._asks:
            self._close_when_idle()

    def _expire(self) -> None:
        """Fails the questions whose time is up; one timer serves all of them."""
        now = self._now()
        open_asks = [ask for ask in self._asks.values() if not ask.future.done()]
        for ask in open_asks:
            if ask.deadline <= now:
                self._silent += 1
                self._troubled = True
                self._units.failed(ask.unit, now, now - ask.sent)
                ask.future.set_exception(Silent(ask.unit, now - ask.sent, self._stray_note()))
        rest = [ask.deadline for ask in open_asks if not ask.future.done()]
        self._timer = self._loop.call_at(min(rest), self._expire) if rest else None
        if self._silent >= SILENT_LIMIT:
            self._silent = 0
            self._reopening.failed(now)
            self._drop("nothing was answered any more")

    def _stray_note(self) -> str:
        if not self._strays:
            return ""
        return (
            f" ({self._strays} answers came with another transaction id, last {self._last_stray};"
            " a gateway that does not copy ids needs transport rtu_over_tcp)"
        )

    # --- the connection --------------------------------------------------------------------------

    async def _ensure_open(self) -> None:
        """Joins the one attempt under way or begins it. Raises Unreachable within the back-off."""
        if self._opening is None:
            wait = self._reopening.remaining(self._now())
            if wait > 0:
                raise Unreachable(self._address, "it did not answer just now", wait)
            self._opening = self._loop.create_task(self._open())
        problem = await asyncio.shield(self._opening)
        if problem is not None:
            raise problem

    async def _open(self) -> Unreachable | None:
        """One attempt. The failure is a value, because nobody may be left to hear it raised."""
        try:
            await self._link.open(self._on_octets, self._drop)
            self._left, self._silent, self._strays = b"", 0, 0
            await asyncio.sleep(self._connect_delay_s)
        except OSError as error:
            self._troubled = True
            pause = self._reopening.failed(self._now())
            return Unreachable(self._address, str(error), pause)
        finally:
            self._opening = None
        return None

    def _drop(self, reason: str) -> None:
        """The connection is gone or must go: every open question fails."""
        self._link.close()
        self._left = b""
        self._troubled = True
        if self._reopening.remaining(self._now()) <= 0:
            # A server that accepts and hangs up at once must not be stormed either.
            self._reopening.failed(self._now())
        for ask in self._asks.values():
            if not ask.future.done():
                ask.future.set_exception(LinkLost(self._address, reason))

    def _close_when_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self._loop.call_later(self._idle_close_s, self._idle_over)

    def _idle_over(self) -> None:
        self._idle = None
        if not self._asks and not self._turns:
            self._link.close()

    # --- answers ---------------------------------------------------------------------------------

    def _on_octets(self, octets: bytes) -> None:
        if self._left:
            octets = self._left + octets
        elif len(octets) > 8:
            # One whole answer at once, as nearly all of them come, needs no parser.
            ask = self._asks.get(_ID.unpack_from(octets)[0])
            if (
                ask is not None
                and len(octets) == ask.length + 7
                and ask.frame
                and octets.startswith(ask.frame)
                and not ask.future.done()
            ):
                self._heard_from(ask)
                ask.future.set_result(octets[7:])
                return
        try:
            while True:
                used, transaction, unit, pdu = next_tcp(octets)
                if not used:
                    break
                octets = octets[used:]
                self._answer(transaction, unit, pdu)
                if not octets:
                    break
        except Malformed as error:
            self._drop(error.reason)
            return
        self._left = octets

    def _answer(self, transaction: int, unit: int, pdu: bytes) -> None:
        ask = self._asks.get(transaction)
        if ask is None or ask.future.done():
            self._strays += 1
            self._last_stray = transaction
            return
        if unit == ask.unit and len(pdu) == ask.length and pdu.startswith(ask.head):
            self._heard_from(ask)
            ask.future.set_result(pdu)
        else:
            self._recovered()
            ask.future.set_exception(self._misfit(ask, unit, pdu))

    def _heard_from(self, ask: _Ask) -> None:
        if self._troubled:
            self._recovered()
        self._units.answered(ask.unit, self._now() - ask.sent)

    def _recovered(self) -> None:
        """The server answers: what it missed before is forgotten."""
        self._troubled = False
        self._silent = 0
        self._reopening.opened()

    def _misfit(self, ask: _Ask, unit: int, pdu: bytes) -> BusError:
        function = ask.head[0]
        if unit == ask.unit and len(pdu) == 2 and pdu[0] == function | FAULT_BIT:
            now = self._now()
            if pdu[1] in {GATEWAY_PATH, GATEWAY_TARGET}:
                self._units.failed(unit, now, now - ask.sent)
            return Declined(unit, function, pdu[1], certain=True)
        return Garbled(ask.unit, f"unit {unit}, function {pdu[0]}, {len(pdu)} octets")
