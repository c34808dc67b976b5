"""Frames: published examples, both directions, any fragmentation, nothing guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.devices.modbus import frames
from edge.devices.modbus.frames import Fault, Malformed, Reply, Request

# Examples of the Modbus application protocol 1.1b3, section 6.
EXAMPLES = [
    (Request(17, 3, 0x6B, 3), "03006b0003", Reply(17, 3, (0x22B, 0, 0x64)), "0306022b00000064"),
    (Request(17, 4, 8, 1), "0400080001", Reply(17, 4, (10,)), "0402000a"),
    (Request(17, 6, 1, 1, (3,)), "0600010003", Reply(17, 6, (3,), 1, 1), "0600010003"),
    (Request(17, 5, 0xAC, 1, (1,)), "0500acff00", Reply(17, 5, (1,), 0xAC, 1), "0500acff00"),
    (
        Request(17, 16, 1, 2, (10, 0x102)),
        "100001000204000a0102",
        Reply(17, 16, (), 1, 2),
        "1000010002",
    ),
    (
        Request(17, 15, 0x13, 10, (1, 0, 1, 1, 0, 0, 1, 1, 1, 0)),
        "0f0013000a02cd01",
        Reply(17, 15, (), 0x13, 10),
        "0f0013000a",
    ),
]


@pytest.mark.parametrize(("request_", "asked", "reply", "answered"), EXAMPLES)
def test_the_standards_examples_pass_both_ways(request_, asked, reply, answered):
    assert frames.request_pdu(request_).hex() == asked
    assert frames.parse_request(17, bytes.fromhex(asked)) == request_
    assert frames.reply_pdu(reply).hex() == answered
    assert frames.parse_reply(17, bytes.fromhex(answered)) == reply


def test_the_checksum_is_the_one_on_real_lines():
    assert frames.to_rtu(1, bytes.fromhex("0300000001")).hex() == "010300000001840a"


def test_bits_come_in_whole_octets():
    pdu = bytes.fromhex("0103cd6b05")
    values = frames.parse_reply(1, pdu).values
    assert len(values) == 24
    assert values[:8] == (1, 0, 1, 1, 0, 0, 1, 1)


requests = st.one_of(
    st.builds(
        Request,
        st.integers(1, 247),
        st.sampled_from([1, 2, 3, 4]),
        st.integers(0, 60000),
        st.integers(1, 125),
    ),
    st.builds(
        lambda u, a, v: Request(u, 16, a, len(v), tuple(v)),
        st.integers(1, 247),
        st.integers(0, 60000),
        st.lists(st.integers(0, 65535), min_size=1, max_size=123),
    ),
    st.builds(
        lambda u, a, v: Request(u, 15, a, len(v), tuple(v)),
        st.integers(1, 247),
        st.integers(0, 60000),
        st.lists(st.integers(0, 1), min_size=1, max_size=500),
    ),
)


@given(requests, st.integers(0, 65535), st.binary(max_size=20))
def test_every_request_survives_both_framings_with_more_behind_it(request_, transaction, more):
    pdu = frames.request_pdu(request_)
    octets = frames.to_rtu(request_.unit, pdu)
    assert frames.next_rtu_request(octets + more) == (len(octets), request_)
    assert all(frames.next_rtu_request(octets[:n]) == (0, None) for n in range(len(octets)))
    octets = frames.to_tcp(transaction, request_.unit, pdu)
    assert frames.next_tcp_request(octets + more) == (len(octets), transaction, request_)
    assert all(frames.next_tcp_request(octets[:n])[0] == 0 for n in range(len(octets)))


@given(st.integers(1, 247), st.lists(st.integers(0, 65535), min_size=1, max_size=125))
def test_every_answer_survives_in_pieces(unit, words):
    reply = Reply(unit, 3, tuple(words))
    octets = frames.to_rtu(unit, frames.reply_pdu(reply))
    assert frames.next_rtu_reply(octets) == (len(octets), reply)
    assert all(frames.next_rtu_reply(octets[:n]) == (0, None) for n in range(len(octets)))


@given(st.data())
def test_a_flipped_bit_is_never_an_answer(data):
    octets = bytearray(frames.to_rtu(9, frames.reply_pdu(Reply(9, 4, (1, 2, 3)))))
    bit = data.draw(st.integers(0, 8 * len(octets) - 1))
    octets[bit // 8] ^= 1 << bit % 8
    try:
        used, frame = frames.next_rtu_reply(bytes(octets))
    except Malformed:
        return
    # The octet count grew: more would be awaited, and the deadline ends it.
    assert (used, frame) == (0, None)


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        ("2b0e0100", 1),
        ("0300", 3),
        ("0300000000", 3),
        ("030000007e", 3),
        ("03fffe0004", 2),
        ("0500ac1234", 3),
        ("100001000204000a01", 3),
        ("100001000203000a01", 3),
        ("030000000100", 3),
    ],
)
def test_a_bad_request_comes_back_as_the_exception_it_deserves(pdu, code):
    octets = bytes.fromhex(pdu)
    assert frames.parse_request(1, octets) == Fault(1, octets[0] & 0x7F, code)


@pytest.mark.parametrize(
    "pdu", ["03", "0303000102", "0305000102", "83", "830201", "2b0e", "0500ac1234"]
)
def test_a_bad_answer_is_refused(pdu):
    with pytest.raises(Malformed):
        frames.parse_reply(1, bytes.fromhex(pdu))


def test_a_header_that_is_none_ends_the_stream():
    with pytest.raises(Malformed):
        frames.next_tcp(b"GET / HTTP/1.1\r\n")
    with pytest.raises(Malformed):
        frames.next_tcp(bytes.fromhex("0001000000010103"))


@given(st.binary(max_size=300))
def test_no_octets_can_break_the_parsers(octets):
    for parse in (
        frames.next_rtu_reply,
        frames.next_rtu_request,
        frames.next_tcp_reply,
        frames.next_tcp_request,
    ):
        try:
            used = parse(octets)[0]
        except Malformed:
            continue
        assert 0 <= used <= len(octets)
