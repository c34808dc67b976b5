"""The enrolment CA: short-lived TLS certificates whose subject is a device or a grid authority.

Device identity is the Ed25519 key; TLS uses a P-256 key of the gateway's own, because that is what
gRPC's TLS stack negotiates. A certificate binds the two: it is issued only for a request that the
device key has signed. The CA's key lies in the state directory, readable by its owner alone.
"""

import datetime as dt
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from protos.clock import SECOND_NS
from protos.limits import CERTIFICATE_NS

CA_YEARS = 10
SERVER_DAYS = 90
BACKDATE = dt.timedelta(minutes=5)
"""Certificates begin a little in the past: a gateway's clock may be slow."""

DEVICE_SCHEME = "gridtokenx:device:"
AUTHORITY_SCHEME = "gridtokenx:authority:"


class BadRequestError(Exception):
    """A certificate request that cannot be granted. The message says why."""


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What a TLS server shows, PEM."""

    key: bytes
    chain: bytes


class CertificateAuthority:
    """Opens the CA in a directory, making it at the first start."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        key_path, certificate_path = directory / "ca.key", directory / "ca.pem"
        if not key_path.exists():
            self._make(key_path, certificate_path)
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{key_path} holds no P-256 key; remove it to make a new authority")
        self._key = key
        self._certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        self.certificate_path = certificate_path

    @property
    def certificate_pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def server_identity(self, hosts: tuple[str, ...]) -> ServerIdentity:
        """A fresh key and certificate for this process's own ports."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = []
        for host in hosts:
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(host)))
            except ValueError:
                names.append(x509.DNSName(host))
        certificate = self._issue(
            key.public_key(),
            "gridtokenx cloud",
            names,
            ExtendedKeyUsageOID.SERVER_AUTH,
            dt.timedelta(days=SERVER_DAYS),
        )
        return ServerIdentity(_key_pem(key), certificate + self.certificate_pem)

    def device_chain(self, csr_pem: bytes, device: str) -> bytes:
        """A certificate for a device's TLS key; the requested subject is ignored."""
        return self._client_chain(csr_pem, device, DEVICE_SCHEME + device)

    def authority_chain(self, csr_pem: bytes, authority: str) -> bytes:
        """A certificate for a grid operator's TLS key."""
        return self._client_chain(csr_pem, authority, AUTHORITY_SCHEME + authority)

    def _client_chain(self, csr_pem: bytes, name: str, uri: str) -> bytes:
        try:
            csr = x509.load_pem_x509_csr(csr_pem)
        except ValueError as error:
            raise BadRequestError("csr_pem is no PEM certificate request") from error
        key = csr.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise BadRequestError("the TLS key must be P-256")
        try:
            proven = csr.is_signature_valid
        except (ValueError, InvalidSignature) as error:
            raise BadRequestError("the request's own signature cannot be checked") from error
        if not proven:
            raise BadRequestError("the request is not signed by its own key")
        return (
            self._issue(
                key,
                name,
                [x509.UniformResourceIdentifier(uri)],
                ExtendedKeyUsageOID.CLIENT_AUTH,
                dt.timedelta(seconds=CERTIFICATE_NS // SECOND_NS),
            )
            + self.certificate_pem
        )

    def _issue(
        self,
        key: ec.EllipticCurvePublicKey,
        name: str,
        names: list[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        life: dt.timedelta,
    ) -> bytes:
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def _make(self, key_path: Path, certificate_path: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name("gridtokenx authority"))
            .issuer_name(_name("gridtokenx authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + dt.timedelta(days=365 * CA_YEARS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        write_secret(key_path, _key_pem(key))


def public_key_of(csr_pem: bytes) -> bytes:
    """The key of a request that was granted, DER SubjectPublicKeyInfo."""
    return (
        x509.load_pem_x509_csr(csr_pem)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def write_secret(path: Path, data: bytes) -> None:
    """Writes a new file that only its owner can read; complete or not at all."""
    draft = path.with_suffix(".new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
