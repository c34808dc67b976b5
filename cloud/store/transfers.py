"""A transfer's batch, found in the journal by the transfer's id.

Decides nothing. Reads the journal's file beside the writer and never changes it; whoever uses what
it returns compares it with the log.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from cloud.commands import PostTransfers, decode_command
from cloud.ledger.transfers import HOUR_NS, ID_BYTES, RECORD

BANK_STREAM = PostTransfers(0, b"").stream
COMMANDS_BACK_MAX = 1_000_000
"""How many commands are looked through where no hour is named, the newest first."""

_QUERY = (
    "select at_ns, body from journal where seq >= ? and seq < ? and stream = ? and instr(body, ?) "
    "order by seq desc"
)


def batches_with(
    path: Path, transfer_id: bytes, hour: int | None = None
) -> Iterator[tuple[int, PostTransfers, int]]:
    """(journal time, batch, index in it) of each provable batch with this id, the newest first.

    `hour` is the one that the batch names; it is journaled in that hour or one beside it.
    """
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        end = db.execute("select coalesce(max(seq), 0) + 1 from journal").fetchone()[0]
        first = max(1, end - COMMANDS_BACK_MAX)
        if hour is not None:
            first = _first_at(db, (hour - 1) * HOUR_NS, end)
            end = _first_at(db, (hour + 2) * HOUR_NS, end)
        for at_ns, body in db.execute(_QUERY, (first, end, BANK_STREAM, transfer_id)):
            command = decode_command(body)
            if isinstance(command, PostTransfers) and command.provable:
                index = _index_of(command.records, transfer_id)
                if index is not None:
                    yield at_ns, command, index


def _first_at(db: sqlite3.Connection, at_ns: int, end: int) -> int:
    """The first record at or after this time; times never fall from one record to the next."""
    low, high = 1, end
    while low < high:
        middle = (low + high) // 2
        (found,) = db.execute("select at_ns from journal where seq = ?", (middle,)).fetchone()
        if found < at_ns:
            low = middle + 1
        else:
            high = middle
    return low


def _index_of(records: bytes, transfer_id: bytes) -> int | None:
    for index, at in enumerate(range(0, len(records), RECORD.size)):
        if records[at : at + ID_BYTES] == transfer_id:
            return index
    return None
