"""The settlement rule: against the naive oracle on random markets, and by its promises."""

import random

import pytest

from cloud.commands import MeterSlot, TradeTerms, ZoneRules
from cloud.ledger.delivery import augment, deliver
from cloud.ledger.settlement import (
    conservation_error_wh,
    escrow,
    fund_split,
    legs,
    margin,
    outcome_is_balanced,
    rules_are_sound,
    settle,
)
from cloud.market.risk import owed_micro, unit_reserve_micro
from protos.messages import Side
from tests.oracle import bank as oracle

RULES = ZoneRules()
MARKETS = 10_000


def random_rules(draw):
    """Tariffs and fees down to odd micro-units, where rounding bites."""
    low = draw.choice((0, draw.randint(0, 3_000), draw.randint(0, 3_000_000)))
    high = low + draw.choice((0, draw.randint(0, 3), draw.randint(0, 4_000_000)))
    return ZoneRules(
        fallback_export_micro_per_kwh=low,
        fallback_import_micro_per_kwh=high,
        grid_fee_bps=draw.choice((0, 500, draw.randint(0, 10_000))),
        trading_fee_bps=draw.choice((0, 10, draw.randint(0, 1_000))),
        grid_fee_micro_per_kwh=draw.choice((0, 1_151_000, draw.randint(0, 3_000))),
        bank_unsold=draw.random() < 0.3,
        post_rounding=draw.random() < 0.5,
    )


def random_market(draw, parties=5, count=12):
    rules = random_rules(draw)
    low, high = rules.fallback_export_micro_per_kwh, rules.fallback_import_micro_per_kwh
    sellers = [f"s{n}" for n in range(draw.randint(1, parties))]
    buyers = [f"b{n}" for n in range(draw.randint(1, parties))]
    largest = draw.choice((3, 2_000))
    trades = [
        TradeTerms(
            number,
            draw.choice(buyers),
            draw.choice(sellers),
            draw.randint(1, largest),
            draw.randint(low, high),
            wheeling_micro_per_kwh=draw.choice((0, draw.randint(1, 2_000_000))),
        )
        for number in range(1, draw.randint(1, count) + 1)
    ]
    exported = {name: draw.randint(0, 4 * largest) for name in sellers}
    imported = {name: draw.randint(0, 4 * largest) for name in buyers}
    return rules, trades, exported, imported


def meters_of(exported, imported, estimated=()):
    pairs = {name: (0, wh) for name, wh in exported.items()}
    pairs |= {name: (wh, 0) for name, wh in imported.items()}
    return {
        name: [MeterSlot(name, taken, given, name in estimated)]
        for name, (taken, given) in pairs.items()
    }


def delivered_by_trade(trades, exported, imported):
    """What the settlement delivers of each trade, computed beside it from the same columns."""
    names = sorted({*exported, *imported})
    return deliver(
        [names.index(terms.seller) for terms in trades],
        [names.index(terms.buyer) for terms in trades],
        [terms.energy_wh for terms in trades],
        [exported.get(name, 0) for name in names],
        [imported.get(name, 0) for name in names],
        augment,
    )


def test_ten_thousand_random_markets_settle_as_the_oracle_says():
    for seed in range(MARKETS):
        draw = random.Random(seed)
        rules, trades, exported, imported = random_market(draw)
        meters = meters_of(exported, imported)
        outcome = settle(trades, meters, rules)
        delivered = delivered_by_trade(trades, exported, imported)
        net, *expected = oracle.money(trades, delivered, exported, imported, rules)
        got = {name: totals.money_micro for name, totals in outcome.accounts.items()}
        assert got == net, f"money, seed {seed}"
        system = [
            outcome.utility_micro,
            outcome.grid_fee_micro,
            outcome.trading_fee_micro,
            outcome.rounding_micro,
        ]
        assert system == expected, f"system money, seed {seed}"
        assert -len(trades) <= outcome.rounding_micro <= 0, f"rounding, seed {seed}"
        assert sum(net.values()) + sum(system) == 0, f"zero sum, seed {seed}"
        assert outcome.delivered_wh == sum(delivered), f"energy, seed {seed}"
        if seed % 4 == 0:  # the search for an optimum is the slow half
            optimum = oracle.optimum_wh(trades, exported, imported)
            assert outcome.delivered_wh == optimum, f"optimum, seed {seed}"
        all_meters = [meter for group in meters.values() for meter in group]
        assert conservation_error_wh(outcome, all_meters) == 0, f"conservation, seed {seed}"
        check_bounds(rules, trades, outcome, seed)


def check_bounds(rules, trades, outcome, seed):
    """Nobody comes to owe more than was reserved for all of its trades."""
    bound = dict.fromkeys(outcome.accounts, 0)
    for terms in trades:
        amounts = (terms.energy_wh, terms.price_micro_per_kwh, rules)
        way = terms.wheeling_micro_per_kwh
        assert escrow(*amounts, way) == oracle.buyer_bound(*amounts, way)
        assert margin(*amounts) == oracle.seller_bound(*amounts)
        bound[terms.buyer] += escrow(*amounts, way)
        bound[terms.seller] += margin(*amounts)
    for name, totals in outcome.accounts.items():
        assert -totals.money_micro <= bound[name], f"{name} owes too much, seed {seed}"


def test_each_trade_alone_stays_within_its_bounds_at_every_division():
    for seed in range(3_000):
        draw = random.Random(seed)
        rules = random_rules(draw)
        price = draw.randint(
            rules.fallback_export_micro_per_kwh, rules.fallback_import_micro_per_kwh
        )
        quantity = draw.choice((draw.randint(1, 6), draw.randint(1, 100_000)))
        delivered = draw.randint(0, quantity)
        over = draw.randint(0, quantity - delivered)
        terms = TradeTerms(1, "b", "s", quantity, price)
        for untaken, missing in ((over, 0), (0, over)):
            money = legs(terms, delivered, untaken, missing, rules)
            assert -money.buyer_micro <= escrow(quantity, price, rules)
            assert -money.seller_micro <= margin(quantity, price, rules)
            assert (
                money.buyer_micro
                + money.seller_micro
                + money.utility_micro
                + money.grid_fee_micro
                + money.trading_fee_micro
                + money.rounding_micro
                == 0
            )


def test_what_an_offer_reserves_covers_every_way_in_which_it_can_trade():
    for seed in range(2_000):
        draw = random.Random(seed)
        rules = random_rules(draw)
        low, high = rules.fallback_export_micro_per_kwh, rules.fallback_import_micro_per_kwh
        price, left = draw.randint(low, high), draw.randint(1, 3_000)
        dearest = draw.choice((0, draw.randint(1, 2_000_000)))
        unit = {side: unit_reserve_micro(side, price, rules, dearest) for side in Side}
        held = {side: left * unit[side] for side in Side}
        while left:
            part = draw.choice((1, draw.randint(1, left)))
            left -= part
            for side in Side:
                better = draw.randint(low, price) if side is Side.BUY else draw.randint(price, high)
                way = draw.randint(0, dearest)
                owed = owed_micro(side, part, better, rules, 0, way)
                amounts = (part, better, rules)
                assert owed == (escrow(*amounts, way) if side is Side.BUY else margin(*amounts))
                held[side] -= owed
        assert min(held.values()) >= 0, f"seed {seed}"


def test_a_grid_fee_by_the_kwh_does_not_depend_on_the_price():
    rules = ZoneRules(grid_fee_bps=0, grid_fee_micro_per_kwh=1_151_000)
    fees = {
        legs(TradeTerms(1, "b", "s", 2_000, price), 2_000, 0, 0, rules).grid_fee_micro
        for price in (2_200_000, 4_000_000, 5_800_000)
    }
    assert fees == {2_302_000}
    assert escrow(2_000, 4_000_000, rules) == 8_000_000 + 2_302_000


def test_a_trade_that_is_kept_moves_price_times_quantity_and_the_fees():
    terms = TradeTerms(1, "b", "s", 1_000, 3_000_000)
    outcome = settle([terms], meters_of({"s": 1_000}, {"b": 1_000}), RULES)
    assert outcome.accounts["b"].money_micro == -3_150_000
    assert outcome.accounts["s"].money_micro == 2_997_000
    assert (outcome.grid_fee_micro, outcome.trading_fee_micro) == (150_000, 3_000)
    assert outcome.utility_micro == 0


def test_a_compliant_buyer_pays_exactly_price_times_quantity_when_the_seller_fails():
    for delivered in range(0, 1_000, 37):
        terms = TradeTerms(1, "b", "s", 999, 3_333_333)
        outcome = settle([terms], meters_of({"s": delivered}, {"b": 999}), RULES)
        value = oracle.value(999, 3_333_333)
        buyer = outcome.accounts["b"]
        assert -buyer.money_micro - buyer.fees_micro == value
        assert outcome.accounts["s"].money_micro < 0 or delivered > 400


def test_a_compliant_seller_gets_exactly_price_times_quantity_when_the_buyer_fails():
    for taken in range(0, 1_000, 37):
        terms = TradeTerms(1, "b", "s", 999, 3_333_333)
        outcome = settle([terms], meters_of({"s": 999}, {"b": taken}), RULES)
        seller = outcome.accounts["s"]
        assert seller.money_micro + seller.fees_micro == oracle.value(999, 3_333_333)


def test_a_rounding_that_would_pass_the_margin_is_borne_by_the_utility():
    # One of two Wh was needed: replacing it costs 1, but the margin of both rounds to 0.
    rules = ZoneRules(fallback_export_micro_per_kwh=0, fallback_import_micro_per_kwh=500)
    terms = TradeTerms(1, "b", "s", 2, 499)
    assert margin(2, 499, rules) == 0
    outcome = settle([terms], meters_of({"s": 0}, {"b": 1}), rules)
    assert outcome.accounts["s"].money_micro == 0
    assert outcome.utility_micro == 0


def test_where_both_fail_their_deviations_cancel():
    terms = TradeTerms(1, "b", "s", 1_000, 3_000_000)
    outcome = settle([terms], meters_of({"s": 400}, {"b": 400}), RULES)
    assert outcome.delivered_wh == 400
    assert outcome.utility_micro == 0
    assert -outcome.accounts["b"].money_micro == 1_200_000 + 60_000


def test_a_meter_that_counted_nothing_voids_its_trades_at_replacement_cost():
    terms = TradeTerms(1, "b", "s", 1_000, 3_000_000)
    outcome = settle([terms], meters_of({"s": 0}, {"b": 1_000}), RULES)
    assert outcome.accounts["b"].money_micro == -3_000_000
    assert outcome.accounts["s"].money_micro == -2_800_000
    assert outcome.utility_micro == 5_800_000
    assert outcome.grid_fee_micro == 0


def test_export_beyond_all_trades_is_bought_at_the_fallback_tariff():
    outcome = settle([], meters_of({"s": 500}, {}), RULES)
    assert outcome.accounts["s"].money_micro == 1_100_000
    assert (outcome.minted_wh, outcome.unsold_wh) == (500, 500)


def test_an_estimated_reading_settles_money_but_makes_no_token():
    terms = TradeTerms(1, "b", "s", 1_000, 3_000_000)
    meters = meters_of({"s": 1_500}, {"b": 1_000}, estimated=("s",))
    outcome = settle([terms], meters, RULES)
    assert outcome.accounts["s"].money_micro == 2_997_000 + 1_100_000
    assert (outcome.minted_wh, outcome.tokens_delivered_wh) == (0, 0)
    assert outcome.accounts["b"].tokens_bought_wh == 0


def test_of_two_meters_only_the_verified_one_makes_tokens():
    terms = TradeTerms(1, "b", "s", 1_000, 3_000_000)
    meters = {
        "s": [MeterSlot("s", 0, 700, True), MeterSlot("s", 0, 300, False)],
        "b": [MeterSlot("b", 1_000, 0, True)],
    }
    outcome = settle([terms], meters, RULES)
    assert outcome.delivered_wh == 1_000
    assert (outcome.minted_wh, outcome.tokens_delivered_wh) == (300, 300)


def test_the_order_of_meters_does_not_matter():
    draw = random.Random(7)
    rules, trades, exported, imported = random_market(draw)
    meters = meters_of(exported, imported)
    backwards = dict(reversed(meters.items()))
    assert settle(trades, meters, rules) == settle(trades, backwards, rules)
    assert list(settle(trades, backwards, rules).accounts) == sorted(meters)


def test_a_meter_without_an_account_shows_as_the_conservation_error():
    outcome = settle([], meters_of({"s": 500}, {}), RULES)
    strangers = [MeterSlot("s", 0, 500, False), MeterSlot("?", 0, 77, False)]
    assert conservation_error_wh(outcome, strangers) == 77


def test_the_trading_fee_is_split_to_the_last_micro_unit():
    assert fund_split(101) == [51, 40, 10]
    assert all(sum(fund_split(fee)) == fee for fee in range(300))


@pytest.mark.parametrize(
    "rules",
    [
        ZoneRules(fallback_export_micro_per_kwh=5, fallback_import_micro_per_kwh=4),
        ZoneRules(fallback_export_micro_per_kwh=-1),
        ZoneRules(fallback_import_micro_per_kwh=1 << 62),
        ZoneRules(grid_fee_bps=-1),
        ZoneRules(grid_fee_bps=10_001),
        ZoneRules(trading_fee_bps=1_001),
    ],
)
def test_rules_under_which_the_bounds_would_not_hold_are_known(rules):
    assert rules_are_sound(RULES)
    assert not rules_are_sound(rules)


def test_a_made_up_micro_unit_is_noticed():
    outcome = settle([], meters_of({"s": 500}, {}), RULES)
    assert outcome_is_balanced(outcome)
    outcome.utility_micro += 1
    assert not outcome_is_balanced(outcome)


def test_congestion_rent_is_owed_whole_and_goes_to_the_grid_operator():
    terms = TradeTerms(1, "b", "s", 1_000, 3_000_000, 70_000)
    outcome = settle([terms], meters_of({"s": 1_000}, {"b": 1_000}), RULES)
    assert outcome.grid_fee_micro == 150_000 + 70_000
    assert outcome.accounts["b"].money_micro == -3_220_000
    assert outcome.accounts["s"].money_micro == 2_997_000
    outcome = settle([terms], meters_of({"s": 0}, {"b": 0}), RULES)
    assert outcome.accounts["b"].money_micro == -70_000
