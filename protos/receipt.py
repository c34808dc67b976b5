"""A receipt: proof that one fact is in the log under a signed root, checkable without a network.

One text file in public formats (C2SP tlog-proof, tlog-checkpoint, signed-note; RFC 6962 hashes):

    c2sp.org/tlog-proof@v1
    extra <base64 of the leaf>
    index <number of the leaf>
    <base64 of a hash, one line each, from the leaf's sibling to the root's child>

    <origin>
    <size>
    <base64 of the root>

    — <key name> <base64 of key id and Ed25519 signature>

Witnesses' cosignatures may follow, one line each (`protos.witness`). Decides whether such a text
holds. It is stricter than the formats: one spelling of each receipt, and no signature that the
reader cannot check, so that any changed byte is noticed. Must never trust anything but the keys
it is given.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protos.limits import RECEIPT_BYTES_MAX

HEADER = "c2sp.org/tlog-proof@v1"
HASH_BYTES = 32
KEY_ID_BYTES = 4
ED25519 = b"\x01"
"""The signature type that a signed note's key id and key text name."""

_DASH = "\N{EM DASH} "
_SIZE_MAX = 1 << 62


class ReceiptError(ValueError):
    """The text proves nothing. `part` names what does not fit."""

    def __init__(self, part: str, advice: str) -> None:
        super().__init__(f"{part}: {advice}")
        self.part = part


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Whose signature counts: a key name, a raw 32-byte Ed25519 public key and what it signs.

    `kind` is the signed note's type octet: ED25519 for a log, `protos.witness.COSIGNATURE` for a
    witness. The same key under another kind has another id.
    """

    name: str
    public_key: bytes
    kind: bytes = ED25519

    @property
    def key_id(self) -> bytes:
        return _key_id(self)

    def text(self) -> str:
        """The C2SP spelling: name+hash+base64."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(self.kind + self.public_key)}"


@lru_cache(maxsize=256)
def _key_id(key: VerifierKey) -> bytes:
    """Each line of a note is compared with it, and keys are few."""
    named = key.name.encode() + b"\n" + key.kind + key.public_key
    return sha256(named).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log: which log, how many leaves, and the root over them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"


class Cosigners(Protocol):
    """Whose cosignatures a reader asks for; `protos.witness.Policy` is one."""

    def check(self, checkpoint: Checkpoint, lines: Sequence[str]) -> None:
        """Raises ReceiptError unless these signature lines hold and are enough."""


@dataclass(frozen=True, slots=True)
class VerifiedLeaf:
    """A leaf that was proven to be in the log."""

    leaf: bytes
    index: int
    checkpoint: Checkpoint


def leaf_hash(leaf: bytes) -> bytes:
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def is_key_name(name: str) -> bool:
    """A name or origin that may stand in a note: one printable word without a plus."""
    return bool(name) and name.isprintable() and "+" not in name and len(name.split()) == 1


def parse_key(text: str, kind: bytes = ED25519) -> VerifierKey:
    """The key of a `name+hash+base64` text of this kind. Raises ReceiptError."""
    name, _, rest = text.partition("+")
    _, _, encoded = rest.partition("+")
    octets = octets_of(encoded, "verifier key")
    if len(octets) != 1 + HASH_BYTES or octets[:1] != kind or not is_key_name(name):
        raise ReceiptError("verifier key", "write name+hash+base64 of an Ed25519 key of this use")
    key = VerifierKey(name, octets[1:], kind)
    if key.text() != text:
        raise ReceiptError("verifier key", "its hash is not that of this name and key")
    return key


def signature_line(key: VerifierKey, signature: bytes) -> str:
    """The line of a signed note that carries this key's signature."""
    return f"{_DASH}{key.name} {_base64(key.key_id + signature)}\n"


def parse_checkpoint(note: str) -> tuple[Checkpoint, list[str]]:
    """The checkpoint a note is about, and its signature lines, none checked. Raises ReceiptError."""
    body, blank, signed = note.partition("\n\n")
    lines = body.split("\n")
    if not blank or len(lines) != 3:
        raise ReceiptError("checkpoint", "it needs origin, size and root, then a blank line")
    checkpoint = Checkpoint(
        lines[0], number_of(lines[1], "tree size"), octets_of(lines[2], "root hash")
    )
    if len(checkpoint.root) != HASH_BYTES:
        raise ReceiptError("root hash", "it is not 32 bytes long")
    return checkpoint, signed.splitlines(keepends=True)


def open_checkpoint(note: str, key: VerifierKey, cosigners: Cosigners | None = None) -> Checkpoint:
    """The checkpoint of a note that this key signed, and after it the cosigners, where given.

    Without cosigners there must be no further signature. Raises ReceiptError.
    """
    checkpoint, signed = parse_checkpoint(note)
    if checkpoint.origin != key.name:
        raise ReceiptError("origin", f"this is not the log {key.name}")
    if not signed:
        raise ReceiptError("signature", "there is none")
    signature = signature_of(signed[0], key)
    if not is_signed(checkpoint.text(), signature, key):
        raise ReceiptError("signature", "it does not fit the checkpoint")
    if cosigners is not None:
        cosigners.check(checkpoint, signed[1:])
    elif len(signed) > 1:
        raise ReceiptError(
            "signature", "it is cosigned; name the witnesses' policy to have that checked too"
        )
    return checkpoint


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that an audit path leads to, RFC 9162 section 2.1.3.2; None if its length is off."""
    at, last, node = index, size - 1, leaf_hash(leaf)
    for sibling in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            while at and not at & 1:
                at >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        at >>= 1
        last >>= 1
    return node if last == 0 else None


def write(leaf: bytes, index: int, path: Sequence[bytes], note: str) -> str:
    """The receipt's one spelling. The note is the signed checkpoint, verbatim."""
    lines = [HEADER, f"extra {_base64(leaf)}", f"index {index}", *map(_base64, path), "", note]
    return "\n".join(lines)


def is_cosigned(receipt: str) -> bool:
    """Whether a receipt bears signatures beyond the operator's; nothing of them is checked."""
    return receipt.count(f"\n{_DASH}") > 1


def verify(
    receipt: str | bytes, trusted_key: str, cosigners: Cosigners | None = None
) -> VerifiedLeaf:
    """The leaf that this receipt proves under the trusted `name+hash+base64` key.

    With cosigners the receipt must also bear enough of their cosignatures.

    Read the file as bytes: a text mode that translates line ends would hide a change. Raises
    ReceiptError, which names what does not fit.
    """
    key = parse_key(trusted_key)
    octets = receipt.encode("utf-8", "surrogatepass") if isinstance(receipt, str) else receipt
    if len(octets) > RECEIPT_BYTES_MAX:
        raise ReceiptError("length", f"a receipt has at most {RECEIPT_BYTES_MAX} bytes")
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise ReceiptError("encoding", "it is not UTF-8") from None
    proof, _, note = text.partition("\n\n")
    leaf, index, path = _parse_proof(proof)
    checkpoint = open_checkpoint(note, key, cosigners)
    if index >= checkpoint.size:
        raise ReceiptError("index", "the signed tree has no such leaf")
    if root_from_path(leaf, index, checkpoint.size, path) != checkpoint.root:
        raise ReceiptError("inclusion proof", "leaf, index and hashes do not lead to the root")
    return VerifiedLeaf(leaf, index, checkpoint)


def _parse_proof(proof: str) -> tuple[bytes, int, list[bytes]]:
    lines = proof.split("\n")
    if lines[0] != HEADER:
        raise ReceiptError("header", f"the first line is not {HEADER}")
    if len(lines) < 3 or not lines[1].startswith("extra ") or not lines[2].startswith("index "):
        raise ReceiptError("header", "the lines extra and index must follow")
    leaf = octets_of(lines[1].removeprefix("extra "), "leaf")
    index = number_of(lines[2].removeprefix("index "), "index")
    path = [octets_of(line, "inclusion proof") for line in lines[3:]]
    if any(len(node) != HASH_BYTES for node in path):
        raise ReceiptError("inclusion proof", "a hash is not 32 bytes long")
    return leaf, index, path


def signature_of(line: str, key: VerifierKey) -> bytes:
    """The signature in a note's line by this key, not yet checked. Raises ReceiptError."""
    name, space, encoded = line.removeprefix(_DASH).removesuffix("\n").partition(" ")
    octets = octets_of(encoded, "signature")
    if not space or name != key.name or octets[:KEY_ID_BYTES] != key.key_id:
        raise ReceiptError("signature", f"it is not by the key {key.name}+{key.key_id.hex()}")
    signature = octets[KEY_ID_BYTES:]
    if line != signature_line(key, signature):
        raise ReceiptError("signature", "its line is not in its one spelling")
    return signature


def names_key(line: str, key: VerifierKey) -> bool:
    """Whether a note's line says that it is by a key of this name; nothing else of it is looked at."""
    return line.startswith(f"{_DASH}{key.name} ")


def is_signed(text: str, signature: bytes, key: VerifierKey) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, text.encode())
    except InvalidSignature:
        return False
    return True


def number_of(text: str, part: str) -> int:
    """A decimal without sign, spaces or leading zeroes."""
    if not (text.isascii() and text.isdigit() and len(text) < 20) or str(int(text)) != text:
        raise ReceiptError(part, "it is not a plain decimal number")
    number = int(text)
    if number > _SIZE_MAX:
        raise ReceiptError(part, "it is larger than any log")
    return number


def _base64(octets: bytes) -> str:
    return b64encode(octets).decode()


def octets_of(text: str, part: str) -> bytes:
    """Standard base64, refused in any but its one spelling."""
    try:
        octets = b64decode(text.encode("ascii"), validate=True)
    except (Base64Error, UnicodeEncodeError):
        raise ReceiptError(part, "it is not base64") from None
    if _base64(octets) != text:
        raise ReceiptError(part, "it is not base64 in its one spelling")
    return octets
