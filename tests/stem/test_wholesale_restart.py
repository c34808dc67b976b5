"""What the wholesale side does when it starts again: bids as they were, and the kill switch holds."""

import asyncio
from contextlib import suppress

import pytest

from cloud.commands import BidAhead, CurveSegment, HaltDesk, OpenDesk, RecordReply, StateStorage
from cloud.facts import BidAnswered, BidCancelled, BidPrepared, BidSubmitted
from cloud.pumps import MarketStores, Wholesale
from cloud.vpp.capability import HOUR_NS
from tests.stem.conftest import START_NS
from tests.vpp.fleet import USD, battery

STARTS = (START_NS // HOUR_NS + 30) * HOUR_NS
CURVE = (
    CurveSegment(-100_000, -150 * USD),
    CurveSegment(0, 20 * USD),
    CurveSegment(100_000, 90 * USD),
)


async def bid_and_restart(stem, tmp_path, *commands):
    """A day-ahead bid, then these commands, then a new process on the same journal; what that said."""
    fleet = [battery(number) for number in range(20)]
    for command in (OpenDesk(500_000, 10_000 * USD, 100_000), StateStorage(is_on=True), *fleet):
        await stem.writer.submit(command)
    gate_ns = STARTS - 20 * HOUR_NS
    (bid,) = await stem.writer.submit(BidAhead("caiso", STARTS, gate_ns, CURVE))
    for command in commands:
        await stem.writer.submit(command(bid))
    await stem.crash()
    await stem.start()
    stem.facts.clear()
    stores = MarketStores(tmp_path)
    wholesale = Wholesale(stem.writer, stem.clock, stores)
    stem.writer.listen(wholesale.listen)
    wholesale.restore()
    pump = asyncio.create_task(wholesale.bids())
    for _ in range(2_000):
        await asyncio.sleep(0.001)
        if any(isinstance(fact, BidAnswered | BidCancelled) for fact in stem.facts):
            break
    pump.cancel()
    with suppress(asyncio.CancelledError):
        await pump
    stores.close()
    return bid, wholesale


def accepted(bid):
    return RecordReply(bid.bid_id, True, "REF", "")


def halted(_bid):
    return HaltDesk(True, "drill")


async def test_a_bid_that_was_not_answered_is_submitted_with_the_storage_it_said(stem, tmp_path):
    bid, wholesale = await bid_and_restart(stem, tmp_path)
    (kept,) = stem.writer.core.desk.bids()
    assert kept.prepared == bid
    assert isinstance(bid, BidPrepared)
    assert (bid.stored_wh, bid.soc_min_wh, bid.soc_max_wh) == (168_000, 28_000, 280_000)
    assert [type(fact) for fact in stem.facts] == [BidSubmitted, BidAnswered]
    (held,) = wholesale._exchange.held("caiso")
    assert held.storage.stored_wh == 168_000


@pytest.mark.parametrize("commands", [(halted,), (accepted, halted)])
async def test_under_the_kill_switch_nothing_is_submitted_and_what_stands_is_withdrawn(
    stem, tmp_path, commands
):
    bid, wholesale = await bid_and_restart(stem, tmp_path, *commands)
    assert BidCancelled(bid.bid_id, False) in stem.facts
    assert not [one for one in stem.facts if isinstance(one, BidSubmitted | BidAnswered)]
    assert wholesale._exchange.held("caiso") == []
