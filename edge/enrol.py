"""How a gateway gets its certificate: once with a token, then again before half of its life is over.

The device key proves who asks; the TLS key is only the transport's. Must never send a private key,
and never replace a certificate before the new one is whole on the disk. The transport is imported
only when something is sent, so that an enrolled agent reads its first meter before.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.files import replace
from edge.keys import (
    PLACES,
    TLS_KEY,
    CannotSignError,
    DeviceKey,
    load_or_create_signer,
    load_or_create_tls_key,
    load_signer,
    read_tls_key_pem,
)
from protos import gateway_pb2
from protos.clock import SECOND_NS

ENROLMENT = "enrolment.json"
CERTIFICATE = "tls.pem"
TIMEOUT_S = 20.0
_ENROL = b"gridtokenx/enrol/v1"
_RENEW = b"gridtokenx/renew/v1"
_NUL = b"\x00"


class EnrolmentError(Exception):
    """The gateway is not enrolled or could not be. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What the cloud answered, and how long its certificate holds (ns UTC)."""

    device: str
    site: str
    zone: str
    gateway: str
    not_before_ns: int
    not_after_ns: int

    @property
    def renew_ns(self) -> int:
        """A little before half of the certificate's life."""
        return self.not_before_ns + (self.not_after_ns - self.not_before_ns) * 45 // 100


async def enrol(
    state_dir: Path,
    token: str,
    address: str,
    ca: Path,
    server_name: str = "",
    signer: DeviceKey | None = None,
) -> Enrolment:
    """Exchanges the token for a certificate and stores it. Raises EnrolmentError, KeyFileError.

    An empty token asks for a new certificate for a device that is known already. Without a
    `signer` the key lies in a file.
    """
    from edge.channel import open_channel
    from protos import gateway_pb2_grpc

    signer = signer or load_or_create_signer(state_dir)
    csr = _request_pem(state_dir, signer)
    request = gateway_pb2.EnrolRequest(
        token=token,
        public_key=signer.public_key,
        csr_pem=csr,
        signature=_signed(signer, _NUL.join((_ENROL, token.encode(), csr))),
    )
    try:
        channel = open_channel(address, ca, server_name)
    except OSError as error:
        raise EnrolmentError(f"{ca}: {error.strerror}; give the cloud's ca.pem") from error
    async with channel:
        stub = gateway_pb2_grpc.EnrolmentServiceStub(channel)
        answer = await _call(stub.Enrol, request, address)
    if answer.device_id != signer.device:
        raise EnrolmentError(f"the cloud enrolled {answer.device_id}, but this is {signer.device}")
    start, end = _life(answer.certificate_chain_pem)
    enrolment = Enrolment(
        answer.device_id, answer.site_id, answer.zone, answer.gateway_address, start, end
    )
    _store(state_dir, enrolment, answer.certificate_chain_pem)
    return enrolment


async def renew(
    state_dir: Path,
    enrolment: Enrolment,
    address: str,
    ca: Path,
    server_name: str = "",
    signer: DeviceKey | None = None,
) -> Enrolment:
    """The next certificate, asked for with the present one. Raises EnrolmentError, KeyFileError."""
    from edge.channel import open_channel
    from protos import gateway_pb2_grpc

    signer = signer or load_signer(state_dir)
    csr = _request_pem(state_dir, signer)
    signature = _signed(signer, _NUL.join((_RENEW, csr)))
    request = gateway_pb2.RenewRequest(csr_pem=csr, signature=signature)
    async with open_channel(address, ca, server_name, load_identity(state_dir)) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        answer = await _call(stub.Renew, request, address)
    start, end = _life(answer.certificate_chain_pem)
    renewed = Enrolment(
        enrolment.device, enrolment.site, enrolment.zone, enrolment.gateway, start, end
    )
    _store(state_dir, renewed, answer.certificate_chain_pem)
    return renewed


def load_enrolment(state_dir: Path) -> Enrolment | None:
    """What was stored, None for a gateway that was never enrolled. Raises EnrolmentError."""
    path = state_dir / ENROLMENT
    try:
        return Enrolment(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise EnrolmentError(f"{path} is damaged ({error}); enrol this gateway again") from error


def load_identity(state_dir: Path) -> tuple[bytes, bytes]:
    """The TLS key and the certificate chain, PEM. Raises EnrolmentError, KeyFileError."""
    path = state_dir / CERTIFICATE
    try:
        return read_tls_key_pem(state_dir), path.read_bytes()
    except OSError as error:
        raise EnrolmentError(f"{path}: {error.strerror}; enrol this gateway again") from error


def set_aside(state_dir: Path) -> Path | None:
    """Moves keys, certificate and outbox of an identity that must not be used any more.

    Nothing is deleted: the envelopes are evidence. Returns where they went.
    """
    names = (*PLACES.values(), TLS_KEY, CERTIFICATE, ENROLMENT, "outbox.db", "outbox.db-wal")
    present = [name for name in names if (state_dir / name).exists()]
    if not present:
        return None
    aside = state_dir / f"former-{time.time_ns() // SECOND_NS}"
    aside.mkdir(mode=0o700)
    for name in present:
        (state_dir / name).rename(aside / name)
    return aside


async def _call(method: Any, request: Any, address: str) -> Any:
    import grpc
    import grpc.aio

    try:
        return await method(request, timeout=TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        detail = error.details() or error.code().name
        if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
            raise EnrolmentError(
                f"{address} is not reachable ({detail}); check address, network, --ca and the clock"
            ) from error
        raise EnrolmentError(f"{address} refused: {detail}") from error


def _signed(signer: DeviceKey, message: bytes) -> bytes:
    try:
        return signer.sign(message)
    except CannotSignError as error:
        raise EnrolmentError(str(error)) from error


def _request_pem(state_dir: Path, signer: DeviceKey) -> bytes:
    """A certificate request of the TLS key that carries the device id as its common name."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, signer.device)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    request = builder.sign(load_or_create_tls_key(state_dir), SHA256())
    return request.public_bytes(Encoding.PEM)


def _life(chain_pem: bytes) -> tuple[int, int]:
    from cryptography import x509

    try:
        leaf = x509.load_pem_x509_certificates(chain_pem)[0]
    except (ValueError, IndexError) as error:
        raise EnrolmentError("the cloud sent no certificate; ask its operator") from error
    return tuple(
        int(moment.timestamp()) * SECOND_NS
        for moment in (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    )  # type: ignore[return-value]


def _store(state_dir: Path, enrolment: Enrolment, chain_pem: bytes) -> None:
    try:
        replace(state_dir / CERTIFICATE, chain_pem)
        replace(state_dir / ENROLMENT, json.dumps(asdict(enrolment), indent=1).encode())
    except OSError as error:
        raise EnrolmentError(f"{state_dir}: {error.strerror}; make room, then again") from error
