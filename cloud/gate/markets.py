"""What the wholesale side shows and takes, for REST and gRPC alike: records in, records out.

The answers are the records of `market_views`. What is asked wrongly is a `MarketProblem` that says
what to do. Decides nothing: the desk, the venues and the shadow settlement do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Protocol

from cloud.commands import (
    BidAhead,
    CurveSegment,
    HaltDesk,
    LimitDay,
    OfferReserve,
    RecordStatement,
    Statement,
    StatementLine,
)
from cloud.facts import BidPrepared, DeskRefused
from cloud.feeds.intervals import (
    EASTERN,
    PACIFIC,
    Interval,
    trade_date,
    trade_day,
)
from cloud.feeds.prices import REAL_TIME_LEAD_NS, ahead_gate_ns
from cloud.gate.market_views import (
    BidView,
    Forecast,
    Market,
    Prices,
    Risk,
    Segment,
    SettlementView,
    StatementDay,
    bid_view,
    dispute_view,
    price_view,
)
from cloud.store.prices import AGE_MAX_NS, PriceStore, Series
from cloud.store.settlements import SettlementStore
from cloud.venues.statements import parse_statement
from cloud.venues.venue import BadAnswer
from cloud.vpp.bids import OFFERED, Bid, BidState, Product
from cloud.vpp.reserves import SOLD
from cloud.vpp.settlement import DayAccount, Position, SettlementPrices, shadow
from cloud.writer import Writer
from protos.clock import MINUTE_NS, Clock
from protos.messages import ADVICE, Refusal

HOUR_NS = 60 * MINUTE_NS
ROWS_MAX = 5_000
SPAN_NS_MAX = 31 * 24 * HOUR_NS
STARTS_NS_END = 1 << 62
CAPACITY_W_END = PRICE_MICRO_END = 1 << 40
"""Whole numbers that a reserve offer may hold lie below these; the desk's own limits are far lower."""

STATEMENT_BYTES_MAX = 8 * 1024 * 1024
ZONES = {"caiso": PACIFIC, "pjm": EASTERN}
PUBLISHED = {"RTM": "RTPD", "DAM": "DAM", "RT": "RT", "DA": "DA"}
"""The publications' names of the desk's markets."""


class Trouble(Enum):
    """What kind of problem a request has, as HTTP statuses."""

    NOT_FOUND = 404
    CONFLICT = 409
    TOO_LARGE = 413
    BAD_REQUEST = 422


class MarketProblem(Exception):
    """A request that cannot be answered; `text` says what to do."""

    def __init__(self, trouble: Trouble, text: str, reason: Refusal = Refusal.MALFORMED) -> None:
        super().__init__(text)
        self.trouble = trouble
        self.text = text
        self.reason = reason


class Withdrawals(Protocol):
    """Whoever speaks to the venues."""

    async def cancel(self, bid: BidPrepared, *, rebid: bool = False) -> bool: ...


@dataclass(frozen=True, slots=True)
class MarketServices:
    """What the wholesale side stands on."""

    writer: Writer
    clock: Clock
    prices: PriceStore
    settlements: SettlementStore
    venues: Withdrawals


class Markets:
    """Every answer of the wholesale side. Raises MarketProblem."""

    def __init__(self, services: MarketServices) -> None:
        self._services = services
        self._desk = services.writer.core.desk

    # ---- prices ----------------------------------------------------------------------------

    def markets(self) -> list[Market]:
        now_ns = self._services.clock.now_ns()
        return [self._market(product, now_ns) for product in OFFERED]

    def _market(self, product: Product, now_ns: int) -> Market:
        gate_ns = (now_ns + product.gate_lead_ns) // HOUR_NS * HOUR_NS + HOUR_NS
        series = Series(product.venue, PUBLISHED[product.market], product.node)
        zone = ZONES[product.venue]
        started_ns = trade_day(trade_date(now_ns, zone), zone).start_ns
        span = Interval(started_ns, now_ns // product.step_ns * product.step_ns)
        known = self._services.prices.latest(series, Interval(started_ns, now_ns))
        age_ns = now_ns - known[-1].end_ns if known else None
        missing = self._services.prices.missing(series, span, product.step_ns)
        return Market(
            product.venue,
            product.node,
            product.market,
            product.ahead,
            product.step_ns,
            gate_ns - product.gate_lead_ns,
            age_ns,
            age_ns is None or age_ns > AGE_MAX_NS,
            len(missing),
        )

    def prices(
        self, iso: str, market: str = "", from_ns: int = 0, to_ns: int = 0, as_of_ns: int = 0
    ) -> Prices:
        """The prices of intervals that start in [from_ns, to_ns), as they stood at `as_of_ns`.

        By default the real-time market from twelve hours ago, a day long, as known now.
        """
        product = product_of(iso)
        now_ns = self._services.clock.now_ns()
        start_ns = from_ns or now_ns // HOUR_NS * HOUR_NS - 12 * HOUR_NS
        span = Interval(start_ns, to_ns or start_ns + 24 * HOUR_NS)
        named = market or product.market
        if named not in {product.market, product.ahead}:
            raise MarketProblem(
                Trouble.NOT_FOUND,
                f"{iso} has no market {named!r}; ask for {product.market} or {product.ahead}",
            )
        if min(from_ns, to_ns, as_of_ns) < 0 or not 0 < span.duration_ns <= SPAN_NS_MAX:
            raise MarketProblem(
                Trouble.BAD_REQUEST,
                "to_ns must lie after from_ns, by 31 days at most; both are ns since 1970 UTC",
                Refusal.BAD_INTERVAL,
            )
        series = Series(iso, PUBLISHED[named], product.node)
        if named == product.market:
            # The paper exchange has its whole day; nobody else knows a price before its time.
            known_ns = max(start_ns, min(span.end_ns, now_ns + REAL_TIME_LEAD_NS))
            span = Interval(start_ns, known_ns)
        found = self._services.prices.as_of(series, span, as_of_ns or now_ns)
        age_ns = self._services.prices.age_ns(series, now_ns)
        rows = [price_view(one) for one in found[:ROWS_MAX]]
        return Prices(iso, product.node, PUBLISHED[named], age_ns, rows)

    def forecast(self, iso: str, hours: int) -> Forecast:
        product = product_of(iso)
        if not 1 <= hours <= 48:
            raise MarketProblem(Trouble.BAD_REQUEST, "hours: 1 to 48")
        start_ns = self._services.clock.now_ns() // HOUR_NS * HOUR_NS
        path = self._desk.reference(product, start_ns, hours)
        return Forecast(iso, product.node, start_ns, HOUR_NS, path)

    # ---- bids ------------------------------------------------------------------------------

    def bids(self, state: str = "", iso: str = "") -> list[BidView]:
        states = [one.value for one in BidState]
        if state and state not in states:
            raise MarketProblem(Trouble.BAD_REQUEST, f"state: one of {', '.join(states)}")
        if iso:
            product_of(iso)
        return [
            bid_view(one)
            for one in self._desk.bids()
            if state in {"", one.state.value} and iso in {"", one.prepared.venue}
        ]

    def bid(self, bid_id: str) -> BidView:
        return bid_view(self._known(bid_id))

    async def withdraw(self, bid_id: str, *, rebid: bool) -> BidView:
        standing = self._known(bid_id)
        refusal = standing.cancellation_objection(self._services.clock.now_ns())
        if refusal is not None:
            raise MarketProblem(Trouble.CONFLICT, f"{refusal.name}: {ADVICE[refusal]}", refusal)
        if not await self._services.venues.cancel(standing.prepared, rebid=rebid):
            venue = standing.prepared.venue
            raise MarketProblem(
                Trouble.CONFLICT,
                f"{venue} did not let the bid go; it stands, and its award must be honoured",
                Refusal.GATE_CLOSED,
            )
        return self.bid(bid_id)

    async def offer_ahead(self, iso: str, starts_ns: int, curve: Sequence[Segment]) -> BidView:
        """A day-ahead offer for one hour, made by the operator; the desk makes none by itself."""
        product = product_of(iso)
        if not 0 < starts_ns < STARTS_NS_END or starts_ns % HOUR_NS:
            raise MarketProblem(
                Trouble.BAD_REQUEST,
                "starts_ns: the start of a whole UTC hour",
                Refusal.BAD_INTERVAL,
            )
        gate_ns = ahead_gate_ns(iso, starts_ns)
        points = tuple(CurveSegment(one.power_w, one.price_micro_per_mwh) for one in curve)
        hint = f"{product.ahead} closes at {gate_ns} ns"
        return await self._order(BidAhead(iso, starts_ns, gate_ns, points), hint)

    async def offer_reserve(
        self, iso: str, product: str, starts_ns: int, capacity_w: int, price_micro: int
    ) -> BidView:
        """An offer of reserve capacity for one hour; its power is then no longer bid as energy."""
        outside = [
            f"{name}: {least} or more, below {most}"
            for name, value, least, most in (
                ("starts_ns", starts_ns, 1, STARTS_NS_END),
                ("capacity_w", capacity_w, 1, CAPACITY_W_END),
                ("price_micro_per_mw_h", price_micro, 0, PRICE_MICRO_END),
            )
            if not least <= value < most
        ]
        if outside:
            raise MarketProblem(Trouble.BAD_REQUEST, "; ".join(outside))
        gate_ns = starts_ns - product_of(iso).gate_lead_ns
        command = OfferReserve(iso, product, starts_ns, capacity_w, price_micro)
        sold = ", ".join(sorted(SOLD[iso]))
        return await self._order(command, f"{iso} buys {sold}; this hour closes at {gate_ns} ns")

    async def _order(self, command: BidAhead | OfferReserve, hint: str) -> BidView:
        """The bid that came of an order. Raises MarketProblem with the desk's reason."""
        facts = await self._services.writer.submit(command)
        for fact in facts:
            if isinstance(fact, DeskRefused):
                reason = Refusal(fact.reason)
                raise MarketProblem(
                    Trouble.CONFLICT, f"{reason.name}: {ADVICE[reason]} ({hint})", reason
                )
        (prepared,) = [fact for fact in facts if isinstance(fact, BidPrepared)]
        return self.bid(prepared.bid_id)

    def _known(self, bid_id: str) -> Bid:
        found = next((one for one in self._desk.bids() if one.prepared.bid_id == bid_id), None)
        if found is None:
            raise MarketProblem(
                Trouble.NOT_FOUND,
                f"no bid {bid_id!r} of the last days; /api/bids lists them",
                Refusal.UNKNOWN_OFFER,
            )
        return found

    # ---- risk ------------------------------------------------------------------------------

    def risk(self) -> Risk:
        limits, guard = self._desk.limits, self._desk.rules.guard
        today = guard.days.get(self._services.clock.now_ns() // (24 * HOUR_NS))
        return Risk(
            limits is not None,
            guard.is_halted,
            0 if limits is None else limits.power_max_w,
            0 if limits is None else limits.exposure_max_micro,
            0 if limits is None else limits.power_min_w,
            guard.deviation_max_wh,
            guard.loss_max_micro,
            guard.soc_min_per_mille,
            guard.soc_max_per_mille,
            0 if today is None else today.deviation_wh,
            0 if today is None else today.revenue_micro,
        )

    async def halt(self, *, is_halted: bool, reason: str) -> Risk:
        """The kill switch. Standing bids are withdrawn by whoever listens to the fact."""
        if not 1 <= len(reason) <= 200:
            raise MarketProblem(Trouble.BAD_REQUEST, "reason: 1 to 200 characters; it is logged")
        await self._services.writer.submit(HaltDesk(is_halted, reason))
        return self.risk()

    async def limit(self, limits: LimitDay) -> Risk:
        for fact in await self._services.writer.submit(limits):
            if isinstance(fact, DeskRefused):
                raise MarketProblem(
                    Trouble.BAD_REQUEST,
                    "limits: none below 0, and 0 <= soc_min < soc_max <= 1000 per mille",
                )
        return self.risk()

    # ---- settlements -----------------------------------------------------------------------

    def settlements(self) -> list[StatementDay]:
        return [StatementDay(*one) for one in self._services.settlements.days()]

    def settlement(self, iso: str, day: date) -> SettlementView:
        product_of(iso)
        bodies = self._services.settlements.statements(iso, day.isoformat())
        if not bodies:
            raise MarketProblem(
                Trouble.NOT_FOUND,
                f"no statement of {iso} for {day} yet; send it to /api/settlements/reconcile",
            )
        return self._account(iso, day, [parse_statement(body) for body in bodies])

    async def reconcile(self, body: bytes) -> SettlementView:
        """Takes a statement's bytes, keeps them, tells the desk, and compares."""
        if len(body) > STATEMENT_BYTES_MAX:
            raise MarketProblem(
                Trouble.TOO_LARGE,
                f"a statement has at most {STATEMENT_BYTES_MAX} bytes",
                Refusal.TOO_LARGE,
            )
        try:
            statement = parse_statement(body)
            day = date.fromisoformat(statement.day)
        except (BadAnswer, ValueError) as error:
            raise MarketProblem(Trouble.BAD_REQUEST, f"not a statement: {error}") from error
        if statement.venue not in ZONES:
            known = ", ".join(ZONES)
            raise MarketProblem(
                Trouble.BAD_REQUEST, f"no venue {statement.venue!r}; there are {known}"
            )
        store = self._services.settlements
        new = store.keep_statement(
            statement.venue,
            statement.day,
            statement.version,
            body,
            self._services.clock.now_ns(),
        )
        kept = store.statements(statement.venue, statement.day)
        if not new and body not in kept:
            raise MarketProblem(
                Trouble.CONFLICT,
                f"version {statement.version} came before with other contents; a rerun has a number"
                " of its own",
                Refusal.CHANGED_REPLAY,
            )
        await self._settle(statement)
        return self._account(statement.venue, day, [parse_statement(one) for one in kept])

    async def _settle(self, statement: Statement) -> None:
        """Tells the desk what each of its bids is paid; bids it has forgotten are left out.

        Told again after a crash between the keeping and the telling: the desk takes a version once.
        """
        amounts: dict[str, int] = {}
        for line in statement.lines:
            amounts[line.bid_id] = amounts.get(line.bid_id, 0) + line.amount_cents
        for bid_id in sorted(filter(self._desk.takes_statement, amounts)):
            micro = amounts[bid_id] * 10_000
            await self._services.writer.submit(RecordStatement(bid_id, statement.version, micro))

    def _account(self, iso: str, day: date, versions: Sequence[Statement]) -> SettlementView:
        account = DayAccount(iso, day.isoformat())
        lines, unpriced = self._expected(iso, day)
        for version in versions:
            account.receive(version, lines)
        newest = account.newest
        assert newest is not None, "an account is made of at least one statement"
        expected_cents = sum(line.amount_cents for line in lines)
        return SettlementView(
            iso,
            day.isoformat(),
            [one.version for one in versions],
            newest.total_cents,
            expected_cents,
            newest.total_cents - expected_cents,
            unpriced,
            [dispute_view(one) for one in account.open_disputes],
        )

    def _expected(self, iso: str, day: date) -> tuple[tuple[StatementLine, ...], list[int]]:
        """Our lines of one trade day, and the starts that no price is known of."""
        product = product_of(iso)
        span = trade_day(day, ZONES[iso])
        series = Series(iso, PUBLISHED[product.market], product.node)
        known = self._services.prices.latest(series, span)
        prices = {one.start_ns: one.value_micro for one in known}
        kept = self._services.settlements.positions(iso, span.start_ns, span.end_ns)
        positions = [
            Position(
                one.bid_id,
                one.starts_ns,
                one.awarded_wh,
                one.delivered_wh or 0,
                one.product,
                one.market == product.ahead,
                one.price_micro,
                one.moved_wh,
            )
            for one in kept
            if one.starts_ns in prices
        ]
        unpriced = sorted({one.starts_ns for one in kept} - prices.keys())
        return shadow(iso, positions, SettlementPrices(prices, prices)), unpriced


def product_of(iso: str) -> Product:
    found = next((product for product in OFFERED if product.venue == iso), None)
    if found is None:
        raise MarketProblem(Trouble.NOT_FOUND, f"no market {iso!r}; there are {', '.join(ZONES)}")
    return found
