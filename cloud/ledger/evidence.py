"""Evidence of equivocation: two statements of one signer that no honest one can both have made.

Two kinds, each complete in itself and checkable without a network:
- two checkpoints of equal size and different root, both signed (or cosigned) with the same key;
- a checkpoint over (size, root), and a receipt under the same log's key which proves that the log
  itself says another root for that size (a `BlockSealed` leaf).

Decides whether such a pair convicts a key. Must never convict on one statement, on a replay of the
same one, or on anything the key did not sign.
"""

from dataclasses import dataclass

import msgspec

from cloud.facts import BlockSealed, decode_fact
from protos.receipt import (
    ED25519,
    Checkpoint,
    ReceiptError,
    VerifierKey,
    is_signed,
    parse_checkpoint,
    parse_key,
    signature_of,
    verify,
)
from protos.witness import COSIGNATURE, cosigned_at_s

TWO_ROOTS = "two-roots"
SEALED_OTHERWISE = "sealed-otherwise"
NOTE_BYTES_MAX = 8_192


class EvidenceError(ValueError):
    """The two texts convict nobody; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """`first` is a note; `second` a note too, or the receipt of a BlockSealed leaf. `key` signed."""

    kind: str
    key: str
    first: str
    second: str

    def text(self) -> str:
        """As JSON, for a file or a wire."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1).decode() + "\n"


def parse_evidence(text: str | bytes) -> Evidence:
    """What `Evidence.text` wrote. Raises EvidenceError."""
    try:
        return msgspec.json.decode(text, type=Evidence)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EvidenceError(f"this is no evidence file: {error}") from error


def check_evidence(evidence: Evidence) -> int:
    """The size at which the key contradicted itself. Raises EvidenceError where it did not."""
    if max(len(evidence.first), len(evidence.second)) > NOTE_BYTES_MAX:
        raise EvidenceError(f"a statement has at most {NOTE_BYTES_MAX} characters")
    try:
        if evidence.kind == TWO_ROOTS:
            key = _any_key(evidence.key)
            return _contradiction(_signed(evidence.first, key), _signed(evidence.second, key))
        if evidence.kind == SEALED_OTHERWISE:
            first = _signed(evidence.first, parse_key(evidence.key))
            return _contradiction(first, _sealed(evidence.second, evidence.key))
    except ReceiptError as error:
        raise EvidenceError(str(error)) from error
    raise EvidenceError(f"{evidence.kind!r} is no kind of evidence")


def _contradiction(first: Checkpoint, second: Checkpoint) -> int:
    if first.origin != second.origin:
        raise EvidenceError("the statements are about two logs")
    if first.size != second.size:
        raise EvidenceError("the statements are about two sizes; a log may grow")
    if first.root == second.root:
        raise EvidenceError("the statements agree")
    return first.size


def _any_key(text: str) -> VerifierKey:
    try:
        return parse_key(text, ED25519)
    except ReceiptError:
        return parse_key(text, COSIGNATURE)


def _signed(note: str, key: VerifierKey) -> Checkpoint:
    """The checkpoint that one line of this note says the key signed."""
    checkpoint, lines = parse_checkpoint(note)
    for line in lines:
        try:
            if key.kind == COSIGNATURE:
                cosigned_at_s(checkpoint, line, key)
                return checkpoint
            if is_signed(checkpoint.text(), signature_of(line, key), key):
                return checkpoint
        except ReceiptError:
            continue
    raise EvidenceError(f"{key.name} did not sign a statement that it is blamed for")


def _sealed(receipt: str, key: str) -> Checkpoint:
    """The root that the log says it had, by its own leaf."""
    proven = verify(receipt, key)
    try:
        fact = decode_fact(proven.leaf)
    except msgspec.DecodeError as error:
        raise EvidenceError(f"the leaf is no fact: {error}") from error
    if not isinstance(fact, BlockSealed) or fact.size != proven.index:
        raise EvidenceError("the leaf is not the seal of a root")
    return Checkpoint(proven.checkpoint.origin, fact.size, fact.root)
