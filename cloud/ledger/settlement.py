"""The settlement rule: from trades and meters to what every account pays, gets, makes and burns.

Decides money and tokens of one slot, purely. The rule: deliver what both meters allow; whoever
falls short pays the replacement at the fallback tariff, so that a party that kept its word pays or
gets exactly quantity times price; where both fell short their deviations cancel. Every leg is
integer micro-units and all legs of a trade sum to zero. Must never look at balances: that nothing
goes unpaid follows from the bounds `escrow` and `margin`, reserved when the trade was made.

Units: Wh, micro-units of the currency, micro-units per kWh, ten-thousandths for rates.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cloud.commands import MeterSlot, TradeTerms, ZoneRules
from cloud.ledger.delivery import augment, deliver, split_capped
from protos.ids import AccountId
from protos.limits import PRICE_MICRO_PER_KWH_MAX
from protos.units import BPS, largest_remainder, share_bps, val

FUND_SHARES = {"validators": 50, "treasury": 40, "insurance": 10}
"""Who gets the trading fee, in per cent."""

TRADING_FEE_BPS_MAX = 1_000
"""Above a tenth the margin would no longer cover a seller's worst case."""

ERROR_WH_MAX = (1 << 63) - 1


@dataclass(slots=True)
class Totals:
    """One account in one slot, all revisions so far. Money is positive when received."""

    import_wh: int = 0
    export_wh: int = 0
    verified_wh: int = 0
    bought_wh: int = 0
    sold_wh: int = 0
    delivered_bought_wh: int = 0
    delivered_sold_wh: int = 0
    tokens_bought_wh: int = 0
    tokens_sold_wh: int = 0
    money_micro: int = 0
    fees_micro: int = 0
    wheeling_micro: int = 0
    banked_wh: int = 0


NOTHING = Totals()


@dataclass(slots=True)
class Outcome:
    """A whole slot. The utility's money and the fees close what the accounts leave open."""

    accounts: dict[AccountId, Totals] = field(default_factory=dict)
    utility_micro: int = 0
    grid_fee_micro: int = 0
    trading_fee_micro: int = 0
    rounding_micro: int = 0
    trades: int = 0
    sold_wh: int = 0
    delivered_wh: int = 0
    minted_wh: int = 0
    tokens_delivered_wh: int = 0
    banked_wh: int = 0

    @property
    def unsold_wh(self) -> int:
        """Minted Wh that no buyer took and no home keeps: the utility buys and burns them."""
        return self.minted_wh - self.tokens_delivered_wh - self.banked_wh

    @property
    def fees_micro(self) -> int:
        return self.grid_fee_micro + self.trading_fee_micro


class Legs(NamedTuple):
    """The money of one trade, positive when received. It sums to zero but for the wheeling fee,
    which is the part of the grid fee that is asked for the way.
    """

    buyer_micro: int
    seller_micro: int
    utility_micro: int
    grid_fee_micro: int
    trading_fee_micro: int
    wheeling_micro: int = 0
    rounding_micro: int = 0


def escrow(energy_wh: int, price: int, rules: ZoneRules, wheeling: int = 0) -> int:
    """The most a buyer can come to owe for a trade: its value and the grid fee."""
    value = val(energy_wh, price)
    return value + grid_fee(energy_wh, value, rules, wheeling)


def grid_fee(energy_wh: int, value_micro: int, rules: ZoneRules, wheeling: int = 0) -> int:
    """What the grid operator gets for delivered energy: a share of its value and a price a kWh, the
    latter with the wheeling fee (micro-units per kWh) between the two parties' areas.
    """
    by_value = share_bps(value_micro, rules.grid_fee_bps)
    by_energy = rules.grid_fee_micro_per_kwh + wheeling
    return by_value + val(energy_wh, by_energy) if by_energy else by_value


def margin(energy_wh: int, price: int, rules: ZoneRules) -> int:
    """The most a seller can come to owe: replacing all of it at the fallback import tariff."""
    return max(0, val(energy_wh, rules.fallback_import_micro_per_kwh) - val(energy_wh, price))


def fund_split(trading_fee_micro: int) -> list[int]:
    """The trading fee by FUND_SHARES, to the last micro-unit."""
    return largest_remainder(trading_fee_micro, list(FUND_SHARES.values()))


def legs(
    terms: TradeTerms, delivered_wh: int, untaken_wh: int, missing_wh: int, rules: ZoneRules
) -> Legs:
    """Money for one trade: `delivered` changed hands, and of the rest the seller had `untaken` Wh
    ready that the buyer did not take, or the buyer took `missing` Wh that the seller did not make.

    The value of untaken or missing Wh is what the trade's value grows by when they are added to
    those delivered, so that parts always sum to the whole and a compliant party gets exactly
    quantity times price. A replacement is never charged beyond the seller's margin: rounding could
    ask for one micro-unit more, which the utility then bears, or the rounding account where the rules
    have one. Congestion rent is the price of the
    room that was set aside, so it is owed whole, delivered or not, and is the grid operator's.
    """
    price, wheeling = terms.price_micro_per_kwh, terms.wheeling_micro_per_kwh
    value = val(delivered_wh, price)
    for_grid = grid_fee(delivered_wh, value, rules, wheeling)
    for_way = for_grid - grid_fee(delivered_wh, value, rules) if wheeling else 0
    for_grid += terms.rent_micro
    trading_fee = share_bps(value, rules.trading_fee_bps)
    buyer, seller, utility, rounding = -value - for_grid, value - trading_fee, 0, 0
    if untaken_wh:
        due = val(delivered_wh + untaken_wh, price) - value
        taken_over = min(due, val(untaken_wh, rules.fallback_export_micro_per_kwh))
        seller += due
        utility -= taken_over
        buyer -= due - taken_over
    if missing_wh:
        due = val(delivered_wh + missing_wh, price) - value
        replacement = val(missing_wh, rules.fallback_import_micro_per_kwh)
        affordable = seller + margin(terms.energy_wh, price, rules)
        asked = max(0, replacement - due)
        top_up = min(asked, affordable)
        if rules.post_rounding:
            rounding = top_up - asked
        buyer -= due
        seller -= top_up
        utility += due + top_up - rounding
    return Legs(buyer, seller, utility, for_grid, trading_fee, for_way, rounding)


def settle(
    trades: Sequence[TradeTerms], meters: Mapping[AccountId, Sequence[MeterSlot]], rules: ZoneRules
) -> Outcome:
    """The slot's outcome, from scratch. `trades` in trade-id order; accounts come out sorted."""
    outcome = Outcome(trades=len(trades))
    names = sorted({*meters, *(t.buyer for t in trades), *(t.seller for t in trades)})
    totals = [_metered(meters.get(name, ())) for name in names]
    outcome.accounts = dict(zip(names, totals, strict=True))
    number = {name: index for index, name in enumerate(names)}
    sellers = [number[terms.seller] for terms in trades]
    buyers = [number[terms.buyer] for terms in trades]
    energy = [terms.energy_wh for terms in trades]
    exported = [t.export_wh for t in totals]
    imported = [t.import_wh for t in totals]
    delivered = deliver(sellers, buyers, energy, exported, imported, augment)
    untaken = _remainders(sellers, energy, delivered, exported)
    missing = _remainders(buyers, energy, delivered, imported)
    for trade, terms in enumerate(trades):
        parties = totals[sellers[trade]], totals[buyers[trade]]
        money = legs(terms, delivered[trade], untaken[trade], missing[trade], rules)
        _book_trade(outcome, parties, terms.energy_wh, delivered[trade], money)
    ready = list(map(int.__add__, delivered, untaken))
    _book_unsold(outcome, totals, _sums(sellers, ready, len(totals)), rules)
    assert outcome_is_balanced(outcome), "the slot's money does not sum to zero"
    return outcome


def outcome_is_balanced(outcome: Outcome) -> bool:
    accounts = sum(totals.money_micro for totals in outcome.accounts.values())
    system = outcome.utility_micro + outcome.grid_fee_micro + outcome.trading_fee_micro
    return accounts + system + outcome.rounding_micro == 0


def conservation_error_wh(outcome: Outcome, meters: Iterable[MeterSlot]) -> int:
    """What the equation export + grid_in = import + grid_out is off by, in Wh.

    The meters give export and import; what flowed over the grid connection is what the settled
    accounts exchanged beyond the deliveries among them. Wh of a meter that no account stands for
    remain, and are the error; what an absurd meter adds ends at 64 bits.
    """
    export = imported = 0
    for meter in meters:
        export += meter.export_wh
        imported += meter.import_wh
    accounts = outcome.accounts.values()
    grid_out = sum(t.export_wh - t.delivered_sold_wh for t in accounts)
    grid_in = sum(t.import_wh - t.delivered_bought_wh for t in accounts)
    error = export + grid_in - imported - grid_out
    return max(-ERROR_WH_MAX, min(ERROR_WH_MAX, error))


def rules_are_sound(rules: ZoneRules) -> bool:
    """Whether the bounds hold under these rules: a band that is one, and fees below their caps."""
    return (
        0
        <= rules.fallback_export_micro_per_kwh
        <= rules.fallback_import_micro_per_kwh
        <= PRICE_MICRO_PER_KWH_MAX
        and 0 <= rules.grid_fee_bps <= BPS
        and 0 <= rules.grid_fee_micro_per_kwh <= PRICE_MICRO_PER_KWH_MAX
        and 0 <= rules.vat_bps <= BPS
        and 0 <= rules.trading_fee_bps <= TRADING_FEE_BPS_MAX
        and rules.wheeling_is_sound
    )


def _metered(meters: Sequence[MeterSlot]) -> Totals:
    totals = Totals()
    for meter in meters:
        totals.import_wh += meter.import_wh
        totals.export_wh += meter.export_wh
        if not meter.estimated:
            totals.verified_wh += meter.export_wh
    return totals


def _sums(parties: Sequence[int], amounts: Sequence[int], count: int) -> list[int]:
    sums = [0] * count
    for party, amount in zip(parties, amounts, strict=True):
        sums[party] += amount
    return sums


def _remainders(
    parties: Sequence[int],
    energy_wh: Sequence[int],
    delivered_wh: Sequence[int],
    metered_wh: Sequence[int],
) -> list[int]:
    """What each party metered beyond its deliveries, over what its trades are still short of.

    At the maximum flow no trade is short on both sides: it would have carried more.
    """
    over = list(metered_wh)
    short_trades: dict[int, list[int]] = {}
    for trade, party in enumerate(parties):
        over[party] -= delivered_wh[trade]
        if delivered_wh[trade] < energy_wh[trade]:
            short_trades.setdefault(party, []).append(trade)
    result = [0] * len(parties)
    for party, trades in short_trades.items():
        if over[party]:
            short = [energy_wh[trade] - delivered_wh[trade] for trade in trades]
            for trade, share in zip(trades, split_capped(over[party], short), strict=True):
                result[trade] = share
    return result


def _book_trade(
    outcome: Outcome, parties: tuple[Totals, Totals], energy: int, delivered: int, money: Legs
) -> None:
    """Adds one trade to its seller, its buyer and the slot. Tokens only for verified Wh."""
    seller, buyer = parties
    tokens = min(delivered, seller.verified_wh - seller.tokens_sold_wh)
    seller.sold_wh += energy
    seller.delivered_sold_wh += delivered
    seller.tokens_sold_wh += tokens
    seller.money_micro += money.seller_micro
    seller.fees_micro += money.trading_fee_micro
    buyer.bought_wh += energy
    buyer.delivered_bought_wh += delivered
    buyer.tokens_bought_wh += tokens
    buyer.money_micro += money.buyer_micro
    buyer.fees_micro += money.grid_fee_micro
    buyer.wheeling_micro += money.wheeling_micro
    outcome.sold_wh += energy
    outcome.delivered_wh += delivered
    outcome.tokens_delivered_wh += tokens
    outcome.utility_micro += money.utility_micro
    outcome.rounding_micro += money.rounding_micro
    outcome.grid_fee_micro += money.grid_fee_micro
    outcome.trading_fee_micro += money.trading_fee_micro


def _book_unsold(
    outcome: Outcome, totals: Sequence[Totals], ready_wh: Sequence[int], rules: ZoneRules
) -> None:
    """What was exported beyond all trades: the utility buys it at the fallback export tariff, or,
    where unsold energy is banked, the home keeps what was read of it as tokens and gets no money.
    """
    for account, ready in zip(totals, ready_wh, strict=True):
        outcome.minted_wh += account.verified_wh
        if account.export_wh > ready:
            if rules.bank_unsold:
                account.banked_wh = max(0, account.verified_wh - ready)
                outcome.banked_wh += account.banked_wh
            bought = account.export_wh - ready - account.banked_wh
            price = val(bought, rules.fallback_export_micro_per_kwh)
            account.money_micro += price
            outcome.utility_micro -= price
