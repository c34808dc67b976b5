"""A verifier of one transfer inside its batch, from the formats alone; imports nothing of ours.

    python verify_transfer.py PROOF NAME+HASH+KEY

The receipt at the end is checked by `verify_receipt.py` beside this file. The leaf it proves is a
MessagePack array: tag 180, hour, number of transfers, posted, root. A record is 56 bytes,
little-endian: id, id of the pending one, amount, debit, credit, timeout, code, asset, flags; its
outcome, two bytes, stands behind it.
"""

import hashlib
import struct
import sys
from pathlib import Path

from verify_receipt import check, decode, fold

HEADER = "gridtokenx/transfer-proof@v1"
BATCH_TAG = 180


def whole_number(octets: bytes, at: int) -> tuple[int, int]:
    """A MessagePack unsigned integer, and where the next value begins."""
    first = octets[at]
    if first < 0x80:
        return first, at + 1
    if not 0xCC <= first <= 0xCF:
        raise ValueError("not an unsigned integer")
    width = 1 << (first - 0xCC)
    return int.from_bytes(octets[at + 1 : at + 1 + width], "big"), at + 1 + width


def batch_of(leaf: bytes) -> tuple[int, int, bytes]:
    """Hour, number of transfers and root of a batch's leaf."""
    if leaf[0] != 0x95:
        raise ValueError("not an array of five")
    tag, at = whole_number(leaf, 1)
    hour, at = whole_number(leaf, at)
    count, at = whole_number(leaf, at)
    _, at = whole_number(leaf, at)
    if tag != BATCH_TAG or leaf[at : at + 2] != b"\xc4\x20":
        raise ValueError("not a batch of transfers")
    return hour, count, leaf[at + 2 : at + 34]


def check_transfer(text: str, key: str) -> dict[str, object]:
    """The transfer that the text proves. Raises ValueError where it proves none."""
    head, receipt = text.split("\n\n", 1)
    hour, count, root = batch_of(check(receipt, key))
    header, record_line, index_line, *hash_lines = head.split("\n")
    if header != HEADER or record_line[:7] != "record " or index_line[:6] != "index ":
        raise ValueError("not a proof of a transfer")
    record, index = decode(record_line[7:]), int(index_line[6:])
    if len(record) != 58 or not 0 <= index < count:
        raise ValueError("no such transfer in this batch")
    leaf_hash = hashlib.sha256(b"\x00" + record).digest()
    if fold(leaf_hash, index, count, [decode(line) for line in hash_lines]) != root:
        raise ValueError("the hashes do not lead to the batch")
    name, _, amount, debit, credit, _, _, asset, flags, outcome = struct.unpack(
        "<16s16sqIIIHBBH", record
    )
    return {
        "id": name.hex(),
        "amount": amount,
        "debit": debit,
        "credit": credit,
        "asset": asset,
        "flags": flags,
        "outcome": outcome,
        "hour": hour,
    }


if __name__ == "__main__":
    print(check_transfer(Path(sys.argv[1]).read_bytes().decode(), sys.argv[2]))
