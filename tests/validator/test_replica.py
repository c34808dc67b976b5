"""What no honest journal has, record by record, and what a validator does about it."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.commands import (
    AppendSealed,
    CreateSite,
    Deposit,
    EnrolDevice,
    IssueToken,
    MeterSlot,
    OpenAccount,
    OpenZone,
    SealBlock,
    SettleSlot,
    ZoneRules,
    encode_command,
)
from cloud.core import Core
from cloud.flows import follow
from cloud.grid.shipped import network_named
from cloud.ledger.checkpoint import CheckpointSigner
from cloud.store.journal import Record
from cloud.validator import replica as room
from cloud.validator.replica import ReplayError, Replica
from cloud.validator.witness import LAST_FILE, DistrustError, Witness
from protos.ids import device_id
from protos.receipt import ReceiptError, parse_checkpoint
from protos.seal import seal
from protos.witness import cosigned_at_s, witness_key

NETWORK = network_named("tiny")
SIGNER = CheckpointSigner("grid.example/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))
KEY = Ed25519PrivateKey.from_private_bytes(bytes([9] * 32))
NOBODY = "0" * 32


class Honest:
    """Makes the journal that an honest operator would."""

    def __init__(self):
        self.core = Core({"tiny": NETWORK})
        self.records = []
        self.do(OpenZone("tiny", NETWORK.sha256, 1, ZoneRules()))
        self.do(OpenAccount("anna", "prosumer", "tiny"))
        for number in range(3):
            self.do(Deposit(f"d{number}", "anna", 1_000))

    def do(self, command, cause=(0, 0)):
        seq = len(self.records) + 1
        self.records.append(
            Record(seq, seq * 1_000, 1, *cause, command.stream, encode_command(command))
        )
        facts = self.core.step(command, seq * 1_000)
        for index, after in enumerate(follow(facts)):
            self.do(after, (seq, index))
        return facts

    def note(self):
        self.do(SealBlock())
        size = self.core.bank.log.size - 1
        return SIGNER.sign(size, self.core.bank.log.root(size))

    def proof(self, first, second):
        return self.core.bank.log.consistency(first, second)


@pytest.fixture
def honest():
    return Honest()


@pytest.fixture
def replica(tmp_path):
    replica = Replica(tmp_path / "journal.db", {"tiny": NETWORK})
    yield replica
    replica.close()


def reopened(replica, tmp_path):
    replica.close()
    return Replica(tmp_path / "journal.db", {"tiny": NETWORK})


def test_the_same_records_give_the_same_state_also_after_a_restart(honest, replica, tmp_path):
    replica.append(honest.records[:4])
    replica.append(honest.records[4:])
    assert replica.state_hash() == honest.core.state_hash()
    again = reopened(replica, tmp_path)
    assert again.state_hash() == honest.core.state_hash()
    assert again.seq == len(honest.records)
    again.close()


def test_a_validator_begins_with_its_own_snapshot_and_checks_only_what_came_after(
    honest, tmp_path, monkeypatch
):
    monkeypatch.setattr(room, "SNAPSHOT_RECORDS", 3)
    key = Ed25519PrivateKey.generate()
    path = tmp_path / "journal.db"
    honest.note()
    honest.do(Deposit("late", "anna", 1_000))
    replica = Replica(path, {"tiny": NETWORK}, key=key)
    for record in honest.records[:-1]:
        replica.append([record])
    replica.close()
    checked = []
    check = Replica._apply

    def counting(self, record):
        checked.append(record.seq)
        check(self, record)

    monkeypatch.setattr(Replica, "_apply", counting)
    again = Replica(path, {"tiny": NETWORK}, key=key)
    assert len(checked) < 3
    again.append(honest.records[-1:])
    again.close()
    checked.clear()
    anew = Replica(path, {"tiny": NETWORK}, key=Ed25519PrivateKey.generate())
    assert len(checked) == len(honest.records)
    assert again.state_hash() == anew.state_hash() == honest.core.state_hash()
    sizes = range(again.log.size + 1)
    assert any(map(anew.block_number, sizes))
    assert [*map(again.block_number, sizes)] == [*map(anew.block_number, sizes)]
    anew.close()


def next_record(honest, command, **changes):
    seq = len(honest.records) + 1
    record = Record(seq, seq * 1_000, 1, 0, 0, command.stream, encode_command(command))
    return record._replace(**changes)


METERS = (MeterSlot("anna", 0, 5_000, False),)


@pytest.mark.parametrize(
    ("command", "changes", "problem"),
    [
        (SealBlock(), {"seq": 99}, "does not follow"),
        (SealBlock(), {"at_ns": 1}, "time lies before"),
        (SealBlock(), {"rules": 2}, "needs rules 2"),
        (SealBlock(), {"stream": "desk"}, "filed under"),
        (SealBlock(), {"body": b"\x93\x01"}, "journal record"),
        (SealBlock(), {"body": b""}, "journal record"),
        (SealBlock(), {"cause_seq": 1}, "not what follows"),
        (SettleSlot("tiny", 0, 0, METERS), {}, "SettleSlot came from nowhere"),
        (OpenZone("mars", NETWORK.sha256, 1, ZoneRules()), {}, "no network"),
    ],
)
def test_a_record_that_no_honest_journal_has_is_refused(honest, replica, command, changes, problem):
    replica.append(honest.records)
    before = replica.state_hash()
    with pytest.raises(ReplayError, match=problem):
        replica.append([next_record(honest, command, **changes)])
    assert replica.state_hash() == before
    assert replica.seq == len(honest.records)


def test_a_follow_up_that_says_something_else_is_refused(honest, replica):
    at = next(n for n, record in enumerate(honest.records) if record.cause_seq)
    changed = honest.records[at]._replace(
        body=encode_command(Deposit("x", "anna", 5)), stream="bank"
    )
    with pytest.raises(ReplayError, match="not what follows"):
        replica.append([*honest.records[:at], changed])


def test_the_good_records_before_a_bad_one_are_kept(honest, replica, tmp_path):
    bad = next_record(honest, SealBlock(), stream="desk")
    with pytest.raises(ReplayError):
        replica.append([*honest.records, bad])
    again = reopened(replica, tmp_path)
    assert again.seq == len(honest.records)
    again.close()


class Gateway:
    """A device key."""

    def __init__(self):
        self.key = Ed25519PrivateKey.from_private_bytes(bytes([3] * 32))
        self.public = self.key.public_key().public_bytes_raw()
        self.device = device_id(self.public)

    def sign(self, message):
        return self.key.sign(message)


def test_a_batch_that_its_gateway_did_not_sign_is_refused(honest, replica):
    gateway = Gateway()
    honest.do(CreateSite("s", "tiny", 1, "anna"))
    honest.do(IssueToken(bytes(32), "s"))
    honest.do(EnrolDevice(bytes(32), gateway.public))
    replica.append(honest.records)
    sealed = seal(gateway, 1, bytes(32), b"payload")
    forged = AppendSealed("tiny", gateway.device, 1, bytes(32), b"forged!", sealed.signature)
    with pytest.raises(ReplayError, match="no signature of gateway"):
        replica.append([next_record(honest, forged)])
    true = AppendSealed("tiny", gateway.device, 1, bytes(32), b"payload", sealed.signature)
    replica.append([next_record(honest, true)])


@pytest.fixture
def witness(replica, tmp_path):
    return Witness("v.example", KEY, SIGNER.key, tmp_path, replica)


def nothing(_number):
    return ""


def test_a_good_root_is_kept_and_cosigned(honest, replica, witness, tmp_path):
    note = honest.note()
    replica.append(honest.records)
    cosigned = witness.judge(note, honest.proof, nothing, 123)
    checkpoint, lines = parse_checkpoint(cosigned)
    assert cosigned_at_s(checkpoint, lines[1], witness_key("v.example", KEY)) == 123
    assert (tmp_path / LAST_FILE).read_text() == note
    later = Witness("v.example", KEY, SIGNER.key, tmp_path, replica)
    assert later.last == checkpoint


def test_roots_follow_one_another_only_with_a_proof(honest, replica, witness):
    first = honest.note()
    replica.append(honest.records)
    witness.judge(first, honest.proof, nothing, 1)
    second = honest.note()
    replica.append(honest.records[replica.seq :])
    with pytest.raises(DistrustError, match="no proof"):
        witness.judge(second, lambda *_: [bytes(32)], nothing, 1)
    witness.judge(second, honest.proof, nothing, 1)
    with pytest.raises(DistrustError, match="history was cut"):
        witness.judge(first, honest.proof, nothing, 1)


def test_a_root_ahead_of_the_journal_is_not_cosigned(honest, replica, witness):
    replica.append(honest.records)
    with pytest.raises(DistrustError, match="makes only"):
        witness.judge(SIGNER.sign(10_000, bytes(32)), honest.proof, nothing, 1)


def test_a_root_by_another_key_is_not_even_looked_at(honest, replica, witness):
    note = honest.note()
    replica.append(honest.records)
    stranger = CheckpointSigner("grid.example/log", KEY)
    size = honest.core.bank.log.size - 1
    with pytest.raises(ReceiptError):
        witness.judge(stranger.sign(size, bytes(32)), honest.proof, nothing, 1)
    witness.judge(note, honest.proof, nothing, 1)


def test_a_last_root_that_the_kept_journal_does_not_make_stops_the_validator(
    honest, replica, witness, tmp_path
):
    replica.append(honest.records)
    (tmp_path / LAST_FILE).write_text(SIGNER.sign(3, bytes(32)))
    with pytest.raises(DistrustError, match="restore both"):
        Witness("v.example", KEY, SIGNER.key, tmp_path, replica)


def test_a_second_root_of_an_old_size_is_evidence_from_the_log_itself(honest, replica, witness):
    first = honest.note()
    honest.note()
    third = honest.note()
    replica.append(honest.records)
    witness.judge(third, honest.proof, nothing, 1)
    assert witness.compare(first, nothing)
    size = parse_checkpoint(first)[0].size
    with pytest.raises(DistrustError) as caught:
        witness.compare(SIGNER.sign(size, bytes(32)), nothing)
    assert caught.value.evidence.kind == "sealed-otherwise"
