"""CAISO's real-time energy bid as XML in the shape of SIBR's RawBidSet, and its answers.

Unverified: CAISO's schemas are not public. Element names follow what is public: the RawBidSet of
the same vendor's other markets and CAISO's published clean bids (negative MW charges). Signature,
compression and SOAP belong to a transport, not here. Pure: bytes from values and back.

Of a storage (a non-generator resource) public are: the hourly bounds of the state of charge at the
hour's end, published with the clean bids as MINEOHSTATEOFCHARGE and MAXEOHSTATEOFCHARGE; a ramp rate
curve; and that an initial state of charge belongs to a day-ahead bid. Unverified: their elements'
spelling, and that the last stands in every hour's bid here, also in real time, where CAISO itself
takes it from telemetry.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from cloud.commands import RecordAward, RecordReply
from cloud.facts import BidPrepared
from cloud.feeds.intervals import PACIFIC, to_local, to_ns
from cloud.venues.venue import BadAnswer, BadBid, Offer, Storage, VenueError, storage_of
from cloud.venues.wire import (
    NotXml,
    add,
    child_text,
    curve_from,
    curve_points,
    decimal_text,
    millionths,
    named_text,
    parse_xml,
    to_bytes,
)

NAMESPACE = "http://www.caiso.com/soa/RawBidSet_v4.xsd"
RESULTS_NAMESPACE = "http://www.caiso.com/soa/BidResults_v4.xsd"
UNKNOWN = "UNKNOWN"
PRODUCTS = {"EN": "EN", "SPIN": "SR", "REG_UP": "RU", "REG_DOWN": "RD"}
"""Our names and those that OASIS publishes clean bids under."""

SOLD = {theirs: ours for ours, theirs in PRODUCTS.items()}
THROTTLE = b"Acceptable Use Policy Violation"


def prevailing_text(instant_ns: int) -> str:
    """Pacific prevailing time with its offset, so that the autumn's two 01:00 differ."""
    return to_local(instant_ns, PACIFIC).isoformat()


def gmt_text(instant_ns: int) -> str:
    return to_local(instant_ns, PACIFIC).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S-00:00")


def instant(text: str) -> int:
    """A time with its offset as ns UTC. Raises BadBid."""
    try:
        return to_ns(datetime.fromisoformat(text))
    except ValueError as error:
        raise BadBid(f"{text!r} is not a time with an offset") from error


class CaisoCodec:
    """RawBidSet out, SubmitBidResults and CurrentBidResults back."""

    venue = "caiso"

    def encode_bid(self, bid: BidPrepared, participant: str) -> bytes:
        root = ET.Element("RawBidSet", {"xmlns": NAMESPACE})
        header = add(root, "MessageHeader")
        add(header, "Source", participant)
        add(header, "Version", "v4")
        payload = add(root, "MessagePayload")
        generating = add(payload, "GeneratingBid")
        add(generating, "name", bid.bid_id)
        add(generating, "startTime", prevailing_text(bid.starts_ns))
        add(generating, "stopTime", prevailing_text(bid.starts_ns + bid.duration_ns))
        add(generating, "marketType", bid.market)
        add(add(generating, "RegisteredGenerator"), "mrid", bid.node)
        add(add(generating, "SchedulingCoordinator"), "mrid", participant)
        product = add(generating, "ProductBid")
        add(product, "marketProductType", PRODUCTS[bid.product])
        curve = add(product, "BidPriceCurve")
        for x, y in curve_points(bid.curve):
            point = add(curve, "CurveSchedData")
            add(point, "xAxisData", x)
            add(point, "y1AxisData", y)
        storage = storage_of(bid)
        if storage is not None:
            ramp = add(add(generating, "RampRateCurve"), "CurveData")
            add(ramp, "xAxisData", decimal_text(bid.curve[-1].power_w))
            add(ramp, "y1AxisData", decimal_text(storage.ramp_w_per_min))
            add(generating, "minEOHStateOfCharge", decimal_text(storage.soc_min_wh))
            add(generating, "maxEOHStateOfCharge", decimal_text(storage.soc_max_wh))
            add(generating, "initialStateOfCharge", decimal_text(storage.stored_wh))
        return to_bytes(root)

    def decode_bid(self, body: bytes) -> Offer:
        try:
            root = parse_xml(body)
        except NotXml as error:
            raise BadBid(f"Schema validation failed: {error}") from error
        generating = root.find("MessagePayload/GeneratingBid")
        if root.tag != "RawBidSet" or generating is None:
            raise BadBid(f"Schema validation failed: {root.tag} is not a RawBidSet with one bid")
        product = child_text(generating, "ProductBid/marketProductType")
        if product not in SOLD:
            raise BadBid(f"Market product {product} is not traded")
        starts_ns = instant(child_text(generating, "startTime"))
        points = [
            (child_text(point, "xAxisData"), child_text(point, "y1AxisData"))
            for point in generating.iterfind("ProductBid/BidPriceCurve/CurveSchedData")
        ]
        return Offer(
            child_text(generating, "name"),
            child_text(generating, "SchedulingCoordinator/mrid"),
            child_text(generating, "RegisteredGenerator/mrid"),
            child_text(generating, "marketType"),
            starts_ns,
            instant(child_text(generating, "stopTime")) - starts_ns,
            curve_from(points),
            SOLD[product],
            _storage(generating),
        )

    def encode_accepted(self, bid_id: str, reference: str) -> bytes:
        result = _result(bid_id, "ACCEPTED")
        add(result[1], "bidSetId", reference)
        return to_bytes(result[0])

    def encode_rejected(self, bid_id: str, code: str, text: str) -> bytes:
        result = _result(bid_id, "REJECTED")
        add(result[1], "errorCode", code)
        add(result[1], "errorDescription", text)
        return to_bytes(result[0])

    def encode_fault(self, text: str) -> bytes:
        root = ET.Element("Fault")
        add(root, "faultstring", text)
        return to_bytes(root)

    def decode_reply(self, bid_id: str, body: bytes) -> RecordReply:
        root = self._answer(body)
        result = root.find("MessagePayload/BidResult")
        if result is None or result.findtext("name") != bid_id:
            raise BadAnswer(self.venue, f"the answer does not name bid {bid_id}")
        if result.findtext("status") == "ACCEPTED":
            return RecordReply(
                bid_id,
                accepted=True,
                venue_reference=result.findtext("bidSetId") or "",
                reason="",
            )
        code, text = result.findtext("errorCode"), result.findtext("errorDescription")
        return RecordReply(bid_id, accepted=False, venue_reference="", reason=f"{code}: {text}")

    def encode_query(self, bid_id: str) -> bytes:
        root = ET.Element("RequestCleanBidSet", {"xmlns": NAMESPACE})
        add(root, "name", bid_id)
        return to_bytes(root)

    def decode_query(self, body: bytes) -> str | None:
        return named_text(body, "name") if b"<RequestCleanBidSet" in body else None

    def encode_cancel(self, bid_id: str) -> bytes:
        root = ET.Element("CancelBidSet", {"xmlns": NAMESPACE})
        add(root, "name", bid_id)
        return to_bytes(root)

    def decode_cancel(self, body: bytes) -> str | None:
        return named_text(body, "name") if b"<CancelBidSet" in body else None

    def encode_unknown(self, bid_id: str) -> bytes:
        result = _result(bid_id, UNKNOWN)
        return to_bytes(result[0])

    def is_unknown(self, body: bytes) -> bool:
        return named_text(body, "status") == UNKNOWN

    def encode_awards(self, awards: Sequence[RecordAward]) -> bytes:
        root = ET.Element("CurrentBidResults", {"xmlns": RESULTS_NAMESPACE})
        payload = add(root, "MessagePayload")
        for award in awards:
            entry = add(payload, "BidAward")
            add(entry, "name", award.bid_id)
            add(entry, "startTime", gmt_text(award.starts_ns))
            add(entry, "stopTime", gmt_text(award.starts_ns + award.duration_ns))
            add(entry, "clearedMw", decimal_text(award.power_w))
            add(entry, "clearedPrice", decimal_text(award.price_micro_per_mwh))
        return to_bytes(root)

    def decode_awards(self, body: bytes) -> list[RecordAward]:
        root = self._answer(body)
        if root.tag != "CurrentBidResults":
            raise BadAnswer(self.venue, f"{root.tag} is not CurrentBidResults")
        try:
            return [_award(entry) for entry in root.iterfind("MessagePayload/BidAward")]
        except BadBid as error:
            raise BadAnswer(self.venue, error.text) from error

    def _answer(self, body: bytes) -> ET.Element:
        """The answer's root. Raises VenueError for a fault, a throttle or anything else."""
        if THROTTLE in body:
            raise VenueError(self.venue, "throttled; retry after 5 seconds")
        try:
            root = parse_xml(body)
        except NotXml as error:
            raise BadAnswer(self.venue, str(error)) from error
        if root.tag == "Fault":
            raise VenueError(self.venue, root.findtext("faultstring") or "a fault without a text")
        return root


def _storage(generating: ET.Element) -> Storage | None:
    """Ramp and state of charge, where the bid says them; all four or none. Raises BadBid."""
    paths = (
        "RampRateCurve/CurveData/y1AxisData",
        "minEOHStateOfCharge",
        "maxEOHStateOfCharge",
        "initialStateOfCharge",
    )
    if not any(generating.find(path) is not None for path in paths):
        return None
    return Storage(*(millionths(child_text(generating, path)) for path in paths))


def _result(bid_id: str, status: str) -> tuple[ET.Element, ET.Element]:
    root = ET.Element("SubmitBidResults", {"xmlns": RESULTS_NAMESPACE})
    result = add(add(root, "MessagePayload"), "BidResult")
    add(result, "name", bid_id)
    add(result, "status", status)
    return root, result


def _award(entry: ET.Element) -> RecordAward:
    starts_ns = instant(child_text(entry, "startTime"))
    return RecordAward(
        child_text(entry, "name"),
        starts_ns,
        instant(child_text(entry, "stopTime")) - starts_ns,
        millionths(child_text(entry, "clearedMw")),
        millionths(child_text(entry, "clearedPrice")),
    )


CAISO = CaisoCodec()
