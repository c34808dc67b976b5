"""A paper exchange: takes real bid bytes, applies the venues' published rules, clears at prices.

It plays the other side of the wire for demo and tests: it sees only bytes and a time, answers in
each ISO's own style, and awards what the accepted curve gives at the interval's price (the desk is
a price taker). An answer depends on nothing but what was submitted before and the time given, so a
run can be repeated exactly. Never accepts after a gate, never awards a replaced bid, never changes
an award once reported.

Idempotency: the same bid id with the same bytes gets the same answer at any time, even after the
gate; another bid for the same resource and hour, before the gate, replaces the one before.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from zoneinfo import ZoneInfo

from cloud.commands import CurveSegment, ObservePrice, RecordAward
from cloud.facts import BidPrepared
from cloud.feeds.intervals import EASTERN, HOUR_NS, PACIFIC, to_local, to_ns
from cloud.venues.caiso import CAISO
from cloud.venues.days import reserve_price_micro
from cloud.venues.pjm import PJM
from cloud.venues.regulation import RegulationDesk, decode_report
from cloud.venues.venue import ENERGY, BadBid, Codec, Offer, Storage
from cloud.venues.wire import decimal_text
from protos.clock import MINUTE_NS, SECOND_NS
from protos.ids import effect_id
from protos.units import energy_wh

PARTICIPANT = "GRIDTOKENX"
CANCELLED = "CANCELLED"
KEEP_NS = 48 * HOUR_NS
HORIZON_NS = 7 * 24 * HOUR_NS


@dataclass(frozen=True, slots=True)
class VenueRules:
    """What one venue accepts. Prices in micro-units per MWh, power in W."""

    codec: Codec
    zone: ZoneInfo
    market: str
    """Real time: bids until `gate_lead_ns` before the delivery hour."""
    ahead: str
    """Day ahead: bids until `ahead_gate_hour` prevailing time of the day before."""
    reserves: str
    """What the publication of reserve prices is called."""
    gate_lead_ns: int
    ahead_gate_hour: int
    award_step_ns: int
    award_lead_ns: int
    """Awards are reported this long before their interval."""
    points_max: int = 11
    """Ten segments have eleven ends."""
    price_cap_micro: int = 2_000_000_000
    price_floor_micro: int = -150_000_000
    power_min_w: int = 100_000
    reserve_caps: Mapping[str, int] = field(default_factory=dict)
    """What capacity of each reserve product may cost at most, per MW and hour."""
    needs_storage: bool = True
    """Whether a bid that says nothing of its battery is rejected. At CAISO the bounds may be left
    out; a virtual plant is nothing but batteries, so here they are asked for."""
    minds_storage: bool = False
    """Whether the venue's own optimisation keeps a battery within its bounds. Where it does not, a
    curve must be such that any of its powers can be held for the whole hour."""
    registered: Storage | None = None
    """The battery as it is registered; None where the venue does not check."""


RESERVE_CAP_MICRO = 250_000_000
REGULATION_CAP_MICRO = 100_000_000
RULES = (
    VenueRules(
        *(
            CAISO,
            PACIFIC,
            "RTM",
            "DAM",
            "DAM_AS",
            75 * MINUTE_NS,
            10,
            15 * MINUTE_NS,
            1350 * SECOND_NS,
        ),
        reserve_caps=dict.fromkeys(("SPIN", "REG_UP", "REG_DOWN"), RESERVE_CAP_MICRO),
        minds_storage=True,
    ),
    VenueRules(
        *(PJM, EASTERN, "RT", "DA", "RT_AS", 65 * MINUTE_NS, 11, HOUR_NS, 30 * MINUTE_NS),
        reserve_caps={"SPIN": RESERVE_CAP_MICRO, "REG": REGULATION_CAP_MICRO},
    ),
)
"""CAISO caps ancillary service bids at 250 a MW and hour, PJM regulation at 100. Gate times, caps and
the ten segments are the venues' own; the floor, the day-ahead hours and the award times are common
knowledge that no public text was found for.

CAISO's optimisation keeps a non-generator resource within its energy limits, so its bid may be wider
than the energy in it; in PJM's storage model the seller minds the state of charge. That the gateways
answer a breach of these rules by rejecting the bid is unverified: what they check is not public."""

RESERVE_WITHIN_NS = 10 * MINUTE_NS
"""Spinning reserve and regulation are what a resource reaches in ten minutes."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One accepted bid and what was answered to it."""

    offer: Offer
    body_sha256: bytes
    answer: bytes


@dataclass(slots=True)
class Book:
    """One venue's side: bids by id, the one that stands for each resource and hour, and awards."""

    rules: VenueRules
    taken: dict[str, Taken] = field(default_factory=dict)
    standing: dict[tuple[str, str, str, int], str] = field(default_factory=dict)
    awards: dict[tuple[str, int], RecordAward] = field(default_factory=dict)


class Rejected(Exception):
    """A bid breaks a rule; answered in-band with the venue's code and words."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class PaperExchange:
    """Both venues in one process."""

    def __init__(self, rules: Iterable[VenueRules] = RULES) -> None:
        self._books = {each.codec.venue: Book(each) for each in rules}
        self.regulation = {name: RegulationDesk() for name in self._books}
        self._prices: dict[tuple[str, str, str], dict[int, ObservePrice]] = {}

    @property
    def venues(self) -> Mapping[str, Codec]:
        return {name: book.rules.codec for name, book in self._books.items()}

    def publish(self, prices: Iterable[ObservePrice]) -> None:
        """The prices the exchange clears at: real time where known, else day ahead."""
        for price in prices:
            series = self._prices.setdefault((price.venue, price.node, price.market), {})
            series[price.starts_ns] = price

    def submit(self, venue: str, body: bytes, at_ns: int) -> bytes:
        """One bid's answer, or that to a question after one, as the venue would send it."""
        book = self._books[venue]
        codec = book.rules.codec
        asked = codec.decode_query(body)
        if asked is not None:
            known = book.taken.get(asked)
            return codec.encode_unknown(asked) if known is None else known.answer
        gone = codec.decode_cancel(body)
        if gone is not None:
            return self._withdraw(book, gone, at_ns)
        try:
            offer = codec.decode_bid(body)
        except BadBid as error:
            return codec.encode_fault(error.text)
        if offer.participant != PARTICIPANT:
            return codec.encode_fault("Invalid role and/or Entity list identifier.")
        try:
            return self._take(book, offer, body, at_ns).answer
        except Rejected as error:
            return codec.encode_rejected(offer.bid_id, error.code, error.text)

    def results(self, venue: str, at_ns: int) -> bytes:
        """All awards so far, as the venue's result query answers them."""
        book = self._books[venue]
        for bid_id in book.standing.values():
            self._clear(book, book.taken[bid_id].offer, at_ns)
        self._forget(book, at_ns - KEEP_NS)
        return book.rules.codec.encode_awards([book.awards[key] for key in sorted(book.awards)])

    def held(self, venue: str) -> list[Offer]:
        """The bids that stand, by resource, market and hour."""
        book = self._books[venue]
        return [book.taken[book.standing[key]].offer for key in sorted(book.standing)]

    def telemetry(self, venue: str, body: bytes) -> int:
        """Takes four seconds' telemetry of a regulation bid and gives the signal. Raises BadBid."""
        report = decode_report(body)
        offer = self.offer(venue, report.bid_id)
        if offer is None or not offer.product.startswith("REG"):
            raise BadBid(f"no regulation was bought of {report.bid_id}")
        return self.regulation[venue].take(report, offer)

    def offer(self, venue: str, bid_id: str) -> Offer | None:
        """A bid as it was taken, whether it stands or not."""
        taken = self._books[venue].taken.get(bid_id)
        return None if taken is None else taken.offer

    def restore(self, bid: BidPrepared) -> None:
        """Puts back a bid that was accepted before a restart; its gate has usually passed."""
        book = self._books[bid.venue]
        body = book.rules.codec.encode_bid(bid, PARTICIPANT)
        self._admit(book, book.rules.codec.decode_bid(body), body)

    def _withdraw(self, book: Book, bid_id: str, at_ns: int) -> bytes:
        """A cancellation: its repetition gets the same answer, and the hour is free again."""
        codec = book.rules.codec
        taken = book.taken.get(bid_id)
        if taken is None:
            return codec.encode_unknown(bid_id)
        offer = taken.offer
        slot = (offer.node, offer.market, offer.product, offer.starts_ns)
        if book.standing.get(slot) == bid_id:
            if at_ns > deadline_ns(book.rules, offer):
                return codec.encode_rejected(bid_id, "GATE_CLOSED", "the market is closed")
            del book.standing[slot]
        return codec.encode_accepted(bid_id, CANCELLED)

    def _take(self, book: Book, offer: Offer, body: bytes, at_ns: int) -> Taken:
        known = book.taken.get(offer.bid_id)
        if known is not None:
            if known.body_sha256 == sha256(body).digest():
                return known
            raise Rejected("DUPLICATE_ID", "this bid id was used for a different bid")
        check_offer(book.rules, offer, at_ns, self._beside(book, offer))
        return self._admit(book, offer, body)

    def _beside(self, book: Book, offer: Offer) -> list[Offer]:
        """The energy bids that stand for the hours before and after."""
        slots = [
            (offer.node, offer.market, ENERGY, offer.starts_ns + step)
            for step in (-HOUR_NS, HOUR_NS)
        ]
        return [book.taken[book.standing[slot]].offer for slot in slots if slot in book.standing]

    def _admit(self, book: Book, offer: Offer, body: bytes) -> Taken:
        codec = book.rules.codec
        reference = effect_id("paper", codec.venue, offer.bid_id)[:12].upper()
        answer = codec.encode_accepted(offer.bid_id, reference)
        taken = Taken(offer, sha256(body).digest(), answer)
        book.taken[offer.bid_id] = taken
        slot = (offer.node, offer.market, offer.product, offer.starts_ns)
        book.standing[slot] = offer.bid_id
        return taken

    def _clear(self, book: Book, offer: Offer, at_ns: int) -> None:
        """Awards every interval of the bid whose result is due and not yet reported."""
        step_ns = book.rules.award_step_ns
        for starts_ns in range(offer.starts_ns, offer.starts_ns + offer.duration_ns, step_ns):
            key = (offer.bid_id, starts_ns)
            if key in book.awards or at_ns < starts_ns - book.rules.award_lead_ns:
                continue
            price = self._price(book.rules, offer, starts_ns)
            if price is None:
                continue
            power_w = cleared_w(offer.curve, price)
            if power_w:
                book.awards[key] = RecordAward(offer.bid_id, starts_ns, step_ns, power_w, price)

    def _price(self, rules: VenueRules, offer: Offer, starts_ns: int) -> int | None:
        """The price that covers the interval's start: real time, else day ahead, else none. A
        day-ahead offer clears at the day-ahead price alone.
        """
        if offer.product != ENERGY:
            return reserve_price_micro(rules.codec.venue, offer.product, starts_ns)
        markets = (rules.ahead,) if offer.market == rules.ahead else (rules.market, rules.ahead)
        for market in markets:
            price = self._published((rules.codec.venue, offer.node, market), starts_ns)
            if price is not None:
                return price
        return None

    def real_time_micro(self, venue: str, offer: Offer, starts_ns: int) -> int | None:
        """The real-time price that covers an interval's start at an offer's node, if it is known."""
        return self._published((venue, offer.node, self._books[venue].rules.market), starts_ns)

    def _published(self, series: tuple[str, str, str], starts_ns: int) -> int | None:
        """The published price that covers a moment."""
        prices = self._prices.get(series, {})
        for start_ns in (starts_ns, starts_ns // HOUR_NS * HOUR_NS):
            price = prices.get(start_ns)
            if price is not None and starts_ns < price.starts_ns + price.duration_ns:
                return price.price_micro_per_mwh
        return None

    def _forget(self, book: Book, before_ns: int) -> None:
        for bid_id in [key for key, t in book.taken.items() if t.offer.starts_ns < before_ns]:
            del book.taken[bid_id]
        book.standing = {key: bid for key, bid in book.standing.items() if bid in book.taken}
        book.awards = {key: award for key, award in book.awards.items() if key[0] in book.taken}


def deadline_ns(rules: VenueRules, offer: Offer) -> int:
    """When bids for this offer's market close. Raises Rejected for a market that is not traded."""
    if offer.market == rules.market:
        return offer.starts_ns - rules.gate_lead_ns
    if offer.market != rules.ahead:
        raise Rejected("MARKET", f"market {offer.market} is not open for bids")
    eve = to_local(offer.starts_ns, rules.zone) - timedelta(days=1)
    return to_ns(eve.replace(hour=rules.ahead_gate_hour, minute=0, second=0, microsecond=0))


def check_offer(rules: VenueRules, offer: Offer, at_ns: int, beside: Sequence[Offer] = ()) -> None:
    """The venue's rules in its order: interval, deadline, curve, caps, size, storage. `beside` are
    the energy bids that stand for the hours before and after. Raises Rejected.
    """
    if offer.duration_ns != HOUR_NS or offer.starts_ns % HOUR_NS:
        raise Rejected("INTERVAL", "a bid is for one whole trading hour")
    if at_ns > deadline_ns(rules, offer):
        raise Rejected("GATE_CLOSED", "the market for this trading hour is closed")
    if offer.starts_ns > at_ns + HORIZON_NS:
        raise Rejected("INTERVAL", "the trading hour is more than seven days ahead")
    if offer.product == ENERGY:
        _check_curve(rules, offer)
    else:
        _check_reserve(rules, offer)
    _check_storage(rules, offer, beside)


def _check_curve(rules: VenueRules, offer: Offer) -> None:
    """An energy curve: segments, floor, rising, cap, size."""
    if len(offer.curve) > rules.points_max:
        raise Rejected("SEGMENTS", f"a curve has at most {rules.points_max - 1} segments")
    if offer.curve[1].price_micro_per_mwh < rules.price_floor_micro:
        raise Rejected("PRICE_FLOOR", "a bid price lies below the bid floor")
    for low, high in zip(offer.curve, offer.curve[1:], strict=False):
        if low.power_w >= high.power_w or low.price_micro_per_mwh > high.price_micro_per_mwh:
            raise Rejected("MONOTONE", "the curve must rise in MW and not fall in price")
    if offer.curve[-1].price_micro_per_mwh > rules.price_cap_micro:
        raise Rejected("PRICE_CAP", "a bid price exceeds the bid cap")
    if max(-offer.curve[0].power_w, offer.curve[-1].power_w) < rules.power_min_w:
        raise Rejected("MINIMUM_SIZE", "the resource is smaller than 0.1 MW")


def _check_reserve(rules: VenueRules, offer: Offer) -> None:
    """A reserve offer: a product of this venue, one step of capacity, a price from 0 to its cap."""
    cap = rules.reserve_caps.get(offer.product)
    if cap is None or offer.market != rules.market:
        raise Rejected("PRODUCT", f"{offer.product} is not offered in market {offer.market}")
    if len(offer.curve) != 2 or offer.curve[0].power_w != 0:
        raise Rejected("SEGMENTS", "a reserve offer is one block of capacity from zero")
    if offer.curve[1].power_w < rules.power_min_w:
        raise Rejected("MINIMUM_SIZE", "the capacity is smaller than 0.1 MW")
    if not 0 <= offer.curve[1].price_micro_per_mwh <= cap:
        raise Rejected("PRICE_CAP", "the capacity price lies outside 0 and its cap")


def _check_ramp(rules: VenueRules, offer: Offer, said: Storage, beside: Sequence[Offer]) -> None:
    """From any power of this hour or of those beside it to any of its own, within one interval."""
    within_ns = rules.award_step_ns if offer.product == ENERGY else RESERVE_WITHIN_NS
    reach_w = said.ramp_w_per_min * within_ns // MINUTE_NS
    low_w, high_w = min(0, offer.curve[0].power_w), max(0, offer.curve[-1].power_w)
    curves = [one.curve for one in beside] if offer.product == ENERGY else []
    lowest_w = min([low_w, *(curve[0].power_w for curve in curves)])
    highest_w = max([high_w, *(curve[-1].power_w for curve in curves)])
    turn_w = max(high_w - lowest_w, highest_w - low_w)
    if turn_w > reach_w:
        raise Rejected(
            "RAMP",
            f"the curves of this hour and those beside it ask for a turn of {decimal_text(turn_w)} "
            f"MW; the ramp rate follows {decimal_text(reach_w)} MW in {within_ns // MINUTE_NS} min",
        )


def _check_energy(offer: Offer, said: Storage) -> None:
    """Each power of the curve can be held for the whole hour."""
    asked = energy_wh(max(0, offer.curve[-1].power_w), offer.duration_ns)
    if asked > said.stored_wh - said.soc_min_wh:
        raise Rejected(
            "SOC",
            f"{decimal_text(asked)} MWh are offered for the hour, "
            f"{decimal_text(said.stored_wh - said.soc_min_wh)} are stored above the minimum",
        )
    asked = energy_wh(max(0, -offer.curve[0].power_w), offer.duration_ns)
    if asked > said.soc_max_wh - said.stored_wh:
        raise Rejected(
            "SOC",
            f"{decimal_text(asked)} MWh are bid for in the hour, "
            f"{decimal_text(said.soc_max_wh - said.stored_wh)} fit below the maximum",
        )


def _check_storage(rules: VenueRules, offer: Offer, beside: Sequence[Offer]) -> None:
    """Ramp and state of charge: possible in themselves, within what is registered, and such that the
    battery can follow the curve.
    """
    said, registered = offer.storage, rules.registered
    if said is None:
        if rules.needs_storage or registered is not None:
            raise Rejected(
                "STORAGE",
                "a storage bid says its ramp rate, its state of charge and the bounds of it",
            )
        return
    if said.ramp_w_per_min <= 0:
        raise Rejected("RAMP", "the ramp rate must be above zero")
    if not 0 <= said.soc_min_wh <= said.stored_wh <= said.soc_max_wh:
        raise Rejected("SOC_BOUNDS", "state of charge: 0 <= minimum <= stored <= maximum")
    _check_ramp(rules, offer, said, beside)
    if offer.product == ENERGY and not rules.minds_storage:
        _check_energy(offer, said)
    if registered is None:
        return
    if said.ramp_w_per_min > registered.ramp_w_per_min:
        raise Rejected("RAMP", "the ramp rate exceeds the registered one")
    if said.soc_min_wh < registered.soc_min_wh or said.soc_max_wh > registered.soc_max_wh:
        raise Rejected("SOC_BOUNDS", "state of charge bounds outside the registered ones")


def cleared_w(curve: Iterable[CurveSegment], price_micro_per_mwh: int) -> int:
    """The power of the last segment whose price is at most the interval's."""
    power_w = 0
    for segment in curve:
        if segment.price_micro_per_mwh > price_micro_per_mwh:
            break
        power_w = segment.power_w
    return power_w
