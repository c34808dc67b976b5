"""Checks that anybody can run: a journal against what was published from it, a receipt on its own."""

import json
import sys
import time
from pathlib import Path

from cloud.config import CloudConfig, load_config
from cloud.core import Core
from cloud.facts import decode_fact
from cloud.ledger.transfer_proofs import is_transfer_proof, verify_transfer
from cloud.replay import FactListener, Verification, rebuild, verify
from cloud.snapshot import UnusableSnapshotError
from cloud.start import fast_columns, load_networks, take_snapshot
from cloud.store.journal import JOURNAL_FILE, SqliteJournal, TamperedJournalError
from protos.receipt import ReceiptError, VerifiedLeaf
from protos.receipt import verify as verify_text
from protos.witness import Policy, parse_policy

DEMO_STATE = Path(".demo/cloud")


def replay_journal(
    config_path: Path | None, journal_path: Path | None, *, check: bool, as_json: bool
) -> int:
    """Replays a journal from its first record and prints state hash, root and speed."""
    config = load_config(config_path)
    path = journal_path or DEMO_STATE / JOURNAL_FILE
    journal = SqliteJournal(path, read_only=True)
    try:
        outcome = verify_journal(journal, config) if check else _replay_only(journal, config)
    except TamperedJournalError as error:
        print(f"gridtokenx: {path}: {error}", file=sys.stderr)
        return 1
    finally:
        journal.close()
    _print_outcome(outcome, check=check, as_json=as_json)
    return 1 if outcome.problems else 0


def snapshot_journal(config_path: Path | None) -> int:
    """Lets the next start replay only what comes after now; the aggregator may run meanwhile."""
    config = load_config(config_path)
    try:
        commands = take_snapshot(config)
    except (TamperedJournalError, UnusableSnapshotError) as error:
        print(f"gridtokenx: {config.state_dir}: {error}", file=sys.stderr)
        return 1
    print(f"a snapshot of {commands} commands lies in {config.state_dir}")
    return 0


def verify_journal(
    journal: SqliteJournal, config: CloudConfig, listener: FactListener | None = None
) -> Verification:
    """Replays into fresh machines and compares with every published leaf and root."""
    return verify(journal, Core(load_networks(config), fast_columns()), listener)


def verify_receipt(
    path: Path, key: str | None, *, as_json: bool, policy: Path | None = None
) -> int:
    """Checks a receipt file against the log's key and its witnesses, without any network."""
    beside = path.with_name(path.name + ".key")
    text = key or (str(beside) if beside.exists() else "")
    if not text:
        raise ValueError(f"name the log's key with --key, or put it into {beside}")
    if Path(text).exists():
        text = Path(text).read_text(encoding="ascii")
    witnesses = policy or path.with_name(path.name + ".policy")
    asked = policy is not None or witnesses.exists()
    cosigners = parse_policy(witnesses.read_text(encoding="utf-8")) if asked else None
    try:
        leaf, kind, fields = _proven(path.read_bytes(), text.strip(), cosigners)
    except ReceiptError as error:
        print(f"{path}: NOT valid: {error}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps({"valid": True, "index": leaf.index, kind: fields}))
    else:
        print(f"{path}: valid; leaf {leaf.index} under a root of {leaf.checkpoint.size} leaves")
        print(f"{kind}:")
        for name, value in fields.items():
            print(f"  {name} = {value}")
    return 0


def _proven(
    octets: bytes, key: str, cosigners: Policy | None
) -> tuple[VerifiedLeaf, str, dict[str, object]]:
    """The leaf, what is proven by it and its fields. Raises ReceiptError."""
    if is_transfer_proof(octets):
        proven = verify_transfer(octets, key, cosigners)
        return proven.leaf, "Transfer", proven.words()
    leaf = verify_text(octets, key, cosigners)
    fact = decode_fact(leaf.leaf)
    fields = {name: _plain(getattr(fact, name)) for name in fact.__struct_fields__}
    return leaf, type(fact).__name__, fields


def _replay_only(journal: SqliteJournal, config: CloudConfig) -> Verification:
    core = Core(load_networks(config), fast_columns())
    began = time.perf_counter()
    found = rebuild(journal, core)
    seconds = time.perf_counter() - began
    leaves = len(core.take_leaves())
    root = core.bank.log.root()
    return Verification(found.commands, seconds, core.state_hash(), leaves, root, ())


def _print_outcome(outcome: Verification, *, check: bool, as_json: bool) -> None:
    if as_json:
        print(
            json.dumps(
                {
                    "commands": outcome.commands,
                    "commands_per_s": round(outcome.commands_per_s),
                    "state_hash": outcome.state_hash.hex(),
                    "leaves": outcome.leaves,
                    "root": outcome.root.hex(),
                    "verified": check and not outcome.problems,
                    "problems": outcome.problems,
                }
            )
        )
        return
    print(
        f"{outcome.commands} commands in {outcome.seconds:.2f} s "
        f"({outcome.commands_per_s:,.0f} commands/s)"
    )
    print(f"state  {outcome.state_hash.hex()}")
    print(f"root   {outcome.root.hex()} over {outcome.leaves} leaves")
    for problem in outcome.problems:
        print(f"PROBLEM {problem}")
    if check and not outcome.problems:
        print("verified: the journal makes every leaf and every root that was published")


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value
