"""The asynchronous side of the venues: the paper exchange as a Venue, and the pump of bids.

The pump stands between the desk's facts and its commands: each `BidPrepared` is submitted until
there is an answer, each award is brought back once. A first submission is never made after the
gate; a repetition is, because the bid's id makes it the same submission and its answer is owed.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date

from cloud.commands import DeskCommand, RecordAward, RecordReply
from cloud.facts import BidPrepared
from cloud.venues.days import publication
from cloud.venues.paper import PARTICIPANT, PaperExchange
from cloud.venues.venue import Venue, VenueError
from protos.clock import SECOND_NS, Clock

Publication = Callable[[str, date, str], bytes]
"""A venue's price file by venue, trade date and market."""

Send = Callable[[DeskCommand], Awaitable[object]]
"""Hands a command to the writer."""

SKEW_NS = 2 * SECOND_NS
"""The clock may be wrong by this much: closer to the gate nothing is sent for the first time."""

RETRY_S = 5.0
LATE_REASON = "GATE_CLOSED: the gate had closed before the bid could be sent"


def recorded(files: Mapping[tuple[str, str], bytes]) -> Publication:
    """Publications that were given, by venue and market, whatever the date; made ones else."""

    def published(venue: str, day: date, market: str) -> bytes:
        given = files.get((venue, market))
        return publication(venue, day, market) if given is None else given

    return published


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
        venue = self._venues[bid.venue]
        while self._clock.now_ns() < bid.starts_ns + bid.duration_ns:
            if not again and self._clock.now_ns() > bid.gate_ns - SKEW_NS:
                late = RecordReply(
                    bid.bid_id, accepted=False, venue_reference="", reason=LATE_REASON
                )
                await self._send(late)
                return
            try:
                reply = await venue.submit(bid)
            except VenueError:
                again = True
                await self._clock.sleep(RETRY_S)
                continue
            await self._send(reply)
            return

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
