"""Trades that the bank could still refuse, and how one is undone.

Decides what of a voided trade can be given back: both purses always, the grid's room and the slot's
totals while its gate is open. The offers themselves do not come back: their owners are told and may
offer again. Must never undo a trade twice, and never one that it did not see made.
"""

from dataclasses import dataclass, field
from typing import Protocol

from cloud.commands import VoidTrades, ZoneRules
from cloud.facts import Fact, Traded, TradeVoided
from cloud.market.risk import Purse, owed_micro
from cloud.market.slots import Market
from cloud.market.streams import Gateway
from protos.messages import Side

SLOTS_KEPT_MAX = 128
"""A day of open slots and some that have closed; the bank answers within the same second."""


class Party(Protocol):
    """Whose gateway and purse a trade touched: an offer."""

    gateway: Gateway
    purse: Purse


@dataclass(frozen=True, slots=True)
class Matched:
    """What must be known of a trade to undo it."""

    traded: Traded
    buyer_node: int
    buyer: Purse
    seller_node: int
    seller: Purse


@dataclass(slots=True)
class Unsettled:
    """The trades of the slots that were traded last, by slot and trade."""

    zone: str
    _slots: dict[int, dict[int, Matched]] = field(default_factory=dict)

    def keep(self, traded: Traded, buyer: Party, seller: Party) -> None:
        slot = traded.slot
        if slot not in self._slots and len(self._slots) >= SLOTS_KEPT_MAX:
            del self._slots[min(self._slots)]
        matched = Matched(
            traded, buyer.gateway.node, buyer.purse, seller.gateway.node, seller.purse
        )
        self._slots.setdefault(slot, {})[traded.trade] = matched

    def void(self, command: VoidTrades, market: Market | None, rules: ZoneRules) -> list[Fact]:
        """One fact for each trade undone; a trade that is not known was undone before."""
        facts: list[Fact] = []
        trades = self._slots.get(command.slot, {})
        for trade, reason in zip(command.trades, command.reasons, strict=True):
            matched = trades.pop(trade, None)
            if matched is not None:
                _give_back(matched, market, rules)
                facts.append(_voided(matched.traded, reason))
        return facts

    def state(self) -> object:
        return [[slot, sorted(trades)] for slot, trades in sorted(self._slots.items())]


def _voided(traded: Traded, reason: int) -> TradeVoided:
    return TradeVoided(
        traded.zone,
        traded.slot,
        traded.trade,
        traded.energy_wh,
        traded.buyer_device,
        traded.buyer_number,
        traded.seller_device,
        traded.seller_number,
        reason,
    )


def _give_back(matched: Matched, market: Market | None, rules: ZoneRules) -> None:
    traded = matched.traded
    slot, energy_wh, price = traded.slot, traded.energy_wh, traded.price_micro_per_kwh
    for side, purse in ((Side.BUY, matched.buyer), (Side.SELL, matched.seller)):
        besides = traded.rent_micro, traded.wheeling_micro_per_kwh
        purse.uncommit(slot, owed_micro(side, energy_wh, price, rules, *besides))
        if market is not None:
            purse.drop(slot, side, energy_wh, 0)
    if market is not None:
        market.withdraw(matched.seller_node, matched.buyer_node, energy_wh)
