"""Types, orders and sentinels, against an independent packer and both ways."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.devices.registers import (
    KINDS,
    ORDERS,
    BadValue,
    decode,
    encode,
    encode_bits,
    words_of,
)

PACKED = {
    "u16": "H",
    "i16": "h",
    "u32": "I",
    "i32": "i",
    "u64": "Q",
    "i64": "q",
    "f32": "f",
    "f64": "d",
    "acc32": "I",
    "acc64": "Q",
}


def octets_in(order, octets):
    """The order as its letters say, done on octets and not on words."""
    swapped = octets
    if order in {"DCBA", "CDAB"}:
        swapped = b"".join(octets[i : i + 2] for i in range(len(octets) - 2, -1, -2))
    if order in {"BADC", "DCBA"}:
        swapped = b"".join(swapped[i : i + 2][::-1] for i in range(0, len(swapped), 2))
    return swapped


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "str"])
def test_every_type_in_every_order_agrees_with_an_independent_packer(kind, order):
    for value in (1, 258, 12345, -2, -30000):
        if value < 0 and kind[0] in "ua":
            continue
        octets = octets_in(order, struct.pack(">" + PACKED[kind], value))
        words = struct.unpack(f">{len(octets) // 2}H", octets)
        assert decode(words, kind, order) == value
        assert encode(value, kind, order) == words


def test_the_letters_mean_what_manuals_mean_by_them():
    assert encode(0x11223344, "u32", "ABCD") == (0x1122, 0x3344)
    assert encode(0x11223344, "u32", "CDAB") == (0x3344, 0x1122)
    assert encode(0x11223344, "u32", "BADC") == (0x2211, 0x4433)
    assert encode(0x11223344, "u32", "DCBA") == (0x4433, 0x2211)


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(ORDERS))
def test_sixty_four_bits_survive(value, order):
    assert decode(encode(value, "i64", order), "i64", order) == value


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from(ORDERS))
def test_floats_survive(value, order):
    assert decode(encode(value, "f32", order), "f32", order) == value


@pytest.mark.parametrize("words", [(0x7FC0, 0), (0xFFFF, 0xFFFF), (0x7F80, 0), (0xFF80, 0)])
def test_a_float_that_is_no_number_is_not_available(words):
    assert decode(words, "f32") is None


@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        ("u16", 0xFFFF),
        ("i16", 0x8000),
        ("u32", 0xFFFFFFFF),
        ("i32", 0x80000000),
        ("u64", 0xFFFFFFFFFFFFFFFF),
        ("i64", 0x7FFFFFFFFFFFFFFF),
    ],
)
@pytest.mark.parametrize("order", ORDERS)
def test_every_sentinel_is_not_available_in_every_order(kind, bits, order):
    words = encode_bits(bits, kind, order)
    assert decode(words, kind, order, {bits}) is None
    assert decode(words, kind, order) is not None


def test_an_accumulator_is_unsigned_and_its_zero_is_for_the_driver_to_judge():
    assert decode((0, 0), "acc32") == 0
    assert decode((0xFFFF, 0xFFFF), "acc32") == 0xFFFFFFFF
    assert decode((0, 0, 0, 1), "acc64") == 1


def test_text_ends_at_its_first_nul():
    assert encode("SDM630", "str", width=4) == (0x5344, 0x4D36, 0x3330, 0)
    assert decode((0x5344, 0x4D36, 0x3330, 0), "str") == "SDM630"
    assert decode((0x4453, 0x364D, 0x3033, 0), "str", "BADC") == "SDM630"
    assert decode((0, 0), "str") is None
    assert decode((0x4101, 0x4200), "str") is None


@pytest.mark.parametrize(
    ("value", "kind"), [(70000, "u16"), (-1, "u16"), (40000, "i16"), (1.5, "i32"), ("x", "u16")]
)
def test_a_value_that_does_not_fit_is_refused(value, kind):
    with pytest.raises(BadValue):
        encode(value, kind)


def test_a_wrong_number_of_registers_is_refused():
    with pytest.raises(BadValue):
        decode((1,), "u32")
    with pytest.raises(BadValue):
        encode("much too long", "str", width=2)
    assert [words_of(kind) for kind in ("u16", "f32", "i64")] == [1, 2, 4]
