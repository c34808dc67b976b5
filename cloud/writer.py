"""The single writer: commands in, journal first, machines second, facts out.

Everything that wants something of the machines hands a command over and is answered with its
facts. The writer takes what has gathered, checks signatures and commits all of it in one
transaction inside one call to its worker thread, then applies it in journal order on the event
loop, asks `flows` what follows, and journals that in turn. Nobody sees a fact whose command is
not on disk.

Bounds: the inbox holds WRITER_INBOX_MAX commands and callers wait when it is full; follow-ups do
not count, because what they follow from was already admitted, and they go before the inbox, so
they are few unless flows go round in a circle, which is a broken invariant. That, or a journal
that cannot write, stops the writer for good: the process ends and starts again by replay.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from cloud.commands import RULES_VERSION, AppendSealed, Command, SealBlock, encode_command
from cloud.core import Core
from cloud.facts import BlockSealed, Fact
from cloud.flows import follow
from cloud.replay import FactListener, Rebuilt, compare_published, rebuild
from cloud.signatures import Checker, OneByOne, Signed
from cloud.store.journal import Journal, Record, TamperedJournalError
from protos.clock import Clock
from protos.limits import WRITER_INBOX_MAX

BATCH_MAX = 1_024
"""Commands in one commit."""

HELD_S_MAX = 0.005
"""How long the event loop is held by applying before others get a turn."""

BUSY_BATCH, BUSY_ENVELOPES, BUSY_TICK_S = 4, 2, 0.01
FULL_BATCH, FULL_TICK_S = 64, 0.02
LARGE_BATCH = 512
PATIENT_TICK_S = 0.05
"""After a busy commit the next one waits a tick, after a full one a long tick, so that it carries
more, unless it already carries much; and longer while there is nothing but readings, for which
nobody waits. Who is alone is answered at once.
"""

LEAVES_AT_ONCE = 1_024
"""Leaves that gather before they are stored, so that a block never has many left to store."""

FOLLOWING_MAX = 16
"""How far what follows may be from the command that came from outside."""

log = logging.getLogger(__name__)
T = TypeVar("T")

CheckpointSigner = Callable[[BlockSealed], bytes]
CheckpointListener = Callable[[int, int, bytes], None]
Answer = Callable[[list[Fact] | Exception], None]
"""Is called once, on the event loop: with the facts, or with ForgedError or WriterStoppedError."""


class WriterStoppedError(Exception):
    """The writer takes no more commands.

    One that was handed over before was not applied; whether it is on disk the restart finds out.
    """


class ForgedError(Exception):
    """The check that came with a command failed; it was not journaled."""


@dataclass(slots=True)
class _Entry:
    command: Command
    cause: tuple[int, int] = (0, 0)
    following: int = 0
    answer: Answer | None = None
    signed: Signed | None = None
    is_patient: bool = False

    def tell(self, outcome: list[Fact] | Exception) -> None:
        answer, self.answer = self.answer, None
        if answer is not None:
            answer(outcome)


class Writer:
    """The one that applies commands. `start` recovers from the journal first."""

    def __init__(
        self,
        core: Core,
        journal: Journal,
        clock: Clock,
        sign: CheckpointSigner,
        checker: Checker | None = None,
        found: Rebuilt | None = None,
    ) -> None:
        """`found` is what a replay had found that left the core as it is given; else it is empty."""
        self.core = core
        self.checker = checker or OneByOne()
        self.commands = 0
        self.problem: BaseException | None = None
        self._journal = journal
        self._found = found or Rebuilt()
        self._clock = clock
        self._sign = sign
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._inbox: deque[_Entry] = deque()
        self._follow_ups: deque[_Entry] = deque()
        self._batch: Sequence[_Entry] = ()
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._listeners: list[tuple[FactListener, frozenset[type[Fact]]]] = []
        self._checkpoint_listeners: list[CheckpointListener] = []
        self._seq = 0
        self._at_ns = 0
        self._leaves: list[bytes] = []
        self._leaf_count = 0
        self._blocks: list[BlockSealed] = []
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def listen(self, listener: FactListener, *kinds: type[Fact]) -> None:
        """Calls back with the facts of every commit, in order, also during recovery.

        Where `kinds` are named, only with facts of these kinds, and only if there are any: most of
        the facts come of readings and concern few.
        """
        self._listeners.append((listener, frozenset(kinds)))

    def listen_checkpoints(self, listener: CheckpointListener) -> None:
        """Calls back with (number, size, note) of every root once it is stored."""
        self._checkpoint_listeners.append(listener)

    async def start(self) -> int:
        """Recovers, then runs. Returns how many commands were replayed."""
        before = self._found.commands
        found = rebuild(self._journal, self.core, self._publish, self._found)
        self._seq, self._at_ns, self.commands = found.seq, found.at_ns, found.commands
        # The stored leaves may end early: they are written after the commands that made them.
        leaves = self.core.take_leaves()
        problems = compare_published(
            self._journal, leaves, found.blocks, found.first_leaf, found.first_block
        )
        if problems:
            raise TamperedJournalError(found.seq, "; ".join(problems))
        stored = self._journal.leaf_count()
        fresh = leaves[stored - found.first_leaf :]
        await self._in_thread(self._journal.append_leaves, stored, fresh)
        self._leaf_count = stored + len(fresh)
        newest = self._journal.checkpoint()
        unsigned = [b for b in found.blocks if newest is None or b.number > newest[0]]
        self._blocks.extend(unsigned)
        await self._store_readable()
        self._follow_ups.extend(_Entry(command, key, 1) for key, command in found.lost.items())
        if self._follow_ups:
            log.warning("recovered %d follow-ups that a crash had cut off", len(self._follow_ups))
        self._task = asyncio.create_task(self._run(), name="writer")
        return found.commands - before

    async def submit(self, command: Command, signed: Signed | None = None) -> list[Fact]:
        """Journals and applies one command; returns its facts.

        `signed`, where given, is checked in the worker thread before the commit; if it is not
        valid, ForgedError is raised and nothing is journaled.
        """
        await self.wait_for_room()
        future: asyncio.Future[list[Fact]] = asyncio.get_running_loop().create_future()

        def answer(outcome: list[Fact] | Exception) -> None:
            if future.done():
                return
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self.hand_over(command, answer, signed)
        return await future

    @property
    def is_full(self) -> bool:
        """Whether `wait_for_room` would wait."""
        return len(self._inbox) >= WRITER_INBOX_MAX

    async def wait_for_room(self) -> None:
        """Until the inbox has room, or the writer has stopped."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    def hand_over(
        self,
        command: Command,
        answer: Answer | None = None,
        signed: Signed | None = None,
        *,
        is_patient: bool = False,
    ) -> None:
        """`submit` for callers that bound themselves and keep the order of their calls.

        What `is_patient` may wait a little for company. Raises UnknownZoneError or
        WriterStoppedError; `answer` is then never called.
        """
        self.core.check(command)
        if self._stopping or self.problem is not None:
            raise WriterStoppedError("the writer has stopped; the process restarts by replay")
        self._inbox.append(_Entry(command, answer=answer, signed=signed, is_patient=is_patient))
        self._wake.set()
        if not is_patient:
            self._urgent.set()

    async def keep_checkpoint(self, number: int, size: int, note: bytes) -> None:
        """Stores a signed root's note again once validators have cosigned it."""
        await self._in_thread(self._journal.put_checkpoint, number, size, note)

    async def settle(self) -> None:
        """Waits until nothing is queued and nothing follows any more. Raises WriterStoppedError."""
        while True:
            self._raise_problem()
            if self._is_done():
                return
            self._idle.clear()
            self._wake.set()
            self._urgent.set()
            await self._idle.wait()

    async def stop(self) -> None:
        """Takes nothing more, applies what is queued with all that follows, and closes.

        Raises WriterStoppedError if that fails; the restart finds what was left.
        """
        self._stopping = True
        self._wake.set()
        self._urgent.set()
        if self._task is not None:
            await asyncio.wait((self._task,))
        if self._leaves and self.problem is None:
            await self._store_readable()
        self._thread.shutdown()
        self._journal.close()
        self._raise_problem()

    # ---- the task ------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                batch = self._take()
                if batch:
                    await self._commit_and_apply(batch)
                    await self._gather(batch)
                elif self._stopping:
                    return
                else:
                    self._wake.clear()
                    self._idle.set()
                    await self._wake.wait()
                    self._idle.clear()
        except BaseException as problem:
            # A named supervisor's only broad except: whatever it was, no command may be applied
            # after it, and everybody who waits must hear of it.
            self.problem = problem
            self._fail_all(problem)
            raise
        finally:
            self._idle.set()

    async def _gather(self, committed: Sequence[_Entry]) -> None:
        queued = len(self._inbox) + len(self._follow_ups)
        if queued >= LARGE_BATCH or self._stopping:
            return
        envelopes = sum(type(entry.command) is AppendSealed for entry in committed)
        is_full = len(committed) >= FULL_BATCH
        if not is_full and len(committed) < BUSY_BATCH and envelopes < BUSY_ENVELOPES:
            return
        await asyncio.sleep(FULL_TICK_S if is_full else BUSY_TICK_S)
        if self._follow_ups or not all(entry.is_patient for entry in self._inbox):
            return
        self._urgent.clear()
        if not self._stopping:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._urgent.wait(), PATIENT_TICK_S)

    def _take(self) -> list[_Entry]:
        """Follow-ups first: a journey that has begun goes before one that has not."""
        batch: list[_Entry] = []
        for queue in (self._follow_ups, self._inbox):
            while queue and len(batch) < BATCH_MAX:
                batch.append(queue.popleft())
        self._room.set()
        return batch

    async def _commit_and_apply(self, batch: Sequence[_Entry]) -> None:
        self._batch = batch
        at_ns = max(self._clock.now_ns(), self._at_ns)
        records = await self._in_thread(self._commit, batch, at_ns)
        self._at_ns = at_ns
        outcomes: list[tuple[_Entry, list[Fact] | Exception]] = []
        try:
            await self._apply_all(batch, records, outcomes)
        finally:
            # All together: whoever sent many is answered once.
            for entry, outcome in outcomes:
                entry.tell(outcome)
        self._batch = ()
        self._leaves += self.core.take_leaves()
        if self._blocks or len(self._leaves) >= LEAVES_AT_ONCE:
            await self._store_readable()

    async def _apply_all(
        self,
        batch: Sequence[_Entry],
        records: Sequence[Record | None],
        outcomes: list[tuple[_Entry, list[Fact] | Exception]],
    ) -> None:
        """In journal order, with turns for others in between. What was applied is in `outcomes`."""
        loop = asyncio.get_running_loop()
        at_ns = self._at_ns
        published: list[Fact] = []
        held_from = loop.time()
        for entry, record in zip(batch, records, strict=True):
            if record is None:
                outcomes.append((entry, ForgedError()))
            else:
                facts = self._apply(entry, record)
                published += facts
                outcomes.append((entry, facts))
            if loop.time() - held_from > HELD_S_MAX:
                self._publish(published, at_ns)
                published = []
                await asyncio.sleep(0)
                held_from = loop.time()
        self._publish(published, at_ns)

    def _apply(self, entry: _Entry, record: Record) -> list[Fact]:
        facts = self.core.step(entry.command, record.at_ns)
        self.commands += 1
        following = entry.following + 1
        for index, command in enumerate(follow(facts)):
            assert following <= FOLLOWING_MAX, f"{type(command).__name__} follows without an end"
            self._follow_ups.append(_Entry(command, (record.seq, index), following))
        if isinstance(entry.command, SealBlock):
            self._blocks.extend(fact for fact in facts if isinstance(fact, BlockSealed))
        return facts

    def _commit(self, batch: Sequence[_Entry], at_ns: int) -> list[Record | None]:
        """In the worker thread: check signatures, then one transaction for all that passed."""
        records: list[Record | None] = []
        kept: list[Record] = []
        seq = self._seq
        checked = iter(self.checker.are_valid([e.signed for e in batch if e.signed is not None]))
        for entry in batch:
            if entry.signed is not None and not next(checked):
                records.append(None)
                continue
            seq += 1
            command = entry.command
            body = encode_command(command)
            record = Record(seq, at_ns, RULES_VERSION, *entry.cause, command.stream, body)
            records.append(record)
            kept.append(record)
        if kept:
            self._journal.append(kept)
        self._seq = seq
        return records

    async def _store_readable(self) -> None:
        """Leaves and signed roots, for readers; made from the journal, so they may lag behind."""
        leaves, self._leaves = self._leaves, []
        blocks, self._blocks = self._blocks, []
        notes = [(block.number, block.size, self._sign(block)) for block in blocks]
        first = self._leaf_count
        self._leaf_count += len(leaves)

        def store() -> None:
            self._journal.append_leaves(first, leaves)
            for note in notes:
                self._journal.put_checkpoint(*note)

        await self._in_thread(store)
        for note in notes:
            for listener in self._checkpoint_listeners:
                listener(*note)

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, call, *arguments)

    def _publish(self, facts: Sequence[Fact], at_ns: int) -> None:
        for listener, kinds in self._listeners:
            if not kinds:
                listener(facts, at_ns)
            elif concerned := [fact for fact in facts if type(fact) in kinds]:
                listener(concerned, at_ns)

    def _is_done(self) -> bool:
        return self._idle.is_set() and not (self._inbox or self._follow_ups or self._batch)

    def _fail_all(self, problem: BaseException) -> None:
        for entry in (*self._batch, *self._inbox):
            entry.tell(WriterStoppedError(f"the writer has stopped: {problem!r}"))
        self._inbox.clear()
        self._room.set()

    def _raise_problem(self) -> None:
        if self.problem is not None:
            raise WriterStoppedError("the writer has stopped") from self.problem
