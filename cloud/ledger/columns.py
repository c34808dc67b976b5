"""The numbers of the ledger, flat: one row for each account and asset, one column for each sum.

Decides nothing; `cloud.ledger.accounts` and `cloud.ledger.transfers` do, and `ext/post` reads and
writes the same columns. A row is the account's number times the number of assets, plus the asset's.
All amounts are signed 64-bit: Wh, micro-units, grams.
"""

from array import array
from collections.abc import Callable, Mapping

GT = "GT"
MONEY = "MONEY"
GTX = "GTX"
GC = "GC"
CO2 = "CO2"
CLAIM = "CLAIM"
"""Micro-units that an account owes the utility, which advanced them: debtor minus, utility plus."""

ASSETS = (GT, MONEY, GTX, GC, CO2, CLAIM)
ASSET_NUMBER = {asset: number for number, asset in enumerate(ASSETS)}
AMOUNT_MAX = (1 << 63) - 1
NO_FLOOR = -1 << 63
"""Below everything that fits into a column."""


class Columns:
    """`holds` says whether the account may hold the asset at all, `floor` how low it may fall."""

    __slots__ = (
        "credits_pending",
        "credits_posted",
        "debits_pending",
        "debits_posted",
        "floor",
        "holds",
    )

    def __init__(self) -> None:
        self.floor = array("q")
        self.holds = bytearray()
        self.debits_pending = array("q")
        self.debits_posted = array("q")
        self.credits_pending = array("q")
        self.credits_posted = array("q")

    def open(self, floors: Mapping[str, int | None]) -> None:
        """Rows for one more account. `floors` names the assets it may hold; None is no floor."""
        for asset in ASSETS:
            floor = floors.get(asset)
            self.holds.append(asset in floors)
            self.floor.append(NO_FLOOR if floor is None else floor)
        for column in (
            self.debits_pending,
            self.debits_posted,
            self.credits_pending,
            self.credits_posted,
        ):
            column.extend([0] * len(ASSETS))

    def balance(self, row: int) -> int:
        return self.credits_posted[row] - self.debits_posted[row]

    def spendable(self, row: int) -> int:
        return self.credits_posted[row] - self.debits_posted[row] - self.debits_pending[row]

    def is_sound(self, row: int) -> bool:
        return self.spendable(row) >= self.floor[row]

    def fits(self, row: int) -> bool:
        """Every column, and what the pending ones will make of it, within signed 64 bits."""
        return (
            self.debits_posted[row] + self.debits_pending[row] <= AMOUNT_MAX
            and self.credits_posted[row] + self.credits_pending[row] <= AMOUNT_MAX
        )

    def is_used(self, row: int) -> bool:
        """Whether anything was ever posted or is pending here."""
        return bool(
            self.debits_posted[row]
            or self.credits_posted[row]
            or self.debits_pending[row]
            or self.credits_pending[row]
        )

    def state(self, row: int) -> list[int]:
        return [
            self.debits_pending[row],
            self.debits_posted[row],
            self.credits_pending[row],
            self.credits_posted[row],
        ]

    def sums(self) -> dict[str, int]:
        """Each asset's balances added up over all accounts."""
        width = len(ASSETS)
        return {
            asset: sum(self.credits_posted[number::width]) - sum(self.debits_posted[number::width])
            for number, asset in enumerate(ASSETS)
        }


def unsound_row_in_python(columns: Columns) -> int:
    """The first row that is under its floor; -1 for none."""
    rows = zip(
        columns.credits_posted,
        columns.debits_posted,
        columns.debits_pending,
        columns.floor,
        strict=True,
    )
    for row, (credit, debit, pending, floor) in enumerate(rows):
        if credit - debit - pending < floor:
            return row
    return -1


def changed_money_in_python(
    columns: Columns, numbers: list[int], known: "array[int]"
) -> tuple[list[int], list[int]]:
    """(numbers, balances) of those accounts whose money is another than `known` has, by account
    number, which is then brought up to date.
    """
    changed, balances = [], []
    for number in numbers:
        balance = columns.balance(number * len(ASSETS) + ASSET_NUMBER[MONEY])
        if balance != known[number]:
            known[number] = balance
            changed.append(number)
            balances.append(balance)
    return changed, balances


ChangedMoney = Callable[[Columns, list[int], "array[int]"], tuple[list[int], list[int]]]

try:
    from ext.post import changed_money as changed_money_in_c
    from ext.post import unsound_row as unsound_row_in_c

    unsound_row: Callable[[Columns], int] = unsound_row_in_c
    changed_money: ChangedMoney = changed_money_in_c
except ImportError:
    unsound_row = unsound_row_in_python
    changed_money = changed_money_in_python
