"""The four machines as one deterministic function of the journal: `step(command, at_ns) -> facts`.

Nothing here waits, reads a clock or touches a disk. The same commands with the same times give the
same facts, the same transparency log and the same state hash, in any process on any machine.
"""

from collections.abc import Mapping
from hashlib import sha256

import msgspec

from cloud.commands import BankCommand, Command, DeskCommand, RegistryCommand, ZoneCommand
from cloud.facts import Fact
from cloud.grid.network import Network
from cloud.ledger.bank import Bank
from cloud.market.zone import Zone
from cloud.registry import Registry
from cloud.vpp.desk import Desk
from protos.codec import ColumnDecoder, decode_columns

_canonical = msgspec.msgpack.Encoder(order="deterministic")


class UnknownZoneError(Exception):
    """A command names a zone for which this process was given no network."""

    def __init__(self, zone: str) -> None:
        super().__init__(f"no network was loaded for zone {zone!r}; name it in the configuration")
        self.zone = zone


class Core:
    """Registry, zones, bank and desk, and the log of all that they say."""

    def __init__(
        self, networks: Mapping[str, Network], columns: ColumnDecoder = decode_columns
    ) -> None:
        self.registry = Registry()
        self.zones = {name: Zone(name, network, columns) for name, network in networks.items()}
        self.bank = Bank()
        self.desk = Desk()
        self._fresh_leaves: list[bytes] = []

    def step(self, command: Command, at_ns: int) -> list[Fact]:
        """Applies one journaled command. What is logged becomes leaves, in this order."""
        facts = self._apply(command, at_ns)
        as_logged = self.bank.pseudonyms.leaf
        leaves = [as_logged(fact) for fact in facts if fact.LOGGED]
        if leaves:
            self.bank.log.extend(leaves)
            self._fresh_leaves += leaves
        return facts

    def take_leaves(self) -> list[bytes]:
        """The leaves since the last call, for whoever stores them."""
        fresh, self._fresh_leaves = self._fresh_leaves, []
        return fresh

    def check(self, command: Command) -> None:
        """Raises UnknownZoneError for what no machine of this process could apply."""
        if isinstance(command, ZoneCommand) and command.zone not in self.zones:
            raise UnknownZoneError(command.zone)

    def state_hash(self) -> bytes:
        """SHA-256 over the canonical form of every machine's state."""
        return sha256(
            _canonical.encode(
                {
                    "registry": self.registry.state(),
                    "zones": {name: zone.state() for name, zone in self.zones.items()},
                    "bank": self.bank.state(),
                    "desk": self.desk.state(),
                }
            )
        ).digest()

    def _apply(self, command: Command, at_ns: int) -> list[Fact]:
        match command:
            case ZoneCommand(zone=name):
                return self.zones[name].apply(command, at_ns)
            case BankCommand():
                return self.bank.apply(command, at_ns)
            case DeskCommand():
                return self.desk.apply(command, at_ns)
            case RegistryCommand():
                return self.registry.apply(command, at_ns)
        raise AssertionError(f"no machine takes {type(command).__name__}")
