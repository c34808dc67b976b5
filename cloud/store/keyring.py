"""One key file a subject, for the vault of personal data; destroying the file is the erasure.

Decides nothing. A key is overwritten before its name goes, and both are on the disk when `destroy`
returns. Must lie on a disk that is in no backup: a copy of a key undoes every erasure. On flash an
overwritten block may outlive its file; where that matters, the keys belong into a hardware module.
"""

import os
from hashlib import sha256
from pathlib import Path

SUBJECT_LETTERS_MAX = 256


class FileKeys:
    """Keys in a directory that its owner alone can read."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory

    def get(self, subject: str) -> bytes | None:
        path = self._path(subject)
        return path.read_bytes() if path.exists() else None

    def put(self, subject: str, key: bytes) -> None:
        """Keeps a new subject's key. Raises FileExistsError rather than replace one."""
        path = self._path(subject)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        self._sync()

    def destroy(self, subject: str) -> bool:
        path = self._path(subject)
        if not path.exists():
            return False
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
        self._sync()
        return True

    def _path(self, subject: str) -> Path:
        """By the subject's hash: a directory listing names nobody."""
        if len(subject) > SUBJECT_LETTERS_MAX:
            raise ValueError(f"a subject's name has at most {SUBJECT_LETTERS_MAX} letters")
        return self._directory / sha256(subject.encode()).hexdigest()

    def _sync(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
