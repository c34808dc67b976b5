"""The envelope: what is signed is what is carried, and each envelope names the one before it.

Signed bytes = DOMAIN | device id (16 bytes) | sequence (8, big-endian) | previous link (32) |
payload. The link of an envelope is the SHA-256 of exactly these bytes; the first envelope of a
device names 32 zero bytes. A payload is never parsed and serialised again to check a signature
(protobuf has no canonical form), and a signature is no part of the link, so re-signing cannot
fork a chain.
"""

from hashlib import sha256
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protos.ids import DeviceId
from protos.limits import PAYLOAD_BYTES_MAX

DOMAIN = b"gridtokenx/seal/v1\x00"
GENESIS = bytes(32)
LINK_BYTES = 32
SIGNATURE_BYTES = 64


class Signer(Protocol):
    """A device key that never leaves its place: file, TPM or PKCS#11 token."""

    @property
    def device(self) -> DeviceId: ...
    def sign(self, message: bytes) -> bytes:
        """A 64-byte Ed25519 signature."""


class Sealed(NamedTuple):
    """One envelope as it lies in the outbox, on the wire and in the journal."""

    seq: int
    previous: bytes
    payload: bytes
    signature: bytes


def signed_bytes(device: DeviceId, seq: int, previous: bytes, payload: bytes) -> bytes:
    return b"".join((DOMAIN, bytes.fromhex(device), seq.to_bytes(8, "big"), previous, payload))


def link(device: DeviceId, sealed: Sealed) -> bytes:
    """The name of this envelope, which the next one carries as `previous`."""
    return sha256(signed_bytes(device, sealed.seq, sealed.previous, sealed.payload)).digest()


def seal(signer: Signer, seq: int, previous: bytes, payload: bytes) -> Sealed:
    """Signs the payload as number `seq` (from 1) after the envelope named `previous`."""
    if not 0 < len(payload) <= PAYLOAD_BYTES_MAX:
        raise ValueError(f"a payload has 1 to {PAYLOAD_BYTES_MAX} bytes, this one {len(payload)}")
    signature = signer.sign(signed_bytes(signer.device, seq, previous, payload))
    return Sealed(seq, previous, payload, signature)


def is_well_formed(sealed: Sealed) -> bool:
    """Sizes and range, before any cryptography is spent on a stranger's bytes."""
    return (
        0 < sealed.seq < 1 << 63
        and len(sealed.previous) == LINK_BYTES
        and len(sealed.signature) == SIGNATURE_BYTES
        and 0 < len(sealed.payload) <= PAYLOAD_BYTES_MAX
    )


def is_authentic(key: Ed25519PublicKey, device: DeviceId, sealed: Sealed) -> bool:
    try:
        key.verify(
            sealed.signature, signed_bytes(device, sealed.seq, sealed.previous, sealed.payload)
        )
    except InvalidSignature:
        return False
    return True
