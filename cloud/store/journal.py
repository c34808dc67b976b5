"""The journal: every command, in one order, hash-chained, on disk before it is applied.

A record's hash covers the record before it, so altering, deleting, inserting, swapping or cutting
any of them is found by reading. Leaves of the transparency log and signed checkpoints lie beside
the journal for readers; both can be made again from it.

This is the SQLite form: WAL with synchronous=FULL, because NORMAL loses acknowledged records in a
power cut (see tests/faults). All calls block; the writer makes them from its one worker thread.
"""

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

GENESIS = bytes(32)
JOURNAL_FILE = "journal.db"
SCHEMA_VERSION = 1

_SCHEMA = """
create table if not exists journal (
  seq integer primary key,
  at_ns integer not null,
  rules integer not null,
  cause_seq integer not null,
  cause_index integer not null,
  stream text not null,
  body blob not null,
  hash blob not null
);
create table if not exists leaf (position integer primary key, body blob not null);
create table if not exists checkpoint (number integer primary key, size integer not null,
                                       note blob not null);
"""


_NUMBERS = struct.Struct(">5q")


class Record(NamedTuple):
    """One command as it was journaled.

    `cause_seq` and `cause_index` name the record and the place in its follow-ups from which this
    command came; (0, 0) for one from outside. They make recovery exact: a follow-up that is not in
    the journal was lost in a crash and is made again.
    """

    seq: int
    at_ns: int
    rules: int
    cause_seq: int
    cause_index: int
    stream: str
    body: bytes

    def digest(self, previous: bytes) -> bytes:
        """SHA-256 over the digest before and every field, numbers as 8 bytes, big-endian."""
        head = _NUMBERS.pack(self.seq, self.at_ns, self.rules, self.cause_seq, self.cause_index)
        return sha256(b"".join((previous, head, _prefixed(self.stream), self.body))).digest()


@lru_cache(maxsize=256)
def _prefixed(stream: str) -> bytes:
    """The name behind its length; there are few names and many records."""
    octets = stream.encode()
    return len(octets).to_bytes(2, "big") + octets


class TamperedJournalError(Exception):
    """The chain does not hold. Nothing after the named record can be trusted."""

    def __init__(self, seq: int, problem: str) -> None:
        super().__init__(
            f"journal record {seq}: {problem}; restore the journal from a copy whose root "
            "matches the last published checkpoint"
        )
        self.seq = seq


class Journal(Protocol):
    """Where commands are made durable. One writer; readers may open it beside."""

    def append(self, records: Sequence[Record]) -> None:
        """All of them or none, on disk when this returns."""

    def read(self, after_seq: int = 0) -> Iterator[Record]:
        """All records after `after_seq`, in order, the chain checked on the way."""

    def last(self) -> tuple[int, bytes]:
        """Sequence and hash of the newest record; (0, GENESIS) for an empty journal."""

    def hash_of(self, seq: int) -> bytes:
        """The chain's hash after a record. Raises TamperedJournalError where there is none."""

    def append_leaves(self, first: int, leaves: Sequence[bytes]) -> None: ...
    def leaf(self, position: int) -> bytes | None: ...
    def leaf_count(self) -> int: ...
    def put_checkpoint(self, number: int, size: int, note: bytes) -> None: ...
    def checkpoint(self, number: int | None = None) -> tuple[int, int, bytes] | None:
        """(number, size, note) of the given block, or of the newest."""

    def close(self) -> None: ...


class SqliteJournal:
    """The journal of one embedded aggregator, in one SQLite file."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Opens or creates the file. A reader never changes it."""
        if read_only and not path.exists():
            raise FileNotFoundError(f"no journal at {path}; run `gridtokenx demo` to make one")
        location = f"file:{path}?mode={'ro' if read_only else 'rwc'}"
        self._db = sqlite3.connect(
            location, uri=True, isolation_level=None, check_same_thread=False
        )
        if not read_only:
            self._db.execute("pragma journal_mode=wal")
            self._db.execute("pragma synchronous=full")
            self._db.executescript(_SCHEMA)
            self._db.execute(f"pragma user_version={SCHEMA_VERSION}")
        version = self._db.execute("pragma user_version").fetchone()[0]
        if version != SCHEMA_VERSION:
            raise ValueError(f"{path} has journal format {version}; this version reads 1")
        self._hash = self.last()[1]

    def append(self, records: Sequence[Record]) -> None:
        rows = []
        previous = self._hash
        for r in records:
            previous = r.digest(previous)
            rows.append(
                (r.seq, r.at_ns, r.rules, r.cause_seq, r.cause_index, r.stream, r.body, previous)
            )
        with self._transaction():
            self._db.executemany("insert into journal values (?,?,?,?,?,?,?,?)", rows)
        self._hash = previous

    def read(self, after_seq: int = 0) -> Iterator[Record]:
        previous = self.hash_of(after_seq)
        expected = after_seq + 1
        rows = self._db.execute(
            "select seq, at_ns, rules, cause_seq, cause_index, stream, body, hash from journal "
            "where seq > ? order by seq",
            (after_seq,),
        )
        for *fields, stored in rows:
            record = Record(*fields)
            if record.seq != expected:
                raise TamperedJournalError(expected, "is missing")
            previous = record.digest(previous)
            if previous != stored:
                raise TamperedJournalError(record.seq, "does not fit the chain")
            expected += 1
            yield record

    def last(self) -> tuple[int, bytes]:
        row = self._db.execute("select seq, hash from journal order by seq desc limit 1").fetchone()
        return (row[0], row[1]) if row else (0, GENESIS)

    def append_leaves(self, first: int, leaves: Sequence[bytes]) -> None:
        with self._transaction():
            self._db.executemany(
                "insert or ignore into leaf values (?,?)", enumerate(leaves, start=first)
            )

    def leaf(self, position: int) -> bytes | None:
        row = self._db.execute("select body from leaf where position=?", (position,)).fetchone()
        return row[0] if row else None

    def leaves(self) -> Iterable[bytes]:
        """All stored leaves in order, for auditors."""
        return (row[0] for row in self._db.execute("select body from leaf order by position"))

    def leaf_count(self) -> int:
        count: int = self._db.execute("select coalesce(max(position)+1, 0) from leaf").fetchone()[0]
        return count

    def put_checkpoint(self, number: int, size: int, note: bytes) -> None:
        with self._transaction():
            self._db.execute(
                "insert or replace into checkpoint values (?,?,?)", (number, size, note)
            )

    def checkpoint(self, number: int | None = None) -> tuple[int, int, bytes] | None:
        where = "" if number is None else "where number = :number"
        row = self._db.execute(
            f"select number, size, note from checkpoint {where} order by number desc limit 1",  # noqa: S608 - no input in the text
            {"number": number},
        ).fetchone()
        return (row[0], row[1], row[2]) if row else None

    def close(self) -> None:
        self._db.close()

    def hash_of(self, seq: int) -> bytes:
        if seq == 0:
            return GENESIS
        row = self._db.execute("select hash from journal where seq=?", (seq,)).fetchone()
        if row is None:
            raise TamperedJournalError(seq, "is missing")
        found: bytes = row[0]
        return found

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db)


class _Transaction:
    """`begin immediate` to `commit`, or a rollback that leaves the journal as it was."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("begin immediate")

    def __exit__(self, kind: object, *_: object) -> None:
        self._db.execute("commit" if kind is None else "rollback")
