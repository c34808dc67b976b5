"""Files that must be there after a power cut: roots, evidence, keys, snapshots.

Decides nothing. A file is either the old one or the new one, never half of either.
"""

import os
from pathlib import Path


def write_durably(path: Path, octets: bytes, mode: int = 0o644) -> None:
    """Replaces the file; on the disk, name and all, when this returns."""
    beside = path.with_name(path.name + ".new")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
