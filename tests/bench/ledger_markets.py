"""Random markets through the settlement and through the oracle, and tampering at every record.

Part of the ledger's bench. Bounded by time; the counts stand in the notes. The long run:

    nice -n 10 python -m tests.bench.ledger_markets 1000000
    nice -n 10 python -m tests.bench.ledger_markets tamper 100000
"""

import json
import random
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from cloud.ledger.settlement import conservation_error_wh, settle
from cloud.replay import compare_published
from cloud.store.journal import SqliteJournal, TamperedJournalError
from tests.ledger import test_settlement as markets
from tests.oracle import bank as oracle
from tests.validator import test_tampering as tampering

SECONDS = 12.0
TAMPERED = 2_000


def measure_markets(count_max=sys.maxsize, seconds=SECONDS, first=0):
    """Markets, those with any error in money, energy or bounds, and delivered % of the optimum."""
    count = wrong = delivered_wh = optimum_wh = 0
    deadline = time.perf_counter() + seconds
    while count < count_max and time.perf_counter() < deadline:
        is_right, delivered, optimum = settled_as_the_oracle_says(1_000_000 + first + count)
        count += 1
        wrong += not is_right
        delivered_wh += delivered
        optimum_wh += optimum
    return count, wrong, 100 * delivered_wh / optimum_wh


def settled_as_the_oracle_says(seed):
    """One random market: whether it is right to the last unit, its Wh delivered, and the optimum."""
    rules, trades, exported, imported = markets.random_market(random.Random(seed))
    meters = markets.meters_of(exported, imported)
    outcome = settle(trades, meters, rules)
    delivered = markets.delivered_by_trade(trades, exported, imported)
    net, *system = oracle.money(trades, delivered, exported, imported, rules)
    got = {name: totals.money_micro for name, totals in outcome.accounts.items()}
    totals = [
        outcome.utility_micro,
        outcome.grid_fee_micro,
        outcome.trading_fee_micro,
        outcome.rounding_micro,
    ]
    every = [meter for group in meters.values() for meter in group]
    is_right = got == net and totals == system and not conservation_error_wh(outcome, every)
    try:
        markets.check_bounds(rules, trades, outcome, seed)
    except AssertionError:
        is_right = False
    return is_right, outcome.delivered_wh, oracle.optimum_wh(trades, exported, imported)


def measure_tampering(directory, count=TAMPERED):
    """Changes tried at every record of a journal of so many, and how many reading it found.

    Altered, deleted, inserted and swapped records break the hash chain where they lie; what is cut
    off leaves published leaves or roots that the journal no longer makes.
    """
    path = directory / "tampered.db"
    records = tampering.make_records(count)
    leaves, notes, made = tampering.publish(records)
    tampering.write(path, records, leaves, notes)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("pragma synchronous=off")
    db.execute("begin")
    tried = found = 0
    for seq in range(1, count):
        for statements in FORGERIES:
            tried += 1
            found += is_found(db, seq, statements)
    db.execute("rollback")
    db.close()
    journal = SqliteJournal(path, read_only=True)
    for seq in range(1, count):
        tried += 1
        size, blocks = made[seq - 1]
        found += bool(compare_published(journal, leaves[:size], blocks))
    journal.close()
    return tried, found


FORGERIES = (
    ["update journal set body = x'00' where seq = :a"],
    ["delete from journal where seq = :a"],
    [
        "update journal set seq = -1 where seq = :b",
        "insert into journal select :b, at_ns, rules, 0, 0, stream, body, hash from journal where seq = :a",
    ],
    [
        "update journal set seq = -1 where seq = :a",
        "update journal set seq = :a where seq = :b",
        "update journal set seq = :b where seq = -1",
    ],
)


def is_found(db, seq, statements):
    """Whether reading from the record before stumbles over this change."""
    db.execute("savepoint s")
    for statement in statements:
        db.execute(statement, {"a": seq, "b": seq + 1})
    try:
        tampering.first_read(db, seq)
    except TamperedJournalError:
        return True
    finally:
        db.execute("rollback to s")
        db.execute("release s")
    return False


if __name__ == "__main__":
    if sys.argv[1] == "tamper":
        with tempfile.TemporaryDirectory(prefix="gridtokenx-bench-") as name:
            changes, seen = measure_tampering(Path(name), int(sys.argv[2]))
        print(json.dumps({"changes": changes, "found": seen}))
    else:
        run, errors, optimum = measure_markets(int(sys.argv[1]), 86_400.0)
        print(json.dumps({"markets": run, "errors": errors, "delivered_of_optimum": optimum}))
