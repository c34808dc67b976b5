"""The paper market as one thing to start: exchange, venues, prices, submissions, awards.

`PaperMarket.run` is the whole outside world of a desk without a contract: it publishes each day's
prices when they are due, submits what it is given and brings awards home. It decides nothing about
bids. What it sends are the desk's commands; what it wants are the desk's `BidPrepared` facts.
"""

import asyncio
from collections.abc import Iterable
from datetime import date, timedelta

from cloud.facts import BidPrepared
from cloud.feeds.intervals import PACIFIC, trade_date, trade_day
from cloud.feeds.prices import Due, observations, pump, schedule
from cloud.venues.days import publication
from cloud.venues.paper import RULES, PaperExchange, VenueRules
from cloud.venues.shell import PaperVenue, Publication, Send, VenuePump
from protos.clock import SECOND_NS, Clock

HISTORY_DAYS = 1
"""Days before today whose prices are told at the start."""


class PaperMarket:
    """Both paper venues on one clock."""

    def __init__(
        self,
        clock: Clock,
        send: Send,
        published: Publication = publication,
        rules: Iterable[VenueRules] = RULES,
    ) -> None:
        self._clock = clock
        self._send = send
        self._rules = tuple(rules)
        self.exchange = PaperExchange(self._rules)
        self.venues = {
            name: PaperVenue(self.exchange, name, clock, published) for name in self.exchange.venues
        }
        self.pump = VenuePump(self.venues, clock, send)
        self._prepared: asyncio.Queue[tuple[BidPrepared, bool]] = asyncio.Queue()

    def prepared(self, bid: BidPrepared) -> None:
        """Takes a fresh bid to be submitted. Call it for every BidPrepared fact, once applied."""
        self._prepared.put_nowait((bid, False))

    def resume(self, bids: Iterable[tuple[BidPrepared, bool | None]]) -> None:
        """After a restart: the live bids, and whether each was accepted (None: no answer yet)."""
        for bid, accepted in bids:
            if accepted is None:
                self._prepared.put_nowait((bid, True))
            elif accepted:
                self.exchange.restore(bid)

    async def run(self) -> None:
        """For ever. Whatever `send` raises ends it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish())
            tasks.create_task(self.pump.run())
            while True:
                bid, again = await self._prepared.get()
                tasks.create_task(self.pump.submit(bid, again=again))

    async def load(self, day: date) -> list[Due]:
        """One trade date's prices of all venues: known to the exchange, due for the desk later."""
        prices = []
        for rules in self._rules:
            venue = self.venues[rules.codec.venue]
            for market in (rules.ahead, rules.market):
                prices += observations(venue.name, await venue.prices(day, market))
        self.exchange.publish(prices)
        return schedule(prices)

    async def _publish(self) -> None:
        """Today's prices with yesterday's and tomorrow's, then each midnight one day more."""
        today = trade_date(self._clock.now_ns(), PACIFIC)
        waiting: list[Due] = []
        for offset in range(-HISTORY_DAYS, 2):
            waiting += await self.load(today + timedelta(days=offset))
        while True:
            midnight_ns = trade_day(today, PACIFIC).end_ns
            ready = sorted((one for one in waiting if one.at_ns < midnight_ns), key=_due_ns)
            waiting = [one for one in waiting if one.at_ns >= midnight_ns]
            await pump(ready, self._clock, self._send)
            left_ns = midnight_ns - self._clock.now_ns()
            await self._clock.sleep(max(0, left_ns) / SECOND_NS)
            today += timedelta(days=1)
            waiting += await self.load(today + timedelta(days=1))


def _due_ns(one: Due) -> int:
    return one.at_ns
