"""Bids and a hand-moved clock for the venues' tests."""

import asyncio
from datetime import UTC, datetime

import msgspec

from cloud.commands import CurveSegment, ObservePrice
from cloud.facts import BidPrepared
from protos.clock import MINUTE_NS, SECOND_NS

USD = 1_000_000
HOUR_NS = 60 * MINUTE_NS
FLOOR = CurveSegment(-100_000, -150 * USD)
CURVE = (FLOOR, CurveSegment(0, 30_250_000), CurveSegment(104_000, 55 * USD))

STORED = {
    "stored_wh": 200_000,
    "soc_min_wh": 20_000,
    "soc_max_wh": 380_000,
    "ramp_w_per_min": 50_000,
}
"""What a bid of CURVE says of its batteries: either way there is more than it asks for."""

SILENT = dict.fromkeys(STORED, 0)
"""What a bid of an older journal says: nothing."""


def utc_ns(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * SECOND_NS


NOON = utc_ns(2026, 7, 15, 20)


def bid(venue="caiso", **changes) -> BidPrepared:
    node, market, lead = {
        "caiso": ("TH_SP15_GEN-APND", "RTM", 75),
        "pjm": ("51288", "RT", 65),
    }[venue]
    starts_ns = changes.get("starts_ns", NOON)
    made = BidPrepared(
        f"bid-of-{venue}",
        venue,
        node,
        market,
        starts_ns,
        HOUR_NS,
        starts_ns - lead * MINUTE_NS,
        CURVE,
        **STORED,
    )
    return msgspec.structs.replace(made, **changes)


def price(starts_ns, usd, venue="caiso", market="RTM", minutes=15) -> ObservePrice:
    node = bid(venue).node
    return ObservePrice(venue, node, market, starts_ns, minutes * MINUTE_NS, usd * USD)


class HandClock:
    """A clock that moves when it is told to, or when somebody sleeps on it."""

    def __init__(self, now_ns: int) -> None:
        self.at = now_ns
        self.slept: list[float] = []

    def now_ns(self) -> int:
        return self.at

    def monotonic_ns(self) -> int:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += int(seconds * SECOND_NS)
        await asyncio.sleep(0)
