"""ERCOT's BidSet: by hand, and against the public schema where it is present."""

import os
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from cloud.commands import CurveSegment
from cloud.facts import BidPrepared
from cloud.venues.ercot import (
    NAMESPACE,
    encode_bid_sets,
    encode_plan,
    purchases,
    request,
    sales,
)
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


def bid(curve=CURVE, starts_ns=STARTS, **said):
    gate = starts_ns - 14 * HOUR_NS
    return BidPrepared(
        *("0123456789abcdef", "ercot", "HB_NORTH", "DAM", starts_ns, HOUR_NS, gate, curve), **said
    )


def storing(stored_wh=700_000, soc_min_wh=140_001, soc_max_wh=1_399_999, curve=CURVE):
    said = {"stored_wh": stored_wh, "soc_min_wh": soc_min_wh, "soc_max_wh": soc_max_wh}
    return bid(curve, ramp_w_per_min=1_600_000, **said)


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


def test_a_storages_plan_says_its_charge_inward_in_tenths_of_a_mwh():
    found = tags(encode_plan(storing(), "HOMES_ESR"))
    assert (found["resource"], found["operatingMode"]) == ("HOMES_ESR", "ON")
    assert (found["hsl"], found["lsl"]) == ("0.5", "-0.4")
    charge = (found["minSOC"], found["targetBeginSOC"], found["maxSOC"])
    assert charge == ("0.2", "0.7", "1.3")


@pytest.mark.parametrize(
    ("stored_wh", "planned"), [(140_001, "0.2"), (299_999, "0.2"), (1_399_999, "1.3")]
)
def test_the_planned_charge_lies_within_its_bounds_however_they_are_rounded(stored_wh, planned):
    assert tags(encode_plan(storing(stored_wh), "R"))["targetBeginSOC"] == planned


def test_a_plan_without_storage_or_without_a_whole_tenth_of_it_is_refused():
    with pytest.raises(BadBid, match="needs the bid's storage"):
        encode_plan(bid(), "R")
    with pytest.raises(BadBid, match=r"between 0\.140001 and 0\.199999 MWh"):
        encode_plan(storing(150_000, 140_001, 199_999), "R")


def schema():
    folder = os.environ.get(SCHEMA)
    if not folder:
        pytest.skip(f"no ERCOT schema; name its folder in {SCHEMA}")
    return pytest.importorskip("xmlschema").XMLSchema(str(Path(folder) / "ErcotTransactions.xsd"))


def test_the_plan_follows_the_public_schema():
    body = encode_plan(storing(), "HOMES_ESR").decode()
    rules = schema()
    rules.validate(body)
    assert rules.is_valid(body.replace("<minSOC>0.2</minSOC>", ""))
    assert not rules.is_valid(body.replace("minSOC", "leastSOC"))


@pytest.mark.parametrize("curve", [CURVE, CURVE[2:], CURVE[:3]])
def test_the_sets_follow_the_public_schema(curve):
    rules = schema()
    for body in encode_bid_sets(bid(curve), "HB_NORTH"):
        rules.validate(body.decode())
        assert not rules.is_valid(body.decode().replace("<sp>", "<st>").replace("</sp>", "</st>"))
