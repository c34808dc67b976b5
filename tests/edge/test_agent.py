"""The whole agent against a gate of its own: real TLS, real files, devices in memory."""

import asyncio
import dataclasses
import json

import pytest

from edge.agent import AgentStopped
from edge.config import OffersSection
from protos import gateway_pb2
from protos.clock import SECOND_NS, ScaledClock
from protos.messages import OfferBatch, Quality, Quantity, RegisterMap, Side, SweepBatch


async def test_readings_arrive_signed_chained_and_explained_by_a_map(site, peers):
    await site.start()
    await peers.eventually(lambda: len(site.records(SweepBatch)) >= 3)
    await site.end()
    assert isinstance(site.records(RegisterMap)[0], RegisterMap)
    batch = site.records(SweepBatch)[0]
    assert batch.map_id == site.records(RegisterMap)[0].map_id
    assert [column[0] for column in batch.values] == [1500, 1_000_000, 5_000, 230_000]
    assert batch.marks == ()
    assert site.agent.status()["outbox"]["waiting"] == 0


async def test_a_dead_device_is_marked_keeps_its_old_time_and_slows_nobody(site, peers):
    second = peers.MemoryDevice(peers.meter_spec("second"), site.clock, {Quantity.POWER_W: 7})
    site.devices["second"] = second
    await site.start()
    await peers.eventually(lambda: len(site.records(SweepBatch)) >= 2)
    second.hangs = True
    before = site.meter.opened, site.agent._pollers[0].count.reads
    await asyncio.sleep(1.0)
    await site.end()
    assert site.agent._pollers[0].count.reads - before[1] >= 8
    last = site.records(SweepBatch)[-1]
    place = len(site.meter.registers)
    marks = [mark.quality for mark in last.marks if mark.register == place]
    assert len(marks) == last.sweeps
    assert set(marks) <= {Quality.STALE, Quality.NOT_AVAILABLE}
    assert max(last.times_ms[1]) - min(last.times_ms[1]) < 10, "more than the codec's rounding"
    assert last.times_ms[1][-1] < last.times_ms[0][-1] - 300


async def test_after_a_cut_everything_is_sent_again_once(site, gate, peers):
    gate.hang_up_after = 2
    await site.start()
    await peers.eventually(lambda: gate.streams >= 3)
    gate.hang_up_after = None
    await peers.eventually(lambda: site.chain.seq >= 8)
    await site.end()
    assert site.chain.seq == site.agent._outbox.head_seq
    assert len(site.chain.payloads) == site.chain.seq


async def test_a_gap_is_filled_from_where_the_cloud_says(site, gate, peers):
    gate.forget = {3, 4}
    await site.start()
    await peers.eventually(lambda: site.chain.seq >= 7)
    await site.end()
    assert site.agent._uplink.count.rewinds >= 1
    assert gate.streams == 1


async def test_another_refusal_raises_an_alarm_and_the_stream_goes_on(site, gate, peers):
    refusal = gateway_pb2.BatchRefusal(seq=3, expected_seq=4)
    refusal.refused.reason, refusal.refused.name = 7, "MALFORMED"
    gate.refuse = {3: refusal}
    await site.start()
    await peers.eventually(lambda: site.chain.seq >= 6)
    await site.end()
    assert site.agent.status()["alarms"] == {"envelope refused, MALFORMED": 1}


async def test_a_refused_envelope_that_the_cloud_will_not_pass_is_tried_again_later(
    site, gate, peers
):
    refusal = gateway_pb2.BatchRefusal(seq=3, expected_seq=3)
    refusal.refused.reason, refusal.refused.name = 9, "FUTURE_DATED"
    gate.refuse = {3: refusal}
    await site.start()
    await peers.eventually(lambda: site.chain.seq >= 5)
    await site.end()
    assert gate.streams == 2


@pytest.mark.parametrize("lie", [{"lie_seq": 999}, {"lie_seq": 1, "lie_link": b"x" * 32}])
async def test_another_chain_in_the_cloud_stops_the_agent_for_good(site, gate, peers, lie):
    await site.start()
    await peers.eventually(lambda: site.chain.seq >= 2)
    await site.end()
    for name, value in lie.items():
        setattr(gate, name, value)
    if "lie_link" in lie:
        gate.withhold_receipts = True
        gate.lie_seq = site.chain.seq
    await site.start()
    with pytest.raises(AgentStopped, match="forked"):
        await asyncio.wait_for(site.task, 5)
    site.task = None
    gate.lie_seq = gate.lie_link = None
    with pytest.raises(AgentStopped, match="forked"):
        await site.start()


async def test_a_refusal_for_a_fork_stops_the_agent(site, gate, peers):
    refusal = gateway_pb2.BatchRefusal(seq=3, expected_seq=3)
    refusal.refused.reason, refusal.refused.name = 6, "FORKED_CHAIN"
    gate.refuse = {3: refusal}
    await site.start()
    with pytest.raises(AgentStopped, match="FORKED_CHAIN"):
        await asyncio.wait_for(site.task, 5)
    site.task = None


async def test_a_restart_continues_the_chain_when_everything_was_receipted(site, peers):
    await site.start()
    await peers.eventually(lambda: site.chain.seq >= 3)
    await site.end()
    before = site.chain.seq
    await site.start()
    await peers.eventually(lambda: site.chain.seq >= before + 3)
    await site.end()
    maps = site.records(RegisterMap)
    assert len({item.map_id for item in maps}) == len(maps) == 2


async def test_a_drain_is_obeyed_and_the_agent_comes_back(site, gate, peers):
    await site.start()
    await peers.eventually(lambda: site.chain.seq >= 2)
    await gate.down.put(gateway_pb2.ConnectResponse(drain=gateway_pb2.Drain(retry_after_s=1)))
    await peers.eventually(lambda: not site.agent.status()["uplink"]["connected"])
    await asyncio.sleep(0.5)
    assert gate.streams == 1
    await peers.eventually(lambda: gate.streams == 2)
    await site.end()


async def test_readings_are_kept_while_there_is_no_cloud(site, gate, peers):
    await gate.server.stop(0)
    await site.start()
    await peers.eventually(lambda: site.agent._outbox.waiting >= 4)
    assert site.chain.seq == 0
    await gate.start(gate.port)
    await peers.eventually(lambda: site.chain.seq >= 5, 10)
    await site.end()


async def test_a_lease_reaches_the_battery_at_once_and_is_undone_when_it_ends(site, gate, peers):
    battery = site.add_battery()
    await site.start()
    await peers.eventually(lambda: ("restore",) in battery.orders)
    now = site.clock.now_ns()
    await gate.down.put(lease_order("L1", now, now + SECOND_NS, 2000))
    await peers.eventually(lambda: len(battery.orders) > 1)
    assert site.clock.now_ns() - now < SECOND_NS // 2
    assert battery.orders[1] == ("power", 2000, 1)
    note = json.loads((site.directory / "reversion.json").read_text())
    assert note == {"devices": ["battery"], "leases": ["L1"]}
    await peers.eventually(lambda: battery.orders[-1] == ("restore",) and len(battery.orders) > 2)
    await peers.eventually(lambda: ("L1", "REVERTED") in site.lease_states())
    await site.end()
    states = [state for name, state in site.lease_states() if name == "L1"]
    assert states == ["ACCEPTED", "ACTIVE", "EXPIRED", "REVERTED"]
    assert json.loads((site.directory / "reversion.json").read_text())["devices"] == []


async def test_a_stopped_agent_leaves_the_battery_at_its_default(site, gate, peers):
    battery = site.add_battery()
    await site.start()
    await peers.eventually(lambda: ("restore",) in battery.orders)
    now = site.clock.now_ns()
    await gate.down.put(lease_order("L1", now, now + 600 * SECOND_NS, -1500))
    await peers.eventually(lambda: ("power", -1500, 60) in battery.orders)
    await site.end()
    assert battery.orders[-1] == ("restore",)


async def test_a_setpoint_left_by_a_killed_agent_is_undone_and_reported_at_the_start(
    site, gate, peers
):
    battery = site.add_battery()
    note = site.directory / "reversion.json"
    note.write_text(json.dumps({"devices": ["battery"], "leases": ["L9"]}))
    await site.start()
    await peers.eventually(lambda: ("L9", "REVERTED") in site.lease_states())
    await site.end()
    assert battery.orders[0] == ("restore",)


async def test_no_setpoint_is_written_when_its_reversion_cannot_be_noted(site, gate, peers):
    battery = site.add_battery()
    await site.start()
    await peers.eventually(lambda: site.agent._dispatch.is_idle and battery.orders)
    site.agent._steering._record = site.directory / "no such directory" / "note"
    now = site.clock.now_ns()
    await gate.down.put(lease_order("L1", now, now + 30 * SECOND_NS, 2000))
    await peers.eventually(lambda: ("L1", "FAILED") in site.lease_states())
    await site.end()
    assert not [order for order in battery.orders if order[0] == "power"]


async def test_a_hostile_order_is_refused_and_the_battery_untouched(site, gate, peers):
    battery = site.add_battery()
    await site.start()
    await peers.eventually(lambda: battery.orders)
    now = site.clock.now_ns()
    await gate.down.put(lease_order("L1", now, now + 60 * SECOND_NS, 4001))
    await gate.down.put(lease_order("L2", now, now + 60 * SECOND_NS, -3001))
    await peers.eventually(lambda: len(site.lease_states()) == 2)
    await site.end()
    assert {state for _, state in site.lease_states()} == {"REFUSED"}
    assert {order[0] for order in battery.orders} == {"restore"}


async def test_offers_are_made_inside_the_band_and_numbers_survive_a_restart(site, gate, peers):
    origin = 1_800_000_000 * SECOND_NS
    site.clock = ScaledClock(600.0, site.clock.now_ns(), origin)
    site.meter.clock = site.clock
    gate.now_ns = site.clock.now_ns
    site.change(
        offers=OffersSection(enabled=True),
        sampling=dataclasses.replace(site.config.sampling, period_s=60.0),
    )
    await site.start()
    await peers.eventually(lambda: site.records(OfferBatch))
    await site.end()
    first = site.records(OfferBatch)[0].offers
    assert {offer.side for offer in first} == {Side.BUY}
    assert all(1_000_000 <= offer.price_micro_per_kwh <= 5_000_000 for offer in first)
    assert all(offer.price_micro_per_kwh % 10_000 == 0 for offer in first)
    used = {offer.number for item in site.records(OfferBatch) for offer in item.offers}
    seen = len(site.records(OfferBatch))
    await site.start()
    await peers.eventually(lambda: len(site.records(OfferBatch)) > seen, 12)
    await site.end()
    later = {offer.number for item in site.records(OfferBatch)[seen:] for offer in item.offers}
    assert min(later) > max(used)


async def test_a_driver_that_breaks_its_promise_ends_the_agent_with_every_default_restored(
    site, gate, peers
):
    battery = site.add_battery()
    await site.start()
    await peers.eventually(lambda: len(site.records(SweepBatch)) >= 1)
    now = site.clock.now_ns()
    await gate.down.put(lease_order("L1", now, now + 60 * SECOND_NS, 100))
    await peers.eventually(lambda: any(order[:2] == ("power", 100) for order in battery.orders))
    site.meter.registers = {Quantity.POWER_W: 1}
    site.agent._pollers[0]._screen._points = ()
    with pytest.raises(AssertionError):
        await asyncio.wait_for(site.task, 5)
    site.task = None
    assert battery.orders[-1] == ("restore",)


async def test_the_status_socket_tells_the_numbers_and_no_secret(site, peers):
    await site.start()
    await peers.eventually(lambda: site.chain.seq >= 2)
    reader, writer = await asyncio.open_unix_connection(site.directory / "agent.sock")
    text = await reader.read()
    writer.close()
    await site.end()
    status = json.loads(text)
    assert status["uplink"]["connected"] is True
    assert status["devices"]["meter"]["reads"] > 0
    assert b"PRIVATE" not in text


async def test_a_log_that_was_cut_or_forked_raises_an_alarm(site, gate, peers):
    await site.start()
    await peers.eventually(lambda: site.chain.seq >= 1)
    for size, root in ((8, "A"), (9, "B"), (8, "C"), (7, "D")):
        note = f"log\n{size}\n{root * 43}=\n\n- x y\n".replace(f"{root * 43}", root * 42 + "A")
        message = gateway_pb2.ConnectResponse(checkpoint=gateway_pb2.Checkpoint(note=note.encode()))
        await gate.down.put(message)
    await peers.eventually(
        lambda: site.agent.status()["alarms"].get("the cloud's log contradicts itself") == 2
    )
    assert site.agent.status()["log_size"] == 9
    await site.end()


def lease_order(lease_id, start, end, power_w):
    return gateway_pb2.ConnectResponse(
        lease=gateway_pb2.LeaseOrder(
            lease_id=lease_id, not_before_ns=start, expires_ns=end, power_w=power_w
        )
    )
