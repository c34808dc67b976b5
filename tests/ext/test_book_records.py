"""The order books at their edges: records, buffers, snapshots, hostile bytes."""

import random

import pytest

from ext import book as kernel
from ext.book import BUY, COMMAND, EVENT, SELL, Books
from ext.tree import Headroom, Tree
from tests.oracle import book as oracle

TICK = 500


def books(room=16):
    made = Books(room, 1024, 8)
    made.open(0)
    return made


def chain(down, up):
    """A line of three nodes: 0 - 1 - 2."""
    return Headroom(Tree([-1, 0, 1]), down, up)


# ---- records -----------------------------------------------------------------------------------


def record(operation, order_id, side=0, tick=TICK, quantity=5, **others):
    terms = {"book": 0, "owner": order_id, "node": 0, "cls": 3, "tif": 0, "own": 0, "version": 1}
    terms |= others
    return COMMAND.pack(
        *(order_id, terms["book"], tick, quantity, terms["owner"], terms["node"]),
        *(terms["version"], operation, side, terms["cls"], terms["tif"], terms["own"]),
    )


LONG = 0x0102030405060708


def test_the_records_are_these_bytes():
    batch = b"".join(
        [
            record(kernel.SUBMIT, LONG, SELL, tick=0x1F4, quantity=0x10, owner=0x0A0B0C0D),
            record(kernel.SUBMIT, 2, BUY, tick=0x1F5, quantity=6),
            record(kernel.REPLACE, LONG, tick=0x1F4, quantity=3, owner=0),
            record(kernel.CANCEL, LONG, owner=0),
            record(9, 7),
            record(kernel.CANCEL, 7, version=2),
        ]
    )
    assert batch[:32].hex() == ("080706050403020100000000f4010000100000000d0c0b0a0000010001030000")
    out = bytearray(7 * 32)
    assert books().process(batch, out) == (6, 7)
    assert [out[at : at + 32].hex() for at in range(0, 7 * 32, 32)] == [
        "0807060504030201000000000000000000000000f40100001000000002000101",
        "0807060504030201020000000000000000000000f40100000600000001000101",
        "0200000000000000000000000000000000000000f50100000000000003000001",
        "0807060504030201000000000000000000000000f40100000300000002000101",
        "0807060504030201000000000000000000000000f40100000300000004000101",
        "07000000000000000000000000000000000000000000000000000000061b0001",
        "07000000000000000000000000000000000000000000000000000000061c0001",
    ]


def flow(count, seed=1, wild=0.0):
    """Random records; a `wild` share of them is random bytes."""
    draw, out = random.Random(seed), []
    for order_id in range(1, count + 1):
        if draw.random() < wild:
            out.append(draw.randbytes(32))
            continue
        operation = draw.choice([0, 0, 0, 1, 2])
        known = order_id if operation == 0 else draw.randint(1, order_id)
        out.append(
            record(
                operation,
                known,
                draw.randint(0, 1),
                draw.randint(495, 505),
                draw.randint(1, 9),
                book=draw.randint(0, 1),
                node=draw.randint(0, 2),
                cls=draw.randint(0, 3),
                tif=draw.choice([0, 0, 0, 1, 2]),
                own=draw.randint(0, 3),
                owner=draw.randint(0, 5),
            )
        )
    return b"".join(out)


def two_books(room=400):
    """One without and one with a network."""
    made = books(room)
    made.open(1, chain([0, 40, 3], [0, 40, 9]))
    return made


def drain(made, batch, room):
    """All events of a batch through a buffer for `room` of them."""
    out, events, at = bytearray(32 * room), [], 0
    while True:
        consumed, produced = made.process(batch[at:], out)
        assert produced <= room
        events.append(bytes(out[: 32 * produced]))
        at += 32 * consumed
        if at == len(batch) and produced < room:
            return b"".join(events)


@pytest.mark.parametrize("room", [1, 2, 3, 7, 64])
def test_a_small_buffer_gives_the_same_events_in_more_calls(room):
    batch = flow(3_000)
    whole, parts = two_books(), two_books()
    assert drain(parts, batch, room) == drain(whole, batch, 20_000)
    assert parts.state_hash() == whole.state_hash()


def test_a_buffer_is_never_written_past_its_end():
    made, out = two_books(), bytearray(b"\xaa" * 32 * 8)
    batch = flow(2_000)
    at = 0
    while at < len(batch):
        consumed, _ = made.process(batch[at:], memoryview(out)[: 32 * 4])
        at += 32 * consumed
        assert out[32 * 4 :] == b"\xaa" * 32 * 4


def test_records_and_calls_lead_to_the_same_events():
    batch = flow(3_000, seed=2)
    by_record, by_call, out = two_books(), two_books(), []
    for terms in COMMAND.iter_unpack(batch):
        order_id, book, tick, quantity, owner, node, _, operation, side, cls, tif, own = terms
        if operation == kernel.SUBMIT:
            out += by_call.submit(book, order_id, side, tick, quantity, owner, node, cls, tif, own)
        elif operation == kernel.CANCEL:
            out += by_call.cancel(book, order_id)
        else:
            out += by_call.replace(book, order_id, tick, quantity, own)
    packed = EVENT.iter_unpack(drain(by_record, batch, 20_000))
    assert [(e[5], e[0], e[1], e[3], e[4], e[6]) for e in packed] == out
    assert by_record.state_hash() == by_call.state_hash()


def test_random_bytes_are_refused_record_by_record_and_break_nothing():
    for seed in range(5):
        made = two_books()
        events = drain(made, flow(4_000, seed, wild=0.5), 30_000)
        assert len(events) >= 32 * 4_000
        made.check()


def test_measuring_changes_no_event():
    batch, made, measured = flow(500), two_books(), two_books()
    out, times = bytearray(32 * 4_000), memoryview(bytearray(4 * 500)).cast("I")
    consumed, produced = measured.measure(batch, out, times)
    assert consumed == 500
    assert bytes(out[: 32 * produced]) == drain(made, batch, 4_000)
    assert all(times)


def test_buffers_that_are_no_whole_records_are_refused():
    made = books()
    for batch, room in [(b"\0" * 31, 32), (b"\0" * 32, 33)]:
        with pytest.raises(ValueError, match="whole 32-byte records"):
            made.process(batch, bytearray(room))
    with pytest.raises(ValueError, match="multiples of 8"):
        made.process(memoryview(bytes(40))[4:36], bytearray(32))
    with pytest.raises((ValueError, BufferError), match=r"read-only|not writable"):
        made.process(b"", bytes(32))


def test_while_events_wait_nothing_else_is_done():
    made = books()
    made.submit(0, 1, SELL, TICK, 5, owner=1)
    out = bytearray(32)
    assert made.process(record(kernel.SUBMIT, 2, BUY), out) == (1, 1)
    for ask in (lambda: made.cancel(0, 1), made.snapshot, lambda: made.restore(b"")):
        with pytest.raises(RuntimeError, match="events of a batch wait"):
            ask()
    assert made.process(b"", out) == (0, 1)
    assert EVENT.unpack(out)[5] == kernel.FILLED
    made.check()


# ---- snapshots ---------------------------------------------------------------------------------


def test_a_snapshot_restores_priority_and_room():
    made = two_books()
    drain(made, flow(1_000, seed=3), 20_000)
    grid = chain([0, 1, 1], [0, 1, 1])
    other = Books(400, 1024, 8)
    other.open(5)
    with pytest.raises(ValueError, match="needs its headroom"):
        other.restore(made.snapshot())
    assert other.books == [5]
    other.restore(made.snapshot(), {1: grid})
    assert other.snapshot() == made.snapshot()
    assert other.state_hash() != made.state_hash()
    other.check()


def test_the_state_hash_does_not_depend_on_the_way_there():
    straight, winding = books(), books()
    for order_id in range(1, 9):
        winding.submit(0, 100 + order_id, BUY, 10, 1, owner=1)
    for order_id in (8, 3, 5, 1, 2, 4, 7, 6):
        winding.cancel(0, 100 + order_id)
    for made in (straight, winding):
        for order_id in (1, 2, 3):
            made.submit(0, order_id, SELL, TICK, order_id, owner=order_id)
    assert straight.state_hash() == winding.state_hash()
    straight.cancel(0, 2)
    assert straight.state_hash() != winding.state_hash()


def test_a_damaged_snapshot_is_refused_and_changes_nothing():
    made = books(room=40)
    for order_id in range(20):
        made.submit(0, order_id, order_id % 2, 400 + 200 * (order_id % 2), 5, owner=order_id)
    data, draw, refused = made.snapshot(), random.Random(5), 0
    target = books(room=40)
    target.submit(0, 77, BUY, TICK, 5, owner=1)
    before = target.snapshot()
    for cut in range(len(data)):
        with pytest.raises(ValueError, match="snapshot: "):
            target.restore(data[:cut])
    for _ in range(300):
        damaged = bytearray(data)
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        try:
            target.restore(bytes(damaged))
        except ValueError:
            refused += 1
            assert target.snapshot() == before
        else:
            assert target.snapshot() != data
            target.check()
            target.restore(before)
    assert refused > 50


def test_the_oracle_and_the_kernel_call_everything_the_same():
    names = [name for name in dir(oracle) if name.isupper() and hasattr(kernel, name)]
    assert len(names) >= 30
    assert all(getattr(oracle, name) == getattr(kernel, name) for name in names)
