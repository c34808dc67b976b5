"""The bank's routes and commands against a running aggregator: what they do and what they refuse."""

import asyncio
import csv
import io
import json

import pytest

from cloud.__main__ import main
from cloud.commands import MeterSlot, SealBlock, SettleSlot
from cloud.ledger.evidence import TWO_ROOTS, Evidence
from cloud.money import contained_tax
from cloud.remote import Operator, RemoteError
from protos.clock import slot_at
from protos.limits import RECEIPT_BYTES_MAX
from protos.messages import Refusal
from protos.receipt import Checkpoint
from protos.witness import cosign, witness_key
from tests.validator.test_replica import KEY

VALIDATOR_KEY = witness_key("v.example", KEY).text()


class Terminal:
    """Types commands at the aggregator and reads what they print."""

    def __init__(self, cloud, capsys):
        self.cloud, self.capsys = cloud, capsys
        self.state = ["--state-dir", str(cloud.app.config.state_dir)]
        self.url = ["--url", f"http://127.0.0.1:{cloud.listening.http_port}"]

    async def type(self, name, *words, state_only=False):
        """(exit status, what it said)."""
        where = self.state if state_only else self.state + self.url
        status = await asyncio.to_thread(main, [name, *where, *words])
        said = self.capsys.readouterr()
        return status, (said.out + said.err).strip()

    async def post(self, path, body):
        return await asyncio.to_thread(self.cloud.operator.post, path, body)


@pytest.fixture
async def terminal(cloud, capsys):
    for number, site in enumerate(("anna", "boon"), start=1):
        await cloud.token(site, number)
    await cloud.app.writer.settle()
    return Terminal(cloud, capsys)


async def balance(terminal, account):
    _, said = await terminal.type("account", account)
    return json.loads(said)["balances"]


async def test_money_comes_in_moves_and_is_reserved_once_per_id(terminal):
    for _ in range(2):
        status, _ = await terminal.type("deposit", "anna", "12.50", "--id", "bank-1")
        assert status == 0
    assert (await balance(terminal, "anna"))["MONEY"] == 1_012_500_000
    for _ in range(2):
        assert (await terminal.type("transfer", "anna", "boon", "2.5", "--id", "t1"))[0] == 0
    assert (await balance(terminal, "boon"))["MONEY"] == 1_002_500_000
    hold = ("anna", "boon", "10", "--id", "h", "--kind", "pending", "--timeout", "60")
    assert (await terminal.type("transfer", *hold))[0] == 0
    _, said = await terminal.type("account", "anna")
    assert json.loads(said)["reserved_micro"] == 10_000_000
    post = ("anna", "boon", "4", "--id", "p", "--kind", "post", "--of", "h")
    assert (await terminal.type("transfer", *post))[0] == 0
    assert (await balance(terminal, "boon"))["MONEY"] == 1_006_500_000
    assert not any(terminal.cloud.app.core.bank.sums().values())


REFUSED = [
    (("deposit", "nobody", "1", "--id", "a"), "UNKNOWN_ACCOUNT: open the account first"),
    (("deposit", "anna", "1e30", "--id", "a"), "422"),
    (("deposit", "anna", "0.0000001", "--id", "a"), "at most six decimals"),
    (("deposit", "anna", "-1", "--id", "a"), "not negative"),
    (("deposit", "anna", "ten", "--id", "a"), "is no amount"),
    (("transfer", "anna", "nobody", "1", "--id", "a"), "no account 'nobody' is open"),
    (("transfer", "anna", "boon", "5000", "--id", "a"), "INSUFFICIENT_FUNDS"),
    (("transfer", "anna", "boon", "1", "--id", "a", "--asset", "THB"), "assets are GT, MONEY"),
    (("transfer", "anna", "boon", "1", "--id", "a", "--asset", "CLAIM"), "WRONG_ASSET"),
    (("transfer", "anna", "@mint", "1", "--id", "a"), "UNKNOWN_ACCOUNT"),
    (("transfer", "anna", "anna", "1", "--id", "a"), "MALFORMED"),
    (("transfer", "anna", "boon", "1", "--id", "a", "--kind", "pending"), "BAD_INTERVAL"),
    (("transfer", "anna", "boon", "1", "--id", "a", "--kind", "post", "--of", "x"), "OVER_POSTED"),
    (("account", "nobody"), "no account 'nobody' is open"),
    (("stake", "grant", "community", "anna", "5", "--id", "g"), "UNKNOWN_ACCOUNT"),
    (("stake", "rewards", "--id", "r"), "UNKNOWN_ACCOUNT"),
]


async def test_what_cannot_be_done_says_why_and_changes_nothing(terminal):
    before = terminal.cloud.app.core.bank.state()["ledger"]
    for words, expected in REFUSED:
        status, answer = await terminal.type(words[0], *words[1:])
        assert status == 2, words
        assert expected in answer, words
        assert terminal.cloud.app.core.bank.state()["ledger"] == before, words


async def test_an_id_with_another_body_is_refused(terminal):
    await terminal.type("deposit", "anna", "1", "--id", "same")
    status, said = await terminal.type("deposit", "anna", "2", "--id", "same")
    assert (status, "CHANGED_REPLAY" in said) == (2, True)
    await terminal.type("transfer", "anna", "boon", "1", "--id", "same")
    status, said = await terminal.type("transfer", "anna", "boon", "2", "--id", "same")
    assert (status, "CHANGED_REPLAY" in said) == (2, True)


async def test_a_stranger_moves_nothing(cloud, terminal, tmp_path):
    (tmp_path / "operator.token").write_text("guess")
    stranger = Operator(terminal.url[1], tmp_path)
    for path in ("deposits", "transfers", "stake/supply", "stake/grants", "stake/slashes"):
        with pytest.raises(RemoteError, match="401"):
            await asyncio.to_thread(stranger.post, f"/api/{path}", {})


async def test_linked_transfers_happen_together_or_not_at_all(terminal):
    def one(number, amount, debit="anna", credit="boon", linked=True):
        return {"id": f"{number:032x}", "debit": debit, "credit": credit, "amount": amount,
                "linked": linked}  # fmt: skip

    chain = [one(1, 5), one(2, 10**15, "boon", "anna"), one(3, 1, linked=False)]
    answer = await terminal.post("/api/transfers", {"transfers": chain})
    assert answer["posted"] == 0
    assert [r["reason"] for r in answer["refused"]] == ["INSUFFICIENT_FUNDS"] * 3
    chain[1] = one(2, 10, "boon", "anna")
    assert (await terminal.post("/api/transfers", {"transfers": chain}))["posted"] == 3


async def test_stake_is_granted_bound_unbound_slashed_and_rewarded(terminal, tmp_path):
    stake = ["stake"]
    for words in (
        ("supply", "--unbonding", "3600"),
        ("validator", "boon", VALIDATOR_KEY),
        ("grant", "community", "anna", "100", "--id", "g"),
        ("bond", "anna", "boon", "40", "--id", "b"),
        ("unbond", "anna", "boon", "10", "--id", "u"),
    ):
        status, said = await terminal.type(*stake, *words)
        assert status == 0, said
    assert (await terminal.type(*stake, "bond", "anna", "boon", "40", "--id", "b"))[1].startswith(
        "nothing to do"
    )
    _, said = await terminal.type("stake")
    state = json.loads(said)
    assert state["outstanding"] == 10**12
    assert state["bonds"] == {"boon": {"anna": 30_000_000}}
    assert (await terminal.type(*stake, "bond", "anna", "boon", "70", "--id", "c"))[0] == 2
    assert (await terminal.type(*stake, "inflate", "1"))[0] == 2, "the year is not over"
    notes = [
        Checkpoint("grid.example/log", 8, bytes([n]) * 32) for n in (1, 2)
    ]  # two roots of one size
    texts = [f"{note.text()}\n{cosign(note, 'v.example', KEY, 1_800_000_000)}" for note in notes]
    evidence = tmp_path / "evidence.json"
    evidence.write_text(Evidence(TWO_ROOTS, VALIDATOR_KEY, *texts).text())
    status, said = await terminal.type(*stake, "slash", str(evidence))
    assert (status, "StakeSlashed" in said) == (0, True)
    _, said = await terminal.type("stake")
    assert json.loads(said)["convicted"] == {"boon": 8}
    assert json.loads(said)["outstanding"] == 10**12 - 2_000_000
    evidence.write_text(Evidence(TWO_ROOTS, VALIDATOR_KEY, texts[0], texts[0]).text())
    assert (await terminal.type(*stake, "slash", str(evidence)))[0] == 2


async def test_a_statement_lists_the_slots_of_one_account(cloud, terminal, tmp_path):
    writer = cloud.app.writer
    slot = slot_at(cloud.app.clock.now_ns()) - 4
    for late in range(2):
        meters = (MeterSlot("anna", 0, 500 + late, False), MeterSlot("boon", 300, 0, False))
        await writer.submit(SettleSlot("tiny", slot, late, meters, True))
    await writer.submit(SettleSlot("tiny", slot + 1, 0, meters, True))
    await writer.settle()
    while cloud.app.reader.leaf_count() < cloud.app.core.bank.log.size:
        await asyncio.sleep(0.05)
    status, said = await terminal.type("statement", "anna", state_only=True)
    rows = list(csv.DictReader(io.StringIO(said)))
    assert (status, [row["revision"] for row in rows]) == (0, ["0", "1", "0"])
    words = ("anna", "--from", str(slot), "--to", str(slot), "--format", "json")
    _, said = await terminal.type("statement", *words, state_only=True)
    total = json.loads(said)["total"]
    assert total["export_wh"] == 501
    assert total["minted_wh"] == 501
    assert total["money_micro"] == 501 * 2_200
    assert total["vat_micro"] == 0, "nothing was paid"
    assert (rows[0]["currency"], contained_tax(107, 700)) == ("THB", 7)
    output = tmp_path / "out.csv"
    _, said = await terminal.type("statement", "boon", "--output", str(output), state_only=True)
    assert "2 statements" in said
    for words in (("anna", "--from", "yesterday"), ("anna", "--from", "9", "--to", "8")):
        assert (await terminal.type("statement", *words, state_only=True))[0] == 2


async def test_one_transfer_among_others_is_proven_offline(terminal, tmp_path):
    names = [f"{number:032x}" for number in range(1, 8)]
    many = [{"id": name, "debit": "anna", "credit": "boon", "amount": 7} for name in names]
    many[3]["amount"] = 10**15
    answer = await terminal.post("/api/transfers", {"transfers": many})
    assert [one["index"] for one in answer["refused"]] == [3]
    await terminal.cloud.app.writer.submit(SealBlock())
    await terminal.cloud.app.writer.settle()
    for name, outcome in ((names[5], "DONE"), (names[3], "INSUFFICIENT_FUNDS")):
        path = tmp_path / f"{name}.receipt"
        words = ("--transfer", name, "--hour", str(answer["hour"]), "--output", str(path))
        status, said = await terminal.type("receipt", *words)
        assert status == 0, said
        assert path.stat().st_size <= RECEIPT_BYTES_MAX
        assert main(["verify", str(path), "--json"]) == 0
        transfer = json.loads(terminal.capsys.readouterr().out)["Transfer"]
        assert (transfer["id"], transfer["outcome"]) == (name, outcome)
        path.write_bytes(path.read_bytes().replace(b"record ", b"record A", 1))
        assert main(["verify", str(path)]) == 1


async def test_a_transfer_that_nobody_made_has_no_proof(terminal, tmp_path):
    for words in (("--transfer", "never"), ("--transfer", "never", "--hour", "5")):
        status, said = await terminal.type("receipt", *words, "--output", str(tmp_path / "r"))
        assert (status, "no transfer" in said) == (2, True), said
    status, said = await terminal.type("receipt", "--transfer", "t", "--hour", "-1")
    assert (status, "counts from 1970" in said) == (2, True)


async def test_an_account_says_what_it_is_for_and_how_far_it_may_fall(terminal):
    status, said = await terminal.type("account")
    kinds = {one["kind"]: one for one in json.loads(said)}
    assert status == 0
    assert {
        "prosumer",
        "utility",
        "grid",
        "treasury",
        "validator",
        "insurance",
        "venue",
        "rounding",
    } <= {*kinds}
    assert kinds["utility"]["floors"] == {"GT": None, "MONEY": None, "CLAIM": 0}
    for account, kind, transfers in (
        ("anna", "prosumer", True),
        ("@utility/tiny", "utility", False),
        ("@grid/tiny", "grid", False),
        ("@rounding/tiny", "rounding", False),
        ("@fund/treasury", "treasury", False),
        ("@fund/insurance", "insurance", False),
    ):
        _, said = await terminal.type("account", account)
        found = json.loads(said)
        assert (found["kind"], found["may_transfer"]) == (kind, transfers), account
        assert found["floors"] == kinds[kind]["floors"]


async def test_a_validators_account_is_opened_and_holds_no_energy(terminal):
    status, said = await terminal.type("account", "egat", "--open", "validator")
    assert status == 0, said
    assert json.loads(said)["may_trade"] is False
    assert (await terminal.type("account", "egat", "--open", "validator"))[0] == 0
    assert (await terminal.type("transfer", "anna", "egat", "1", "--id", "fee"))[0] == 0
    assert (await balance(terminal, "egat"))["MONEY"] == 1_000_000
    status, said = await terminal.type(
        "transfer", "anna", "egat", "1", "--id", "g", "--asset", "GT"
    )
    assert (status, "WRONG_ASSET" in said) == (2, True)
    for words, expected in (
        (("egat", "--open", "prosumer"), "CHANGED_REPLAY"),
        (("new", "--open", "mint"), "MALFORMED"),
        (("@mint", "--open", "prosumer"), "MALFORMED"),
    ):
        status, said = await terminal.type("account", *words)
        assert (status, expected in said) == (2, True), said


async def test_banked_tokens_are_used_once_per_id_and_not_beyond_what_there_is(terminal):
    status, said = await terminal.type("retire", "anna", "5", "--id", "bill-1")
    assert (status, "INSUFFICIENT_FUNDS" in said) == (2, True)
    status, said = await terminal.type("retire", "nobody", "5", "--id", "bill-1")
    assert (status, "UNKNOWN_ACCOUNT" in said) == (2, True)
    status, said = await terminal.type("retire", "anna", "0.5", "--id", "bill-1")
    assert (status, "a whole number" in said) == (2, True)


async def test_what_is_posted_of_a_reservation_is_never_more_than_was_reserved(terminal):
    hold = ("anna", "boon", "10", "--id", "h", "--kind", "pending", "--timeout", "60")
    assert (await terminal.type("transfer", *hold))[0] == 0
    before = await balance(terminal, "boon")
    for words, expected in (
        (("anna", "boon", "10.000001", "--id", "p", "--kind", "post", "--of", "h"), "OVER_POSTED"),
        (("boon", "anna", "4", "--id", "p", "--kind", "post", "--of", "h"), "WRONG_ASSET"),
        (("anna", "boon", "4", "--id", "p", "--kind", "void", "--of", "h"), "MALFORMED"),
    ):
        status, said = await terminal.type("transfer", *words)
        assert (status, expected in said) == (2, True), said
    assert await balance(terminal, "boon") == before
    post = ("anna", "boon", "10", "--id", "p", "--kind", "post", "--of", "h")
    assert (await terminal.type("transfer", *post))[0] == 0
    again = ("anna", "boon", "1", "--id", "q", "--kind", "post", "--of", "h")
    status, said = await terminal.type("transfer", *again)
    assert (status, "OVER_POSTED" in said) == (2, True)


async def test_money_beyond_64_bits_is_refused_and_nothing_moves(terminal):
    most = (1 << 63) - 1
    body = {"deposit_id": "most", "account": "anna", "amount_micro": most}
    before = await balance(terminal, "anna")
    with pytest.raises(RemoteError, match="BAD_PRICE"):
        await terminal.post("/api/deposits", body)
    with pytest.raises(RemoteError, match="422"):
        await terminal.post("/api/deposits", body | {"amount_micro": most + 1})
    one = {"id": "0" * 31 + "1", "debit": "@provider", "credit": "anna", "amount": most}
    answer = await terminal.post("/api/transfers", {"transfers": [one]})
    assert [refused["reason"] for refused in answer["refused"]] == ["BAD_PRICE"]
    assert await balance(terminal, "anna") == before
    assert not any(terminal.cloud.app.core.bank.sums().values())


async def test_a_slot_that_has_not_been_delivered_cannot_be_settled_or_shown(terminal, tmp_path):
    now = terminal.cloud.app.clock.now_ns()
    for slot in (slot_at(now), slot_at(now) + 4):
        facts = await terminal.cloud.app.writer.submit(SettleSlot("tiny", slot, 0, ()))
        assert [Refusal(fact.reason) for fact in facts] == [Refusal.TOO_EARLY]
        words = ("anna", "--slot", str(slot), "--output", str(tmp_path / "r"))
        status, said = await terminal.type("receipt", *words)
        assert (status, "try again after the slot" in said) == (2, True)
    assert not (tmp_path / "r").exists()


async def test_transfers_of_an_hour_that_is_over_or_far_ahead_are_refused(terminal):
    one = {"id": "0" * 31 + "1", "debit": "anna", "credit": "boon", "amount": 1}
    hour = terminal.cloud.app.clock.now_ns() // 3_600_000_000_000
    for wrong, reason in ((hour - 3, "TOO_OLD"), (hour + 3, "TOO_EARLY")):
        with pytest.raises(RemoteError, match=reason):
            await terminal.post("/api/transfers", {"transfers": [one], "hour": wrong})
