"""The pumps to the wholesale side: prices in, bids out, awards back.

In the embedded form the venues are a paper exchange inside this process; what passes between it
and the pumps are the venues' own bytes, so that a real transport is a change of adapter. The paper
exchange forgets with the process: what it had accepted is put back from the desk at the start.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from operator import attrgetter
from pathlib import Path

from cloud.commands import ObservePrice
from cloud.facts import BidPrepared, DeskHalted, Fact
from cloud.feeds.intervals import EASTERN, HOUR_NS, PACIFIC, Interval, trade_date, trade_day
from cloud.feeds.prices import PARSERS, PUBLICATIONS, Due, observations, schedule
from cloud.feeds.reserves import is_reserve, price_rows
from cloud.regulation_pump import RegulationPump
from cloud.store.prices import PriceStore, Series, alerts
from cloud.store.settlements import SettlementStore
from cloud.venues.days import publication
from cloud.venues.paper import RULES, PaperExchange
from cloud.venues.shell import PaperVenue, Publication, VenuePump
from cloud.vpp.bids import OFFERED
from cloud.writer import Writer
from protos.clock import MINUTE_NS, Clock

DAYS = (0, 1)
"""Today's and tomorrow's trade day, in each venue's own calendar."""

ZONES = {"caiso": PACIFIC, "pjm": EASTERN}
PRICE_POLL_S = 60.0
AWARD_POLL_S = 60.0
OLD_NS = 60 * MINUTE_NS
"""Prices of intervals that ended longer ago are of no use to a desk that just started."""

SUBMISSIONS_MAX = 256
"""Bids that wait for their venue: 25 hours of energy and of three reserves each, at both."""


Alarm = Callable[[str, int, int, str, str], None]
"""Key, priority, time, source and message, as the views take them."""

ALARM_PRIORITY = 3


class MarketStores:
    """Where prices, positions and statements are kept, beside the journal."""

    def __init__(self, state_dir: Path) -> None:
        self.prices = PriceStore(state_dir / "prices.db")
        self.settlements = SettlementStore(state_dir / "settlements.db")

    def close(self) -> None:
        self.prices.close()
        self.settlements.close()


class Wholesale:
    """Everything between the desk and its venues. `listen` is a fact listener of the writer."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        stores: MarketStores,
        alarm: Alarm | None = None,
        published: Publication = publication,
    ) -> None:
        self._stores = stores
        self._alarm = alarm
        self._writer = writer
        self._clock = clock
        self._exchange = PaperExchange()
        self._venues = {
            name: PaperVenue(self._exchange, name, clock, published)
            for name in self._exchange.venues
        }
        self.regulation = RegulationPump(self._venues, clock, writer.submit)
        self._pump = VenuePump(self._venues, clock, writer.submit)
        self._prepared: asyncio.Queue[tuple[BidPrepared, bool]] = asyncio.Queue(SUBMISSIONS_MAX)
        self._loaded: set[tuple[str, str, date]] = set()
        self._due: list[Due] = []
        self._halted = asyncio.Event()

    def restore(self) -> None:
        """After a restart: accepted bids stand again, unanswered ones are submitted again. Under the
        kill switch what can still be withdrawn is, and nothing is submitted.
        """
        desk = self._writer.core.desk
        now_ns = self._clock.now_ns()
        bids = desk.live_bids(now_ns)
        self.regulation.listen([*(bid.prepared for bid in bids), *desk.reserve_awards()], 0)
        is_halted = desk.rules.guard.is_halted
        for bid in bids:
            if bid.cancelled:
                continue
            goes = is_halted and bid.cancellation_objection(now_ns) is None
            if bid.answer is None and not goes:
                self._prepared.put_nowait((bid.prepared, bid.submitted))
            elif bid.answer is not None and bid.answer[0]:
                self._exchange.restore(bid.prepared)
        if is_halted:
            self._halted.set()

    def listen(self, facts: Sequence[Fact], _at_ns: int) -> None:
        """New bids are queued; the queue holds more than the desk can have open hours."""
        for fact in facts:
            if isinstance(fact, BidPrepared):
                self._prepared.put_nowait((fact, False))
            if isinstance(fact, DeskHalted) and fact.is_halted:
                self._halted.set()
            self._stores.settlements.note(fact)

    async def cancel(self, bid: BidPrepared, *, rebid: bool = False) -> bool:
        """Withdraws a bid at its venue; False if it stands."""
        return await self._pump.cancel(bid, rebid=rebid)

    async def bids(self) -> None:
        """Submits what the desk prepared. Each bid has a task, so a silent venue stops no other;
        the desk has at most one bid an hour and product and a day of hours, which bounds them.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._withdrawals())
            while True:
                bid, again = await self._prepared.get()
                tasks.create_task(self._pump.submit(bid, again=again))

    async def _withdrawals(self) -> None:
        """The kill switch takes back every bid whose gate has not passed."""
        while True:
            await self._halted.wait()
            self._halted.clear()
            now_ns = self._clock.now_ns()
            for bid in self._writer.core.desk.live_bids(now_ns):
                if bid.cancellation_objection(now_ns) is None:
                    await self._pump.cancel(bid.prepared)

    async def awards(self) -> None:
        await self._pump.run(AWARD_POLL_S)

    async def prices(self) -> None:
        """Each price reaches the desk when the world may know it, and the exchange at once."""
        while True:
            await self._load()
            now_ns = self._clock.now_ns()
            while self._due and self._due[0].at_ns <= now_ns:
                price = self._due.pop(0).command
                if price.starts_ns + price.duration_ns > now_ns - OLD_NS:
                    await self._writer.submit(price)
            self._watch(now_ns)
            await self._clock.sleep(PRICE_POLL_S)

    async def _load(self) -> None:
        now_ns = self._clock.now_ns()
        for rules in RULES:
            venue = rules.codec.venue
            today = trade_date(now_ns, ZONES[venue])
            for day in (today + timedelta(days=ahead) for ahead in DAYS):
                for market in (rules.ahead, rules.market, rules.reserves):
                    if (venue, market, day) in self._loaded:
                        continue
                    self._loaded.add((venue, market, day))
                    body = await self._venues[venue].prices(day, market)
                    found = observations(venue, body)
                    self._keep(venue, day, found[0], body)
                    if market != rules.reserves:
                        self._exchange.publish(found)
                    self._due += schedule(found)
        self._due.sort(key=attrgetter("at_ns"))

    def _keep(self, venue: str, day: date, first: ObservePrice, body: bytes) -> None:
        """One publication into the price store, which counts what is missing of it."""
        rows = PARSERS[venue](body).rows
        if is_reserve(first.market):
            rows = price_rows(rows)
            series = Series(venue, rows[0].market, rows[0].place, rows[0].item)
        else:
            series = Series(venue, rows[0].market, first.node)
        span = trade_day(day, ZONES[venue])
        self._stores.prices.take(series, rows, span, first.duration_ns, body, self._clock.now_ns())

    def _watch(self, now_ns: int) -> None:
        """Alarms for real-time prices that moved or have grown old."""
        if self._alarm is None:
            return
        for product in OFFERED:
            series = Series(product.venue, PUBLICATIONS[product.market], product.node)
            span = Interval(now_ns - HOUR_NS - product.step_ns, now_ns)
            known = self._stores.prices.latest(series, span)
            age_ns = now_ns - known[-1].end_ns if known else None
            for alert in alerts(series, known, age_ns):
                self._alarm(alert.key, ALARM_PRIORITY, now_ns, product.venue, alert.message)
