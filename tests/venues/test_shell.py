"""The pump: every bid gets its one answer, every award comes home once, nothing goes out late."""

from datetime import date

import pytest

from cloud.commands import RecordAward, RecordCancellation, RecordReply, RecordSubmission
from cloud.venues.days import publication
from cloud.venues.paper import PaperExchange
from cloud.venues.shell import LATE_REASON, PaperVenue, VenuePump
from cloud.venues.venue import VenueError
from protos.clock import SECOND_NS
from tests.venues.bidding import NOON, HandClock, bid, price

GATE = bid().gate_ns


class Shaky(PaperVenue):
    """Loses the answer, though not the bid, as often as it is told."""

    losses = 0

    async def submit(self, sent):
        reply = await super().submit(sent)
        if self.losses:
            self.losses -= 1
            raise VenueError(self.name, "connection lost")
        return reply

    async def find(self, sent):
        if self.losses:
            self.losses -= 1
            raise VenueError(self.name, "connection lost")
        return await super().find(sent)

    async def awards(self):
        if self.losses:
            self.losses -= 1
            raise VenueError(self.name, "connection lost")
        return await super().awards()


class House:
    """A pump on a paper exchange, and what it sent to the desk."""

    def __init__(self, now_ns):
        self.clock = HandClock(now_ns)
        self.exchange = PaperExchange()
        self.exchange.publish([price(NOON, 60)])
        self.venue = Shaky(self.exchange, "caiso", self.clock)
        self.sent = []
        self.pump = VenuePump({"caiso": self.venue}, self.clock, self.send)

    async def send(self, command):
        self.sent.append(command)


@pytest.fixture
def house():
    return House(GATE - 60 * SECOND_NS)


async def test_a_bid_is_submitted_and_its_answer_recorded(house):
    await house.pump.submit(bid())
    submission, reply = house.sent
    assert submission == RecordSubmission(bid().bid_id)
    assert isinstance(reply, RecordReply)
    assert reply.accepted


async def test_a_lost_answer_is_asked_for_again_even_past_the_gate(house):
    house.venue.losses = 20
    await house.pump.submit(bid())
    assert house.clock.at > GATE
    submission, reply = house.sent
    assert submission == RecordSubmission(bid().bid_id)
    assert reply.accepted


@pytest.mark.parametrize("skew_s", [-2, 0, 60])
async def test_a_bid_is_never_sent_for_the_first_time_at_or_after_the_gate(skew_s):
    house = House(GATE + skew_s * SECOND_NS + 1)
    await house.pump.submit(bid())
    assert house.sent == [RecordReply(bid().bid_id, False, "", LATE_REASON)]
    assert await house.venue.awards() == []


async def test_after_a_restart_an_unanswered_bid_is_asked_for_past_the_gate(house):
    await house.pump.submit(bid())
    house.clock.at = NOON
    await house.pump.submit(bid(), again=True)
    assert house.sent[1] == house.sent[2]


async def test_a_venue_that_stays_silent_is_given_up_when_the_hour_is_over(house):
    house.venue.losses = 10**9
    await house.pump.submit(bid())
    assert house.sent == [RecordSubmission(bid().bid_id)]
    assert house.clock.at >= NOON


async def test_each_award_comes_home_once(house):
    await house.pump.submit(bid())
    house.clock.at = NOON
    assert await house.pump.collect() == 1
    assert await house.pump.collect() == 0
    assert [type(command) for command in house.sent] == [
        RecordSubmission,
        RecordReply,
        RecordAward,
    ]


async def test_a_venue_that_does_not_answer_is_asked_again(house):
    await house.pump.submit(bid())
    house.clock.at = NOON
    house.venue.losses = 1
    assert await house.pump.collect() == 0
    assert await house.pump.collect() == 1


async def test_an_award_is_not_forgotten_when_the_writer_fails(house):
    await house.pump.submit(bid())
    house.clock.at = NOON
    accept = house.pump._send

    async def broken(_):
        raise ConnectionError

    house.pump._send = broken
    with pytest.raises(ConnectionError):
        await house.pump.collect()
    house.pump._send = accept
    assert await house.pump.collect() == 1


async def test_the_venues_prices_are_its_own_publication(house):
    day = date(2026, 7, 15)
    assert await house.venue.prices(day, "DAM") == publication("caiso", day, "DAM")


async def test_a_bid_is_withdrawn_before_its_gate_and_never_awarded(house):
    await house.pump.submit(bid())
    assert await house.pump.cancel(bid(), rebid=True)
    assert await house.venue.cancel(bid()), "the same cancellation again is the same answer"
    assert house.sent[-1] == RecordCancellation(bid().bid_id, True)
    house.clock.at = NOON
    assert await house.venue.awards() == []


async def test_past_the_gate_nothing_is_withdrawn(house):
    await house.pump.submit(bid())
    house.clock.at = GATE - SECOND_NS
    assert not await house.pump.cancel(bid())
    house.clock.at = GATE + SECOND_NS
    assert not await house.venue.cancel(bid())
    house.clock.at = NOON
    assert len(await house.venue.awards()) == 1


async def test_a_bid_the_venue_never_took_counts_as_withdrawn(house):
    assert await house.pump.cancel(bid())
