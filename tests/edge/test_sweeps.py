"""Columns, marks, sizes; and what happens to sweeps when the disk has no room for all."""

import asyncio

import pytest

from edge.devices.device import Point, Sample
from edge.sweeps import GONE_AFTER_SWEEPS, Assembler, Column
from protos import gateway_pb2
from protos.codec import decode_payload
from protos.limits import (
    PAYLOAD_BYTES_MAX,
    REGISTERS_PER_MAP_MAX,
    SWEEPS_PER_BATCH_MAX,
    UNACKNOWLEDGED_BATCHES_MAX,
)
from protos.messages import ClockQuality, DeviceEntry, Quality, Quantity, Role, SweepBatch

ENTRY = DeviceEntry("m", Role.GRID, "p", 1)


def column(points: int = 2) -> Column:
    return Column(ENTRY, tuple(Point(Quantity.POWER_W, phase) for phase in range(points)))


def sample(ms: int, *values: int | None) -> Sample:
    return Sample(ms * 1_000_000, ms * 1_000_000, values)


def batch_of(assembler: Assembler) -> SweepBatch:
    (payload,) = assembler.take_payloads(1, 2, 3, ClockQuality.UNKNOWN)
    return decode_payload(payload)


def test_a_device_that_misses_a_sweep_repeats_its_value_time_and_gets_worse():
    one = column()
    assembler = Assembler([one])
    one.take(sample(1000, 7, 8), (Quality.GOOD, Quality.SUSPECT))
    for _ in range(GONE_AFTER_SWEEPS + 1):
        assembler.sweep()
    batch = batch_of(assembler)
    assert batch.values == ((7,) * 6, (8,) * 6)
    first = {mark.sweep: mark.quality for mark in batch.marks if mark.register == 0}
    assert first == dict.fromkeys(range(1, 5), Quality.STALE) | {5: Quality.NOT_AVAILABLE}
    assert batch.marks[0].quality is Quality.SUSPECT


def test_a_value_that_is_not_available_repeats_the_last_one():
    one = column()
    assembler = Assembler([one])
    one.take(sample(1000, None, 8), (Quality.NOT_AVAILABLE, Quality.GOOD))
    assembler.sweep()
    one.take(sample(2000, 5, None), (Quality.GOOD, Quality.NOT_AVAILABLE))
    assembler.sweep()
    batch = batch_of(assembler)
    assert batch.values == ((0, 5), (8, 8))
    assert [(m.sweep, m.register) for m in batch.marks] == [(0, 0), (1, 1)]


def test_a_batch_that_is_too_large_is_split_and_nothing_is_lost():
    wide = column(900)
    assembler = Assembler([wide])
    total = 0
    while total < assembler.sweeps_max:
        total += 1
        noise = tuple((total * 7919 + n * 104_729) % (1 << 40) for n in range(900))
        qualities = (Quality.SUSPECT,) + (Quality.GOOD,) * 899
        wide.take(sample(1000 * total, *noise), qualities)
        assembler.sweep()
    payloads = assembler.take_payloads(1, 2, 3, ClockQuality.UNKNOWN)
    assert len(payloads) > 1
    assert max(map(len, payloads)) <= PAYLOAD_BYTES_MAX
    batches = [decode_payload(payload) for payload in payloads]
    assert sum(batch.sweeps for batch in batches) == total
    assert sum(len(batch.marks) for batch in batches) == total
    assert all(len(batch.marks) == batch.sweeps for batch in batches)


def test_no_batch_has_more_sweeps_or_registers_than_the_treaty_allows():
    assert Assembler([column(1)]).sweeps_max == SWEEPS_PER_BATCH_MAX
    assembler = Assembler()
    assembler.add(column(1000))
    with pytest.raises(ValueError, match="another gateway"):
        assembler.add(column(REGISTERS_PER_MAP_MAX - 999))


async def test_a_full_outbox_thins_the_sweeps_keeps_the_old_and_recovers(site, gate, peers, caplog):
    caplog.set_level("INFO", "edge.sampling")
    gate.withhold_receipts = True
    site.change(sampling=type(site.config.sampling)(period_s=0.02, sweeps_per_batch=1))
    agent = await site.start()
    box = agent._outbox
    await box.append([bytes(42_000), *[b"x"] * UNACKNOWLEDGED_BATCHES_MAX])
    box._pages_max = 24  # a small bound, so that it fills within the test
    await peers.eventually(lambda: agent.status()["outbox"]["stride"] >= 4, 10)
    await peers.eventually(lambda: box.head_seq > UNACKNOWLEDGED_BATCHES_MAX + 2, 10)
    assert site.chain.seq == UNACKNOWLEDGED_BATCHES_MAX, "the window holds"
    assert agent.status()["sampling"]["thinned"] > 5
    kept = [item.seq for item in await box.read(0, 10_000)]
    assert kept == list(range(1, len(kept) + 1))
    gate.withhold_receipts = False
    receipt = gateway_pb2.Receipt(durable_seq=site.chain.seq)
    await gate.down.put(gateway_pb2.ConnectResponse(receipt=receipt))
    await peers.eventually(lambda: box.waiting < 5 and box.stride == 1, 10)
    await peers.eventually(lambda: box.durable_seq >= kept[-1], 10)
    await site.end()
    said = [
        record.getMessage().split()[-1] for record in caplog.records if "sampling" in record.msg
    ]
    assert (said[0], said[-1]) == ("coarser", "finer"), "what was reduced is said, and its end"


async def test_a_step_of_the_clock_is_noticed_and_ends_the_batch(site, peers):
    class Stepped:
        step_ns = 0

        def now_ns(self):
            return real.now_ns() + self.step_ns

        monotonic_ns = property(lambda self: real.monotonic_ns)
        sleep = property(lambda self: real.sleep)

    real = site.clock
    site.clock = site.meter.clock = Stepped()
    site.change(sampling=type(site.config.sampling)(period_s=0.1, sweeps_per_batch=1000))
    agent = await site.start()
    await peers.eventually(lambda: agent.status()["sampling"]["sweeps"] >= 3)
    site.clock.step_ns = -3600 * 1_000_000_000
    await peers.eventually(lambda: agent.status()["sampling"]["clock_steps"] == 1)
    await asyncio.sleep(0.3)
    await site.end()
    batches = site.records(SweepBatch)
    spans = [max(b.times_ms[0]) - min(b.times_ms[0]) for b in batches]
    assert max(spans) < 60_000
    assert any(b.times_ms[0][0] < batches[0].times_ms[0][0] - 3_000_000 for b in batches)
