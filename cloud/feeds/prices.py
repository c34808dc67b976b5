"""From price publications to the desk's commands, and when each is due.

The desk knows four energy markets by short names, CAISO's DAM and RTM and PJM's DA and RT, whatever
the publication called them, and reserves as those with the product's name behind (DAM_AS_SPIN). A
publication in which any price is not the sum of its parts is refused as a whole: which of its rows
are right cannot be told.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from operator import attrgetter
from zoneinfo import ZoneInfo

from cloud.commands import ObservePrice
from cloud.feeds import caiso, pjm
from cloud.feeds.intervals import EASTERN, PACIFIC, from_local, trade_date
from cloud.feeds.quality import TOTAL, identity
from cloud.feeds.reserves import is_reserve, reserve_prices, run_of
from cloud.feeds.rows import Malformed, NoData, Row
from protos.clock import SECOND_NS

PARSERS = {"caiso": caiso.parse, "pjm": pjm.parse}
MARKETS = {"RTPD": "RTM", "RTD": "RTM", "HASP": "RTM"}
PUBLICATIONS = {"RTM": "RTPD", "RT": "RT"}
"""What the desk's real-time markets are called where their prices are published."""

REAL_TIME = frozenset({"RTM", "RT"})
REAL_TIME_LEAD_NS = 1_350 * SECOND_NS
"""A fifteen-minute price is known 22.5 minutes before its interval."""

PUBLISHED = {"caiso": (PACIFIC, time(13, 0)), "pjm": (EASTERN, time(13, 30))}
"""When, on the day before, a venue publishes its day-ahead prices, in prevailing time."""

AHEAD_GATES = {"caiso": (PACIFIC, time(10)), "pjm": (EASTERN, time(11))}
"""When, on the day before, a venue's day-ahead market closes, in prevailing time."""

AFTERWARDS = "RT"
"""PJM says what its reserves cleared at when the interval is over, not before it as CAISO does."""


@dataclass(frozen=True, slots=True)
class Due:
    """A price and the moment from which the world may know it."""

    at_ns: int
    command: ObservePrice


def observations(source: str, body: bytes) -> list[ObservePrice]:
    """The prices of one publication, by start. Raises FeedError."""
    rows = PARSERS[source](body).rows
    wrong = identity(rows)
    if wrong:
        raise Malformed(
            source, f"{len(wrong)} prices are not the sum of their parts, first {wrong[0]}"
        )
    prices = [_command(row) for row in rows if row.item == TOTAL] + reserve_prices(rows)
    if not prices:
        raise NoData(source, "", "no prices among the rows")
    return sorted(prices, key=attrgetter("node", "market", "starts_ns"))


def _command(row: Row) -> ObservePrice:
    return ObservePrice(
        row.source,
        row.place,
        MARKETS.get(row.market, row.market),
        row.start_ns,
        row.end_ns - row.start_ns,
        row.value_micro,
    )


def schedule(prices: Iterable[ObservePrice]) -> list[Due]:
    """The prices by the time they become known, so that nobody bids with tomorrow's newspaper."""
    due = [Due(_known_ns(price), price) for price in prices]
    return sorted(due, key=lambda one: (one.at_ns, one.command.venue, one.command.market))


def _known_ns(price: ObservePrice) -> int:
    run = run_of(price.market)
    if is_reserve(price.market) and run == AFTERWARDS:
        return price.starts_ns + price.duration_ns
    if run in REAL_TIME:
        return price.starts_ns - REAL_TIME_LEAD_NS
    return published_ns(price.venue, price.starts_ns)


def published_ns(venue: str, starts_ns: int) -> int:
    """When the venue publishes the day-ahead price of the interval that starts then."""
    return _on_the_eve(starts_ns, *PUBLISHED[venue])


def ahead_gate_ns(venue: str, starts_ns: int) -> int:
    """When the day-ahead market of an hour closes: by the venue's clock on the day before."""
    zone, hour = AHEAD_GATES[venue]
    return _on_the_eve(starts_ns, zone, hour)


def _on_the_eve(starts_ns: int, zone: ZoneInfo, hour: time) -> int:
    eve = trade_date(starts_ns, zone) - timedelta(days=1)
    return from_local(datetime.combine(eve, hour), zone)
