"""What a bid says in each venue's XML is what the venue reads, to the last micro and watt."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.commands import CurveSegment, RecordAward, RecordReply
from cloud.venues.caiso import CAISO
from cloud.venues.pjm import PJM
from cloud.venues.venue import BadAnswer, BadBid, SessionExpired, VenueError
from cloud.venues.wire import FLOOR_MICRO, MESSAGE_BYTES_MAX, decimal_text, millionths
from tests.venues.bidding import HOUR_NS, NOON, bid, utc_ns

BOTH = pytest.mark.parametrize("codec", [CAISO, PJM], ids=lambda codec: codec.venue)


@BOTH
def test_a_bid_survives_the_wire(codec):
    sent = bid(codec.venue)
    offer = codec.decode_bid(codec.encode_bid(sent, "GRIDTOKENX"))
    assert offer.participant == "GRIDTOKENX"
    assert (offer.bid_id, offer.node, offer.market) == (sent.bid_id, sent.node, sent.market)
    assert (offer.starts_ns, offer.duration_ns) == (sent.starts_ns, sent.duration_ns)
    assert offer.curve == sent.curve


@BOTH
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_every_rising_curve_survives_the_wire(codec, data):
    size = data.draw(st.integers(2, 10))
    powers = sorted(
        data.draw(st.sets(st.integers(-500_000, 500_000), min_size=size, max_size=size))
    )
    prices = sorted(
        data.draw(
            st.sets(st.integers(-149_999_999, 2 * 10**9), min_size=size - 1, max_size=size - 1)
        )
    )
    curve = tuple(
        CurveSegment(power, price)
        for power, price in zip(powers, [FLOOR_MICRO, *prices], strict=True)
    )
    sent = bid(codec.venue, curve=curve)
    assert codec.decode_bid(codec.encode_bid(sent, "X")).curve == curve


@BOTH
def test_the_two_hours_of_the_autumn_night_are_told_apart(codec):
    first = utc_ns(2026, 11, 1, 8) if codec.venue == "caiso" else utc_ns(2026, 11, 1, 5)
    bodies = {
        codec.encode_bid(bid(codec.venue, starts_ns=first + n * HOUR_NS), "X") for n in (0, 1)
    }
    assert len(bodies) == 2
    read = {codec.decode_bid(body).starts_ns for body in bodies}
    assert read == {first, first + HOUR_NS}


def test_caiso_says_prevailing_time_with_its_offset():
    body = CAISO.encode_bid(bid(), "X")
    assert b"<startTime>2026-07-15T13:00:00-07:00</startTime>" in body
    assert b"<xAxisData>-0.10</xAxisData><y1AxisData>30.25</y1AxisData>" in body


def test_pjm_says_the_ending_hour_and_whether_it_is_the_duplicate():
    assert b'hour="17" isDuplicateHour="false"' in PJM.encode_bid(bid("pjm"), "X")
    second = bid("pjm", starts_ns=utc_ns(2026, 11, 1, 6))
    assert b'hour="2" isDuplicateHour="true"' in PJM.encode_bid(second, "X")


def test_pjm_offers_only_whole_hours():
    with pytest.raises(BadBid):
        PJM.encode_bid(bid("pjm", duration_ns=HOUR_NS // 2), "X")


@BOTH
def test_a_curve_that_does_not_start_at_the_floor_is_not_encoded(codec):
    with pytest.raises(BadBid):
        codec.encode_bid(bid(codec.venue, curve=(CurveSegment(0, 0), CurveSegment(1, 1))), "X")


@BOTH
def test_an_acceptance_and_a_rejection_come_back_as_replies(codec):
    accepted = codec.decode_reply("b", codec.encode_accepted("b", "REF1"))
    assert accepted == RecordReply("b", True, "REF1", "")
    rejected = codec.decode_reply("b", codec.encode_rejected("b", "GATE_CLOSED", "too late"))
    assert rejected == RecordReply("b", False, "", "GATE_CLOSED: too late")


@BOTH
def test_an_answer_to_another_bid_is_no_answer(codec):
    with pytest.raises(BadAnswer):
        codec.decode_reply("mine", codec.encode_accepted("other", "REF"))


@BOTH
def test_a_fault_leaves_the_outcome_unknown(codec):
    with pytest.raises(VenueError, match="Signature validation status: false"):
        codec.decode_reply("b", codec.encode_fault("Signature validation status: false"))


def test_pjms_login_page_is_an_expired_session():
    page = b"<!DOCTYPE html><html><body>Sign in to PJM</body></html>"
    with pytest.raises(SessionExpired):
        PJM.decode_reply("b", page)
    with pytest.raises(SessionExpired):
        PJM.decode_awards(page)


def test_caisos_throttle_page_is_no_answer():
    page = b"<html><body><p>CAISO Acceptable Use Policy Violation. Please retry</p></body></html>"
    with pytest.raises(VenueError, match="throttled"):
        CAISO.decode_awards(page)


@BOTH
def test_awards_come_back_exactly(codec):
    awards = [
        RecordAward("a", NOON, HOUR_NS, 104_001, 55_123_456),
        RecordAward("b", NOON + HOUR_NS // 4, HOUR_NS // 4, -99_999, -1_234_567),
    ]
    assert codec.decode_awards(codec.encode_awards(awards)) == awards
    assert codec.decode_awards(codec.encode_awards([])) == []


@BOTH
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<a>",
        b"<RawBidSet/>",
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="UTF-99"?><a/>',
        b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        b"<a>" + b" " * MESSAGE_BYTES_MAX + b"</a>",
    ],
    ids=["empty", "text", "open", "bare", "bytes", "encoding", "entity", "huge"],
)
def test_what_is_no_bid_is_a_bad_bid_and_no_answer_a_bad_answer(codec, body):
    with pytest.raises(BadBid):
        codec.decode_bid(body)
    with pytest.raises(VenueError):
        codec.decode_reply("b", body)
    with pytest.raises(VenueError):
        codec.decode_awards(body)


@BOTH
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"30.25", b"thirty"),
        (b"30.25", b"1e400"),
        (b"30.25", b"NaN"),
        (b"30.25", b"1e999999"),
        (b"30.25", b"30.2500001"),
        (b"0.104", b""),
        (b"bid-of-", b""),
    ],
)
def test_a_damaged_bid_is_refused_or_read_as_it_stands(codec, old, new):
    body = codec.encode_bid(bid(codec.venue), "X").replace(old, new)
    if old == b"bid-of-":
        assert codec.decode_bid(body).bid_id == codec.venue
        return
    with pytest.raises(BadBid):
        codec.decode_bid(body)


def test_pjm_refuses_an_hour_that_does_not_exist():
    body = PJM.encode_bid(bid("pjm", starts_ns=utc_ns(2026, 3, 8, 5)), "X")
    with pytest.raises(BadBid, match="no such hour"):
        PJM.decode_bid(body.replace(b'hour="1"', b'hour="3"'))


@given(st.integers(-(10**12), 10**12))
def test_a_decimal_text_is_the_same_integer_again(value):
    assert millionths(decimal_text(value)) == value
    assert len(decimal_text(value).partition(".")[2]) >= 2
