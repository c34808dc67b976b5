"""The pump of reserve offers: once a day for each venue, tomorrow's hours planned together.

From PLAN_NS before a venue's day-ahead market closes the desk is asked what it expects and what it
may promise; the plan is a linear programme, solved off the event loop, and its offers go to the desk
one by one, each no larger than what the desk has room for at that moment. An hour for which a product
was offered, by whomever and whether it still stands or not, is not offered again, so a pump that was
started anew goes on where the last one was. While the kill switch is on nothing is planned. Where
there is no plan by the close, an alarm says why. Decides nothing: every offer passes the desk's
limits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, timedelta

from msgspec.structs import replace

from cloud.commands import OfferReserve
from cloud.facts import DeskRefused, Fact
from cloud.feeds.intervals import HOUR_NS, trade_date, trade_day
from cloud.feeds.prices import AHEAD_GATES, ahead_gate_ns
from cloud.pumps import ALARM_PRIORITY, Alarm
from cloud.vpp.cooptimum import JointPlan, NoPlan
from cloud.vpp.curve import STEP_W
from cloud.vpp.desk import Desk
from cloud.vpp.reserve_outlook import Outlook
from cloud.vpp.reserve_plan import POWER_MIN_W, planned, reserve_offers
from protos.clock import MINUTE_NS, Clock
from protos.messages import ADVICE, Refusal

PLAN_NS = 60 * MINUTE_NS
LAST_CALL_NS = 2 * MINUTE_NS
"""Nothing is planned later than this before the close."""

POLL_S = 60.0

Send = Callable[[OfferReserve], Awaitable[Sequence[Fact]]]


class ReservePump:
    """All venues'. At most one plan a venue and day, and one offer an hour and product."""

    def __init__(self, desk: Desk, clock: Clock, send: Send, alarm: Alarm | None = None) -> None:
        self._desk = desk
        self._clock = clock
        self._send = send
        self._alarm = alarm
        self._done: dict[str, date] = {}
        """The newest day of each venue that is planned or given up."""
        self._missing: dict[str, str] = {}
        """Why a venue's next day could not be planned yet."""

    async def run(self) -> None:
        while True:
            await self.tick()
            await self._clock.sleep(POLL_S)

    async def tick(self) -> None:
        """Plans what is due now, and says of what is overdue why it is missing."""
        for venue, (zone, _) in AHEAD_GATES.items():
            now_ns = self._clock.now_ns()
            day = trade_date(now_ns, zone) + timedelta(days=1)
            if self._done.get(venue) == day:
                continue
            left_ns = ahead_gate_ns(venue, trade_day(day, zone).start_ns) - now_ns
            if LAST_CALL_NS <= left_ns <= PLAN_NS:
                await self._try(venue, day)
            elif left_ns < LAST_CALL_NS and venue in self._missing:
                self._done[venue] = day
                self._tell(venue, day, self._missing.pop(venue))

    async def _try(self, venue: str, day: date) -> None:
        """One attempt at a day's plan; an obstacle may be gone at the next one."""
        span = trade_day(day, AHEAD_GATES[venue][0])
        hours = span.duration_ns // HOUR_NS
        found = self._desk.outlook(venue, span.start_ns, hours, self._clock.now_ns())
        if isinstance(found, Refusal):
            self._missing[venue] = f"{found.name}: {ADVICE[found]}"
            return
        try:
            plan = await asyncio.to_thread(planned, found)
        except NoPlan as problem:
            self._missing[venue] = f"the solver says {problem}"
            return
        self._missing.pop(venue, None)
        self._done[venue] = day
        refused = await self._offer(found, plan)
        if refused:
            self._tell(venue, day, "; ".join(sorted(refused)))

    async def _offer(self, outlook: Outlook, plan: JointPlan) -> set[str]:
        """The plan's offers, hour by hour; why some were refused all the same."""
        refused: set[str] = set()
        for offer in reserve_offers(outlook.venue, plan, outlook.starts_ns):
            if self._was_offered(offer):
                continue
            room_w = self._desk.reserve_room_w(offer, self._clock.now_ns())
            capacity_w = min(offer.capacity_w, room_w // STEP_W * STEP_W)
            if capacity_w < POWER_MIN_W:
                continue
            for fact in await self._send(replace(offer, capacity_w=capacity_w)):
                if isinstance(fact, DeskRefused):
                    reason = Refusal(fact.reason)
                    refused.add(f"{reason.name}: {ADVICE[reason]}")
        return refused

    def _was_offered(self, offer: OfferReserve) -> bool:
        what = (offer.venue, offer.product, offer.starts_ns)
        return any(
            (one.prepared.venue, one.prepared.product, one.prepared.starts_ns) == what
            for one in self._desk.bids()
        )

    def _tell(self, venue: str, day: date, why: str) -> None:
        if self._alarm is not None:
            text = f"not all reserves of {venue} on {day} are offered: {why}"
            key = f"reserves/{venue}/{day}"
            self._alarm(key, ALARM_PRIORITY, self._clock.now_ns(), venue, text)
