"""What the venues' rules say to a bid's batteries: on the wire, in its own hour and between hours."""

import dataclasses

import pytest

from cloud.commands import CurveSegment
from cloud.feeds.intervals import HOUR_NS
from cloud.venues.caiso import CAISO
from cloud.venues.paper import PARTICIPANT, RULES, PaperExchange, Rejected, check_offer
from cloud.venues.pjm import PJM
from cloud.venues.venue import BadBid, storage_of
from cloud.vpp.storage import MINDED
from tests.venues.bidding import NOON, SILENT, STORED, USD, bid

CODECS = {"caiso": CAISO, "pjm": PJM}
BY_NAME = {rules.codec.venue: rules for rules in RULES}
VENUES = sorted(CODECS)


def curve(low_w, high_w):
    points = ((low_w, -150 * USD), (0, 30 * USD), (high_w, 55 * USD))
    return tuple(CurveSegment(*point) for point in points)


def found(venue, **changes):
    """The code and the words that a bid is rejected with; nothing where it is taken."""
    sent = bid(venue, **changes)
    offer = CODECS[venue].decode_bid(CODECS[venue].encode_bid(sent, PARTICIPANT))
    try:
        check_offer(BY_NAME[venue], offer, sent.gate_ns)
    except Rejected as error:
        return error.code, error.text
    return "", ""


def answered(exchange, sent):
    codec = CODECS[sent.venue]
    answer = exchange.submit(sent.venue, codec.encode_bid(sent, PARTICIPANT), sent.gate_ns)
    return codec.decode_reply(sent.bid_id, answer)


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("said", [STORED, SILENT])
def test_what_a_bid_says_of_its_batteries_survives_the_wire(venue, said):
    sent = bid(venue, **said)
    offer = CODECS[venue].decode_bid(CODECS[venue].encode_bid(sent, PARTICIPANT))
    assert offer.storage == storage_of(sent)
    assert (offer.storage is None) == (said is SILENT)


@pytest.mark.parametrize(
    ("venue", "name"),
    [
        ("caiso", "initialStateOfCharge"),
        ("caiso", "maxEOHStateOfCharge"),
        ("pjm", "StateOfCharge"),
        ("pjm", "ChargeRampRate"),
    ],
)
def test_a_bid_that_says_half_of_it_is_no_bid(venue, name):
    body = CODECS[venue].encode_bid(bid(venue), PARTICIPANT)
    assert body.count(f"<{name}>".encode()) == 1
    halved = body.replace(f"<{name}>".encode(), b"<x>").replace(f"</{name}>".encode(), b"</x>")
    with pytest.raises(BadBid, match=f"element {name}"):
        CODECS[venue].decode_bid(halved)


def test_the_slower_of_two_ramp_rates_is_the_batterys():
    body = PJM.encode_bid(bid("pjm"), PARTICIPANT)
    slower = body.replace(b"<ChargeRampRate>0.05<", b"<ChargeRampRate>0.04<")
    assert slower != body
    assert PJM.decode_bid(slower).storage == dataclasses.replace(
        storage_of(bid("pjm")), ramp_w_per_min=40_000
    )


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ({"stored_wh": 124_000, "soc_max_wh": 224_000}, True),
        ({"stored_wh": 123_999}, False),
        ({"soc_max_wh": 299_999}, False),
    ],
)
def test_where_the_seller_minds_the_charge_a_curve_can_be_held_for_its_hour(venue, said, holds):
    code, text = found(venue, **said)
    if venue == "caiso" or holds:
        assert code == ""
        return
    assert code == "SOC"
    assert ("0.104 MWh are offered" in text) == ("stored_wh" in said)
    assert ("0.10 MWh are bid for" in text) == ("stored_wh" not in said)


def test_the_desk_and_the_venues_agree_on_who_minds_the_charge():
    assert {rules.codec.venue for rules in RULES if rules.minds_storage} == MINDED


@pytest.mark.parametrize(("venue", "minutes"), [("caiso", 15), ("pjm", 60)])
def test_the_ramp_follows_the_whole_curve_within_one_interval(venue, minutes):
    asked = {"curve": curve(-150_000, 150_000), "ramp_w_per_min": 300_000 // minutes}
    assert found(venue, **asked)[0] == ""
    code, text = found(venue, **asked | {"ramp_w_per_min": asked["ramp_w_per_min"] - 1})
    assert code == "RAMP"
    assert "a turn of 0.30 MW" in text
    assert text.endswith(f"in {minutes} min")


@pytest.mark.parametrize("step", [-HOUR_NS, HOUR_NS])
def test_the_ramp_follows_from_hour_to_hour_too(step):
    exchange = PaperExchange()
    beside = bid(bid_id="beside", starts_ns=NOON + step, curve=curve(-100_000, 100_000))
    assert answered(exchange, beside).accepted
    steady = bid(ramp_w_per_min=20_000, curve=curve(-150_000, 150_000))
    assert answered(exchange, steady).accepted
    steep = bid(bid_id="steep", ramp_w_per_min=20_000, curve=curve(-50_000, 200_001))
    assert answered(exchange, steep).reason.startswith("RAMP: the curves of this hour and those")
    assert answered(PaperExchange(), steep).accepted, "by itself it can be followed"


def test_another_node_or_market_is_not_beside():
    exchange, at_ns = PaperExchange(), bid().gate_ns - 48 * HOUR_NS
    for changes in ({"node": "N"}, {"market": "DAM"}):
        wide = {"curve": curve(-100_000, 500_000), "bid_id": f"{changes}"} | changes
        body = CAISO.encode_bid(bid(starts_ns=NOON + HOUR_NS, **wide), PARTICIPANT)
        assert CAISO.decode_reply(f"{changes}", exchange.submit("caiso", body, at_ns)).accepted
    assert answered(exchange, bid(ramp_w_per_min=20_000, curve=curve(-150_000, 150_000))).accepted
