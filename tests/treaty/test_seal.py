"""What an envelope proves, and what it refuses."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.ids import device_id, effect_id, is_device_id
from protos.limits import PAYLOAD_BYTES_MAX
from protos.seal import GENESIS, Sealed, is_authentic, is_well_formed, link, seal


class Key:
    """A signer in memory."""

    def __init__(self, seed: int = 1) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public = self.private.public_key()
        self.device = device_id(self.public.public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message)


KEY = Key()
SEALED = seal(KEY, 7, b"\x11" * 32, b"twelve bytes")


def test_a_sealed_payload_is_authentic_for_its_device_only():
    assert is_authentic(KEY.public, KEY.device, SEALED)
    other = Key(2)
    assert not is_authentic(other.public, other.device, SEALED)
    assert not is_authentic(KEY.public, other.device, SEALED)


def test_flipping_any_bit_of_the_signed_bytes_is_seen():
    for field in ("previous", "payload", "signature"):
        octets = bytearray(getattr(SEALED, field))
        for bit in range(len(octets) * 8):
            octets[bit // 8] ^= 1 << bit % 8
            forged = Sealed(
                **{
                    name: bytes(octets) if name == field else getattr(SEALED, name)
                    for name in ("seq", "previous", "payload", "signature")
                }
            )
            assert not is_authentic(KEY.public, KEY.device, forged)
            octets[bit // 8] ^= 1 << bit % 8


@given(st.integers(1, 1 << 62))
@settings(max_examples=50)
def test_another_sequence_is_another_message(seq):
    moved = Sealed(seq, SEALED.previous, SEALED.payload, SEALED.signature)
    assert is_authentic(KEY.public, KEY.device, moved) == (seq == SEALED.seq)


def test_each_envelope_names_the_one_before_it():
    first = seal(KEY, 1, GENESIS, b"a")
    second = seal(KEY, 2, link(KEY.device, first), b"b")
    assert second.previous == link(KEY.device, first)
    assert link(KEY.device, first) != link(KEY.device, seal(KEY, 1, GENESIS, b"c"))


def test_a_new_signature_over_the_same_bytes_cannot_fork_the_chain():
    resigned = Sealed(SEALED.seq, SEALED.previous, SEALED.payload, b"\x00" * 64)
    assert link(KEY.device, resigned) == link(KEY.device, SEALED)


@pytest.mark.parametrize(
    "broken",
    [
        Sealed(0, GENESIS, b"x", bytes(64)),
        Sealed(1 << 63, GENESIS, b"x", bytes(64)),
        Sealed(1, b"", b"x", bytes(64)),
        Sealed(1, GENESIS, b"", bytes(64)),
        Sealed(1, GENESIS, bytes(PAYLOAD_BYTES_MAX + 1), bytes(64)),
        Sealed(1, GENESIS, b"x", bytes(63)),
    ],
)
def test_sizes_are_refused_before_any_cryptography(broken):
    assert not is_well_formed(broken)


def test_a_payload_out_of_bounds_is_never_sealed():
    with pytest.raises(ValueError, match="a payload has"):
        seal(KEY, 1, GENESIS, b"")


def test_a_device_is_its_key_and_an_effect_its_cause():
    assert is_device_id(KEY.device)
    assert not is_device_id(KEY.device.upper() + "0")
    with pytest.raises(ValueError, match="32 bytes"):
        device_id(b"short")
    assert effect_id("x", "ab", "c") != effect_id("x", "a", "bc")
    assert effect_id("x", 1) == effect_id("x", 1)
