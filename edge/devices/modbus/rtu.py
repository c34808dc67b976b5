"""One owner task per serial line: it alone sends, one question at a time, and minds the silences.

It decides when a question may go out and whether what comes back answers it. It must never send
before t3.5 of silence has passed, never ask the same thing again by itself after a failure, and
never take an answer that an earlier question could have caused. RTU over TCP is the same line
without the line's pace.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace

from edge.devices.modbus.alarm import Alarm
from edge.devices.modbus.errors import (
    GATEWAY_PATH,
    GATEWAY_TARGET,
    ILLEGAL_ADDRESS,
    ILLEGAL_VALUE,
    BusError,
    Declined,
    Garbled,
    LinkLost,
    Noisy,
    Overloaded,
    Silent,
    Unreachable,
)
from edge.devices.modbus.frames import (
    FAULT_BIT,
    MANY_WRITES,
    MAX_COUNT,
    READS,
    WORD_READS,
    Fault,
    Malformed,
    Reply,
    Request,
    next_rtu_reply,
    request_pdu,
    to_rtu,
)
from edge.devices.modbus.links import Link
from edge.devices.modbus.slips import Slips, asked_shape, fence_counts, free_count, heard_shape
from edge.devices.modbus.timing import (
    Manner,
    Reopening,
    frame_gap_s,
    reply_timeout_s,
    wire_s,
)
from edge.devices.modbus.units import Units

MAX_PENDING = 256
QUIET_S = 0.02
"""After an error the line must be silent this long: longer than USB adapters hold octets back."""

DRAIN_S = 1.0
"""A line that does not fall silent within this time is reported as noisy."""

LINE_NOISE = b"\x00\xff"
"""Octets that a transceiver emits when it turns round. No unit answers under these numbers."""


@dataclass(eq=False, slots=True)
class _Job:
    request: Request
    spare: int
    answer: asyncio.Future[Reply]


@dataclass(eq=False, slots=True)
class _Exchange:
    """The question on the line: what came so far, and the future that its answer resolves."""

    request: Request
    slips: Slips
    outcome: asyncio.Future[Reply | Fault]
    heard: bytearray = field(default_factory=bytearray)
    foreign: int = 0

    def take(self, octets: bytes) -> None:
        """Adds octets; resolves the outcome once they answer the question or cannot any more."""
        self.heard += octets
        if self.request.unit not in LINE_NOISE and self.heard[0] in LINE_NOISE:
            self.heard = self.heard.lstrip(LINE_NOISE)
        try:
            while not self.outcome.done():
                used, frame = next_rtu_reply(bytes(self.heard))
                if frame is None:
                    return
                del self.heard[:used]
                self._weigh(frame)
        except Malformed as error:
            self.outcome.set_exception(Garbled(self.request.unit, error.reason))

    def _weigh(self, frame: Reply | Fault) -> None:
        """Is it the answer, one that came late, or another unit's?"""
        request, shape = self.request, heard_shape(frame)
        if frame.unit != request.unit:
            self.foreign += 1
        elif shape == asked_shape(request) or shape == (request.function | FAULT_BIT,):
            self.outcome.set_result(frame)
        elif self.slips.possible(shape):
            self.slips.came_late(shape)
        else:
            self.outcome.set_exception(
                Garbled(request.unit, f"function {frame.function} with another octet count")
            )

    def expire(self, waited_s: float) -> None:
        """The time is up."""
        if self.outcome.done():
            return
        unit = self.request.unit
        if self.heard:
            problem: BusError = Garbled(unit, f"only {len(self.heard)} octets of a frame came")
        else:
            note = f" ({self.foreign} frames of other units came)" if self.foreign else ""
            problem = Silent(unit, waited_s, note)
        self.outcome.set_exception(problem)


class RtuBus:
    """The owner of one serial line or of one RTU-over-TCP connection."""

    def __init__(self, link: Link, address: str, baud: int, *, paced: bool = True) -> None:
        self._link = link
        self._address = address
        self._baud = baud
        self._gap_s = frame_gap_s(baud) if paced else 0.0
        self._units = Units()
        self._slips: dict[int, Slips] = {}
        self._no_spare: set[tuple[int, int, int]] = set()
        self._reopening = Reopening()
        self._jobs: deque[_Job] = deque()
        self._urgent: deque[_Job] = deque()
        self._arrival = asyncio.Event()
        self._alarm = Alarm()
        self._exchange: _Exchange | None = None
        self._last_octet = 0.0
        self._dirty = False
        self._loop = asyncio.get_running_loop()
        self._owner = self._loop.create_task(self._serve(), name=f"modbus {address}")

    def introduce(self, unit: int, manner: Manner) -> None:
        self._units.introduce(unit, manner)

    def turnaround_s(self, unit: int) -> float | None:
        return self._units.turnaround_s(unit)

    async def read(
        self, unit: int, function: int, address: int, count: int, spare: int = 0
    ) -> tuple[int, ...]:
        """`count` words or bits. Up to `spare` more behind them may be asked for, so that an
        answer that slipped cannot fit. Raises BusError.
        """
        self._units.check(unit, self._loop.time())
        reply = await self._submit(self._jobs, Request(unit, function, address, count), spare)
        return reply.values[:count]

    async def write(self, unit: int, function: int, address: int, values: tuple[int, ...]) -> None:
        """Writes go before waiting reads. Raises BusError; then it is unknown whether it was done."""
        await self._submit(self._urgent, Request(unit, function, address, len(values), values), 0)

    async def _submit(self, queue: deque[_Job], request: Request, spare: int) -> Reply:
        if len(queue) >= MAX_PENDING:
            raise Overloaded(len(queue))
        if self._owner.done():
            raise LinkLost(self._address, "the bus was closed")
        job = _Job(request, spare, self._loop.create_future())
        queue.append(job)
        self._arrival.set()
        return await job.answer

    async def close(self) -> None:
        self._owner.cancel()
        await asyncio.gather(self._owner, return_exceptions=True)
        self._alarm.close()
        self._link.close()

    # --- the owner -------------------------------------------------------------------------------

    async def _serve(self) -> None:
        job: _Job | None = None
        try:
            while True:
                job = await self._next_job()
                try:
                    reply = await self._perform(job)
                except BusError as error:
                    if not job.answer.done():
                        job.answer.set_exception(error)
                else:
                    if not job.answer.done():
                        job.answer.set_result(reply)
        finally:
            waiting = [*self._urgent, *self._jobs, *([job] if job else [])]
            for left in waiting:
                if not left.answer.done():
                    left.answer.set_exception(LinkLost(self._address, "the bus was closed"))

    async def _next_job(self) -> _Job:
        while True:
            for queue in (self._urgent, self._jobs):
                while queue:
                    job = queue.popleft()
                    if not job.answer.done():
                        return job
            self._arrival.clear()
            await self._arrival.wait()

    async def _perform(self, job: _Job) -> Reply:
        await self._ensure_open()
        request = job.request
        if request.function not in READS:
            return await self._ask(request)
        asked = await self._distinct(request, job.spare)
        try:
            return await self._ask(asked)
        except Declined as declined:
            stretched = asked.count != request.count
            if not stretched or declined.code not in {ILLEGAL_ADDRESS, ILLEGAL_VALUE}:
                raise
            if declined.certain:
                self._no_spare.add((request.unit, request.function, request.address))
        return await self._ask(await self._distinct(request, 0))

    async def _ensure_open(self) -> None:
        if self._link.is_open:
            return
        now = self._loop.time()
        if (wait := self._reopening.remaining(now)) > 0:
            raise Unreachable(self._address, "it could not be opened just now", wait)
        try:
            await self._link.open(self._on_octets, self._on_lost)
        except OSError as error:
            pause = self._reopening.failed(self._loop.time())
            raise Unreachable(self._address, str(error), pause) from error
        self._last_octet = self._loop.time()
        self._dirty = True

    async def _distinct(self, request: Request, spare: int) -> Request:
        """The request in a shape that no answer under way can have; fenced off where there is
        none: a shorter question is asked first, whose answer settles all before it.
        """
        unit = request.unit
        slips = self._slips.setdefault(unit, Slips())
        manner = self._units.manner(unit)
        limit = manner.max_words if request.function in WORD_READS else MAX_COUNT[request.function]
        # Bits travel in whole octets: only eight more make another shape.
        step = manner.step if request.function in WORD_READS else 8
        if (unit, request.function, request.address) in self._no_spare:
            spare = 0
        most = min(request.count + spare, max(limit, request.count))
        count = free_count(slips, request, range(request.count, most + 1, step))
        if count is None:
            await self._fence(request, slips, step, limit)
            count = free_count(slips, request, range(request.count, most + 1, step))
            if count is None:
                raise Garbled(unit, "an answer of the same shape may still be under way")
        return replace(request, count=count)

    async def _fence(self, request: Request, slips: Slips, step: int, limit: int) -> None:
        count = free_count(slips, request, fence_counts(request.count, step, limit))
        if count is None:
            # Every shape is open: nothing but a long silence settles them.
            await self._alarm.until(self._loop.time() + DRAIN_S)
            await self._drain()
            slips.forget()
            return
        try:
            await self._ask(replace(request, count=count))
        except Declined as declined:
            if not declined.certain:
                raise

    # --- one exchange ----------------------------------------------------------------------------

    async def _ask(self, request: Request) -> Reply:
        """Sends one question and waits for what comes. Raises BusError; asks once only."""
        unit = request.unit
        slips = self._slips.setdefault(unit, Slips())
        began = self._loop.time()
        shape = asked_shape(request)
        try:
            frame, turnaround = await self._send_and_hear(request, slips)
        except BusError as error:
            slips.unanswered(shape)
            self._dirty = True
            if isinstance(error, Silent):
                self._units.failed(unit, self._loop.time(), self._loop.time() - began)
            raise
        if isinstance(frame, Fault):
            raise self._declined(frame, slips, shape, began)
        slips.answered(shape)
        self._reopening.opened()
        self._units.answered(unit, turnaround)
        return frame

    def _declined(
        self, fault: Fault, slips: Slips, shape: tuple[int, ...], began: float
    ) -> Declined:
        certain = not slips.fault_possible(fault.function)
        if certain:
            slips.answered(heard_shape(fault))
        else:
            slips.came_late(heard_shape(fault))
            slips.unanswered(shape)
            self._dirty = True
        if fault.code in {GATEWAY_PATH, GATEWAY_TARGET}:
            now = self._loop.time()
            self._units.failed(fault.unit, now, now - began)
        return Declined(fault.unit, fault.function, fault.code, certain=certain)

    async def _send_and_hear(self, request: Request, slips: Slips) -> tuple[Reply | Fault, float]:
        manner = self._units.manner(request.unit)
        await self._silence(max(self._gap_s, manner.gap_s))
        octets = to_rtu(request.unit, request_pdu(request))
        wire = wire_s(self._baud, len(octets) + _reply_octets(request)) + self._gap_s
        exchange = _Exchange(request, slips, self._loop.create_future())
        self._exchange = exchange
        sent = self._loop.time()
        self._link.write(octets)
        timeout = reply_timeout_s(wire, manner)
        timer = self._loop.call_at(sent + timeout, exchange.expire, timeout)
        try:
            frame = await exchange.outcome
        finally:
            timer.cancel()
            self._exchange = None
        self._dirty = self._dirty or bool(exchange.heard)
        return frame, self._last_octet - sent - wire

    async def _silence(self, gap_s: float) -> None:
        """Returns when the line has been silent for `gap_s`, and clean."""
        while True:
            if self._dirty:
                await self._drain()
            await self._alarm.until(self._last_octet + gap_s)
            if not self._dirty:
                break
        if not self._link.is_open:
            raise LinkLost(self._address, "closed before the question was sent")

    async def _drain(self) -> None:
        """Discards what comes until the line is silent."""
        quiet = max(self._gap_s, QUIET_S)
        give_up = self._loop.time() + DRAIN_S
        # Silence counts from now: an answer may just be beginning.
        self._last_octet = max(self._last_octet, self._loop.time())
        while self._loop.time() < self._last_octet + quiet:
            if self._loop.time() > give_up:
                raise Noisy(self._address)
            await self._alarm.until(self._last_octet + quiet)
        self._dirty = False

    # --- the link --------------------------------------------------------------------------------

    def _on_octets(self, octets: bytes) -> None:
        self._last_octet = self._loop.time()
        if self._exchange is None or self._exchange.outcome.done():
            self._dirty = True
        else:
            self._exchange.take(octets)

    def _on_lost(self, reason: str) -> None:
        # A far end that accepts and hangs up at once must not be stormed either.
        self._reopening.failed(self._loop.time())
        exchange = self._exchange
        if exchange is not None and not exchange.outcome.done():
            exchange.outcome.set_exception(LinkLost(self._address, reason))


def _reply_octets(request: Request) -> int:
    """Length of the serial frame that answers."""
    function = request.function
    if function in WORD_READS:
        return 5 + 2 * request.count
    if function in READS:
        return 5 + (request.count + 7) // 8
    assert function in MANY_WRITES or request.values
    return 8
