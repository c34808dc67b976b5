"""What an account may owe: allowances, reservations and position limits.

Decides before any matching that whatever may come of an offer can be paid. It must never let a
reservation fall below what the bank will make pending for the trade, and never let one go before
the bank has settled the slot.

The bank makes pending for a trade of q Wh at p: the buyer's val(q, p) plus the grid fee on it (and
congestion rent: what q costs more at the buyer's own node, which is within its limit too), and
the seller's margin max(0, val(q, fallback import) - val(q, p)), which is what replacing the energy
can cost beyond its price. An open offer reserves that at its limit price, as whole micro-units per
Wh rounded up with room for every trade's own rounding: linear in Wh, so splitting an offer into any
number of trades never costs more than was reserved.
"""

from cloud.commands import ZoneRules
from protos.ids import AccountId
from protos.messages import Side
from protos.units import BPS, share_bps, val

ROUNDING_MICRO_PER_WH = 2
"""A trade of at least 1 Wh rounds up its value and its fee, by half a micro-unit each at most, on
top of the same for the sum; a fee by the kWh is rounded once more.
"""

_WH_PER_KWH = 1_000


def unit_reserve_micro(
    side: Side, price_micro_per_kwh: int, rules: ZoneRules, wheeling: int = 0
) -> int:
    """What one open Wh reserves, in micro-units. `wheeling` is the dearest that a buyer may meet."""
    rounding = ROUNDING_MICRO_PER_WH
    if side is Side.BUY:
        by_energy = rules.grid_fee_micro_per_kwh + wheeling
        rounding += by_energy > 0
        price = max(0, price_micro_per_kwh)
        per_kwh = price * (BPS + rules.grid_fee_bps) + by_energy * BPS
        owed = -(-per_kwh // (_WH_PER_KWH * BPS))
    else:
        margin = rules.fallback_import_micro_per_kwh - price_micro_per_kwh
        owed = -(-max(0, margin) // _WH_PER_KWH)
    return owed + rounding if owed else 0


def owed_micro(
    side: Side,
    energy_wh: int,
    price_micro_per_kwh: int,
    rules: ZoneRules,
    rent_micro: int = 0,
    wheeling: int = 0,
) -> int:
    """What the bank makes pending for one side of a trade, in micro-units."""
    value = val(energy_wh, price_micro_per_kwh)
    if side is Side.BUY:
        fee = share_bps(max(0, value), rules.grid_fee_bps)
        fee += val(energy_wh, rules.grid_fee_micro_per_kwh + wheeling)
        return max(0, value + fee + rent_micro)
    return max(0, val(energy_wh, rules.fallback_import_micro_per_kwh) - value)


class Purse:
    """One account's allowance and what is reserved against it. Micro-units, Wh by slot and side.

    `index` is the account's number in the book, by which it is kept from trading with itself.
    `reserved_micro` is always `open_micro` plus all of `committed`.
    """

    __slots__ = (
        "account",
        "allowance_micro",
        "committed",
        "index",
        "open_micro",
        "positions",
        "reserved_micro",
    )

    def __init__(self, account: AccountId, index: int) -> None:
        self.account = account
        self.index = index
        self.allowance_micro = 0
        self.open_micro = 0
        self.reserved_micro = 0
        self.committed: dict[int, int] = {}
        self.positions: dict[int, list[int]] = {}

    def position_wh(self, slot: int, side: Side) -> int:
        """Open and traded energy of one side together: what the account may have to deliver."""
        position = self.positions.get(slot)
        return position[side] if position else 0

    def hold(self, slot: int, side: Side, energy_wh: int, unit_micro: int) -> None:
        """An offer opens."""
        self.open_micro += energy_wh * unit_micro
        self.reserved_micro += energy_wh * unit_micro
        self.positions.setdefault(slot, [0, 0])[side] += energy_wh

    def drop(self, slot: int, side: Side, energy_wh: int, unit_micro: int) -> None:
        """What is left of an offer goes."""
        self.open_micro -= energy_wh * unit_micro
        self.reserved_micro -= energy_wh * unit_micro
        self.positions[slot][side] -= energy_wh

    def commit(self, slot: int, energy_wh: int, unit_micro: int, owed: int) -> None:
        """A part of an open offer becomes a trade: what it owes takes the place of its hold."""
        self.open_micro -= energy_wh * unit_micro
        self.reserved_micro += owed - energy_wh * unit_micro
        if owed:
            self.committed[slot] = self.committed.get(slot, 0) + owed

    def uncommit(self, slot: int, owed: int) -> None:
        """A trade was void: what it owed is free, if the slot was not released before."""
        if owed and slot in self.committed:
            self.committed[slot] -= owed
            self.reserved_micro -= owed

    def release(self, slot: int) -> None:
        """The bank has settled the slot."""
        self.reserved_micro -= self.committed.pop(slot, 0)

    def close(self, slot: int) -> None:
        """The slot's gate has closed and its open offers are gone: positions no longer matter."""
        self.positions.pop(slot, None)

    def state(self) -> object:
        return (
            self.account,
            self.allowance_micro,
            self.open_micro,
            self.reserved_micro,
            sorted(self.committed.items()),
            sorted((slot, *wh) for slot, wh in self.positions.items()),
        )


class Purses:
    """The purses of a zone, by account, in the order in which they were first named."""

    def __init__(self) -> None:
        self._purses: dict[AccountId, Purse] = {}

    def of(self, account: AccountId) -> Purse:
        purse = self._purses.get(account)
        if purse is None:
            purse = self._purses[account] = Purse(account, len(self._purses) + 1)
        return purse

    def close(self, slot: int) -> None:
        for purse in self._purses.values():
            purse.close(slot)

    def state(self) -> object:
        return [purse.state() for purse in self._purses.values()]
