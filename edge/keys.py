"""The keys of a gateway: the Ed25519 device key, which is its identity, and the TLS key.

A key is made on the device and never leaves it. Must never overwrite a key that exists, use one
that other users can read, or hand the private half to anybody. Where the device key lies, in a
file, sealed by a TPM or in a PKCS#11 token, is one section of the configuration; behind the
`DeviceKey` port they are the same.
"""

import binascii
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.config import KeySection
from edge.files import create_new
from protos.ids import DeviceId, device_id
from protos.seal import Signer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

DEVICE_KEY = "device.key"
TLS_KEY = "tls.key"
_PKCS8_ED25519 = bytes.fromhex("302e020100300506032b657004220420")
"""RFC 8410 section 7: what stands before the 32 bytes of the key."""


class KeyFileError(Exception):
    """A key file is missing, damaged or open to others. The message says what to do."""


class CannotSignError(Exception):
    """The key cannot be used just now, as when its token was pulled out. The message says why."""


class DeviceKey(Signer, Protocol):
    """The device's identity: signs, and says its raw 32-byte public half.

    `sign` raises CannotSignError where the key is not in this process.
    """

    @property
    def public_key(self) -> bytes: ...


class FileSigner:
    """A `DeviceKey` in this process's memory."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public_key = key.public_key().public_bytes_raw()
        self._device = device_id(self._public_key)

    @property
    def public_key(self) -> bytes:
        return self._public_key

    @property
    def device(self) -> DeviceId:
        return self._device

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


IN_A_FILE = KeySection()
PLACES = {"file": DEVICE_KEY, "tpm2": "device.key.tpm2", "pkcs11": "device.key.pkcs11"}
"""What lies in the state directory for each kind of key."""


def load_signer(state_dir: Path, key: KeySection = IN_A_FILE) -> DeviceKey:
    """The device key of this state directory. Raises KeyFileError."""
    _refuse_another_kind(state_dir, key)
    if key.kind == "tpm2":
        from edge import key_tpm2

        return key_tpm2.load(state_dir, key)
    if key.kind == "pkcs11":
        from edge import key_pkcs11

        return key_pkcs11.load(state_dir, key)
    pem = private_text(state_dir / DEVICE_KEY)
    found = _plain_ed25519(pem) or load_pem(pem, state_dir / DEVICE_KEY)
    if not isinstance(found, Ed25519PrivateKey):
        raise KeyFileError(f"{state_dir / DEVICE_KEY} holds no Ed25519 key; restore the right file")
    return FileSigner(found)


def load_or_create_signer(state_dir: Path, key: KeySection = IN_A_FILE) -> DeviceKey:
    """The device key, made now if this gateway has none. Raises KeyFileError."""
    _refuse_another_kind(state_dir, key)
    if (state_dir / PLACES[key.kind]).exists():
        return load_signer(state_dir, key)
    if key.kind == "tpm2":
        from edge import key_tpm2

        return key_tpm2.create(state_dir, key)
    if key.kind == "pkcs11":
        from edge import key_pkcs11

        return key_pkcs11.create(state_dir, key)
    _store(state_dir / DEVICE_KEY, Ed25519PrivateKey.generate())
    return load_signer(state_dir, key)


def _refuse_another_kind(state_dir: Path, key: KeySection) -> None:
    """A second key beside the first would be a second identity of one gateway."""
    for kind, name in PLACES.items():
        if kind != key.kind and (state_dir / name).exists():
            raise KeyFileError(
                f"key.kind is {key.kind!r}, but {state_dir / name} is there: this gateway's key is"
                f" of kind {kind!r}; write that, or enrol anew with --fresh"
            )


def load_or_create_tls_key(state_dir: Path) -> "EllipticCurvePrivateKey":
    """The P-256 key of the TLS certificate, made now if there is none. Raises KeyFileError."""
    from cryptography.hazmat.primitives.asymmetric import ec

    path = state_dir / TLS_KEY
    if not path.exists():
        _store(path, ec.generate_private_key(ec.SECP256R1()))
    key = load_pem(private_text(path), path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyFileError(f"{path} holds no P-256 key; remove it and enrol again")
    return key


def read_tls_key_pem(state_dir: Path) -> bytes:
    """The TLS key as the transport wants it. Raises KeyFileError."""
    return private_text(state_dir / TLS_KEY)


def _plain_ed25519(pem: bytes) -> Ed25519PrivateKey | None:
    """The key in the form in which `_store` writes it; None for every other form.

    The agent's ordinary start so does without the library's loaders of all formats, which are 7 ms
    and a MiB.
    """
    lines = pem.split()
    if len(lines) < 5 or b" ".join(lines[:3]) != b"-----BEGIN PRIVATE KEY-----":
        return None
    try:
        der = binascii.a2b_base64(b"".join(lines[3:-3]))
    except binascii.Error:
        return None
    if len(der) != len(_PKCS8_ED25519) + 32 or not der.startswith(_PKCS8_ED25519):
        return None
    return Ed25519PrivateKey.from_private_bytes(der[len(_PKCS8_ED25519) :])


def load_pem(pem: bytes, path: Path) -> object:
    """Any private key without a password. Raises KeyFileError."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            f"{path} is damaged or not a PEM key; restore it, or enrol anew with --fresh"
        ) from error


def private_text(path: Path) -> bytes:
    """The content of a file that only its owner may open. Raises KeyFileError."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & 0o077:
                raise KeyFileError(f"{path} is open to other users; run: chmod 600 {path}")
            return file.read()
    except FileNotFoundError as error:
        raise KeyFileError(
            f"{path} is missing; enrol this gateway first: gridtokenx-edge enrol --token TOKEN"
        ) from error
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}; run as the user who owns it") from error


def _store(path: Path, key: "Ed25519PrivateKey | EllipticCurvePrivateKey") -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        create_new(path, pem)
    except FileExistsError:
        # Another process made it between the look and the link: theirs counts.
        return
