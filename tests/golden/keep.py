"""Keeps a journal for good: `python -m tests.golden.keep NAME JOURNAL ZONE=NETWORK ...`.

What is kept here must give the same leaves for ever. A journal is only ever added, one for each release
and for each rules version; none is made anew because a test of it fails.
"""

import gzip
import sys
from pathlib import Path

import msgspec

from cloud.core import Core
from cloud.grid.shipped import network_named
from cloud.replay import rebuild
from cloud.store.journal import Record, SqliteJournal

FOLDER = Path(__file__).resolve().parent


class Kept(msgspec.Struct):
    """A journal, and what it made when it was kept."""

    networks: dict[str, str]
    leaves: int
    root: bytes
    records: list[tuple[int, int, int, int, int, str, bytes]]

    def read(self, after_seq=0):
        """As a journal reads itself."""
        return (Record(*fields) for fields in self.records if fields[0] > after_seq)


def load(path):
    return msgspec.msgpack.decode(gzip.decompress(path.read_bytes()), type=Kept)


def replayed(kept):
    """The machines after the journal, and what the replay found."""
    core = Core({zone: network_named(name) for zone, name in kept.networks.items()})
    return core, rebuild(kept, core)


def main(name, source, *zones):
    journal = SqliteJournal(Path(source), read_only=True)
    records = [tuple(record) for record in journal.read()]
    journal.close()
    kept = Kept(dict(zone.split("=") for zone in zones), 0, b"", records)
    core, _ = replayed(kept)
    kept.leaves, kept.root = core.bank.log.size, core.bank.log.root()
    path = FOLDER / f"{name}.journal"
    path.write_bytes(gzip.compress(msgspec.msgpack.encode(kept), mtime=0))
    print(f"{path.name}: {len(records)} records, {kept.leaves} leaves, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
