"""A second copy of the machines, fed with the operator's journal and trusting none of it.

Decides whether a record may follow those before it: the same pure functions give the facts; a
follow-up must be exactly what the facts before it asked for, and a command that only ever follows
(a settlement, a reservation) never comes from outside; a gateway's batch must bear that gateway's
signature. What passes is kept in the validator's own journal, on disk, before any root over it is
cosigned. Must never skip a record, and never apply one that failed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from cloud.commands import (
    RULES_VERSION,
    AdmitGateway,
    AppendSealed,
    Command,
    CompensateHomes,
    ExpelGateway,
    GrantAllowance,
    GrantAllowances,
    ObserveFleet,
    RecordLease,
    ReleaseReservation,
    ReleaseSlot,
    ReserveTrades,
    SettleSlot,
    VoidTrades,
    decode_command,
)
from cloud.core import Core, UnknownZoneError
from cloud.facts import BlockSealed, Fact
from cloud.flows import follow
from cloud.grid.network import Network
from cloud.ledger.log import TransparencyLog
from cloud.replay import Rebuilt
from cloud.snapshot import SNAPSHOT_FILE, Snapshot, read_snapshot, write_snapshot
from cloud.store.journal import Record, SqliteJournal
from protos.codec import ColumnDecoder, decode_columns
from protos.ids import DeviceId
from protos.seal import Sealed, is_authentic, is_well_formed

FOLLOWS_ONLY = (
    AdmitGateway,
    CompensateHomes,
    ExpelGateway,
    GrantAllowance,
    GrantAllowances,
    ObserveFleet,
    RecordLease,
    ReleaseReservation,
    ReleaseSlot,
    ReserveTrades,
    SettleSlot,
    VoidTrades,
)
"""Commands that are made from facts. From outside they would be the operator's own invention."""


SNAPSHOT_RECORDS = 200_000
"""After so many records a validator keeps its machines, so that its next start checks few anew."""


class ReplayError(Exception):
    """A record that no honest journal has. Nothing from it on may be cosigned."""

    def __init__(self, seq: int, problem: str) -> None:
        super().__init__(f"journal record {seq}: {problem}")
        self.seq = seq


class Replica:
    """The validator's own machines and journal."""

    def __init__(
        self,
        path: Path,
        networks: Mapping[str, Network],
        columns: ColumnDecoder = decode_columns,
        key: Ed25519PrivateKey | None = None,
    ) -> None:
        """Goes on from what was kept before. Raises TamperedJournalError or ReplayError.

        Under `key` the validator signs snapshots of its own machines and begins with the last one;
        without it everything is checked anew.
        """
        self._journal = SqliteJournal(path)
        self._key = key
        self._snapshot = path.with_name(SNAPSHOT_FILE)
        self._gateway_keys: dict[str, Ed25519PublicKey] = {}
        begun = read_snapshot(self._snapshot, networks, self._journal, key) if key else None
        if begun is None:
            begun = Snapshot(Core(networks, columns), {}, Rebuilt())
        self._core, self._found = begun.core, begun.found
        assert isinstance(begun.beside, dict)
        self._numbers: dict[int, int] = begun.beside
        self._taken = self.seq
        for record in self._journal.read(self.seq):
            self._apply(record)
        self._stored = self._journal.leaf_count()
        made = self._core.take_leaves()
        self._core_leaves: list[bytes] = made[self._stored - self._found.first_leaf :]

    @property
    def seq(self) -> int:
        """The last record that was applied."""
        return self._found.seq

    @property
    def log(self) -> TransparencyLog:
        return self._core.bank.log

    def state_hash(self) -> bytes:
        """Equal to the operator's own after the same records."""
        return self._core.state_hash()

    def block_number(self, size: int) -> int:
        """The block that sealed the tree of this size; 0 for none."""
        return self._numbers.get(size, 0)

    def leaf(self, position: int) -> bytes | None:
        return self._journal.leaf(position)

    def append(self, records: Sequence[Record]) -> None:
        """Checks and applies the records, then keeps them. Raises ReplayError at the first bad one.

        The good ones before it are kept.
        """
        good: list[Record] = []
        try:
            for record in records:
                self._apply(record)
                good.append(record)
        finally:
            self._keep(good)

    def close(self) -> None:
        self._journal.close()

    def _keep(self, records: Sequence[Record]) -> None:
        if records:
            self._journal.append(records)
        leaves = self._core_leaves + self._core.take_leaves()
        self._core_leaves = []
        if leaves:
            self._journal.append_leaves(self._stored, leaves)
            self._stored += len(leaves)
        if self._key is not None and self.seq - self._taken >= SNAPSHOT_RECORDS:
            self._taken = self.seq
            kept = Snapshot(self._core, self._numbers, self._found)
            write_snapshot(self._snapshot, kept, self._journal, self._key)

    def _apply(self, record: Record) -> None:
        if record.seq != self.seq + 1:
            raise ReplayError(record.seq, f"does not follow record {self.seq}")
        if record.at_ns < self._found.at_ns:
            raise ReplayError(record.seq, "its time lies before that of the record before it")
        if record.rules > RULES_VERSION:
            raise ReplayError(record.seq, f"needs rules {record.rules}; update this validator")
        try:
            command = decode_command(record.body)
            self._core.check(command)
        except (msgspec.DecodeError, UnknownZoneError) as error:
            raise ReplayError(record.seq, str(error)) from error
        if command.stream != record.stream:
            raise ReplayError(record.seq, f"is filed under {record.stream!r}")
        self._check_cause(record, command)
        self._check_signature(record, command)
        try:
            facts = self._core.step(command, record.at_ns)
        except AssertionError as error:
            raise ReplayError(record.seq, f"breaks an invariant: {error}") from error
        self._found.seq, self._found.at_ns = record.seq, record.at_ns
        self._found.commands += 1
        self._learn(record.seq, facts)

    def _check_cause(self, record: Record, command: Command) -> None:
        if record.cause_seq:
            cause = (record.cause_seq, record.cause_index)
            if self._found.lost.get(cause) != command:
                raise ReplayError(record.seq, "is not what follows from its cause")
            del self._found.lost[cause]
        elif isinstance(command, FOLLOWS_ONLY):
            raise ReplayError(record.seq, f"{type(command).__name__} came from nowhere")

    def _check_signature(self, record: Record, command: Command) -> None:
        """A device nobody enrolled is the zone's to refuse; a known one must have signed."""
        if not isinstance(command, AppendSealed):
            return
        key = self._key_of(command.device)
        sealed = Sealed(command.seq, command.previous, command.payload, command.signature)
        if key is not None and not (
            is_well_formed(sealed) and is_authentic(key, command.device, sealed)
        ):
            raise ReplayError(record.seq, f"bears no signature of gateway {command.device}")

    def _key_of(self, device: DeviceId) -> Ed25519PublicKey | None:
        """The key of a gateway that was ever enrolled, opened once."""
        key = self._gateway_keys.get(device)
        if key is None and (enrolled := self._core.registry.devices.get(device)) is not None:
            key = Ed25519PublicKey.from_public_bytes(enrolled.public_key)
            self._gateway_keys[device] = key
        return key

    def _learn(self, seq: int, facts: Sequence[Fact]) -> None:
        for fact in facts:
            if isinstance(fact, BlockSealed):
                self._numbers[fact.size] = fact.number
        for index, command in enumerate(follow(facts)):
            self._found.lost[seq, index] = command
