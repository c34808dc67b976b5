"""A validator's key: made once, for its owner alone. Decides nothing."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.store.durable import write_durably
from protos.receipt import parse_key
from protos.witness import COSIGNATURE, witness_key


def make_key(path: Path, name: str) -> str:
    """A new validator's key, and beside it its public side in FILE.pub. Returns the policy line.

    A key that is there already is kept. Raises ValueError for a name that cannot sign a note.
    """
    public = path.with_name(path.name + ".pub")
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        text = witness_key(name, key).text()
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_durably(path, secret, 0o600)
        write_durably(public, f"{text}\n".encode())
    name, _ = load_key(path)
    return f"witness {name} {public.read_text(encoding='utf-8').strip()}"


def load_key(path: Path) -> tuple[str, Ed25519PrivateKey]:
    """The validator's name and key. Raises ValueError or OSError with what to do."""
    public = path.with_name(path.name + ".pub")
    if not path.exists() or not public.exists():
        raise FileNotFoundError(
            f"no validator key at {path}; make one with: gridtokenx validator-key --key {path} "
            "--name NAME"
        )
    loaded = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(loaded, Ed25519PrivateKey):
        raise TypeError(f"{path} holds no Ed25519 key")
    known = parse_key(public.read_text(encoding="utf-8").strip(), COSIGNATURE)
    if witness_key(known.name, loaded) != known:
        raise ValueError(f"{public} is not the public side of {path}; restore them together")
    return known.name, loaded
