"""A journal that cannot write: the writer stops, says so to everybody, and nothing is half done.

Every call of the journal fails once in some run, before it has done anything or after it has done
everything; what was told before must be a beginning of what the restart finds.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloud.commands import (
    AdvanceZone,
    CreateSite,
    Deposit,
    EnrolDevice,
    IssueToken,
    SealBlock,
)
from cloud.core import Core
from cloud.replay import verify
from cloud.store.journal import SqliteJournal
from cloud.writer import Writer, WriterStoppedError
from protos.limits import WRITER_INBOX_MAX
from tests.stem.conftest import NETWORK

ROOT = Path(__file__).parents[2]
METHODS = ("append", "append_leaves", "put_checkpoint")
CALLS = {"append": 9, "append_leaves": 4, "put_checkpoint": 3}
WITHIN_S = 5


class FailingJournal:
    """The real journal, whose one call fails as a full or broken disk makes it fail."""

    def __init__(self, journal, method="", at=0, when="before"):
        self._journal = journal
        self._method, self._left, self._when = method, at, when
        self.calls = dict.fromkeys(METHODS, 0)

    def __getattr__(self, name):
        real = getattr(self._journal, name)
        return self._counted(name, real) if name in METHODS else real

    def _counted(self, name, real):
        def call(*arguments):
            self.calls[name] += 1
            if name == self._method:
                self._left -= 1
                if self._left == 0 and self._when == "before":
                    raise OSError(28, "no space left on device")
                answer = real(*arguments)
                if self._left == 0:
                    raise OSError(5, "input/output error")
                return answer
            return real(*arguments)

        return call


async def start_with(stem, journal):
    """The stem's writer on another journal of the same file."""
    await stem.writer.stop()
    stem.facts.clear()
    core = Core({"tiny": NETWORK})
    stem.writer = Writer(core, journal, stem.clock, stem.sign)
    stem.writer.listen(lambda facts, _at: stem.facts.extend(facts))
    stem.writer.listen_checkpoints(lambda *note: stem.notes.append(note))
    await stem.writer.start()
    return stem.writer


async def journey(writer, open_zone):
    """Homes that open, enrol, pay in, with blocks between; some at once. Every call is answered."""
    answered = []

    async def submit(*commands):
        for command in commands:
            facts = await writer.submit(command)
            answered.append((command, facts))

    def home(number):
        name, key = f"home-{number}", bytes([number]) * 32
        return submit(
            CreateSite(name, "tiny", number, name), IssueToken(key, name), EnrolDevice(key, key)
        )

    try:
        await submit(open_zone, SealBlock())
        await asyncio.gather(*(home(number) for number in range(1, 4)))
        await submit(SealBlock())
        await asyncio.gather(*(submit(Deposit(f"d{n}", f"home-{n}", 5_000)) for n in range(1, 4)))
        await submit(AdvanceZone("tiny"), SealBlock())
        await writer.settle()
    except WriterStoppedError:
        await asyncio.sleep(0)
    return answered


async def test_the_journey_makes_as_many_calls_as_are_failed(stem, open_zone):
    journal = FailingJournal(SqliteJournal(stem.path))
    await journey(await start_with(stem, journal), open_zone)
    assert all(journal.calls[method] >= calls for method, calls in CALLS.items())


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("method", "at"), [(method, at + 1) for method in METHODS for at in range(CALLS[method])]
)
async def test_no_failed_call_of_the_journal_undoes_what_was_told(
    stem, open_zone, method, at, when
):
    journal = FailingJournal(SqliteJournal(stem.path), method, at, when)
    try:
        async with asyncio.timeout(WITHIN_S):
            writer = await start_with(stem, journal)
            answered = await journey(writer, open_zone)
            with pytest.raises(WriterStoppedError):
                await writer.settle()
            with pytest.raises(WriterStoppedError):
                await writer.submit(SealBlock())
            with pytest.raises(WriterStoppedError):
                await writer.stop()
        assert isinstance(writer.problem, OSError)
    except OSError:
        # Recovery itself stores leaves; a start that fails is an end of the process like another.
        assert (method, at) in {("append_leaves", 1), ("append_leaves", 2)}
        answered = []
        stem.writer._thread.shutdown()
        journal.close()
    told, notes = list(stem.facts), list(stem.notes)

    writer = await stem.start()
    assert stem.facts[: len(told)] == told
    replayed = list(stem.facts)
    assert all(fact in replayed for _, facts in answered for fact in facts)
    assert {note[0]: note[2] for note in notes}.items() <= {
        number: writer._journal.checkpoint(number)[2] for number, _, _ in notes
    }.items()
    async with asyncio.timeout(WITHIN_S):
        await writer.settle()
        await writer.submit(SealBlock())
        await writer.settle()
    assert not any(writer.core.bank.sums().values())
    assert verify(writer._journal, Core({"tiny": NETWORK})).problems == ()


async def test_those_who_wait_for_room_hear_that_the_writer_has_stopped(stem, open_zone):
    journal = FailingJournal(SqliteJournal(stem.path), "append", 2)
    writer = await start_with(stem, journal)
    await writer.submit(open_zone)
    for _ in range(WRITER_INBOX_MAX):
        writer.hand_over(AdvanceZone("tiny"))
    waiting = [asyncio.create_task(writer.submit(AdvanceZone("tiny"))) for _ in range(3)]
    async with asyncio.timeout(WITHIN_S):
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [WriterStoppedError] * 3
    with pytest.raises(WriterStoppedError):
        await writer.stop()


async def test_the_inbox_is_bounded(stem, open_zone):
    await stem.writer.submit(open_zone)
    many = [
        asyncio.create_task(stem.writer.submit(AdvanceZone("tiny")))
        for _ in range(2 * WRITER_INBOX_MAX)
    ]
    longest = 0
    while not many[-1].done():
        longest = max(longest, len(stem.writer._inbox))
        await asyncio.sleep(0)
    await asyncio.gather(*many)
    assert 0 < longest <= WRITER_INBOX_MAX


async def test_stop_applies_what_was_handed_over_and_takes_nothing_more(stem, open_zone):
    writer = stem.writer
    answers = []
    writer.hand_over(open_zone, answers.append)
    writer.hand_over(CreateSite("home-1", "tiny", 1, "home-1"), answers.append)
    stopping = asyncio.create_task(writer.stop())
    await asyncio.sleep(0)
    with pytest.raises(WriterStoppedError):
        writer.hand_over(SealBlock())
    async with asyncio.timeout(WITHIN_S):
        await stopping
    assert len(answers) == 2
    # The account that follows from the site was opened too.
    assert "home-1" in str(writer.core.bank.state())


async def test_stop_ends_while_others_never_cease_to_submit(stem, open_zone):
    await stem.writer.submit(open_zone)

    async def chatter():
        while True:
            await stem.writer.submit(AdvanceZone("tiny"))

    talkers = [asyncio.create_task(chatter()) for _ in range(20)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(WITHIN_S):
        await stem.writer.stop()
        outcomes = await asyncio.gather(*talkers, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {WriterStoppedError}


async def test_what_follows_without_an_end_stops_the_writer(stem, open_zone, monkeypatch):
    await stem.writer.submit(open_zone)
    monkeypatch.setattr("cloud.writer.follow", lambda _facts: [AdvanceZone("tiny")])
    async with asyncio.timeout(WITHIN_S):
        await stem.writer.submit(AdvanceZone("tiny"))
        with pytest.raises(WriterStoppedError):
            await stem.writer.settle()
    assert "without an end" in str(stem.writer.problem)
    with pytest.raises(WriterStoppedError):
        await stem.writer.stop()


async def test_others_get_a_turn_while_a_large_commit_is_applied(stem, open_zone, monkeypatch):
    await stem.writer.submit(open_zone)
    step = stem.writer.core.step

    applied = []

    def slow_step(command, at_ns):
        time.sleep(0.001)
        applied.append(command)
        return step(command, at_ns)

    monkeypatch.setattr(stem.writer.core, "step", slow_step)
    answers = []
    for _ in range(300):
        stem.writer.hand_over(AdvanceZone("tiny"), answers.append)
    turns = set()
    while len(answers) < 300:
        turns.add(len(applied))
        await asyncio.sleep(0)
    assert len(turns) > 20


async def test_whoever_sent_many_is_answered_when_all_of_a_commit_is_applied(stem, open_zone):
    """And a failure in the middle answers what was applied before it as applied."""
    await stem.writer.submit(open_zone)
    await stem.writer.settle()
    step, count = stem.writer.core.step, []

    def failing_step(command, at_ns):
        count.append(command)
        assert len(count) <= 3, "the fourth breaks an invariant"
        return step(command, at_ns)

    stem.writer.core.step = failing_step
    answers = []
    for _ in range(6):
        stem.writer.hand_over(AdvanceZone("tiny"), answers.append)
    with pytest.raises(WriterStoppedError):
        await stem.writer.settle()
    assert [isinstance(answer, list) for answer in answers] == [True] * 3 + [False] * 3


# ---- the process -------------------------------------------------------------------------------


def serve(config):
    return subprocess.Popen(
        [sys.executable, "-m", "cloud", "serve", "--json", "--config", config],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_full_disk_ends_the_process_with_an_error_and_it_comes_back(tmp_path):
    config = tmp_path / "cloud.toml"
    ports = "".join(f"{name}_port = 0\n" for name in ("http", "gateway", "enrolment", "utility"))
    state = tmp_path / "state"
    config.write_text(f'state_dir = "{state}"\n{ports}[[zones]]\nname = "tiny"\nnetwork = "tiny"\n')
    process = serve(config)
    try:
        assert json.loads(process.stdout.readline())["ready"]
        full = (state / "journal.db-wal").stat().st_size
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (full, full))
        _, errors = process.communicate(timeout=40)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "stopped by a failure" in errors

    again = serve(config)
    try:
        assert json.loads(again.stdout.readline())["ready"]
    finally:
        again.kill()
        again.communicate()
    journal = SqliteJournal(state / "journal.db", read_only=True)
    assert verify(journal, Core({"tiny": NETWORK})).problems == ()
    journal.close()
