"""Modbus TCP: answers belong to their transaction id, unit, function and length, or to nobody."""

import asyncio
import threading
from dataclasses import replace

import pytest

from edge.devices.modbus.errors import BusError, Declined, Garbled, LinkLost, Silent, Unreachable
from edge.devices.modbus.frames import READ_COILS, READ_HOLDING, WRITE_COIL, WRITE_REGISTERS
from edge.devices.modbus.timing import Manner

EVERYTHING = (
    *("late", "twice", "zero", "other", "unit", "short", "split", "swap", "garbage", "reset"),
    "drop",
)


async def poll(bus, slave, reads, expected):
    right = wrong = errors = 0
    for i in range(reads):
        slave.epoch += 1
        address = 10 * (i % 3)
        try:
            words = await bus.read(1, READ_HOLDING, address, 4)
        except BusError as error:
            errors += 1
            await asyncio.sleep(getattr(error, "retry_in_s", 0.0))
            continue
        right, wrong = (
            (right + 1, wrong) if words == expected(slave, address, 4) else (right, wrong + 1)
        )
    return right, wrong, errors


async def test_no_wrong_value_in_four_thousand_reads_of_hostile_servers(
    yard, expected, monkeypatch
):
    monkeypatch.setattr("edge.devices.modbus.tcp.NETWORK_S", 0.0)
    made = [
        await yard.tcp(mischief=EVERYTHING, rate=0.03, seed=n, late_s=(0.06, 0.09))
        for n in range(20)
    ]
    for _, spec in made:
        yard.pool.bus(spec).introduce(1, Manner(turnaround_s=0.001))
    results = await asyncio.gather(
        *(poll(yard.pool.bus(spec), slave, 200, expected) for slave, spec in made)
    )
    right, wrong, errors = (sum(column) for column in zip(*results, strict=True))
    assert wrong == 0
    assert right + errors == 4000
    assert right > 3300
    for kind in EVERYTHING:
        assert sum(slave.struck[kind] for slave, _ in made) > 0


async def test_answers_may_come_in_another_order_when_several_are_in_flight(yard, expected):
    slave, spec = await yard.tcp({"in_flight": 8}, mischief=["swap"], rate=0.5)
    bus = yard.pool.bus(spec)
    for _ in range(20):
        slave.epoch += 1
        answers = await asyncio.gather(*(bus.read(1, READ_HOLDING, 10 * k, 4) for k in range(8)))
        assert list(answers) == [expected(slave, 10 * k, 4) for k in range(8)]
    assert slave.struck["swap"] > 10
    assert slave.connections == 1


async def test_a_server_that_answers_with_id_zero_gives_an_explained_error_and_no_value(
    yard, monkeypatch
):
    monkeypatch.setattr("edge.devices.modbus.tcp._TIMEOUT_S", 0.05)
    slave, spec = await yard.tcp()
    slave.zero_ids = True
    with pytest.raises(Silent, match="rtu_over_tcp"):
        await yard.pool.bus(spec).read(1, READ_HOLDING, 0, 4)


async def test_late_answers_do_not_shift_the_following_ones(yard, expected, monkeypatch):
    monkeypatch.setattr("edge.devices.modbus.tcp.NETWORK_S", 0.0)
    slave, spec = await yard.tcp(mischief=["late"], rate=1.0, late_s=(0.1, 0.1))
    bus = yard.pool.bus(spec)
    bus.introduce(1, Manner(turnaround_s=0.0))
    with pytest.raises(Silent):
        await bus.read(1, READ_HOLDING, 0, 4)
    slave.rate = 0.0
    for _ in range(20):
        slave.epoch += 1
        assert await bus.read(1, READ_HOLDING, 0, 4) == expected(slave, 0, 4)
        await asyncio.sleep(0.01)


async def test_an_answer_of_another_unit_is_refused(yard):
    _, spec = await yard.tcp(mischief=["unit"], rate=1.0)
    with pytest.raises(Garbled):
        await yard.pool.bus(spec).read(1, READ_HOLDING, 0, 4)


async def test_a_modbus_exception_keeps_its_code(yard):
    slave, spec = await yard.tcp()
    slave.holes = {2}
    with pytest.raises(Declined) as caught:
        await yard.pool.bus(spec).read(1, READ_HOLDING, 0, 4)
    assert (caught.value.code, caught.value.certain) == (2, True)


async def test_a_server_that_hangs_up_is_not_stormed(yard):
    slave, spec = await yard.tcp(mischief=["reset"], rate=1.0)
    bus = yard.pool.bus(spec)
    with pytest.raises(LinkLost):
        await bus.read(1, READ_HOLDING, 0, 4)
    for _ in range(50):
        with pytest.raises(Unreachable):
            await bus.read(1, READ_HOLDING, 0, 4)
    assert slave.connections == 1


async def test_a_closed_port_is_tried_once_per_back_off_however_many_ask(yard):
    slave, spec = await yard.tcp()
    slave.server.close()
    bus = yard.pool.bus(spec)
    opened = []
    link_open = bus._link.open

    async def counted(*arguments):
        opened.append(1)
        await link_open(*arguments)

    bus._link.open = counted
    results = await asyncio.gather(
        *(bus.read(1, READ_HOLDING, 0, 4) for _ in range(30)), return_exceptions=True
    )
    assert all(isinstance(result, Unreachable) for result in results)
    assert len(opened) == 1
    await asyncio.sleep(results[0].retry_in_s + 0.01)
    with pytest.raises(Unreachable) as caught:
        await bus.read(1, READ_HOLDING, 0, 4)
    assert caught.value.retry_in_s > results[0].retry_in_s
    assert len(opened) == 2


async def test_a_recovered_server_starts_its_back_off_anew(yard, expected):
    slave, spec = await yard.tcp(mischief=["reset"], rate=1.0)
    bus = yard.pool.bus(spec)
    for _ in range(2):
        with pytest.raises(LinkLost):
            await bus.read(1, READ_HOLDING, 0, 4)
        with pytest.raises(Unreachable) as caught:
            await bus.read(1, READ_HOLDING, 0, 4)
        assert caught.value.retry_in_s <= 0.5
        slave.rate = 0.0
        await asyncio.sleep(caught.value.retry_in_s)
        assert await bus.read(1, READ_HOLDING, 0, 4) == expected(slave, 0, 4)
        slave.rate = 1.0


async def test_coils_and_writes_pass(yard):
    _, spec = await yard.tcp()
    bus = yard.pool.bus(spec)
    await bus.write(1, WRITE_REGISTERS, 100, (1, 2, 3))
    await bus.write(1, WRITE_COIL, 7, (1,))
    assert await bus.read(1, READ_HOLDING, 100, 3) == (1, 2, 3)
    assert await bus.read(1, READ_COILS, 7, 1) == (1,)


async def test_a_cancelled_question_leaves_the_bus_usable(yard, expected):
    slave, spec = await yard.tcp(mischief=["drop"], rate=1.0)
    bus = yard.pool.bus(spec)
    question = asyncio.ensure_future(bus.read(1, READ_HOLDING, 0, 4))
    waiting = [asyncio.ensure_future(bus.read(1, READ_HOLDING, 0, 4)) for _ in range(3)]
    await asyncio.sleep(0.02)
    slave.rate = 0.0
    question.cancel()
    waiting[1].cancel()
    assert await waiting[0] == expected(slave, 0, 4)
    assert await waiting[2] == expected(slave, 0, 4)


async def test_a_number_is_no_name_so_no_thread_asks_for_it_and_a_name_is_found(yard, expected):
    before = threading.active_count()
    slave, spec = await yard.tcp()
    assert await yard.pool.bus(spec).read(1, READ_HOLDING, 0, 4) == expected(slave, 0, 4)
    assert threading.active_count() == before
    named = replace(spec, address=spec.address.replace("127.0.0.1", "localhost"))
    assert await yard.pool.bus(named).read(1, READ_HOLDING, 0, 4) == expected(slave, 0, 4)


async def test_a_host_without_an_address_is_unreachable_and_says_so(yard):
    _, spec = await yard.tcp()
    bus = yard.pool.bus(replace(spec, address="no-such-host.invalid:502"))
    with pytest.raises(Unreachable, match=r"no-such-host\.invalid"):
        await bus.read(1, READ_HOLDING, 0, 4)
