"""How fast the bank settles, proves and becomes final: `rows()` for the bench table.

On this machine, best of a few rounds; rows that say durable go through the SQLite journal with its
fsync. Finality and the random markets are measured by `ledger_finality.py` and `ledger_markets.py`
beside this file. `baseline` is what the best comparable ledger read about does, as far as published.
"""

import asyncio
import os
import random
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.commands import (
    Deposit,
    MeterSlot,
    OpenAccount,
    OpenLedger,
    ReserveTrades,
    SealBlock,
    SettleSlot,
    TradeTerms,
    ZoneRules,
    encode_command,
)
from cloud.facts import Posted, SlotSettled, Statement, encode_fact
from cloud.ledger import delivery, settlement
from cloud.ledger.bank import Bank
from cloud.ledger.checkpoint import CheckpointSigner
from cloud.ledger.log import TransparencyLog
from cloud.ledger.privacy import MemoryKeys, Vault
from cloud.ledger.receipts import make_receipt
from cloud.store.journal import Record, SqliteJournal
from protos.clock import slot_end_ns, slot_start_ns
from protos.receipt import Checkpoint, verify
from protos.witness import cosign, parse_policy, witness_key
from tests.bench import ledger_finality, ledger_markets

SLOT = 1_000_000
TRADES = 10_000
HOMES = 2_000
METERS = 25_000
ROUNDS = 3


def rows():
    with tempfile.TemporaryDirectory(prefix="gridtokenx-bench-") as name:
        directory = Path(name)
        durable = [*durable_settlement(directory), *durable_transfers(directory)]
        tampered = tampering(directory)
    return [
        *settled_trades(),
        *durable,
        *slot_close(),
        *random_markets(),
        *finality(),
        *proofs(),
        *cosigned_receipts(),
        *tampered,
        *erasure(),
        *shown_by_tests(),
    ]


def row(name, value, unit, target, direction="min", baseline=None, note=""):
    ok = value >= target if direction == "max" else value <= target
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "target": target,
        "direction": direction,
        "ok": ok,
        "baseline": baseline,
        "note": note,
    }


def bank_with(homes, rules):
    bank = Bank()
    bank.apply(OpenLedger("z", rules), 0)
    for home in homes:
        bank.apply(OpenAccount(home, "prosumer", "z"), 0)
        bank.apply(Deposit(home, home, 10**12), 0)
    return bank


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


def settled_trades():
    reserving, settling, logging, revising = [], [], [], []
    for seed in range(ROUNDS):
        homes, trades, meters = market(seed)
        bank = bank_with(homes, ZoneRules())
        steps = [trades[first : first + 100] for first in range(0, TRADES, 100)]
        start = time.perf_counter()
        for step in steps:
            bank.apply(ReserveTrades("z", SLOT, step), slot_start_ns(SLOT))
        reserving.append(time.perf_counter() - start)
        start = time.perf_counter()
        facts = bank.apply(SettleSlot("z", SLOT, 0, meters), slot_end_ns(SLOT))
        settling.append(time.perf_counter() - start)
        start = time.perf_counter()
        for fact in facts:
            bank.log.append(encode_fact(fact))
        bank.apply(SealBlock(), slot_end_ns(SLOT))
        logging.append(time.perf_counter() - start)
        late = (MeterSlot(meters[0].account, 0, meters[0].export_wh + 500, False), *meters[1:])
        start = time.perf_counter()
        revised = bank.apply(SettleSlot("z", SLOT, 1, late), slot_end_ns(SLOT))
        revising.append(time.perf_counter() - start)
        assert revised[-1].minted_wh == 500
        assert facts[-1].trades == TRADES
        assert facts[-1].conservation_error_wh == 0
    postings = sum(isinstance(fact, Posted) for fact in facts)
    path = "C" if delivery.augment is not delivery.augment_in_python else "pure Python"
    best = min(map(sum, zip(settling, logging, strict=True)))
    return [
        row(
            "settled trades, facts logged and sealed",
            round(TRADES / best),
            "trades/s",
            25_000,
            "max",
            34_000,
            f"{TRADES} trades, {HOMES} meters, {postings} postings, max-flow in {path}; "
            "baseline is a prototype that also wrote to SQLite (208 of its 293 ms)",
        ),
        row("settlement alone", round(TRADES / min(settling)), "trades/s", 25_000, "max"),
        row(
            "late reading in a settled slot",
            round(min(revising) * 1e3),
            "ms",
            1_000,
            note=f"{TRADES} trades settled anew, differences posted",
        ),
        row("settlement alone, nothing compiled", uncompiled(), "trades/s", 25_000, "max"),
        row(
            "reservation",
            round(TRADES / min(reserving)),
            "trades/s",
            25_000,
            "max",
            None,
            "100 trades a step",
        ),
    ]


def uncompiled():
    """Settled trades a second with the max-flow in Python too."""
    settlement.augment, compiled = delivery.augment_in_python, settlement.augment
    try:
        return round(TRADES / min(settling_seconds(seed) for seed in range(ROUNDS)))
    finally:
        settlement.augment = compiled


def settling_seconds(seed):
    homes, trades, meters = market(seed)
    bank = bank_with(homes, ZoneRules())
    bank.apply(ReserveTrades("z", SLOT, trades), slot_start_ns(SLOT))
    start = time.perf_counter()
    bank.apply(SettleSlot("z", SLOT, 0, meters), slot_end_ns(SLOT))
    return time.perf_counter() - start


def durable_settlement(directory):
    """A whole slot on the disk: the command's journal record, its leaves and the signed root."""
    seconds = []
    signer = CheckpointSigner("grid.example/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    for seed in range(ROUNDS):
        homes, trades, meters = market(seed)
        bank = bank_with(homes, ZoneRules())
        for first in range(0, TRADES, 100):
            bank.apply(ReserveTrades("z", SLOT, trades[first : first + 100]), slot_start_ns(SLOT))
        journal = SqliteJournal(directory / f"settled-{seed}.db")
        start = time.perf_counter()
        command = SettleSlot("z", SLOT, 0, meters)
        journal.append([Record(1, slot_end_ns(SLOT), 1, 0, 0, "bank", encode_command(command))])
        leaves = [encode_fact(fact) for fact in bank.apply(command, slot_end_ns(SLOT))]
        for leaf in leaves:
            bank.log.append(leaf)
        (block,) = bank.apply(SealBlock(), slot_end_ns(SLOT))
        journal.append_leaves(0, leaves)
        journal.put_checkpoint(1, block.size, signer.sign_block(block).encode())
        seconds.append(time.perf_counter() - start)
        journal.close()
    return [
        row(
            "settled trades, durable: journal, leaves and root in SQLite FULL",
            round(TRADES / min(seconds)),
            "trades/s",
            60_000,
            "max",
            34_000,
            f"{len(leaves)} leaves; 25,000 is the target without ext",
        )
    ]


def durable_transfers(directory):
    """Single transfers, each a command of its own: journaled in batches of 1,000, then applied."""
    homes = [f"{number:032x}" for number in range(1_000)]
    bank = bank_with(homes, ZoneRules())
    journal = SqliteJournal(directory / "transfers.db")
    batches = [
        [Deposit(f"{batch}/{number}", homes[number], 5) for number in range(1_000)]
        for batch in range(20)
    ]
    seq = leaves = 0
    start = time.perf_counter()
    for batch in batches:
        records = []
        for command in batch:
            seq += 1
            records.append(Record(seq, seq, 1, 0, 0, "bank", encode_command(command)))
        journal.append(records)
        fresh = [encode_fact(fact) for command in batch for fact in bank.apply(command, seq)]
        for leaf in fresh:
            bank.log.append(leaf)
        journal.append_leaves(leaves, fresh)
        leaves += len(fresh)
    seconds = time.perf_counter() - start
    journal.close()
    return [
        row(
            "ledger transfers, durable in SQLite FULL, batch 1000",
            round(seq / seconds),
            "transfers/s",
            150_000,
            "max",
            201_000,
            "each transfer is a chained command and two logged leaves; the baseline has neither",
        )
    ]


def random_markets():
    count, wrong, optimum = ledger_markets.measure_markets()
    return [
        row(
            "random markets with an error against the oracle",
            wrong,
            "markets",
            0,
            note=f"{count} markets here; money, energy, escrow and margin",
        ),
        row("delivered volume of the max-flow optimum", optimum, "%", 100.0, "max", 89.8),
    ]


def finality():
    accepted, closed, drill = asyncio.run(ledger_finality.measure())
    of = ledger_finality.percentile
    note = f"{os.cpu_count()} cores for all 7 validator processes and the operator; "
    load = f"{ledger_finality.LOAD_PER_S} commands/s, 5 of 7 needed"
    return [
        row(
            "finality after acceptance, p99",
            round(of(accepted, 0.99), 3),
            "s",
            3.5,
            "min",
            12,
            f"{note}{load}; p50 {of(accepted, 0.5):.3f} s; a root every 3 s",
        ),
        row(
            "finality after block close, with replay, worst block",
            round(1e3 * max(closed)),
            "ms",
            250,
            "min",
            10,
            f"{note}median {1e3 * of(closed, 0.5):.0f} ms; baseline without replay",
        ),
        row(
            "final with 2 of 7 down, not with 3 and says so, recovers",
            int(drill),
            "yes",
            1,
            "max",
        ),
    ]


def cosigned_receipts():
    """The receipt that a household keeps: a million leaves, five of seven cosignatures."""
    keys = {
        f"w{n}.example": Ed25519PrivateKey.from_private_bytes(bytes([n] * 32)) for n in range(7)
    }
    signer = CheckpointSigner("grid.example/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    lines = [f"witness {name} {witness_key(name, key).text()}" for name, key in keys.items()]
    policy = parse_policy("\n".join(lines))
    log, leaf = (
        TransparencyLog(),
        encode_fact(Statement("zone", SLOT, 0, "0" * 32, *[999_999] * 10)),
    )
    for _ in range(1 << 20):
        log.append(leaf)
    checkpoint = Checkpoint(signer.key.name, log.size, log.root())
    cosigned = {name: cosign(checkpoint, name, key, 1_800_000_000) for name, key in keys.items()}
    note = signer.sign(log.size, log.root()) + "".join(policy.enough(cosigned))
    text = make_receipt(log, 77_777, leaf, note, signer.key, policy)
    _, verified = timed(lambda _: verify(text, signer.verifier_key, policy), 300)
    return [
        row(
            "cosigned receipt, size", len(text.encode()), "bytes", 2_048, note="5 of 7, 2^20 leaves"
        ),
        row("cosigned receipt, verified", verified, "us", 1_000, note="6 signatures"),
    ]


def tampering(directory):
    tried, found = ledger_markets.measure_tampering(directory)
    return [
        row(
            "tampering found by reading the journal",
            100 * found / tried,
            "%",
            100.0,
            "max",
            note=f"{tried} changes, every record altered, deleted, swapped; re-signed history and "
            "split views: tests/validator",
        )
    ]


def erasure():
    vault = Vault(MemoryKeys(), os.urandom)
    for number in range(1_000):
        vault.keep("subject", b"record %d" % number)
    start = time.perf_counter()
    vault.erase("subject")
    return [row("erasure of a subject", round(time.perf_counter() - start, 6), "s", 1)]


def shown_by_tests():
    """Rows that a test shows and a bench could only repeat."""
    return [
        {**row(name, 0, unit, 0), "value": None, "ok": None, "note": note}
        for name, unit, note in (
            ("double spending, 64 spenders with kills", "anomalies", "test_double_spending.py"),
            (
                "kill -9 across journal, bank and root",
                "lost or doubled",
                "tests/faults/test_kills.py",
            ),
        )
    ]


def slot_close():
    """25,000 meters, half of them exporting, no trade: the burst that sank others."""
    homes = [f"{number:032x}" for number in range(METERS)]
    meters = tuple(
        MeterSlot(home, 0 if n % 2 else 400, 500 if n % 2 else 0, False)
        for n, home in enumerate(homes)
    )
    bank = bank_with(homes, ZoneRules())
    closing, totals = [], []
    for slot in range(SLOT, SLOT + ROUNDS):
        start = time.perf_counter()
        facts = bank.apply(SettleSlot("z", slot, 0, meters), slot_end_ns(slot))
        closing.append(time.perf_counter() - start)
        for fact in facts:
            bank.log.append(encode_fact(fact))
        totals.append(time.perf_counter() - start)
    settled = facts[-1]
    assert isinstance(settled, SlotSettled)
    assert sum(isinstance(fact, Statement) for fact in facts) == METERS
    lost = settled.minted_wh - 500 * (METERS // 2)
    return [
        row(
            "slot close, 25,000 meters",
            round(min(totals) * 1e3),
            "ms",
            1_000,
            "min",
            159_000,
            f"{round(min(closing) * 1e3)} ms without the log; {len(facts)} facts; "
            "baseline: 10,000 meters elsewhere",
        ),
        row("minted less exported at slot close", abs(lost), "Wh", 0),
    ]


def proofs():
    log = TransparencyLog()
    leaf = encode_fact(Statement("zone", SLOT, 0, "0" * 32, *[1_234_567] * 10))
    count = 180_000
    start = time.perf_counter()
    for _ in range(count):
        log.append(leaf)
    appended = time.perf_counter() - start
    signer = CheckpointSigner("grid.example/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    note = signer.sign(log.size, log.root())
    receipts, made = timed(lambda n: make_receipt(log, n * 59, leaf, note, signer.key), 1_000)
    _, verified = timed(lambda n: verify(receipts[n], signer.verifier_key), 1_000)
    _, proven = timed(lambda n: log.inclusion(n * 59, count), 1_000)
    _, linked = timed(lambda n: log.consistency(1 + n * 59, count), 1_000)
    size = max(len(text.encode()) for text in receipts)
    return [
        row(
            "log append",
            round(count / appended),
            "leaves/s",
            300_000,
            "max",
            1_600_000,
            "baseline: a root over a ready list, without keeping the tree",
        ),
        row("inclusion proof", proven, "us", 1_000, note="180,000 leaves"),
        row("consistency proof", linked, "us", 1_000, note="180,000 leaves"),
        row("receipt made", made, "us", 5_000),
        row("receipt verified", verified, "us", 5_000, note="target is for a Pi-class gateway"),
        row("receipt size", size, "bytes", 2_048),
    ]


def timed(action, count):
    """Results, and microseconds each."""
    start = time.perf_counter()
    results = [action(number) for number in range(count)]
    return results, round((time.perf_counter() - start) / count * 1e6, 1)


if __name__ == "__main__":
    for line in rows():
        print(line)
