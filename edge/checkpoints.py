"""The last signed roots of the transparency log: a shorter or a different history is refused.

Pure. A gateway that keeps what it was shown turns every gateway into a witness: the log's operator
cannot show one history here and another there later. Must never forget the longest root it saw.
"""

from base64 import b64decode
from binascii import Error as NotBase64
from collections import deque

KEPT = 8
NOTE_BYTES_MAX = 8_192


class CheckpointError(Exception):
    """The note is no checkpoint, or contradicts one that was seen before."""


class Checkpoints:
    """What was seen, newest last; `text` is the newest note, to be kept on the disk."""

    def __init__(self, text: str = "") -> None:
        self._seen: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self.text = ""
        if text:
            self.take(text.encode())

    @property
    def size(self) -> int:
        """Leaves of the longest history seen; 0 for none."""
        return self._seen[-1][0] if self._seen else 0

    def take(self, note: bytes) -> None:
        """Keeps a newer root. Raises CheckpointError."""
        size, root = parse(note)
        if (size, root) in self._seen:
            return
        for old_size, _ in self._seen:
            if size == old_size:
                raise CheckpointError(f"two roots for {size} leaves: the log was forked")
        if self._seen and size < self._seen[-1][0]:
            raise CheckpointError(f"{size} leaves after {self._seen[-1][0]}: history was cut")
        self._seen.append((size, root))
        self.text = note.decode("utf-8")


def parse(note: bytes) -> tuple[int, bytes]:
    """Size and root of C2SP checkpoint text: origin, size, root in base64, a blank line."""
    try:
        if len(note) > NOTE_BYTES_MAX:
            raise CheckpointError("the note is too long")
        origin, size, root, *_ = note.decode("utf-8").split("\n")
        decoded = b64decode(root, validate=True)
        if not origin or not size.isascii() or not size.isdigit() or len(decoded) != 32:
            raise CheckpointError("the note is no checkpoint")
        return int(size), decoded
    except (ValueError, NotBase64) as error:
        raise CheckpointError("the note is no checkpoint") from error
