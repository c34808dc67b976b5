"""Publishes roots to a chain, each once, through every crash; and compares the chain with the log.

A transaction is signed, put on disk, then sent: after a crash the same bytes are sent again, and
their nonce lets them happen once. Decides which root is next (the newest that is signed) and when
an anchor counts (when its transaction is in a block). Must never sign a second transaction while
the first may still come, and never say that chain and log agree without having made the root anew.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cloud.anchor.evm import Mined
from cloud.anchor.payload import NO_ANCHOR, Anchor, AnchorError, decode_anchor
from cloud.ledger.log import TransparencyLog
from cloud.store.durable import write_durably
from cloud.store.journal import SqliteJournal
from protos.receipt import Checkpoint, parse_checkpoint

STATE_FILE = "anchors.json"
SIZE_TOP = 1 << 64


class Chain(Protocol):
    """What a publisher needs of a chain; `cloud.anchor.evm.EvmChain` is one."""

    @property
    def address(self) -> str: ...
    def chain_id(self) -> int: ...
    def nonce(self) -> int: ...
    def sign(self, nonce: int, data: bytes) -> tuple[bytes, bytes]: ...
    def send(self, raw: bytes) -> None: ...
    def mined(self, transaction: bytes) -> Mined | None: ...


@dataclass(frozen=True, slots=True)
class Pending:
    """A signed transaction that may or may not have been sent."""

    nonce: int
    transaction: bytes
    raw: bytes
    size: int


@dataclass(frozen=True, slots=True)
class State:
    """What is on disk: which account on which chain, its newest anchor in a block, and the next."""

    chain_id: int
    address: str
    newest: bytes = NO_ANCHOR
    size: int = 0
    pending: Pending | None = None


class Publisher:
    """One log, one account on one chain."""

    def __init__(self, chain: Chain, state_dir: Path) -> None:
        self._chain = chain
        self._path = state_dir / STATE_FILE
        self.state = self._load()

    def step(self, checkpoint: Checkpoint | None) -> str:
        """One attempt to have this root on the chain; says what was done. Raises AnchorError.

        Call it again until it says that the root is anchored.
        """
        pending = self.state.pending
        if pending is not None:
            return self._continue(pending)
        if checkpoint is None or checkpoint.size <= self.state.size:
            return f"root of {self.state.size} leaves is anchored"
        anchor = Anchor(checkpoint, self.state.newest)
        nonce = self._chain.nonce()
        transaction, raw = self._chain.sign(nonce, anchor.encode())
        self._keep(Pending(nonce, transaction, raw, checkpoint.size))
        self._chain.send(raw)
        return f"root of {checkpoint.size} leaves sent as 0x{transaction.hex()}"

    def _continue(self, pending: Pending) -> str:
        """What was signed before comes first: in a block, or sent again, or overtaken."""
        mined = self._chain.mined(pending.transaction)
        if mined is not None:
            state = self.state
            self.state = State(state.chain_id, state.address, pending.transaction, pending.size)
            self._save()
            return f"root of {pending.size} leaves is anchored in block {mined.block}"
        if self._chain.nonce() > pending.nonce:
            # Another transaction of this key took its place: these bytes can never come any more.
            self._keep(None)
            return f"0x{pending.transaction.hex()} was overtaken; the root is anchored anew"
        self._chain.send(pending.raw)
        return f"root of {pending.size} leaves sent again as 0x{pending.transaction.hex()}"

    def _keep(self, pending: Pending | None) -> None:
        state = self.state
        self.state = State(state.chain_id, state.address, state.newest, state.size, pending)
        self._save()

    def _save(self) -> None:
        write_durably(self._path, json.dumps(_plain(self.state)).encode())

    def _load(self) -> State:
        found = (self._chain.chain_id(), self._chain.address)
        if not self._path.exists():
            return State(*found)
        state = _state(json.loads(self._path.read_bytes()))
        if (state.chain_id, state.address) != found:
            raise AnchorError(
                f"{self._path} is about account {state.address} on chain {state.chain_id}, not "
                f"{found[1]} on {found[0]}; use that key and chain, or another --state-dir"
            )
        return state


def newest_root(journal: SqliteJournal) -> Checkpoint | None:
    """The newest signed root of the log; None before the first."""
    found = journal.checkpoint()
    return None if found is None else parse_checkpoint(found[2].decode())[0]


def anchors_back(chain: Chain, newest: bytes) -> Iterator[tuple[bytes, Anchor]]:
    """(transaction, anchor) from the newest to the first. Raises AnchorError where one is missing."""
    while newest != NO_ANCHOR:
        mined = chain.mined(newest)
        if mined is None:
            raise AnchorError(f"transaction 0x{newest.hex()} is not on the chain")
        if not mined.is_own:
            raise AnchorError(f"transaction 0x{newest.hex()} is not by {chain.address}")
        anchor = decode_anchor(mined.data)
        yield newest, anchor
        newest = anchor.previous


def check_anchors(chain: Chain, newest: bytes, journal: SqliteJournal, origin: str) -> list[str]:
    """What does not agree between the chain's anchors and the roots that the log's leaves make.

    Raises AnchorError where an anchor is missing on the chain.
    """
    log = TransparencyLog()
    for leaf in journal.leaves():
        log.append(leaf)
    return _disagreements(list(anchors_back(chain, newest)), log, origin)


def _disagreements(
    anchors: Sequence[tuple[bytes, Anchor]], log: TransparencyLog, origin: str
) -> list[str]:
    problems, above = [], SIZE_TOP
    for transaction, anchor in anchors:
        name, root = f"0x{transaction.hex()}", anchor.checkpoint
        if root.origin != origin:
            problems.append(f"{name} is about the log {root.origin}, not {origin}")
        elif root.size > log.size:
            problems.append(f"{name} has a root of {root.size} leaves, the log only {log.size}")
        elif log.root(root.size) != root.root:
            problems.append(f"{name}: the log's first {root.size} leaves make another root")
        if root.size >= above:
            problems.append(f"{name} is not older than the anchor after it")
        above = root.size
    return problems


def _plain(state: State) -> dict[str, Any]:
    pending = state.pending
    return {
        "chain_id": state.chain_id,
        "address": state.address,
        "newest": state.newest.hex(),
        "size": state.size,
        "pending": None
        if pending is None
        else {
            "nonce": pending.nonce,
            "transaction": pending.transaction.hex(),
            "raw": pending.raw.hex(),
            "size": pending.size,
        },
    }


def _state(plain: dict[str, Any]) -> State:
    pending = plain["pending"]
    return State(
        plain["chain_id"],
        plain["address"],
        bytes.fromhex(plain["newest"]),
        plain["size"],
        None
        if pending is None
        else Pending(
            pending["nonce"],
            bytes.fromhex(pending["transaction"]),
            bytes.fromhex(pending["raw"]),
            pending["size"],
        ),
    )
