"""The device key in a PKCS#11 token (an HSM, a smart card, SoftHSM): it signs, the key stays there.

A small file beside the outbox names which key of the token is ours. A token that was pulled out is
asked again at the next signature, so plugging it in is all there is to do. Must never ask the token
for the private half, and never sign with a key that is not the one enrolled.
"""

import json
import os
from pathlib import Path
from typing import Any

from edge.config import KeySection
from edge.files import create_new
from edge.keys import CannotSignError, KeyFileError, private_text
from protos.ids import DeviceId, device_id

NAMED_KEY = "device.key.pkcs11"
LABEL = "gridtokenx device"
_ED25519 = bytes.fromhex("06032b6570")
"""The curve's object identifier, RFC 8410 section 3, as PKCS#11 3.0 section 2.3.7 wants it."""

_POINT = bytes.fromhex("0420")
"""What stands before the 32 bytes of a public key: an octet string."""


class TokenSigner:
    """A `Signer` whose key is in a token. Signing takes as long as the token takes."""

    def __init__(self, key: KeySection, identity: bytes, public_key: bytes) -> None:
        self._key = key
        self._identity = identity
        self.public_key = public_key
        self._device = device_id(public_key)
        self._session: Any = None
        self._private: Any = None

    @property
    def device(self) -> DeviceId:
        return self._device

    def sign(self, message: bytes) -> bytes:
        """Raises CannotSignError."""
        pkcs11 = _library()
        for attempt in (1, 2):
            try:
                if self._private is None:
                    self._open()
                return bytes(self._private.sign(message, mechanism=pkcs11.Mechanism.EDDSA))
            except pkcs11.PKCS11Error as error:
                # A token that was out and in again knows nothing of the session.
                self._private = self._session = None
                if attempt == 2:
                    raise CannotSignError(_complaint(self._key, error)) from error
            except KeyFileError as error:
                raise CannotSignError(str(error)) from error
        raise AssertionError("two attempts end in a signature or an error")

    def _open(self) -> None:
        """Raises KeyFileError, PKCS11Error."""
        pkcs11 = _library()
        self._session = _login(self._key, writing=False)
        names = {pkcs11.Attribute.ID: self._identity}
        kinds = pkcs11.ObjectClass
        public = _only(self._session, {**names, pkcs11.Attribute.CLASS: kinds.PUBLIC_KEY})
        private = _only(self._session, {**names, pkcs11.Attribute.CLASS: kinds.PRIVATE_KEY})
        if public is None or private is None:
            raise KeyFileError(
                f"the token {self._key.token!r} holds no key {self._identity.hex()}; put in the one"
                " with which this gateway was enrolled, or enrol anew with --fresh"
            )
        if _raw(public) != self.public_key:
            raise KeyFileError(f"key {self._identity.hex()} of the token is another than enrolled")
        self._private = private

    def check(self) -> "TokenSigner":
        """Opens the token now, so that a wrong PIN is met at the start. Raises KeyFileError."""
        try:
            self._open()
        except _library().PKCS11Error as error:
            raise KeyFileError(_complaint(self._key, error)) from error
        return self


def load(state_dir: Path, key: KeySection) -> TokenSigner:
    """The device key that the state directory names. Raises KeyFileError."""
    path = state_dir / NAMED_KEY
    try:
        named = json.loads(private_text(path))
        identity, public = bytes.fromhex(named["id"]), bytes.fromhex(named["device_public_key"])
        return TokenSigner(key, identity, public).check()
    except (ValueError, KeyError, TypeError) as error:
        raise KeyFileError(f"{path} is damaged; restore it, or enrol anew with --fresh") from error


def create(state_dir: Path, key: KeySection) -> TokenSigner:
    """Has the token make a key that never leaves it. Raises KeyFileError."""
    pkcs11 = _library()
    identity = os.urandom(16)
    attribute = pkcs11.Attribute
    try:
        with _login(key, writing=True) as session:
            curve = session.create_domain_parameters(
                pkcs11.KeyType.EC_EDWARDS, {attribute.EC_PARAMS: _ED25519}, local=True
            )
            public, _ = curve.generate_keypair(
                mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                store=True,
                id=identity,
                label=LABEL,
                private_template={attribute.EXTRACTABLE: False, attribute.SENSITIVE: True},
            )
            raw = _raw(public)
    except pkcs11.PKCS11Error as error:
        raise KeyFileError(_complaint(key, error)) from error
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = {"id": identity.hex(), "device_public_key": raw.hex()}
    try:
        create_new(state_dir / NAMED_KEY, json.dumps(content).encode())
    except FileExistsError:
        # Another process was first: theirs counts. Ours stays in the token, unused.
        return load(state_dir, key)
    return load(state_dir, key)


def _library() -> Any:
    try:
        import pkcs11
    except ImportError as error:
        raise KeyFileError(
            "the pkcs11 extra is missing; run: pip install 'gridtokenx-edge[pkcs11]'"
        ) from error
    return pkcs11


def _login(key: KeySection, *, writing: bool) -> Any:
    """Raises KeyFileError, PKCS11Error."""
    pkcs11 = _library()
    if key.module is None or not key.token:
        raise KeyFileError("key.kind pkcs11 needs key.module (the token's library) and key.token")
    pin = None
    if key.pin_file is not None:
        pin = private_text(key.pin_file).decode("utf-8", "replace").strip()
    if not key.module.exists():
        raise KeyFileError(f"{key.module} is not there; install the token's library")
    token = pkcs11.lib(str(key.module)).get_token(token_label=key.token)
    return token.open(rw=writing, user_pin=pin)


def _only(session: Any, template: dict[Any, Any]) -> Any:
    return next(iter(session.get_objects(template)), None)


def _raw(public: Any) -> bytes:
    """The 32 bytes; some libraries give them bare, others as an octet string."""
    point = bytes(public[_library().Attribute.EC_POINT])
    return point[2:] if len(point) == 34 and point.startswith(_POINT) else point


def _complaint(key: KeySection, error: Exception) -> str:
    advice = {
        "PinIncorrect": "the PIN is wrong; correct key.pin_file before the token locks itself",
        "PinLenRange": "the PIN is wrong; correct key.pin_file before the token locks itself",
        "PinInvalid": "the PIN is wrong; correct key.pin_file before the token locks itself",
        "PinLocked": "the PIN is locked after wrong tries; its security officer must unlock it",
        "UserNotLoggedIn": "it wants a PIN; put it into a file that key.pin_file names",
        "UserPinNotInitialized": "its user PIN was never set; initialise the token",
        "NoSuchToken": "it is not there; plug it in, or correct key.token",
        "TokenNotPresent": "it is not there; plug it in",
        "DeviceRemoved": "it was pulled out; plug it in",
        "MultipleTokensReturned": "several have this label; give them different ones",
        "MechanismInvalid": "it does not know Ed25519 (EdDSA); use another token or key.kind tpm2",
        "DomainParamsInvalid": "it does not know Ed25519 (EdDSA); use another token",
        "TokenWriteProtected": "it is write protected; make a key with its own tools",
    }
    name = type(error).__name__
    return f"token {key.token!r}: {name}; {advice.get(name, f'look at the token ({error})')}"
