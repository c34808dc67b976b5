"""Evidence convicts whoever contradicted himself, and nobody else."""

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.facts import BlockSealed, encode_fact
from cloud.ledger.checkpoint import CheckpointSigner
from cloud.ledger.evidence import (
    SEALED_OTHERWISE,
    TWO_ROOTS,
    Evidence,
    EvidenceError,
    check_evidence,
    parse_evidence,
)
from cloud.ledger.log import TransparencyLog
from cloud.ledger.receipts import make_receipt
from edge.checkpoints import CheckpointError, Checkpoints
from protos.receipt import Checkpoint
from protos.witness import cosign, witness_key
from tests.oracle import check_evidence as independent

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
SIGNER = CheckpointSigner("grid.example/log", KEY)
WITNESS = Ed25519PrivateKey.from_private_bytes(bytes([7] * 32))
VKEY = SIGNER.verifier_key
ONE, TWO = bytes([1] * 32), bytes([2] * 32)


def two_roots(first, second, key=VKEY):
    return Evidence(TWO_ROOTS, key, first, second)


def test_two_roots_for_one_size_convict_the_log():
    evidence = two_roots(SIGNER.sign(5, ONE), SIGNER.sign(5, TWO))
    assert check_evidence(evidence) == 5
    assert check_evidence(parse_evidence(evidence.text())) == 5
    assert independent.convicts(evidence.first, evidence.second, VKEY)


def test_two_cosignatures_for_one_size_convict_the_witness():
    notes = []
    for root in (ONE, TWO):
        checkpoint = Checkpoint("grid.example/log", 5, root)
        notes.append(SIGNER.sign(5, root) + cosign(checkpoint, "w.example", WITNESS, 9))
    key = witness_key("w.example", WITNESS).text()
    assert check_evidence(two_roots(*notes, key)) == 5
    assert independent.convicts(*notes, key)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (SIGNER.sign(5, ONE), SIGNER.sign(5, ONE)),
        (SIGNER.sign(5, ONE), SIGNER.sign(6, TWO)),
        (SIGNER.sign(5, ONE), CheckpointSigner("other/log", KEY).sign(5, TWO)),
        (
            SIGNER.sign(5, ONE),
            CheckpointSigner("grid.example/log", WITNESS).sign(5, TWO),
        ),
        (SIGNER.sign(5, ONE), SIGNER.sign(5, ONE).replace("\n5\n", "\n6\n")),
        (SIGNER.sign(5, ONE), "x"),
        ("", ""),
        (SIGNER.sign(5, ONE), "x" * 9_000),
    ],
)
def test_what_does_not_contradict_convicts_nobody(first, second):
    with pytest.raises(EvidenceError):
        check_evidence(two_roots(first, second))
    assert not independent.convicts(first, second, VKEY)


def test_a_cosignature_does_not_convict_the_log_that_is_cosigned():
    notes = [
        SIGNER.sign(5, ONE),
        f"{Checkpoint('grid.example/log', 5, TWO).text()}\n"
        + cosign(Checkpoint("grid.example/log", 5, TWO), "w.example", WITNESS, 9),
    ]
    with pytest.raises(EvidenceError, match="did not sign"):
        check_evidence(two_roots(*notes))


@pytest.fixture(scope="module")
def sealed():
    """A log that says in leaf 10 which root it had then, and the receipt of that leaf."""
    log = TransparencyLog()
    for number in range(10):
        log.append(b"leaf %d" % number)
    leaf = encode_fact(BlockSealed(1, 10, log.root(), 0))
    log.append(leaf)
    log.append(b"later")
    return make_receipt(log, 10, leaf, SIGNER.sign(12, log.root()), SIGNER.key), log.root(10)


def test_the_logs_own_leaf_convicts_it_of_another_root(sealed):
    receipt, root = sealed
    evidence = Evidence(SEALED_OTHERWISE, VKEY, SIGNER.sign(10, ONE), receipt)
    assert check_evidence(evidence) == 10
    honest = dataclasses.replace(evidence, first=SIGNER.sign(10, root))
    with pytest.raises(EvidenceError, match="agree"):
        check_evidence(honest)


def test_a_leaf_that_is_no_seal_convicts_nobody():
    log = TransparencyLog()
    for leaf in (b"\x00", encode_fact(BlockSealed(1, 7, ONE, 0))):
        index = log.append(leaf)
        receipt = make_receipt(log, index, leaf, SIGNER.sign(log.size, log.root()), SIGNER.key)
        evidence = Evidence(SEALED_OTHERWISE, VKEY, SIGNER.sign(7, TWO), receipt)
        with pytest.raises(EvidenceError):
            check_evidence(evidence)


@pytest.mark.parametrize("text", ["", "{}", "[]", "\x00", '{"kind": 1}'])
def test_what_is_no_evidence_file_is_said_to_be_none(text):
    with pytest.raises(EvidenceError, match="no evidence file"):
        parse_evidence(text)


def test_an_unknown_kind_convicts_nobody():
    evidence = Evidence("hearsay", VKEY, SIGNER.sign(5, ONE), SIGNER.sign(5, TWO))
    with pytest.raises(EvidenceError, match="no kind"):
        check_evidence(evidence)


def test_two_views_shown_to_two_gateways_are_found_when_they_meet():
    one, two = Checkpoints(), Checkpoints()
    one.take(SIGNER.sign(5, ONE).encode())
    two.take(SIGNER.sign(5, TWO).encode())
    with pytest.raises(CheckpointError, match="forked"):
        one.take(two.text.encode())
    assert check_evidence(two_roots(one.text, two.text)) == 5
