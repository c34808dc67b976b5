"""What the bank remembers of a slot between its first trade and its last revision.

Decides nothing. Must never forget a trade or an outcome before the slot is final: a later
revision posts the difference to what is kept here.
"""

from dataclasses import dataclass, field, fields
from operator import attrgetter

from cloud.commands import TradeTerms, ZoneRules
from cloud.ledger.settlement import Outcome, Totals
from protos.clock import slot_end_ns
from protos.ids import AccountId, effect_id
from protos.limits import READING_AGE_NS_MAX

PROVIDER = AccountId("@provider")
MINT = AccountId("@mint")
FURNACE = AccountId("@furnace")
RESERVED_PREFIX = "@"
"""Account names that begin like this belong to the bank."""

_TOTALS = attrgetter(*(part.name for part in fields(Totals)))


def fund(name: str) -> AccountId:
    return AccountId(f"@fund/{name}")


def final_ns(slot: int) -> int:
    """When a slot is final: readings older than this are no longer taken."""
    return slot_end_ns(slot) + READING_AGE_NS_MAX


@dataclass(frozen=True, slots=True)
class ZoneAccounts:
    """A zone's policy and the three accounts that the bank keeps for it."""

    rules: ZoneRules
    utility: AccountId
    grid: AccountId
    clearing: AccountId


def zone_accounts(zone: str, rules: ZoneRules) -> ZoneAccounts:
    return ZoneAccounts(
        rules,
        AccountId(f"@utility/{zone}"),
        AccountId(f"@grid/{zone}"),
        AccountId(f"@clearing/{zone}"),
    )


@dataclass(slots=True)
class SlotBook:
    """The trades of one zone and slot, what is reserved for them, and what was posted so far.

    `holds` are pending transfers by account; they end with the first settlement. `revision` is -1
    until then.
    """

    zone: str
    slot: int
    trades: dict[int, TradeTerms] = field(default_factory=dict)
    holds: dict[AccountId, list[str]] = field(default_factory=dict)
    revision: int = -1
    revisions: list[int] = field(default_factory=list)
    verified_wh: int = 0
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def is_settled(self) -> bool:
        return self.revision >= 0

    def group_id(self, revision: int) -> str:
        """The id of all transfers of one settlement run."""
        return effect_id("bank/settle", self.zone, self.slot, revision)

    def state(self) -> object:
        outcome = self.outcome
        return [
            self.zone,
            self.slot,
            [
                [t.trade, t.buyer, t.seller, t.energy_wh, t.price_micro_per_kwh]
                for t in self.trades.values()
            ],
            {account: list(ids) for account, ids in self.holds.items()},
            self.revisions,
            self.verified_wh,
            [
                outcome.utility_micro,
                outcome.grid_fee_micro,
                outcome.trading_fee_micro,
                outcome.minted_wh,
                outcome.tokens_delivered_wh,
            ],
            {account: list(_TOTALS(totals)) for account, totals in outcome.accounts.items()},
        ]
