"""The operator's signature under the log: a C2SP checkpoint, the block that validators witness.

Decides nothing; `protos.receipt.open_checkpoint` is the reading side. Must never sign two different roots for one size: the caller hands over what
`BlockSealed` says, and the bank seals each size once.
"""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloud.facts import BlockSealed
from protos.receipt import Checkpoint, VerifierKey, is_key_name, signature_line


class CheckpointSigner:
    """The log's name and key. The name is the checkpoint's origin as well."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        """Raises ValueError where the name cannot stand in a signed note."""
        if not is_key_name(name):
            raise ValueError(f"{name!r} cannot name a log; use a word such as grid.example/log")
        self._private_key = private_key
        raw = private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key = VerifierKey(name, raw)

    @property
    def verifier_key(self) -> str:
        """What a reader needs to trust: name+hash+base64."""
        return self.key.text()

    def sign(self, size: int, root: bytes) -> str:
        """The signed note over this size and root."""
        checkpoint = Checkpoint(self.key.name, size, root)
        signature = self._private_key.sign(checkpoint.text().encode())
        return checkpoint.text() + "\n" + signature_line(self.key, signature)

    def sign_block(self, block: BlockSealed) -> str:
        return self.sign(block.size, block.root)
