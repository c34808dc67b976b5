"""The command line around validators: keys, wrong use, and a cosigned receipt checked offline."""

import json
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.facts import Statement, encode_fact
from cloud.ledger.log import TransparencyLog
from cloud.ledger.receipts import make_receipt
from cloud.validator.files import load_key, make_key
from protos.receipt import Checkpoint
from protos.witness import cosign, parse_policy
from tests.validator.house import ROOT
from tests.validator.test_replica import SIGNER


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "cloud", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_key_is_made_once_for_its_owner_alone_and_prints_its_policy_line(tmp_path):
    path = tmp_path / "key"
    first = run("validator-key", "--key", path, "--name", "utility.example")
    again = run("validator-key", "--key", path, "--name", "another")
    assert first.returncode == again.returncode == 0
    assert first.stdout == again.stdout
    assert list(parse_policy(first.stdout).witnesses) == ["utility.example"]
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["", "two words", "a+b"])
def test_a_name_that_cannot_sign_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="cannot name a witness"):
        make_key(tmp_path / "key", name)
    assert not (tmp_path / "key").exists()


def test_a_key_and_a_public_side_that_do_not_belong_together_are_refused(tmp_path):
    make_key(tmp_path / "a", "a.example")
    make_key(tmp_path / "b", "b.example")
    (tmp_path / "a.pub").write_bytes((tmp_path / "b.pub").read_bytes())
    with pytest.raises(ValueError, match="restore them together"):
        load_key(tmp_path / "a")


def test_a_validator_without_a_key_or_address_says_what_to_do(tmp_path):
    missing = run("validator", "--key", tmp_path / "no", "--state-dir", tmp_path / "s")
    assert missing.returncode == 2
    assert "gridtokenx validator-key" in missing.stderr
    make_key(tmp_path / "key", "a.example")
    wrong = run(
        "validator", "--url", "ftp://x", "--key", tmp_path / "key", "--state-dir", tmp_path / "s"
    )
    assert wrong.returncode == 2
    assert "write http://host:port" in wrong.stderr


def test_a_cosigned_receipt_is_checked_with_the_policy_beside_it(tmp_path):
    line = make_key(tmp_path / "key", "a.example")
    name, private = load_key(tmp_path / "key")
    leaf = encode_fact(Statement("z", 9, 0, "anna", *range(10)))
    log = TransparencyLog()
    log.append(leaf)
    checkpoint = Checkpoint(SIGNER.key.name, 1, log.root())
    note = SIGNER.sign(1, log.root()) + cosign(checkpoint, name, private, 7)
    receipt = make_receipt(log, 0, leaf, note, SIGNER.key, parse_policy(line))
    path = tmp_path / "anna.receipt"
    path.write_text(receipt)
    (tmp_path / "anna.receipt.key").write_text(SIGNER.verifier_key)
    assert run("verify", path).returncode == 1, "nobody to check the cosignature with"
    policy = tmp_path / "anna.receipt.policy"
    policy.write_text(line)
    checked = run("verify", path, "--json")
    assert json.loads(checked.stdout)["valid"] is True
    stranger = Ed25519PrivateKey.from_private_bytes(bytes([5] * 32))
    path.write_text(
        receipt.replace(cosign(checkpoint, name, private, 7), cosign(checkpoint, name, stranger, 7))
    )
    assert run("verify", path).returncode == 1
