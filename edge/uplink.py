"""The one stream to the cloud: envelopes up in order, receipts, leases and news down.

Sends only what the outbox holds durably, at most a window ahead of the receipts, and again from
where the cloud says after every reconnect. Must never skip an envelope, trust a receipt for what
was not sent, or go on when the cloud shows another chain.

Its pauses are physical: they use the event loop's time, not the agent's clock. The transport is
imported when the first stream is opened: reading and sealing do not wait for it.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from edge.outbox import ChainForked, Outbox, OutboxError
from edge.terms import Terms
from protos import gateway_pb2
from protos.clock import Clock
from protos.codec import are_sweeps
from protos.ids import DeviceId
from protos.limits import GLIMPSE_PERIOD_S, UNACKNOWLEDGED_BATCHES_MAX
from protos.messages import Lease, OfferOutcome, OfferState, Refusal
from protos.seal import Sealed
from protos.version import __version__

if TYPE_CHECKING:
    import grpc.aio

BACKOFF_S = 0.5
BACKOFF_S_MAX = 60.0
WELCOME_TIMEOUT_S = 20.0
HEARTBEAT_S = 20.0
SILENCE_S_MAX = 60.0
"""After so long without a sign of life, once the cloud has shown that it sends any, or with
envelopes unreceipted, the stream is taken for dead."""

RECEIPT_PAUSE_MS = 1_000
"""The outbox loses nothing by trimming once a second."""

GLIMPSE_BEHIND = UNACKNOWLEDGED_BATCHES_MAX
"""From so many envelopes on that are still to be sent, the newest is shown ahead of them."""

GLIMPSE_AMONG = 4
"""So many of the newest are looked at for readings: offers and reports say nothing of the present."""

REWIND_PAUSE_S = 2.0
DRAIN_S_MAX = 300.0
READ_AT_ONCE = 16

log = logging.getLogger("edge.uplink")


class LinkDown(Exception):
    """The stream ended; another is opened after a pause."""

    def __init__(self, reason: str, pause_s: float | None = None) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


class Downlink(Protocol):
    """Who is told what came down. Called in the loop; must not block."""

    def welcomed(self, terms: Terms, skew_ns: int) -> None: ...
    def cloud_time(self, skew_ns: int) -> None: ...
    def leased(self, lease: Lease) -> None: ...
    def offer_changed(self, outcome: OfferOutcome) -> None: ...
    def market_moved(self, slot: int, price_micro_per_kwh: int) -> None: ...
    def checkpoint(self, note: bytes) -> None: ...
    def refused(self, seq: int, reason: int, text: str) -> None: ...


@dataclass(slots=True)
class LinkCount:
    """What health shows of the uplink."""

    connected: bool = False
    streams: int = 0
    sent: int = 0
    receipts: int = 0
    refusals: int = 0
    rewinds: int = 0
    glimpses: int = 0
    problem: str = ""


@dataclass(slots=True)
class _Stream:
    """One connection's state."""

    call: Any
    cursor: int = 0
    rewound_to: int = -1
    rewound_at: float = 0.0
    glimpsed_at: float = -GLIMPSE_PERIOD_S
    glimpsed_seq: int = 0
    heard_at: float = 0.0
    hears_heartbeats: bool = False
    progressed: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Uplink:
    """Keeps the stream open until cancelled. `connect` opens a channel with today's certificate."""

    def __init__(
        self,
        device: DeviceId,
        boot_id: int,
        outbox: Outbox,
        clock: Clock,
        connect: Callable[[], "grpc.aio.Channel"],
        downlink: Downlink,
    ) -> None:
        self._device = device
        self._boot_id = boot_id
        self._outbox = outbox
        self._clock = clock
        self._connect = connect
        self._downlink = downlink
        self._failures = 0
        # What lies there at the start may have been sent by an earlier run.
        self._sent_to = outbox.head_seq
        self._renewed = asyncio.Event()
        self._receipted = asyncio.Event()
        self.count = LinkCount()

    def reconnect(self) -> None:
        """A new certificate is there: change to it at the next quiet moment."""
        self._renewed.set()

    async def drain(self, limit_s: float) -> None:
        """Waits for the receipt of everything, if there is a stream, and no longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self.count.connected and self._outbox.waiting:
                    self._receipted.clear()
                    await self._receipted.wait()

    async def run(self) -> None:
        """Streams until cancelled. Raises ChainForked, after which nothing may be sent."""
        import grpc.aio

        while True:
            pause_s: float | None = None
            try:
                await self._stream_once()
            except LinkDown as error:
                self._say(str(error))
                pause_s = error.pause_s
            except OutboxError as error:
                self._say(str(error))
            except grpc.aio.AioRpcError as error:
                self._say(f"{error.code().name}: {error.details()}")
            except (OSError, grpc.aio.UsageError, asyncio.InvalidStateError) as error:
                self._say(str(error))
            await asyncio.sleep(self._pause_s() if pause_s is None else pause_s)

    def _say(self, problem: str) -> None:
        if problem != self.count.problem:
            log.warning("uplink is down", extra={"problem": problem})
        self.count.problem = problem

    def _pause_s(self) -> float:
        """Full jitter: gateways that lost the same cloud must not come back in step."""
        limit = min(BACKOFF_S_MAX, BACKOFF_S * float(1 << min(self._failures, 16)))
        self._failures += 1
        return random.uniform(limit / 10, limit)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[_Stream]:
        from protos import gateway_pb2_grpc

        channel = self._connect()
        try:
            stub = gateway_pb2_grpc.GatewayServiceStub(channel)
            call = stub.Connect()
            try:
                yield _Stream(call)
            finally:
                call.cancel()
        finally:
            self.count.connected = False
            await channel.close()

    async def _stream_once(self) -> None:
        self._renewed.clear()
        async with self._open() as stream:
            await self._greet(stream)
            self.count.connected = True
            self.count.streams += 1
            self.count.problem = ""
            log.info("uplink is up", extra={"durable_seq": self._outbox.durable_seq})
            tasks = [
                asyncio.create_task(self._send_forever(stream)),
                asyncio.create_task(self._receive_forever(stream)),
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            if stream.progressed:
                self._failures = 0
            for task in done:
                task.result()

    async def _greet(self, stream: _Stream) -> None:
        import grpc.aio

        hello = gateway_pb2.Hello(
            device_id=self._device,
            agent_version=__version__,
            boot_id=self._boot_id,
            receipt_pause_ms=RECEIPT_PAUSE_MS,
        )
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                await stream.call.write(gateway_pb2.ConnectRequest(hello=hello))
                answer = await stream.call.read()
        except TimeoutError:
            raise LinkDown("the cloud does not greet; check that the address is its gate") from None
        if answer is grpc.aio.EOF:
            await self._raise_status(stream)
        if answer.WhichOneof("body") == "drain":
            raise self._drained(answer.drain)
        if answer.WhichOneof("body") != "welcome":
            raise LinkDown("the cloud's first word is no Welcome; update the agent")
        welcome = answer.welcome
        await self._outbox.adopt(welcome.durable_seq, welcome.durable_link)
        stream.cursor = welcome.durable_seq
        stream.heard_at = asyncio.get_running_loop().time()
        terms = Terms(
            welcome.zone,
            welcome.tick_micro_per_kwh,
            welcome.price_min_micro_per_kwh,
            welcome.price_max_micro_per_kwh,
            welcome.gate_closure_s,
        )
        self._downlink.welcomed(terms, welcome.now_ns - self._clock.now_ns())

    async def _raise_status(self, stream: _Stream) -> None:
        code = await stream.call.code()
        detail = await stream.call.details()
        raise LinkDown(f"{code.name}: {detail or 'the cloud closed the stream'}")

    async def _send_forever(self, stream: _Stream) -> None:
        loop = asyncio.get_running_loop()
        beat_at = loop.time() + HEARTBEAT_S
        while True:
            if self._renewed.is_set() and stream.cursor <= self._outbox.durable_seq:
                raise LinkDown("the certificate was renewed", 0.0)
            if not await self._send_some(stream):
                await self._wait(stream, beat_at - loop.time())
            if loop.time() >= beat_at:
                beat_at = loop.time() + HEARTBEAT_S
                self._check_alive(stream, loop.time())
                beat = gateway_pb2.Heartbeat(now_ns=self._clock.now_ns())
                await stream.call.write(gateway_pb2.ConnectRequest(heartbeat=beat))

    async def _wait(self, stream: _Stream, limit_s: float) -> None:
        """Until there may be something to send: an append, a receipt, or the next heartbeat."""
        waiters = [
            asyncio.create_task(event.wait())
            for event in (stream.wake, self._outbox.appended, self._renewed)
        ]
        try:
            await asyncio.wait(
                waiters, timeout=max(0.0, limit_s), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for waiter in waiters:
                waiter.cancel()

    async def _send_some(self, stream: _Stream) -> bool:
        stream.wake.clear()
        self._outbox.appended.clear()
        await self._glimpse(stream)
        room = self._outbox.durable_seq + UNACKNOWLEDGED_BATCHES_MAX - stream.cursor
        if room <= 0 or stream.cursor >= self._outbox.head_seq:
            return False
        after = stream.cursor
        for envelope in await self._outbox.read(after, min(room, READ_AT_ONCE)):
            if stream.cursor + 1 != envelope.seq:
                # A refusal moved the cursor while this was being sent, or a receipt trimmed ahead.
                break
            stream.cursor = envelope.seq
            self._sent_to = max(self._sent_to, envelope.seq)
            await stream.call.write(gateway_pb2.ConnectRequest(sealed=_carried(envelope)))
            self.count.sent += 1
        stream.cursor = max(stream.cursor, self._outbox.durable_seq)
        return True

    async def _glimpse(self, stream: _Stream) -> None:
        """Shows the newest envelope while a backlog stands before it; it is sent again in order."""
        now, head = asyncio.get_running_loop().time(), self._outbox.head_seq
        is_due = now - stream.glimpsed_at >= GLIMPSE_PERIOD_S and head > stream.glimpsed_seq
        if not is_due or head - stream.cursor < GLIMPSE_BEHIND:
            return
        newest = await self._outbox.read(head - GLIMPSE_AMONG, GLIMPSE_AMONG)
        for envelope in reversed(newest):
            if are_sweeps(envelope.payload):
                stream.glimpsed_at, stream.glimpsed_seq = now, envelope.seq
                await stream.call.write(gateway_pb2.ConnectRequest(glimpse=_carried(envelope)))
                self.count.glimpses += 1
                return

    def _check_alive(self, stream: _Stream, now: float) -> None:
        expects = stream.hears_heartbeats or stream.cursor > self._outbox.durable_seq
        if expects and now - stream.heard_at > SILENCE_S_MAX:
            raise LinkDown("the cloud is silent; the path is taken for dead")

    async def _receive_forever(self, stream: _Stream) -> None:
        import grpc.aio

        loop = asyncio.get_running_loop()
        while True:
            message = await stream.call.read()
            if message is grpc.aio.EOF:
                await self._raise_status(stream)
            stream.heard_at = loop.time()
            self._take(stream, message)

    def _take(self, stream: _Stream, message: "gateway_pb2.ConnectResponse") -> None:
        match message.WhichOneof("body"):
            case "receipt":
                self._receipt(stream, message.receipt.durable_seq)
            case "refusal":
                self._refusal(stream, message.refusal)
            case "lease":
                self._downlink.leased(_lease(message.lease, self._device))
            case "offers":
                for outcome in _outcomes(message.offers):
                    self._downlink.offer_changed(outcome)
            case "market":
                market = message.market
                self._downlink.market_moved(market.slot, market.last_price_micro_per_kwh)
            case "checkpoint":
                self._downlink.checkpoint(message.checkpoint.note)
            case "drain":
                raise self._drained(message.drain)
            case "heartbeat":
                stream.hears_heartbeats = stream.progressed = True
                self._downlink.cloud_time(message.heartbeat.now_ns - self._clock.now_ns())
            case _:
                # A newer cloud may say what this version does not know; nothing depends on it.
                return

    def _receipt(self, stream: _Stream, durable_seq: int) -> None:
        if durable_seq > self._sent_to:
            raise LinkDown(f"a receipt for {durable_seq}, but {self._sent_to} is all that was sent")
        self.count.receipts += 1
        stream.progressed = True
        self._outbox.trim(durable_seq)
        self._receipted.set()
        stream.wake.set()

    def _refusal(self, stream: _Stream, refusal: "gateway_pb2.BatchRefusal") -> None:
        reason = refusal.refused.reason
        text = f"{refusal.refused.name}: {refusal.refused.advice}"
        if reason == Refusal.FORKED_CHAIN:
            raise ChainForked(text)
        if reason == Refusal.REPLAYED:
            return
        self.count.refusals += 1
        if reason == Refusal.SEQUENCE_GAP:
            self._rewind(stream, refusal.expected_seq)
            return
        self._downlink.refused(refusal.seq, reason, text)
        if refusal.expected_seq and refusal.expected_seq <= refusal.seq:
            # The cloud does not go past this envelope and the chain cannot go round it.
            raise LinkDown(f"envelope {refusal.seq} was refused, {text}")

    def _rewind(self, stream: _Stream, expected: int) -> None:
        """Sends again from the sequence the cloud expects; once for all gaps of one window."""
        now = asyncio.get_running_loop().time()
        if expected == stream.rewound_to and now - stream.rewound_at < REWIND_PAUSE_S:
            return
        if not self._outbox.durable_seq < expected <= stream.cursor:
            raise LinkDown(f"the cloud expects {expected}, which was receipted or never sent")
        if expected == stream.rewound_to:
            raise LinkDown(f"the cloud asks for {expected} again and again")
        stream.rewound_to, stream.rewound_at = expected, now
        stream.cursor = expected - 1
        self.count.rewinds += 1
        stream.wake.set()

    @staticmethod
    def _drained(drain: "gateway_pb2.Drain") -> LinkDown:
        pause_s = drain.retry_after_s + random.uniform(0, drain.jitter_s)
        return LinkDown("the cloud asked to come back later", min(DRAIN_S_MAX, pause_s))


def _carried(envelope: Sealed) -> "gateway_pb2.SealedPayload":
    return gateway_pb2.SealedPayload(
        seq=envelope.seq,
        previous=envelope.previous,
        payload=envelope.payload,
        signature=envelope.signature,
    )


def _lease(order: "gateway_pb2.LeaseOrder", device: DeviceId) -> Lease:
    return Lease(
        order.lease_id[:65],
        device,
        order.not_before_ns,
        order.expires_ns,
        order.ramp_w_per_s,
        order.power_w if order.HasField("power_w") else None,
        order.export_limit_w if order.HasField("export_limit_w") else None,
        order.reason[:200],
        order.charge_limit_w if order.HasField("charge_limit_w") else None,
        order.import_limit_w if order.HasField("import_limit_w") else None,
    )


def _outcomes(news: "gateway_pb2.OfferNews") -> Iterator[OfferOutcome]:
    """States that this version does not know concern nothing that it does."""
    known = {int(state): state for state in OfferState}
    for item in news.outcomes:
        if item.state in known:
            reason = f"{item.refused.name}: {item.refused.advice}" if item.refused.reason else ""
            yield OfferOutcome(
                item.number,
                known[item.state],
                item.energy_wh,
                item.price_micro_per_kwh,
                reason,
            )
