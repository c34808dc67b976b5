"""The asynchronous side of the venues: the paper exchange as a Venue, and the pump of bids.

The pump stands between the desk's facts and its commands: each `BidPrepared` is submitted until
there is an answer, each award is brought back once. Nothing is submitted after the gate: what may
have been submitted before it is asked for instead, because its answer is owed.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date

from cloud.commands import (
    DeskCommand,
    RecordAward,
    RecordCancellation,
    RecordReply,
    RecordSubmission,
)
from cloud.facts import BidPrepared
from cloud.venues.days import publication
from cloud.venues.paper import PARTICIPANT, PaperExchange
from cloud.venues.regulation import Report, encode_report
from cloud.venues.venue import BadAnswer, BadBid, Codec, Venue, VenueError
from protos.clock import SECOND_NS, Clock

Publication = Callable[[str, date, str], bytes]
"""A venue's price file by venue, trade date and market."""

Send = Callable[[DeskCommand], Awaitable[object]]
"""Hands a command to the writer."""

SKEW_NS = 2 * SECOND_NS
"""The clock may be wrong by this much: closer to the gate nothing is sent for the first time."""

SETTLE_NS = 30 * SECOND_NS
"""Longer than any request lives, with the clocks' error."""

RETRY_S = 5.0
LATE_REASON = "GATE_CLOSED: the gate had closed before the bid could be sent"


def recorded(files: Mapping[tuple[str, str], bytes]) -> Publication:
    """Publications that were given, by venue and market, whatever the date; made ones else."""

    def published(venue: str, day: date, market: str) -> bytes:
        given = files.get((venue, market))
        return publication(venue, day, market) if given is None else given

    return published


def withdrawn(codec: Codec, bid_id: str, answer: bytes) -> bool:
    """Whether the venue holds no such bid any more."""
    return codec.is_unknown(answer) or codec.decode_reply(bid_id, answer).accepted


class PaperVenue:
    """One venue of a paper exchange, spoken to in its wire format."""

    def __init__(
        self,
        exchange: PaperExchange,
        venue: str,
        clock: Clock,
        published: Publication = publication,
    ) -> None:
        self._exchange = exchange
        self._codec = exchange.venues[venue]
        self._clock = clock
        self._published = published

    @property
    def name(self) -> str:
        return self._codec.venue

    async def submit(self, bid: BidPrepared) -> RecordReply:
        body = self._codec.encode_bid(bid, PARTICIPANT)
        answer = self._exchange.submit(self.name, body, self._clock.now_ns())
        return self._codec.decode_reply(bid.bid_id, answer)

    async def find(self, bid: BidPrepared) -> RecordReply | None:
        body = self._codec.encode_query(bid.bid_id)
        answer = self._exchange.submit(self.name, body, self._clock.now_ns())
        if self._codec.is_unknown(answer):
            return None
        return self._codec.decode_reply(bid.bid_id, answer)

    async def cancel(self, bid: BidPrepared) -> bool:
        body = self._codec.encode_cancel(bid.bid_id)
        answer = self._exchange.submit(self.name, body, self._clock.now_ns())
        return withdrawn(self._codec, bid.bid_id, answer)

    async def regulate(self, report: Report) -> int:
        try:
            return self._exchange.telemetry(self.name, encode_report(report))
        except BadBid as error:
            raise BadAnswer(self.name, error.text) from error

    async def awards(self) -> Sequence[RecordAward]:
        body = self._exchange.results(self.name, self._clock.now_ns())
        return self._codec.decode_awards(body)

    async def prices(self, trade_date: date, market: str) -> bytes:
        return self._published(self.name, trade_date, market)


class VenuePump:
    """Submits prepared bids and brings awards home. One task may run it."""

    def __init__(self, venues: Mapping[str, Venue], clock: Clock, send: Send) -> None:
        self._venues = venues
        self._clock = clock
        self._send = send
        self._brought: dict[tuple[str, int], None] = {}

    async def submit(self, bid: BidPrepared, *, again: bool = False) -> None:
        """Submits one bid until it is answered or its hour is over, and records the answer.

        `again` says that it may have been submitted before, as after a restart.
        """
        while self._clock.now_ns() < bid.starts_ns + bid.duration_ns:
            try:
                reply = await self._answer(bid, again=again)
            except VenueError:
                again = True
                await self._clock.sleep(RETRY_S)
                continue
            await self._send(reply)
            return

    async def cancel(self, bid: BidPrepared, *, rebid: bool = False) -> bool:
        """Withdraws a bid before its gate and records it; False if it was too late or unanswered.

        A bid whose cancellation nobody confirmed stands, and its award must be honoured.
        """
        if self._clock.now_ns() > bid.gate_ns - SKEW_NS:
            return False
        try:
            gone = await self._venues[bid.venue].cancel(bid)
        except VenueError:
            return False
        if gone:
            await self._send(RecordCancellation(bid.bid_id, rebid))
        return gone

    async def _answer(self, bid: BidPrepared, *, again: bool) -> RecordReply:
        """The venue's answer: before the gate by submitting, after it only by asking.

        What was still on its way at the gate has arrived or is lost when SETTLE_NS have passed.
        """
        venue = self._venues[bid.venue]
        if self._clock.now_ns() <= bid.gate_ns - SKEW_NS:
            if not again:
                await self._send(RecordSubmission(bid.bid_id))
            return await venue.submit(bid)
        found = None
        if again:
            settled_ns = bid.gate_ns + SETTLE_NS
            await self._clock.sleep(max(0, settled_ns - self._clock.now_ns()) / SECOND_NS)
            found = await venue.find(bid)
        late = RecordReply(bid.bid_id, accepted=False, venue_reference="", reason=LATE_REASON)
        return late if found is None else found

    async def collect(self) -> int:
        """Asks every venue for its awards and records the new ones; the number of those.

        A venue that does not answer is asked again at the next call.
        """
        fresh = 0
        for venue in self._venues.values():
            try:
                awards = await venue.awards()
            except VenueError:
                continue
            for award in awards:
                key = (award.bid_id, award.starts_ns)
                if key not in self._brought:
                    await self._send(award)
                    self._brought[key] = None
                    fresh += 1
        return fresh

    async def run(self, period_s: float = 60.0) -> None:
        """Collects awards every `period_s` on the clock, for ever."""
        while True:
            await self.collect()
            await self._clock.sleep(period_s)
