"""The device key sealed by a TPM 2.0: the file on the disk opens in this one machine only.

A TPM does not know Ed25519, so it cannot sign for the treaty; what it can do is keep the key. The
32 bytes lie encrypted under the TPM's own primary key, bound to a policy, and are unsealed into
memory at the start. A copied card or a stolen disk is useless elsewhere; whoever is root on the
running machine can still use the key. Must never write the plain key to a disk.

It speaks through Debian's tpm2-tools, a few short processes at the start and none afterwards.
"""

import json
import shutil
import subprocess
import tempfile
from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.config import KeySection
from edge.files import create_new
from edge.keys import FileSigner, KeyFileError, private_text

SEALED_KEY = "device.key.tpm2"
RESOURCE_MANAGER = "device:/dev/tpmrm0"
TOOL_TIMEOUT_S = 60
_UNSEAL_ONLY = "TPM2_CC_Unseal"
_FRESH = "or enrol anew with --fresh"
_OWNER = "the owner hierarchy has another password; put it into key.pin_file"
_ADVICE = {
    "integrity check failed": f"another TPM sealed it: restore it on its own machine, {_FRESH}",
    "policy check failed": "the machine booted something else than when the key was sealed: boot"
    f" that again, {_FRESH}",
    "lockout": "the TPM locked itself after wrong passwords: wait for its recovery time, or run"
    " tpm2_dictionarylockout --clear-lockout",
    "authorization failure": _OWNER,
    "authValue": _OWNER,
    "deserializing": f"the file is damaged: restore it, {_FRESH}",
    "TPM failure": "the TPM reports a failure of its own; power the machine off and on",
}
"""By what tpm2-tools say of the TPM's answer."""


def load(state_dir: Path, key: KeySection) -> FileSigner:
    """Unseals the device key. Raises KeyFileError."""
    path = state_dir / SEALED_KEY
    try:
        sealed = json.loads(private_text(path))
        public, private = (
            a2b_base64(sealed[half], strict_mode=True) for half in ("public", "private")
        )
        expected, pcrs = bytes.fromhex(sealed["device_public_key"]), str(sealed["pcrs"])
    except (ValueError, KeyError, TypeError, NotBase64) as error:
        raise KeyFileError(f"{path} is damaged; restore it, or enrol anew with --fresh") from error
    if pcrs != key.pcrs:
        raise KeyFileError(
            f"{path} was sealed with key.pcrs = {pcrs!r}, not {key.pcrs!r}; write that, or enrol"
            " anew with --fresh"
        )
    with _Tools(path, key) as tools:
        seed = tools.unseal(public, private)
    signer = FileSigner(Ed25519PrivateKey.from_private_bytes(seed))
    if signer.public_key != expected:
        raise KeyFileError(f"{path} is damaged: it holds another key than it names")
    return signer


def create(state_dir: Path, key: KeySection) -> FileSigner:
    """Makes the device key and seals it; another process may have been first: theirs counts.

    Raises KeyFileError.
    """
    path = state_dir / SEALED_KEY
    made = Ed25519PrivateKey.generate()
    with _Tools(path, key) as tools:
        public, private = tools.seal(made.private_bytes_raw())
    content = {
        "public": b2a_base64(public, newline=False).decode(),
        "private": b2a_base64(private, newline=False).decode(),
        "device_public_key": made.public_key().public_bytes_raw().hex(),
        "pcrs": key.pcrs,
    }
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        create_new(path, json.dumps(content, indent=1).encode())
    except FileExistsError:
        return load(state_dir, key)
    return load(state_dir, key)


class _Tools:
    """One conversation with the TPM: its primary key, and sessions in a directory that ends with
    it. The directory never holds a secret in plain.
    """

    def __init__(self, path: Path, key: KeySection) -> None:
        self._path = path
        self._key = key
        self._tcti = key.tcti or RESOURCE_MANAGER

    def __enter__(self) -> Self:
        if shutil.which("tpm2_unseal") is None:
            raise KeyFileError("tpm2-tools are not installed; run: apt install tpm2-tools")
        self._scratch = tempfile.TemporaryDirectory(prefix="gridtokenx-tpm-")
        self._directory = Path(self._scratch.name)
        try:
            owner = ["-P", f"file:{self._key.pin_file}"] if self._key.pin_file else []
            self._run("createprimary", "-Q", "-C", "o", *owner, "-G", "ecc", "-c", "primary")
        except KeyFileError:
            self._scratch.cleanup()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.cleanup()

    def seal(self, seed: bytes) -> tuple[bytes, bytes]:
        self._run("startauthsession", "-S", "trial")
        self._policy("trial", "-L", "policy")
        self._run("flushcontext", "trial")
        files = ["-u", "public", "-r", "private"]
        self._run("create", "-Q", "-C", "primary", "-i", "-", "-L", "policy", *files, given=seed)
        return tuple(  # type: ignore[return-value]
            (self._directory / name).read_bytes() for name in ("public", "private")
        )

    def unseal(self, public: bytes, private: bytes) -> bytes:
        (self._directory / "public").write_bytes(public)
        (self._directory / "private").write_bytes(private)
        self._run("load", "-Q", "-C", "primary", "-u", "public", "-r", "private", "-c", "sealed")
        # Salted with the primary key: what the TPM answers is encrypted on its bus.
        self._run("startauthsession", "--policy-session", "-c", "primary", "-S", "session")
        try:
            self._run("sessionconfig", "--enable-encrypt", "session")
            self._policy("session")
            return self._run("unseal", "-c", "sealed", "-p", "session:session")
        finally:
            self._run("flushcontext", "session")

    def _policy(self, session: str, *more: str) -> None:
        if self._key.pcrs:
            self._run("policypcr", "-Q", "-S", session, "-l", self._key.pcrs)
        self._run("policycommandcode", "-Q", "-S", session, *more, _UNSEAL_ONLY)

    def _run(self, tool: str, *arguments: str, given: bytes = b"") -> bytes:
        if not self._tcti.startswith(RESOURCE_MANAGER) and tool != "flushcontext":
            # Without the kernel's resource manager a TPM has room for three objects.
            self._run("flushcontext", "--transient-object")
        try:
            done = subprocess.run(
                [f"tpm2_{tool}", "-T", self._tcti, *arguments],
                cwd=self._directory,
                input=given,
                capture_output=True,
                check=False,
                timeout=TOOL_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise KeyFileError(f"the TPM at {self._tcti} does not answer; is it free?") from error
        except FileNotFoundError as error:
            raise KeyFileError(f"tpm2_{tool} is missing; run: apt install tpm2-tools") from error
        if done.returncode and tool != "flushcontext":
            raise KeyFileError(self._complaint(tool, done.stderr.decode(errors="replace")))
        return done.stdout

    def _complaint(self, tool: str, said: str) -> str:
        for words, advice in _ADVICE.items():
            if words in said:
                return f"{self._path}: the TPM refused ({words}); {advice}"
        if "tcti" in said.lower():
            return (
                f"no TPM at {self._tcti}; look for /dev/tpmrm0, let the agent's user into the group"
                " tss, or set key.tcti"
            )
        last = next((line for line in said.splitlines() if line.startswith("ERROR")), "no reason")
        return f"{self._path}: tpm2_{tool}: {last}; try tpm2_getcap properties-fixed"
