"""The order-to-trade throttle: how many offers an account may place for what it trades.

Decides, by account and slot, when an account has placed so many more offers than it traded that it
only costs the others time. Past the free ones it must have one trade for so many offers (rule M1 of
the zone: 100 to 1 above 500; our own thresholds, as data in `ZoneRules`). Cancelling is never
throttled, and what trades of its open offers lets it place more. Must never remember a slot whose
gate has closed.
"""

from dataclasses import dataclass

from cloud.commands import ZoneRules
from protos.ids import AccountId


@dataclass(slots=True)
class Tally:
    """What an account did in a slot: offers that were well formed, and trades, on either side."""

    orders: int = 0
    trades: int = 0


class Throttle:
    """The tallies of a zone's open slots: at most one for an account and an open slot."""

    def __init__(self) -> None:
        self._slots: dict[int, dict[AccountId, Tally]] = {}

    def allows(self, account: AccountId, slot: int, rules: ZoneRules) -> bool:
        """Whether one offer more may be placed; if so it is counted, whatever becomes of it."""
        tally = self._slots.setdefault(slot, {}).setdefault(account, Tally())
        orders = tally.orders + 1
        is_limited = rules.orders_free > 0 and rules.orders_per_trade_max > 0
        most = max(rules.orders_free, rules.orders_per_trade_max * max(1, tally.trades))
        if is_limited and orders > most:
            return False
        tally.orders = orders
        return True

    def count_trade(self, account: AccountId, slot: int) -> None:
        """An offer of the account, which was allowed before, was part of a trade."""
        self._slots[slot][account].trades += 1

    def close(self, slot: int) -> None:
        """The slot's gate has closed: nothing can be placed for it any more."""
        self._slots.pop(slot, None)

    def state(self) -> object:
        return [
            (slot, [(account, tally.orders, tally.trades) for account, tally in tallies.items()])
            for slot, tallies in sorted(self._slots.items())
        ]
