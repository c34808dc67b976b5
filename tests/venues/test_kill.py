"""A gateway that is killed at any byte of a submission leaves one bid, not none and not two."""

import random

import pytest

from cloud.venues.sim import Faults, VenueSim
from protos.clock import SECOND_NS
from tests.venues.bidding import NOON, HandClock, bid
from tests.venues.cutting import Gateway, Wire, killed_at, online, served

GATE = {venue: bid(venue).gate_ns for venue in ("caiso", "pjm")}
WHOLE = {"caiso": 1_900, "pjm": 2_300}
"""About the bytes of a submission and its answer; later cuts cut nothing."""

TRIALS = 120


@pytest.mark.parametrize("venue", ["caiso", "pjm"])
async def test_no_bid_is_lost_or_doubled_wherever_the_gateway_dies(venue, tmp_path):
    sim, clock = VenueSim(Faults(session_ns=10**18)), HandClock(GATE[venue] - 600 * SECOND_NS)
    draw = random.Random(7)
    cut = 0
    with served(sim, clock) as url:
        wire = Wire(url)
        async with wire.open() as address:
            way = online(venue, address, tmp_path, clock)
            for number in range(TRIALS):
                before = sim.counters.bids
                recorded = await killed_at(
                    draw.randrange(1, WHOLE[venue]), number, venue, wire, way, clock
                )
                assert [reply.accepted for reply in recorded] == [True]
                cut += sim.counters.bids - before != 1
    assert len(sim.exchange.held(venue)) == TRIALS
    assert cut > 0, "no cut came after the bid had arrived"


@pytest.mark.parametrize("taken", [True, False])
async def test_past_the_gate_a_bid_is_asked_for_and_not_submitted(taken, tmp_path):
    sim, clock = VenueSim(), HandClock(GATE["caiso"] - 60 * SECOND_NS)
    with served(sim, clock) as url:
        way = online("caiso", url, tmp_path, clock)
        if taken:
            await way.submit(bid())
        clock.at = GATE["caiso"] - SECOND_NS
        restarted = Gateway(way, clock)
        await restarted.pump.submit(bid(), again=True)
        (reply,) = restarted.recorded
        assert reply.accepted is taken
        assert clock.at < NOON
        assert len(sim.exchange.held("caiso")) == taken


@pytest.mark.parametrize("error_s", [-2, -1, 0, 1, 2])
async def test_nothing_arrives_after_the_gate_when_the_clock_is_wrong(error_s, tmp_path):
    true = HandClock(GATE["caiso"])
    sim = VenueSim()
    with served(sim, true) as url:
        for lead_ms in range(-3_000, 6_001, 250):
            true.at = GATE["caiso"] - lead_ms * 10**6
            ours = HandClock(true.at + error_s * SECOND_NS)
            gateway = Gateway(online("caiso", url, tmp_path, ours), ours)
            await gateway.pump.submit(bid(bid_id=f"b{lead_ms}", node=f"n{lead_ms}"))
            (reply,) = gateway.recorded
            assert reply.accepted or reply.reason.startswith("GATE_CLOSED: the gate had closed")
    assert len(sim.exchange.held("caiso")) == sim.counters.bids
