"""Payload bytes: what comes back is what went in, and hostile bytes raise Malformed alone."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos import payload_pb2
from protos.codec import Malformed, decode_columns, decode_payload, encode_columns, encode_payload
from protos.limits import PAYLOAD_BYTES_MAX, REGISTERS_PER_MAP_MAX
from protos.messages import (
    Cancel,
    ClockQuality,
    DeviceEntry,
    LeaseReport,
    LeaseReports,
    LeaseState,
    Offer,
    OfferBatch,
    OrderKind,
    Quality,
    QualityMark,
    Quantity,
    RegisterEntry,
    RegisterMap,
    Role,
    SelfTrade,
    Side,
    SweepBatch,
    TimeInForce,
)

values = st.integers(-(1 << 62) + 1, (1 << 62) - 1)
MAP = RegisterMap(
    3,
    (DeviceEntry("meter", Role.GRID, "eastron/sdm630", 2, "SN1"),),
    (RegisterEntry(0, Quantity.POWER_W), RegisterEntry(0, Quantity.ENERGY_IMPORT_WH, 0, True)),
)
BATCH = SweepBatch(
    3, 99, 1234, ClockQuality.SYNCHRONISED,
    ((1_700_000_000_000, 1_700_000_001_010),),
    ((230, -5), (10, 12)),
    (QualityMark(1, 0, Quality.STALE),),
)  # fmt: skip


@given(st.integers(1, 5), st.integers(1, 8), st.data())
def test_columns_come_back_as_they_were(columns, sweeps, data):
    table = [tuple(data.draw(values) for _ in range(sweeps)) for _ in range(columns)]
    assert decode_columns(encode_columns(table), columns, sweeps) == table


@pytest.mark.parametrize(
    "payload",
    [
        MAP,
        BATCH,
        OfferBatch(
            (Offer(1, 2, Side.SELL, 900, -3, OrderKind.MARKET, TimeInForce.FILL_OR_KILL, True),),
            (Cancel(4),),
        ),
        OfferBatch((Offer(1, 2, Side.BUY, -900, 1 << 62),)),
        OfferBatch((Offer(5, 2, Side.BUY, 9, 3, replaces=4, self_trade=SelfTrade.DECREMENT),)),
        OfferBatch(),
        LeaseReports((LeaseReport("a", LeaseState.ACTIVE, 5, -6, 7, "x"),)),
    ],
)
def test_every_kind_of_payload_comes_back_as_it_was(payload):
    assert decode_payload(encode_payload(payload)) == payload


def test_ten_sweeps_of_150_registers_cost_no_more_than_the_treaty_promises():
    import random

    draw = random.Random(1)
    times = tuple(
        tuple(1_700_000_000_000 + 1000 * t + draw.randrange(400) for t in range(10))
        for _ in range(10)
    )
    values = tuple(tuple(round(2300 + draw.gauss(0, 4)) for _ in range(10)) for _ in range(150))
    batch = SweepBatch(1, 1, 1, ClockQuality.SYNCHRONISED, times, values)
    assert len(encode_payload(batch)) / batch.readings < 1.3


@given(st.binary(max_size=300))
@settings(max_examples=500)
def test_any_bytes_decode_or_are_malformed(data):
    with contextlib.suppress(Malformed):
        decode_payload(data)


@given(st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=300)
def test_a_damaged_batch_decodes_or_is_malformed(place, octet):
    data = bytearray(encode_payload(BATCH))
    data[place % len(data)] = octet
    with contextlib.suppress(Malformed):
        decode_payload(bytes(data))


def _sweeps(**changes):
    message = payload_pb2.Payload()
    message.ParseFromString(encode_payload(BATCH))
    for name, value in changes.items():
        setattr(message.sweeps, name, value)
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sweeps": 0}, "sweeps"),
        ({"sweeps": 601}, "sweeps"),
        ({"sweeps": 3}, "columns"),
        ({"devices": 0}, "sweeps"),
        ({"registers": REGISTERS_PER_MAP_MAX + 1}, "sweeps"),
        ({"unit_ms": 0}, "sweeps"),
        ({"base_ms": -1}, "sweeps"),
        ({"clock_quality": 9}, "clock quality"),
        ({"columns": b"\x80" * 11}, "columns"),
        ({"columns": b"\x01" * 7}, "columns"),
        ({"marks": b"\x01"}, "marks"),
        ({"marks": b"\x05\x00\x01"}, "marks"),
        ({"marks": b"\x00\x00\x63"}, "quality"),
    ],
)
def test_a_header_that_lies_is_named(changes, field):
    with pytest.raises(Malformed, match=field):
        decode_payload(_sweeps(**changes))


def test_a_payload_over_the_limit_is_neither_made_nor_read():
    with pytest.raises(Malformed, match="limit"):
        decode_payload(bytes(PAYLOAD_BYTES_MAX + 1))
    huge = SweepBatch(
        1, 1, 1, ClockQuality.UNKNOWN, ((1,) * 600,), (((1 << 62) - 1, 0) * 300,) * 20
    )
    with pytest.raises(ValueError, match="limit"):
        encode_payload(huge)


def test_a_register_of_a_device_that_is_not_there_is_malformed():
    with pytest.raises(Malformed, match="device"):
        encode_payload(RegisterMap(1, MAP.devices, (RegisterEntry(1, Quantity.POWER_W),)))


def test_a_value_beyond_the_treaty_is_never_sent():
    with pytest.raises(ValueError, match="62 bits"):
        encode_columns([((1 << 62),)])


def test_a_clock_that_was_set_between_two_sweeps_still_encodes():
    times = ((1_000, 1_700_000_000_000, 1_000_500),)
    batch = SweepBatch(1, 1, 1, ClockQuality.FREE_RUNNING, times, ((1, 2, 3),))
    back = decode_payload(encode_payload(batch)).times_ms
    assert all(0 <= a - b < 10 for a, b in zip(times[0], back[0], strict=True))
