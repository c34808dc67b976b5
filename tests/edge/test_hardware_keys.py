"""Keys in a TPM 2.0 and in a PKCS#11 token: a real swtpm, a real SoftHSM, a process of its own each.

Both are in Debian's packages (swtpm, tpm2-tools, softhsm2); where they are not installed these
tests say so and are skipped.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.__main__ import main
from edge.config import Config, ConfigError, KeySection, load
from edge.enrol import set_aside
from edge.keys import CannotSignError, KeyFileError, load_or_create_signer, load_signer
from edge.outbox import Outbox, OutboxError

ROOT = Path(__file__).parents[2]
MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
MODULE = next((Path(path) for path in MODULES if Path(path).exists()), None)
needs_tpm = pytest.mark.skipif(
    shutil.which("swtpm") is None or shutil.which("tpm2_unseal") is None,
    reason="swtpm or tpm2-tools is not installed (apt install swtpm tpm2-tools)",
)
needs_token = pytest.mark.skipif(
    MODULE is None or shutil.which("softhsm2-util") is None,
    reason="softhsm2 is not installed (apt install softhsm2)",
)


def is_of(signer, message: bytes) -> bool:
    Ed25519PublicKey.from_public_bytes(signer.public_key).verify(signer.sign(message), message)
    return True


# ---- TPM ------------------------------------------------------------------------------------


@contextlib.contextmanager
def emulated(directory: Path):
    """A TPM 2.0, as tpm2-tools name it."""
    state = directory / "state"
    state.mkdir(parents=True, exist_ok=True)
    # A socket's path has 107 characters at most, and test directories are deep.
    place = Path(os.path.relpath(directory, "/"))
    plug = Path("/tmp") / f"gtx-swtpm-{abs(hash(place))}"
    process = subprocess.Popen(
        ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}",
         "--server", f"type=unixio,path={plug}", "--ctrl", f"type=unixio,path={plug}.ctrl",
         "--flags", "not-need-init,startup-clear"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        limit = time.monotonic() + 5
        while not plug.exists() and time.monotonic() < limit:
            time.sleep(0.01)
        yield f"swtpm:path={plug}"
    finally:
        process.terminate()
        process.wait()
        for path in (plug, Path(f"{plug}.ctrl")):
            path.unlink(missing_ok=True)


def tpm2(tcti: str, tool: str, *arguments: str) -> None:
    subprocess.run([f"tpm2_{tool}", "-Q", "-T", tcti, *arguments], check=True, capture_output=True)


@needs_tpm
def test_a_key_sealed_by_the_tpm_signs_and_lies_nowhere_in_plain(tmp_path):
    state = tmp_path / "state"
    with emulated(tmp_path / "tpm") as tcti:
        key = KeySection(kind="tpm2", tcti=tcti)
        made = load_or_create_signer(state, key)
        again = load_or_create_signer(state, key)
        assert made.device == again.device == load_signer(state, key).device
        assert is_of(again, b"a reading")
    assert [path.name for path in state.iterdir()] == ["device.key.tpm2"]
    assert (state / "device.key.tpm2").stat().st_mode & 0o777 == 0o600
    secret = made._key.private_bytes_raw()
    sealed = (state / "device.key.tpm2").read_bytes()
    assert secret not in sealed
    assert secret.hex() not in sealed.decode()


@needs_tpm
def test_a_copied_card_is_useless_on_another_machine(tmp_path):
    with emulated(tmp_path / "one") as tcti:
        load_or_create_signer(tmp_path / "state", KeySection(kind="tpm2", tcti=tcti))
    with (
        emulated(tmp_path / "two") as tcti,
        pytest.raises(KeyFileError, match="another TPM sealed it"),
    ):
        load_signer(tmp_path / "state", KeySection(kind="tpm2", tcti=tcti))


@needs_tpm
def test_a_key_bound_to_the_boot_does_not_open_after_another_boot(tmp_path):
    with emulated(tmp_path / "tpm") as tcti:
        key = KeySection(kind="tpm2", tcti=tcti, pcrs="sha256:16")
        load_or_create_signer(tmp_path / "state", key)
        assert load_signer(tmp_path / "state", key).device
        with pytest.raises(KeyFileError, match=r"sealed with key\.pcrs"):
            load_signer(tmp_path / "state", KeySection(kind="tpm2", tcti=tcti))
        tpm2(tcti, "pcrextend", f"16:sha256={'ab' * 32}")
        with pytest.raises(KeyFileError, match="booted something else"):
            load_signer(tmp_path / "state", key)


@needs_tpm
def test_an_owner_password_is_asked_for_and_taken_from_its_file(tmp_path):
    pin = tmp_path / "pin"
    pin.write_text("seven")
    pin.chmod(0o600)
    with emulated(tmp_path / "tpm") as tcti:
        tpm2(tcti, "changeauth", "-c", "o", "seven")
        with pytest.raises(KeyFileError, match="pin_file"):
            load_or_create_signer(tmp_path / "state", KeySection(kind="tpm2", tcti=tcti))
        key = KeySection(kind="tpm2", tcti=tcti, pin_file=pin)
        assert is_of(load_or_create_signer(tmp_path / "state", key), b"x")


@needs_tpm
def test_a_missing_tpm_and_a_damaged_file_say_what_to_do(tmp_path):
    key = KeySection(kind="tpm2", tcti="device:/dev/no-such-tpm")
    with pytest.raises(KeyFileError, match="group tss"):
        load_or_create_signer(tmp_path / "state", key)
    with emulated(tmp_path / "tpm") as tcti:
        key = KeySection(kind="tpm2", tcti=tcti)
        load_or_create_signer(tmp_path / "state", key)
        path = tmp_path / "state" / "device.key.tpm2"
        whole = json.loads(path.read_text())
        for damage in ("{", "{}", json.dumps({**whole, "private": "no base64"})):
            path.write_text(damage)
            with pytest.raises(KeyFileError, match="damaged"):
                load_signer(tmp_path / "state", key)
        path.write_text(json.dumps({**whole, "device_public_key": "00" * 32}))
        with pytest.raises(KeyFileError, match="another key"):
            load_signer(tmp_path / "state", key)


def test_a_locked_tpm_is_told_from_a_wrong_password():
    from edge.key_tpm2 import _Tools

    tools = _Tools(Path("device.key.tpm2"), KeySection(kind="tpm2"))
    said = (
        "ERROR: Esys_CreatePrimary(0x921) - tpm:warn(2.1): authorizations for objects subject to DA"
        " protection are not allowed at this time because the TPM is in DA lockout mode"
    )
    assert "dictionarylockout" in tools._complaint("createprimary", said)


@needs_tpm
async def test_a_gateway_whose_key_the_tpm_keeps_enrols_reads_and_starts_again(
    site, gate, tmp_path, peers
):
    set_aside(site.directory)
    gate.chains.clear()
    (tmp_path / "token").write_text("seven-lemons")
    cloud = replace(
        site.config.cloud, enrolment=gate.enrolment_address, token_file=tmp_path / "token"
    )
    with emulated(tmp_path / "tpm") as tcti:
        site.change(cloud=cloud, key=KeySection(kind="tpm2", tcti=tcti))
        for seq in (3, 6):
            await site.start()
            await peers.eventually(lambda seq=seq: site.chain.seq >= seq)
            await site.end()
    assert not (site.directory / "device.key").exists()
    assert not [entry for entry in gate.log if entry[0] == "bad signature"]


def test_enrolling_with_a_configuration_that_cannot_be_read_is_a_wrong_usage(tmp_path, capsys):
    arguments = ["enrol", "--token", "x", "--cloud", "127.0.0.1:9", "--ca", "ca.pem"]
    code = main(
        [*arguments, "--state-dir", str(tmp_path / "s"), "--config", str(tmp_path / "none")]
    )
    assert code == 2
    assert "agent.example.toml" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


# ---- PKCS#11 --------------------------------------------------------------------------------


@pytest.fixture
def token(tmp_path, monkeypatch):
    """A SoftHSM token, and the section that names it."""
    settings = tmp_path / "softhsm2.conf"
    (tmp_path / "tokens").mkdir()
    settings.write_text(
        f"directories.tokendir = {tmp_path / 'tokens'}\nobjectstore.backend = file\n"
    )
    monkeypatch.setenv("SOFTHSM2_CONF", str(settings))
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", "home", "--so-pin", "12345678",
         "--pin", "987654"],
        check=True, capture_output=True,
    )  # fmt: skip
    pin = tmp_path / "pin"
    pin.write_text("987654\n")
    pin.chmod(0o600)
    return KeySection(kind="pkcs11", module=MODULE, token="home", pin_file=pin)


WITH_TOKEN = """
import sys
from pathlib import Path
from edge.config import KeySection
from edge.keys import CannotSignError, KeyFileError, load_or_create_signer, load_signer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
state = Path(sys.argv[1])
key = KeySection("pkcs11", module=Path(sys.argv[2]), token=sys.argv[3], pin_file=Path(sys.argv[4]))
try:
"""


def with_token(state: Path, key: KeySection, *lines: str) -> str:
    """A library keeps its state for the life of a process, so each question has its own."""
    code = WITH_TOKEN + "".join(f"    {line}\n" for line in lines)
    code += "except (KeyFileError, CannotSignError) as error:\n    print(error)\n"
    done = subprocess.run(
        [sys.executable, "-c", code, state, key.module, key.token, key.pin_file],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout.strip()


SIGN = (
    "signer = load_or_create_signer(state, key)",
    "Ed25519PublicKey.from_public_bytes(signer.public_key).verify(signer.sign(b'x'), b'x')",
    "print(signer.device)",
)


@needs_token
def test_a_token_makes_the_key_signs_with_it_and_keeps_it(tmp_path, token):
    first = with_token(tmp_path / "state", token, *SIGN)
    assert len(first) == 32
    assert with_token(tmp_path / "state", token, *SIGN) == first
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["device.key.pkcs11"]
    kept = with_token(
        tmp_path / "state",
        token,
        *SIGN[:1],
        "import pkcs11",
        "private = signer._private",
        "print(private[pkcs11.Attribute.EXTRACTABLE], private[pkcs11.Attribute.SENSITIVE])",
    )
    assert kept == "False True"


@needs_token
def test_enrolling_afresh_takes_another_key_of_the_same_token(tmp_path, token):
    first = with_token(tmp_path / "state", token, *SIGN)
    assert set_aside(tmp_path / "state") is not None
    assert with_token(tmp_path / "state", token, *SIGN) != first


@needs_token
@pytest.mark.parametrize(
    ("spoil", "advice"),
    [
        ({"pin": "000000"}, "the PIN is wrong"),
        ({"pin": "1"}, "the PIN is wrong"),
        ({"token": "elsewhere"}, "plug it in"),
        ({"module": "/usr/lib/no-such-library.so"}, "install the token's library"),
    ],
)
def test_what_is_wrong_with_a_token_is_said_with_what_to_do(tmp_path, token, spoil, advice):
    with_token(tmp_path / "state", token, *SIGN)
    if "pin" in spoil:
        token.pin_file.write_text(spoil["pin"])
    key = KeySection(
        "pkcs11",
        module=Path(spoil.get("module", token.module)),
        token=spoil.get("token", token.token),
        pin_file=token.pin_file,
    )
    assert advice in with_token(tmp_path / "state", key, "load_signer(state, key)")


@needs_token
def test_a_key_that_is_gone_from_the_token_is_missed_by_its_number(tmp_path, token):
    with_token(tmp_path / "state", token, *SIGN)
    path = tmp_path / "state" / "device.key.pkcs11"
    named = json.loads(path.read_text())
    path.write_text(json.dumps({**named, "id": "ab" * 16}))
    assert "holds no key abab" in with_token(tmp_path / "state", token, "load_signer(state, key)")
    path.write_text(json.dumps({**named, "device_public_key": "00" * 32}))
    assert "another than enrolled" in with_token(
        tmp_path / "state", token, "load_signer(state, key)"
    )


@needs_token
def test_a_pin_that_others_can_read_is_refused(tmp_path, token):
    token.pin_file.chmod(0o644)
    assert "chmod 600" in with_token(tmp_path / "state", token, *SIGN)


# ---- both -----------------------------------------------------------------------------------


def test_an_unknown_kind_of_key_is_refused_with_the_known_ones(tmp_path):
    config = tmp_path / "agent.toml"
    config.write_text('[agent]\nstate_dir = "s"\n[cloud]\nca = "ca.pem"\n[key]\nkind = "yubikey"\n')
    with pytest.raises(ConfigError, match=r"agent.toml:6: .*file, tpm2, pkcs11"):
        load(config)
    config.write_text('key = {kind = "tpm2"}\n[agent]\nstate_dir = "s"\n[cloud]\nca = "ca.pem"\n')
    loaded = load(config)
    assert isinstance(loaded, Config)
    assert loaded.key == KeySection(kind="tpm2")


def test_the_doctor_looks_for_the_kind_of_key_that_is_configured(tmp_path, capsys):
    config = tmp_path / "agent.toml"
    config.write_text('key = {kind = "tpm2"}\n[agent]\nstate_dir = "s"\n[cloud]\nca = "ca.pem"\n')
    assert main(["doctor", str(config)]) == 5
    said = capsys.readouterr().out
    assert "device.key.tpm2" in said
    assert "/device.key " not in said


def test_a_gateway_never_gets_a_second_key_of_another_kind(tmp_path):
    first = load_or_create_signer(tmp_path)
    for kind in ("tpm2", "pkcs11"):
        with pytest.raises(KeyFileError, match="of kind 'file'"):
            load_or_create_signer(tmp_path, KeySection(kind=kind))
    assert load_signer(tmp_path).device == first.device


class PulledOut:
    """A key that cannot be used for a while."""

    def __init__(self, signer):
        self.signer, self.out = signer, False
        self.device, self.public_key = signer.device, signer.public_key

    def sign(self, message: bytes) -> bytes:
        if self.out:
            raise CannotSignError("token 'home': DeviceRemoved; it was pulled out; plug it in")
        return self.signer.sign(message)


async def test_a_token_that_was_pulled_out_stops_no_outbox_and_breaks_no_chain(tmp_path):
    signer = PulledOut(load_or_create_signer(tmp_path))
    box = await Outbox.open(tmp_path / "outbox.db", signer, 1 << 22)
    assert await box.append([b"one"]) == 1
    signer.out = True
    with pytest.raises(OutboxError, match="plug it in"):
        await box.append([b"two"])
    signer.out = False
    assert await box.append([b"three"]) == 2
    assert [item.payload for item in await box.read(0, 9)] == [b"one", b"three"]
    await box.close()
