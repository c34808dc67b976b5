"""A dead device is left alone for ever longer, and the others on its line keep their pace."""

import asyncio

from edge.devices.modbus.errors import BusError
from edge.devices.modbus.frames import READ_HOLDING, WRITE_REGISTERS
from edge.devices.modbus.timing import Manner, Reopening, Rest


async def test_a_dead_device_on_a_line_is_asked_ever_less_and_the_others_go_on(yard):
    slave, spec = await yard.rtu(baud=115200, silent_units={10})
    bus = yard.pool.bus(spec)
    heard = slave.octets
    asked = []
    slave.octets = lambda data: (asked.append(data[0]), heard(data))
    for unit in range(1, 11):
        bus.introduce(unit, Manner(turnaround_s=0.001))
    loop = asyncio.get_running_loop()
    end, answers = loop.time() + 1.2, 0
    while loop.time() < end:
        for unit in range(1, 11):
            try:
                await bus.read(unit, READ_HOLDING, 0, 2, 1)
            except BusError:
                continue
            answers += 1
    assert 2 <= asked.count(10) <= 3
    assert answers > 100


def test_a_dead_device_takes_less_than_a_twentieth_of_a_minute_of_its_line():
    rest, now, cost = Rest(), 0.0, 0.0
    while now < 60.0:
        if rest.remaining(now) > 0:
            now += 1.0
            continue
        cost += 0.3
        now += 0.3
        rest.failed(now, 0.3)
    assert cost < 0.05 * 60.0


async def test_a_resting_unit_still_takes_a_setpoint(yard):
    slave, spec = await yard.rtu_over_tcp(silent_units={1})
    bus = yard.pool.bus(spec)
    bus.introduce(1, Manner(turnaround_s=0.0))
    for _ in range(3):
        try:
            await bus.read(1, READ_HOLDING, 0, 2, 1)
        except BusError:
            continue
    slave.silent_units.clear()
    await bus.write(1, WRITE_REGISTERS, 5, (1,))
    assert slave.written == {5: 1}


def test_rests_grow_to_a_minute_and_end_with_an_answer():
    rest = Rest()
    rest.failed(0.0, 0.3)
    assert rest.remaining(0.0) == 0.0
    rests = []
    for _ in range(10):
        rest.failed(0.0, 0.3)
        rests.append(rest.remaining(0.0))
    assert rests == sorted(rests)
    assert rests[0] == 6.0
    assert rests[-1] == 60.0
    rest.answered()
    assert rest.remaining(0.0) == 0.0


def test_attempts_to_open_a_link_grow_to_half_a_minute_apart():
    reopening = Reopening()
    pauses = [reopening.failed(0.0) for _ in range(9)]
    assert pauses[:3] == [0.5, 1.0, 2.0]
    assert pauses[-1] == 30.0
