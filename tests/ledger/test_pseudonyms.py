"""In the public log accounts and devices bear other names every billing period."""

import asyncio

import msgspec
import pytest

from cloud.app import App
from cloud.commands import AssignPseudonyms, Deposit, MeterSlot, OpenAccount, SettleSlot
from cloud.config import CloudConfig, ZoneConfig
from cloud.core import Core
from cloud.facts import BankRefused, Posted, PseudonymsAssigned, Statement, Traded, decode_fact
from cloud.ledger.privacy import pseudonym
from cloud.naming import SUBJECTS, period_at
from cloud.remote import Operator, RemoteError
from cloud.store.keyring import FileKeys
from protos.clock import SystemClock, slot_at
from protos.messages import Refusal
from protos.receipt import verify
from tests.ledger.village import Village
from tests.oracle.verify_receipt import check

ANNA, BOON = "a" * 32, "b" * 32


def assign(core, names, period=1):
    return core.step(AssignPseudonyms(period, tuple(names), tuple(names.values())), 0)


@pytest.fixture
def core():
    core = Core({})
    core.step(OpenAccount("anna", "prosumer", ""), 0)
    core.take_leaves()
    return core


def test_a_leaf_has_the_pseudonym_and_the_fact_the_name(core):
    assert assign(core, {"anna": ANNA}) == [PseudonymsAssigned(1, 1)]
    (fact, *_) = core.step(Deposit("d", "anna", 5), 0)
    assert fact.credit == "anna"
    leaves = [decode_fact(leaf) for leaf in core.take_leaves()]
    posted = next(leaf for leaf in leaves if isinstance(leaf, Posted))
    assert (posted.debit, posted.credit, posted.amount) == ("@provider", ANNA, 5)
    assert b"anna" not in msgspec.msgpack.encode(leaves)


def test_trades_name_neither_account_nor_device():
    village = Village()
    devices = village.core.zones["tiny"].devices()
    names = {name: f"{n:032x}" for n, name in enumerate([*devices, *devices.values()])}
    assign(village.core, names)
    village.core.take_leaves()
    village.match(100, 3_000_000)
    village.run_following()
    leaves = village.core.take_leaves()
    (traded,) = [f for f in map(decode_fact, leaves) if isinstance(f, Traded)]
    assert {traded.buyer, traded.seller, traded.buyer_device} <= {*names.values()}
    assert not any(name.encode() in leaf for leaf in leaves for name in names)


def test_the_next_period_forgets_the_names_of_the_last(core):
    assign(core, {"anna": ANNA})
    assign(core, {"anna": BOON}, period=2)
    core.take_leaves()
    core.step(Deposit("d", "anna", 5), 0)
    assert ANNA.encode() not in b"".join(core.take_leaves())


@pytest.mark.parametrize(
    ("period", "names", "reason"),
    [
        (0, {"anna": ANNA}, Refusal.TOO_OLD),
        (1, {"anna": BOON}, Refusal.CHANGED_REPLAY),
        (1, {"boon": ANNA}, Refusal.CHANGED_REPLAY),
        (1, {"boon": "Boon"}, Refusal.MALFORMED),
        (2, {"anna": ANNA, "boon": ANNA}, Refusal.MALFORMED),
    ],
)
def test_two_never_have_one_name_and_one_never_two(core, period, names, reason):
    assign(core, {"anna": ANNA})
    before = core.bank.pseudonyms.state()
    (refused,) = assign(core, names, period)
    assert refused == BankRefused(f"pseudonyms/{period}", int(reason))
    assert core.bank.pseudonyms.state() == before
    assert assign(core, {"anna": ANNA}) == []


async def test_a_households_receipt_proves_its_pseudonym_also_after_its_secret_is_gone(tmp_path):
    ports = dict.fromkeys(("http_port", "gateway_port", "enrolment_port", "utility_port"), 0)
    zones = (ZoneConfig(name="tiny", network="tiny"),)
    config = CloudConfig(state_dir=tmp_path, pseudonym_days=30, zones=zones, **ports)
    app = App(config, SystemClock())
    listening = await app.start()
    try:
        operator = Operator(f"http://127.0.0.1:{listening.http_port}", tmp_path)
        body = {"site": "home-1", "zone": "tiny", "node": 1, "account": "anna"}
        await asyncio.to_thread(operator.post, "/api/sites", body)
        while "anna" not in app.core.bank.pseudonyms.names:
            await asyncio.sleep(0.05)
        slot = slot_at(app.clock.now_ns()) - 2
        meters = (MeterSlot("anna", 0, 500, False),)
        await app.writer.submit(SettleSlot("tiny", slot, 0, meters, True))
        size = app.core.bank.log.size
        while (app.reader.checkpoint() or (0, 0, b""))[1] < size:
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.1)
        text = await asyncio.to_thread(operator.get, "/api/receipts/anna")
        secret = FileKeys(tmp_path / SUBJECTS).get("anna")
        mine = pseudonym(secret, "anna", period_at(app.clock.now_ns(), 30))
        key = app.signer.verifier_key
        statement = decode_fact(verify(text, key).leaf)
        assert isinstance(statement, Statement)
        assert (statement.account, statement.export_wh) == (mine, 500)
        erasure = {"account": "anna", "ground": "asked"}
        answer = await asyncio.to_thread(operator.post, "/api/erasures", erasure)
        assert answer == {"done": ["RecordsErased"]}
        assert FileKeys(tmp_path / SUBJECTS).get("anna") is None
        with pytest.raises(RemoteError, match="no secret"):
            await asyncio.to_thread(operator.post, "/api/erasures", erasure)
        assert check(text, key) == verify(text, key).leaf
    finally:
        await app.stop()
