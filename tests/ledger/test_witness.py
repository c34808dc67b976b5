"""Cosignatures and policies: the published example, and everything that must not count."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.ledger.checkpoint import CheckpointSigner
from cloud.ledger.log import TransparencyLog
from cloud.ledger.receipts import make_receipt
from protos.limits import RECEIPT_BYTES_MAX
from protos.receipt import Checkpoint, ReceiptError, VerifierKey, open_checkpoint, verify
from protos.witness import (
    COSIGNATURE,
    PolicyError,
    cosign,
    cosigned_at_s,
    parse_policy,
    witness_key,
)
from tests.oracle import verify_receipt as independent

NAMES = [f"witness-{number}.example" for number in range(7)]
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(bytes([number + 1] * 32))
    for number, name in enumerate(NAMES)
}
SIGNER = CheckpointSigner("grid.example/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))
CHECKPOINT = Checkpoint("grid.example/log", 9, bytes(range(32)))


def policy_of(*names, extra=""):
    lines = [f"log {SIGNER.verifier_key}"]
    lines += [f"witness {name} {witness_key(name, KEYS[name]).text()}" for name in names]
    return parse_policy("\n".join(lines) + "\n" + extra)


def lines_of(*names, checkpoint=CHECKPOINT):
    return [cosign(checkpoint, name, KEYS[name], 1_700_000_000) for name in names]


def test_the_signed_message_and_key_id_are_those_of_the_format():
    # The line of c2sp.org/tlog-cosignature's example; its key is not published, its id and time are.
    line = (
        "\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dl"
        "rDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    )
    made = cosign(CHECKPOINT, NAMES[0], KEYS[NAMES[0]], 1_679_315_147)
    assert len(made) - len(NAMES[0]) == len(line) - len("witness.example.com/w1")
    key = witness_key(NAMES[0], KEYS[NAMES[0]])
    assert key.key_id != VerifierKey(key.name, key.public_key).key_id
    text = (
        "cosignature/v1\ntime 1679315147\ngrid.example/log\n9\n"
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    )
    octets = __import__("base64").b64decode(made.split(" ")[2])
    KEYS[NAMES[0]].public_key().verify(octets[12:], text.encode())
    assert octets[4:12] == bytes.fromhex("00000000641850cb")


def test_a_cosignature_says_when_and_by_whom():
    key = witness_key(NAMES[0], KEYS[NAMES[0]])
    assert cosigned_at_s(CHECKPOINT, lines_of(NAMES[0])[0], key) == 1_700_000_000


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint("grid.example/log", 10, CHECKPOINT.root),
        Checkpoint("grid.example/other", 9, CHECKPOINT.root),
        Checkpoint("grid.example/log", 9, bytes(32)),
    ],
)
def test_a_cosignature_does_not_fit_another_checkpoint(checkpoint):
    key = witness_key(NAMES[0], KEYS[NAMES[0]])
    with pytest.raises(ReceiptError):
        cosigned_at_s(checkpoint, lines_of(NAMES[0])[0], key)


def test_any_changed_character_of_a_cosignature_is_detected():
    key = witness_key(NAMES[0], KEYS[NAMES[0]])
    line = lines_of(NAMES[0])[0]
    for at in range(len(line)):
        changed = line[:at] + chr(ord(line[at]) ^ 1) + line[at + 1 :]
        with pytest.raises(ReceiptError):
            cosigned_at_s(CHECKPOINT, changed, key)


def test_more_than_two_thirds_of_the_stake_are_needed():
    policy = policy_of(*NAMES[:4])
    assert not policy.is_final(NAMES[:2])
    assert policy.is_final(NAMES[1:4])
    assert not policy_of(*NAMES[:3]).is_final(NAMES[:2])
    weighted = policy_of(*NAMES[:3], extra=f"stake {NAMES[0]} 4\n")
    assert not weighted.is_final([NAMES[0]])
    assert weighted.is_final([NAMES[0], NAMES[1]])
    assert not weighted.is_final([NAMES[1], NAMES[2]])


def test_a_policy_of_nobody_makes_nothing_final():
    assert not parse_policy("").is_final([])
    assert parse_policy("quorum none").is_final([])


def test_groups_and_quorums_are_those_of_the_public_format():
    policy = policy_of(
        *NAMES[:4],
        extra=f"group a 1 {NAMES[0]} {NAMES[1]}\ngroup b all {NAMES[2]} {NAMES[3]}\n"
        "# both organisations\ngroup both all a b\nquorum both\n",
    )
    assert policy.is_final([NAMES[0], NAMES[2], NAMES[3]])
    assert not policy.is_final([NAMES[0], NAMES[1], NAMES[2]])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("witness again KEY0", "named before"),
        (f"stake {NAMES[0]} -1", "whole number"),
        ("stake nobody 1", "before its stake"),
        ("group g 3 A B", "not named"),
        (f"group g 2 {NAMES[0]}", "threshold"),
        (f"group g any {NAMES[0]} {NAMES[0]}", "once"),
        ("quorum nobody", "quorum"),
        (f"quorum {NAMES[0]}\nquorum {NAMES[0]}", "one quorum"),
        ("hello", "write log"),
        ("log " + SIGNER.verifier_key, "named before"),
        ("witness w " + SIGNER.verifier_key, "of this use"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(extra, message):
    key = witness_key("again", KEYS[NAMES[0]]).text()
    with pytest.raises(PolicyError, match=message):
        policy_of(*NAMES[:2], extra=extra.replace("KEY0", key))


def test_lines_in_another_order_twice_or_by_strangers_do_not_count():
    policy = policy_of(*NAMES[:4])
    good = lines_of(*NAMES[:3])
    policy.check(CHECKPOINT, good)
    for lines in (
        good[::-1],
        [good[0], good[0], good[1], good[2]],
        good[:2],
        [*good, *lines_of(NAMES[5])],
        [],
        [*good[:2], cosign(CHECKPOINT, NAMES[2], KEYS[NAMES[5]], 5)],
    ):
        with pytest.raises(ReceiptError):
            policy.check(CHECKPOINT, lines)


def test_as_few_lines_as_suffice_are_chosen():
    policy = policy_of(*NAMES, extra=f"stake {NAMES[6]} 5\n")
    lines = dict(zip(NAMES, lines_of(*NAMES), strict=True))
    chosen = policy.enough(lines)
    assert policy.is_final([policy.signer(line) for line in chosen])
    assert len(chosen) == 4
    policy.check(CHECKPOINT, chosen)


@pytest.fixture(scope="module")
def cosigned():
    """A log of a million leaves as far as its proof's length goes, its receipt cosigned by 5 of 7."""
    log = TransparencyLog()
    for number in range(1_000):
        log.append(b"%0148d" % number)
    checkpoint = Checkpoint(SIGNER.key.name, log.size, log.root())
    lines = dict(zip(NAMES, lines_of(*NAMES, checkpoint=checkpoint), strict=True))
    policy = policy_of(*NAMES)
    note = SIGNER.sign(log.size, log.root()) + "".join(policy.enough(lines))
    return make_receipt(log, 700, b"%0148d" % 700, note, SIGNER.key, policy), policy


def test_a_receipt_carries_the_cosignatures_of_a_quorum(cosigned):
    receipt, policy = cosigned
    assert verify(receipt, SIGNER.verifier_key, policy).index == 700
    assert receipt.count("witness-") == 5
    assert independent.check(receipt, SIGNER.verifier_key) == b"%0148d" % 700


def test_a_cosigned_receipt_of_a_million_leaves_is_two_kilobytes_at_most(cosigned):
    receipt, _ = cosigned
    more_hashes = (20 - 10) * 45
    assert len(receipt.encode()) + more_hashes <= RECEIPT_BYTES_MAX


def test_a_reader_without_a_policy_says_that_it_cannot_check_cosignatures(cosigned):
    receipt, _ = cosigned
    with pytest.raises(ReceiptError, match="name the witnesses' policy"):
        verify(receipt, SIGNER.verifier_key)


def test_a_receipt_without_cosignatures_is_refused_where_a_policy_asks_for_them():
    log = TransparencyLog()
    log.append(b"x")
    note = SIGNER.sign(1, log.root())
    plain = make_receipt(log, 0, b"x", note, SIGNER.key)
    with pytest.raises(ReceiptError, match="too few"):
        verify(plain, SIGNER.verifier_key, policy_of(*NAMES))


def test_any_changed_byte_of_a_cosigned_receipt_is_detected(cosigned):
    receipt, policy = cosigned
    octets = receipt.encode()
    for at in range(len(octets)):
        changed = bytearray(octets)
        changed[at] ^= 0x01
        with pytest.raises(ReceiptError):
            verify(bytes(changed), SIGNER.verifier_key, policy)


def test_a_note_of_the_log_alone_still_opens_without_a_policy():
    note = SIGNER.sign(9, CHECKPOINT.root)
    assert open_checkpoint(note, SIGNER.key) == CHECKPOINT
    assert parse_policy("").witnesses == {}
    assert COSIGNATURE == b"\x04"
