"""Proof of one transfer inside its batch: the way from its record to the batch's leaf, then that
leaf's own receipt, unchanged.

    gridtokenx/transfer-proof@v1
    record <base64 of the record and its outcome>
    index <number of the record in the batch>
    <base64 of a hash, one line each, from the record's sibling to the batch's root>

    c2sp.org/tlog-proof@v1
    ...

The same hashes as the log's (RFC 6962), one record a leaf. Accounts are the ledger's numbers, which
`gridtokenx account` shows. Decides whether such a text holds; must never show another transfer than
the one asked for.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from cloud.facts import BatchPosted, decode_fact
from cloud.ledger.columns import ASSETS
from cloud.ledger.log import TransparencyLog
from cloud.ledger.transfers import RECORD, Flag, record_leaves
from protos.limits import RECEIPT_BYTES_MAX
from protos.messages import Refusal
from protos.receipt import (
    HASH_BYTES,
    Cosigners,
    ReceiptError,
    VerifiedLeaf,
    number_of,
    octets_of,
    root_from_path,
    verify,
)

HEADER = "gridtokenx/transfer-proof@v1"


@dataclass(frozen=True, slots=True)
class ProvenTransfer:
    """A transfer as it was asked for, and what became of it: 0 for done, else a Refusal."""

    transfer_id: bytes
    pending_id: bytes
    amount: int
    asset: str
    debit: int
    credit: int
    kind: str
    outcome: int
    index: int
    batch: BatchPosted
    leaf: VerifiedLeaf

    def words(self) -> dict[str, object]:
        """For people: ids in hex, the outcome by its name."""
        return {
            "id": self.transfer_id.hex(),
            "kind": self.kind,
            "asset": self.asset,
            "amount": self.amount,
            "debit_number": self.debit,
            "credit_number": self.credit,
            "pending_id": self.pending_id.hex(),
            "outcome": Refusal(self.outcome).name if self.outcome else "DONE",
            "hour": self.batch.hour,
            "transfers_in_batch": self.batch.records,
        }


def is_transfer_proof(octets: bytes) -> bool:
    """Whether the text begins as one of a transfer does; nothing of it is checked."""
    return octets.startswith(HEADER.encode() + b"\n")


def proof_head(records: bytes, refused: Sequence[tuple[int, int]], root: bytes, index: int) -> str:
    """All of the proof but the batch's own receipt, which is put behind it.

    Raises ValueError where these records with these refusals are not under the batch's root.
    """
    tree = TransparencyLog()
    leaves = record_leaves(records, refused)
    tree.extend(leaves)
    if tree.root() != root:
        raise ValueError("these records are not under the batch's root")
    path = tree.inclusion(index, len(leaves))
    lines = [HEADER, f"record {_base64(leaves[index])}", f"index {index}", *map(_base64, path)]
    return "\n".join(lines) + "\n\n"


def verify_transfer(
    octets: bytes, trusted_key: str, cosigners: Cosigners | None = None
) -> ProvenTransfer:
    """The transfer that this text proves under the trusted key. Raises ReceiptError."""
    if len(octets) > RECEIPT_BYTES_MAX:
        raise ReceiptError("length", f"a receipt has at most {RECEIPT_BYTES_MAX} bytes")
    head, _, receipt = octets.partition(b"\n\n")
    proven = verify(receipt, trusted_key, cosigners)
    batch = _batch(proven.leaf)
    leaf, index, path = _parse(head)
    if index >= batch.records:
        raise ReceiptError("index", "the batch has no such transfer")
    if root_from_path(leaf, index, batch.records, path) != batch.root:
        raise ReceiptError("transfer proof", "record, index and hashes do not lead to the batch")
    return _transfer(leaf, index, batch, proven)


def _batch(leaf: bytes) -> BatchPosted:
    try:
        fact = decode_fact(leaf)
    except msgspec.DecodeError as error:
        raise ReceiptError("leaf", "it is no fact of this ledger") from error
    if not isinstance(fact, BatchPosted):
        raise ReceiptError("leaf", "it is no batch of transfers")
    return fact


def _parse(head: bytes) -> tuple[bytes, int, Sequence[bytes]]:
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise ReceiptError("encoding", "it is not plain text") from None
    if len(lines) < 3 or lines[0] != HEADER:
        raise ReceiptError("header", f"the first line is not {HEADER}")
    if not lines[1].startswith("record ") or not lines[2].startswith("index "):
        raise ReceiptError("header", "the lines record and index must follow")
    leaf = octets_of(lines[1].removeprefix("record "), "record")
    path = [octets_of(line, "transfer proof") for line in lines[3:]]
    if len(leaf) != RECORD.size + 2 or any(len(node) != HASH_BYTES for node in path):
        raise ReceiptError("record", "it is not a record of 56 bytes, its outcome, and hashes")
    return leaf, number_of(lines[2].removeprefix("index "), "index"), path


def _transfer(leaf: bytes, index: int, batch: BatchPosted, proven: VerifiedLeaf) -> ProvenTransfer:
    transfer_id, pending_id, amount, debit, credit, _, _, asset, flags = RECORD.unpack(
        leaf[: RECORD.size]
    )
    kinds = {0: "move", Flag.PENDING: "pending", Flag.POST: "post", Flag.VOID: "void"}
    return ProvenTransfer(
        transfer_id,
        pending_id,
        amount,
        ASSETS[asset] if asset < len(ASSETS) else f"asset {asset}",
        debit,
        credit,
        kinds.get(flags & ~int(Flag.LINKED), f"flags {flags}"),
        int.from_bytes(leaf[RECORD.size :], "little"),
        index,
        batch,
        proven,
    )


def _base64(octets: bytes) -> str:
    return b64encode(octets).decode()
