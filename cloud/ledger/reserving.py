"""Reservations for new trades: nothing is traded that could go unpaid.

Decides trade by trade whether buyer and seller can bear their worst case, and reserves it: the
buyer's price and grid fee, the seller's margin. One bad trade never takes the others of its step
with it. Must never move money.
"""

from collections.abc import Iterable, Sequence

from cloud.commands import ReserveTrades, TradeTerms
from cloud.facts import BankRefused, Fact, TradesRefused, TradesReserved
from cloud.ledger.accounts import Ledger, Pending
from cloud.ledger.books import SlotBook, ZoneAccounts, final_ns
from cloud.ledger.columns import MONEY
from cloud.ledger.settlement import escrow, margin
from protos.ids import AccountId, effect_id
from protos.limits import OFFER_ENERGY_WH_MAX
from protos.messages import Refusal
from protos.units import val


def refuse_trades(
    command: ReserveTrades, trades: Sequence[TradeTerms], reason: Refusal
) -> list[Fact]:
    """None of these can be reserved for."""
    refused: list[Fact] = [BankRefused(f"{command.zone}/{command.slot}", int(reason))]
    if command.voidable and trades:
        refused.append(trades_refused(command, [(terms, reason) for terms in trades]))
    return refused


def trades_refused(
    command: ReserveTrades, refused: Sequence[tuple[TradeTerms, Refusal]]
) -> TradesRefused:
    """The zone's notice of its trades that could not be reserved for."""
    return TradesRefused(
        command.zone,
        command.slot,
        tuple(terms.trade for terms, _ in refused),
        tuple(int(reason) for _, reason in refused),
    )


class Reserving:
    """One step of reservations: adds up what each account must hold, then reserves it at once."""

    def __init__(self, ledger: Ledger, accounts: ZoneAccounts, book: SlotBook) -> None:
        self._ledger = ledger
        self._accounts = accounts
        self._book = book
        ways = accounts.rules.wheeling_micro_per_kwh
        self._dearest_way = max(map(max, ways), default=0)
        self._needed: dict[AccountId, int] = {}
        self._accepted: dict[int, TradeTerms] = {}

    def reserve(self, command: ReserveTrades) -> list[Fact]:
        """The facts of the step: refusals by trade, then what was reserved."""
        weighed = self._weigh(command.trades)
        refused: list[Fact] = [
            BankRefused(f"{command.zone}/{terms.trade}", refusal) for terms, refusal in weighed
        ]
        # A trade that is told again in other words is reserved for as it was told first.
        void = [pair for pair in weighed if pair[1] is not Refusal.CHANGED_REPLAY]
        if command.voidable and void:
            refused.append(trades_refused(command, void))
        if not self._accepted:
            return refused
        first = next(iter(self._accepted))
        pendings = [self._pending(account, amount, first) for account, amount in self._holds()]
        refusal = self._ledger.link(pendings)
        if refusal is not None:
            return refused + refuse_trades(command, [*self._accepted.values()], refusal)
        for pending in pendings:
            self._book.holds.setdefault(pending.debit, []).append(pending.transfer_id)
        self._book.trades.update(self._accepted)
        trades = tuple(self._accepted.values())
        held = sum(self._needed.values())
        return [*refused, TradesReserved(command.zone, command.slot, trades, held)]

    def _weigh(self, trades: Iterable[TradeTerms]) -> list[tuple[TradeTerms, Refusal]]:
        refused = []
        for terms in trades:
            known = self._book.trades.get(terms.trade) or self._accepted.get(terms.trade)
            if known is not None:
                if known != terms:
                    refused.append((terms, Refusal.CHANGED_REPLAY))
                continue
            refusal = self._refusal(terms) or self._hold(terms)
            if refusal is not None:
                refused.append((terms, refusal))
        return refused

    def _refusal(self, terms: TradeTerms) -> Refusal | None:
        rules = self._accounts.rules
        if not 0 < terms.energy_wh <= OFFER_ENERGY_WH_MAX:
            return Refusal.BAD_ENERGY
        low, high = rules.fallback_export_micro_per_kwh, rules.fallback_import_micro_per_kwh
        if not low <= terms.price_micro_per_kwh <= high:
            return Refusal.PRICE_OUTSIDE_BAND
        dearest = val(terms.energy_wh, high) - val(terms.energy_wh, terms.price_micro_per_kwh)
        if not 0 <= terms.rent_micro <= dearest:
            return Refusal.PRICE_OUTSIDE_BAND
        if not 0 <= terms.wheeling_micro_per_kwh <= self._dearest_way:
            return Refusal.BAD_PRICE
        if terms.buyer == terms.seller:
            return Refusal.SELF_TRADE
        if not self._ledger.is_customer(terms.buyer, self._book.zone):
            return Refusal.UNKNOWN_ACCOUNT
        if not self._ledger.is_customer(terms.seller, self._book.zone):
            return Refusal.UNKNOWN_ACCOUNT
        return None

    def _hold(self, terms: TradeTerms) -> Refusal | None:
        """Adds the trade to what its two accounts must hold, if both can."""
        amounts = (terms.energy_wh, terms.price_micro_per_kwh, self._accounts.rules)
        owed = escrow(*amounts, terms.wheeling_micro_per_kwh) + terms.rent_micro
        buyer = self._needed.get(terms.buyer, 0) + owed
        seller = self._needed.get(terms.seller, 0) + margin(*amounts)
        if (
            self._ledger.spendable(terms.buyer, MONEY) < buyer
            or self._ledger.spendable(terms.seller, MONEY) < seller
        ):
            return Refusal.INSUFFICIENT_FUNDS
        self._needed[terms.buyer] = buyer
        self._needed[terms.seller] = seller
        self._accepted[terms.trade] = terms
        return None

    def _holds(self) -> list[tuple[AccountId, int]]:
        """Accounts with something to hold; a sale at the fallback import tariff needs no margin."""
        return [(account, amount) for account, amount in self._needed.items() if amount]

    def _pending(self, account: AccountId, amount: int, first_trade: int) -> Pending:
        book = self._book
        return Pending(
            effect_id("bank/hold", book.zone, book.slot, first_trade, account),
            account,
            self._accounts.clearing,
            MONEY,
            amount,
            final_ns(book.slot),
        )
