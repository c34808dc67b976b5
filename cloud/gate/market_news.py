"""What happens on the wholesale side, pushed to whoever listens: prices, bids, awards, alerts.

A listener has a queue of its own with a bound. Whoever does not take its news loses the oldest of
it and is told how many, so that a slow reader holds neither memory nor anybody else up.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import msgspec

from cloud.facts import (
    Awarded,
    AwardMetered,
    BidAnswered,
    BidCancelled,
    BidHeldBack,
    BidPrepared,
    BidSettled,
    BidSubmitted,
    DeskHalted,
    Fact,
    PriceObserved,
    ReserveCalled,
    ReserveMetered,
    ReservePrepared,
    RevenueShared,
)

NEWS_MAX = 1_000
LISTENERS_MAX = 256
TOLD = (
    PriceObserved,
    BidPrepared,
    ReservePrepared,
    ReserveCalled,
    ReserveMetered,
    BidHeldBack,
    BidSubmitted,
    BidAnswered,
    BidCancelled,
    Awarded,
    AwardMetered,
    BidSettled,
    RevenueShared,
    DeskHalted,
)


@dataclass(frozen=True, slots=True)
class News:
    """One event. `body` is the fact as JSON, or an alert's message; `lost` counts what fell out of
    the queue before it.
    """

    kind: str
    at_ns: int
    body: str
    lost: int = 0


@dataclass(slots=True)
class Listener:
    queue: deque[News] = field(default_factory=lambda: deque(maxlen=NEWS_MAX))
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    lost: int = 0


class TooManyListeners(Exception):
    """Every place is taken."""


class MarketNews:
    """The one who tells. `listen` is a fact listener of the writer."""

    def __init__(self) -> None:
        self._listeners: dict[int, Listener] = {}
        self._number = 0

    def listen(self, facts: Sequence[Fact], at_ns: int) -> None:
        if not self._listeners:
            return
        for fact in facts:
            if isinstance(fact, TOLD):
                self.tell(type(fact).__name__, at_ns, fact)

    def tell(self, kind: str, at_ns: int, what: object) -> None:
        """One event to everybody."""
        body = msgspec.json.encode(_named(what)).decode()
        for one in self._listeners.values():
            if len(one.queue) == NEWS_MAX:
                one.lost += 1
            one.queue.append(News(kind, at_ns, body))
            one.woken.set()

    async def follow(self) -> AsyncIterator[News]:
        """Everything from now on, until the reader goes. Raises TooManyListeners."""
        if len(self._listeners) >= LISTENERS_MAX:
            raise TooManyListeners
        self._number += 1
        number, listener = self._number, Listener()
        self._listeners[number] = listener
        try:
            while True:
                await listener.woken.wait()
                listener.woken.clear()
                while listener.queue:
                    news = listener.queue.popleft()
                    lost, listener.lost = listener.lost, 0
                    yield News(news.kind, news.at_ns, news.body, lost)
        finally:
            del self._listeners[number]


def _named(what: object) -> object:
    """A fact with its fields' names, which its own bytes leave out."""
    if not isinstance(what, Fact):
        return what
    return {
        name: [msgspec.to_builtins(one) for one in value] if isinstance(value, tuple) else value
        for name in what.__struct_fields__
        for value in [getattr(what, name)]
    }
