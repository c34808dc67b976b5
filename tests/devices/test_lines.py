"""The line itself: timers that ring on time, ports that come and go, noise before a frame."""

import asyncio
import os
import tty

import pytest

from edge.devices.device import DeviceSpec
from edge.devices.modbus.alarm import Alarm
from edge.devices.modbus.bus import BusPool
from edge.devices.modbus.errors import BusError, LinkLost, Unreachable
from edge.devices.modbus.frames import READ_HOLDING
from edge.devices.modbus.rtu import RtuBus
from edge.devices.modbus.timing import Manner, frame_gap_s, reply_timeout_s
from protos.messages import Role


async def test_the_alarm_never_rings_early_and_sooner_than_the_loops_own_timer():
    alarm, loop = Alarm(), asyncio.get_running_loop()
    late, loops_own = [], []
    for n in range(50):
        when = loop.time() + 0.0013 + n * 0.00001
        await alarm.until(when)
        late.append(loop.time() - when)
        when = loop.time() + 0.0013 + n * 0.00001
        await asyncio.sleep(when - loop.time())
        loops_own.append(loop.time() - when)
    alarm.close()
    assert min(late) >= 0
    if alarm._libc is not None:
        assert sorted(late)[25] < sorted(loops_own)[25]


async def test_an_alarm_for_the_past_returns_at_once():
    alarm = Alarm()
    async with asyncio.timeout(0.5):
        await alarm.until(0.0)
    alarm.close()


def test_the_silence_between_frames_is_the_standards():
    assert frame_gap_s(9600) == pytest.approx(0.004010, abs=1e-6)
    assert frame_gap_s(19200) == pytest.approx(0.002005, abs=1e-6)
    assert frame_gap_s(38400) == frame_gap_s(115200) == 0.00175


def test_a_timeout_covers_the_wire_and_ten_turnarounds():
    assert reply_timeout_s(0.1, Manner(turnaround_s=0.02)) == pytest.approx(0.35)


async def test_a_line_that_is_silent_until_asked_needs_no_pause_and_leading_noise_is_skipped(
    yard, expected
):
    slave, spec = await yard.rtu()
    write = slave.write
    slave.write = lambda octets: write(b"\x00\xff" + octets)
    assert await yard.pool.bus(spec).read(1, READ_HOLDING, 0, 2) == expected(slave, 0, 2)


async def test_a_port_that_is_unplugged_and_plugged_in_again_is_read_again(tmp_path):
    name = tmp_path / "by-id"
    pairs = []

    def plug():
        master, follower = os.openpty()
        tty.setraw(master)
        tty.setraw(follower)
        name.unlink(missing_ok=True)
        name.symlink_to(os.ttyname(follower))
        pairs.append((master, follower))

    plug()
    pool = BusPool()
    bus = pool.bus(DeviceSpec("m", Role.GRID, "", "rtu", str(name), baud=115200))
    bus.introduce(1, Manner(turnaround_s=0.0))
    question = asyncio.ensure_future(bus.read(1, READ_HOLDING, 0, 2))
    await asyncio.sleep(0.04)
    for descriptor in pairs.pop():
        os.close(descriptor)
    with pytest.raises((LinkLost, BusError)):
        await question
    name.unlink()
    with pytest.raises(Unreachable) as caught:
        await bus.read(1, READ_HOLDING, 0, 2)
    plug()
    await asyncio.sleep(caught.value.retry_in_s)
    question = asyncio.ensure_future(bus.read(1, READ_HOLDING, 0, 2))
    await asyncio.sleep(0.04)
    assert os.read(pairs[0][0], 8)[:2] == b"\x01\x03"
    question.cancel()
    await pool.close()
    for descriptor in pairs.pop():
        os.close(descriptor)


async def test_a_closed_bus_refuses_instead_of_hanging(yard):
    slave, spec = await yard.rtu_over_tcp(silent_units={1})
    bus = yard.pool.bus(spec)
    assert isinstance(bus, RtuBus)
    waiting = [asyncio.ensure_future(bus.read(1, READ_HOLDING, 0, 2)) for _ in range(3)]
    await asyncio.sleep(0.01)
    await yard.pool.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, LinkLost) for result in results)
    with pytest.raises(LinkLost):
        await bus.read(1, READ_HOLDING, 0, 2)
    assert len(slave.requests) <= 1


async def test_a_unit_that_needs_a_pause_gets_it(yard):
    _, spec = await yard.rtu_over_tcp()
    bus, loop = yard.pool.bus(spec), asyncio.get_running_loop()
    bus.introduce(1, Manner(turnaround_s=0.001, gap_s=0.03))
    began = loop.time()
    for _ in range(4):
        await bus.read(1, READ_HOLDING, 0, 2, 1)
    assert loop.time() - began >= 3 * 0.03
