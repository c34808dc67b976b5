"""What goes down one gateway's stream, in which order, and what gives way when it is slow.

Order: refusals and the welcome, then leases (the dispatch lane), then the newest receipt, then
offer outcomes, then news that replaces older news. Each lane has a bound. A gateway that does not
take its offer outcomes is cut off: it will learn them again, while a dropped one it never would.
"""

import asyncio
from collections import deque

from protos import gateway_pb2 as pb
from protos.limits import DOWNLINK_QUEUE_MAX

OUTCOMES_QUEUED_MAX = 40 * DOWNLINK_QUEUE_MAX
"""A gateway's window of full offer batches makes more than it; one that reads never has so many."""


class Downlink:
    """One stream's outgoing lanes. `next` waits for the most urgent message."""

    def __init__(self) -> None:
        self._is_closed = False
        self._urgent: deque[pb.ConnectResponse] = deque()
        self._leases: deque[pb.ConnectResponse] = deque()
        self._outcomes: deque[pb.OfferOutcome] = deque()
        self._durable_seq = 0
        self._receipt_due = False
        self._checkpoint: bytes | None = None
        self._market: pb.MarketNews | None = None
        self._ready = asyncio.Event()
        self._closed = asyncio.Event()

    def urgent(self, message: pb.ConnectResponse) -> None:
        self._append(self._urgent, message)

    def lease(self, order: pb.LeaseOrder) -> None:
        self._append(self._leases, pb.ConnectResponse(lease=order))

    def receipt(self, durable_seq: int) -> None:
        """Coalesced: only the highest durable sequence is worth sending."""
        self._durable_seq = max(self._durable_seq, durable_seq)
        self._receipt_due = True
        self._ready.set()

    def outcome(self, outcome: pb.OfferOutcome) -> None:
        if len(self._outcomes) >= OUTCOMES_QUEUED_MAX:
            self.close()
            return
        if not self._is_closed:
            self._outcomes.append(outcome)
            self._ready.set()

    def checkpoint(self, note: bytes) -> None:
        self._checkpoint = note
        self._ready.set()

    def market(self, news: pb.MarketNews) -> None:
        self._market = news
        self._ready.set()

    def close(self) -> None:
        """Ends the stream: the gateway comes back and is told everything again.

        What was queued goes at once: the peer may hold the last write up for as long as it likes.
        """
        self._is_closed = True
        for lane in (self._urgent, self._leases, self._outcomes):
            lane.clear()
        self._ready.set()
        self._closed.set()

    async def closed(self) -> None:
        """Waits for `close`."""
        await self._closed.wait()

    async def next(self) -> pb.ConnectResponse | None:
        """The most urgent message; None when the stream is to end."""
        while True:
            if self._is_closed:
                return None
            message = self._take()
            if message is not None:
                return message
            self._ready.clear()
            await self._ready.wait()

    def _take(self) -> pb.ConnectResponse | None:
        for lane in (self._urgent, self._leases):
            if lane:
                return lane.popleft()
        if self._receipt_due:
            self._receipt_due = False
            return pb.ConnectResponse(receipt=pb.Receipt(durable_seq=self._durable_seq))
        if self._outcomes:
            count = min(len(self._outcomes), DOWNLINK_QUEUE_MAX)
            outcomes = [self._outcomes.popleft() for _ in range(count)]
            return pb.ConnectResponse(offers=pb.OfferNews(outcomes=outcomes))
        if self._checkpoint is not None:
            note, self._checkpoint = self._checkpoint, None
            return pb.ConnectResponse(checkpoint=pb.Checkpoint(note=note))
        if self._market is not None:
            news, self._market = self._market, None
            return pb.ConnectResponse(market=news)
        return None

    def _append(self, lane: deque[pb.ConnectResponse], message: pb.ConnectResponse) -> None:
        if len(lane) >= DOWNLINK_QUEUE_MAX:
            self.close()
            return
        if not self._is_closed:
            lane.append(message)
            self._ready.set()
