"""From a journal back to the machines: recovery at the start, and the proof that it is exact.

Recovery applies every record again and finds the follow-ups that a crash kept out of the journal.
`verify` does the same on a copy and compares what it finds with what was published: the leaves,
and every signed root.
"""

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cloud.commands import RULES_VERSION, Command, decode_command
from cloud.core import Core
from cloud.facts import BlockSealed, Fact
from cloud.flows import follow
from cloud.store.journal import Journal, Record, TamperedJournalError

FactListener = Callable[[Sequence[Fact], int], None]


@dataclass(slots=True)
class Rebuilt:
    """What recovery found besides the state: where to go on and what still has to be journaled.

    `lost` are follow-ups that no record has, by cause. `blocks` were made since leaf `first_leaf`
    and block `first_block`; both are 0 where the replay began with the first record.
    """

    seq: int = 0
    at_ns: int = 0
    commands: int = 0
    first_leaf: int = 0
    first_block: int = 0
    lost: dict[tuple[int, int], Command] = field(default_factory=dict)
    blocks: list[BlockSealed] = field(default_factory=list)


def rebuild(
    journal: Journal,
    core: Core,
    listener: FactListener | None = None,
    found: Rebuilt | None = None,
) -> Rebuilt:
    """Applies the journal to an empty core, or what came after `found` to the core it was found
    with. Raises TamperedJournalError.
    """
    found = found or Rebuilt()
    for record in journal.read(found.seq):
        facts = apply_record(core, record)
        if listener is not None:
            listener(facts, record.at_ns)
        if record.cause_seq:
            expected = found.lost.pop((record.cause_seq, record.cause_index), None)
            if expected is None:
                raise TamperedJournalError(record.seq, "follows from nothing in the journal")
        for index, command in enumerate(follow(facts)):
            found.lost[record.seq, index] = command
        found.blocks.extend(fact for fact in facts if isinstance(fact, BlockSealed))
        found.seq, found.at_ns = record.seq, record.at_ns
        found.commands += 1
    return found


def apply_record(core: Core, record: Record) -> list[Fact]:
    """One record under the rules it was made under."""
    if record.rules > RULES_VERSION:
        raise TamperedJournalError(
            record.seq, f"was written by a newer version (rules {record.rules}); update first"
        )
    return core.step(decode_command(record.body), record.at_ns)


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of a replay that was compared with everything published from the journal."""

    commands: int
    seconds: float
    state_hash: bytes
    leaves: int
    root: bytes
    problems: tuple[str, ...]

    @property
    def commands_per_s(self) -> float:
        return self.commands / self.seconds if self.seconds else 0.0


def verify(journal: Journal, core: Core, listener: FactListener | None = None) -> Verification:
    """Replays the journal and compares leaves and roots. Nothing is written."""
    began = time.perf_counter()
    found = rebuild(journal, core, listener)
    seconds = time.perf_counter() - began
    leaves = core.take_leaves()
    problems = compare_published(journal, leaves, found.blocks)
    return Verification(
        found.commands,
        seconds,
        core.state_hash(),
        len(leaves),
        core.bank.log.root(),
        tuple(problems),
    )


def compare_published(
    journal: Journal,
    leaves: Sequence[bytes],
    blocks: Sequence[BlockSealed],
    first_leaf: int = 0,
    first_block: int = 0,
) -> list[str]:
    """What of the stored leaves and signed roots is not what the journal makes; empty for none.

    `leaves` and `blocks` are those that the replay made, from `first_leaf` and after `first_block`.
    """
    problems = _compare_leaves(journal, leaves, first_leaf)
    return problems + _compare_roots(journal, blocks, first_block)


def _compare_leaves(journal: Journal, leaves: Sequence[bytes], first: int) -> list[str]:
    stored, made = journal.leaf_count(), first + len(leaves)
    if stored > made:
        return [f"{stored} leaves were stored but the journal makes only {made}: it was cut"]
    wrong = [i for i in range(first, stored) if journal.leaf(i) != leaves[i - first]]
    return [f"leaf {i} is not what the journal makes" for i in wrong[:10]]


def _compare_roots(journal: Journal, blocks: Sequence[BlockSealed], first_block: int) -> list[str]:
    """The newest signed checkpoint must be one of the roots that the replay made."""
    newest = journal.checkpoint()
    if newest is None:
        return []
    number = newest[0]
    if number > first_block and number not in {block.number for block in blocks}:
        return [f"block {number} was signed but the journal does not make it: it was cut"]
    problems = []
    for block in blocks:
        stored = journal.checkpoint(block.number)
        if stored is None:
            continue
        _, size, note = stored
        if size != block.size or _root_line(note) != block.root:
            problems.append(f"block {block.number}: the signed root is not the journal's")
    return problems


def _root_line(note: bytes) -> bytes:
    """The root in a C2SP checkpoint: its third line, base64."""
    lines = note.split(b"\n")
    return base64.b64decode(lines[2]) if len(lines) > 2 else b""
