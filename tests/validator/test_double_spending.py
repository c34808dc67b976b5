"""Sixty-four spenders of the same money at once, and the writer killed in between."""

import asyncio
import random

import pytest

from cloud.commands import (
    BondStake,
    Deposit,
    GrantStake,
    OpenAccount,
    OpenSupply,
    OpenZone,
    RegisterValidator,
    ReserveTrades,
    StakeRules,
    TradeTerms,
    ZoneRules,
)
from cloud.core import Core
from cloud.facts import BankRefused, StakeBonded, TradesReserved
from cloud.ledger.settlement import escrow
from cloud.store.journal import SqliteJournal
from cloud.writer import Writer, WriterStoppedError
from protos.clock import SystemClock, slot_at
from protos.messages import Refusal
from protos.witness import witness_key
from tests.validator.house import NETWORK
from tests.validator.test_replica import KEY

SPENDERS = 64
TRIES = 6
AFFORDABLE = 40
PRICE = 3_000_000
COST = escrow(1_000, PRICE, ZoneRules())


class Till:
    """A writer on one journal that can be killed and comes back by replay."""

    def __init__(self, path):
        self.path = path
        self.reserved = {}
        self.bonded = {}

    async def start(self):
        self.writer = Writer(
            Core({"tiny": NETWORK}), SqliteJournal(self.path), SystemClock(), lambda _: b"o\n1\n\n"
        )
        self.reserved.clear()
        self.bonded.clear()
        self.writer.listen(self.hear)
        await self.writer.start()

    def hear(self, facts, _at_ns):
        for fact in facts:
            if isinstance(fact, TradesReserved):
                for terms in fact.trades:
                    self.reserved[terms.trade] = self.reserved.get(terms.trade, 0) + 1
            elif isinstance(fact, StakeBonded):
                self.bonded[fact.account] = self.bonded.get(fact.account, 0) + fact.amount
        assert not any(self.bank.sums().values())

    @property
    def bank(self):
        return self.writer.core.bank

    async def kill(self):
        self.writer._task.cancel()
        await asyncio.gather(self.writer._task, return_exceptions=True)
        self.writer._thread.shutdown()
        self.writer._journal.close()


@pytest.fixture
async def till(tmp_path):
    till = Till(tmp_path / "journal.db")
    await till.start()
    submit = till.writer.submit
    await submit(OpenZone("tiny", NETWORK.sha256, slot_at(SystemClock().now_ns()), ZoneRules()))
    await till.writer.settle()
    for home, money in (("anna", AFFORDABLE * COST + COST - 1), ("boon", 10**12)):
        await submit(OpenAccount(home, "prosumer", "tiny"))
        await submit(Deposit(f"first/{home}", home, money))
    await submit(OpenSupply(StakeRules()))
    await submit(RegisterValidator("boon", witness_key("v.example", KEY).text()))
    await submit(GrantStake("g", "community", "anna", AFFORDABLE * 10))
    yield till
    await till.writer.stop()


async def spend(till, spender, slot, outcomes):
    """Tries to spend the same money again and again, under ids of its own."""
    for number in range(TRIES):
        trade = 1 + spender * TRIES + number
        terms = TradeTerms(trade, "anna", "boon", 1_000, PRICE)
        for command in (
            ReserveTrades("tiny", slot, (terms,)),
            BondStake(f"b{trade}", "anna", "boon", 10),
        ):
            try:
                facts = await till.writer.submit(command)
            except (WriterStoppedError, asyncio.CancelledError):
                return
            outcomes += [f.reason for f in facts if isinstance(f, BankRefused)]


def check(till):
    assert not any(till.bank.sums().values())
    assert len(till.reserved) <= AFFORDABLE
    assert set(till.reserved.values()) <= {1}
    assert till.bank.reserved_micro("anna") == COST * len(till.reserved)
    assert till.bonded.get("anna", 0) <= AFFORDABLE * 10
    assert till.bank.balances("anna")["GTX"] == AFFORDABLE * 10 - till.bonded.get("anna", 0)


async def test_the_same_money_is_spent_once_however_many_try_and_whatever_dies(till):
    draw, slot, outcomes = random.Random(5), slot_at(SystemClock().now_ns()) + 2, []
    for _ in range(6):
        spenders = [
            asyncio.create_task(spend(till, spender, slot, outcomes)) for spender in range(SPENDERS)
        ]
        await asyncio.sleep(draw.uniform(0, 0.03))
        await till.kill()
        for spender in spenders:
            spender.cancel()
        await asyncio.gather(*spenders, return_exceptions=True)
        await till.start()
        check(till)
    outcomes.clear()
    await asyncio.gather(*(spend(till, spender, slot, outcomes) for spender in range(SPENDERS)))
    check(till)
    assert len(till.reserved) == AFFORDABLE, "all that could be paid was reserved"
    assert till.bank.balances("anna")["GTX"] == 0
    assert set(outcomes) == {Refusal.INSUFFICIENT_FUNDS}
