"""Checks evidence of equivocation from the public formats alone; imports nothing of ours.

    python check_evidence.py EVIDENCE.json

Two notes of one size with different roots, both signed by one key (log or witness), convict it.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def statement(note: str, vkey: str) -> tuple[str, int, str]:
    """Origin, size and root that this key put its name to. Raises ValueError where it did not."""
    name, key_hash, encoded = vkey.split("+", 2)
    kind_and_key = base64.b64decode(encoded)
    key_id = hashlib.sha256(name.encode() + b"\n" + kind_and_key).digest()[:4]
    if key_id.hex() != key_hash or kind_and_key[0] not in {1, 4}:
        raise ValueError("not a verifier key")
    body, signatures = note.split("\n\n")
    body += "\n"
    public = Ed25519PublicKey.from_public_bytes(kind_and_key[1:])
    for line in signatures.splitlines():
        _, signer, text = line.split(" ")
        octets = base64.b64decode(text)
        if signer != name or octets[:4] != key_id:
            continue
        message, signature = body, octets[4:]
        if kind_and_key[0] == 4:
            message = f"cosignature/v1\ntime {int.from_bytes(octets[4:12], 'big')}\n{body}"
            signature = octets[12:]
        try:
            public.verify(signature, message.encode())
        except InvalidSignature:
            continue
        origin, size, root = body.split("\n")[:3]
        return origin, int(size), root
    raise ValueError("the key signed no such statement")


def convicts(first: str, second: str, vkey: str) -> bool:
    """Whether the key contradicted itself: one log, one size, two roots."""
    try:
        one, two = statement(first, vkey), statement(second, vkey)
    except ValueError:
        return False
    return one[:2] == two[:2] and one[2] != two[2]


if __name__ == "__main__":
    found = json.loads(Path(sys.argv[1]).read_bytes())
    print(convicts(found["first"], found["second"], found["key"]))
