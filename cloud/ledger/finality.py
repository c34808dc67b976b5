"""Which root is final: the cosignatures on the log's checkpoints, counted by the policy.

Decides whether a cosignature counts and whether a root is final. A root is final when enough
validators cosigned it itself; every smaller one is then final too, because each validator checked
that the log only grew. Must never count a cosignature that does not verify, and never go back:
the final size only rises. Bounded: of the newest CHECKPOINTS_KEPT roots one line a witness is kept.
"""

from dataclasses import dataclass, field

from protos.receipt import Checkpoint, ReceiptError, parse_checkpoint
from protos.witness import Policy, cosigned_at_s

CHECKPOINTS_KEPT = 64


class CosignatureError(ValueError):
    """The cosignature does not count. `status` is the HTTP status that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Sealed:
    """One published root and who has cosigned it. `at_ns` is the publisher's monotonic time."""

    number: int
    checkpoint: Checkpoint
    note: str
    at_ns: int
    lines: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Status:
    """How far the log is final, and what is missing. Sizes are leaves, ages nanoseconds."""

    number: int
    size: int
    newest_number: int
    newest_size: int
    age_ns: int
    cosigned_size: dict[str, int]
    stake: int
    stake_total: int
    problem: str


class Finality:
    """The newest roots and their cosignatures."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._sealed: dict[int, Sealed] = {}
        self._final: Sealed | None = None
        self._final_ns = 0
        self._cosigned: dict[str, int] = {}

    @property
    def final_number(self) -> int:
        return self._final.number if self._final else 0

    @property
    def final_size(self) -> int:
        return self._final.checkpoint.size if self._final else 0

    @property
    def final_note(self) -> str:
        """The newest final checkpoint with no more cosignatures than it needs; empty for none."""
        if self._final is None:
            return ""
        return self._final.note + "".join(self.policy.enough(self._final.lines))

    def publish(self, number: int, note: str, at_ns: int) -> str:
        """A root was signed. Returns the note with the operator's signature alone.

        It may bear cosignatures from before a restart, which count.
        """
        checkpoint, lines = parse_checkpoint(note)
        sealed = Sealed(number, checkpoint, f"{checkpoint.text()}\n{lines[0]}", at_ns)
        if not self._sealed:
            self._final_ns = at_ns
        self._sealed[checkpoint.size] = sealed
        for line in lines[1:]:
            name = self.policy.signer(line)
            if name:
                self._count(sealed, name, line, at_ns)
        while len(self._sealed) > CHECKPOINTS_KEPT:
            del self._sealed[next(iter(self._sealed))]
        return sealed.note

    def take(self, note: str, at_ns: int) -> Sealed:
        """Counts the cosignatures of a note that a validator sent; returns the root they are on.

        Raises CosignatureError; nothing is then counted.
        """
        try:
            checkpoint, lines = parse_checkpoint(note)
        except ReceiptError as error:
            raise CosignatureError(400, str(error)) from error
        sealed = self._sealed.get(checkpoint.size)
        if sealed is None:
            raise CosignatureError(409, f"no root of {checkpoint.size} leaves is waiting")
        if checkpoint != sealed.checkpoint:
            raise CosignatureError(409, "this is not the root that was signed for that size")
        if lines and sealed.note.endswith(f"\n\n{lines[0]}"):
            lines = lines[1:]
        names = [self.policy.signer(line) for line in lines]
        if not names or "" in names:
            raise CosignatureError(403, "a line is by no validator that the policy names")
        for name, line in zip(names, lines, strict=True):
            try:
                cosigned_at_s(checkpoint, line, self.policy.witnesses[name])
            except ReceiptError as error:
                raise CosignatureError(400, str(error)) from error
        for name, line in zip(names, lines, strict=True):
            self._count(sealed, name, line, at_ns)
        return sealed

    def cosigned_note(self, sealed: Sealed) -> str:
        """The checkpoint with all cosignatures so far, in the policy's order."""
        lines = [sealed.lines[name] for name in self.policy.witnesses if name in sealed.lines]
        return sealed.note + "".join(lines)

    @property
    def newest_note(self) -> str:
        """The newest checkpoint with all its cosignatures so far; empty before the first."""
        newest = self._newest()
        return self.cosigned_note(newest) if newest else ""

    def status(self, at_ns: int) -> Status:
        """Where the log stands now, with words for what is missing."""
        newest = self._newest()
        caught_up = newest is not None and newest is self._final
        names = newest.lines if newest else {}
        return Status(
            self.final_number,
            self.final_size,
            newest.number if newest else 0,
            newest.checkpoint.size if newest else 0,
            0 if caught_up else at_ns - self._final_ns,
            {name: self._cosigned.get(name, 0) for name in self.policy.witnesses},
            self.policy.stake_of(names),
            self.policy.stake_total,
            "" if caught_up else self._problem(newest),
        )

    def _newest(self) -> Sealed | None:
        return next(reversed(self._sealed.values()), None)

    def _problem(self, newest: Sealed | None) -> str:
        if not self.policy.witnesses:
            return "no validator is configured; roots bear the operator's signature alone"
        if newest is None:
            return "no root has been signed yet"
        silent = [name for name in self.policy.witnesses if name not in newest.lines]
        return (
            f"block {newest.number} has {self.policy.stake_of(newest.lines)} of "
            f"{self.policy.stake_total} stake; not heard: {', '.join(silent)}"
        )

    def _count(self, sealed: Sealed, name: str, line: str, at_ns: int) -> None:
        sealed.lines.setdefault(name, line)
        size = sealed.checkpoint.size
        self._cosigned[name] = max(self._cosigned.get(name, 0), size)
        if size > self.final_size and self.policy.is_final(sealed.lines):
            self._final, self._final_ns = sealed, at_ns
