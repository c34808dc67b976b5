"""A venue's payment on its way to the homes: in from the provider, out by what each delivered.

Each venue has an account of the bank's own. A statement's version moves the difference to the
version before between the provider and that account, and the homes' part of a gain from there to
their accounts, by delivered Wh with the largest remainder. What a correction takes back is not
taken from a home's balance: it is owed, and its next shares pay it off. Decides nothing else;
never shares a loss, never pays for one version twice, never lets an older version replace a newer.
"""

from dataclasses import dataclass, field

from cloud.commands import ShareRevenue
from cloud.facts import BankRefused, Fact, Posted, RevenueShared
from cloud.ledger.accounts import Ledger
from cloud.ledger.books import PROVIDER
from cloud.ledger.columns import AMOUNT_MAX, MONEY
from cloud.ledger.kinds import OPENABLE, Kind
from protos.ids import AccountId, effect_id
from protos.messages import Refusal
from protos.units import PER_MILLE, largest_remainder

CODE_IN = "venue"
CODE_OUT = "venue share"
BIDS_MAX = 20_000
"""Bids whose versions are remembered, oldest forgotten first: more than two years of hours."""


def venue_account(venue: str) -> AccountId:
    return AccountId(f"@venue/{venue}")


@dataclass(slots=True)
class Stated:
    """The newest version of one bid's payment, and what each home has had of it."""

    version: int
    amount_micro: int
    shares: dict[AccountId, int] = field(default_factory=dict)


class VenueShares:
    """All venues' payments. `owed` is what corrections took back and no share has paid off yet."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._stated: dict[str, Stated] = {}
        self._owed: dict[AccountId, int] = {}

    def apply(self, command: ShareRevenue) -> list[Fact]:
        """The postings and the result, or why there is none."""
        known = self._stated.get(command.bid_id, Stated(-1, 0))
        refusal = self._objection(command, known)
        if refusal is not None:
            return [BankRefused(command.bid_id, refusal)]
        if command.version == known.version:
            return []
        fresh = self._shares(command)
        group = effect_id("bank/venue", command.venue, command.bid_id, command.version)
        venue = venue_account(command.venue)
        if venue not in self._ledger.owners:
            self._ledger.open(venue, Kind.VENUE, "")
        postings = _between(
            effect_id(group, "in"), PROVIDER, venue, command.amount_micro - known.amount_micro
        )
        owed = dict(self._owed)
        for account in sorted({*fresh, *known.shares}):
            due = fresh.get(account, 0) - known.shares.get(account, 0) - owed.pop(account, 0)
            if due < 0:
                owed[account] = -due
            elif due > 0:
                postings.append(
                    Posted(effect_id(group, account), venue, account, MONEY, due, CODE_OUT, 0)
                )
        refusal = self._ledger.link(postings)
        if refusal is not None:
            return [BankRefused(command.bid_id, refusal)]
        self._owed = owed
        self._stated[command.bid_id] = Stated(command.version, command.amount_micro, fresh)
        self._forget()
        result = RevenueShared(
            command.venue,
            command.bid_id,
            command.version,
            command.amount_micro,
            sum(fresh.values()),
            sum(owed.values()),
            len(fresh),
        )
        return [*postings, result]

    def _objection(self, command: ShareRevenue, known: Stated) -> Refusal | None:
        if not command.venue or not command.bid_id or command.version < 0:
            return Refusal.MALFORMED
        if not 0 <= command.owners_per_mille <= PER_MILLE:
            return Refusal.MALFORMED
        if any(one.energy_wh <= 0 for one in command.deliveries):
            return Refusal.BAD_ENERGY
        if abs(command.amount_micro) > AMOUNT_MAX // 4:
            return Refusal.BAD_PRICE
        if command.version < known.version:
            return Refusal.TOO_OLD
        if command.version == known.version and (
            command.amount_micro != known.amount_micro or self._shares(command) != known.shares
        ):
            return Refusal.CHANGED_REPLAY
        return None

    def _shares(self, command: ShareRevenue) -> dict[AccountId, int]:
        """Each home's part of a gain; homes whose account is unknown leave theirs to the others."""
        by_account: dict[AccountId, int] = {}
        for one in command.deliveries:
            owner = self._ledger.owners.get(one.account)
            if owner is not None and owner.kind in OPENABLE:
                by_account[one.account] = by_account.get(one.account, 0) + one.energy_wh
        whole = max(0, command.amount_micro) * command.owners_per_mille // PER_MILLE
        accounts = sorted(by_account)
        if not accounts:
            return {}
        parts = largest_remainder(whole, [by_account[account] for account in accounts])
        return {account: part for account, part in zip(accounts, parts, strict=True) if part}

    def _forget(self) -> None:
        while len(self._stated) > BIDS_MAX:
            del self._stated[next(iter(self._stated))]

    def state(self) -> object:
        return [
            {bid: [one.version, one.amount_micro, one.shares] for bid, one in self._stated.items()},
            dict(self._owed),
        ]


def homes_paid(facts: list[Fact]) -> list[Fact]:
    """The postings that reached homes."""
    return [one for one in facts if isinstance(one, Posted) and one.code == CODE_OUT]


def _between(transfer_id: str, payer: AccountId, payee: AccountId, amount: int) -> list[Posted]:
    """The posting of a signed amount; a negative one goes the other way."""
    if amount == 0:
        return []
    debit, credit = (payer, payee) if amount > 0 else (payee, payer)
    return [Posted(transfer_id, debit, credit, MONEY, abs(amount), CODE_IN, 0)]
