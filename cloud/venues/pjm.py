"""PJM's real-time hourly offer as XML in the shape of a Markets Gateway SubmitRequest.

Unverified: PJM's schemas are not public. Namespace, SubmitRequest, `hour` and `isDuplicateHour`
are as publicly described; the offer's inner names follow the demand bid's, and a storage's the
tariff's terms for the energy storage resource model (charge and discharge ramp rate, minimum and
maximum state of charge), whose spelling as elements is a guess. A home fleet enters
PJM as demand response until its DER aggregation rules take effect (2028-02-02), which changes the
registration and not this shape's arithmetic. Pure: bytes from values and back.
"""

from collections.abc import Sequence
from datetime import date
from xml.etree import ElementTree as ET

from cloud.commands import RecordAward, RecordReply
from cloud.facts import BidPrepared
from cloud.feeds.intervals import EASTERN, HOUR_NS, NoSuchTime, hour_ending, hour_interval
from cloud.venues.venue import (
    BadAnswer,
    BadBid,
    Offer,
    SessionExpired,
    Storage,
    VenueError,
    storage_of,
)
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
from protos.clock import MINUTE_NS

NAMESPACE = "http://emkt.pjm.com/emkt/xml"
OFFERS = {"EN": "ScheduleOffer", "SPIN": "SynchronizedReserveOffer", "REG": "RegulationOffer"}
SOLD = {theirs: ours for ours, theirs in OFFERS.items()}
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"


class PjmCodec:
    """SubmitRequest out, SubmitResponse and QueryResponse back, all in a SOAP body."""

    venue = "pjm"

    def encode_bid(self, bid: BidPrepared, participant: str) -> bytes:
        if bid.starts_ns % HOUR_NS or bid.duration_ns != HOUR_NS:
            raise BadBid("an offer is for one whole hour")
        envelope, request = _envelope("SubmitRequest")
        day, hour, repeated = hour_ending(bid.starts_ns, EASTERN)
        kind = OFFERS[bid.product]
        offer = add(request, kind, location=bid.node, day=day.isoformat())
        add(offer, "PortfolioName", participant)
        add(offer, "Market", bid.market)
        add(offer, "TransactionID", bid.bid_id)
        hourly = add(offer, f"{kind}Hourly", hour=str(hour), isDuplicateHour=str(repeated).lower())
        for x, y in curve_points(bid.curve):
            point = add(hourly, "OfferPoint")
            add(point, "MW", x)
            add(point, "Price", y)
        storage = storage_of(bid)
        if storage is not None:
            add(hourly, "ChargeRampRate", decimal_text(storage.ramp_w_per_min))
            add(hourly, "DischargeRampRate", decimal_text(storage.ramp_w_per_min))
            add(hourly, "MinStateOfCharge", decimal_text(storage.soc_min_wh))
            add(hourly, "MaxStateOfCharge", decimal_text(storage.soc_max_wh))
            add(hourly, "StateOfCharge", decimal_text(storage.stored_wh))
        return to_bytes(envelope)

    def decode_bid(self, body: bytes) -> Offer:
        try:
            root = parse_xml(body)
        except NotXml as error:
            raise BadBid(f"cvc-well-formed: {error}") from error
        request = root.find("Body/SubmitRequest")
        offer = None if request is None else next(iter(request), None)
        hourly = None if offer is None else offer.find(f"{offer.tag}Hourly")
        if offer is None or hourly is None or offer.tag not in SOLD:
            raise BadBid("cvc-complex-type.2.4.a: expected SubmitRequest/ScheduleOffer")
        points = [
            (child_text(point, "MW"), child_text(point, "Price"))
            for point in hourly.iterfind("OfferPoint")
        ]
        return Offer(
            child_text(offer, "TransactionID"),
            child_text(offer, "PortfolioName"),
            offer.get("location", ""),
            child_text(offer, "Market"),
            _hour_start(offer.get("day", ""), hourly),
            HOUR_NS,
            curve_from(points),
            SOLD[offer.tag],
            _storage(hourly),
        )

    def encode_accepted(self, bid_id: str, reference: str) -> bytes:
        envelope, response = _envelope("SubmitResponse")
        success = add(response, "Success")
        add(success, "TransactionID", bid_id)
        add(success, "Reference", reference)
        return to_bytes(envelope)

    def encode_rejected(self, bid_id: str, code: str, text: str) -> bytes:
        envelope, response = _envelope("SubmitResponse")
        error = add(response, "Error")
        add(error, "TransactionID", bid_id)
        add(error, "Code", code)
        add(error, "Text", text)
        return to_bytes(envelope)

    def encode_fault(self, text: str) -> bytes:
        envelope = ET.Element("soap:Envelope", {"xmlns:soap": SOAP})
        fault = add(add(envelope, "soap:Body"), "soap:Fault")
        add(fault, "faultstring", text)
        return to_bytes(envelope)

    def decode_reply(self, bid_id: str, body: bytes) -> RecordReply:
        response = self._answer(body, "SubmitResponse")
        for outcome in response:
            if outcome.findtext("TransactionID") != bid_id:
                continue
            if outcome.tag == "Success":
                return RecordReply(
                    bid_id,
                    accepted=True,
                    venue_reference=outcome.findtext("Reference") or "",
                    reason="",
                )
            reason = f"{outcome.findtext('Code')}: {outcome.findtext('Text')}"
            return RecordReply(bid_id, accepted=False, venue_reference="", reason=reason)
        raise BadAnswer(self.venue, f"the answer does not name bid {bid_id}")

    def encode_query(self, bid_id: str) -> bytes:
        envelope, request = _envelope("QueryRequest")
        add(add(request, "QueryScheduleOffer"), "TransactionID", bid_id)
        return to_bytes(envelope)

    def decode_query(self, body: bytes) -> str | None:
        return named_text(body, "TransactionID") if b"<QueryScheduleOffer" in body else None

    def encode_cancel(self, bid_id: str) -> bytes:
        envelope, request = _envelope("DeleteRequest")
        add(add(request, "ScheduleOffer"), "TransactionID", bid_id)
        return to_bytes(envelope)

    def decode_cancel(self, body: bytes) -> str | None:
        return named_text(body, "TransactionID") if b"<DeleteRequest" in body else None

    def encode_unknown(self, bid_id: str) -> bytes:
        envelope, response = _envelope("SubmitResponse")
        add(response, "NotFound", bid_id)
        return to_bytes(envelope)

    def is_unknown(self, body: bytes) -> bool:
        return named_text(body, "NotFound") is not None

    def encode_awards(self, awards: Sequence[RecordAward]) -> bytes:
        envelope, response = _envelope("QueryResponse")
        results = add(response, "MarketResults")
        for award in awards:
            day, hour, repeated = hour_ending(award.starts_ns, EASTERN)
            hour_start = hour_interval(day, hour, EASTERN, repeated=repeated).start_ns
            add(
                results,
                "MarketResult",
                day=day.isoformat(),
                hour=str(hour),
                isDuplicateHour=str(repeated).lower(),
                minute=str((award.starts_ns - hour_start) // MINUTE_NS),
                minutes=str(award.duration_ns // MINUTE_NS),
                TransactionID=award.bid_id,
                ClearedMW=decimal_text(award.power_w),
                ClearedPrice=decimal_text(award.price_micro_per_mwh),
            )
        return to_bytes(envelope)

    def decode_awards(self, body: bytes) -> list[RecordAward]:
        response = self._answer(body, "QueryResponse")
        try:
            return [_award(result) for result in response.iterfind("MarketResults/MarketResult")]
        except (BadBid, ValueError) as error:
            raise BadAnswer(self.venue, str(error)) from error

    def _answer(self, body: bytes, expected: str) -> ET.Element:
        """The element inside the SOAP body. Raises VenueError for a login page or a fault."""
        start = body[:512].lstrip().lower()
        if start.startswith((b"<!doctype html", b"<html")):
            raise SessionExpired(self.venue, "a login page came instead of an answer; log in again")
        try:
            root = parse_xml(body)
        except NotXml as error:
            raise BadAnswer(self.venue, str(error)) from error
        fault = root.findtext("Body/Fault/faultstring")
        if fault is not None:
            raise VenueError(self.venue, fault)
        answer = root.find(f"Body/{expected}")
        if answer is None:
            raise BadAnswer(self.venue, f"expected {expected}")
        return answer


def _envelope(request: str) -> tuple[ET.Element, ET.Element]:
    envelope = ET.Element("soap:Envelope", {"xmlns:soap": SOAP})
    return envelope, add(add(envelope, "soap:Body"), request, xmlns=NAMESPACE)


def _hour_start(day: str, hourly: ET.Element) -> int:
    """The start of the hour that the attributes name in Eastern prevailing time."""
    duplicate = hourly.get("isDuplicateHour", "false")
    try:
        hour, trade_date = int(hourly.get("hour", "")), date.fromisoformat(day)
        return hour_interval(trade_date, hour, EASTERN, repeated=duplicate == "true").start_ns
    except (ValueError, NoSuchTime) as error:
        raise BadBid(f"cvc-datatype-valid.1.2.1: no such hour: {error}") from error


def _storage(hourly: ET.Element) -> Storage | None:
    """Ramp and state of charge, where the offer says them; all five or none. Raises BadBid."""
    paths = (
        "ChargeRampRate",
        "DischargeRampRate",
        "MinStateOfCharge",
        "MaxStateOfCharge",
        "StateOfCharge",
    )
    if not any(hourly.find(path) is not None for path in paths):
        return None
    up, down, *energies = (millionths(child_text(hourly, path)) for path in paths)
    return Storage(min(up, down), *energies)


def _award(result: ET.Element) -> RecordAward:
    hour_start = _hour_start(result.get("day", ""), result)
    return RecordAward(
        result.get("TransactionID", ""),
        hour_start + int(result.get("minute", "")) * MINUTE_NS,
        int(result.get("minutes", "")) * MINUTE_NS,
        millionths(result.get("ClearedMW", "")),
        millionths(result.get("ClearedPrice", "")),
    )


PJM = PjmCodec()
