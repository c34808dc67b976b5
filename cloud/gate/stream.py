"""One gateway's stream: what comes up in which order, and when the stream ends.

Decides whether an envelope is the next of its stream; hands it on to the writer, wherever that runs;
receipts what is durable and says what was refused. It holds at most a window of envelopes in
flight, and waits while there is no room, so that a fast gateway is slowed down by its own transport.
It must never receipt what the writer has not made durable.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from cloud.gate.downlink import Downlink
from cloud.gate.house import Place
from protos import common_pb2
from protos import gateway_pb2 as pb
from protos.clock import Clock
from protos.limits import PAYLOAD_BYTES_MAX, UNACKNOWLEDGED_BATCHES_MAX
from protos.messages import ADVICE, Refusal
from protos.seal import Sealed, is_well_formed

LAST_WORDS_S = 0.5
"""How long a stream that is ended may still take to hear why."""


def _open_sealed_slowly(_message: bytes) -> tuple[int, bytes, bytes, bytes] | None:
    """Without the compiled part, protobuf opens every message."""
    return None


open_sealed: Callable[[bytes], tuple[int, bytes, bytes, bytes] | None]
try:
    from ext.envelope import open_sealed
except ImportError:
    open_sealed = _open_sealed_slowly


class Stream:
    """The order of one stream: what comes next, and how much is in flight to the writer."""

    def __init__(self, place: Place, downlink: Downlink) -> None:
        self._place = place
        self._downlink = downlink
        self._durable = place.durable_seq
        self._expected = place.durable_seq + 1
        self._in_flight = 0
        self._landed_some = asyncio.Event()

    async def run(self, context: Any, clock: Clock) -> None:
        """Reads and writes until either side ends the stream, or the downlink is closed.

        A peer that takes nothing keeps `write` waiting for ever; the closed downlink ends that.
        """
        tasks = (
            asyncio.create_task(self._receive(context, clock)),
            asyncio.create_task(_send_all(context, self._downlink)),
        )
        for task in tasks:
            task.add_done_callback(self._close)
        try:
            await self._downlink.closed()
            await asyncio.wait(tasks[1:], timeout=LAST_WORDS_S)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            # A broken connection is an end like another; anything else is a defect and is shown.
            if isinstance(outcome, Exception) and not isinstance(outcome, grpc.aio.BaseError):
                raise outcome

    def _close(self, _task: object) -> None:
        self._downlink.close()

    async def _receive(self, context: Any, clock: Clock) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            opened = open_sealed(message)
            if opened is not None:
                await self._take(Sealed(*opened))
                continue
            try:
                request = pb.ConnectRequest.FromString(message)
            except DecodeError:
                # The transport is sound, so the peer is not: nothing else it says can be trusted.
                return
            body = request.WhichOneof("body")
            if body == "sealed":
                found = request.sealed
                await self._take(Sealed(found.seq, found.previous, found.payload, found.signature))
            elif body == "glimpse":
                shown = request.glimpse
                self._place.glimpse(
                    Sealed(shown.seq, shown.previous, shown.payload, shown.signature),
                    asyncio.get_running_loop().time(),
                )
            elif body == "heartbeat":
                self._downlink.urgent(
                    pb.ConnectResponse(heartbeat=pb.Heartbeat(now_ns=clock.now_ns()))
                )

    async def _take(self, sealed: Sealed) -> None:
        if self._is_next(sealed):
            if self._in_flight >= UNACKNOWLEDGED_BATCHES_MAX or self._place.is_full:
                await self._make_room()
            self._hand_over(sealed)

    def _is_next(self, sealed: Sealed) -> bool:
        """One envelope at the door: refused, receipted again, or the next one."""
        if not is_well_formed(sealed):
            too_large = len(sealed.payload) > PAYLOAD_BYTES_MAX
            self._refuse(sealed.seq, Refusal.TOO_LARGE if too_large else Refusal.MALFORMED)
            return False
        if sealed.seq < self._expected:
            # Sent again after a lost receipt: harmless, and the answer is the receipt.
            self._downlink.receipt(self._durable)
            return False
        if sealed.seq > self._expected:
            self._refuse(sealed.seq, Refusal.SEQUENCE_GAP)
            return False
        return True

    async def _make_room(self) -> None:
        while self._in_flight >= UNACKNOWLEDGED_BATCHES_MAX:
            self._landed_some.clear()
            await self._landed_some.wait()
        await self._place.wait_for_room()

    def _hand_over(self, sealed: Sealed) -> None:
        if sealed.seq != self._expected:
            # While it waited for room, an envelope before it was refused: this one is too early.
            self._refuse(sealed.seq, Refusal.SEQUENCE_GAP)
            return
        self._place.hand_over(sealed, self._landed)
        self._expected += 1
        self._in_flight += 1

    def _landed(self, seq: int, durable_seq: int, refusal: Refusal | None) -> None:
        """The writer is done with an envelope: receipt what is durable, say what was refused."""
        self._in_flight -= 1
        self._landed_some.set()
        self._durable = durable_seq
        if refusal is Refusal.BAD_SIGNATURE:
            self._expected = durable_seq + 1
            self._refuse(seq, refusal)
            return
        if refusal is not None:
            self._expected = durable_seq + 1 if seq > durable_seq else self._expected
            self._refuse(seq, refusal)
        self._downlink.receipt(durable_seq)

    def _refuse(self, seq: int, reason: Refusal) -> None:
        self._downlink.urgent(
            pb.ConnectResponse(
                refusal=pb.BatchRefusal(
                    seq=seq,
                    refused=common_pb2.Refused(
                        reason=reason, name=reason.name, advice=ADVICE[reason]
                    ),
                    expected_seq=self._expected,
                )
            )
        )


async def _send_all(context: Any, downlink: Downlink) -> None:
    while (message := await downlink.next()) is not None:
        await context.write(message)
