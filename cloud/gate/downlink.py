"""What goes down one gateway's stream, in which order, and what gives way when it is slow.

Order: refusals and the welcome, then leases (the dispatch lane), then the newest receipt, then
offer outcomes, then news that replaces older news. Each lane has a bound. A gateway that does not
take its offer outcomes is cut off: it will learn them again, while a dropped one it never would.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from protos import gateway_pb2 as pb
from protos.limits import (
    DOWNLINK_QUEUE_MAX,
    OPEN_OFFERS_PER_DEVICE_MAX,
    UNACKNOWLEDGED_BATCHES_MAX,
)

RECEIPT = 2 << 3 | 2
OFFERS = 5 << 3 | 2
OUTCOME = 1 << 3 | 2
"""Tags of ConnectResponse.receipt, ConnectResponse.offers and OfferNews.outcomes on the wire."""

RECEIPT_PAUSE_S_MAX = 5.0

OUTCOMES_QUEUED_MAX = 40 * DOWNLINK_QUEUE_MAX
"""A gateway's window of full offer batches makes more than it; one that reads never has so many."""


class Downlink:
    """One stream's outgoing lanes. `next` waits for the most urgent message.

    Lanes hold bytes as they will be sent: what goes to everybody is serialised once.
    """

    untold: Sequence[bytes] = ()
    """The newest outcomes that were not written when the stream was closed."""

    def __init__(self, receipt_pause_s: float = 0.0, turn: int = 0) -> None:
        """Where not everybody is told at once, `turn` says with whom this one is."""
        self.turn = turn
        self._is_closed = False
        self._receipt_pause_s = min(receipt_pause_s, RECEIPT_PAUSE_S_MAX)
        self._receipted_at = -math.inf
        self._receipted_seq = 0
        self._receipt_timer: asyncio.TimerHandle | None = None
        self._urgent: deque[bytes] = deque()
        self._leases: deque[bytes] = deque()
        self._outcomes: deque[bytes] = deque()
        self._writing: list[bytes] = []
        self.wrote: Callable[[int], None] = lambda _outcomes: None
        self._durable_seq = 0
        self._receipt_due = False
        self._checkpoint: bytes | None = None
        self._market: bytes | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._closed = asyncio.Event()

    def urgent(self, message: pb.ConnectResponse) -> None:
        self._append(self._urgent, message.SerializeToString())

    def begin(self, welcome: bytes, leases: Iterable[bytes], outcomes: Iterable[bytes]) -> None:
        """The first words, and what waited for the gateway."""
        self._append(self._urgent, welcome)
        for lease in leases:
            self.lease(lease)
        for outcome in outcomes:
            self.outcome(outcome)

    def lease(self, message: bytes) -> None:
        """A setpoint, as `lease_message` makes it."""
        self._append(self._leases, message)

    def receipt(self, durable_seq: int) -> None:
        """Coalesced: only the highest durable sequence is worth sending, and not too often."""
        self._durable_seq = max(self._durable_seq, durable_seq)
        if self._receipt_timer is not None and not self._is_window_half_used():
            return
        if self._receipt_pause_s and not self._is_window_half_used():
            loop = asyncio.get_running_loop()
            wait_s = self._receipted_at + self._receipt_pause_s - loop.time()
            if wait_s > 0:
                self._receipt_timer = loop.call_later(wait_s, self._let_receipt_go)
                return
        self._let_receipt_go()

    def _is_window_half_used(self) -> bool:
        return 2 * (self._durable_seq - self._receipted_seq) >= UNACKNOWLEDGED_BATCHES_MAX

    def _let_receipt_go(self) -> None:
        if self._receipt_timer is not None:
            self._receipt_timer.cancel()
            self._receipt_timer = None
        self._receipt_due = True
        self._wake()

    def outcome(self, outcome: bytes) -> None:
        """A serialised OfferOutcome."""
        if len(self._outcomes) >= OUTCOMES_QUEUED_MAX:
            self.close()
            return
        if not self._is_closed:
            self._outcomes.append(outcome)
            self._wake()

    def checkpoint(self, message: bytes) -> None:
        """The newest signed root, as `checkpoint_message` makes it."""
        self._checkpoint = message
        self._wake()

    def market(self, message: bytes) -> None:
        """The newest closed gate, as `market_message` makes it."""
        self._market = message
        self._wake()

    def close(self) -> None:
        """Ends the stream: the gateway comes back and is told everything again.

        What was queued goes at once: the peer may hold the last write up for as long as it likes.
        """
        if not self._is_closed:
            untold = (*self._writing, *self._outcomes)
            self.untold = untold[-OPEN_OFFERS_PER_DEVICE_MAX:]
        self._is_closed = True
        if self._receipt_timer is not None:
            self._receipt_timer.cancel()
        for lane in (self._urgent, self._leases, self._outcomes):
            lane.clear()
        self._wake()
        self._closed.set()

    async def closed(self) -> None:
        """Waits for `close`."""
        await self._closed.wait()

    async def next(self) -> bytes | None:
        """The most urgent ConnectResponse; None when the stream is to end. Whoever asks has written
        what it was given before.
        """
        if self._writing:
            self.wrote(len(self._writing))
            self._writing = []
        while True:
            if self._is_closed:
                return None
            message = self._take()
            if message is not None:
                return message
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting

    def _wake(self) -> None:
        """Whoever waits in `next` looks again."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _take(self) -> bytes | None:
        for lane in (self._urgent, self._leases):
            if lane:
                return lane.popleft()
        if self._receipt_due:
            self._receipt_due = False
            self._receipted_seq = self._durable_seq
            if self._receipt_pause_s:
                self._receipted_at = asyncio.get_running_loop().time()
            return _framed(RECEIPT, pb.Receipt(durable_seq=self._durable_seq).SerializeToString())
        if self._outcomes:
            count = min(len(self._outcomes), DOWNLINK_QUEUE_MAX)
            self._writing = [self._outcomes.popleft() for _ in range(count)]
            return _framed(OFFERS, b"".join([_framed(OUTCOME, one) for one in self._writing]))
        if self._checkpoint is not None:
            message, self._checkpoint = self._checkpoint, None
            return message
        news, self._market = self._market, None
        return news

    def _append(self, lane: deque[bytes], message: bytes) -> None:
        if len(lane) >= DOWNLINK_QUEUE_MAX:
            self.close()
            return
        if not self._is_closed:
            lane.append(message)
            self._wake()


def checkpoint_message(note: bytes) -> bytes:
    return pb.ConnectResponse(checkpoint=pb.Checkpoint(note=note)).SerializeToString()


def lease_message(order: pb.LeaseOrder) -> bytes:
    return pb.ConnectResponse(lease=order).SerializeToString()


def market_message(news: pb.MarketNews) -> bytes:
    return pb.ConnectResponse(market=news).SerializeToString()


def _framed(tag: int, body: bytes) -> bytes:
    """A length-delimited protobuf field: tag, length, bytes."""
    size = len(body)
    octets = bytearray((tag,))
    while size > 0x7F:
        octets.append(size & 0x7F | 0x80)
        size >>= 7
    octets.append(size)
    return bytes(octets) + body
