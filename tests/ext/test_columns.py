"""The compiled column codec against its readable twin in the treaty."""

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext import columns
from protos.codec import Malformed, decode_columns, encode_columns

LARGE = (1 << 62) - 1
INT62 = st.integers(-LARGE, LARGE)
NEARBY = st.integers(-300, 300)


def outcome(decode, data, wide, tall):
    try:
        return [tuple(column) for column in decode(data, wide, tall)]
    except ValueError as error:
        return str(error)


@st.composite
def tables(draw):
    wide, tall = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    values = draw(st.sampled_from([NEARBY, st.integers(-(1 << 61), 1 << 61)]))
    return wide, tall, [[draw(values) for _ in range(tall)] for _ in range(wide)]


@st.composite
def wire_bytes(draw):
    """Mostly varints, some of them too long or too wide, cut anywhere."""
    varint = st.one_of(
        st.binary(min_size=1, max_size=2),
        INT62.map(lambda value: encode_columns([[value]])),
        st.integers(0, 12).map(lambda n: b"\x80" * n + b"\x01"),
        st.integers(0, 12).map(lambda n: b"\xff" * n + b"\x7f"),
    )
    data = b"".join(draw(st.lists(varint, max_size=12)))
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


@given(tables())
def test_what_is_encoded_is_the_same_bytes_and_comes_back(table):
    wide, tall, values = table
    data = encode_columns(values)
    assert columns.encode(values) == data
    assert outcome(columns.decode, data, wide, tall) == [tuple(column) for column in values]


@settings(max_examples=600)
@given(wire_bytes(), st.integers(-1, 5), st.integers(-1, 5))
def test_any_bytes_are_read_or_refused_in_the_same_words_as_by_the_twin(data, wide, tall):
    expected = outcome(decode_columns, data, wide, tall)
    assert outcome(columns.decode, data, wide, tall) == expected
    out = array("q", bytes(8 * max(0, wide) * max(0, tall)))
    if isinstance(expected, str):
        with pytest.raises(ValueError, match="columns: ") as caught:
            columns.decode_into(data, wide, tall, out)
        assert str(caught.value) == expected
    else:
        columns.decode_into(data, wide, tall, out)
        assert out.tolist() == [value for column in expected for value in column]


@pytest.mark.parametrize(
    ("data", "wide", "tall"),
    [
        (b"", 1, 1),
        (b"\x02\x02", 1, 1),
        (b"\x80", 1, 1),
        (b"\x80" * 10 + b"\x00", 1, 1),
        (b"\xff" * 9 + b"\x02", 1, 1),
        (encode_columns([[LARGE, 0, LARGE]])[:9] * 3, 1, 3),
        (encode_columns([[-LARGE]]) * 3, 1, 3),
        (b"\x00\x80", 1, 1),
        (b"\x00" + b"\x80" * 11, 1, 1),
    ],
)
def test_each_kind_of_malformed_input_is_refused(data, wide, tall):
    with pytest.raises(Malformed) as expected:
        decode_columns(data, wide, tall)
    with pytest.raises(ValueError, match="columns: ") as caught:
        columns.decode(data, wide, tall)
    assert str(caught.value) == str(expected.value)


def test_a_lying_header_costs_no_memory():
    with pytest.raises(ValueError, match="fewer values"):
        columns.decode(b"\x00" * 10, 1 << 40, 1 << 20)


def test_a_buffer_that_is_too_small_is_refused_before_it_is_written():
    out = array("q", [7, 7])
    with pytest.raises(ValueError, match="room for 2"):
        columns.decode_into(encode_columns([[1, 2, 3]]), 1, 3, out)
    assert out.tolist() == [7, 7]


def test_a_value_that_the_twin_refuses_is_not_written():
    for value in (LARGE + 2, -LARGE - 2):
        with pytest.raises(ValueError, match="beyond 62 bits") as expected:
            encode_columns([[value]])
        with pytest.raises(ValueError, match="beyond 62 bits") as caught:
            columns.encode([[value]])
        assert str(caught.value) == str(expected.value)
    with pytest.raises(OverflowError):
        columns.encode([[1 << 63]])


def test_a_difference_that_no_reader_would_take_is_not_written():
    with pytest.raises(ValueError, match="difference"):
        columns.encode([[-LARGE - 1, LARGE + 1]])


@settings(max_examples=400)
@given(
    tables(),
    st.integers(0, 8),
    st.integers(1, 1 << 53),
    st.integers(0, (1 << 32) - 1),
    st.integers(0, 1_000),
)
def test_reply_times_are_worked_out_or_refused_as_by_the_twin(table, devices, base, period, unit):
    wide, tall, values = table
    data = encode_columns(values)
    devices = min(devices, wide)
    said = []
    for decode in (columns.decode, decode_columns):
        try:
            said.append(decode(data, wide, tall).times(devices, base, period, unit, 1 << 53))
        except ValueError as error:
            said.append(str(error))
    assert said[0] == said[1]


def test_columns_are_made_when_they_are_asked_for_and_outlive_their_owner():
    table = [(1, 2), (3, 4), (5, 6)]
    rest = columns.decode(encode_columns(table), 3, 2).after(1)
    assert len(rest) == 2
    assert list(rest) == table[1:]
    assert rest[1] is rest[1]
    assert list(rest.after(1)) == table[2:]
    for beyond in (2, -1):
        with pytest.raises(IndexError):
            rest[beyond]
    with pytest.raises(IndexError):
        rest.after(3)
