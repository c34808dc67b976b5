"""The paper exchange keeps the venues' rules, answers in their words, and is exact and repeatable."""

import msgspec
import pytest

from cloud.commands import CurveSegment
from cloud.venues.paper import PARTICIPANT, PaperExchange, Rejected, cleared_w, deadline_ns
from cloud.venues.paper import RULES as PAPER_RULES
from cloud.venues.venue import VenueError
from cloud.vpp.bids import OFFERED
from cloud.vpp.curve import power_at
from protos.clock import MINUTE_NS, SECOND_NS
from tests.venues.bidding import CURVE, HOUR_NS, NOON, USD, bid, price, utc_ns

BOTH = pytest.mark.parametrize("venue", ["caiso", "pjm"])


def submit(exchange, sent, at_ns=None):
    codec = exchange.venues[sent.venue]
    at_ns = sent.gate_ns if at_ns is None else at_ns
    answer = exchange.submit(sent.venue, codec.encode_bid(sent, PARTICIPANT), at_ns)
    return codec.decode_reply(sent.bid_id, answer)


def awards(exchange, venue="caiso", at_ns=NOON + 2 * HOUR_NS):
    return exchange.venues[venue].decode_awards(exchange.results(venue, at_ns))


@BOTH
def test_a_bid_is_taken_up_to_the_gate_and_not_a_nanosecond_later(venue):
    exchange = PaperExchange()
    late = submit(exchange, bid(venue), bid(venue).gate_ns + 1)
    assert (late.accepted, late.reason.split(":")[0]) == (False, "GATE_CLOSED")
    taken = submit(exchange, bid(venue))
    assert taken.accepted
    assert taken.venue_reference


def test_the_desk_and_the_exchange_agree_on_venues_markets_and_gates():
    plan = {(p.venue, p.market, p.ahead, p.gate_lead_ns) for p in OFFERED}
    rules = {(r.codec.venue, r.market, r.ahead, r.gate_lead_ns) for r in PAPER_RULES}
    assert plan == rules


@pytest.mark.parametrize(
    ("venue", "market", "gate"),
    [
        ("caiso", "DAM", utc_ns(2026, 7, 14, 17)),
        ("pjm", "DA", utc_ns(2026, 7, 14, 15)),
    ],
)
def test_the_day_ahead_gate_is_a_wall_clock_hour_of_the_day_before(venue, market, gate):
    exchange = PaperExchange()
    sent = bid(venue, market=market)
    assert submit(exchange, sent, gate).accepted
    assert not submit(PaperExchange(), sent, gate + 1).accepted


def test_the_day_ahead_gate_moves_with_daylight_saving_time():
    rules = PAPER_RULES[0]
    codec = rules.codec

    def gate(starts_ns):
        body = codec.encode_bid(bid(market="DAM", starts_ns=starts_ns), PARTICIPANT)
        return deadline_ns(rules, codec.decode_bid(body))

    assert gate(utc_ns(2026, 3, 8, 20)) == utc_ns(2026, 3, 7, 18)
    assert gate(utc_ns(2026, 3, 9, 20)) == utc_ns(2026, 3, 8, 17)


def test_a_market_that_is_not_traded_is_rejected():
    assert submit(PaperExchange(), bid(market="FTR")).reason.startswith("MARKET")
    with pytest.raises(Rejected):
        deadline_ns(PAPER_RULES[0], msgspec.structs.replace(bid(), market="FTR"))


def stairs(count, step_usd=5):
    first = CurveSegment(-100_000, -150 * USD)
    return (
        first,
        *(CurveSegment(n * 10_000, n * step_usd * USD) for n in range(count - 1)),
    )


@BOTH
@pytest.mark.parametrize(
    ("curve", "code"),
    [
        ((*CURVE, CurveSegment(105_000, 2_001 * USD)), "PRICE_CAP"),
        ((*CURVE, CurveSegment(105_000, 54 * USD)), "MONOTONE"),
        ((*CURVE, CurveSegment(104_000, 56 * USD)), "MONOTONE"),
        (stairs(12), "SEGMENTS"),
        ((CurveSegment(-99_999, -150 * USD), CurveSegment(99_999, 0)), "MINIMUM_SIZE"),
        ((CurveSegment(-200_000, -150 * USD), CurveSegment(0, -151 * USD)), "PRICE_FLOOR"),
    ],
)
def test_each_rule_rejects_in_band_with_its_own_code(venue, curve, code):
    reply = submit(PaperExchange(), bid(venue, curve=curve))
    assert not reply.accepted
    assert reply.reason.startswith(code)


@BOTH
def test_ten_segments_and_the_cap_itself_are_allowed(venue):
    assert submit(PaperExchange(), bid(venue, curve=stairs(11))).accepted
    capped = (*CURVE, CurveSegment(105_000, 2_000 * USD))
    assert submit(PaperExchange(), bid(venue, curve=capped)).accepted


def test_a_bid_for_part_of_an_hour_or_far_ahead_is_rejected():
    odd = bid(starts_ns=NOON + 30 * MINUTE_NS)
    assert submit(PaperExchange(), odd).reason.startswith("INTERVAL")
    far = bid(starts_ns=NOON + 24 * 8 * HOUR_NS)
    assert submit(PaperExchange(), far, NOON).reason.startswith("INTERVAL")


@BOTH
def test_a_stranger_is_told_so_in_a_fault(venue):
    exchange = PaperExchange()
    codec = exchange.venues[venue]
    answer = exchange.submit(venue, codec.encode_bid(bid(venue), "SOMEBODY"), 0)
    with pytest.raises(VenueError, match="Invalid role"):
        codec.decode_reply("bid", answer)


@BOTH
def test_bytes_that_are_no_bid_get_a_fault_and_change_nothing(venue):
    exchange = PaperExchange()
    answer = exchange.submit(venue, b"<nonsense/>", 0)
    with pytest.raises(VenueError):
        exchange.venues[venue].decode_reply("b", answer)
    assert awards(exchange, venue) == []


@BOTH
def test_the_same_bid_again_gets_the_same_answer_even_after_the_gate(venue):
    exchange = PaperExchange()
    first = submit(exchange, bid(venue))
    again = submit(exchange, bid(venue), NOON)
    assert again == first


def test_a_used_bid_id_with_other_contents_is_rejected():
    exchange = PaperExchange()
    submit(exchange, bid())
    changed = bid(curve=stairs(4))
    assert submit(exchange, changed).reason.startswith("DUPLICATE_ID")


def test_a_second_bid_for_the_hour_replaces_the_first():
    exchange = PaperExchange()
    exchange.publish([price(NOON, 60)])
    submit(exchange, bid())
    submit(exchange, bid(bid_id="second"))
    assert [award.bid_id for award in awards(exchange)] == ["second"]


def test_each_quarter_is_awarded_at_its_own_price_where_the_curve_says():
    exchange = PaperExchange()
    exchange.publish(
        [price(NOON + n * 15 * MINUTE_NS, usd) for n, usd in enumerate((60, 40, 20, 55))]
    )
    submit(exchange, bid())
    found = {
        (award.starts_ns - NOON) // (15 * MINUTE_NS): (award.power_w, award.price_micro_per_mwh)
        for award in awards(exchange)
    }
    assert found == {
        0: (104_000, 60 * USD),
        2: (-100_000, 20 * USD),
        3: (104_000, 55 * USD),
    }


def test_pjm_awards_whole_hours():
    exchange = PaperExchange()
    exchange.publish([price(NOON, 60, "pjm", "RT", 60)])
    submit(exchange, bid("pjm"))
    (award,) = awards(exchange, "pjm")
    assert award.duration_ns == HOUR_NS


def test_an_award_is_reported_when_it_is_due_and_never_changed():
    exchange = PaperExchange()
    exchange.publish([price(NOON, 60)])
    submit(exchange, bid())
    due = NOON - 1350 * SECOND_NS
    assert awards(exchange, at_ns=due - 1) == []
    first = awards(exchange, at_ns=due)
    exchange.publish([price(NOON, 10)])
    assert awards(exchange, at_ns=due + 1) == first


def test_the_day_ahead_price_stands_in_for_a_missing_real_time_price():
    exchange = PaperExchange()
    exchange.publish([price(NOON, 60, market="DAM", minutes=60)])
    submit(exchange, bid())
    assert [award.price_micro_per_mwh for award in awards(exchange)] == [60 * USD] * 4


def test_without_any_price_nothing_is_awarded():
    exchange = PaperExchange()
    submit(exchange, bid())
    assert awards(exchange) == []


def test_a_bid_that_was_accepted_before_a_restart_is_still_awarded():
    exchange = PaperExchange()
    exchange.publish([price(NOON, 60)])
    before = submit(PaperExchange(), bid())
    exchange.restore(bid())
    assert len(awards(exchange)) == 1
    assert submit(exchange, bid(), NOON) == before


def test_an_old_bid_and_its_awards_are_forgotten():
    exchange = PaperExchange()
    exchange.publish([price(NOON, 60)])
    submit(exchange, bid())
    assert awards(exchange)
    assert awards(exchange, at_ns=NOON + 49 * HOUR_NS) == []


def test_exchange_and_desk_read_a_curve_the_same_way():
    for micro in range(-160 * USD, 70 * USD, 5 * USD):
        assert cleared_w(CURVE, micro) == power_at(CURVE, micro)
