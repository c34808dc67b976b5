"""Reserves from a published price to money in the homes' accounts, against the market simulator.

Journal, machines, pumps, bytes and sockets are the real ones; the clock is moved by hand and the
batteries do what their leases say.
"""

import asyncio
import urllib.request
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from cloud.commands import (
    AdvanceDesk,
    CallReserve,
    ObserveFleet,
    OpenAccount,
    OpenDesk,
    RecordLease,
    StateStorage,
)
from cloud.facts import (
    Awarded,
    BidAnswered,
    DeskRefused,
    LeaseIssued,
    ReserveMetered,
    ReservePrepared,
    RevenueShared,
    Telemetry,
)
from cloud.feeds.intervals import trade_date, trade_day
from cloud.feeds.prices import AHEAD_GATES, PARSERS, ahead_gate_ns, observations, schedule
from cloud.gate.markets import Markets, MarketServices
from cloud.ledger.columns import MONEY
from cloud.pumps import MarketStores
from cloud.regulation_pump import RegulationPump
from cloud.reserve_pump import ReservePump
from cloud.store.prices import Series
from cloud.venues.online import OASIS_GAP_S
from cloud.venues.paper import RULES
from cloud.venues.performance import SAMPLE_NS
from cloud.venues.shell import VenuePump
from cloud.venues.sim import VenueSim
from cloud.venues.statements import parse_statement
from protos.clock import MINUTE_NS
from protos.ids import AccountId
from protos.messages import LeaseState
from tests.stem.conftest import HandClock, Stem
from tests.venues.bidding import HOUR_NS, NOON, USD
from tests.venues.cutting import online, served
from tests.vpp.fleet import device

BY_NAME = {rules.codec.venue: rules for rules in RULES}
ENERGY_CODES = {"caiso": "6470", "pjm": "BALANCING_ENERGY"}
REGULATION = {"REG", "REG_UP", "REG_DOWN"}


@dataclass
class Home:
    """A battery of 400 kWh that does what it is told."""

    number: int
    leases: list = field(default_factory=list)

    def lease_at(self, at_ns):
        mine = (one for one in self.leases[::-1] if one.not_before_ns <= at_ns < one.expires_ns)
        return next(mine, None)

    def power_w(self, at_ns):
        lease = self.lease_at(at_ns)
        return lease.power_w if lease else 0

    def commands(self, at_ns):
        sizes = ("tiny", 500, 400_000, 60_000, 60_000, self.power_w(at_ns))
        yield ObserveFleet(device(self.number), *sizes, f"home-{self.number}")
        if lease := self.lease_at(at_ns):
            yield RecordLease(device(self.number), lease.lease_id, LeaseState.ACTIVE, lease.power_w)

    def telemetry(self, at_ns):
        fields = dict.fromkeys(Telemetry.__struct_fields__, 0)
        fields |= {"zone": "tiny", "device": device(self.number), "account": "", "at_ns": at_ns}
        return Telemetry(**fields | {"battery_w": self.power_w(at_ns)})


class House:
    """An aggregator's wholesale side with everything but its ports, before one simulated venue."""

    def __init__(self, venue, stem, sim, way, stores):
        self.venue, self.stem, self.sim, self.way, self.stores = venue, stem, sim, way, stores
        self.rules, self.clock, self.send = BY_NAME[venue], stem.clock, stem.writer.submit
        self.homes = [Home(number) for number in range(6)]
        self.bids = VenuePump({venue: way}, self.clock, self.send)
        self.regulation = RegulationPump({venue: way}, self.clock, self.send)
        self.reserves = ReservePump(stem.writer.core.desk, self.clock, self.send)
        services = (stem.writer, self.clock, stores.prices, stores.settlements, self.bids)
        self.markets = Markets(MarketServices(*services))
        self.due = []
        stem.writer.listen(self.listen)
        stem.writer.listen(self.regulation.listen)

    def listen(self, facts, _at_ns):
        for fact in facts:
            self.stores.settlements.note(fact)
            if isinstance(fact, LeaseIssued):
                next(h for h in self.homes if device(h.number) == fact.device).leases.append(fact)

    def of(self, kind):
        return [fact for fact in self.stem.facts if isinstance(fact, kind)]

    async def fetch(self, day):
        """A day's publications by their real requests: kept, and due for the desk when known."""
        for market in (self.rules.ahead, self.rules.market, self.rules.reserves):
            body = await self.way.prices(day, market)
            found = observations(self.venue, body)
            if market != self.rules.reserves:
                rows = PARSERS[self.venue](body).rows
                series = Series(self.venue, rows[0].market, found[0].node)
                span, step_ns = trade_day(day, self.rules.zone), found[0].duration_ns
                now_ns = self.clock.now_ns()
                assert self.stores.prices.take(series, rows, span, step_ns, body, now_ns)
            self.due += schedule(found)

    async def tell(self):
        """What the world knows by now reaches the desk."""
        now_ns = self.clock.now_ns()
        known = [one.command for one in self.due if one.at_ns <= now_ns]
        self.due = [one for one in self.due if one.at_ns > now_ns]
        await asyncio.gather(*map(self.send, known))

    async def minute(self, *, seconds=False):
        """A minute of the fleet; with `seconds` its telemetry every four seconds goes out, too."""
        starts_ns = self.clock.now_ns()
        step_ns = SAMPLE_NS if seconds else MINUTE_NS
        for at_ns in range(starts_ns, starts_ns + MINUTE_NS, step_ns):
            self.clock.ns = at_ns
            if seconds:
                self.regulation.listen([home.telemetry(at_ns) for home in self.homes], at_ns)
                await self.regulation.tick(at_ns)
            if (at_ns - starts_ns) % (3 * SAMPLE_NS) == 0:
                told = [command for home in self.homes for command in home.commands(at_ns)]
                await asyncio.gather(*map(self.send, told))
            await self.send(AdvanceDesk())
        self.clock.ns = starts_ns + MINUTE_NS

    async def hour(self, bids):
        """From the awards' time to their meters: regulation follows its signal, spinning is called."""
        starts_ns = bids[0].starts_ns
        self.clock.ns = starts_ns - 32 * MINUTE_NS
        spinning = [one for one in bids if one.product == "SPIN"]
        while self.clock.ns < starts_ns + HOUR_NS + 3 * MINUTE_NS:
            since_ns = self.clock.ns - starts_ns
            await self.bids.collect()
            if since_ns >= 0:
                while spinning:
                    one = spinning.pop()
                    power_w = one.curve[-1].power_w
                    await self.send(CallReserve(one.bid_id, self.clock.ns, 8 * MINUTE_NS, power_w))
            # The score is told at the first sample after the end, before the award is metered.
            await self.minute(seconds=0 <= since_ns <= HOUR_NS)

    def statement(self, url, day):
        with urllib.request.urlopen(f"{url}/settlement/{self.venue}/{day}") as answer:
            return answer.read()

    def balance_micro(self, number):
        bank = self.stem.writer.core.bank
        return bank.balances(AccountId(f"home-{number}")).get(MONEY, 0)


async def opened(venue, tmp_path, sim, clock, url):
    stem = Stem(tmp_path / "journal.db", clock)
    await stem.start()
    house = House(
        venue, stem, sim, online(venue, url, tmp_path, clock, OASIS_GAP_S), MarketStores(tmp_path)
    )
    await house.send(OpenDesk(500_000, 20_000 * USD, 100_000))
    await house.send(StateStorage(is_on=True))
    for home in house.homes:
        await house.send(OpenAccount(AccountId(f"home-{home.number}"), "prosumer", "tiny"))
    return house


@pytest.mark.parametrize("venue", ["caiso", "pjm"])
async def test_published_reserve_prices_become_money_in_the_homes_accounts(venue, tmp_path):
    zone, _ = AHEAD_GATES[venue]
    day = trade_date(NOON, zone)
    clock, sim = HandClock(ahead_gate_ns(venue, NOON) - 20 * MINUTE_NS), VenueSim()
    with served(sim, clock) as url:
        house = await opened(venue, tmp_path, sim, clock, url)
        for before in range(3, -1, -1):
            await house.fetch(day - timedelta(days=before))
        await house.tell()
        await house.minute()

        # Price feed -> plan -> offers -> bids at the venue. One hour the operator has offered itself.
        own_ns = trade_day(day, zone).start_ns + 9 * HOUR_NS
        mine = await house.markets.offer_reserve(venue, "SPIN", own_ns, 100_000, 0)
        await house.reserves.tick()
        offers = house.of(ReservePrepared)
        assert len(offers) >= 2
        assert [one.bid_id for one in offers if _hour(one) == ("SPIN", own_ns)] == [mine.bid_id]
        assert {one.venue for one in offers} == {venue}
        assert {trade_date(one.starts_ns, zone) for one in offers} == {day}
        for one in offers:
            await house.bids.submit(one)
        answers = house.of(BidAnswered)
        assert [one.accepted for one in answers] == [True] * len(offers)

        # Award -> calls and performance -> meter.
        hours = {
            next((one.starts_ns for one in offers if one.product in kinds), None)
            for kinds in ({"SPIN"}, REGULATION)
        }
        chosen = [one for one in offers if one.starts_ns in hours]
        # Only these hours are lived through here; the others are withdrawn at the venue.
        for one in offers:
            assert one in chosen or await house.bids.cancel(one)
        for starts_ns in sorted(hours - {None}):
            await house.hour([one for one in offers if one.starts_ns == starts_ns])
        assert house.of(DeskRefused) == []
        metered = house.of(ReserveMetered)
        assert {one.bid_id for one in metered} == {one.bid_id for one in chosen}
        assert len(metered) == len(house.of(Awarded))
        assert all(one.performance_per_mille > 0 for one in metered)
        products = {one.bid_id: one.product for one in chosen}
        assert {products[one.bid_id] for one in metered if one.delivered_wh} >= {"SPIN"}
        assert REGULATION & {products[one.bid_id] for one in metered if one.delivered_wh}
        for one in metered:
            sim.meter(one.bid_id, one.starts_ns, one.delivered_wh)

        # Statement -> shadow -> bank.
        account = await house.markets.reconcile(house.statement(url, day))
        assert (account.difference_cents, account.disputes) == (0, [])
        assert account.stated_cents, "bought energy may cost more than its reserve pays"
        await house.stem.writer.settle()
        shared = house.of(RevenueShared)
        assert sum(one.amount_micro for one in shared) == account.stated_cents * 10_000
        assert {one.bid_id for one in shared} == {one.bid_id for one in chosen}
        paid = sum(house.balance_micro(home.number) for home in house.homes)
        assert paid == sum(one.owners_micro for one in shared) > 0
        gains = [one.amount_micro for one in shared if one.amount_micro > 0]
        assert paid == sum(amount * 800 // 1_000 for amount in gains)

        # A rerun of the energy price: the same to the cent, or a dispute of exactly its cents.
        called = next(one for one in metered if one.delivered_wh)
        sim.rerun(venue, called.starts_ns, 5_000)
        body = house.statement(url, day)
        again = await house.markets.reconcile(body)
        (line,) = [
            one
            for one in parse_statement(body).lines
            if (one.bid_id, one.starts_ns) == (called.bid_id, called.starts_ns)
            and one.charge_code == ENERGY_CODES[venue]
        ]
        assert line.quantity_wh == called.delivered_wh
        moved_cents = again.stated_cents - account.stated_cents
        assert again.difference_cents == moved_cents != 0
        # Every reserve that was called in this interval is paid its price.
        assert sum(one.cents for one in again.disputes) == moved_cents
        assert {(one.charge_code, one.starts_ns) for one in again.disputes} == {
            (line.charge_code, called.starts_ns)
        }
        if venue == "pjm":
            sim.correct("rt_hrl_lmps", called.starts_ns, 5_000)
            await house.fetch(day)
            assert house.markets.settlement(venue, day).difference_cents == 0
        await house.stem.writer.stop()
        house.stores.close()


def _hour(bid):
    return bid.product, bid.starts_ns
