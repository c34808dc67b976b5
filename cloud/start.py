"""What an aggregator begins with: its networks, its log's key, and machines that remember.

The machines come from the last snapshot where one may be used, else they are empty and the whole
journal is replayed into them. `take_snapshot` makes the next one, in a process of its own: it reads
the journal beside the writer, so that nobody waits for it.
"""

import asyncio
import logging
import os
import pickle
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.config import CloudConfig
from cloud.core import Core
from cloud.facts import Fact
from cloud.gate.authority import write_secret
from cloud.gate.orders import OrderBook
from cloud.grid.network import Network
from cloud.grid.shipped import network_named
from cloud.replay import Rebuilt, rebuild
from cloud.snapshot import SNAPSHOT_FILE, Snapshot, read_snapshot, write_snapshot
from cloud.store.journal import JOURNAL_FILE, Journal, SqliteJournal
from cloud.store.views import Views
from cloud.writer import Writer
from protos.codec import ColumnDecoder, decode_columns

SNAPSHOT_LOOK_S = 60.0
SNAPSHOT_NICE = 10
LEAVES_WAIT_S = 30.0
"""The writer stores leaves with every block, some seconds after the commands that made them."""

_ASIDE = "import sys; from cloud.start import main; sys.exit(main())"
"""Not `-m`: what is pickled there must be known by this module's own name."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Remembered:
    """What readers made of facts that nobody will tell them again."""

    views: Views = field(default_factory=Views)
    orders: OrderBook = field(default_factory=OrderBook)

    def update(self, facts: Sequence[Fact], at_ns: int) -> None:
        self.views.update(facts, at_ns)
        self.orders.update(facts, at_ns)


@dataclass(frozen=True, slots=True)
class Begun:
    """Machines, what is remembered beside them, and where in the journal they stand."""

    core: Core
    remembered: Remembered
    found: Rebuilt


def begin(config: CloudConfig, networks: dict[str, Network], journal: Journal) -> Begun:
    """The machines as the last snapshot has them; empty ones where there is none to be used."""
    key = log_key(config.state_dir)
    snapshot = read_snapshot(config.state_dir / SNAPSHOT_FILE, networks, journal, key)
    if snapshot is None:
        return Begun(Core(networks, fast_columns()), Remembered(), Rebuilt())
    assert isinstance(snapshot.beside, Remembered)
    log.info("begins with a snapshot of %d commands", snapshot.found.commands)
    return Begun(snapshot.core, snapshot.beside, snapshot.found)


def take_snapshot(config: CloudConfig) -> int:
    """Replays what came after the last snapshot and replaces it. Returns how many commands it has.

    Raises FileNotFoundError without a journal, TamperedJournalError, UnusableSnapshotError.
    """
    journal = SqliteJournal(config.state_dir / JOURNAL_FILE, read_only=True)
    try:
        begun = begin(config, load_networks(config), journal)
        found = rebuild(journal, begun.core, begun.remembered.update, begun.found)
        snapshot = Snapshot(begun.core, begun.remembered, found)
        _wait_for_leaves(journal, begun.core.bank.log.size)
        path = config.state_dir / SNAPSHOT_FILE
        write_snapshot(path, snapshot, journal, log_key(config.state_dir))
    finally:
        journal.close()
    return found.commands


def _wait_for_leaves(journal: Journal, leaves: int) -> None:
    deadline_s = time.monotonic() + LEAVES_WAIT_S
    while journal.leaf_count() < leaves and time.monotonic() < deadline_s:
        time.sleep(0.1)


class SnapshotPump:
    """Lets a process of its own take a snapshot after every `snapshot_commands` commands."""

    def __init__(self, config: CloudConfig, writer: Writer, taken: int) -> None:
        """`taken`: how many commands the last snapshot has."""
        self._config = config
        self._writer = writer
        self.taken = taken

    async def run(self) -> None:
        while True:
            await asyncio.sleep(SNAPSHOT_LOOK_S)
            commands = self._writer.commands
            if commands - self.taken >= self._config.snapshot_commands:
                # Also where it failed: the next try comes after as many commands again.
                self.taken = commands
                await self.take()

    async def take(self) -> None:
        """One snapshot. That it failed is logged, and why, by the process itself."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _ASIDE, stdin=asyncio.subprocess.PIPE
        )
        try:
            await process.communicate(pickle.dumps(self._config))
        except asyncio.CancelledError:
            process.terminate()
            raise
        if process.returncode:
            log.warning("no snapshot was taken (status %d); see above why", process.returncode)


def load_networks(config: CloudConfig) -> dict[str, Network]:
    """The network of each configured zone."""
    return {zone.name: network_named(zone.network) for zone in config.zones}


def fast_columns() -> ColumnDecoder:
    """The compiled decoder where it was built, else its readable twin; they are tested equal."""
    try:
        from ext import columns
    except ImportError:
        return decode_columns
    return columns.decode


def log_key(state_dir: Path) -> Ed25519PrivateKey:
    """The key that signs roots; made at the first start, readable by its owner alone."""
    path = state_dir / "log.key"
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        write_secret(
            path,
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )
    loaded = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(loaded, Ed25519PrivateKey):
        raise TypeError(f"{path} holds no Ed25519 key; restore it from your backup")
    return loaded


def main() -> int:
    """In the process beside, which is given the configuration: the aggregator goes first."""
    os.nice(SNAPSHOT_NICE)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    config = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the aggregator itself
    log.info("a snapshot of %d commands was taken", take_snapshot(config))
    return 0
