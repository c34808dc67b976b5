"""Names that both sides can compute: nothing here is drawn at random or handed out by a server.

A device is the hash of its public key, so a stolen name without the key is worthless and a key
cannot be enrolled under two names. An effect is the hash of what caused it, so that doing it twice
is visible as the same id.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import NewType

DeviceId = NewType("DeviceId", str)
"""32 lower-case hex digits: BLAKE2b-128 of the device's raw Ed25519 public key."""

AccountId = NewType("AccountId", str)
SiteId = NewType("SiteId", str)


def device_id(public_key: bytes) -> DeviceId:
    """The name of the device that holds this raw 32-byte Ed25519 public key."""
    if len(public_key) != 32:
        raise ValueError(f"an Ed25519 public key has 32 bytes, this one has {len(public_key)}")
    return DeviceId(blake2b(public_key, digest_size=16, person=b"gtx/device").hexdigest())


def is_device_id(text: str) -> bool:
    return len(text) == 32 and all(digit in "0123456789abcdef" for digit in text)


def effect_id(domain: str, *parts: str | int) -> str:
    """A 128-bit id, as 32 hex digits, of one effect: the same cause always names the same effect.

    Parts are length-prefixed, so ("ab", "c") and ("a", "bc") differ.
    """
    return _begun(domain, *parts).hexdigest()


def effects_of(domain: str, *parts: str | int) -> Callable[[str | int], str]:
    """`effect_id` of these parts and one more, for many effects that begin alike."""
    begun = _begun(domain, *parts)

    def effect(part: str | int) -> str:
        octets = str(part).encode()
        one = begun.copy()
        one.update(len(octets).to_bytes(4, "big") + octets)
        return one.hexdigest()

    return effect


def _begun(*parts: str | int) -> blake2b:
    octets = [str(part).encode() for part in parts]
    framed = b"".join([len(part).to_bytes(4, "big") + part for part in octets])
    return blake2b(framed, digest_size=16, person=b"gtx/effect")
