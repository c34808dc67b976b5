"""Commitments and erasures in the log: that a record about somebody exists, and that it is gone.

Decides whether a commitment or an erasure is new. Must never see what was committed to: the record
lies in the vault (`cloud.ledger.privacy`), and after an erasure nowhere.
"""

from dataclasses import dataclass, field

from cloud.commands import CommitRecord, RecordErasure
from cloud.facts import BankRefused, Fact, RecordCommitted, RecordsErased
from cloud.ledger.privacy import COMMITMENT_BYTES
from protos.messages import Refusal

PURPOSE_LETTERS_MAX = 64
ERASED_AT_ONCE_MAX = 1_000


@dataclass(slots=True)
class Commitments:
    """Every commitment in the log, and whether its record was erased."""

    erased: dict[bytes, bool] = field(default_factory=dict)

    def commit(self, command: CommitRecord) -> list[Fact]:
        """The same commitment again is no error: salts make a second one by chance impossible."""
        committed = command.commitment
        if len(committed) != COMMITMENT_BYTES or len(command.purpose) > PURPOSE_LETTERS_MAX:
            return [BankRefused(committed[:COMMITMENT_BYTES].hex(), int(Refusal.MALFORMED))]
        if committed in self.erased:
            return []
        self.erased[committed] = False
        return [RecordCommitted(committed, command.purpose)]

    def erase(self, command: RecordErasure) -> list[Fact]:
        """Refuses as a whole where one of the commitments was never made."""
        if len(command.commitments) > ERASED_AT_ONCE_MAX:
            return [BankRefused("erasure", int(Refusal.TOO_LARGE))]
        for committed in command.commitments:
            if committed not in self.erased:
                subject = committed[:COMMITMENT_BYTES].hex()
                return [BankRefused(subject, int(Refusal.MALFORMED))]
        fresh = tuple(c for c in dict.fromkeys(command.commitments) if not self.erased[c])
        for committed in fresh:
            self.erased[committed] = True
        return [RecordsErased(fresh, command.ground)] if fresh else []

    def state(self) -> object:
        return [[committed, gone] for committed, gone in self.erased.items()]
