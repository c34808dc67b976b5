"""What a sealed reading says of itself: quality, time of the reply, boot, and how far to trust the
clock. Each test changes the one thing that the word stands for and looks at what reaches the cloud.
"""

import pytest

from protos import gateway_pb2
from protos.clock import SECOND_NS, SystemClock
from protos.messages import ClockQuality, Quality, Quantity, RegisterMap, SweepBatch

HOUR_NS = 3600 * SECOND_NS


class SteppedClock(SystemClock):
    """The machine's clock as somebody else sets it; what is monotonic stays so."""

    def __init__(self):
        super().__init__()
        self.offset_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.offset_ns


@pytest.fixture
async def stepped(site, gate):
    site.clock = SteppedClock()
    site.meter.clock = site.clock
    yield site
    await site.end()


def marks_of(site, register: int) -> set[Quality]:
    return {
        mark.quality
        for batch in site.records(SweepBatch)
        for mark in batch.marks
        if mark.register == register
    }


async def test_each_quality_reaches_the_cloud_with_its_own_name(stepped, peers):
    site = stepped
    site.meter.registers[Quantity.FREQUENCY_MHZ] = None
    order = list(site.meter.registers)
    energy, volts = order.index(Quantity.ENERGY_IMPORT_WH), order.index(Quantity.VOLTAGE_MV)
    missing = order.index(Quantity.FREQUENCY_MHZ)
    await site.start()
    await peers.eventually(lambda: site.chain.seq >= 3)
    site.meter.registers[Quantity.ENERGY_IMPORT_WH] = 0
    await peers.eventually(lambda: Quality.SUSPECT in marks_of(site, energy))
    site.meter.registers[Quantity.ENERGY_IMPORT_WH] = 1_000_001
    site.meter.failing = True
    await peers.eventually(lambda: Quality.STALE in marks_of(site, volts))
    await peers.eventually(lambda: Quality.NOT_AVAILABLE in marks_of(site, volts))
    assert marks_of(site, missing) == {Quality.NOT_AVAILABLE}
    first = site.records(SweepBatch)[0]
    assert not [mark for mark in first.marks if mark.register == volts], "good has no mark"


async def test_a_boot_has_one_number_and_the_next_another(stepped, peers):
    site = stepped
    boots = []
    for _ in range(2):
        before = len(site.records(SweepBatch)) if site.gate.chains else 0
        await site.start()
        await peers.eventually(lambda before=before: len(site.records(SweepBatch)) >= before + 3)
        await site.end()
        boots.append({batch.boot_id for batch in site.records(SweepBatch)[before:]})
    assert [len(numbers) for numbers in boots] == [1, 1]
    assert boots[0] != boots[1]


@pytest.mark.parametrize("step_ns", [-14 * 24 * HOUR_NS, -HOUR_NS, HOUR_NS])
async def test_when_the_wall_clock_is_set_the_order_stays_and_nothing_is_stamped_anew(
    stepped, peers, step_ns
):
    site = stepped
    await site.start()
    await peers.eventually(lambda: len(site.records(SweepBatch)) >= 3)
    told = [batch.times_ms for batch in site.records(SweepBatch)]
    site.clock.offset_ns = step_ns
    await peers.eventually(lambda: site.agent.status()["sampling"]["clock_steps"] == 1)
    await peers.eventually(lambda: len(site.records(SweepBatch)) >= len(told) + 6)
    batches = site.records(SweepBatch)
    assert [batch.times_ms for batch in batches[: len(told)]] == told
    monotonic = [batch.monotonic_ms for batch in batches]
    assert monotonic == sorted(monotonic), "by boot and monotonic time the order is whole"
    now_ms = site.clock.now_ns() // 1_000_000
    assert abs(batches[-1].times_ms[0][-1] - now_ms) < 60_000
    for batch in batches:
        # A batch that spanned the step would hold two clocks that nobody could tell apart.
        assert max(batch.times_ms[0]) - min(batch.times_ms[0]) < 60_000


async def test_the_clock_is_believed_as_far_as_the_cloud_agrees_with_it(stepped, gate, peers):
    site = stepped
    gate.now_ns = lambda: site.clock.now_ns() + HOUR_NS
    await site.start()
    await peers.eventually(lambda: qualities(site)[-1:] == [ClockQuality.FREE_RUNNING])
    assert qualities(site)[0] is ClockQuality.UNKNOWN, "before anybody could be asked"
    beat = gateway_pb2.Heartbeat(now_ns=site.clock.now_ns())
    await gate.down.put(gateway_pb2.ConnectResponse(heartbeat=beat))
    await peers.eventually(lambda: qualities(site)[-1] is ClockQuality.SYNCHRONISED)
    site.clock.offset_ns = -HOUR_NS
    await peers.eventually(lambda: qualities(site)[-1] is ClockQuality.UNKNOWN)


def qualities(site) -> list[ClockQuality]:
    return [batch.clock_quality for batch in site.records(SweepBatch)] if site.gate.chains else []


async def test_only_the_devices_own_counters_are_marked_for_billing(stepped, peers):
    site = stepped
    await site.start()
    await peers.eventually(lambda: len(site.records(SweepBatch)) >= 1)
    (register_map,) = site.records(RegisterMap)
    billed = {entry.quantity for entry in register_map.registers if entry.billing}
    assert billed == {Quantity.ENERGY_IMPORT_WH, Quantity.ENERGY_EXPORT_WH}
    # The counter goes up by what the device says, whatever the power would add up to.
    site.meter.registers[Quantity.POWER_W] = 900_000
    count = len(site.records(SweepBatch))
    await peers.eventually(lambda: len(site.records(SweepBatch)) >= count + 5)
    column = [entry.quantity for entry in register_map.registers].index(Quantity.ENERGY_IMPORT_WH)
    assert {value for batch in site.records(SweepBatch) for value in batch.values[column]} == {
        1_000_000
    }
