"""Who checks signatures, and how many at a time.

Decides nothing but yes or no. Both checkers give the same answer to every key, signature and
message (see tests/ext/test_ed25519.py), so what one aggregator journaled no validator can refuse.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Signed(NamedTuple):
    """A message that must be signed by a key, opened by the checker that is to check it."""

    key: Any
    signature: bytes
    message: bytes


class Checker(Protocol):
    """Checks Ed25519 signatures."""

    def open(self, public: bytes) -> Any:
        """A key made ready to be checked with often. Raises ValueError for what is no key."""

    def are_valid(self, signed: Sequence[Signed]) -> list[bool]:
        """One answer each. Blocks; meant for a worker thread."""


class OneByOne:
    """OpenSSL's check, which decides what is valid."""

    def open(self, public: bytes) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(public)

    def are_valid(self, signed: Sequence[Signed]) -> list[bool]:
        return [_is_valid(*item) for item in signed]


class Together:
    """The compiled check: a fifth of the time, and the interpreter's lock is free meanwhile.

    Keys that it does not take, because they are not in canonical form, are OpenSSL's to judge.
    """

    def __init__(self) -> None:
        from ext import ed25519

        self._compiled = ed25519

    def open(self, public: bytes) -> Any:
        try:
            return self._compiled.Key(public)
        except ValueError:
            return Ed25519PublicKey.from_public_bytes(public)

    def are_valid(self, signed: Sequence[Signed]) -> list[bool]:
        ours = [item for item in signed if isinstance(item.key, self._compiled.Key)]
        answers = self._compiled.are_valid(
            [item.key for item in ours],
            [item.signature for item in ours],
            [item.message for item in ours],
        )
        if len(ours) == len(signed):
            return answers
        found = iter(answers)
        return [
            next(found) if isinstance(item.key, self._compiled.Key) else _is_valid(*item)
            for item in signed
        ]


def fast_checker() -> Checker:
    """The compiled one where it was built."""
    try:
        return Together()
    except ImportError:
        return OneByOne()


def _is_valid(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
