"""Erasure by key destruction: nothing of a person is left, and every proof still holds."""

import os
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.commands import CommitRecord, RecordErasure
from cloud.facts import BankRefused, RecordCommitted, RecordsErased
from cloud.ledger.checkpoint import CheckpointSigner
from cloud.ledger.log import TransparencyLog
from cloud.ledger.privacy import (
    RECORD_BYTES_MAX,
    ErasedError,
    MemoryKeys,
    Vault,
    commitment,
    opens,
    pseudonym,
)
from cloud.ledger.receipts import make_receipt
from cloud.store.keyring import FileKeys
from protos.messages import Refusal
from protos.receipt import verify
from tests.ledger.street import Street

SIGNER = CheckpointSigner("grid.example/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))
ANNA = b"Anna Srisai, 12 Sukhumvit Soi 3, meter 0071-4432"


@pytest.fixture(params=["memory", "files"])
def vault(request, tmp_path):
    keys = MemoryKeys() if request.param == "memory" else FileKeys(tmp_path / "keys")
    return Vault(keys, os.urandom)


def test_what_was_kept_is_read_back_and_opens_its_commitment(vault):
    committed = vault.keep("anna", ANNA)
    salt, record = vault.read("anna", committed)
    assert record == ANNA
    assert opens(committed, salt, record)
    assert not opens(committed, salt, ANNA + b" ")
    assert not opens(committed, bytes(32), ANNA)
    assert not opens(committed, b"", ANNA)


def test_nothing_of_a_person_stands_in_the_log_or_in_the_boxes(vault):
    committed = vault.keep("subject-1", ANNA)
    for _, _, box in vault.boxes():
        assert b"Anna" not in box
    assert b"Anna" not in committed
    assert len(committed) == 32


def test_the_same_record_twice_gives_two_commitments(vault):
    assert vault.keep("anna", ANNA) != vault.keep("anna", ANNA)


def test_after_erasure_nobody_reads_and_every_proof_still_verifies(vault):
    log, committed = TransparencyLog(), []
    for number in range(50):
        committed.append(vault.keep(f"subject-{number % 5}", ANNA + b"%d" % number))
        log.append(committed[-1])
    note = SIGNER.sign(log.size, log.root())
    receipts = [
        make_receipt(log, index, leaf, note, SIGNER.key) for index, leaf in enumerate(committed)
    ]
    began = time.perf_counter()
    assert vault.erase("subject-3")
    assert time.perf_counter() - began < 1
    for index, (leaf, receipt) in enumerate(zip(committed, receipts, strict=True)):
        assert verify(receipt, SIGNER.verifier_key).leaf == leaf
        if index % 5 == 3:
            with pytest.raises(ErasedError):
                vault.read("subject-3", leaf)
        else:
            assert vault.read(f"subject-{index % 5}", leaf)[1] == ANNA + b"%d" % index
    assert log.size == 50


def test_a_backup_does_not_bring_an_erased_person_back(vault):
    committed = vault.keep("anna", ANNA)
    backup = list(vault.boxes())
    vault.erase("anna")
    restored = Vault(vault.keys, os.urandom)
    for box in backup:
        restored.restore(*box)
    with pytest.raises(ErasedError):
        restored.read("anna", committed)
    restored.keep("anna", b"a new contract")
    with pytest.raises(ErasedError, match="destroyed key"):
        restored.read("anna", committed)


def test_an_erasure_is_done_once_and_says_so(vault):
    vault.keep("anna", ANNA)
    assert vault.erase("anna")
    assert not vault.erase("anna")
    assert not vault.erase("nobody")


def test_a_box_opens_only_in_its_own_place(vault):
    one, two = vault.keep("anna", ANNA), vault.keep("boon", b"Boon")
    boxes = {subject: box for subject, _, box in vault.boxes()}
    vault.restore("boon", two, boxes["anna"])
    with pytest.raises(ErasedError):
        vault.read("boon", two)
    assert vault.read("anna", one)[1] == ANNA


def test_a_changed_box_is_not_read(vault):
    committed = vault.keep("anna", ANNA)
    ((_, _, box),) = vault.boxes()
    for at in (0, 12, len(box) - 1):
        changed = bytearray(box)
        changed[at] ^= 1
        vault.restore("anna", committed, bytes(changed))
        with pytest.raises(ErasedError):
            vault.read("anna", committed)


def test_what_was_never_kept_is_a_key_error(vault):
    with pytest.raises(KeyError):
        vault.read("anna", bytes(32))


def test_a_record_too_long_or_a_salt_too_short_is_refused(vault):
    with pytest.raises(ValueError, match="at most"):
        vault.keep("anna", bytes(RECORD_BYTES_MAX + 1))
    with pytest.raises(ValueError, match="salt"):
        commitment(b"salt", ANNA)


def test_an_account_has_another_name_each_period_and_only_its_key_links_them():
    secret = bytes(32)
    names = {pseudonym(secret, "anna", period) for period in range(12)}
    assert len(names) == 12
    assert pseudonym(secret, "anna", 3) == pseudonym(secret, "anna", 3)
    assert pseudonym(bytes([1] * 32), "anna", 3) not in names
    assert pseudonym(secret, "boon", 3) not in names


def test_a_key_file_names_nobody_and_is_gone_after_erasure(tmp_path):
    keys = FileKeys(tmp_path / "keys")
    vault = Vault(keys, os.urandom)
    committed = vault.keep("Anna Srisai", ANNA)
    (path,) = (tmp_path / "keys").iterdir()
    assert "nna" not in path.name
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        keys.put("Anna Srisai", bytes(32))
    assert (
        Vault(FileKeys(tmp_path / "keys"), os.urandom).keys.get("Anna Srisai") == path.read_bytes()
    )
    vault.erase("Anna Srisai")
    assert list((tmp_path / "keys").iterdir()) == []
    with pytest.raises(ErasedError):
        vault.read("Anna Srisai", committed)


def test_commitments_and_erasures_are_leaves_and_said_once(vault):
    street = Street()
    one, two = vault.keep("anna", ANNA), vault.keep("anna", b"more")
    for committed in (one, two):
        assert street.do(CommitRecord(committed, "contract")) == [
            RecordCommitted(committed, "contract")
        ]
        assert street.do(CommitRecord(committed, "contract")) == []
    vault.erase("anna")
    erasure = RecordErasure((one, two, one), "consent withdrawn")
    assert street.do(erasure) == [RecordsErased((one, two), "consent withdrawn")]
    assert street.do(erasure) == []
    assert RecordsErased.LOGGED


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (CommitRecord(b"short", "contract"), Refusal.MALFORMED),
        (CommitRecord(bytes(32), "x" * 65), Refusal.MALFORMED),
        (RecordErasure((bytes(32),), "x"), Refusal.MALFORMED),
        (RecordErasure((bytes(32),) * 1_001, "x"), Refusal.TOO_LARGE),
    ],
)
def test_a_bad_commitment_or_erasure_is_refused(command, reason):
    (refused,) = Street().do(command)
    assert isinstance(refused, BankRefused)
    assert refused.reason == reason
