"""The whole journey from a price to a metered award, by real bytes through the paper exchange."""

import asyncio
import time
from datetime import date

import pytest

from cloud.commands import (
    AdvanceDesk,
    ObserveFleet,
    ObservePrice,
    OpenDesk,
    RecordAward,
    RecordLease,
    RecordReply,
)
from cloud.facts import (
    Awarded,
    AwardMetered,
    BidAnswered,
    BidPrepared,
    DeskRefused,
    LeaseIssued,
    PriceObserved,
)
from cloud.feeds.intervals import PACIFIC, trade_day
from cloud.venues.days import caiso_zip
from cloud.venues.market import PaperMarket
from cloud.venues.shell import recorded
from cloud.vpp.desk import Desk
from protos.clock import MINUTE_NS, ScaledClock
from protos.messages import LeaseState
from tests.venues.bidding import HOUR_NS, NOON, HandClock, bid, utc_ns

USD = 1_000_000
HOMES = 20
START = utc_ns(2026, 7, 15, 2, 20)
"""19:20 in California: inside the bidding window of the hour from 21:00, when prices are high."""


class Home:
    """A battery that does exactly what it is told."""

    def __init__(self, number):
        self.device = f"{number:032x}"
        self.stored = 9_800 * HOUR_NS
        self.leases = []
        self.last_ns = START

    def step(self, at_ns):
        lease = next(
            (x for x in self.leases[::-1] if x.not_before_ns <= at_ns < x.expires_ns), None
        )
        power_w = lease.power_w if lease else 0
        self.stored -= power_w * (at_ns - self.last_ns)
        self.last_ns = at_ns
        soc = self.stored * 1_000 // (14_000 * HOUR_NS)
        yield ObserveFleet(self.device, "z", soc, 14_000, 8_000, 8_000, power_w)
        if lease:
            yield RecordLease(self.device, lease.lease_id, LeaseState.ACTIVE, power_w)


class House:
    """Desk, homes and paper market, driven minute by minute."""

    def __init__(self, clock):
        self.clock = clock
        self.desk = Desk()
        self.homes = [Home(number) for number in range(HOMES)]
        self.facts = []
        self.market = PaperMarket(clock, self.send)

    async def send(self, command):
        for fact in self.desk.apply(command, self.clock.now_ns()):
            self.facts.append(fact)
            if isinstance(fact, BidPrepared):
                self.market.prepared(fact)
            if isinstance(fact, LeaseIssued):
                next(h for h in self.homes if h.device == fact.device).leases.append(fact)

    async def minute(self):
        for home in self.homes:
            for command in home.step(self.clock.now_ns()):
                await self.send(command)
        await self.send(AdvanceDesk())

    def of(self, kind):
        return [fact for fact in self.facts if isinstance(fact, kind)]


async def run_by_hand(minutes):
    """Every pump's work done in turn on a clock that only the loop moves."""
    house = House(HandClock(START))
    due = []
    for day in (13, 14, 15, 16):
        due += await house.market.load(date(2026, 7, day))
    due.sort(key=lambda one: one.at_ns)
    await house.send(OpenDesk(500_000, 10_000 * USD, 100_000))
    for _ in range(minutes):
        while due and due[0].at_ns <= house.clock.at:
            await house.send(due.pop(0).command)
        await house.minute()
        while not house.market._prepared.empty():
            await house.market.pump.submit(house.market._prepared.get_nowait()[0])
        await house.market.pump.collect()
        house.clock.at += MINUTE_NS
    return house


async def test_a_day_of_prices_becomes_bids_awards_leases_and_money():
    house = await run_by_hand(24 * 60)
    assert house.of(DeskRefused) == []
    assert len(house.of(BidPrepared)) == len(house.of(BidAnswered)) >= 6
    assert all(answer.accepted for answer in house.of(BidAnswered))
    venues = {bid.venue for bid in house.of(BidPrepared)}
    assert venues == {"caiso", "pjm"}
    assert len(house.of(Awarded)) >= 8
    for metered in house.of(AwardMetered):
        assert abs(metered.delivered_wh - metered.awarded_wh) <= abs(metered.awarded_wh) // 50
    charged = sum(min(0, m.delivered_wh) for m in house.of(AwardMetered))
    discharged = sum(max(0, m.delivered_wh) for m in house.of(AwardMetered))
    assert charged < 0 < discharged


async def test_the_same_day_gives_the_same_facts():
    first, second = await run_by_hand(4 * 60), await run_by_hand(4 * 60)
    assert first.facts == second.facts
    assert first.desk.state() == second.desk.state()


async def test_the_market_runs_by_itself_on_a_scaled_clock():
    house = House(ScaledClock(3_000, time.time_ns(), START))
    await house.send(OpenDesk(500_000, 10_000 * USD, 100_000))
    running = asyncio.create_task(house.market.run())
    try:
        async with asyncio.timeout(15):
            while not house.of(PriceObserved):
                await asyncio.sleep(0)
            while not house.of(AwardMetered):
                await house.minute()
                await asyncio.sleep(0.02)
    finally:
        running.cancel()
    assert house.of(LeaseIssued)
    assert house.of(DeskRefused) == []


async def test_what_the_writer_raises_ends_the_market():
    async def broken(_):
        raise ConnectionError

    market = PaperMarket(HandClock(START), broken)
    with pytest.RaisesGroup(ConnectionError):
        await market.run()


async def test_after_a_restart_accepted_bids_are_still_awarded_and_open_ones_asked_for():
    sent = []

    async def send(command):
        sent.append(command)

    clock = HandClock(NOON - HOUR_NS)
    market = PaperMarket(clock, send)
    await market.load(date(2026, 7, 15))
    second = bid("pjm", starts_ns=NOON + HOUR_NS)
    market.resume([(bid(), True), (second, None), (bid("pjm"), False)])
    clock.at = NOON
    await market.pump.collect()
    assert {type(command) for command in sent} == {RecordAward}
    assert {command.bid_id for command in sent} == {bid().bid_id}
    waiting, again = market._prepared.get_nowait()
    assert (waiting, again) == (second, True)
    await market.pump.submit(waiting, again=again)
    assert isinstance(sent[-1], RecordReply)


async def test_a_recorded_day_takes_the_place_of_the_made_one():
    day = date(2026, 7, 14)
    market = PaperMarket(
        HandClock(START), None, recorded({("caiso", "DAM"): caiso_zip(day, "DAM")})
    )
    due = await market.load(date(2030, 1, 1))
    starts = {
        one.command.starts_ns
        for one in due
        if (one.command.venue, one.command.market) == ("caiso", "DAM")
    }
    assert starts == set(trade_day(day, PACIFIC).steps(HOUR_NS))
    assert all(isinstance(one.command, ObservePrice) for one in due)
    assert {one.command.market for one in due} == {"DAM", "RTM", "DA", "RT"}
