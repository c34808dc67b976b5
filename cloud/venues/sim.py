"""The market simulator: what OASIS, Data Miner and the bid gateways do, on made prices.

No ISO gives test access without membership, so this stands in for them, with their faults: throttles
as 429 and as a page with status 200, errors inside a zip with status 200, corrected prices, days of
23 and 25 hours, sessions that expire with a login page, awards that come late or twice. Whoever
asks OASIS faster than it allows is throttled, and after MERCY such requests banned. State changes
only by requests and by the methods here; time is given. Opens no port: `sim_http` does.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from xml.etree import ElementTree as ET

from cloud.commands import ObservePrice, RecordAward
from cloud.feeds.intervals import PACIFIC, to_ns, trade_date, trade_day
from cloud.feeds.prices import observations
from cloud.venues.days import CAISO_NODE, PJM_LOCALE, PJM_PNODE, publication, zipped
from cloud.venues.paper import RULES, PaperExchange
from cloud.venues.statements import SettlementDesk
from cloud.venues.transport import Answer
from cloud.venues.venue import ENERGY, BadBid, Offer
from cloud.venues.wire import add, to_bytes
from protos.clock import MINUTE_NS, SECOND_NS

OASIS_GAP_NS = 5 * SECOND_NS
MERCY = 10
THROTTLE_PAGE = (
    b"<html><body>CAISO Acceptable Use Policy Violation. "
    b"Please retry your request after 5 seconds.</body></html>"
)
LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign In</title></head><body></body></html>"
REPORTS = {
    ("PRC_LMP", "DAM"): ("12", "DAM"),
    ("PRC_RTPD_LMP", "RTPD"): ("3", "RTM"),
    ("PRC_AS", "DAM"): ("12", "DAM_AS"),
}
"""Version and publication of each report and market run."""

FEEDS = {"da_hrl_lmps": "DA", "rt_hrl_lmps": "RT"}
RESERVE_FEED = "reserve_market_results"
AHEAD_MARKETS = frozenset(rules.ahead for rules in RULES)
DAYS_MAX = 31
ROWS_MAX = 50_000
SESSION_NS = 15 * MINUTE_NS
RETENTION_DAYS = 1_186
"""About 39 months."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong. Every n-th of something; 0 is never."""

    throttle_page_every: int = 2
    """Of the throttles, which come as a page with status 200."""
    session_ns: int = SESSION_NS
    lost_answer_every: int = 0
    """Of the bids, which are taken but answered with 503."""
    late_award_ns: int = 0
    double_awards: bool = False


@dataclass(slots=True)
class Caller:
    """One address as OASIS sees it."""

    last_ns: int = -OASIS_GAP_NS
    offences: int = 0


@dataclass(slots=True)
class Counters:
    """What happened, for tests and for the operator of the simulator."""

    requests: int = 0
    throttles: int = 0
    bans: int = 0
    bids: int = 0
    logins: int = 0
    closest_ns: int | None = None
    """The least time between two OASIS requests of one address."""


@dataclass(slots=True)
class VenueSim:
    """All simulated venues. `at_ns` is the simulator's own clock at a request's arrival."""

    faults: Faults = field(default_factory=Faults)
    subscription_key: str = "simulated-key"
    exchange: PaperExchange = field(default_factory=PaperExchange)
    counters: Counters = field(default_factory=Counters)
    _callers: dict[str, Caller] = field(default_factory=dict)
    _sessions: dict[str, int] = field(default_factory=dict)
    _corrections: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    _published: set[tuple[str, date]] = field(default_factory=set)
    _statements: dict[tuple[str, str], SettlementDesk] = field(default_factory=dict)
    _meters_wh: dict[tuple[str, int], int] = field(default_factory=dict)
    _reruns: dict[tuple[str, int], int] = field(default_factory=dict)

    # ---- OASIS -----------------------------------------------------------------------------

    def oasis(self, caller: str, query: Mapping[str, str], at_ns: int) -> Answer:
        """GET /oasisapi/SingleZip."""
        refusal = self._paced(caller, at_ns)
        if refusal is not None:
            return refusal
        report, run = query.get("queryname", ""), query.get("market_run_id", "")
        if (report, run) not in REPORTS:
            return oasis_error("1005", "Invalid report name specified")
        version, market = REPORTS[report, run]
        if query.get("version") != version:
            return oasis_error("1020", "Invalid version specified")
        nodes = [node for node in query.get("node", "").split(",") if node]
        if market == "DAM_AS":
            nodes = [CAISO_NODE]
            if (query.get("anc_type"), query.get("anc_region")) != ("ALL", "ALL"):
                return oasis_error("1002", "Invalid anc_type or anc_region")
        elif not 1 <= len(nodes) <= 10:
            return oasis_error("1017", "More than 10 nodes or none selected")
        try:
            start, end = (
                datetime.strptime(query.get(name, ""), "%Y%m%dT%H:%M%z")
                for name in ("startdatetime", "enddatetime")
            )
        except ValueError:
            return oasis_error("1002", "Invalid date format")
        return self._oasis_days(start, end, market, nodes[0], at_ns)

    def _oasis_days(
        self, start: datetime, end: datetime, market: str, node: str, at_ns: int
    ) -> Answer:
        if end <= start:
            return oasis_error("1001", "Start is not before end")
        if (end.date() - start.date()).days > DAYS_MAX:
            return oasis_error("1004", "More than 31 days selected")
        first = trade_date(to_ns(start), PACIFIC)
        today = trade_date(at_ns, PACIFIC)
        if first > today + timedelta(days=1) or (today - first).days > RETENTION_DAYS:
            return oasis_error("1000", "No data returned for the specified selection")
        if trade_day(first, PACIFIC).end_ns != to_ns(end) or node != CAISO_NODE:
            return oasis_error("1000", "No data returned for the specified selection")
        return Answer(
            200,
            {"content-type": "application/x-zip-compressed"},
            publication("caiso", first, market),
        )

    def _paced(self, name: str, at_ns: int) -> Answer | None:
        """The throttle or ban that this request deserves."""
        self.counters.requests += 1
        caller = self._callers.setdefault(name, Caller())
        gap_ns = at_ns - caller.last_ns
        caller.last_ns = at_ns
        if self.counters.closest_ns is None or gap_ns < self.counters.closest_ns:
            self.counters.closest_ns = gap_ns
        if caller.offences >= MERCY:
            self.counters.bans += 1
            return Answer(403, {"content-type": "text/html"}, b"Access to this site is denied.")
        if gap_ns >= OASIS_GAP_NS:
            return None
        caller.offences += 1
        self.counters.throttles += 1
        page = _nth(self.counters.throttles, self.faults.throttle_page_every)
        return Answer(200 if page else 429, {"content-type": "text/html"}, THROTTLE_PAGE)

    # ---- Data Miner ------------------------------------------------------------------------

    def miner(self, feed: str, key: str, query: Mapping[str, str]) -> Answer:
        """GET /api/v1/{feed}. Old versions of corrected rows stay, not current."""
        if feed not in {*FEEDS, RESERVE_FEED}:
            return _json(404, {"errors": [{"field": "feed", "message": "Unknown feed"}]})
        if key != self.subscription_key:
            return _json(401, {"errors": [{"field": "key", "message": "Access denied"}]})
        try:
            day = _pjm_day(query.get("datetime_beginning_ept", ""))
            first, count = int(query.get("startRow", "1")), int(query.get("rowCount", "100"))
        except ValueError as error:
            return _json(400, {"errors": [{"field": "request", "message": str(error)}]})
        if first < 1 or not 1 <= count <= ROWS_MAX:
            return _json(400, {"errors": [{"field": "rowCount", "message": "1 to 50000"}]})
        document = json.loads(publication("pjm", day, FEEDS.get(feed, "RT_AS")))
        items = self._selected(feed, document["items"], query)
        document["items"], document["totalRows"] = items[first - 1 : first - 1 + count], len(items)
        if first - 1 + count < len(items):
            following = f"/api/v1/{feed}?startRow={first + count}&rowCount={count}"
            document["links"].append({"rel": "next", "href": following})
        return _json(200, document)

    def _selected(
        self, feed: str, items: list[dict[str, object]], query: Mapping[str, str]
    ) -> list[dict[str, object]]:
        """The items that were asked for; reserves have neither nodes nor versions."""
        if feed == RESERVE_FEED:
            return items if query.get("locale", PJM_LOCALE) == PJM_LOCALE else []
        if query.get("pnode_id", str(PJM_PNODE)) != str(PJM_PNODE):
            return []
        items = self._versions(feed, items)
        if query.get("row_is_current") == "true":
            return [item for item in items if item["row_is_current"]]
        return items

    def correct(self, feed: str, starts_ns: int, change_cents: int) -> None:
        """A later version of one PJM price: energy and total move by so many cents per MWh."""
        version, change = self._corrections.get((feed, starts_ns), (1, 0))
        self._corrections[feed, starts_ns] = (version + 1, change + change_cents)

    def _versions(self, feed: str, items: list[dict[str, object]]) -> list[dict[str, object]]:
        suffix = FEEDS[feed].lower()
        rows: list[dict[str, object]] = []
        for item in items:
            starts = datetime.fromisoformat(str(item["datetime_beginning_utc"]))
            correction = self._corrections.get((feed, to_ns(starts.replace(tzinfo=UTC))))
            if correction is None:
                rows.append(item)
                continue
            version, change = correction
            corrected = {**item, "version_nbr": version}
            for column in (f"system_energy_price_{suffix}", f"total_lmp_{suffix}"):
                corrected[column] = round(float(str(item[column])) + change / 100, 5)
            rows += [{**item, "row_is_current": False}, corrected]
        return rows

    # ---- bid gateways ----------------------------------------------------------------------

    def submit(self, venue: str, body: bytes, at_ns: int) -> Answer:
        """A bid. With `lost_answer_every` some are taken and the answer is lost on the way."""
        self.counters.bids += 1
        answer = self.exchange.submit(venue, body, at_ns)
        if _nth(self.counters.bids, self.faults.lost_answer_every):
            return Answer(503, {"content-type": "text/plain"}, b"upstream timed out")
        return Answer(200, {"content-type": "text/xml"}, answer)

    def results(self, venue: str, at_ns: int) -> Answer:
        """All awards so far, late and twice where the faults say so."""
        self._publish(at_ns)
        codec = self.exchange.venues[venue]
        body = self.exchange.results(venue, at_ns - self.faults.late_award_ns)
        if self.faults.double_awards:
            body = codec.encode_awards(
                [award for award in codec.decode_awards(body) for _ in range(2)]
            )
        return Answer(200, {"content-type": "text/xml"}, body)

    def telemetry(self, venue: str, body: bytes) -> Answer:
        """Four seconds' telemetry of an awarded regulation; the answer is the signal."""
        if venue not in self.exchange.venues:
            return _json(404, {"errors": [{"field": "venue", "message": "Unknown venue"}]})
        try:
            return _json(200, {"signal_w": self.exchange.telemetry(venue, body)})
        except BadBid as error:
            return _json(400, {"errors": [{"field": "report", "message": error.text}]})

    # ---- settlement ------------------------------------------------------------------------

    def meter(self, bid_id: str, starts_ns: int, energy_wh: int) -> None:
        """Meter data of one award; later data of the same one replaces it in the next version."""
        self._meters_wh[bid_id, starts_ns] = energy_wh

    def rerun(self, venue: str, starts_ns: int, change_cents: int) -> None:
        """Corrects one interval's imbalance price for the versions to come."""
        so_far = self._reruns.get((venue, starts_ns), 0)
        self._reruns[venue, starts_ns] = so_far + change_cents * 10_000

    def statement(self, venue: str, day: date, at_ns: int) -> Answer:
        """The next version of a trade day's statement, of the awards reported by now."""
        zone = next((one.zone for one in RULES if one.codec.venue == venue), None)
        if zone is None:
            return _json(404, {"errors": [{"field": "venue", "message": "Unknown venue"}]})
        self._publish(at_ns)
        codec = self.exchange.venues[venue]
        made = self._statements.setdefault(
            (venue, day.isoformat()), SettlementDesk(venue, day.isoformat())
        )
        for award in codec.decode_awards(self.exchange.results(venue, at_ns)):
            if trade_date(award.starts_ns, zone) != day:
                continue
            self._take(made, award)
        return Answer(200, {"content-type": "text/xml"}, made.publish())

    def _take(self, made: SettlementDesk, award: RecordAward) -> None:
        """One award into the next version, with its meter and its interval's prices. It waits for a
        later version while its interval has no real-time price.
        """
        offer = self.exchange.offer(made.venue, award.bid_id)
        if offer is None:
            return
        real = self.exchange.real_time_micro(made.venue, offer, award.starts_ns)
        if real is None:
            return
        key = (award.bid_id, award.starts_ns)
        made.awards[key] = award
        self._describe(made, award, offer)
        made.meters_wh[key] = self._meters_wh.get(key, 0)
        made.award_prices[award.starts_ns] = real
        change = self._reruns.get((made.venue, award.starts_ns), 0)
        made.imbalance_prices[award.starts_ns] = real + change

    def _describe(self, made: SettlementDesk, award: RecordAward, offer: Offer) -> None:
        """What an award was sold as, and of regulation how well it followed."""
        if offer.product != ENERGY:
            made.reserves[award.bid_id] = offer.product
            if offer.product != "SPIN":
                desk = self.exchange.regulation[made.venue]
                made.performance[award.bid_id, award.starts_ns] = desk.performance(award, offer)
        elif offer.market in AHEAD_MARKETS:
            made.ahead.add(award.bid_id)

    def pjm_login(self, user: str, at_ns: int) -> Answer:
        if not user:
            return _json(401, {"code": 401, "reason": "Unauthorized"})
        self.counters.logins += 1
        token = f"session-{self.counters.logins}"
        self._sessions[token] = at_ns + self.faults.session_ns
        return _json(200, {"tokenId": token})

    def pjm_query(self, session: str, body: bytes, at_ns: int) -> Answer:
        """POST /marketsgateway/xml/query. An expired session is a login page with status 200."""
        if self._sessions.get(session, 0) <= at_ns:
            return Answer(200, {"content-type": "text/html"}, LOGIN_PAGE)
        if b"QueryMarketResults" in body:
            return self.results("pjm", at_ns)
        return self.submit("pjm", body, at_ns)

    def _publish(self, at_ns: int) -> None:
        """Gives the exchange the prices of today and tomorrow, once each."""
        for rules in RULES:
            venue = rules.codec.venue
            today = trade_date(at_ns, rules.zone)
            for day in (today - timedelta(days=1), today, today + timedelta(days=1)):
                if (venue, day) not in self._published:
                    self._published.add((venue, day))
                    self.exchange.publish(_prices(venue, day))


def _prices(venue: str, day: date) -> list[ObservePrice]:
    markets = ("DAM", "RTM") if venue == "caiso" else ("DA", "RT")
    return [
        price
        for market in markets
        for price in observations(venue, publication(venue, day, market))
    ]


def _nth(count: int, every: int) -> bool:
    return every > 0 and count % every == 0


def _json(status: int, document: object) -> Answer:
    return Answer(status, {"content-type": "application/json"}, json.dumps(document).encode())


def _pjm_day(text: str) -> date:
    """The one day of `m-d-Y 00:00 to m-d-Y 23:59`. Raises ValueError."""
    first, _, last = text.partition(" to ")
    days = {datetime.strptime(one.split(" ")[0], "%m-%d-%Y").date() for one in (first, last)}  # noqa: DTZ007
    if len(days) != 1:
        raise ValueError("one day at a time")
    return days.pop()


def oasis_error(code: str, text: str) -> Answer:
    """OASIS's own way: status 200, a zip, and the error in its XML."""
    root = ET.Element("OASISReport")
    error = add(add(add(root, "MessagePayload"), "RTO"), "ERROR")
    add(error, "ERR_CODE", code)
    add(error, "ERR_DESC", text)
    body = zipped("INVALID_REQUEST.xml", to_bytes(root))
    return Answer(200, {"content-type": "application/x-zip-compressed"}, body)


def with_faults(sim: VenueSim, **changes: object) -> None:
    """Changes what goes wrong from now on."""
    sim.faults = replace(sim.faults, **changes)  # type: ignore[arg-type]
