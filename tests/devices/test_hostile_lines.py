"""A wrong value is never returned: late, doubled, spoilt, foreign answers on lines without ids."""

import asyncio

import pytest

from edge.devices.modbus.errors import BusError, Garbled, Silent
from edge.devices.modbus.frames import READ_HOLDING, READ_INPUT
from edge.devices.modbus.slips import Slips
from edge.devices.modbus.timing import Manner

QUICK = Manner(turnaround_s=0.001, step=2)
EVERYTHING = ("late", "twice", "corrupt", "cut", "foreign", "noise", "busy", "short", "drop")


async def poll(yard, slave, spec, reads, expected, spare=2, counts=(2, 4)):
    """Reads blocks in turn; returns (right, wrong, errors)."""
    bus = yard.pool.bus(spec)
    bus.introduce(1, QUICK)
    right = wrong = errors = 0
    for i in range(reads):
        slave.epoch += 1
        address, count = 10 * (i % 3), counts[i % 2]
        try:
            words = await bus.read(1, READ_HOLDING, address, count, spare)
        except BusError as error:
            errors += 1
            # A unit that rests is not asked: time passes for the poller as well.
            await asyncio.sleep(getattr(error, "retry_in_s", 0.0))
            continue
        if words == expected(slave, address, count):
            right += 1
        else:
            wrong += 1
    return right, wrong, errors


async def polls(yard, make, lines, reads, rate, mischief, expected, **keywords):
    made = [await make(mischief=mischief, rate=rate, seed=n, **keywords) for n in range(lines)]
    results = await asyncio.gather(*(poll(yard, *pair, reads, expected) for pair in made))
    struck = {kind: sum(slave.struck[kind] for slave, _ in made) for kind in mischief}
    return tuple(sum(column) for column in zip(*results, strict=True)), struck


async def test_no_wrong_value_in_eight_thousand_reads_through_hostile_serial_gateways(
    yard, expected
):
    (right, wrong, errors), struck = await polls(
        yard, yard.rtu_over_tcp, 20, 400, 0.04, EVERYTHING, expected
    )
    assert wrong == 0
    assert right + errors == 8000
    assert right > 7000
    assert all(count > 0 for count in struck.values())


async def test_no_wrong_value_in_six_hundred_reads_on_hostile_terminals(yard, expected):
    (right, wrong, errors), struck = await polls(yard, yard.rtu, 10, 60, 0.06, EVERYTHING, expected)
    assert wrong == 0
    assert right + errors == 600
    assert right > 450
    assert struck["late"] > 0


@pytest.mark.parametrize("guarded", [True, False])
async def test_on_a_terminal_it_is_the_guard_that_keeps_doubled_answers_out(
    yard, expected, monkeypatch, guarded
):
    # Without the guard the same line gives wrong values: so the line is hostile enough.
    if not guarded:
        monkeypatch.setattr(Slips, "possible", lambda *_: False)
    made = [
        await yard.rtu(mischief=["twice"], rate=0.4, seed=n, doubled_s=(0.003, 0.004))
        for n in range(4)
    ]
    results = await asyncio.gather(*(poll(yard, *pair, 80, expected, 2, (4, 4)) for pair in made))
    wrong = sum(result[1] for result in results)
    assert sum(slave.struck["twice"] for slave, _ in made) > 60
    assert (wrong == 0) == guarded


@pytest.mark.parametrize("spare", [0, 2])
async def test_an_answer_that_comes_after_its_timeout_is_never_the_next_value(
    yard, expected, spare
):
    slave, spec = await yard.rtu_over_tcp(mischief=["late"], rate=0.1, seed=3)
    right, wrong, errors = await poll(yard, slave, spec, 25, expected, spare, (4, 4))
    assert wrong == 0
    assert errors > 0
    assert right > 12


@pytest.mark.parametrize("spare", [0, 2])
async def test_a_doubled_answer_is_never_the_next_value(yard, expected, spare):
    slave, spec = await yard.rtu_over_tcp(mischief=["twice"], rate=0.5, seed=4)
    bus = yard.pool.bus(spec)
    bus.introduce(1, QUICK)
    for _ in range(100):
        slave.epoch += 1
        words = await bus.read(1, READ_INPUT, 40, 4, spare)
        assert words == expected(slave, 40, 4)
    assert slave.struck["twice"] > 25


async def test_one_stall_costs_one_reading_not_the_rest_of_the_day(yard, expected):
    slave, spec = await yard.rtu_over_tcp(late_s=(0.2, 0.2))
    bus = yard.pool.bus(spec)
    bus.introduce(1, QUICK)
    await bus.read(1, READ_HOLDING, 0, 4, 2)
    slave.mischief, slave.rate, slave.struck = ["late"], 1.0, {"late": 0}
    with pytest.raises(Silent):
        await bus.read(1, READ_HOLDING, 0, 4, 2)
    slave.rate = 0.0
    outcomes = []
    for _ in range(6):
        slave.epoch += 1
        try:
            outcomes.append(await bus.read(1, READ_HOLDING, 0, 4, 2) == expected(slave, 0, 4))
        except Silent:
            outcomes.append(None)
            await asyncio.sleep(0.2)
        except BusError as error:
            outcomes.append(None)
            await asyncio.sleep(error.retry_in_s)
    assert False not in outcomes
    assert outcomes[-3:] == [True, True, True]


async def test_an_answer_with_another_register_count_is_refused(yard):
    slave, spec = await yard.rtu_over_tcp(mischief=["short"], rate=1.0)
    bus = yard.pool.bus(spec)
    with pytest.raises(Garbled):
        await bus.read(1, READ_HOLDING, 0, 4)
    assert slave.struck["short"] == 1


async def test_noise_without_end_meets_the_deadline(yard):
    slave, spec = await yard.rtu(baud=115200)
    slave.octets = lambda _: None
    bus = yard.pool.bus(spec)
    bus.introduce(1, QUICK)

    async def babble():
        while True:
            slave.write(b"login: \r\n")
            await asyncio.sleep(0.003)

    babbler = asyncio.get_running_loop().create_task(babble())
    try:
        async with asyncio.timeout(2.5):
            with pytest.raises(BusError):
                await bus.read(1, READ_HOLDING, 0, 4)
    finally:
        babbler.cancel()


async def test_nothing_is_asked_twice_by_itself(yard):
    slave, spec = await yard.rtu_over_tcp(mischief=["drop"], rate=1.0)
    bus = yard.pool.bus(spec)
    bus.introduce(1, QUICK)
    with pytest.raises(Silent):
        await bus.read(1, READ_HOLDING, 0, 4, 2)
    assert len(slave.requests) == 1


async def test_a_refused_spare_register_is_not_asked_for_again(yard, expected):
    slave, spec = await yard.rtu_over_tcp()
    slave.holes = {4, 5}
    bus = yard.pool.bus(spec)
    bus.introduce(1, QUICK)
    for _ in range(10):
        slave.epoch += 1
        assert await bus.read(1, READ_HOLDING, 0, 4, 2) == expected(slave, 0, 4)
    assert sum(request.count > 4 for request in slave.requests) == 1


async def test_silence_of_three_and_a_half_characters_goes_before_every_question(yard):
    slave, spec = await yard.rtu(baud=19200)
    bus = yard.pool.bus(spec)
    loop, ends, gaps = asyncio.get_running_loop(), [0.0], []
    octets, write = slave.octets, slave.write

    def heard(data):
        gaps.append(loop.time() - ends[-1])
        octets(data)

    def wrote(data):
        write(data)
        ends.append(loop.time())

    slave.octets, slave.write = heard, wrote
    for i in range(60):
        await bus.read(1, READ_HOLDING if i % 2 else READ_INPUT, 0, 2)
    assert len(gaps) >= 60
    assert min(gaps[1:]) >= 3.5 * 11 / 19200
