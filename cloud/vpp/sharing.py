"""Which homes a venue's payment belongs to: what each delivered for the bid that is paid.

A statement pays for a bid; the homes that delivered for it get their part by Wh. The desk only says
who delivered and what the amount is in the zones' currency; the bank splits and posts. Purchases
are the operator's: a home that was charged pays for the energy where its meter counts it. Between
two currencies nothing is shared before somebody has said the rate; what waited is shared then.
"""

from collections.abc import Mapping

from cloud.commands import DeclareCurrencies, Delivery, RecordStatement, ShareRules
from cloud.facts import BidSettled, DeskRefused, Fact, RevenueStated
from cloud.vpp.bids import Bid, bid_state
from protos.messages import Refusal
from protos.units import PER_MILLE

MILLION = 1_000_000
PAID_MAX = 20_000
"""Paid bids that late statements may still reach, oldest forgotten first: as many as the bank's, over
two years of hours."""

HOME_SHARE = ShareRules(owners_per_mille=800, rate_micro=MILLION)
"""Four fifths to the homes; one to one is right only where both sides count in one currency."""


def are_sound(rules: ShareRules) -> bool:
    return 0 <= rules.owners_per_mille <= PER_MILLE and rules.rate_micro > 0


def converted_micro(amount_micro: int, rate_micro: int) -> int:
    """An amount in the other currency, halves up, rounded once."""
    return (2 * amount_micro * rate_micro + MILLION) // (2 * MILLION)


def stated(bid: Bid, rules: ShareRules) -> RevenueStated:
    """What the newest statement of a bid means for the homes. The bid has one."""
    assert bid.statement is not None, "a bid without a statement has nothing to share"
    version, amount_micro = bid.statement
    return RevenueStated(
        bid.prepared.venue,
        bid.prepared.bid_id,
        version,
        converted_micro(amount_micro, rules.rate_micro),
        rules.owners_per_mille,
        tuple(Delivery(account, energy) for account, energy in sorted(bid.delivered_wh.items())),
    )


class Sharing:
    """The rules of sharing, and whether a rate is known."""

    def __init__(self) -> None:
        self.rules = HOME_SHARE
        self.declared: DeclareCurrencies | None = None
        self.has_rate = True
        """Older journals say no currency and share one to one."""

    def declare(self, command: DeclareCurrencies) -> bool:
        """Takes the currencies over; an explicit rate stands over one to one."""
        one_money = command.zones == command.venues
        self.declared = command
        self.has_rate = one_money or command.rate_micro > 0
        if self.has_rate:
            rate = MILLION if one_money else command.rate_micro
            self.rules = ShareRules(self.rules.owners_per_mille, rate)
        return self.has_rate

    def state(self) -> list[object]:
        declared = self.declared
        said = None if declared is None else [declared.zones, declared.venues, declared.rate_micro]
        return [self.rules.owners_per_mille, self.rules.rate_micro, said, self.has_rate]


class Payments:
    """What statements pay, for bids that are remembered and for paid ones of long ago."""

    def __init__(self) -> None:
        self._late: dict[str, Bid] = {}
        self._waiting: dict[str, Bid] = {}
        """Settled bids whose homes wait for a rate."""

    def find(self, bids: Mapping[str, Bid], bid_id: str) -> Bid | None:
        """The bid that a statement names. Before the first declaration nothing is kept late."""
        return bids.get(bid_id) or self._late.get(bid_id)

    def keep(self, bid: Bid) -> None:
        """A bid that the desk forgets, for statements that come years later."""
        if bid.delivered_wh:
            self._late[bid.prepared.bid_id] = bid
        while len(self._late) > PAID_MAX:
            gone = next(iter(self._late))
            del self._late[gone]
            self._waiting.pop(gone, None)

    def settle(self, bid: Bid, command: RecordStatement, sharing: Sharing) -> list[Fact]:
        """One version's word on a bid, and what it means for the homes."""
        known = bid.statement
        refusal = bid.settle(command.version, command.amount_micro)
        if refusal is not None:
            return [DeskRefused(command.bid_id, refusal)]
        if bid.statement == known:
            return []
        settled = (command.version, command.amount_micro, bid.revenue_micro)
        facts: list[Fact] = [BidSettled(command.bid_id, *settled)]
        if not bid.delivered_wh:
            return facts
        if not sharing.has_rate:
            self._waiting[command.bid_id] = bid
            return [*facts, DeskRefused(command.bid_id, Refusal.NO_RATE)]
        return [*facts, stated(bid, sharing.rules)]

    def catch_up(self, sharing: Sharing) -> list[Fact]:
        """What waited for a rate, once there is one."""
        if not sharing.has_rate or not self._waiting:
            return []
        waited, self._waiting = self._waiting, {}
        return [stated(bid, sharing.rules) for bid in waited.values()]

    def state(self) -> list[object]:
        return [[bid_state(bid) for bid in self._late.values()], list(self._waiting)]
