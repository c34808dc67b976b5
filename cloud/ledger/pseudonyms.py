"""Under which names accounts and devices stand in the leaves of the log.

Decides what bytes a fact becomes as a leaf: every text in it that is exactly the name of an account
or a device is replaced by the name that it has in the running billing period. The machines, their
views and what follows from a fact know the plain names only. Whoever reads the public log cannot
join two periods, or a period and a person, without the subject's secret (`cloud.ledger.privacy`),
from which the names are made outside. Must never give two subjects one name.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from cloud.commands import AssignPseudonyms
from cloud.facts import BankRefused, Fact, PseudonymsAssigned, encode_fact, fact_values
from protos.ids import is_device_id
from protos.messages import Refusal

NAMES_AT_ONCE_MAX = 2_000


@dataclass(slots=True)
class Pseudonyms:
    """The names of the running period; empty where the log speaks plainly."""

    period: int = -1
    names: dict[str, str] = field(default_factory=dict)
    _taken: dict[str, str] = field(default_factory=dict)

    def assign(self, command: AssignPseudonyms) -> list[Fact]:
        """A later period forgets the names of the one before; the same again is no error."""
        refusal = self._refuse(command)
        if refusal is not None:
            return [BankRefused(f"pseudonyms/{command.period}", int(refusal))]
        if command.period > self.period:
            self.period = command.period
            self.names, self._taken = {}, {}
        fresh = 0
        for name, pseudonym in zip(command.names, command.pseudonyms, strict=True):
            fresh += name not in self.names
            self.names[name] = pseudonym
            self._taken[pseudonym] = name
        return [PseudonymsAssigned(self.period, fresh)] if fresh else []

    def leaf(self, fact: Fact) -> bytes:
        """The fact as the log has it."""
        if not self.names:
            return encode_fact(fact)
        return msgspec.msgpack.encode(
            self._covered(msgspec.to_builtins(fact_values(fact), builtin_types=(bytes,)))
        )

    def state(self) -> object:
        return [self.period, dict(self.names)]

    def _refuse(self, command: AssignPseudonyms) -> Refusal | None:
        if len(command.names) > NAMES_AT_ONCE_MAX:
            return Refusal.TOO_LARGE
        if command.period < self.period:
            return Refusal.TOO_OLD
        if len(command.names) != len(command.pseudonyms) or command.period < 0:
            return Refusal.MALFORMED
        if not all(map(is_device_id, command.pseudonyms)):
            return Refusal.MALFORMED
        if len({*command.names}) < len(command.names) or len({*command.pseudonyms}) < len(
            command.pseudonyms
        ):
            return Refusal.MALFORMED
        if command.period == self.period:
            for name, pseudonym in zip(command.names, command.pseudonyms, strict=True):
                if self.names.get(name, pseudonym) != pseudonym:
                    return Refusal.CHANGED_REPLAY
                if self._taken.get(pseudonym, name) != name:
                    return Refusal.CHANGED_REPLAY
        return None

    def _covered(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.names.get(value, value)
        if isinstance(value, list | tuple):
            return [self._covered(one) for one in value]
        return value
