"""A validator's own copy of the log as static files, for any web server to publish.

Decides nothing. The tiles are made from the validator's replay, not copied from the operator, and
the checkpoint is the one it cosigned: a reader of the mirror needs the operator for nothing. A full
tile is written once; must never publish a checkpoint before the tiles under it.
"""

from pathlib import Path

from cloud.ledger.log import TransparencyLog
from cloud.ledger.tiles import LeafReader, new_files, tile_file
from cloud.store.durable import write_durably

CHECKPOINT = "checkpoint"
SIZE_FILE = ".mirrored"


def publish(directory: Path, log: TransparencyLog, leaf: LeafReader, size: int, note: str) -> int:
    """Brings the files up to the log of `size` leaves. Returns how many were written."""
    directory.mkdir(parents=True, exist_ok=True)
    mark = directory / SIZE_FILE
    done = int(mark.read_text(encoding="ascii")) if mark.exists() else 0
    count = 0
    for path in new_files(min(done, size), size):
        octets = tile_file(path, log, leaf, size)
        if octets is None:
            continue  # a bundle with a leaf too long for the format; its tile is there
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(octets)
        count += 1
    write_durably(directory / CHECKPOINT, note.encode())
    write_durably(mark, str(size).encode())
    return count
