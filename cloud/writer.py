"""The single writer: commands in, journal first, machines second, facts out.

Everything that wants something of the machines hands a command to `submit` and waits for its
facts. The writer takes what has gathered, checks signatures and commits all of it in one
transaction inside one call to its worker thread, then applies it in journal order on the event
loop, asks `flows` what follows, and journals that in turn. Nobody sees a fact whose command is
not on disk.

Bounds: the inbox holds WRITER_INBOX_MAX commands and `submit` waits when it is full; follow-ups
do not count, because what they follow from was already admitted. A broken invariant in a machine
stops the writer for good: the process ends and starts again by replay.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from cloud.commands import RULES_VERSION, Command, encode_command
from cloud.core import Core
from cloud.facts import BlockSealed, Fact
from cloud.flows import follow
from cloud.replay import FactListener, compare_published, rebuild
from cloud.store.journal import Journal, Record, TamperedJournalError
from protos.clock import Clock
from protos.limits import WRITER_INBOX_MAX

BATCH_MAX = 1_024
"""Commands in one commit: bounds how long the event loop is busy applying them."""

log = logging.getLogger(__name__)
T = TypeVar("T")

CheckpointSigner = Callable[[BlockSealed], bytes]
CheckpointListener = Callable[[int, int, bytes], None]


class WriterStoppedError(Exception):
    """The writer takes no more commands; the caller's command was not journaled."""


class ForgedError(Exception):
    """The check that came with a command failed; it was not journaled."""


@dataclass(slots=True)
class _Entry:
    command: Command
    cause: tuple[int, int] = (0, 0)
    answer: asyncio.Future[list[Fact]] | None = None
    is_authentic: Callable[[], bool] | None = None


class Writer:
    """The one that applies commands. `start` recovers from the journal first."""

    def __init__(self, core: Core, journal: Journal, clock: Clock, sign: CheckpointSigner) -> None:
        self.core = core
        self.commands = 0
        self.problem: BaseException | None = None
        self._journal = journal
        self._clock = clock
        self._sign = sign
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._inbox: deque[_Entry] = deque()
        self._follow_ups: deque[_Entry] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._listeners: list[FactListener] = []
        self._checkpoint_listeners: list[CheckpointListener] = []
        self._seq = 0
        self._at_ns = 0
        self._leaf_count = 0
        self._blocks: list[BlockSealed] = []
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._applying: Sequence[_Entry] = ()

    def listen(self, listener: FactListener) -> None:
        """Calls back with the facts of every commit, in order, also during recovery."""
        self._listeners.append(listener)

    def listen_checkpoints(self, listener: CheckpointListener) -> None:
        """Calls back with (number, size, note) of every root once it is stored."""
        self._checkpoint_listeners.append(listener)

    async def start(self) -> int:
        """Recovers, then runs. Returns how many commands were replayed."""
        found = rebuild(self._journal, self.core, self._publish)
        self._seq, self._at_ns, self.commands = found.seq, found.at_ns, found.commands
        # The stored leaves may end early: they are written after the commands that made them.
        leaves = self.core.take_leaves()
        problems = compare_published(self._journal, leaves, found.blocks)
        if problems:
            raise TamperedJournalError(found.seq, "; ".join(problems))
        stored = self._journal.leaf_count()
        await self._in_thread(self._journal.append_leaves, stored, leaves[stored:])
        self._leaf_count = len(leaves)
        newest = self._journal.checkpoint()
        unsigned = [b for b in found.blocks if newest is None or b.number > newest[0]]
        self._blocks.extend(unsigned)
        await self._store_readable()
        self._follow_ups.extend(_Entry(command, key) for key, command in found.lost.items())
        if self._follow_ups:
            log.warning("recovered %d follow-ups that a crash had cut off", len(self._follow_ups))
            self._wake.set()
        self._task = asyncio.create_task(self._run(), name="writer")
        return found.commands

    async def submit(
        self, command: Command, is_authentic: Callable[[], bool] | None = None
    ) -> list[Fact]:
        """Journals and applies one command; returns its facts.

        `is_authentic`, where given, is called in the worker thread before the commit; if it says
        no, ForgedError is raised and nothing is journaled.
        """
        self.core.check(command)
        while len(self._inbox) >= WRITER_INBOX_MAX:
            self._room.clear()
            await self._room.wait()
        return await self._enqueue(command, is_authentic)

    def submit_now(
        self, command: Command, is_authentic: Callable[[], bool] | None = None
    ) -> "asyncio.Future[list[Fact]]":
        """`submit` for callers that bound themselves and keep the order of their calls."""
        self.core.check(command)
        return self._enqueue(command, is_authentic)

    async def keep_checkpoint(self, number: int, size: int, note: bytes) -> None:
        """Stores a signed root's note again once validators have cosigned it."""
        await self._in_thread(self._journal.put_checkpoint, number, size, note)

    async def settle(self) -> None:
        """Waits until nothing is queued and nothing follows any more."""
        while self._inbox or self._follow_ups or not self._idle.is_set():
            self._idle.clear()
            self._wake.set()
            await self._idle.wait()
            self._raise_problem()

    async def stop(self) -> None:
        """Applies what is queued and closes. Follow-ups stay for recovery if that fails."""
        if self._task is not None and not self._task.done():
            await self.settle()
            self._stopping = True
            self._wake.set()
            await self._task
        self._thread.shutdown()
        self._journal.close()

    def _enqueue(
        self, command: Command, is_authentic: Callable[[], bool] | None
    ) -> "asyncio.Future[list[Fact]]":
        if self._stopping or self.problem is not None:
            raise WriterStoppedError("the writer has stopped; the process restarts by replay")
        answer: asyncio.Future[list[Fact]] = asyncio.get_running_loop().create_future()
        self._inbox.append(_Entry(command, answer=answer, is_authentic=is_authentic))
        self._wake.set()
        return answer

    async def _run(self) -> None:
        try:
            while not self._stopping:
                if not self._inbox and not self._follow_ups:
                    self._idle.set()
                    await self._wake.wait()
                self._wake.clear()
                self._idle.clear()
                batch = self._take()
                if batch:
                    await self._commit_and_apply(batch)
        except BaseException as problem:
            # A named supervisor's only broad except: whatever it was, no command may be applied
            # after it, and everybody who waits must hear of it.
            self.problem = problem
            self._fail_all(problem)
            raise
        finally:
            self._idle.set()

    def _take(self) -> list[_Entry]:
        """Follow-ups first: a journey that has begun goes before one that has not."""
        batch: list[_Entry] = []
        for queue in (self._follow_ups, self._inbox):
            while queue and len(batch) < BATCH_MAX:
                batch.append(queue.popleft())
        self._room.set()
        return batch

    async def _commit_and_apply(self, batch: list[_Entry]) -> None:
        at_ns = max(self._clock.now_ns(), self._at_ns)
        try:
            records = await self._in_thread(self._commit, batch, at_ns)
        except BaseException as problem:
            for entry in batch:
                if entry.answer is not None and not entry.answer.done():
                    entry.answer.set_exception(problem)
            raise
        self._at_ns = at_ns
        self._applying = batch
        published: list[Fact] = []
        for entry, record in zip(batch, records, strict=True):
            if record is None:
                if entry.answer is not None and not entry.answer.cancelled():
                    entry.answer.set_exception(ForgedError())
                continue
            facts = self.core.step(entry.command, at_ns)
            self.commands += 1
            self._follow_ups.extend(
                _Entry(command, (record.seq, index)) for index, command in enumerate(follow(facts))
            )
            self._blocks.extend(fact for fact in facts if isinstance(fact, BlockSealed))
            published.extend(facts)
            if entry.answer is not None and not entry.answer.cancelled():
                entry.answer.set_result(facts)
        self._publish(published, at_ns)
        if self._blocks:
            await self._store_readable()

    def _commit(self, batch: Sequence[_Entry], at_ns: int) -> list[Record | None]:
        """In the worker thread: check signatures, then one transaction for all that passed."""
        records: list[Record | None] = []
        seq = self._seq
        for entry in batch:
            if entry.is_authentic is not None and not entry.is_authentic():
                records.append(None)
                continue
            seq += 1
            records.append(
                Record(
                    seq,
                    at_ns,
                    RULES_VERSION,
                    *entry.cause,
                    entry.command.stream,
                    encode_command(entry.command),
                )
            )
        self._journal.append([record for record in records if record is not None])
        self._seq = seq
        return records

    async def _store_readable(self) -> None:
        """Leaves and signed roots, for readers; made from the journal, so they may lag behind."""
        leaves = self.core.take_leaves()
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
        for listener in self._listeners:
            listener(facts, at_ns)

    def _fail_all(self, problem: BaseException) -> None:
        for entry in (*self._applying, *self._inbox, *self._follow_ups):
            if entry.answer is not None and not entry.answer.done():
                entry.answer.set_exception(
                    WriterStoppedError(f"the writer has stopped: {problem!r}")
                )
        self._inbox.clear()

    def _raise_problem(self) -> None:
        if self.problem is not None:
            raise WriterStoppedError("the writer has stopped") from self.problem
