"""The operator's side of the HTTP interface, for the command line and the demo."""

import http.client
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TIMEOUT_S = 10
TOKEN_FILE = "operator.token"  # noqa: S105 - a file name
CA_FILE = Path("ca") / "ca.pem"


class RemoteError(OSError):
    """The aggregator did not do it; the message is its own words."""


class Operator:
    """Calls a running aggregator with the operator's token from its state directory."""

    def __init__(self, url: str, state_dir: Path) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no http address; write http://host:port")
        self._url = url.rstrip("/")
        self._token_path = state_dir / TOKEN_FILE

    def get(self, path: str) -> str:
        return self._call(urllib.request.Request(self._url + path))  # noqa: S310 - http only, see above

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Sends an operator command. Raises RemoteError with what the aggregator said."""
        if not self._token_path.exists():
            raise RemoteError(f"no {self._token_path}; name the aggregator's --state-dir")
        request = urllib.request.Request(  # noqa: S310 - http only, see above
            self._url + path,
            json.dumps(body).encode(),
            {
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self._token_path.read_text(encoding='ascii')}",
            },
        )
        answer: dict[str, Any] = json.loads(self._call(request))
        return answer

    def _call(self, request: urllib.request.Request) -> str:
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
                text: str = response.read().decode()
                return text
        except urllib.error.HTTPError as error:
            raise RemoteError(_said(error)) from error
        except (OSError, http.client.HTTPException) as error:
            raise RemoteError(
                f"no aggregator answers at {self._url} ({error}); start one with "
                "`gridtokenx serve` or name its --url"
            ) from error


def register_authority(
    url: str, state_dir: Path, authority: str, rank: int, area: str, directory: Path
) -> dict[str, Path]:
    """Makes a TLS key, registers the authority and stores key, chain and CA. Returns the paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, authority)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    answer = Operator(url, state_dir).post(
        "/api/authorities",
        {
            "authority": authority,
            "rank": rank,
            "area": area,
            "csr_pem": csr.public_bytes(serialization.Encoding.PEM).decode(),
        },
    )
    directory.mkdir(parents=True, exist_ok=True)
    paths = {kind: directory / f"{authority}.{kind}" for kind in ("key", "pem")}
    paths["ca"] = directory / "ca.pem"
    handle = os.open(paths["key"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    paths["pem"].write_text(answer["certificate_chain_pem"], encoding="ascii")
    paths["ca"].write_bytes((state_dir / CA_FILE).read_bytes())
    return paths


def _said(error: urllib.error.HTTPError) -> str:
    text = error.read().decode(errors="replace")
    try:
        detail = json.loads(text).get("detail", text)
    except ValueError:
        detail = text
    if isinstance(detail, list):
        detail = "; ".join(map(_at, detail))
    return f"the aggregator refused ({error.code}): {detail}"


def _at(one: dict[str, Any]) -> str:
    """One thing that is wrong with a request, and where."""
    where = ".".join(str(step) for step in one.get("loc", ()) if step != "body")
    return f"{where}: {one.get('msg')}" if where else str(one.get("msg"))
