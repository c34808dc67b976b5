"""Receipts for households: one leaf, its way to the root, and the signed root.

Decides whether a receipt can be made; must never make one that does not hold, so leaf and
checkpoint are compared with the log before anything is written.
"""

from cloud.ledger.log import TransparencyLog
from protos.limits import RECEIPT_BYTES_MAX
from protos.receipt import Cosigners, VerifierKey, leaf_hash, open_checkpoint, write

RECEIPT_SUFFIX = ".tlog-proof"


class ReceiptTooLongError(ValueError):
    """Leaf, proof and signatures together are over the limit."""


def make_receipt(
    log: TransparencyLog,
    index: int,
    leaf: bytes,
    checkpoint_note: str,
    key: VerifierKey,
    cosigners: Cosigners | None = None,
    *,
    bytes_max: int = RECEIPT_BYTES_MAX,
) -> str:
    """The receipt of leaf `index` under this signed, and maybe cosigned, checkpoint.

    `leaf` is what `encode_fact` made of the fact. Raises ReceiptError where the note is not signed
    by `key`, and ValueError where leaf, checkpoint and log do not belong together or the receipt
    would be too long.
    """
    checkpoint = open_checkpoint(checkpoint_note, key, cosigners)
    if not 0 <= index < checkpoint.size <= log.size:
        raise ValueError(
            f"leaf {index} is not under a checkpoint of {checkpoint.size} leaves; "
            "wait for the next block"
        )
    if log.leaf_hash(index) != leaf_hash(leaf):
        raise ValueError(f"these bytes are not leaf {index} of the log")
    if log.root(checkpoint.size) != checkpoint.root:
        raise ValueError("the checkpoint is not of this log")
    receipt = write(leaf, index, log.inclusion(index, checkpoint.size), checkpoint_note)
    if len(receipt.encode()) > bytes_max:
        raise ReceiptTooLongError(f"leaf {index} is too long for a receipt of {bytes_max} bytes")
    return receipt
