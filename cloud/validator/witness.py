"""The decision to cosign: one root at a time, each the continuation of the one before.

Decides whether a signed root gets this validator's cosignature: signed by the pinned log key,
larger than the last one, consistent with it by proof, and what the replica's own replay makes.
The root is on disk before its cosignature exists. Must never cosign two roots of one size, go
back, or go on after it has seen the operator contradict itself.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.ledger.evidence import (
    SEALED_OTHERWISE,
    TWO_ROOTS,
    Evidence,
    EvidenceError,
    check_evidence,
)
from cloud.ledger.log import is_consistent
from cloud.ledger.receipts import make_receipt
from cloud.store.durable import write_durably
from cloud.validator.replica import Replica
from protos.receipt import Checkpoint, ReceiptError, VerifierKey, open_checkpoint, parse_checkpoint
from protos.witness import cosign

LAST_FILE = "last.note"
NOTES_KEPT = 1_024

ProofReader = Callable[[int, int], Sequence[bytes]]
"""A consistency proof between two sizes, from whoever has one; only its check counts."""
NoteReader = Callable[[int], str]
"""The operator's signed root of one block; empty where it has none."""


class DistrustError(Exception):
    """The operator showed what cannot be true. The validator stops; `evidence` convicts, if any."""

    def __init__(self, problem: str, evidence: Evidence | None = None) -> None:
        super().__init__(problem)
        self.evidence = evidence


class Witness:
    """What this validator has put its name to."""

    def __init__(
        self,
        name: str,
        private_key: Ed25519PrivateKey,
        log_key: VerifierKey,
        state_dir: Path,
        replica: Replica,
    ) -> None:
        """Reads the last cosigned root. Raises DistrustError where the replica does not have it."""
        self._name = name
        self._private_key = private_key
        self._log_key = log_key
        self._path = state_dir / LAST_FILE
        self._replica = replica
        self._notes: dict[int, str] = {}
        self.last: Checkpoint | None = None
        self._last_note = ""
        if self._path.exists():
            self._last_note = self._path.read_text(encoding="utf-8")
            self.last = open_checkpoint(self._last_note, log_key)
            if self._own_root(self.last.size) != self.last.root:
                raise DistrustError(
                    f"the kept journal does not make the root in {self._path}; "
                    "restore both from one backup"
                )

    @property
    def size(self) -> int:
        """Leaves under the last cosigned root; 0 before the first."""
        return self.last.size if self.last else 0

    def judge(self, note: str, proof: ProofReader, numbered: NoteReader, at_s: int) -> str:
        """The note with this validator's cosignature. Raises DistrustError or ReceiptError.

        The replica must have been fed the journal up to the root first.
        """
        note = self._signed_part(note)
        checkpoint = open_checkpoint(note, self._log_key)
        own = self._own_root(checkpoint.size)
        if checkpoint.size < self.size:
            self._compare(note, checkpoint, numbered)
            raise DistrustError(f"history was cut: {checkpoint.size} leaves after {self.size}")
        if own is None:
            raise DistrustError(
                f"a root over {checkpoint.size} leaves was signed, but the journal makes only "
                f"{self._replica.log.size}"
            )
        if own != checkpoint.root:
            raise DistrustError(
                f"the root over {checkpoint.size} leaves is not what the journal makes",
                self._convict(note, checkpoint, numbered),
            )
        self._check_growth(checkpoint, proof)
        write_durably(self._path, note.encode())
        self.last, self._last_note = checkpoint, note
        self._remember(checkpoint.size, note)
        return note + cosign(checkpoint, self._name, self._private_key, at_s)

    def compare(self, note: str, numbered: NoteReader) -> bool:
        """Looks at a root that somebody else was shown. False while it is ahead of the replica.

        Raises DistrustError where the log was split, ReceiptError where the operator did not sign.
        """
        note = self._signed_part(note)
        checkpoint = open_checkpoint(note, self._log_key)
        if self._own_root(checkpoint.size) is None:
            return False
        self._compare(note, checkpoint, numbered)
        return True

    def _compare(self, note: str, checkpoint: Checkpoint, numbered: NoteReader) -> None:
        if self._own_root(checkpoint.size) != checkpoint.root:
            raise DistrustError(
                f"two roots were signed for {checkpoint.size} leaves",
                self._convict(note, checkpoint, numbered),
            )

    def _check_growth(self, checkpoint: Checkpoint, proof: ProofReader) -> None:
        last = self.last
        if last is None or last.size == 0:
            return
        nodes = [] if last.size == checkpoint.size else proof(last.size, checkpoint.size)
        if not is_consistent(last.size, last.root, checkpoint.size, checkpoint.root, nodes):
            raise DistrustError(
                f"no proof that {checkpoint.size} leaves continue the {last.size} cosigned before"
            )

    def _convict(self, note: str, checkpoint: Checkpoint, numbered: NoteReader) -> Evidence | None:
        """The strongest pair that convicts the operator; None where it left nothing signed."""
        for evidence in (
            *self._two_roots(note, checkpoint),
            *self._resigned(numbered),
            *self._sealed_otherwise(note, checkpoint),
        ):
            try:
                check_evidence(evidence)
            except EvidenceError:
                continue
            return evidence
        return None

    def _two_roots(self, note: str, checkpoint: Checkpoint) -> list[Evidence]:
        """This root against the one of equal size that was seen before."""
        if self.last is not None and self.last.size == checkpoint.size:
            known = self._last_note
        else:
            known = self._notes.get(checkpoint.size, "")
        return [Evidence(TWO_ROOTS, self._log_key.text(), known, note)] if known else []

    def _resigned(self, numbered: NoteReader) -> list[Evidence]:
        """The last cosigned root against what the operator shows for that block today."""
        number = self._replica.block_number(self.size)
        shown = numbered(number) if number else ""
        return [Evidence(TWO_ROOTS, self._log_key.text(), self._last_note, shown)] if shown else []

    def _sealed_otherwise(self, note: str, checkpoint: Checkpoint) -> list[Evidence]:
        """This root against the log's own leaf about that size, under the last cosigned root."""
        if checkpoint.size >= self.size:
            return []
        leaf = self._replica.leaf(checkpoint.size)
        if leaf is None:
            return []
        try:
            receipt = make_receipt(
                self._replica.log, checkpoint.size, leaf, self._last_note, self._log_key
            )
        except (ReceiptError, ValueError):
            return []
        return [Evidence(SEALED_OTHERWISE, self._log_key.text(), note, receipt)]

    def _own_root(self, size: int) -> bytes | None:
        log = self._replica.log
        return log.root(size) if size <= log.size else None

    def _remember(self, size: int, note: str) -> None:
        self._notes[size] = note
        if len(self._notes) > NOTES_KEPT:
            del self._notes[next(iter(self._notes))]

    @staticmethod
    def _signed_part(note: str) -> str:
        """The note with the operator's line alone; the operator's line comes first."""
        checkpoint, lines = parse_checkpoint(note)
        return f"{checkpoint.text()}\n{''.join(lines[:1])}"
