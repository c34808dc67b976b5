"""`gridtokenx anchor`: publishes the newest root every some minutes, or compares chain and log."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from cloud.anchor.evm import open_chain
from cloud.anchor.payload import NO_ANCHOR, AnchorError
from cloud.anchor.publisher import Chain, Publisher, check_anchors, newest_root
from cloud.store.journal import JOURNAL_FILE, SqliteJournal

LOOK_S = 3.0
"""Between two looks at whether a transaction is in a block."""


def anchor(
    rpc: str, key: Path, state_dir: Path, *, every_s: float, once: bool, check: bool, newest: str
) -> int:
    """Runs the command. Returns the exit status."""
    journal = SqliteJournal(state_dir / JOURNAL_FILE, read_only=True)
    try:
        chain = open_chain(rpc, key)
        if check:
            return _check(chain, state_dir, journal, newest)
        publish(chain, state_dir, journal, every_s=every_s, once=once, sleep=time.sleep)
    finally:
        journal.close()
    return 0


def publish(
    chain: Chain,
    state_dir: Path,
    journal: SqliteJournal,
    *,
    every_s: float,
    once: bool,
    sleep: Callable[[float], None],
) -> None:
    """Anchors the newest root, waits until it is in a block, then for the next turn."""
    publisher = Publisher(chain, state_dir)
    while True:
        root = newest_root(journal)
        while publisher.state.pending or (root and root.size > publisher.state.size):
            try:
                print(publisher.step(root), flush=True)
            except AnchorError as error:
                if once:
                    raise
                # What was signed is on disk; the next look sends it again.
                print(f"gridtokenx: {error}", file=sys.stderr, flush=True)
            sleep(LOOK_S)
        if once:
            return
        sleep(every_s)


def _check(chain: Chain, state_dir: Path, journal: SqliteJournal, newest: str) -> int:
    root = newest_root(journal)
    transaction = (
        bytes.fromhex(newest.removeprefix("0x"))
        if newest
        else Publisher(chain, state_dir).state.newest
    )
    if root is None or transaction == NO_ANCHOR:
        raise AnchorError("nothing was anchored yet; run without --check first")
    try:
        problems = check_anchors(chain, transaction, journal, root.origin)
    except AnchorError as error:
        problems = [str(error)]
    for problem in problems:
        print(f"PROBLEM {problem}")
    if not problems:
        print("verified: every anchor on the chain is a root of this log")
    return 1 if problems else 0
