"""The fast way into an envelope against protobuf."""

from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from ext.envelope import open_sealed
from protos import gateway_pb2 as pb

OCTETS = st.binary(min_size=1, max_size=300)


def fields(sealed):
    return sealed.seq, sealed.previous, sealed.payload, sealed.signature


@given(st.integers(1, (1 << 63) - 1), OCTETS, OCTETS, OCTETS)
def test_what_protobuf_writes_is_opened_without_it(seq, previous, payload, signature):
    sealed = pb.SealedPayload(seq=seq, previous=previous, payload=payload, signature=signature)
    message = pb.ConnectRequest(sealed=sealed).SerializeToString()
    assert open_sealed(message) == (seq, previous, payload, signature)
    for other in (pb.ConnectRequest(glimpse=sealed), pb.ConnectRequest(heartbeat={"now_ns": seq})):
        assert open_sealed(other.SerializeToString()) is None


@st.composite
def damaged(draw):
    """A message with a few octets changed, cut, doubled or added."""
    sealed = pb.SealedPayload(
        seq=draw(st.integers(0, (1 << 64) - 1)),
        previous=draw(st.binary(max_size=33)),
        payload=draw(st.binary(max_size=140)),
        signature=draw(st.binary(max_size=65)),
    )
    data = bytearray(pb.ConnectRequest(sealed=sealed).SerializeToString())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 3)):
            case 0 if data:
                data[at] = draw(st.integers(0, 255))
            case 1:
                del data[at:]
            case 2:
                data += data[at:]
            case _:
                data[at:at] = draw(st.binary(max_size=4))
    return bytes(data)


@settings(max_examples=600, deadline=None)
@given(damaged())
def test_whatever_it_opens_protobuf_reads_the_same(data):
    opened = open_sealed(data)
    if opened is None:
        return
    try:
        request = pb.ConnectRequest.FromString(data)
    except DecodeError:
        raise AssertionError("protobuf refuses what was opened") from None
    assert request.WhichOneof("body") == "sealed"
    assert fields(request.sealed) == opened


def test_lengths_that_lie_are_not_followed():
    whole = pb.ConnectRequest(
        sealed={"seq": 1, "previous": bytes(32), "payload": b"p", "signature": bytes(64)}
    ).SerializeToString()
    assert open_sealed(whole) is not None
    for length in range(len(whole)):
        assert open_sealed(whole[:length]) is None
    assert open_sealed(whole + b"\x00") is None
    assert open_sealed(b"\x12" + b"\xff" * 9 + b"\x7f" + whole) is None
