"""Double-entry accounts: how much everybody has, and the only way it changes.

Decides whether a linked group of steps may happen: all of it or nothing. A step is a `Posted`
transfer, a `Pending` one that only reserves, or a `Capture` that posts at most what was pending
and voids the rest. A balance is never written but by such a step, no step is ever one-sided, and
no account ends a group under its floor. Must never know what a trade, a meter or a price is.

The balance of an account in one asset is credits_posted - debits_posted; what it can still spend
is that less debits_pending: a reservation counts as spent until it is captured or void, and money
on its way in counts only once it is posted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappop, heappush

from cloud.facts import Posted
from cloud.ledger.columns import (
    AMOUNT_MAX,
    ASSET_NUMBER,
    ASSETS,
    Columns,
    unsound_row,
)
from cloud.ledger.kinds import FLOORS, TRADING, TRANSFERABLE, Kind
from protos.ids import AccountId
from protos.messages import Refusal


@dataclass(frozen=True, slots=True)
class Pending:
    """A reservation: `amount` will leave `debit` for `credit`, or less, or nothing."""

    transfer_id: str
    debit: AccountId
    credit: AccountId
    asset: str
    amount: int
    expires_ns: int


@dataclass(frozen=True, slots=True)
class Capture:
    """Ends reservations: `posted` says what becomes of them in total, None voids them.

    All of them run between the same two accounts, and so does the posting.
    """

    pendings: tuple[str, ...]
    posted: Posted | None


Step = Posted | Pending | Capture


@dataclass(slots=True)
class Owner:
    """Whom an account belongs to: its kind, the zone it trades in, and its place in opening order."""

    kind: Kind
    zone: str
    number: int


class Replay(StrEnum):
    """Whether a group was done before under the same id."""

    NEW = "new"
    SAME = "same"
    CHANGED = "changed"


@dataclass(slots=True)
class Ledger:
    """All accounts of all assets."""

    owners: dict[AccountId, Owner] = field(default_factory=dict)
    names: list[AccountId] = field(default_factory=list)
    zones: list[str] = field(default_factory=list)
    """The zone of each account, by its number."""
    pendings: dict[str, Pending] = field(default_factory=dict)
    columns: Columns = field(default_factory=Columns)
    usable: bytearray = field(default_factory=bytearray)
    """A byte for each account: whether transfers in bulk may name it."""
    _sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ASSETS, 0))
    _touched: list[int] = field(default_factory=list)
    _deadlines: list[int] = field(default_factory=list)
    _due: dict[int, dict[str, Pending]] = field(default_factory=dict)
    _done: dict[str, str] = field(default_factory=dict)

    def open(self, account: AccountId, kind: Kind, zone: str) -> Refusal | None:
        """A new account with nothing in it. The same again is no error, another kind is."""
        owner = self.owners.get(account)
        if owner is None:
            self.owners[account] = Owner(kind, zone, len(self.names))
            self.names.append(account)
            self.zones.append(zone)
            self.columns.open(FLOORS[kind])
            self.usable.append(kind in TRANSFERABLE)
        elif owner.kind is not kind or owner.zone != zone:
            return Refusal.CHANGED_REPLAY
        return None

    def is_customer(self, account: AccountId, zone: str) -> bool:
        """Whether the account exists, trades in this zone and is not the bank's own."""
        owner = self.owners.get(account)
        return owner is not None and owner.zone == zone and owner.kind in TRADING

    def replay(self, group_id: str, fingerprint: str) -> Replay:
        """Whether the group of this id was done, and from the same cause."""
        known = self._done.get(group_id)
        if known is None:
            return Replay.NEW
        return Replay.SAME if known == fingerprint else Replay.CHANGED

    def remember(self, group_id: str, fingerprint: str) -> None:
        self._done[group_id] = fingerprint

    def forget(self, group_ids: Iterable[str]) -> None:
        """For groups whose cause can no longer come again."""
        for group_id in group_ids:
            self._done.pop(group_id, None)

    def link(self, steps: Sequence[Step]) -> Refusal | None:
        """Do all of these steps or none. The floors hold at the end of the group.

        Refuses UNKNOWN_ACCOUNT, WRONG_ASSET, CHANGED_REPLAY (a pending id in use), OVER_POSTED,
        BAD_PRICE (64 bits) and INSUFFICIENT_FUNDS.
        """
        taken: list[Pending] = []
        self._touched.clear()
        done = 0
        refusal: Refusal | None = None
        for step in steps:
            refusal = self._do(step, taken)
            if refusal is not None:
                break
            done += 1
        if refusal is None:
            refusal = self._first_unsound()
        if refusal is not None:
            self._undo(steps[:done], taken)
            return refusal
        return None

    def expire(self, at_ns: int) -> list[Pending]:
        """Void every reservation whose time has passed, the oldest first."""
        expired: list[Pending] = []
        while self._deadlines and self._deadlines[0] <= at_ns:
            expired.extend(self._due.pop(heappop(self._deadlines)).values())
        self._release(expired)
        return expired

    def row(self, account: AccountId, asset: str) -> int:
        """Where the columns have this account's asset. Raises KeyError for an unknown one."""
        return self.owners[account].number * len(ASSETS) + ASSET_NUMBER[asset]

    def spendable(self, account: AccountId, asset: str) -> int:
        """What the account can still spend; 0 for one that is not known."""
        return self.columns.spendable(self.row(account, asset)) if account in self.owners else 0

    def balance(self, account: AccountId, asset: str) -> int:
        return self.columns.balance(self.row(account, asset)) if account in self.owners else 0

    def balances(self, account: AccountId) -> dict[str, int]:
        """The posted balance in every asset that the account ever held."""
        if account not in self.owners:
            return {}
        rows = {asset: self.row(account, asset) for asset in ASSETS}
        return {
            asset: self.columns.balance(row)
            for asset, row in rows.items()
            if self.columns.is_used(row)
        }

    def sums(self) -> dict[str, int]:
        """Each asset's balances added up, account by account: zero, or money was made."""
        return self.columns.sums()

    def check(self) -> None:
        """What must hold after every step, at a cost that does not grow with the accounts."""
        assert not any(self._sums.values()), f"a posting had one side only: {self._sums}"

    def audit(self) -> None:
        """The same from the accounts themselves, all of them."""
        assert not any(self.sums().values()), f"the balances do not sum to zero: {self.sums()}"
        row = unsound_row(self.columns)
        assert row < 0, self._unsound(row)

    def _unsound(self, row: int) -> str:
        number, asset = divmod(row, len(ASSETS))
        spendable = self.columns.spendable(row)
        return f"{self.names[number]} has {spendable} {ASSETS[asset]}, under its floor"

    def state(self) -> object:
        columns = self.columns
        return {
            "owners": [
                [name, self.owners[name].kind.value, self.owners[name].zone] for name in self.names
            ],
            "books": {
                asset: {
                    name: columns.state(row)
                    for name in self.names
                    if columns.is_used(row := self.row(name, asset))
                }
                for asset in ASSETS
            },
            "pendings": {
                p.transfer_id: [p.debit, p.credit, p.asset, p.amount, p.expires_ns]
                for p in self.pendings.values()
            },
            "done": dict(self._done),
        }

    def _rows(self, debit: AccountId, credit: AccountId, asset: str) -> tuple[int, int] | Refusal:
        """The rows of two accounts that may hold the asset; the debit is looked at first."""
        number = ASSET_NUMBER.get(asset)
        if number is None:
            return Refusal.WRONG_ASSET
        holds, owners = self.columns.holds, self.owners
        payer, payee = owners.get(debit), owners.get(credit)
        if payer is None:
            return Refusal.UNKNOWN_ACCOUNT
        paying = payer.number * len(ASSETS) + number
        if not holds[paying]:
            return Refusal.WRONG_ASSET
        if payee is None:
            return Refusal.UNKNOWN_ACCOUNT
        paid = payee.number * len(ASSETS) + number
        return (paying, paid) if holds[paid] else Refusal.WRONG_ASSET

    def _do(self, step: Step, taken: list[Pending]) -> Refusal | None:
        if type(step) is Posted:
            return self._post(step)
        if type(step) is Capture:
            return self._capture(step, taken)
        assert type(step) is Pending
        return self._reserve(step)

    def _post(self, posted: Posted) -> Refusal | None:
        rows = self._rows(posted.debit, posted.credit, posted.asset)
        if isinstance(rows, Refusal):
            return rows
        debit, credit = rows
        amount, columns = posted.amount, self.columns
        assert amount > 0, f"a transfer moves something: {posted}"
        paid, received = columns.debits_posted, columns.credits_posted
        if max(paid[debit], received[credit]) + amount > AMOUNT_MAX:
            return Refusal.BAD_PRICE
        self._touched += (debit, credit)
        paid[debit] += amount
        self._sums[posted.asset] -= amount
        received[credit] += amount
        self._sums[posted.asset] += amount
        return None

    def _reserve(self, pending: Pending) -> Refusal | None:
        rows = self._rows(pending.debit, pending.credit, pending.asset)
        if isinstance(rows, Refusal):
            return rows
        debit, credit = rows
        if pending.transfer_id in self.pendings:
            return Refusal.CHANGED_REPLAY
        amount, columns = pending.amount, self.columns
        assert amount > 0, f"a reservation reserves something: {pending}"
        paid, received = columns.debits_pending, columns.credits_pending
        if max(paid[debit], received[credit]) + amount > AMOUNT_MAX:
            return Refusal.BAD_PRICE
        self._touched += (debit, credit)
        paid[debit] += amount
        received[credit] += amount
        self.pendings[pending.transfer_id] = pending
        if pending.expires_ns not in self._due:
            self._due[pending.expires_ns] = {}
            heappush(self._deadlines, pending.expires_ns)
        self._due[pending.expires_ns][pending.transfer_id] = pending
        return None

    def _capture(self, capture: Capture, taken: list[Pending]) -> Refusal | None:
        """Takes the reservations away and posts in their place. Changes nothing if it refuses."""
        kept, names, posted = self.pendings, capture.pendings, capture.posted
        held = [kept[name] for name in names if name in kept]
        if len(held) < len(names) or len({*names}) < len(names):
            return Refusal.OVER_POSTED
        if posted is not None:
            way = (posted.debit, posted.credit, posted.asset)
            if any((p.debit, p.credit, p.asset) != way for p in held):
                return Refusal.WRONG_ASSET
            if posted.amount > sum(p.amount for p in held):
                return Refusal.OVER_POSTED
            refusal = self._post(posted)
            if refusal is not None:
                return refusal
        self._release(held)
        taken.extend(held)
        return None

    def _release(self, pendings: Sequence[Pending]) -> None:
        """Takes reservations away."""
        paying, receiving = self.columns.debits_pending, self.columns.credits_pending
        kept, due, owners = self.pendings, self._due, self.owners
        for pending in pendings:
            name, number, amount = pending.transfer_id, ASSET_NUMBER[pending.asset], pending.amount
            paying[owners[pending.debit].number * len(ASSETS) + number] -= amount
            receiving[owners[pending.credit].number * len(ASSETS) + number] -= amount
            del kept[name]
            waiting = due.get(pending.expires_ns)
            if waiting is not None:
                waiting.pop(name, None)

    def _first_unsound(self) -> Refusal | None:
        """Whether one of the rows that the group touched is over 64 bits or under its floor."""
        columns = self.columns
        paid, paying = columns.debits_posted, columns.debits_pending
        received, receiving = columns.credits_posted, columns.credits_pending
        floor = columns.floor
        for row in dict.fromkeys(self._touched):
            spent, earned = paid[row] + paying[row], received[row]
            if spent > AMOUNT_MAX or earned + receiving[row] > AMOUNT_MAX:
                return Refusal.BAD_PRICE
            if earned - spent < floor[row]:
                return Refusal.INSUFFICIENT_FUNDS
        return None

    def _undo(self, steps: Sequence[Step], taken: Sequence[Pending]) -> None:
        columns = self.columns
        for step in reversed(steps):
            if type(step) is Pending:
                self._release([step])
                continue
            posted = step.posted if type(step) is Capture else step
            if type(posted) is Posted:
                columns.debits_posted[self.row(posted.debit, posted.asset)] -= posted.amount
                columns.credits_posted[self.row(posted.credit, posted.asset)] -= posted.amount
        for pending in taken:
            refusal = self._reserve(pending)
            assert refusal is None, f"a reservation could not be put back: {refusal!r}"
