"""Double-entry accounts: how much everybody has, and the only way it changes.

Decides whether a linked group of steps may happen: all of it or nothing. A step is a `Posted`
transfer, a `Pending` one that only reserves, or a `Capture` that posts at most what was pending
and voids the rest. A balance is never written but by such a step, no step is ever one-sided, and
no account ends a group under its floor. Must never know what a trade, a meter or a price is.

The balance of an account in one asset is credits_posted - debits_posted; what it can still spend
is that less debits_pending: a reservation counts as spent until it is captured or void, and money
on its way in counts only once it is posted.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappop, heappush

from cloud.facts import Posted
from protos.ids import AccountId
from protos.messages import Refusal

GT = "GT"
MONEY = "MONEY"
GTX = "GTX"
GC = "GC"
CO2 = "CO2"
CLAIM = "CLAIM"
"""Micro-units that an account owes the utility, which advanced them: debtor minus, utility plus."""

ASSETS = (GT, MONEY, GTX, GC, CO2, CLAIM)
AMOUNT_MAX = (1 << 63) - 1


class Kind(StrEnum):
    """What an account is for; it fixes which assets it may hold and how far each may fall."""

    PROSUMER = "prosumer"
    CONSUMER = "consumer"
    UTILITY = "utility"
    GRID = "grid"
    FUND = "fund"
    PROVIDER = "provider"
    CLEARING = "clearing"
    MINT = "mint"
    FURNACE = "furnace"


OPENABLE = (Kind.PROSUMER, Kind.CONSUMER)
"""Kinds that anybody may be given; the others belong to the bank."""

Floors = dict[str, int | None]
_CUSTOMER: Floors = {GT: 0, MONEY: 0, GTX: 0, GC: 0, CO2: 0, CLAIM: None}
FLOORS: dict[Kind, Floors] = {
    Kind.PROSUMER: _CUSTOMER,
    Kind.CONSUMER: _CUSTOMER,
    Kind.UTILITY: {GT: 0, MONEY: None, CLAIM: 0},
    Kind.GRID: {MONEY: 0},
    Kind.FUND: {MONEY: 0, GTX: 0},
    Kind.PROVIDER: {MONEY: None},
    Kind.CLEARING: {GT: 0, MONEY: 0},
    Kind.MINT: {GT: None, GTX: None},
    Kind.FURNACE: {GT: 0, GTX: 0},
}
"""The lowest spendable balance by asset; None is no floor, an absent asset cannot be held."""


@dataclass(slots=True)
class Account:
    """One account's book in one asset, in that asset's unit (Wh, micro-units, grams)."""

    floor: int | None
    debits_pending: int = 0
    debits_posted: int = 0
    credits_pending: int = 0
    credits_posted: int = 0

    @property
    def balance(self) -> int:
        return self.credits_posted - self.debits_posted

    @property
    def spendable(self) -> int:
        return self.credits_posted - self.debits_posted - self.debits_pending

    def is_sound(self) -> bool:
        return self.floor is None or self.spendable >= self.floor

    def fits(self) -> bool:
        """Every column, and what the pending ones will make of it, within signed 64 bits."""
        return (
            self.debits_posted + self.debits_pending <= AMOUNT_MAX
            and self.credits_posted + self.credits_pending <= AMOUNT_MAX
        )


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
    pendings: dict[str, Pending] = field(default_factory=dict)
    _books: dict[str, dict[AccountId, Account]] = field(
        default_factory=lambda: {asset: {} for asset in ASSETS}
    )
    _sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ASSETS, 0))
    _deadlines: list[int] = field(default_factory=list)
    _due: dict[int, dict[str, Pending]] = field(default_factory=dict)
    _done: dict[str, str] = field(default_factory=dict)

    def open(self, account: AccountId, kind: Kind, zone: str) -> Refusal | None:
        """A new account with nothing in it. The same again is no error, another kind is."""
        owner = self.owners.get(account)
        if owner is None:
            self.owners[account] = Owner(kind, zone, len(self.names))
            self.names.append(account)
        elif owner.kind is not kind or owner.zone != zone:
            return Refusal.CHANGED_REPLAY
        return None

    def is_customer(self, account: AccountId, zone: str) -> bool:
        """Whether the account exists, trades in this zone and is not the bank's own."""
        owner = self.owners.get(account)
        return owner is not None and owner.zone == zone and owner.kind in OPENABLE

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
        done = 0
        refusal: Refusal | None = None
        for step in steps:
            refusal = self._do(step, taken)
            if refusal is not None:
                break
            done += 1
        if refusal is None:
            refusal = self._first_unsound(steps)
        if refusal is not None:
            self._undo(steps[:done], taken)
            return refusal
        return None

    def expire(self, at_ns: int) -> list[Pending]:
        """Void every reservation whose time has passed, the oldest first."""
        expired: list[Pending] = []
        while self._deadlines and self._deadlines[0] <= at_ns:
            expired.extend(self._due.pop(heappop(self._deadlines)).values())
        for pending in expired:
            self._release(pending)
        return expired

    def spendable(self, account: AccountId, asset: str) -> int:
        book = self._books[asset].get(account)
        return 0 if book is None else book.spendable

    def balance(self, account: AccountId, asset: str) -> int:
        book = self._books[asset].get(account)
        return 0 if book is None else book.balance

    def balances(self, account: AccountId) -> dict[str, int]:
        """The posted balance in every asset the account ever held."""
        return {
            asset: self._books[asset][account].balance
            for asset in ASSETS
            if account in self._books[asset]
        }

    def sums(self) -> dict[str, int]:
        """Each asset's balances added up, account by account: zero, or money was made."""
        return {
            asset: sum(book.balance for book in books.values())
            for asset, books in self._books.items()
        }

    def check(self) -> None:
        """What must hold after every step, at a cost that does not grow with the accounts."""
        assert not any(self._sums.values()), f"a posting had one side only: {self._sums}"

    def audit(self) -> None:
        """The same from the accounts themselves, all of them."""
        assert not any(self.sums().values()), f"the balances do not sum to zero: {self.sums()}"
        for asset, books in self._books.items():
            for account, book in books.items():
                assert book.is_sound(), f"{account} has {book.spendable} {asset}, under its floor"

    def state(self) -> object:
        return {
            "owners": [
                [name, self.owners[name].kind.value, self.owners[name].zone] for name in self.names
            ],
            "books": {
                asset: {
                    name: [b.debits_pending, b.debits_posted, b.credits_pending, b.credits_posted]
                    for name, b in books.items()
                }
                for asset, books in self._books.items()
            },
            "pendings": {
                p.transfer_id: [p.debit, p.credit, p.asset, p.amount, p.expires_ns]
                for p in self.pendings.values()
            },
            "done": dict(self._done),
        }

    def _book(self, account: AccountId, asset: str) -> Account | Refusal:
        books = self._books.get(asset)
        if books is None:
            return Refusal.WRONG_ASSET
        book = books.get(account)
        if book is not None:
            return book
        owner = self.owners.get(account)
        if owner is None:
            return Refusal.UNKNOWN_ACCOUNT
        if asset not in FLOORS[owner.kind]:
            return Refusal.WRONG_ASSET
        book = books[account] = Account(FLOORS[owner.kind][asset])
        return book

    def _do(self, step: Step, taken: list[Pending]) -> Refusal | None:
        if type(step) is Posted:
            return self._post(step)
        if type(step) is Capture:
            return self._capture(step, taken)
        assert type(step) is Pending
        return self._reserve(step)

    def _post(self, posted: Posted) -> Refusal | None:
        debit = self._book(posted.debit, posted.asset)
        credit = self._book(posted.credit, posted.asset)
        if isinstance(debit, Refusal):
            return debit
        if isinstance(credit, Refusal):
            return credit
        amount = posted.amount
        assert amount > 0, f"a transfer moves something: {posted}"
        debit.debits_posted += amount
        self._sums[posted.asset] -= amount
        credit.credits_posted += amount
        self._sums[posted.asset] += amount
        return None

    def _reserve(self, pending: Pending) -> Refusal | None:
        debit = self._book(pending.debit, pending.asset)
        credit = self._book(pending.credit, pending.asset)
        if isinstance(debit, Refusal):
            return debit
        if isinstance(credit, Refusal):
            return credit
        if pending.transfer_id in self.pendings:
            return Refusal.CHANGED_REPLAY
        assert pending.amount > 0, f"a reservation reserves something: {pending}"
        debit.debits_pending += pending.amount
        credit.credits_pending += pending.amount
        self.pendings[pending.transfer_id] = pending
        if pending.expires_ns not in self._due:
            self._due[pending.expires_ns] = {}
            heappush(self._deadlines, pending.expires_ns)
        self._due[pending.expires_ns][pending.transfer_id] = pending
        return None

    def _capture(self, capture: Capture, taken: list[Pending]) -> Refusal | None:
        """Takes the reservations away and posts in their place. Changes nothing if it refuses."""
        found = [self.pendings.get(transfer_id) for transfer_id in capture.pendings]
        held = [pending for pending in found if pending is not None]
        posted = capture.posted
        if len(held) < len(found) or len(set(capture.pendings)) < len(found):
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
        for pending in held:
            self._release(pending)
        taken.extend(held)
        return None

    def _release(self, pending: Pending) -> None:
        books = self._books[pending.asset]
        books[pending.debit].debits_pending -= pending.amount
        books[pending.credit].credits_pending -= pending.amount
        del self.pendings[pending.transfer_id]
        self._due.get(pending.expires_ns, {}).pop(pending.transfer_id, None)

    def _first_unsound(self, steps: Sequence[Step]) -> Refusal | None:
        for move in _moves(steps):
            books = self._books[move.asset]
            debit, credit = books[move.debit], books[move.credit]
            if not debit.fits() or not credit.fits():
                return Refusal.BAD_PRICE
            if not debit.is_sound() or not credit.is_sound():
                return Refusal.INSUFFICIENT_FUNDS
        return None

    def _undo(self, steps: Sequence[Step], taken: Sequence[Pending]) -> None:
        for step in reversed(steps):
            if type(step) is Pending:
                self._release(step)
                continue
            posted = step.posted if type(step) is Capture else step
            if type(posted) is Posted:
                books = self._books[posted.asset]
                books[posted.debit].debits_posted -= posted.amount
                books[posted.credit].credits_posted -= posted.amount
        for pending in taken:
            refusal = self._reserve(pending)
            assert refusal is None, f"a reservation could not be put back: {refusal!r}"


def _moves(steps: Sequence[Step]) -> Iterator[Posted | Pending]:
    for step in steps:
        move = step.posted if isinstance(step, Capture) else step
        if move is not None:
            yield move
