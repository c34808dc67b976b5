"""ERCOT's day-ahead energy as a BidSet: an EnergyOnlyOffer to sell, an EnergyBid to buy.

These are the messages of ERCOT's public schema (EWS, namespace 2007-06/nodal/ews), against which
they are checked where the schema is present. ERCOT takes sales and purchases apart and one kind a
set, so a curve that does both is two messages. MW travel with one decimal, so sizes are whole
100 kW, rounded towards zero; prices with two. A sale's points rise in price, a purchase's fall, ten
at most. The request's header stands here; signature and certificate are the transport's. Pure.

An offer says nothing of a battery. Its state of charge is part of the resource's operating plan (COP,
NPRR 1186): for each hour minimum, maximum and what is planned at its beginning, in MWh with one
decimal, and minimum <= planned <= maximum, or ERCOT rejects the plan. Its ramp rate is registered.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from xml.etree import ElementTree as ET

from cloud.commands import CurveSegment
from cloud.facts import BidPrepared
from cloud.feeds.intervals import CENTRAL, to_local
from cloud.venues.venue import BadBid, Storage, storage_of
from cloud.venues.wire import add, decimal_text, to_bytes

NAMESPACE = "http://www.ercot.com/schema/2007-06/nodal/ews"
MESSAGE_NAMESPACE = f"{NAMESPACE}/message"
POINTS_MAX = 10
STEP_W = 100_000
STEP_WH = 100_000
BID_ID_MAX = 12
CENT_MICRO = 10_000

Point = tuple[int, int]
"""Power in W, an amount, and price in micro-units per MWh."""


def prevailing_text(instant_ns: int) -> str:
    """Central prevailing time with its offset."""
    return to_local(instant_ns, CENTRAL).isoformat()


def sales(curve: Sequence[CurveSegment]) -> list[Point]:
    """What is offered at which price or above, in whole 100 kW."""
    return _merged((one.power_w, one.price_micro_per_mwh) for one in curve if one.power_w > 0)


def purchases(curve: Sequence[CurveSegment]) -> list[Point]:
    """What is bought at which price or below: a charge ends where the next segment begins."""
    pairs = list(pairwise(curve))
    return _merged(
        (-one.power_w, following.price_micro_per_mwh)
        for one, following in reversed(pairs)
        if one.power_w < 0
    )


def _merged(points: Iterator[Point]) -> list[Point]:
    """Points with whole sizes; two of one size are one, at the price that comes first."""
    found: list[Point] = []
    for power_w, price in points:
        size = power_w // STEP_W * STEP_W
        if size and (not found or size > found[-1][0]):
            found.append((size, price))
    return found


def encode_bid_sets(bid: BidPrepared, point: str) -> list[bytes]:
    """The BidSets of one hour at a settlement point: none, one or two. Raises BadBid."""
    made = []
    for kind, curve, points in (
        ("EnergyOnlyOffer", "EnergyOfferCurve", sales(bid.curve)),
        ("EnergyBid", "PriceCurve", purchases(bid.curve)),
    ):
        if len(points) > POINTS_MAX:
            raise BadBid(f"a curve has at most {POINTS_MAX} points, this one {len(points)}")
        if points:
            made.append(to_bytes(_bid_set(bid, point, kind, curve, points)))
    return made


def _bid_set(
    bid: BidPrepared, settlement_point: str, kind: str, curve: str, points: Sequence[Point]
) -> ET.Element:
    starts, ends = (
        prevailing_text(one) for one in (bid.starts_ns, bid.starts_ns + bid.duration_ns)
    )
    root = ET.Element("BidSet", {"xmlns": NAMESPACE})
    add(root, "tradingDate", to_local(bid.starts_ns, CENTRAL).date().isoformat())
    offer = add(root, kind)
    add(offer, "startTime", starts)
    add(offer, "endTime", ends)
    add(offer, "externalId", bid.bid_id)
    add(offer, "marketType", "DAM")
    add(offer, "expirationTime", prevailing_text(bid.gate_ns))
    add(offer, "sp", settlement_point)
    add(offer, "bidID", bid.bid_id[:BID_ID_MAX])
    prices = add(offer, curve)
    add(prices, "startTime", starts)
    add(prices, "endTime", ends)
    add(prices, "curveStyle", "CURVE")
    for power_w, price in points:
        data = add(prices, "CurveData")
        add(data, "xvalue", _one_decimal(power_w // STEP_W))
        rounded = price // CENT_MICRO * CENT_MICRO if kind == "EnergyBid" else price
        add(data, "y1value", decimal_text(-(-rounded // CENT_MICRO) * CENT_MICRO))
    return root


def encode_plan(bid: BidPrepared, resource: str) -> bytes:
    """The operating plan of a storage resource for the bid's hour, as a BidSet with one COP.

    Sizes are rounded inward: less power, narrower bounds. The emergency limits are the sustained
    ones; that ERCOT takes a negative `lel` of a resource that charges is unverified. Raises BadBid
    where the bid says no storage, or so little that nothing is left of its bounds.
    """
    storage = storage_of(bid)
    if storage is None:
        raise BadBid("an operating plan needs the bid's storage: stored energy, bounds and ramp")
    starts, ends = (
        prevailing_text(one) for one in (bid.starts_ns, bid.starts_ns + bid.duration_ns)
    )
    root = ET.Element("BidSet", {"xmlns": NAMESPACE})
    add(root, "tradingDate", to_local(bid.starts_ns, CENTRAL).date().isoformat())
    plan = add(root, "COP")
    add(plan, "externalId", bid.bid_id)
    add(plan, "resource", resource)
    status = add(plan, "ResourceStatus")
    limits = add(plan, "Limits")
    for one in (status, limits):
        add(one, "startTime", starts)
        add(one, "endTime", ends)
    add(status, "operatingMode", "ON")
    high = max(0, bid.curve[-1].power_w) // STEP_W
    low = -(max(0, -bid.curve[0].power_w) // STEP_W)
    for tag, steps in (("hsl", high), ("lsl", low), ("hel", high), ("lel", low)):
        add(limits, tag, _one_decimal(steps))
    least, stored, most = _whole_energies(storage)
    for tag, steps in (("maxSOC", most), ("minSOC", least), ("targetBeginSOC", stored)):
        add(limits, tag, _one_decimal(steps))
    return to_bytes(root)


def _whole_energies(storage: Storage) -> tuple[int, int, int]:
    """Minimum, stored and maximum in whole 100 kWh, bounds rounded inward. Raises BadBid."""
    least = -(-storage.soc_min_wh // STEP_WH)
    most = storage.soc_max_wh // STEP_WH
    if least > most:
        raise BadBid(
            f"no tenth of a MWh lies between {decimal_text(storage.soc_min_wh)} and "
            f"{decimal_text(storage.soc_max_wh)} MWh; wait for more homes"
        )
    return least, max(least, min(most, storage.stored_wh // STEP_WH)), most


def _one_decimal(tenths: int) -> str:
    sign = "-" if tenths < 0 else ""
    return f"{sign}{abs(tenths) // 10}.{abs(tenths) % 10}"


def request(bid_set: bytes, at_ns: int, source: str, user: str, message_id: str) -> bytes:
    """The SOAP message around a BidSet. The message id is the nonce: the same bid is the same one,
    whoever sends it again.
    """
    envelope = ET.Element(
        "soap:Envelope", {"xmlns:soap": "http://schemas.xmlsoap.org/soap/envelope/"}
    )
    message = add(add(envelope, "soap:Body"), "RequestMessage", xmlns=MESSAGE_NAMESPACE)
    header = add(message, "Header")
    add(header, "Verb", "create")
    add(header, "Noun", "BidSet")
    replay = add(header, "ReplayDetection")
    add(replay, "Nonce", message_id)
    add(replay, "Created", prevailing_text(at_ns))
    for tag, text in (("Revision", "1"), ("Source", source), ("UserID", user)):
        add(header, tag, text)
    add(header, "MessageID", message_id)
    add(message, "Payload").append(ET.fromstring(bid_set))  # noqa: S314 - made above
    return to_bytes(envelope)
