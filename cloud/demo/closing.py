"""What a demo that has ended answers: a receipt, a replay of its journal, and which promises held."""

import contextlib
import json
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from cloud.audit import verify_journal
from cloud.config import load_config
from cloud.demo.processes import POLL_S, Demo, DemoError, say, tell
from cloud.facts import BatchAccepted, Fact
from cloud.remote import Operator, RemoteError
from cloud.service import CLOSING_FILE
from cloud.store.journal import JOURNAL_FILE, SqliteJournal

RECEIPT_WITHIN_S = 10


def export_receipt(demo: Demo, account: str) -> None:
    """One home's receipt with the key that checks it. Its root may still be up to 3 s away."""
    operator = Operator(demo.url, demo.cloud_dir)
    path = demo.options.directory / f"{account}.receipt"
    deadline = time.monotonic() + RECEIPT_WITHIN_S
    while True:
        try:
            text = operator.get(f"/api/receipts/{account}")
            break
        except RemoteError as error:
            if time.monotonic() > deadline:
                raise DemoError(f"no receipt for {account}: {error}") from error
        time.sleep(POLL_S)
    path.write_text(text, encoding="utf-8")
    path.with_name(path.name + ".key").write_text(operator.get("/api/log/key"), encoding="ascii")
    say(demo, f"receipt  {path}; check it offline with: gridtokenx verify {path}")


def conclude(demo: Demo) -> int:
    """Replays what the run left and says whether everything held."""
    closing = _read_closing(demo)
    config = load_config(demo.options.directory / "cloud.toml")
    journal = SqliteJournal(demo.cloud_dir / JOURNAL_FILE, read_only=True)
    arrivals: Counter[tuple[str, int]] = Counter()
    readings_twice = 0

    def count(facts: Sequence[Fact], _at_ns: int) -> None:
        nonlocal readings_twice
        for fact in facts:
            if isinstance(fact, BatchAccepted):
                arrivals[fact.device, fact.seq] += 1
                readings_twice += fact.readings * (arrivals[fact.device, fact.seq] > 1)

    with contextlib.closing(journal):
        outcome = verify_journal(journal, config, count)
    durable = closing.pop("durable")
    state_hash = closing.pop("state_hash")
    closing.pop("batches")
    closing["readings"] |= {"duplicated": readings_twice, "lost": undelivered(demo, durable)}
    closing["replay_equal"] = outcome.state_hash.hex() == state_hash and not outcome.problems
    closing["commands"] = outcome.commands
    closing["root"] = outcome.root.hex() if not closing["root"] else closing["root"]
    broken = _broken_promises(closing)
    for promise in broken:
        tell(f"gridtokenx: BROKEN: {promise}", sys.stderr)
    if demo.options.as_json:
        tell(json.dumps(closing), sys.stdout)
    else:
        for name, value in closing.items():
            tell(f"{name:22} {value}", sys.stdout)
    return 1 if broken else 0


def undelivered(demo: Demo, durable: dict[str, int]) -> int:
    """Signed envelopes that the journal does not hold. The agents have ended: all must be there."""
    signed = 0
    for outbox in (demo.options.directory / "gateways").glob("*/outbox.db"):
        with contextlib.closing(sqlite3.connect(outbox)) as db:
            signed += db.execute("select coalesce(max(seq), 0) from envelope").fetchone()[0]
    return signed - sum(durable.values())


def _broken_promises(closing: dict[str, Any]) -> list[str]:
    promises = {
        "no reading is lost": closing["readings"]["lost"] == 0,
        "no reading counts twice": closing["readings"]["duplicated"] == 0,
        "every ledger sums to zero": not any(closing["ledger_sums"].values()),
        "energy is conserved": closing["conservation_error_wh"] == 0,
        "a replay gives the same state": closing["replay_equal"],
    }
    return [promise for promise, held in promises.items() if not held]


def _read_closing(demo: Demo) -> dict[str, Any]:
    path = demo.cloud_dir / CLOSING_FILE
    if not path.exists():
        raise DemoError(
            f"the aggregator did not end in order; see {demo.options.directory / 'cloud.log'}"
        )
    closing: dict[str, Any] = json.loads(path.read_text(encoding="ascii"))
    return closing
