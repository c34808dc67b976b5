"""Validators as processes: final with more than two thirds, honest about it with fewer."""

import asyncio
import json
import urllib.error
import urllib.request

import pytest

from cloud.commands import BondStake, GrantStake, OpenSupply, RegisterValidator, StakeRules
from cloud.facts import BlockSealed, decode_fact
from cloud.ledger.evidence import TWO_ROOTS, Evidence
from cloud.ledger.log import TransparencyLog
from cloud.ledger.tiles import new_files, split_entries
from cloud.validator.files import load_key
from protos.receipt import Checkpoint, open_checkpoint, verify
from protos.witness import cosign, parse_policy, witness_key
from tests.validator.house import Guard, Operator, write_policy


@pytest.fixture
def guards(tmp_path):
    made = [Guard(tmp_path, f"v{number}.example") for number in range(4)]
    yield made
    for guard in made:
        guard.kill()


async def test_final_with_a_third_down_not_with_more_and_again_when_they_return(tmp_path, guards):
    write_policy(tmp_path / "operator", guards)
    operator = await Operator(tmp_path / "operator").start()
    try:
        for guard in guards[:3]:
            guard.start(operator.url)
        assert await operator.final(await operator.block()), "three of four are more than 2/3"
        guards[3].start(operator.url)
        guards[0].kill()
        assert await operator.final(await operator.block()), "one quarter is down"
        guards[1].kill()
        size = await operator.block()
        assert not await operator.final(size, 1.5)
        status = operator.log.finality.status(0)
        assert status.stake <= 2
        assert "not heard: v0.example, v1.example" in status.problem
        guards[1].start(operator.url)
        assert await operator.final(size), "it comes back and cosigns what it missed"
        assert operator.log.finality.status(0).problem == ""
    finally:
        await operator.stop()


async def test_a_final_receipt_carries_the_quorum_and_survives_a_restart(tmp_path, guards):
    write_policy(tmp_path / "operator", guards[:1])
    operator = await Operator(tmp_path / "operator").start()
    try:
        guards[0].start(operator.url)
        assert await operator.final(await operator.block())
        leaf = operator.reader.leaf(3)
        receipt = operator.log.receipt(3, leaf)
        policy = parse_policy(operator.log.policy.text)
        assert verify(receipt, operator.signer.verifier_key, policy).leaf == leaf
        number = operator.log.finality.final_number
    finally:
        await operator.stop()
    guards[0].kill()
    again = await Operator(tmp_path / "operator").start()
    try:
        assert again.log.finality.final_number >= number
        assert again.log.receipt(3, leaf).count("v0.example") == 1
    finally:
        await again.stop()


async def test_a_validator_killed_at_any_time_goes_on_where_it_was(tmp_path, guards):
    write_policy(tmp_path / "operator", guards[:1])
    operator = await Operator(tmp_path / "operator").start()
    try:
        guards[0].start(operator.url)
        assert await operator.final(await operator.block(200))
        guards[0].kill()
        for _ in range(3):
            size = await operator.block(50)
        guards[0].start(operator.url)
        assert await operator.final(size)
        assert operator.log.finality.status(0).cosigned_size == {"v0.example": size}
    finally:
        await operator.stop()


async def test_a_validators_mirror_is_the_whole_log_for_anyone_without_the_operator(
    tmp_path, guards
):
    write_policy(tmp_path / "operator", guards[:1])
    operator = await Operator(tmp_path / "operator").start()
    mirror = tmp_path / "mirror"
    try:
        guards[0].start(operator.url, "--mirror", str(mirror))
        assert await operator.final(await operator.block(150))
        size = await operator.block(200)
        assert await operator.final(size)
        await guards[0].heard(3)
        root = operator.writer.core.bank.log.root(size)
    finally:
        await operator.stop()
    policy = parse_policy((tmp_path / "operator" / "validators.policy").read_text())
    note = (mirror / "checkpoint").read_text()
    assert open_checkpoint(note, operator.signer.key, policy).root == root
    rebuilt = TransparencyLog()
    for path in new_files(0, size):
        if path.startswith("tile/entries/"):
            for leaf in split_entries((mirror / path).read_bytes()):
                rebuilt.append(leaf)
    assert rebuilt.root() == root


async def test_evidence_sent_to_the_log_costs_the_validator_its_stake(tmp_path, guards):
    write_policy(tmp_path / "operator", guards[:1])
    operator = await Operator(tmp_path / "operator").start()
    try:
        name, private = load_key(guards[0].directory / "key")
        key = witness_key(name, private).text()
        for command in (
            OpenSupply(StakeRules()),
            RegisterValidator("anna", key),
            GrantStake("g", "community", "anna", 1_000),
            BondStake("b", "anna", "anna", 1_000),
        ):
            await operator.writer.submit(command)
        notes = []
        for root in (bytes(32), bytes([1] * 32)):
            checkpoint = Checkpoint("grid.example/log", 5, root)
            notes.append(f"{checkpoint.text()}\n{cosign(checkpoint, name, private, 9)}")

        async def post(evidence):
            text = evidence.text().encode()
            return (await asyncio.to_thread(fetch, f"{operator.url}/log/evidence", text))[0]

        stranger = Evidence(
            TWO_ROOTS,
            operator.signer.verifier_key,
            operator.signer.sign(5, bytes(32)),
            operator.signer.sign(5, bytes([1] * 32)),
        )
        assert await post(stranger) == 404
        assert await post(Evidence(TWO_ROOTS, key, notes[0], notes[0])) == 422
        assert operator.writer.core.bank.stakes.weights() == {key: 1_000}
        assert await post(Evidence(TWO_ROOTS, key, *notes)) == 204
        assert operator.writer.core.bank.balances("@bonded/anna")["GTX"] == 950
        assert operator.writer.core.bank.stakes.weights() == {}
    finally:
        await operator.stop()


def fetch(url, body=None, headers=None):
    request = urllib.request.Request(url, body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


async def test_strangers_may_read_the_log_but_not_the_journal_and_not_cosign(tmp_path, guards):
    write_policy(tmp_path / "operator", guards)
    operator = await Operator(tmp_path / "operator").start()
    try:
        size = await operator.block()

        async def get(path, body=None, headers=None):
            return await asyncio.to_thread(fetch, operator.url + path, body, headers)

        assert (await get("/log/checkpoint"))[1].decode() == operator.log.note
        status, tile = await get(f"/log/tile/0/000.p/{size}")
        assert (status, len(tile)) == (200, 32 * size)
        assert (await get(f"/log/tile/0/000.p/{size + 1}"))[0] == 404
        assert (await get(f"/log/consistency?first=3&second={size}"))[0] == 200
        assert (await get(f"/log/consistency?first=3&second={size + 1}"))[0] == 404
        assert (await get("/log/checkpoint/final"))[0] == 404
        assert (await get("/log/checkpoint/1"))[0] == 200
        assert (await get("/log/checkpoint/99"))[0] == 404
        assert (await get("/log/journal?after=0"))[0] == 401
        forged = {"Authorization": "Validator v0.example AAAA"}
        assert (await get("/log/journal?after=0", None, forged))[0] == 401
        for note, expected in (
            (b"", 400),
            (b"x", 400),
            (b"\xff", 400),
            (operator.log.note.encode(), 403),
            (operator.log.note.replace(f"\n{size}\n", "\n7777\n").encode(), 409),
            (b"x" * 25_000, 413),
        ):
            assert (await get("/log/cosignatures", note))[0] == expected, note
        status, text = await get("/log/finality")
        assert json.loads(text)["is_final"] is False
        seal = operator.reader.leaf(operator.reader.leaf_count() - 1)
        assert seal is None or isinstance(decode_fact(seal), BlockSealed)
    finally:
        await operator.stop()
