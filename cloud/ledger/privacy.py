"""Personal data beside a log that never forgets: commitments in the log, the data in a vault.

The log gets a salted commitment to a record about a person, never the record; the vault keeps
record and salt, encrypted with a key of that person alone (AES-256-GCM). Destroying the key is the
erasure: what the log proves still verifies, and nobody can tell any more what it was about.
Decides nothing about who may read. Must never put a name, an address or a meter's serial into a
leaf, and never commit without a salt: a hash of something guessable is the thing itself.

Randomness comes in as an argument. Keys come from a `KeyStore`; whoever runs it must keep no copy
that outlives `destroy`.
"""

import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protos.ids import AccountId

SALT_BYTES = 32
KEY_BYTES = 32
NONCE_BYTES = 12
COMMITMENT_BYTES = 32
RECORD_BYTES_MAX = 64 * 1024

Randomness = Callable[[int], bytes]
"""So many octets that nobody can predict."""


class ErasedError(Exception):
    """The subject's key was destroyed; what the vault has of it can no longer be read."""


class KeyStore(Protocol):
    """One key a subject. In memory here, a file or a hardware module in service."""

    def get(self, subject: str) -> bytes | None: ...
    def put(self, subject: str, key: bytes) -> None: ...
    def destroy(self, subject: str) -> bool:
        """Whether there was one."""


@dataclass(slots=True)
class MemoryKeys:
    """Keys for tests and for a process that asks its operator at the start."""

    keys: dict[str, bytes] = field(default_factory=dict)

    def get(self, subject: str) -> bytes | None:
        return self.keys.get(subject)

    def put(self, subject: str, key: bytes) -> None:
        self.keys[subject] = key

    def destroy(self, subject: str) -> bool:
        return self.keys.pop(subject, None) is not None


def commitment(salt: bytes, record: bytes) -> bytes:
    """What stands in the log for this record: HMAC-SHA-256 under its own salt."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes")
    return hmac.digest(salt, b"gridtokenx/commitment/v1\x00" + record, sha256)


def opens(committed: bytes, salt: bytes, record: bytes) -> bool:
    """Whether the commitment is to this record."""
    return len(salt) == SALT_BYTES and hmac.compare_digest(committed, commitment(salt, record))


def pseudonym(secret: bytes, account: AccountId, period: int) -> AccountId:
    """The account's name in the leaves of one billing period.

    Two periods of one account cannot be linked without the secret, which is the subject's key.
    """
    digest = blake2b(key=secret, digest_size=16, person=b"gtx/pseudonym")
    digest.update(period.to_bytes(8, "big", signed=True) + account.encode())
    return AccountId(digest.hexdigest())


@dataclass(slots=True)
class Vault:
    """Encrypted records by subject and commitment."""

    keys: KeyStore
    randomness: Randomness
    _boxes: dict[str, dict[bytes, bytes]] = field(default_factory=dict)

    def keep(self, subject: str, record: bytes) -> bytes:
        """Stores a record about a subject and returns the commitment that goes into the log.

        Raises ValueError for a record that is too long.
        """
        if len(record) > RECORD_BYTES_MAX:
            raise ValueError(f"a record has at most {RECORD_BYTES_MAX} bytes")
        key = self.keys.get(subject)
        if key is None:
            key = self.randomness(KEY_BYTES)
            self.keys.put(subject, key)
        salt = self.randomness(SALT_BYTES)
        committed = commitment(salt, record)
        nonce = self.randomness(NONCE_BYTES)
        box = nonce + AESGCM(key).encrypt(nonce, salt + record, _bound_to(subject, committed))
        self._boxes.setdefault(subject, {})[committed] = box
        return committed

    def read(self, subject: str, committed: bytes) -> tuple[bytes, bytes]:
        """Salt and record. Raises KeyError for what was never kept, ErasedError after erasure."""
        box = self._boxes[subject][committed]
        key = self.keys.get(subject)
        if key is None:
            raise ErasedError(f"the key of {subject!r} was destroyed")
        nonce, sealed = box[:NONCE_BYTES], box[NONCE_BYTES:]
        try:
            plain = AESGCM(key).decrypt(nonce, sealed, _bound_to(subject, committed))
        except InvalidTag:
            # A key made for the same subject after an erasure does not bring the past back.
            raise ErasedError(f"what is kept of {subject!r} was under a destroyed key") from None
        return plain[:SALT_BYTES], plain[SALT_BYTES:]

    def erase(self, subject: str) -> bool:
        """Destroys the subject's key. Whether there was one; the second time there is not."""
        return self.keys.destroy(subject)

    def boxes(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Subject, commitment and ciphertext of everything, for a backup: useless without keys."""
        for subject, kept in self._boxes.items():
            for committed, box in kept.items():
                yield subject, committed, box

    def restore(self, subject: str, committed: bytes, box: bytes) -> None:
        """Puts a box of a backup back. What was erased stays erased."""
        self._boxes.setdefault(subject, {})[committed] = box


def _bound_to(subject: str, committed: bytes) -> bytes:
    """A box opens only in its own place: not under another subject or commitment."""
    return subject.encode() + b"\x00" + committed
