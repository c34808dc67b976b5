"""One writer: journal first, machines second, follow-ups never lost."""

import asyncio
import sqlite3

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud import writer as writer_module
from cloud.commands import (
    AdvanceZone,
    CreateSite,
    Deposit,
    EnrolDevice,
    IssueToken,
    OpenZone,
    SealBlock,
    ZoneRules,
    decode_command,
)
from cloud.core import Core, UnknownZoneError
from cloud.facts import AccountOpened, BlockSealed, GatewayAdmitted, SiteCreated, ZoneOpened
from cloud.replay import rebuild, verify
from cloud.signatures import Signed
from cloud.store.journal import SqliteJournal, TamperedJournalError
from cloud.writer import ForgedError, WriterStoppedError
from tests.stem.conftest import NETWORK

TOKEN = b"t" * 32


async def enrol_home(writer, open_zone, number=1):
    await writer.submit(open_zone)
    name = f"home-{number}"
    await writer.submit(CreateSite(name, "tiny", number, name))
    token = bytes([number]) * 32
    await writer.submit(IssueToken(token, name))
    await writer.submit(EnrolDevice(token, bytes([number]) * 32))
    await writer.settle()


def kinds(facts):
    return [type(fact) for fact in facts]


async def test_a_fact_is_seen_only_after_its_command_is_on_disk(stem, open_zone):
    facts = await stem.writer.submit(open_zone)
    assert kinds(facts) == [ZoneOpened]
    reader = SqliteJournal(stem.path, read_only=True)
    assert next(record.stream for record in reader.read()) == "zone/tiny"
    reader.close()


async def test_what_follows_is_journaled_with_its_cause(stem, open_zone):
    await enrol_home(stem.writer, open_zone)
    assert {AccountOpened, GatewayAdmitted} <= set(kinds(stem.facts))
    reader = SqliteJournal(stem.path, read_only=True)
    caused = [record for record in reader.read() if record.cause_seq]
    reader.close()
    assert {record.stream for record in caused} == {"bank", "zone/tiny"}
    assert all(record.cause_seq < record.seq for record in caused)


async def test_a_forged_command_is_never_journaled(stem, open_zone):
    await stem.writer.submit(open_zone)
    key = Ed25519PrivateKey.generate()
    opened = stem.writer.checker.open(key.public_key().public_bytes_raw())
    signature = key.sign(b"advance")
    with pytest.raises(ForgedError):
        await stem.writer.submit(AdvanceZone("tiny"), Signed(opened, signature, b"another"))
    await stem.writer.submit(AdvanceZone("tiny"), Signed(opened, signature, b"advance"))
    await stem.writer.settle()
    assert stem.writer._journal.last()[0] == stem.writer.commands


async def test_a_zone_without_a_network_is_refused_before_the_journal(stem):
    with pytest.raises(UnknownZoneError, match="elsewhere"):
        await stem.writer.submit(OpenZone("elsewhere", b"", 1, ZoneRules()))
    assert stem.writer._journal.last()[0] == 0


async def test_a_restart_rebuilds_the_same_state(stem, open_zone):
    await enrol_home(stem.writer, open_zone)
    before = stem.writer.core.state_hash()
    told = list(stem.facts)
    await stem.crash()
    await stem.start()
    assert stem.writer.core.state_hash() == before
    assert stem.facts == told


async def test_follow_ups_that_a_crash_cut_off_are_made_again(stem, open_zone):
    await stem.writer.submit(open_zone)
    # Stop the writer in the middle of a journey: the site is created, the account not yet opened.
    facts = await stem.writer.submit(CreateSite("home-1", "tiny", 1, "home-1"))
    assert kinds(facts) == [SiteCreated]
    await stem.crash()
    await stem.start()
    await stem.writer.settle()
    opened = AccountOpened("home-1", "prosumer", "tiny")
    assert stem.facts.count(opened) == 1


@pytest.mark.parametrize("cut", range(1, 7))
async def test_a_journal_cut_at_any_record_ends_in_the_same_state(stem, open_zone, cut):
    await enrol_home(stem.writer, open_zone)
    whole = stem.writer.core.state_hash()
    last = stem.writer._journal.last()[0]
    assert cut < last
    commands = [record for record in stem.writer._journal.read() if not record.cause_seq]
    await stem.crash()
    db = sqlite3.connect(stem.path)
    db.execute("delete from journal where seq > ?", (cut,))
    db.execute("delete from leaf")
    db.commit()
    db.close()
    writer = await stem.start()
    for record in commands:
        if record.seq > cut:
            await writer.settle()
            await writer.submit(decode_command(record.body))
    await writer.settle()
    assert writer.core.state_hash() == whole


async def test_time_in_the_journal_never_runs_backwards(stem, open_zone):
    await stem.writer.submit(open_zone)
    stem.clock.ns -= 3_600_000_000_000
    await stem.writer.submit(AdvanceZone("tiny"))
    times = [record.at_ns for record in stem.writer._journal.read()]
    assert times == sorted(times)


async def test_every_block_is_signed_stored_and_then_told(stem, open_zone):
    await enrol_home(stem.writer, open_zone)
    (sealed,) = await stem.writer.submit(SealBlock())
    await stem.writer.settle()
    assert isinstance(sealed, BlockSealed)
    assert [(number, size) for number, size, _ in stem.notes] == [(sealed.number, sealed.size)]
    assert stem.writer._journal.checkpoint()[2] == stem.notes[0][2]
    assert stem.writer._journal.leaf_count() == sealed.size + 1


async def test_a_block_that_a_crash_left_unsigned_is_signed_at_the_start(stem, open_zone):
    await enrol_home(stem.writer, open_zone)
    await stem.writer.submit(SealBlock())
    await stem.writer.settle()
    await stem.crash()
    db = sqlite3.connect(stem.path)
    db.execute("delete from checkpoint")
    db.execute("delete from leaf where position > 2")
    db.commit()
    db.close()
    await stem.start()
    assert stem.writer._journal.checkpoint()[0] == 1
    journal = SqliteJournal(stem.path, read_only=True)
    assert verify(journal, Core({"tiny": NETWORK})).problems == ()
    journal.close()


async def test_a_cut_journal_does_not_start_under_a_published_root(stem, open_zone):
    await enrol_home(stem.writer, open_zone)
    await stem.writer.submit(SealBlock())
    await stem.writer.settle()
    await stem.crash()
    db = sqlite3.connect(stem.path)
    db.execute("delete from journal where seq > 4")
    db.commit()
    db.close()
    with pytest.raises(TamperedJournalError, match="cut"):
        await stem.start()
    stem.writer._thread.shutdown()
    stem.writer._journal.close()
    stem.writer.problem = ValueError()
    journal = SqliteJournal(stem.path, read_only=True)
    problems = verify(journal, Core({"tiny": NETWORK})).problems
    journal.close()
    assert any("cut" in problem for problem in problems)


async def test_an_altered_leaf_or_root_is_found_by_verify(stem, open_zone):
    await enrol_home(stem.writer, open_zone)
    await stem.writer.submit(SealBlock())
    await stem.writer.stop()
    for statement in (
        "update leaf set body=x'00' where position=1",
        "update checkpoint set note=replace(note, 'origin', 'origin')||'x', size=size+1",
    ):
        db = sqlite3.connect(stem.path)
        db.execute("savepoint s")
        db.execute(statement)
        db.commit()
        db.close()
        journal = SqliteJournal(stem.path, read_only=True)
        assert verify(journal, Core({"tiny": NETWORK})).problems
        journal.close()


async def test_a_broken_invariant_stops_the_writer_for_good(stem, open_zone):
    await stem.writer.submit(open_zone)

    def broken(_command, _at_ns):
        raise AssertionError("sums differ")

    stem.writer.core.bank.apply = broken
    with pytest.raises((AssertionError, WriterStoppedError)):
        await asyncio.wait_for(stem.writer.submit(SealBlock()), 5)
    with pytest.raises(WriterStoppedError):
        await stem.writer.submit(SealBlock())
    assert isinstance(stem.writer.problem, AssertionError)
    await stem.crash()
    stem.writer.problem = stem.writer.problem or ValueError()


async def test_a_replay_in_a_fresh_core_gives_the_same_root(stem, open_zone):
    await enrol_home(stem.writer, open_zone)
    await stem.writer.submit(Deposit("d", "home-1", 5_000_000))
    await stem.writer.settle()
    core = Core({"tiny": NETWORK})
    found = rebuild(stem.writer._journal, core)
    assert found.commands == stem.writer.commands
    assert not found.lost
    assert core.bank.log.root() == stem.writer.core.bank.log.root()
    assert core.state_hash() == stem.writer.core.state_hash()


async def answered_after(writer, *, is_patient, others=()):
    """Seconds until a command is answered that is handed over in the middle of a busy time."""
    loop, answered = asyncio.get_running_loop(), asyncio.Event()
    for _ in range(8):
        writer.hand_over(AdvanceZone("tiny"))
    # The busy commit is done and its first tick has begun.
    await asyncio.sleep(0.005)
    began = loop.time()
    writer.hand_over(AdvanceZone("tiny"), lambda _facts: answered.set(), is_patient=is_patient)
    for wait_s in others:
        await asyncio.sleep(wait_s)
        writer.hand_over(AdvanceZone("tiny"))
    await asyncio.wait_for(answered.wait(), 2)
    await writer.settle()
    return loop.time() - began


async def test_what_is_patient_waits_for_company_and_who_is_in_a_hurry_ends_the_wait(
    stem, open_zone, monkeypatch
):
    monkeypatch.setattr(writer_module, "PATIENT_TICK_S", 0.5)
    writer = stem.writer
    await writer.submit(open_zone)
    await writer.settle()
    assert await answered_after(writer, is_patient=False) < 0.3
    assert await answered_after(writer, is_patient=True) > 0.4
    assert await answered_after(writer, is_patient=True, others=(0.1,)) < 0.4


async def test_who_is_alone_does_not_wait_however_patient(stem, open_zone, monkeypatch):
    monkeypatch.setattr(writer_module, "PATIENT_TICK_S", 0.5)
    await stem.writer.submit(open_zone)
    await stem.writer.settle()
    answered, loop = asyncio.Event(), asyncio.get_running_loop()
    began = loop.time()
    stem.writer.hand_over(AdvanceZone("tiny"), lambda _facts: answered.set(), is_patient=True)
    await answered.wait()
    assert loop.time() - began < 0.3
