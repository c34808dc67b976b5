"""Counting cosignatures: what counts, what does not, and that final stays final."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.ledger.checkpoint import CheckpointSigner
from cloud.ledger.finality import CHECKPOINTS_KEPT, CosignatureError, Finality
from protos.receipt import Checkpoint, open_checkpoint
from protos.witness import cosign
from tests.ledger.test_witness import KEYS, NAMES, SIGNER, policy_of


def root(size):
    return size.to_bytes(32, "big")


def cosigned(size, *names, at_s=5, of=root):
    checkpoint = Checkpoint(SIGNER.key.name, size, of(size))
    lines = "".join(cosign(checkpoint, name, KEYS[name], at_s) for name in names)
    return f"{checkpoint.text()}\n{lines}"


@pytest.fixture
def finality():
    """Four validators; blocks 1 to 3 over 10, 20 and 30 leaves."""
    finality = Finality(policy_of(*NAMES[:4]))
    for number in (1, 2, 3):
        finality.publish(number, SIGNER.sign(10 * number, root(10 * number)), number)
    return finality


def test_the_third_of_four_makes_it_final(finality):
    for name in NAMES[:2]:
        finality.take(cosigned(20, name), 9)
        assert finality.final_number == 0
    finality.take(cosigned(20, NAMES[3]), 9)
    assert (finality.final_number, finality.final_size) == (2, 20)
    note = finality.final_note
    assert open_checkpoint(note, SIGNER.key, finality.policy).size == 20


def test_the_same_validator_twice_counts_once(finality):
    for at_s in range(5):
        finality.take(cosigned(20, NAMES[0], at_s=at_s), 9)
    assert finality.final_number == 0


def test_several_lines_at_once_count(finality):
    finality.take(SIGNER.sign(30, root(30)) + cosigned(30, *NAMES[:3]).partition("\n\n")[2], 9)
    assert finality.final_number == 3
    assert finality.status(11).problem == ""


def test_final_never_goes_back(finality):
    finality.take(cosigned(30, *NAMES[:3]), 9)
    finality.take(cosigned(10, *NAMES[:4]), 9)
    assert finality.final_number == 3


@pytest.mark.parametrize(
    ("note", "status"),
    [
        ("", 400),
        ("x\n\ny", 400),
        (cosigned(15, NAMES[0]), 409),
        (cosigned(20, NAMES[0], of=lambda _: bytes(32)), 409),
        (cosigned(20), 403),
        (cosigned(20, NAMES[0], NAMES[6]), 403),
        (cosigned(20, NAMES[0])[:-4] + "AA=\n", 400),
        (cosigned(20, NAMES[0]).replace("\u2014 ", "- "), 403),
    ],
)
def test_what_does_not_count_says_why_and_changes_nothing(finality, note, status):
    with pytest.raises(CosignatureError) as caught:
        finality.take(note, 9)
    assert caught.value.status == status
    assert finality.status(9).stake == 0


def test_a_forged_signature_of_a_known_validator_counts_for_nothing(finality):
    real = cosigned(20, NAMES[0])
    other = cosigned(30, NAMES[0])
    forged = real.partition("\n\n")[0] + "\n\n" + other.partition("\n\n")[2]
    with pytest.raises(CosignatureError) as caught:
        finality.take(forged, 9)
    assert caught.value.status == 400


def test_the_status_names_who_is_not_heard(finality):
    finality.take(cosigned(30, NAMES[1]), 9)
    status = finality.status(11)
    assert (status.stake, status.stake_total) == (1, 4)
    assert status.age_ns == 10
    assert NAMES[0] in status.problem
    assert NAMES[1] not in status.problem
    assert status.cosigned_size[NAMES[1]] == 30


def test_without_validators_nothing_is_final_and_it_says_so():
    finality = Finality(policy_of())
    finality.publish(1, SIGNER.sign(10, root(10)), 1)
    assert finality.final_number == 0
    assert finality.final_note == ""
    assert "no validator is configured" in finality.status(5).problem


def test_old_roots_are_forgotten_but_not_the_final_one(finality):
    finality.take(cosigned(20, *NAMES[:3]), 9)
    for number in range(4, 4 + 2 * CHECKPOINTS_KEPT):
        finality.publish(number, SIGNER.sign(10 * number, root(10 * number)), number)
    with pytest.raises(CosignatureError):
        finality.take(cosigned(30, NAMES[0]), 9)
    assert finality.final_size == 20
    assert finality.final_note


def test_a_restart_finds_the_cosignatures_in_the_stored_notes(finality):
    sealed = finality.take(cosigned(20, *NAMES[:3]), 9)
    stored = finality.cosigned_note(sealed)
    again = Finality(finality.policy)
    assert again.publish(2, stored, 1) == SIGNER.sign(20, root(20))
    assert again.final_number == 2


def test_a_stranger_may_not_take_a_validators_place():
    stranger = CheckpointSigner("x", Ed25519PrivateKey.from_private_bytes(bytes([99] * 32)))
    finality = Finality(policy_of(NAMES[0]))
    finality.publish(1, SIGNER.sign(10, root(10)), 1)
    with pytest.raises(CosignatureError):
        finality.take(stranger.sign(10, root(10)).replace("x\n", "grid.example/log\n", 1), 2)
