"""Receipts: small, offline, and no byte of one can be changed unnoticed."""

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.facts import BlockSealed, Statement, encode_fact
from cloud.ledger.checkpoint import CheckpointSigner
from cloud.ledger.log import TransparencyLog
from cloud.ledger.receipts import make_receipt
from protos.limits import RECEIPT_BYTES_MAX
from protos.receipt import (
    ReceiptError,
    VerifierKey,
    open_checkpoint,
    parse_key,
    signature_line,
    verify,
    write,
)
from tests.oracle import verify_receipt as independent

ORIGIN = "grid.example/log"
STATEMENT = Statement("z", 9, 0, "anna", 1_000, 0, 900, 0, 900, 0, 0, 900, -2_835_000, 135_000)


@pytest.fixture(scope="module")
def signer():
    return CheckpointSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@pytest.fixture(scope="module")
def log():
    log = TransparencyLog()
    for number in range(100):
        log.append(b"leaf %d" % number)
    log.append(encode_fact(STATEMENT))
    for number in range(37):
        log.append(b"later leaf %d" % number)
    return log


@pytest.fixture(scope="module")
def note(signer, log):
    return signer.sign_block(BlockSealed(1, log.size, log.root(), 0))


@pytest.fixture(scope="module")
def receipt(signer, log, note):
    return make_receipt(log, 100, encode_fact(STATEMENT), note, signer.key)


def test_a_receipt_proves_its_statement_offline(signer, log, receipt):
    proven = verify(receipt, signer.verifier_key)
    assert proven.leaf == encode_fact(STATEMENT)
    assert proven.index == 100
    assert proven.checkpoint.root == log.root()
    assert (proven.checkpoint.origin, proven.checkpoint.size) == (ORIGIN, 138)


def test_an_independent_verifier_agrees(signer, receipt, tmp_path):
    assert independent.check(receipt, signer.verifier_key) == encode_fact(STATEMENT)
    path = tmp_path / "statement.tlog-proof"
    path.write_bytes(receipt.encode())
    done = subprocess.run(
        [sys.executable, independent.__file__, str(path), signer.verifier_key],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == encode_fact(STATEMENT).hex()


def test_every_receipt_of_a_log_holds_for_both_verifiers(signer):
    log = TransparencyLog()
    for size in range(1, 20):
        log.append(b"leaf %d" % (size - 1))
        note = signer.sign(size, log.root())
        for index in range(size):
            leaf = b"leaf %d" % index
            text = make_receipt(log, index, leaf, note, signer.key)
            assert verify(text, signer.verifier_key).leaf == leaf
            assert independent.check(text, signer.verifier_key) == leaf


def test_a_receipt_is_small_even_in_a_log_of_a_billion_leaves(receipt):
    leaf = b"x" * 200
    note = receipt.partition("\n\n")[2]
    largest = write(leaf, 1 << 30, [bytes(32)] * 30, note)
    assert len(receipt.encode()) <= 800
    assert len(largest.encode()) <= RECEIPT_BYTES_MAX


def test_any_changed_byte_is_detected(signer, receipt):
    octets = receipt.encode()
    for at in range(len(octets)):
        for flip in (0x01, 0x20, 0x80):
            changed = bytearray(octets)
            changed[at] ^= flip
            with pytest.raises(ReceiptError):
                verify(bytes(changed), signer.verifier_key)


def test_any_missing_or_added_byte_is_detected(signer, receipt):
    octets = receipt.encode()
    for at in range(len(octets) + 1):
        changes = [octets[:at] + filler + octets[at:] for filler in (b" ", b"\n", b"\r", b"=")]
        changes.append(octets[:at])
        if at < len(octets):
            changes.append(octets[:at] + octets[at + 1 :])
        for changed in changes:
            if changed != octets:
                with pytest.raises(ReceiptError):
                    verify(changed, signer.verifier_key)


def test_windows_line_ends_are_a_change(signer, receipt):
    with pytest.raises(ReceiptError):
        verify(receipt.replace("\n", "\r\n"), signer.verifier_key)


def test_any_changed_byte_of_the_key_is_detected(signer, receipt):
    key = signer.verifier_key
    for at in range(len(key)):
        changed = key[:at] + chr(ord(key[at]) ^ 1) + key[at + 1 :]
        with pytest.raises(ReceiptError):
            verify(receipt, changed)


def test_a_receipt_of_another_log_is_refused(receipt):
    other = CheckpointSigner("other.example", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(ReceiptError, match=r"not the log other\.example") as caught:
        verify(receipt, other.verifier_key)
    assert caught.value.part == "origin"


def test_a_receipt_by_another_key_of_the_same_name_is_refused(receipt):
    other = CheckpointSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(ReceiptError) as caught:
        verify(receipt, other.verifier_key)
    assert caught.value.part == "signature"


def test_the_error_names_what_does_not_fit(signer, log, note, receipt):
    key = signer.verifier_key
    leaf, path = encode_fact(STATEMENT), log.inclusion(100, log.size)
    for text, part in (
        (write(b"another leaf", 100, path, note), "inclusion proof"),
        (write(leaf, 101, path, note), "inclusion proof"),
        (write(leaf, 100, path[1:], note), "inclusion proof"),
        (write(leaf, 138, path, note), "index"),
        (write(leaf, 100, [path[0][:31]], note), "inclusion proof"),
        (receipt.replace("tlog-proof@v1", "tlog-proof@v2"), "header"),
        (receipt.replace("index 100", "index 0100"), "index"),
        (receipt.replace("\n138\n", "\n139\n"), "signature"),
        (receipt.replace("\n138\n", "\n-138\n"), "tree size"),
        (receipt + "x" * RECEIPT_BYTES_MAX, "length"),
        (b"\xff" + receipt.encode(), "encoding"),
        ("", "header"),
    ):
        with pytest.raises(ReceiptError) as caught:
            verify(text, key)
        assert caught.value.part == part, text


def test_an_empty_leaf_and_a_tree_of_one_can_be_proven(signer):
    log = TransparencyLog()
    log.append(b"")
    text = make_receipt(log, 0, b"", signer.sign(1, log.root()), signer.key)
    assert verify(text, signer.verifier_key).leaf == b""


def test_no_receipt_is_made_that_would_not_hold(signer, log, note):
    leaf = encode_fact(STATEMENT)
    for index, data, checkpoint, message in (
        (138, leaf, note, "wait for the next block"),
        (-1, leaf, note, "wait for the next block"),
        (99, leaf, note, "not leaf 99"),
        (100, leaf, signer.sign(138, bytes(32)), "not of this log"),
        (100, leaf, signer.sign(999, bytes(32)), "wait for the next block"),
    ):
        with pytest.raises(ValueError, match=message):
            make_receipt(log, index, data, checkpoint, signer.key)


def test_a_fact_too_long_for_a_receipt_is_said_to_be():
    signer = CheckpointSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32)))
    log = TransparencyLog()
    log.append(b"x" * 2_000)
    with pytest.raises(ValueError, match="too long"):
        make_receipt(log, 0, b"x" * 2_000, signer.sign(1, log.root()), signer.key)


def test_a_checkpoint_is_a_c2sp_signed_note(signer, log, note):
    lines = note.split("\n")
    assert lines[:2] == [ORIGIN, "138"]
    assert lines[3] == ""
    assert lines[4].startswith(f"\u2014 {ORIGIN} ")
    assert lines[5:] == [""]
    assert open_checkpoint(note, signer.key).root == log.root()


def test_a_key_travels_as_one_word(signer):
    key = parse_key(signer.verifier_key)
    assert key == signer.key
    assert signer.verifier_key.split("+")[0] == ORIGIN


def test_the_key_of_the_published_example_has_its_published_hash():
    # golang.org/x/mod/sumdb/note documents this verifier key.
    text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert parse_key(text).key_id.hex() == "c74f20a3"


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\nb", "\u00a0"])
def test_a_name_that_would_break_a_note_is_refused(name):
    with pytest.raises(ValueError, match="cannot name a log"):
        CheckpointSigner(name, Ed25519PrivateKey.from_private_bytes(bytes(32)))


def test_a_second_signature_that_the_reader_cannot_check_is_refused(signer, receipt):
    stranger = VerifierKey("witness.example", bytes(32))
    with pytest.raises(ReceiptError):
        verify(receipt + signature_line(stranger, bytes(64)), signer.verifier_key)
