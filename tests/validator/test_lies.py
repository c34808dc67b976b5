"""An operator that lies: rewritten history, two views, roots over nothing. Real processes."""

import json
import sqlite3
import subprocess
import sys

import pytest

from cloud.commands import Deposit, decode_command, encode_command
from cloud.core import Core
from cloud.flows import follow
from cloud.ledger.evidence import TWO_ROOTS, check_evidence, parse_evidence
from cloud.store.journal import GENESIS, SqliteJournal
from tests.oracle import check_evidence as independent
from tests.validator.house import NETWORK, Guard, Operator, write_policy


@pytest.fixture
def guards(tmp_path):
    made = [Guard(tmp_path, f"v{number}.example") for number in range(2)]
    yield made
    for guard in made:
        guard.kill()


def rewrite_history(path):
    """One deposit becomes ten times as large, and everything that follows from it is made anew."""
    core, expected, previous = Core({"tiny": NETWORK}), {}, GENESIS
    journal = SqliteJournal(path)
    records = list(journal.read())
    journal.close()
    db = sqlite3.connect(path)
    for old in records:
        body = old.body
        if old.cause_seq:
            body = encode_command(expected[old.cause_seq, old.cause_index])
        elif body == encode_command(Deposit("d2", "anna", 1_000)):
            body = encode_command(Deposit("d2", "anna", 10_000))
        record = old._replace(body=body)
        facts = core.step(decode_command(body), old.at_ns)
        expected |= {(old.seq, index): command for index, command in enumerate(follow(facts))}
        previous = record.digest(previous)
        db.execute("update journal set body=?, hash=? where seq=?", (body, previous, old.seq))
    db.execute("delete from leaf")
    db.execute("delete from checkpoint")
    db.commit()
    db.close()


def evidence_of(guard):
    return parse_evidence((guard.state / "evidence.json").read_bytes())


async def test_rewritten_and_signed_again_history_is_refused_with_evidence(tmp_path, guards):
    write_policy(tmp_path / "operator", guards[:1])
    operator = await Operator(tmp_path / "operator").start()
    guards[0].start(operator.url)
    assert await operator.final(await operator.block())
    size = await operator.block()
    assert await operator.final(size)
    await operator.stop()
    guards[0].kill()
    rewrite_history(tmp_path / "operator" / "journal.db")
    liar = await Operator(tmp_path / "operator", operator.port).start()
    try:
        assert liar.log.size == size, "signed again, as if nothing had happened"
        await liar.block()
        guards[0].start(liar.url)
        assert await guards[0].ended() == 1
        assert liar.log.finality.final_size == 0
        evidence = evidence_of(guards[0])
        assert evidence.kind == TWO_ROOTS
        assert check_evidence(evidence) == size
        assert independent.convicts(evidence.first, evidence.second, evidence.key)
        guards[0].start(liar.url)
        assert await guards[0].ended() == 1, "it stays away until a person has looked"
    finally:
        await liar.stop()


async def test_two_views_of_one_log_are_found_by_comparing(tmp_path, guards):
    views = []
    for name in ("one", "two"):
        write_policy(tmp_path / name, guards)
        views.append(await Operator(tmp_path / name).start())
    try:
        guards[0].start(views[0].url)
        views[1].deposits = 1_000
        sizes = [await view.block(5 + number) for number, view in enumerate(views)]
        await guards[0].heard(2)
        # The second view goes on, so that the first one's root lies within it.
        await views[1].block()
        guards[1].start(views[1].url, "--compare", str(guards[0].state / "last.note"))
        assert await guards[1].ended() == 1
        assert sizes[0] != sizes[1]
        assert "two roots" in guards[1].words[-1]["distrust"]
    finally:
        for view in views:
            await view.stop()


async def test_equal_sizes_with_two_roots_give_evidence_that_anyone_can_check(tmp_path, guards):
    views = []
    for name in ("one", "two"):
        write_policy(tmp_path / name, guards)
        views.append(await Operator(tmp_path / name).start())
    try:
        guards[0].start(views[0].url)
        views[1].deposits = 1_000
        sizes = [await view.block() for view in views]
        assert sizes[0] == sizes[1]
        await guards[0].heard(2)
        guards[1].start(views[1].url, "--compare", str(guards[0].state / "last.note"))
        assert await guards[1].ended() == 1
        evidence = evidence_of(guards[1])
        assert evidence.kind == TWO_ROOTS
        assert check_evidence(evidence) == sizes[0]
        assert independent.convicts(evidence.first, evidence.second, evidence.key)
        done = subprocess.run(
            [sys.executable, independent.__file__, guards[1].state / "evidence.json"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert done.stdout.strip() == "True"
    finally:
        for view in views:
            await view.stop()


async def test_a_root_that_the_journal_does_not_make_is_not_cosigned(tmp_path, guards):
    write_policy(tmp_path / "operator", guards[:1])
    operator = Operator(tmp_path / "operator")
    honest = operator.signer.sign_block
    operator.signer.sign_block = lambda block: (
        operator.signer.sign(block.size, bytes(32)) if block.number == 2 else honest(block)
    )
    await operator.start()
    try:
        guards[0].start(operator.url)
        assert await operator.final(await operator.block())
        size = await operator.block()
        assert await guards[0].ended() == 1
        assert operator.log.finality.final_size < size
        problem = json.loads((guards[0].state / "distrust.json").read_text())["problem"]
        assert "not what the journal makes" in problem
    finally:
        await operator.stop()
