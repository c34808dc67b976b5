"""ERCOT's day-ahead energy as a BidSet: an EnergyOnlyOffer to sell, an EnergyBid to buy.

These are the messages of ERCOT's public schema (EWS, namespace 2007-06/nodal/ews), against which
they are checked where the schema is present. ERCOT takes sales and purchases apart and one kind a
set, so a curve that does both is two messages. MW travel with one decimal, so sizes are whole
100 kW, rounded towards zero; prices with two. A sale's points rise in price, a purchase's fall, ten
at most. The request's header stands here; signature and certificate are the transport's. Pure.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from xml.etree import ElementTree as ET

from cloud.commands import CurveSegment
from cloud.facts import BidPrepared
from cloud.feeds.intervals import CENTRAL, to_local
from cloud.venues.venue import BadBid
from cloud.venues.wire import add, decimal_text, to_bytes

NAMESPACE = "http://www.ercot.com/schema/2007-06/nodal/ews"
MESSAGE_NAMESPACE = f"{NAMESPACE}/message"
POINTS_MAX = 10
STEP_W = 100_000
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
        add(data, "xvalue", f"{power_w // STEP_W // 10}.{power_w // STEP_W % 10}")
        rounded = price // CENT_MICRO * CENT_MICRO if kind == "EnergyBid" else price
        add(data, "y1value", decimal_text(-(-rounded // CENT_MICRO) * CENT_MICRO))
    return root


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
