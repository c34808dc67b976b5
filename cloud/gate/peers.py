"""Who is on the other end of a connection, as its TLS certificate says."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cloud.gate.authority import AUTHORITY_SCHEME, DEVICE_SCHEME
from protos.messages import ADVICE, Refusal


class Context(Protocol):
    """What of a gRPC servicer context is used here."""

    def auth_context(self) -> Mapping[str, Sequence[bytes]]: ...
    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """A name that the CA has vouched for, and until when."""

    name: str
    valid_for_s: float


def device_of(context: Context) -> Peer | None:
    """The device that opened this connection, or None if the certificate names none."""
    return _peer(context, DEVICE_SCHEME)


def authority_of(context: Context) -> Peer | None:
    return _peer(context, AUTHORITY_SCHEME)


def advise(refusal: Refusal) -> str:
    return f"{refusal.name}: {ADVICE[refusal]}"


def _peer(context: Context, scheme: str) -> Peer | None:
    facts = context.auth_context()
    names = [name.decode() for name in facts.get("x509_subject_alternative_name", ())]
    pem = facts.get("x509_pem_cert", ())
    found = [name.removeprefix(scheme) for name in names if name.startswith(scheme)]
    if len(found) != 1 or not pem:
        return None
    certificate = x509.load_pem_x509_certificate(pem[0])
    left = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    return Peer(found[0], left.total_seconds())


def is_signed(public_key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


async def refuse(context: Context, code: grpc.StatusCode, reason: Refusal) -> NoReturn:
    await context.abort(code, advise(reason))
    raise AssertionError("abort does not return")
