"""Every kind of tampering with a journal, at every record, found: by the chain, or by the roots.

A clumsy hand breaks the hash chain. A clever one, the operator himself, chains everything anew;
the leaves and roots that he published before give him away. GRIDTOKENX_TAMPER_RECORDS sets the
length of the journal (100000 for the full run, a few minutes).
"""

import os
import random
import sqlite3

import pytest

from cloud.commands import Deposit, OpenAccount, SealBlock, decode_command, encode_command
from cloud.core import Core
from cloud.facts import BlockSealed
from cloud.replay import compare_published, verify
from cloud.store.journal import Record, SqliteJournal, TamperedJournalError
from tests.validator.test_replica import SIGNER

RECORDS = int(os.environ.get("GRIDTOKENX_TAMPER_RECORDS", "1500"))
CLEVER = 8
"""Places at which the clever hand is tried; each costs a replay of the whole journal."""


def make_records(count=RECORDS):
    records = []
    for seq in range(1, count + 1):
        command = Deposit(f"d{seq}", "anna", 1_000 + seq)
        if seq == 1:
            command = OpenAccount("anna", "prosumer", "")
        elif seq % 100 == 0 or seq == count:
            command = SealBlock()
        records.append(Record(seq, seq * 1_000, 1, 0, 0, "bank", encode_command(command)))
    return records


@pytest.fixture(scope="module")
def records():
    return make_records()


def write(path, records, leaves=(), notes=()):
    path.unlink(missing_ok=True)
    journal = SqliteJournal(path)
    journal.append(records)
    journal.append_leaves(0, leaves)
    for note in notes:
        journal.put_checkpoint(*note)
    journal.close()


def publish(records):
    """The leaves and signed roots that an honest journal leads to, and how far each record got.

    The third is, by record, the number of leaves and the blocks sealed once it was applied.
    """
    core, blocks, leaves, made = Core({}), [], [], []
    for record in records:
        facts = core.step(decode_command(record.body), record.at_ns)
        leaves += core.take_leaves()
        sealed = [fact for fact in facts if isinstance(fact, BlockSealed)]
        blocks = [*blocks, *sealed] if sealed else blocks
        made.append((len(leaves), blocks))
    return leaves, [(b.number, b.size, SIGNER.sign_block(b).encode()) for b in blocks], made


@pytest.fixture(scope="module")
def published(records, tmp_path_factory):
    leaves, notes, _ = publish(records)
    path = tmp_path_factory.mktemp("honest") / "journal.db"
    write(path, records, leaves, notes)
    journal = SqliteJournal(path, read_only=True)
    assert not verify(journal, Core({})).problems
    journal.close()
    return leaves, notes


@pytest.fixture(scope="module")
def copy(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("clumsy") / "journal.db"
    write(path, records)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("pragma synchronous=off")
    db.execute("begin")
    yield path, db
    db.close()


def first_read(db, seq):
    """Reads the two records at `seq` as the journal does, inside the tamperer's own transaction."""
    journal = SqliteJournal.__new__(SqliteJournal)
    journal._db = db
    for number, _ in enumerate(journal.read(seq - 1)):
        if number:
            return


@pytest.mark.parametrize(
    "column", ["at_ns", "rules", "cause_seq", "cause_index", "stream", "body", "hash"]
)
def test_an_altered_record_breaks_the_chain_wherever_it_lies(copy, column):
    _, db = copy
    value = {"stream": "'x'", "body": "x'00'", "hash": "x'00'"}.get(column, "-7")
    found = 0
    for seq in range(1, RECORDS + 1):
        db.execute("savepoint s")
        db.execute(f"update journal set {column}={value} where seq=?", (seq,))
        with pytest.raises(TamperedJournalError):
            first_read(db, seq)
        found += 1
        db.execute("rollback to s")
        db.execute("release s")
    assert found == RECORDS


def test_a_deleted_or_swapped_record_breaks_the_chain_wherever_it_lies(copy):
    _, db = copy
    for seq in range(1, RECORDS):
        for statements in (
            ["delete from journal where seq=:a"],
            [
                "update journal set seq=-1 where seq=:a",
                "update journal set seq=:a where seq=:b",
                "update journal set seq=:b where seq=-1",
            ],
        ):
            db.execute("savepoint s")
            for statement in statements:
                db.execute(statement, {"a": seq, "b": seq + 1})
            with pytest.raises(TamperedJournalError):
                first_read(db, seq)
            db.execute("rollback to s")
            db.execute("release s")


def test_an_inserted_record_breaks_the_chain(copy):
    _, db = copy
    db.execute("savepoint s")
    db.execute(
        "insert into journal select ?, at_ns, rules, 0, 0, stream, body, hash from journal "
        "where seq=2",
        (RECORDS + 1,),
    )
    with pytest.raises(TamperedJournalError):
        first_read(db, RECORDS)
    db.execute("rollback to s")
    db.execute("release s")


def test_a_journal_cut_anywhere_makes_less_than_was_published(records, tmp_path):
    leaves, notes, made = publish(records)
    path = tmp_path / "journal.db"
    write(path, records, leaves, notes)
    journal = SqliteJournal(path, read_only=True)
    assert not compare_published(journal, leaves, made[-1][1])
    for size, blocks in made[:-1]:
        assert compare_published(journal, leaves[:size], blocks)
    journal.close()


def renumbered(records):
    return [record._replace(seq=seq) for seq, record in enumerate(records, start=1)]


def forged(records, kind, at):
    """What a clever operator makes of the journal; he chains it anew afterwards."""
    if kind == "alter":
        body = encode_command(Deposit(f"d{at + 1}", "anna", 9_999_999))
        return [*records[:at], records[at]._replace(body=body), *records[at + 1 :]]
    if kind == "delete":
        return renumbered([*records[:at], *records[at + 1 :]])
    if kind == "insert":
        extra = records[at]._replace(body=encode_command(Deposit("mine", "anna", 5)))
        return renumbered([*records[:at], extra, *records[at:]])
    if kind == "swap":
        return renumbered([*records[:at], records[at + 1], records[at], *records[at + 2 :]])
    return records[:at]


@pytest.mark.parametrize("kind", ["alter", "delete", "insert", "swap", "truncate"])
def test_a_journal_chained_anew_does_not_make_what_was_published(
    records, published, tmp_path, kind
):
    draw = random.Random(kind)
    for _ in range(CLEVER):
        at = draw.randrange(1, RECORDS - 2)
        if kind != "truncate" and (at % 100 >= 98 or at + 1 == RECORDS):
            at -= 50  # deposits, so that the two that are swapped differ
        path = tmp_path / "journal.db"
        write(path, forged(records, kind, at), *published)
        journal = SqliteJournal(path, read_only=True)
        assert verify(journal, Core({})).problems, f"{kind} at {at}"
        journal.close()
