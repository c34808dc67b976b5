"""What an anchor says: the log, its size and root, and the anchor before it. Decides nothing.

    "gtxa" | version u8 | size u64 | root 32 | hash of the anchor transaction before 32 | origin

Big-endian. Each anchor names the one before, so that whoever knows the newest transaction finds
them all on the chain, without asking the operator.
"""

import struct
from dataclasses import dataclass

from protos.receipt import Checkpoint, is_key_name

MAGIC = b"gtxa\x01"
_HEAD = struct.Struct(">5sQ32s32s")
NO_ANCHOR = bytes(32)
ORIGIN_BYTES_MAX = 256


class AnchorError(ValueError):
    """The chain and the log do not agree, or an anchor cannot be made. The message says why."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A root as a transaction carries it; `previous` is the hash of the anchor before, or zeros."""

    checkpoint: Checkpoint
    previous: bytes

    def encode(self) -> bytes:
        """The transaction's data."""
        head = _HEAD.pack(MAGIC, self.checkpoint.size, self.checkpoint.root, self.previous)
        return head + self.checkpoint.origin.encode()


def decode_anchor(data: bytes) -> Anchor:
    """The anchor in a transaction's data. Raises AnchorError where there is none."""
    if len(data) <= _HEAD.size or len(data) > _HEAD.size + ORIGIN_BYTES_MAX:
        raise AnchorError("the transaction carries no anchor")
    magic, size, root, previous = _HEAD.unpack(data[: _HEAD.size])
    try:
        origin = data[_HEAD.size :].decode()
    except UnicodeDecodeError:
        origin = ""
    if magic != MAGIC or not is_key_name(origin):
        raise AnchorError("the transaction carries no anchor")
    return Anchor(Checkpoint(origin, size, root), previous)
