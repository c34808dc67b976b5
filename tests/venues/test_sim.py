"""The simulator answers as the venues do, faults and all, and the transport lives with it."""

import asyncio
import json
import os
import subprocess
import sys
import time
from datetime import date
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from cloud.commands import CurveSegment
from cloud.feeds import caiso, pjm
from cloud.feeds.intervals import EASTERN, PACIFIC, trade_day
from cloud.feeds.prices import observations
from cloud.feeds.rows import NoData, RequestRefused
from cloud.feeds.rows import Throttled as ThrottledFeed
from cloud.venues.online import OASIS_GAP_S, miner_query, oasis_query
from cloud.venues.sim import MERCY, Faults, VenueSim
from cloud.venues.transport import (
    Answer,
    Banned,
    Endpoint,
    Pacer,
    Throttled,
    Transport,
    Unreachable,
    checked,
)
from cloud.venues.venue import SessionExpired
from protos.clock import SECOND_NS, ScaledClock
from tests.venues.bidding import FLOOR, NOON, USD, HandClock, bid, utc_ns
from tests.venues.cutting import online, served

DAY = date(2026, 7, 15)
NODE = "TH_SP15_GEN-APND"
ROOT = Path(__file__).resolve().parents[2]


def query(**changes):
    text = oasis_query(DAY, "DAM", NODE).partition("?")[2]
    return {**dict(parse_qsl(text)), **changes}


def asked(sim, at_s=0, caller="a", **changes):
    return sim.oasis(caller, query(**changes), NOON + int(at_s * SECOND_NS))


# ---- OASIS ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2026, 3, 8), 23), (date(2026, 11, 1), 25), (DAY, 24)],
)
def test_a_trade_day_of_any_length_is_served_whole(day, hours):
    asking = dict(parse_qsl(oasis_query(day, "DAM", NODE).partition("?")[2]))
    answer = VenueSim().oasis("a", asking, trade_day(day, PACIFIC).start_ns)
    prices = [row for row in caiso.parse(answer.body).rows if row.item == "LMP"]
    assert len(prices) == hours


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"queryname": "PRC_NONE"}, "1005"),
        ({"version": "1"}, "1020"),
        ({"node": ",".join(f"N{n}" for n in range(11))}, "1017"),
        ({"startdatetime": "yesterday"}, "1002"),
        ({"enddatetime": "20260901T07:00-0000"}, "1004"),
        ({"enddatetime": "20260701T07:00-0000"}, "1001"),
    ],
)
def test_errors_come_inside_a_zip_with_status_200(changes, code):
    answer = asked(VenueSim(), **changes)
    assert answer.status == 200
    with pytest.raises(RequestRefused) as refused:
        caiso.parse(answer.body)
    assert refused.value.code == code


@pytest.mark.parametrize("node", ["NOWHERE", "A,B"])
def test_an_unknown_node_has_no_data(node):
    with pytest.raises(NoData):
        caiso.parse(asked(VenueSim(), node=node).body)


def test_who_asks_too_fast_is_throttled_in_both_ways_and_then_banned():
    sim = VenueSim()
    answers = [asked(sim, at_s=second * 0.5) for second in range(MERCY + 3)]
    assert answers[0].status == 200
    assert {answer.status for answer in answers[1 : MERCY + 1]} == {200, 429}
    for answer in answers[1 : MERCY + 1]:
        with pytest.raises(Throttled):
            checked("caiso", answer)
        with pytest.raises(ThrottledFeed):
            caiso.parse(answer.body)
    with pytest.raises(Banned):
        checked("caiso", answers[-1])
    with pytest.raises(Banned):
        checked("caiso", asked(sim, at_s=1_000))


def test_one_address_does_not_throttle_another():
    sim = VenueSim()
    assert checked("caiso", asked(sim, caller="a"))
    assert checked("caiso", asked(sim, caller="b"))


# ---- Data Miner ----------------------------------------------------------------------------


def mined(sim, feed="rt_hrl_lmps", key="simulated-key", **changes):
    asking = dict(parse_qsl(miner_query(DAY, "RT", 51288).partition("?")[2]))
    return sim.miner(feed, key, {**asking, **changes})


def test_data_miner_wants_its_key_and_knows_its_feeds():
    sim = VenueSim()
    assert mined(sim, key="").status == 401
    assert mined(sim, feed="rt_fivemin_lmps").status == 404
    assert mined(sim, rowCount="60000").status == 400
    assert mined(sim).status == 200


def test_a_corrected_price_comes_as_a_new_version_and_the_old_row_is_not_current():
    sim = VenueSim()
    starts = trade_day(DAY, EASTERN).start_ns
    before = {row.start_ns: row.value_micro for row in lmp(mined(sim))}
    sim.correct("rt_hrl_lmps", starts, 250)
    sim.correct("rt_hrl_lmps", starts, -50)
    body = json.loads(mined(sim).body)
    assert body["totalRows"] == 25
    assert max(item["version_nbr"] for item in body["items"]) == 3
    after = {row.start_ns: row.value_micro for row in lmp(mined(sim))}
    assert after.pop(starts) == before.pop(starts) + 2_000_000
    assert after == before


def lmp(answer):
    return [row for row in pjm.parse(answer.body).rows if row.item == "LMP"]


def test_pages_add_up_to_the_whole_day():
    sim = VenueSim()
    first, last = (mined(sim, startRow=start, rowCount="16") for start in ("1", "17"))
    page = pjm.parse(first.body)
    assert page.following
    assert not page.is_whole
    assert len(lmp(first)) + len(lmp(last)) == 24


@pytest.mark.parametrize("changes", [{"anc_type": "SR"}, {"anc_region": "AS_SP26"}])
def test_reserves_are_asked_for_all_types_and_regions_at_once(changes):
    asking = dict(parse_qsl(oasis_query(DAY, "DAM_AS", NODE).partition("?")[2]))
    at_ns = trade_day(DAY, PACIFIC).start_ns
    page = caiso.parse(VenueSim().oasis("a", asking, at_ns).body)
    assert {row.report for row in page.rows} == {"AS"}
    with pytest.raises(RequestRefused):
        caiso.parse(VenueSim().oasis("a", asking | changes, at_ns).body)


def test_data_miner_gives_the_reserves_of_one_locale():
    asking = dict(parse_qsl(miner_query(DAY, "RT_AS", 51288).partition("?")[2]))
    whole = VenueSim().miner("reserve_market_results", "simulated-key", asking)
    assert json.loads(whole.body)["totalRows"] == 288 * 3
    other = VenueSim().miner("reserve_market_results", "simulated-key", asking | {"locale": "MAD"})
    assert json.loads(other.body)["totalRows"] == 0


# ---- over a socket -------------------------------------------------------------------------


async def test_prices_bids_and_awards_go_over_a_real_socket(tmp_path):
    clock = HandClock(bid("pjm").gate_ns - 60 * SECOND_NS)
    sim = VenueSim(Faults(double_awards=True))
    with served(sim, clock) as url:
        way = online("pjm", url, tmp_path, clock)
        assert len(lmp(Answer(200, {}, await way.prices(DAY, "RT")))) == 24
        assert (await way.submit(bid("pjm"))).accepted
        assert await way.awards() == []
        clock.at = NOON
        awards = await way.awards()
        assert len(awards) in {0, 2}
        assert len(set(awards)) == len(awards) // 2


@pytest.mark.parametrize(
    ("venue", "market", "count"), [("caiso", "DAM_AS", 72), ("pjm", "RT_AS", 576)]
)
async def test_reserve_prices_go_over_a_real_socket(tmp_path, venue, market, count):
    clock = HandClock(NOON)
    with served(VenueSim(), clock) as url:
        body = await online(venue, url, tmp_path, clock).prices(DAY, market)
    assert len(observations(venue, body)) == count


async def test_late_awards_are_late_and_the_same(tmp_path):
    clock = HandClock(bid().gate_ns - 60 * SECOND_NS)
    sim = VenueSim(Faults(late_award_ns=3_600 * SECOND_NS))
    prompt = VenueSim()
    for each in (sim, prompt):
        each.exchange.submit(
            "caiso", each.exchange.venues["caiso"].encode_bid(bid(), "GRIDTOKENX"), clock.at
        )
    on_time = prompt.results("caiso", NOON).body
    assert b"BidAward" in on_time
    assert b"BidAward" not in sim.results("caiso", NOON).body
    assert sim.results("caiso", NOON + 3_600 * SECOND_NS).body == on_time


async def test_an_expired_session_is_renewed_once_and_the_bid_goes_through(tmp_path):
    clock = HandClock(bid("pjm").gate_ns - 1_800 * SECOND_NS)
    sim = VenueSim(Faults(session_ns=600 * SECOND_NS))
    with served(sim, clock) as url:
        way = online("pjm", url, tmp_path, clock)
        await way.awards()
        clock.at += 900 * SECOND_NS
        assert (await way.submit(bid("pjm"))).accepted
        assert sim.counters.logins == 2
        sim.faults = Faults(session_ns=0)
        clock.at += 900 * SECOND_NS
        with pytest.raises(SessionExpired):
            await way.awards()
        assert sim.counters.logins == 3


async def test_a_bid_whose_answer_was_lost_is_one_bid(tmp_path):
    clock = HandClock(bid().gate_ns - 600 * SECOND_NS)
    sim = VenueSim(Faults(lost_answer_every=2))
    with served(sim, clock) as url:
        way = online("caiso", url, tmp_path, clock)
        sim.counters.bids = 1
        with pytest.raises(Unreachable):
            await way.submit(bid())
        assert (await way.submit(bid())).accepted
    assert len(sim.exchange.held("caiso")) == 1


async def test_a_host_that_is_not_there_is_unreachable_after_a_bounded_number_of_tries(tmp_path):
    clock = HandClock(NOON)
    way = online("caiso", "http://127.0.0.1:9", tmp_path, clock, gap_s=5.0)
    with pytest.raises(Unreachable):
        await way.prices(DAY, "DAM")
    assert 10 <= (clock.at - NOON) / SECOND_NS <= 16


# ---- pacing --------------------------------------------------------------------------------


async def test_a_throttle_makes_everybody_wait_longer_each_time(tmp_path):
    clock = HandClock(NOON)
    sim = VenueSim()
    sim.oasis("127.0.0.1", query(), NOON - SECOND_NS)
    with served(sim, clock) as url:
        way = online("caiso", url, tmp_path, clock, gap_s=OASIS_GAP_S)
        assert caiso.parse(await way.prices(DAY, "DAM")).rows
    assert sim.counters.throttles == 1
    assert sim.counters.requests == 3


async def test_turns_are_never_closer_than_the_gap(tmp_path):
    clock = HandClock(NOON)
    starts = []

    async def one():
        async with Pacer(tmp_path, clock).turn("host", 5.0):
            starts.append(clock.now_ns())
            await clock.sleep(0.5)

    await asyncio.gather(*(one() for _ in range(6)))
    gaps = [(after - before) / SECOND_NS for before, after in pairwise(starts)]
    assert min(gaps) >= 5.5


async def test_a_clock_that_was_set_back_does_not_stop_the_feeds_for_ever(tmp_path):
    clock = HandClock(NOON)
    pacer = Pacer(tmp_path, clock)
    async with pacer.turn("host", 5.0):
        pass
    clock.at = utc_ns(2026, 7, 1)
    async with pacer.turn("host", 5.0):
        pass
    assert clock.at == utc_ns(2026, 7, 1)


def test_four_processes_never_ask_twice_within_five_seconds(tmp_path):
    """A minute of simulated time; the bench runs ten."""
    assert closest_of_four(tmp_path, minutes=1)[0] >= 5 * SECOND_NS


def closest_of_four(directory, minutes, speed=30.0):
    """The least gap seen by the simulator, its offences, and how many requests there were."""
    clock = ScaledClock(speed, time.time_ns(), NOON)
    sim = VenueSim()
    with served(sim, clock) as url:
        until = NOON + (minutes * 60 + int(speed)) * SECOND_NS
        environment = {**os.environ, **clock.environment(), "PYTHONPATH": str(ROOT)}
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.venues.asker", url, str(directory), str(until)],
                env=environment,
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
            )
            for _ in range(4)
        ]
        for process in processes:
            assert process.wait(120) == 0
    return (
        sim.counters.closest_ns,
        sim.counters.throttles + sim.counters.bans,
        sim.counters.requests,
    )


def test_the_transport_takes_a_page_of_data_and_nothing_else():
    assert checked("pjm", Answer(200, {}, b'{"items": []}')).status == 200
    for status, body, error in (
        (200, b"<!DOCTYPE html><html></html>", SessionExpired),
        (401, b"", SessionExpired),
        (403, b"no", Banned),
        (503, b"", Unreachable),
        (429, b"", Throttled),
    ):
        with pytest.raises(error):
            checked("pjm", Answer(status, {}, body))
    with pytest.raises(Throttled) as told:
        checked("pjm", Answer(429, {"retry-after": "17"}, b""))
    assert told.value.retry_s == 17


async def test_an_answer_that_is_cut_short_is_no_answer(tmp_path):
    async def half(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<CurrentBid")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(half, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        transport = Transport(tmp_path, HandClock(NOON))
        with pytest.raises(Unreachable):
            await transport.get(Endpoint("caiso", url), "/")


def test_statements_come_in_versions_that_follow_meters_and_reruns():
    from datetime import UTC, datetime

    from cloud.feeds.intervals import EASTERN, trade_date
    from cloud.venues.statements import parse_statement

    sim = VenueSim()
    steep = (FLOOR, CurveSegment(0, -149 * USD), CurveSegment(104_000, -148 * USD))
    prepared = bid("pjm", curve=steep)
    codec = sim.exchange.venues["pjm"]
    sim.submit("pjm", codec.encode_bid(prepared, "GRIDTOKENX"), prepared.gate_ns - 1)
    after_ns = prepared.starts_ns + 2 * 3_600_000_000_000
    day = trade_date(prepared.starts_ns, EASTERN)
    (award,) = codec.decode_awards(sim.results("pjm", after_ns).body)
    first = parse_statement(sim.statement("pjm", day, after_ns).body)
    assert (first.version, first.total_cents) == (1, 0)
    sim.meter(award.bid_id, award.starts_ns, 100_000)
    second = parse_statement(sim.statement("pjm", day, after_ns).body)
    assert second.lines[0].quantity_wh == 100_000
    sim.rerun("pjm", award.starts_ns, 250)
    third = parse_statement(sim.statement("pjm", day, after_ns).body)
    assert third.version == 3
    assert third.total_cents - second.total_cents in {24, 25, 26}
    assert sim.statement("mars", datetime.now(UTC).date(), after_ns).status == 404
