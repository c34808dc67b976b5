"""How an envelope lies in the outbox: one row, its payload packed where that is shorter.

Pure. What was signed is what is read back, byte for byte: the packing is between the outbox and
its disk alone, and the treaty knows nothing of it.
"""

import lzma
import sqlite3
from typing import Any

from protos.limits import PAYLOAD_BYTES_MAX
from protos.seal import Sealed

SCHEMA = """
create table if not exists envelope(
    seq integer primary key, previous blob not null, payload blob not null, signature blob not null,
    packed integer not null default 0
);
create table if not exists note(name text primary key, value) without rowid;
"""
ADD_PACKED = "alter table envelope add column packed integer not null default 0"
"""For a file of an earlier version, whose payloads lie there as they are."""

NEWEST = "select seq, previous, payload, signature, packed from envelope order by seq desc limit 1"
AFTER = (
    "select seq, previous, payload, signature, packed from envelope"
    " where seq > ? and seq <= ? order by seq limit ?"
)
INSERT = "insert into envelope(seq, previous, payload, signature, packed) values(?,?,?,?,?)"

PACKING: dict[str, Any] = {
    "format": lzma.FORMAT_RAW,
    "filters": [
        {"id": lzma.FILTER_LZMA1, "lc": 0, "lp": 0, "pb": 0, "dict_size": PAYLOAD_BYTES_MAX}
    ],
}
"""Columns of differences have few literals worth a context. Four per cent shorter than the best
deflate, which decides whether ten seconds of ten meters fit into one page of the outbox."""

Row = tuple[int, bytes, bytes, bytes, int]


def to_row(sealed: Sealed) -> Row:
    """The columns of `INSERT`."""
    packed = lzma.compress(sealed.payload, **PACKING)
    if len(packed) < len(sealed.payload):
        return sealed.seq, sealed.previous, packed, sealed.signature, 1
    return sealed.seq, sealed.previous, sealed.payload, sealed.signature, 0


def from_row(row: Row | sqlite3.Row) -> Sealed:
    """Raises sqlite3.DatabaseError where the disk gives back what was never written."""
    seq, previous, payload, signature, packed = row
    if packed:
        try:
            payload = lzma.LZMADecompressor(**PACKING).decompress(payload, PAYLOAD_BYTES_MAX + 1)
        except lzma.LZMAError as error:
            raise sqlite3.DatabaseError(f"envelope {seq} is damaged ({error})") from error
    return Sealed(seq, previous, payload, signature)
