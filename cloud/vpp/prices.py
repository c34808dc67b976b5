"""The desk's memory of published prices, and the reference path it values energy by.

Reference price of an hour: the day-ahead price where one is published, else the mean of the last
seven days' real-time prices at the same hour of the UTC day, else that of their day-ahead prices,
else none. Never guesses a price for
an hour of which nothing at all is known. Prices are integer micro-units of currency per MWh.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter

from cloud.commands import ObservePrice
from cloud.facts import DeskRefused, Fact, PriceObserved
from cloud.vpp.capability import HOUR_NS
from protos.clock import MINUTE_NS
from protos.messages import Refusal

DAY_NS = 24 * HOUR_NS
MEMORY_NS = 28 * DAY_NS
"""Four weeks of real-time prices: what the spread model is fitted to."""

MEAN_DAYS = 7

PRICE_MICRO_MAX = 1_000_000_000_000
"""A million per MWh: hundreds of times any cap, and far inside 64 bits when multiplied by Wh."""


def price_objection(command: ObservePrice) -> Refusal | None:
    """What is wrong with a published price, or None."""
    if abs(command.price_micro_per_mwh) > PRICE_MICRO_MAX:
        return Refusal.BAD_PRICE
    if command.starts_ns < 0 or not MINUTE_NS <= command.duration_ns <= DAY_NS:
        return Refusal.BAD_INTERVAL
    return None


@dataclass(frozen=True, slots=True)
class Published:
    """One interval's price."""

    duration_ns: int
    price_micro_per_mwh: int


class PriceBook:
    """Prices by venue, node and market, then by the interval's start."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, str], dict[int, Published]] = {}

    def observe(self, series: tuple[str, str, str], starts_ns: int, price: Published) -> bool:
        """Stores a price; a later publication corrects an earlier one. False if nothing changed."""
        prices = self._series.setdefault(series, {})
        if prices.get(starts_ns) == price:
            return False
        prices[starts_ns] = price
        return True

    def hour_price(self, series: tuple[str, str, str], starts_ns: int) -> int | None:
        """The mean price of one hour, weighted by duration, or None when a part is missing."""
        prices = self._series.get(series, {})
        at, total = starts_ns, 0
        while at < starts_ns + HOUR_NS:
            price = prices.get(at)
            if price is None:
                return None
            total += price.price_micro_per_mwh * price.duration_ns
            at += price.duration_ns
        return total // (at - starts_ns)

    def same_hour_mean(self, series: tuple[str, str, str], starts_ns: int) -> int | None:
        """The mean of this hour's price on the seven days before, as far as they are known."""
        known = [
            price
            for days in range(1, MEAN_DAYS + 1)
            if (price := self.hour_price(series, starts_ns - days * DAY_NS)) is not None
        ]
        return sum(known) // len(known) if known else None

    def prices(self, series: tuple[str, str, str]) -> Mapping[int, Published]:
        """All that is held of one series, by start."""
        return self._series.get(series, {})

    def forget_before(self, instant_ns: int) -> None:
        for prices in self._series.values():
            for starts_ns in [start for start in prices if start < instant_ns]:
                del prices[starts_ns]

    def state(self) -> object:
        return [
            [
                *series,
                [
                    [start, price.duration_ns, price.price_micro_per_mwh]
                    for start, price in sorted(prices.items(), key=itemgetter(0))
                ],
            ]
            for series, prices in sorted(self._series.items(), key=itemgetter(0))
            if prices
        ]


def spreads(
    book: PriceBook, series: tuple[str, str, str], ahead: str, step_ns: int
) -> tuple[int, list[int]]:
    """Real-time less day-ahead price of the newest unbroken run of steps, and its last start.

    A step counts when its price holds for exactly `step_ns` and its hour's day-ahead price is
    known. (0, []) when there is none.
    """
    real = book.prices(series)
    hours = book.prices((*series[:2], ahead))
    run: list[int] = []
    newest_ns = 0
    for starts_ns in sorted(real, reverse=True):
        if run and starts_ns != newest_ns - len(run) * step_ns:
            break
        hour = hours.get(starts_ns // HOUR_NS * HOUR_NS)
        if hour is None or real[starts_ns].duration_ns != step_ns:
            if run:
                break
            continue
        if not run:
            newest_ns = starts_ns
        run.append(real[starts_ns].price_micro_per_mwh - hour.price_micro_per_mwh)
    return newest_ns, run[::-1]


def observe_price(book: PriceBook, command: ObservePrice) -> list[Fact]:
    """Takes a published price into the book; what changes nothing says nothing."""
    subject = f"price/{command.venue}/{command.node}"
    refusal = price_objection(command)
    if refusal is not None:
        return [DeskRefused(subject, refusal)]
    series = (command.venue, command.node, command.market)
    price = Published(command.duration_ns, command.price_micro_per_mwh)
    if not book.observe(series, command.starts_ns, price):
        return []
    terms = (command.starts_ns, command.duration_ns, command.price_micro_per_mwh)
    return [PriceObserved(*series, *terms)]


def reference_price(
    book: PriceBook, venue: str, node: str, ahead: str, real_time: str, starts_ns: int
) -> int | None:
    """The price that one hour is expected to have."""
    price = book.hour_price((venue, node, ahead), starts_ns)
    for market in (real_time, ahead):
        if price is None:
            price = book.same_hour_mean((venue, node, market), starts_ns)
    return price


def reserve_price(book: PriceBook, series: tuple[str, str, str], starts_ns: int) -> int | None:
    """What a MW of reserve is expected to be paid in one hour: the published price, else the mean of
    the last seven days' at this hour.
    """
    price = book.hour_price(series, starts_ns)
    return book.same_hour_mean(series, starts_ns) if price is None else price


def reference_path(
    book: PriceBook,
    venue: str,
    node: str,
    markets: tuple[str, str],
    starts_ns: int,
    hours: int,
) -> list[int] | None:
    """Reference prices of `hours` hours from `starts_ns`; None if the first one has none.

    `markets` names the day-ahead and the real-time market. A later hour of which nothing is known
    takes the mean of the known ones: neither a reason to wait for it nor to hurry.
    """
    path = [
        reference_price(book, venue, node, *markets, starts_ns + hour * HOUR_NS)
        for hour in range(hours)
    ]
    known = [price for price in path if price is not None]
    if path[0] is None:
        return None
    mean = sum(known) // len(known)
    return [mean if price is None else price for price in path]
