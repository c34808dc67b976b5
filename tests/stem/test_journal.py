"""The journal: durable, chained, and every kind of tampering found."""

import sqlite3

import pytest

from cloud.store.journal import GENESIS, Record, SqliteJournal, TamperedJournalError

RECORDS = [Record(seq, seq * 10, 1, 0, 0, "bank", b"body %d" % seq) for seq in range(1, 21)]


@pytest.fixture
def path(tmp_path):
    """A closed journal of twenty records."""
    path = tmp_path / "journal.db"
    journal = SqliteJournal(path)
    journal.append(RECORDS[:7])
    journal.append(RECORDS[7:])
    journal.close()
    return path


def read(path):
    journal = SqliteJournal(path, read_only=True)
    try:
        return list(journal.read())
    finally:
        journal.close()


def change(path, *statements):
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def test_what_was_appended_is_read_in_order(path):
    assert read(path) == RECORDS


def test_the_chain_goes_on_after_a_restart(path):
    journal = SqliteJournal(path)
    journal.append([Record(21, 210, 1, 20, 0, "desk", b"more")])
    journal.close()
    assert [record.seq for record in read(path)] == list(range(1, 22))


def test_reading_may_begin_anywhere(path):
    journal = SqliteJournal(path, read_only=True)
    assert list(journal.read(15)) == RECORDS[15:]
    assert journal.last()[0] == 20
    journal.close()


@pytest.mark.parametrize("seq", [1, 10, 20])
@pytest.mark.parametrize(
    "column", ["at_ns", "rules", "cause_seq", "cause_index", "stream", "body", "hash"]
)
def test_an_altered_field_is_found(path, seq, column):
    value = "'x'" if column == "stream" else "x'00'" if column in {"body", "hash"} else "77"
    change(path, f"update journal set {column}={value} where seq={seq}")
    with pytest.raises(TamperedJournalError, match=str(seq)):
        read(path)


def test_a_deleted_record_is_found(path):
    change(path, "delete from journal where seq=5")
    with pytest.raises(TamperedJournalError, match="5: is missing"):
        read(path)


def test_swapped_bodies_are_found(path):
    change(
        path,
        "update journal set body=(select body from journal where seq=4) where seq=3",
    )
    with pytest.raises(TamperedJournalError):
        read(path)


def test_an_inserted_record_is_found(path):
    change(path, "insert into journal select 21,at_ns,1,0,0,stream,body,hash from journal "
                 "where seq=20")  # fmt: skip
    with pytest.raises(TamperedJournalError, match="21"):
        read(path)


def test_a_failed_append_leaves_the_journal_as_it_was(path):
    journal = SqliteJournal(path)
    before = journal.last()
    with pytest.raises(sqlite3.IntegrityError):
        journal.append([Record(21, 1, 1, 0, 0, "a", b""), RECORDS[3]])
    assert journal.last() == before
    journal.append([Record(21, 1, 1, 0, 0, "a", b"")])
    journal.close()
    assert len(read(path)) == 21


def test_an_empty_journal_starts_at_genesis(tmp_path):
    journal = SqliteJournal(tmp_path / "new.db")
    assert journal.last() == (0, GENESIS)
    assert journal.leaf_count() == 0
    assert journal.checkpoint() is None
    journal.close()


def test_leaves_and_checkpoints_are_kept_beside_it(tmp_path):
    journal = SqliteJournal(tmp_path / "new.db")
    journal.append_leaves(0, [b"a", b"b"])
    journal.append_leaves(1, [b"b", b"c"])
    journal.put_checkpoint(1, 2, b"note 1")
    journal.put_checkpoint(2, 3, b"note 2")
    assert list(journal.leaves()) == [b"a", b"b", b"c"]
    assert journal.checkpoint() == (2, 3, b"note 2")
    assert journal.checkpoint(1) == (1, 2, b"note 1")
    assert journal.leaf(9) is None
    journal.close()


def test_a_reader_makes_no_journal_and_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="gridtokenx demo"):
        SqliteJournal(tmp_path / "absent.db", read_only=True)


def test_a_journal_of_another_format_is_refused(path):
    change(path, "pragma user_version=9")
    with pytest.raises(ValueError, match="format 9"):
        SqliteJournal(path, read_only=True)


def test_the_journal_survives_a_power_cut_by_its_settings(path):
    journal = SqliteJournal(path)
    assert journal._db.execute("pragma synchronous").fetchone() == (2,)
    assert journal._db.execute("pragma journal_mode").fetchone() == ("wal",)
    journal.close()
