"""The bank behind the real writer: commands in, journal on disk with fsync, facts, leaves and root out.

Part of the ledger's bench. A clock runs from before the command is handed over until the signed
root over all that followed from it is stored; nothing is taken apart or left out. Floors are
measured in the same run on the same disk.
"""

import asyncio
import random
import sqlite3
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.commands import (
    Deposit,
    MeterSlot,
    OpenAccount,
    OpenZone,
    PostTransfers,
    ReserveTrades,
    SealBlock,
    SettleSlot,
    TradeTerms,
    ZoneRules,
)
from cloud.core import Core
from cloud.facts import BatchPosted, BlockSealed, SlotSettled, Statement
from cloud.gate.loops import bound_collections
from cloud.grid.shipped import network_named
from cloud.ledger.checkpoint import CheckpointSigner
from cloud.ledger.transfers import HOUR_NS, RECORD, pack
from cloud.store.journal import SqliteJournal
from cloud.writer import Writer
from protos.clock import slot_end_ns, slot_start_ns

SLOT = 1_000_000
BATCH = 1_000
BATCHES = 200
IN_FLIGHT = 8
ACCOUNTS = 10_000
TRADES = 10_000
HOMES = 2_000
METERS = 25_000
NETWORK = network_named("tiny")


class Desk:
    """A writer on a journal of its own, with a clock that the bench sets."""

    def __init__(self, directory, name):
        self.path = directory / f"{name}.db"
        self.now_ns_ = slot_start_ns(SLOT)
        self.facts = []
        self.roots = asyncio.Event()
        signer = CheckpointSigner(
            "grid.example/log", Ed25519PrivateKey.from_private_bytes(bytes(32))
        )
        self.writer = Writer(
            Core({"tiny": NETWORK}),
            SqliteJournal(self.path),
            self,
            lambda block: signer.sign_block(block).encode(),
        )
        self.writer.listen(lambda facts, _: self.facts.extend(facts))
        self.writer.listen_checkpoints(lambda *_: self.roots.set())

    def now_ns(self):
        return self.now_ns_

    async def open(self, homes):
        await self.writer.start()
        rules = ZoneRules()
        await self.writer.submit(OpenZone("tiny", NETWORK.sha256, SLOT, rules))
        await self.writer.settle()
        for first in range(0, len(homes), 1_000):
            part = homes[first : first + 1_000]
            await asyncio.gather(
                *(self.writer.submit(OpenAccount(home, "prosumer", "tiny")) for home in part)
            )
            await asyncio.gather(*(self.writer.submit(Deposit(h, h, 10**12)) for h in part))
        await self.writer.settle()
        self.facts.clear()

    async def sealed(self):
        """A root over all that was handed over and all that follows, stored."""
        await self.writer.settle()
        self.roots.clear()
        await self.writer.submit(SealBlock())
        await self.roots.wait()

    @property
    def bank(self):
        return self.writer.core.bank


async def transfers(directory):
    """Transfers a second in batches of 1,000, the same by processor time, and (median, worst) ms."""
    draw = random.Random(1)
    desk = Desk(directory, "transfers")
    homes = [f"home-{number:05d}" for number in range(ACCOUNTS)]
    await desk.open(homes)
    numbers = [desk.bank.account_number(home) for home in homes]
    hour = desk.now_ns() // HOUR_NS
    batches, name = [], 0
    for _ in range(BATCHES):
        records = []
        for _ in range(BATCH):
            name += 1
            debit, credit = draw.sample(numbers, 2)
            amount = draw.randint(1, 1_000)
            records.append(pack(name.to_bytes(16, "big"), debit, credit, amount))
        batches.append(PostTransfers(hour, b"".join(records), True))
    queue, waited = iter(batches), []

    async def client():
        for batch in queue:
            began = time.perf_counter()
            await desk.writer.submit(batch)
            waited.append(time.perf_counter() - began)

    start, worked = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
    await desk.sealed()
    seconds = time.perf_counter() - start
    worked = time.process_time() - worked
    posted = sum(fact.posted for fact in desk.facts if isinstance(fact, BatchPosted))
    assert posted == BATCH * BATCHES
    assert not any(desk.bank.sums().values())
    await desk.writer.stop()
    waited.sort()
    waits_ms = 1e3 * waited[len(waited) // 2], 1e3 * waited[-1]
    return posted / seconds, posted / worked, waits_ms, batches


def bare_transfers(directory, batches):
    """The floor: the same transfers as rows of a table and two balances, in SQLite alone."""
    db = sqlite3.connect(directory / "bare.db", isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("pragma synchronous=full")
    db.execute("create table account (id integer primary key, debits integer, credits integer)")
    db.execute("create table entry (id blob primary key, debit, credit, amount) without rowid")
    db.executemany("insert into account values (?,0,0)", [(n,) for n in range(ACCOUNTS + 64)])
    start, worked = time.perf_counter(), time.process_time()
    for batch in batches:
        rows = [
            (name, debit, credit, amount)
            for name, _, amount, debit, credit, *_ in RECORD.iter_unpack(batch.records)
        ]
        db.execute("begin immediate")
        db.executemany("insert into entry values (?,?,?,?)", rows)
        db.executemany(
            "update account set debits=debits+? where id=?", [(a, d) for _, d, _, a in rows]
        )
        db.executemany(
            "update account set credits=credits+? where id=?", [(a, c) for _, _, c, a in rows]
        )
        db.execute("commit")
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    db.close()
    return BATCH * len(batches) / seconds, BATCH * len(batches) / worked


def market(seed):
    """10,000 trades between 1,000 sellers and 1,000 buyers; meters 0.6 to 1.3 of what was agreed."""
    draw = random.Random(seed)
    homes = [f"{number:032x}" for number in range(HOMES)]
    sellers, buyers = homes[: HOMES // 2], homes[HOMES // 2 :]
    agreed = dict.fromkeys(homes, 0)
    trades = []
    for number in range(1, TRADES + 1):
        seller, buyer, energy = draw.choice(sellers), draw.choice(buyers), draw.randint(50, 2_000)
        price = 1_000 * draw.randint(2_200, 5_800)
        trades.append(TradeTerms(number, buyer, seller, energy, price))
        agreed[seller] += energy
        agreed[buyer] += energy
    metered = {home: int(energy * draw.uniform(0.6, 1.3)) for home, energy in agreed.items()}
    meters = [MeterSlot(home, 0, metered[home], False) for home in sellers]
    meters += [MeterSlot(home, metered[home], 0, False) for home in buyers]
    return homes, tuple(trades), tuple(meters)


async def slot_of_trades(directory, seed):
    """Seconds from the slot's meters to the stored root over its settlement; leaves; late reading."""
    homes, trades, meters = market(seed)
    desk = Desk(directory, f"slot-{seed}")
    await desk.open(homes)
    for first in range(0, TRADES, 100):
        await desk.writer.submit(ReserveTrades("tiny", SLOT, trades[first : first + 100], True))
    await desk.writer.settle()
    desk.now_ns_ = slot_end_ns(SLOT)
    before = desk.bank.log.size
    desk.facts.clear()
    start, worked = time.perf_counter(), time.process_time()
    await desk.writer.submit(SettleSlot("tiny", SLOT, 0, meters, True))
    await desk.sealed()
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    settled = next(fact for fact in desk.facts if isinstance(fact, SlotSettled))
    assert settled.trades == TRADES
    assert settled.conservation_error_wh == 0
    leaves = desk.bank.log.size - before
    late = (MeterSlot(meters[0].account, 0, meters[0].export_wh + 500, False), *meters[1:])
    desk.facts.clear()
    start = time.perf_counter()
    await desk.writer.submit(SettleSlot("tiny", SLOT, 1, late, True))
    await desk.sealed()
    revised = time.perf_counter() - start
    blocks = sum(isinstance(fact, BlockSealed) for fact in desk.facts)
    settled = next(fact for fact in desk.facts if isinstance(fact, SlotSettled))
    assert not any(desk.bank.sums().values())
    await desk.writer.stop()
    return seconds, leaves, revised, 500 - settled.minted_wh, blocks, worked


async def slot_of_meters(directory):
    """25,000 meters, half exporting, no trade: seconds to the stored root, lost and doubled."""
    homes = [f"{number:032x}" for number in range(METERS)]
    meters = tuple(
        MeterSlot(home, 0 if n % 2 else 400, 500 if n % 2 else 0, False)
        for n, home in enumerate(homes)
    )
    desk = Desk(directory, "meters")
    await desk.open(homes)
    desk.now_ns_ = slot_end_ns(SLOT)
    start, worked = time.perf_counter(), time.process_time()
    await desk.writer.submit(SettleSlot("tiny", SLOT, 0, meters, True))
    await desk.sealed()
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    said = [fact.account for fact in desk.facts if isinstance(fact, Statement)]
    lost, doubled = len({*homes} - {*said}), len(said) - len({*said})
    minted = next(fact for fact in desk.facts if isinstance(fact, SlotSettled)).minted_wh
    await desk.writer.stop()
    assert minted == 500 * (METERS // 2)
    return seconds, lost, doubled, worked


def measure(directory):
    """All of it, one after another, the collector's pauses bounded as in the aggregator."""
    bound_collections()
    rate, by_processor, waits_ms, batches = asyncio.run(transfers(directory))
    return {
        "transfers": (rate, by_processor, waits_ms, *bare_transfers(directory, batches)),
        "slots": [asyncio.run(slot_of_trades(directory, seed)) for seed in range(3)],
        "meters": [
            asyncio.run(slot_of_meters(directory / str(n))) for n in _directories(directory)
        ],
    }


def _directories(directory):
    for number in range(2):
        (directory / str(number)).mkdir()
        yield number
