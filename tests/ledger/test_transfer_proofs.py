"""One transfer of a batch can be proven offline, in 2 kB, and nothing of the proof can be changed."""

import random
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.commands import Deposit, OpenAccount, PostTransfers
from cloud.facts import BatchPosted, TransfersRefused, encode_fact
from cloud.ledger.bank import Bank
from cloud.ledger.checkpoint import CheckpointSigner
from cloud.ledger.log import TransparencyLog
from cloud.ledger.receipts import make_receipt
from cloud.ledger.transfer_proofs import proof_head, verify_transfer
from cloud.ledger.transfers import HOUR_NS, TRANSFERS_PER_BATCH_MAX, pack
from protos.limits import RECEIPT_BYTES_MAX
from protos.receipt import Checkpoint, ReceiptError
from protos.witness import cosign, parse_policy, witness_key

NOW = 500_000 * HOUR_NS
ORACLE = Path(__file__).parents[1] / "oracle"
SIGNER = CheckpointSigner("grid.example/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))


@pytest.fixture
def independent(monkeypatch):
    """The verifier that imports nothing of ours, loaded as the script that it is."""
    monkeypatch.syspath_prepend(str(ORACLE))
    import verify_transfer as module

    yield module
    for name in ("verify_transfer", "verify_receipt"):
        sys.modules.pop(name, None)


def posted_batch(count, refuse_every=3):
    """A batch of transfers from anna to boon, some asking for more than there is; what came of it."""
    bank = Bank()
    for name in ("anna", "boon"):
        bank.apply(OpenAccount(name, "prosumer", ""), NOW)
    bank.apply(Deposit("d", "anna", 10**9), NOW)
    ends = bank.account_number("anna"), bank.account_number("boon")
    records = b"".join(
        pack(n.to_bytes(16, "big"), *ends, 10**12 if n % refuse_every == 0 else 1)
        for n in range(1, count + 1)
    )
    fact, *others = bank.apply(PostTransfers(NOW // HOUR_NS, records, True), NOW)
    assert isinstance(fact, BatchPosted)
    refused = next((f.refused for f in others if isinstance(f, TransfersRefused)), ())
    return records, refused, fact


def logged(fact, leaves):
    """A log of so many leaves with the batch's in the middle, and where it lies."""
    log, leaf = TransparencyLog(), encode_fact(fact)
    for number in range(leaves):
        log.append(leaf if number == leaves // 2 else b"leaf %d" % number)
    return log, leaves // 2


def proof_of(index, count=9, leaves=200):
    records, refused, fact = posted_batch(count)
    log, position = logged(fact, leaves)
    note = SIGNER.sign(log.size, log.root())
    receipt = make_receipt(log, position, encode_fact(fact), note, SIGNER.key)
    return proof_head(records, refused, fact.root, index) + receipt


@pytest.mark.parametrize("count", [1, 2, 5, 16, 17, 333])
def test_every_transfer_of_a_batch_is_proven_with_its_outcome_by_both_verifiers(count, independent):
    records, refused, fact = posted_batch(count)
    log, position = logged(fact, 50)
    note = SIGNER.sign(log.size, log.root())
    receipt = make_receipt(log, position, encode_fact(fact), note, SIGNER.key)
    for index in range(count):
        text = proof_head(records, refused, fact.root, index) + receipt
        proven = verify_transfer(text.encode(), SIGNER.verifier_key)
        assert proven.transfer_id == (index + 1).to_bytes(16, "big")
        assert (proven.outcome == 0) == ((index + 1) % 3 != 0)
        said = independent.check_transfer(text, SIGNER.verifier_key)
        assert said["id"] == proven.transfer_id.hex()
        assert (said["amount"], said["outcome"]) == (proven.amount, proven.outcome)
        assert (said["debit"], said["credit"]) == (proven.debit, proven.credit)


def test_no_character_of_a_proof_can_be_changed(independent):
    draw, text = random.Random(7), proof_of(4)
    for at, letter in enumerate(text):
        other = draw.choice([c for c in "Aa0+/=\n x" if c != letter])
        changed = text[:at] + other + text[at + 1 :]
        with pytest.raises(ReceiptError):
            verify_transfer(changed.encode(), SIGNER.verifier_key)
    proven = independent.check_transfer(text, SIGNER.verifier_key)
    for at in range(len(text)):
        # The independent one follows the formats' freedoms: what it still takes says the same.
        try:
            said = independent.check_transfer(text[:at] + "A" + text[at + 1 :], SIGNER.verifier_key)
        except ValueError:
            continue
        assert said == proven, at


def test_a_proof_shows_no_other_transfer():
    text = proof_of(4).encode()
    for number in (4, 6):
        assert number.to_bytes(16, "big").hex() not in text.hex()


def test_a_transfer_moved_to_another_place_of_its_batch_is_not_proven():
    text = proof_of(4)
    for other in (0, 3, 5, 8, 9, 99):
        with pytest.raises(ReceiptError):
            verify_transfer(
                text.replace("index 4", f"index {other}", 1).encode(), SIGNER.verifier_key
            )


def test_a_receipt_of_something_else_proves_no_transfer():
    head = proof_of(4).partition("\n\n")[0]
    log = TransparencyLog()
    log.append(b"no fact")
    note = SIGNER.sign(1, log.root())
    receipt = make_receipt(log, 0, b"no fact", note, SIGNER.key)
    with pytest.raises(ReceiptError, match="no fact of this ledger"):
        verify_transfer(f"{head}\n\n{receipt}".encode(), SIGNER.verifier_key)


def test_records_of_another_batch_make_no_proof():
    records, refused, _ = posted_batch(9)
    _, _, other = posted_batch(10)
    with pytest.raises(ValueError, match="not under the batch's root"):
        proof_head(records, refused, other.root, 0)


def test_a_proof_from_the_largest_batch_with_many_refusals_in_a_log_of_a_million_leaves_fits():
    records, refused, fact = posted_batch(TRANSFERS_PER_BATCH_MAX)
    assert len(refused) > 1_000
    log, position = logged(fact, 1 << 12)
    note = SIGNER.sign(log.size, log.root())
    receipt = make_receipt(log, position, encode_fact(fact), note, SIGNER.key)
    head = proof_head(records, refused, fact.root, 77)
    further = 8 * 45  # a log of 2**20 leaves has eight hashes more
    assert len(head) + len(receipt) + further <= RECEIPT_BYTES_MAX


def test_a_single_transfer_fits_with_five_of_seven_cosignatures_in_a_million_leaves():
    keys = {
        f"w{n}.example": Ed25519PrivateKey.from_private_bytes(bytes([n] * 32)) for n in range(7)
    }
    policy = parse_policy(
        "\n".join(f"witness {name} {witness_key(name, key).text()}" for name, key in keys.items())
    )
    records, refused, fact = posted_batch(1)
    log, position = logged(fact, 1 << 12)
    checkpoint = Checkpoint(SIGNER.key.name, log.size, log.root())
    lines = {name: cosign(checkpoint, name, key, 1_800_000_000) for name, key in keys.items()}
    note = SIGNER.sign(log.size, log.root()) + "".join(policy.enough(lines))
    receipt = make_receipt(log, position, encode_fact(fact), note, SIGNER.key, policy)
    text = proof_head(records, refused, fact.root, 0) + receipt
    assert verify_transfer(text.encode(), SIGNER.verifier_key, policy).amount == 1
    assert len(text) + 8 * 45 <= RECEIPT_BYTES_MAX
