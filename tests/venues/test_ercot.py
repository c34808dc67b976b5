"""ERCOT's BidSet: by hand, and against the public schema where it is present."""

import os
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from cloud.commands import CurveSegment
from cloud.facts import BidPrepared
from cloud.venues.ercot import NAMESPACE, encode_bid_sets, purchases, request, sales
from cloud.venues.venue import BadBid

USD = 1_000_000
HOUR_NS = 3_600_000_000_000
STARTS = 1_784_073_600 * 10**9
SCHEMA = "GRIDTOKENX_ERCOT_XSD"
"""The folder of ERCOT's public schema files; they have no licence, so they are not shipped."""

CURVE = (
    CurveSegment(-450_000, -150 * USD),
    CurveSegment(-250_000, 5 * USD),
    CurveSegment(0, 18_255_000),
    CurveSegment(150_000, 60_005_000),
    CurveSegment(190_000, 70 * USD),
    CurveSegment(500_000, 95 * USD),
)


def bid(curve=CURVE, starts_ns=STARTS):
    gate = starts_ns - 14 * HOUR_NS
    return BidPrepared(
        "0123456789abcdef", "ercot", "HB_NORTH", "DAM", starts_ns, HOUR_NS, gate, curve
    )


def tags(body):
    root = ET.fromstring(body)
    return {element.tag.rpartition("}")[2]: element.text for element in root.iter()}


def points(body):
    root = ET.fromstring(body)
    return [tuple(child.text for child in data) for data in root.iter(f"{{{NAMESPACE}}}CurveData")]


def test_sales_and_purchases_are_two_sets_in_whole_100_kw():
    assert sales(CURVE) == [(100_000, 60_005_000), (500_000, 95 * USD)]
    assert purchases(CURVE) == [(200_000, 18_255_000), (400_000, 5 * USD)]
    offer, purchase = encode_bid_sets(bid(), "HB_NORTH")
    assert points(offer) == [("0.1", "60.01"), ("0.5", "95.00")]
    assert points(purchase) == [("0.2", "18.25"), ("0.4", "5.00")]
    found = tags(offer)
    assert found["startTime"] == "2026-07-14T19:00:00-05:00"
    assert (found["tradingDate"], found["bidID"]) == ("2026-07-14", "0123456789ab")
    assert "EnergyOnlyOffer" in found
    assert "EnergyBid" in tags(purchase)


def test_what_only_sells_is_one_set_and_what_is_too_small_is_none():
    assert len(encode_bid_sets(bid(CURVE[2:]), "HB_NORTH")) == 1
    small = (CurveSegment(0, -150 * USD), CurveSegment(99_999, 5 * USD))
    assert encode_bid_sets(bid(small), "HB_NORTH") == []


def test_more_than_ten_points_are_refused():
    steep = tuple(CurveSegment(100_000 * n, n * USD) for n in range(1, 12))
    with pytest.raises(BadBid, match="at most 10"):
        encode_bid_sets(bid((CurveSegment(0, -150 * USD), *steep)), "HB_NORTH")


def test_the_same_bid_is_the_same_message_and_its_id_guards_against_replay():
    (body,) = encode_bid_sets(bid(CURVE[2:]), "HB_NORTH")
    first, again = (request(body, STARTS, "QSE", "USER", "id-1") for _ in range(2))
    assert first == again
    found = tags(first)
    assert (found["Verb"], found["Noun"], found["Nonce"]) == ("create", "BidSet", "id-1")
    assert found["Created"].endswith("-05:00")


@pytest.mark.parametrize("curve", [CURVE, CURVE[2:], CURVE[:3]])
def test_the_sets_follow_the_public_schema(curve):
    folder = os.environ.get(SCHEMA)
    if not folder:
        pytest.skip(f"no ERCOT schema; name its folder in {SCHEMA}")
    xmlschema = pytest.importorskip("xmlschema")
    schema = xmlschema.XMLSchema(str(Path(folder) / "ErcotTransactions.xsd"))
    for body in encode_bid_sets(bid(curve), "HB_NORTH"):
        schema.validate(body.decode())
        with pytest.raises(xmlschema.XMLSchemaValidationError):
            schema.validate(body.decode().replace("<sp>", "<st>").replace("</sp>", "</st>"))
