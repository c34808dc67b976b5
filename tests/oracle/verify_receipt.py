"""A receipt verifier written from the public formats alone, in one file that imports nothing of ours.

    python verify_receipt.py RECEIPT NAME+HASH+KEY

Formats: c2sp.org/tlog-proof, c2sp.org/tlog-checkpoint, c2sp.org/signed-note, RFC 6962 section 2.1.
It follows the formats' own freedoms, so it takes some receipts that the strict one refuses.
"""

import base64
import hashlib
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def decode(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii"), validate=True)


def largest_power_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def fold(leaf: bytes, index: int, size: int, hashes: list[bytes]) -> bytes:
    """The root, by RFC 6962's own recursion: the last hash is the sibling of the larger half."""
    if size == 1:
        if hashes:
            raise ValueError("more hashes than levels")
        return leaf
    if not hashes:
        raise ValueError("fewer hashes than levels")
    k, rest, sibling = largest_power_below(size), hashes[:-1], hashes[-1]
    if index < k:
        pair = fold(leaf, index, k, rest) + sibling
    else:
        pair = sibling + fold(leaf, index - k, size - k, rest)
    return hashlib.sha256(b"\x01" + pair).digest()


def has_signature(body: str, lines: list[str], key: str) -> bool:
    """Whether one of the signature lines is this key's and holds."""
    name, key_hash, encoded = key.split("+", 2)
    kind_and_key = decode(encoded)
    key_id = hashlib.sha256(name.encode() + b"\n" + kind_and_key).digest()[:4]
    if kind_and_key[:1] != b"\x01" or key_id.hex() != key_hash:
        raise ValueError("not an Ed25519 verifier key")
    for line in lines:
        dash, signer, encoded = line.split(" ")
        octets = decode(encoded)
        if dash == "\u2014" and signer == name and octets[:4] == key_id:
            public = Ed25519PublicKey.from_public_bytes(kind_and_key[1:])
            try:
                public.verify(octets[4:], body.encode())
            except InvalidSignature:
                return False
            return True
    return False


def check(text: str, key: str) -> bytes:
    """The leaf that the receipt proves. Raises ValueError where it proves none."""
    proof, body, signatures = text.split("\n\n")
    header, extra, index_line, *hash_lines = proof.split("\n")
    if header != "c2sp.org/tlog-proof@v1" or extra[:6] != "extra " or index_line[:6] != "index ":
        raise ValueError("not a tlog-proof with extra data")
    leaf, index = decode(extra[6:]), int(index_line[6:])
    origin, size, root = body.split("\n")[:3]
    if origin != key.partition("+")[0]:
        raise ValueError("another log")
    if not signatures.endswith("\n") or not has_signature(
        body + "\n", signatures[:-1].split("\n"), key
    ):
        raise ValueError("not signed by this key")
    leaf_hash = hashlib.sha256(b"\x00" + leaf).digest()
    if not 0 <= index < int(size):
        raise ValueError("no such leaf in this tree")
    if fold(leaf_hash, index, int(size), [decode(line) for line in hash_lines]) != decode(root):
        raise ValueError("the hashes do not lead to the root")
    return leaf


if __name__ == "__main__":
    print(check(Path(sys.argv[1]).read_bytes().decode(), sys.argv[2]).hex())
