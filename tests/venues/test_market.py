"""The whole journey from a price to a metered award, by real bytes through the paper exchange."""

from datetime import date

from cloud.commands import (
    AdvanceDesk,
    ObserveFleet,
    OpenDesk,
    RecordLease,
    StateStorage,
)
from cloud.facts import (
    Awarded,
    AwardMetered,
    BidAnswered,
    BidPrepared,
    DeskRefused,
    LeaseIssued,
)
from cloud.feeds.intervals import PACIFIC, trade_day
from cloud.feeds.prices import observations, schedule
from cloud.venues.days import caiso_zip
from cloud.venues.paper import RULES, PaperExchange
from cloud.venues.shell import PaperVenue, VenuePump, recorded
from cloud.vpp.desk import Desk
from protos.clock import MINUTE_NS
from protos.messages import LeaseState
from tests.venues.bidding import HOUR_NS, HandClock, utc_ns

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
        self.waiting = []
        self.exchange = PaperExchange()
        self.venues = {name: PaperVenue(self.exchange, name, clock) for name in ("caiso", "pjm")}
        self.pump = VenuePump(self.venues, clock, self.send)

    async def load(self, day):
        """One day's prices of both venues: known to the exchange, due for the desk later."""
        prices = []
        for rules in RULES:
            venue = rules.codec.venue
            for market in (rules.ahead, rules.market):
                prices += observations(venue, await self.venues[venue].prices(day, market))
        self.exchange.publish(prices)
        return schedule(prices)

    async def send(self, command):
        for fact in self.desk.apply(command, self.clock.now_ns()):
            self.facts.append(fact)
            if isinstance(fact, BidPrepared):
                self.waiting.append(fact)
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
        due += await house.load(date(2026, 7, day))
    due.sort(key=lambda one: one.at_ns)
    await house.send(OpenDesk(500_000, 10_000 * USD, 100_000))
    await house.send(StateStorage(is_on=True))
    for _ in range(minutes):
        while due and due[0].at_ns <= house.clock.at:
            await house.send(due.pop(0).command)
        await house.minute()
        while house.waiting:
            await house.pump.submit(house.waiting.pop())
        await house.pump.collect()
        house.clock.at += MINUTE_NS
    return house


async def test_a_day_of_prices_becomes_bids_awards_leases_and_money():
    house = await run_by_hand(24 * 60)
    assert house.of(DeskRefused) == []
    assert len(house.of(BidPrepared)) == len(house.of(BidAnswered)) >= 6
    assert all(answer.accepted for answer in house.of(BidAnswered))
    venues = {bid.venue for bid in house.of(BidPrepared)}
    assert venues == {"caiso", "pjm"}
    assert len(house.of(Awarded)) >= 6
    for metered in house.of(AwardMetered):
        assert abs(metered.delivered_wh - metered.awarded_wh) <= abs(metered.awarded_wh) // 50
    charged = sum(min(0, m.delivered_wh) for m in house.of(AwardMetered))
    discharged = sum(max(0, m.delivered_wh) for m in house.of(AwardMetered))
    assert charged < 0 < discharged


async def test_the_same_day_gives_the_same_facts():
    first, second = await run_by_hand(4 * 60), await run_by_hand(4 * 60)
    assert first.facts == second.facts
    assert first.desk.state() == second.desk.state()


async def test_a_recorded_day_takes_the_place_of_the_made_one():
    day = date(2026, 7, 14)
    given = recorded({("caiso", "DAM"): caiso_zip(day, "DAM")})
    venue = PaperVenue(PaperExchange(), "caiso", HandClock(START), given)
    found = observations("caiso", await venue.prices(date(2030, 1, 1), "DAM"))
    assert {one.starts_ns for one in found} == set(trade_day(day, PACIFIC).steps(HOUR_NS))
    later = observations("caiso", await venue.prices(date(2030, 1, 1), "RTM"))
    assert not {one.starts_ns for one in found} & {one.starts_ns for one in later}
