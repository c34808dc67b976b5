"""The bank as a machine: what each command answers, what it refuses, what a replay does."""

import msgspec
import pytest

from cloud.commands import (
    AdvanceZone,
    Deposit,
    MeterSlot,
    OpenAccount,
    OpenLedger,
    ReserveTrades,
    SealBlock,
    SettleSlot,
    TradeTerms,
    ZoneRules,
)
from cloud.facts import (
    AccountOpened,
    AllowanceChanged,
    BankRefused,
    BlockSealed,
    Posted,
    SlotSettled,
    Statement,
    TradesReserved,
    encode_fact,
)
from cloud.ledger.bank import Bank
from cloud.ledger.books import final_ns, pack, unpack
from protos.messages import Refusal
from tests.ledger.street import AFTER_NS, SLOT, THB, Street, meter, terms


def reserve(*trades, slot=SLOT, zone="z"):
    return ReserveTrades(zone, slot, trades)


def settle(*meters, revision=0, slot=SLOT, zone="z"):
    return SettleSlot(zone, slot, revision, meters)


def only(facts, kind):
    return [fact for fact in facts if type(fact) is kind]


def refusals(facts):
    assert all(type(fact) is BankRefused for fact in facts), facts
    return [(fact.subject, Refusal(fact.reason)) for fact in facts]


def test_an_account_is_opened_once():
    street = Street(homes=())
    opened = street.do(OpenAccount("anna", "prosumer", "z"))
    assert opened == [AccountOpened("anna", "prosumer", "z")]
    assert street.do(OpenAccount("anna", "prosumer", "z")) == []
    assert refusals(street.do(OpenAccount("anna", "consumer", "z"))) == [
        ("anna", Refusal.CHANGED_REPLAY)
    ]


@pytest.mark.parametrize(
    ("account", "kind"), [("@mint", "prosumer"), ("dora", "mint"), ("dora", "x")]
)
def test_nobody_gets_an_account_of_the_banks_own(street, account, kind):
    assert refusals(street.do(OpenAccount(account, kind, "z"))) == [(account, Refusal.MALFORMED)]


def test_a_deposit_is_posted_and_raises_the_allowance(street):
    facts = street.do(Deposit("d1", "anna", 7 * THB))
    posted, allowance = facts
    assert (posted.debit, posted.credit, posted.asset, posted.amount, posted.code) == (
        "@provider",
        "anna",
        "MONEY",
        7 * THB,
        "deposit",
    )
    assert allowance == AllowanceChanged("anna", "z", 57 * THB)


def test_a_deposit_sent_again_is_counted_once(street):
    street.do(Deposit("d1", "anna", 7 * THB))
    assert street.do(Deposit("d1", "anna", 7 * THB)) == []
    assert street.money("anna") == 57 * THB


def test_a_deposit_id_used_for_another_amount_or_account_is_refused(street):
    street.do(Deposit("d1", "anna", 7 * THB))
    for changed in (Deposit("d1", "anna", 8 * THB), Deposit("d1", "boon", 7 * THB)):
        assert refusals(street.do(changed)) == [("d1", Refusal.CHANGED_REPLAY)]


@pytest.mark.parametrize(
    ("account", "amount", "refusal"),
    [
        ("nobody", 1, Refusal.UNKNOWN_ACCOUNT),
        ("@grid/z", 1, Refusal.UNKNOWN_ACCOUNT),
        ("anna", 0, Refusal.MALFORMED),
        ("anna", -5, Refusal.MALFORMED),
        ("anna", (1 << 63) - 1, Refusal.BAD_PRICE),
    ],
)
def test_a_bad_deposit_is_refused_and_may_be_sent_again_corrected(street, account, amount, refusal):
    before = street.bank.state()
    assert refusals(street.do(Deposit("d1", account, amount))) == [("d1", refusal)]
    assert only(street.do(Deposit("d1", "anna", 1)), Posted)
    assert before != street.bank.state()


def test_a_trade_reserves_the_buyers_price_and_grid_fee_and_the_sellers_margin(street):
    facts = street.do(reserve(terms(1, "anna", "boon", 1_000)))
    assert facts == [TradesReserved("z", SLOT, (terms(1, "anna", "boon", 1_000),), 5_950_000)]
    assert street.bank.reserved_micro("anna") == 3_150_000
    assert street.bank.reserved_micro("boon") == 2_800_000
    assert street.money("anna") == 50 * THB


def test_a_trade_that_one_side_cannot_bear_is_refused_and_the_others_are_kept():
    street = Street(thb=10)
    good, too_dear, also_good = (
        terms(1, "anna", "boon", 1_000),
        terms(2, "anna", "boon", 3_000),
        terms(3, "chai", "boon", 1_000),
    )
    refused, reserved = street.do(reserve(good, too_dear, also_good))
    assert refusals([refused]) == [("z/2", Refusal.INSUFFICIENT_FUNDS)]
    assert reserved.trades == (good, also_good)


def test_a_seller_without_money_for_the_margin_cannot_sell():
    street = Street(thb=0)
    street.do(Deposit("d", "anna", 10 * THB))
    facts = street.do(reserve(terms(1, "anna", "boon", 1_000)))
    assert refusals(facts) == [("z/1", Refusal.INSUFFICIENT_FUNDS)]
    assert street.bank.reserved_micro("anna") == 0


@pytest.mark.parametrize(
    ("trade", "refusal"),
    [
        (terms(1, "anna", "nobody", 1_000), Refusal.UNKNOWN_ACCOUNT),
        (terms(1, "@utility/z", "boon", 1_000), Refusal.UNKNOWN_ACCOUNT),
        (terms(1, "anna", "anna", 1_000), Refusal.SELF_TRADE),
        (terms(1, "anna", "boon", 0), Refusal.BAD_ENERGY),
        (terms(1, "anna", "boon", 10_000_001), Refusal.BAD_ENERGY),
        (terms(1, "anna", "boon", 1_000, thb=6), Refusal.PRICE_OUTSIDE_BAND),
        (terms(1, "anna", "boon", 1_000, thb=1), Refusal.PRICE_OUTSIDE_BAND),
        (TradeTerms(1, "anna", "boon", 1_000, -1), Refusal.PRICE_OUTSIDE_BAND),
        (TradeTerms(1, "anna", "boon", 1_000, 5_000_000, -1), Refusal.PRICE_OUTSIDE_BAND),
        (TradeTerms(1, "anna", "boon", 1_000, 5_000_000, 800_001), Refusal.PRICE_OUTSIDE_BAND),
    ],
)
def test_a_trade_that_makes_no_sense_is_refused(street, trade, refusal):
    assert refusals(street.do(reserve(trade))) == [("z/1", refusal)]


def test_a_trade_of_another_zones_account_is_refused(street):
    street.do(OpenLedger("y", ZoneRules()))
    street.do(OpenAccount("yuda", "prosumer", "y"))
    facts = street.do(reserve(terms(1, "anna", "yuda", 10)))
    assert refusals(facts) == [("z/1", Refusal.UNKNOWN_ACCOUNT)]


def test_a_trade_sent_again_is_reserved_once_and_a_changed_one_is_refused(street):
    street.do(reserve(terms(1, "anna", "boon", 1_000)))
    assert street.do(reserve(terms(1, "anna", "boon", 1_000))) == []
    changed = street.do(reserve(terms(1, "anna", "boon", 1_001)))
    assert refusals(changed) == [("z/1", Refusal.CHANGED_REPLAY)]
    assert street.bank.reserved_micro("anna") == 3_150_000


def test_a_trade_named_twice_in_one_step_is_reserved_once(street):
    trade = terms(1, "anna", "boon", 1_000)
    facts = street.do(reserve(trade, trade, terms(1, "anna", "boon", 1_001)))
    assert refusals(only(facts, BankRefused)) == [("z/1", Refusal.CHANGED_REPLAY)]
    assert only(facts, TradesReserved) == [TradesReserved("z", SLOT, (trade,), 5_950_000)]
    assert street.bank.reserved_micro("anna") == 3_150_000


def test_commands_for_a_zone_without_a_ledger_are_refused(street):
    for command in (reserve(terms(1, "anna", "boon", 1), zone="x"), settle(zone="x")):
        assert refusals(street.do(command, AFTER_NS)) == [(f"x/{SLOT}", Refusal.UNKNOWN_ACCOUNT)]


def test_a_trade_for_a_slot_that_is_not_yet_open_is_refused(street):
    facts = street.do(reserve(terms(1, "anna", "boon", 1), slot=1 << 60))
    assert refusals(facts) == [(f"z/{1 << 60}", Refusal.UNKNOWN_SLOT)]


def test_a_ledgers_rules_are_given_once(street):
    assert street.do(OpenLedger("z", ZoneRules())) == []
    changed = street.do(OpenLedger("z", ZoneRules(grid_fee_bps=1)))
    assert refusals(changed) == [("z", Refusal.CHANGED_REPLAY)]
    unsound = street.do(OpenLedger("y", ZoneRules(trading_fee_bps=5_000)))
    assert refusals(unsound) == [("y", Refusal.MALFORMED)]


def test_a_slot_is_not_settled_before_it_has_ended(street):
    street.do(reserve(terms(1, "anna", "boon", 1_000)))
    facts = street.do(settle(meter("anna", 1_000)), AFTER_NS - 1)
    assert refusals(facts) == [(f"z/{SLOT}", Refusal.TOO_EARLY)]


def test_a_settled_slot_pays_the_seller_frees_the_rest_and_reports(street):
    street.do(reserve(terms(1, "anna", "boon", 1_000)))
    facts = street.do(settle(meter("anna", 1_000), meter("boon", 0, 1_000)), AFTER_NS)
    assert street.money("anna") == 50 * THB - 3_150_000
    assert street.money("boon") == 50 * THB + 2_997_000
    assert street.bank.reserved_micro("anna") == street.bank.reserved_micro("boon") == 0
    (settled,) = only(facts, SlotSettled)
    assert settled == SlotSettled(
        "z", SLOT, 0, 1, 1_000, 1_000, 1_000, 1_000, 153_000, 0, ("anna", "boon")
    )
    anna, boon = only(facts, Statement)
    assert anna == Statement(
        "z", SLOT, 0, "anna", 1_000, 0, 1_000, 0, 1_000, 0, 0, 1_000, -3_150_000, 150_000
    )
    assert boon == Statement(
        "z", SLOT, 0, "boon", 0, 1_000, 0, 1_000, 0, 1_000, 1_000, 0, 2_997_000, 3_000
    )


def test_the_new_allowance_is_told_before_the_slot_is_called_settled(street):
    street.do(reserve(terms(1, "anna", "boon", 1_000)))
    facts = street.do(settle(meter("anna", 1_000), meter("boon", 0, 1_000)), AFTER_NS)
    kinds = [type(fact) for fact in facts]
    assert kinds[-1] is SlotSettled
    assert AllowanceChanged("anna", "z", 50 * THB - 3_150_000) in facts


def test_the_postings_alone_explain_every_balance(street):
    street.do(reserve(terms(1, "anna", "boon", 1_000), terms(2, "chai", "boon", 700, thb=4)))
    street.do(settle(meter("anna", 600), meter("boon", 0, 1_500), meter("chai", 900)), AFTER_NS)
    street.do(settle(meter("anna", 800), meter("boon", 0, 900), revision=1), AFTER_NS)
    explained = {}
    for posted in only(street.facts, Posted):
        for account, amount in ((posted.debit, -posted.amount), (posted.credit, posted.amount)):
            key = (account, posted.asset)
            explained[key] = explained.get(key, 0) + amount
    for (account, asset), amount in explained.items():
        assert street.bank.balances(account)[asset] == amount
    ids = [posted.transfer_id for posted in only(street.facts, Posted)]
    assert len(ids) == len(set(ids))


def test_statements_add_up_to_the_balance(street):
    street.do(reserve(terms(1, "anna", "boon", 1_000)))
    for revision, export in enumerate((1_000, 200, 1_700)):
        meters = meter("anna", 1_000), meter("boon", 0, export)
        street.do(settle(*meters, revision=revision), AFTER_NS)
    for home in ("anna", "boon"):
        mine = [s for s in only(street.facts, Statement) if s.account == home]
        assert sum(s.money_micro for s in mine) == street.money(home) - 50 * THB
    funds = ("@grid/z", "@fund/validators", "@fund/treasury", "@fund/insurance")
    fees = sum(s.fees_micro for s in only(street.facts, Statement))
    assert fees == sum(street.money(account) for account in funds)
    assert fees == sum(s.fees_micro for s in only(street.facts, SlotSettled))
    minted = sum(s.minted_wh for s in only(street.facts, Statement))
    assert minted == street.bank.minted_wh == 1_700


def test_a_settlement_sent_again_changes_nothing(street):
    street.do(reserve(terms(1, "anna", "boon", 1_000)))
    command = settle(meter("anna", 1_000), meter("boon", 0, 1_000))
    street.do(command, AFTER_NS)
    before = street.bank.state()
    assert street.do(command, AFTER_NS + 1) == []
    assert street.bank.state() == before | {"log": street.bank.log.state()}


def test_a_settlement_with_other_meters_under_the_same_revision_is_refused(street):
    street.do(settle(meter("boon", 0, 1_000)), AFTER_NS)
    facts = street.do(settle(meter("boon", 0, 2_000)), AFTER_NS)
    assert refusals(facts) == [(f"z/{SLOT}", Refusal.CHANGED_REPLAY)]
    assert street.bank.minted_wh == 1_000


def test_an_older_revision_that_comes_late_is_refused(street):
    street.do(settle(meter("boon", 0, 1_000), revision=2), AFTER_NS)
    facts = street.do(settle(meter("boon", 0, 500), revision=1), AFTER_NS)
    assert refusals(facts) == [(f"z/{SLOT}", Refusal.TOO_OLD)]
    facts = street.do(settle(revision=-1), AFTER_NS)
    assert refusals(facts) == [(f"z/{SLOT}", Refusal.MALFORMED)]


def test_a_late_reading_strands_no_energy(street):
    street.do(reserve(terms(1, "anna", "boon", 1_000)))
    first = settle(meter("anna", 1_000), meter("boon", 0, 400))
    street.do(first, AFTER_NS)
    late = settle(meter("anna", 1_000), meter("boon", 0, 1_000), revision=1)
    facts = street.do(late, AFTER_NS + 10)
    straight = Street()
    straight.do(reserve(terms(1, "anna", "boon", 1_000)))
    straight.do(settle(*late.meters), AFTER_NS)
    for account in ("anna", "boon", "@utility/z", "@grid/z", "@fund/treasury"):
        assert street.money(account) == straight.money(account)
    assert only(facts, SlotSettled)[0].minted_wh == 600
    assert street.bank.minted_wh == 1_000


def test_a_revision_that_changes_nothing_posts_nothing(street):
    street.do(reserve(terms(1, "anna", "boon", 1_000)))
    meters = meter("anna", 1_000), meter("boon", 0, 1_000)
    street.do(settle(*meters), AFTER_NS)
    facts = street.do(settle(*meters, revision=1), AFTER_NS)
    assert [type(fact) for fact in facts] == [SlotSettled]
    assert facts[0].minted_wh == facts[0].fees_micro == 0


def test_an_estimate_is_paid_and_only_its_verified_reading_makes_tokens(street):
    street.do(reserve(terms(1, "anna", "boon", 1_000)))
    street.do(settle(meter("anna", 1_000), meter("boon", 0, 1_000, estimated=True)), AFTER_NS)
    assert (street.bank.minted_wh, street.bank.burned_wh) == (0, 0)
    assert street.money("boon") == 50 * THB + 2_997_000
    street.do(settle(meter("anna", 1_000), meter("boon", 0, 1_000), revision=1), AFTER_NS)
    assert (street.bank.minted_wh, street.bank.burned_wh) == (1_000, 1_000)
    assert street.money("boon") == 50 * THB + 2_997_000


def test_tokens_of_a_slot_are_burned_in_the_slot(street):
    street.do(reserve(terms(1, "anna", "boon", 1_000)))
    street.do(settle(meter("anna", 700), meter("boon", 0, 1_900)), AFTER_NS)
    assert street.bank.minted_wh == street.bank.burned_wh == 1_900
    for account in ("anna", "boon", "@utility/z", "@clearing/z"):
        assert street.bank.balances(account).get("GT", 0) == 0


def test_a_token_without_a_verified_export_stops_the_bank(street):
    street.bank._ledger.link([Posted("x", "@mint", "anna", "GT", 5, "mint", 0)])
    with pytest.raises(AssertionError, match="without a verified export"):
        street.do(SealBlock())


def test_energy_without_a_trade_is_bought_by_the_utility(street):
    facts = street.do(settle(meter("boon", 0, 1_000)), AFTER_NS)
    assert street.money("boon") == 50 * THB + 2_200_000
    assert street.money("@utility/z") == -2_200_000
    assert only(facts, SlotSettled)[0].burned_wh == 1_000


def test_a_correction_that_an_account_cannot_pay_is_advanced_and_later_collected(street):
    street.do(reserve(terms(1, "anna", "boon", 1_000)))
    street.do(settle(meter("anna", 1_000), meter("boon", 0, 9_000)), AFTER_NS)
    rich = street.money("boon")
    # Boon spends nearly all of it on the next slot before the meter turns out to be wrong.
    street.do(reserve(terms(2, "boon", "anna", 12_000, thb=5), slot=SLOT + 9), AFTER_NS)
    free = rich - street.bank.reserved_micro("boon")
    facts = street.do(settle(meter("anna", 1_000), meter("boon"), revision=1), AFTER_NS)
    correction = rich - (50 * THB - 2_800_000)
    owed = correction - free
    assert owed > 0
    assert street.bank.balances("boon")["CLAIM"] == -owed
    assert street.bank.balances("@utility/z")["CLAIM"] == owed
    assert street.money("boon") == rich - free == street.bank.reserved_micro("boon")
    assert {"advance", "claim"} <= {posted.code for posted in only(facts, Posted)}
    street.do(Deposit("part", "boon", 1), AFTER_NS)
    assert street.bank.balances("boon")["CLAIM"] == 1 - owed
    assert street.money("boon") == rich - free
    street.do(Deposit("late", "boon", 100 * THB), AFTER_NS)
    assert street.bank.balances("boon")["CLAIM"] == 0
    assert street.money("boon") == rich - free + 100 * THB + 1 - owed


def test_a_claim_is_collected_from_what_the_next_slot_pays(street):
    street.do(reserve(terms(1, "anna", "boon", 1_000)))
    street.do(settle(meter("anna", 1_000), meter("boon", 0, 9_000)), AFTER_NS)
    street.do(reserve(terms(2, "boon", "anna", 12_000, thb=5), slot=SLOT + 9), AFTER_NS)
    street.do(settle(meter("anna", 1_000), meter("boon"), revision=1), AFTER_NS)
    street.do(settle(meter("boon", 0, 8_000), slot=SLOT - 1), AFTER_NS)
    assert any(posted.code == "arrears" for posted in only(street.facts, Posted))
    assert street.bank.balances("boon")["CLAIM"] == 0


def test_after_its_settlement_a_slot_takes_no_more_trades(street):
    street.do(reserve(terms(1, "anna", "boon", 10)))
    street.do(settle(meter("boon", 0, 10)), AFTER_NS)
    assert street.do(reserve(terms(1, "anna", "boon", 10)), AFTER_NS) == []
    facts = street.do(reserve(terms(2, "anna", "boon", 10)), AFTER_NS)
    assert refusals(facts) == [(f"z/{SLOT}", Refusal.GATE_CLOSED)]


def test_a_meter_that_stands_for_nobody_is_refused_and_shows_in_the_conservation(street):
    facts = street.do(
        settle(meter("boon", 0, 10), meter("ghost", 0, 33), meter("chai", -1, 0)), AFTER_NS
    )
    assert refusals(only(facts, BankRefused)) == [
        ("ghost", Refusal.UNKNOWN_ACCOUNT),
        ("chai", Refusal.BAD_ENERGY),
    ]
    assert only(facts, SlotSettled)[0].conservation_error_wh == 33 - (-1)


def test_an_absurd_meter_is_refused(street):
    facts = street.do(settle(meter("boon", 0, 1 << 62)), AFTER_NS)
    assert refusals(only(facts, BankRefused)) == [("boon", Refusal.BAD_ENERGY)]
    assert street.bank.minted_wh == 0


def test_two_meters_of_one_account_count_together(street):
    street.do(reserve(terms(1, "anna", "boon", 1_000)))
    meters = meter("anna", 1_000), meter("boon", 0, 400), meter("boon", 0, 600)
    facts = street.do(settle(*meters), AFTER_NS)
    assert only(facts, SlotSettled)[0].delivered_wh == 1_000


def test_a_slot_that_nobody_ever_metered_is_void_in_the_end(street):
    street.do(reserve(terms(1, "anna", "boon", 1_000)))
    facts = street.do(SealBlock(), final_ns(SLOT))
    (settled,) = only(facts, SlotSettled)
    assert (settled.delivered_wh, settled.accounts) == (0, ("anna", "boon"))
    assert street.money("anna") == street.money("boon") == 50 * THB
    assert street.bank.reserved_micro("anna") == 0
    late = street.do(settle(meter("boon", 0, 1_000)), final_ns(SLOT))
    assert refusals(late) == [(f"z/{SLOT}", Refusal.TOO_OLD)]
    late = street.do(reserve(terms(2, "anna", "boon", 1_000)), final_ns(SLOT))
    assert refusals(late) == [(f"z/{SLOT}", Refusal.TOO_OLD)]


def test_a_settled_slot_is_kept_in_few_bytes_and_without_loss(street):
    owners = street.bank._ledger.owners
    trades = [
        terms(number, "anna", "boon", 1_000 + number) for number in range(1_000_000, 1_000_500)
    ]
    meters = {name: [meter(name, 1_000, 900), meter(name, 0, 7, estimated=True)] for name in "bcd"}
    for name in meters:
        street.do(OpenAccount(name, "prosumer", "z"))
    archive = pack(trades, meters, owners)
    assert unpack(archive, street.bank._ledger.names) == (trades, meters)
    assert len(archive) < 20 * 500 + 10 * 6
    assert unpack(b"", []) == ([], {})


def test_a_final_slot_is_forgotten(street):
    street.do(settle(meter("boon", 0, 1_000)), AFTER_NS)
    assert street.bank.state()["books"]
    street.do(SealBlock(), final_ns(SLOT))
    assert street.bank.state()["books"] == {}
    assert street.bank.minted_wh == 1_000


def test_a_block_is_the_root_over_everything_before_it(street):
    size, root = street.bank.log.size, street.bank.log.root()
    assert street.do(SealBlock(), 77) == [BlockSealed(1, size, root, 77)]
    assert street.bank.log.size == size + 1
    (second,) = street.do(SealBlock(), 78)
    assert (second.number, second.size) == (2, size + 1)
    assert street.leaves[size] == encode_fact(BlockSealed(1, size, root, 77))


def test_a_command_of_another_machine_is_a_defect(street):
    with pytest.raises(AssertionError, match="no command of the bank"):
        street.bank.apply(AdvanceZone("z"), 0)


def test_a_replay_of_all_commands_gives_the_same_state_byte_for_byte():
    def story():
        street = Street()
        street.do(reserve(terms(1, "anna", "boon", 1_000), terms(2, "chai", "boon", 500)))
        street.do(settle(MeterSlot("boon", 0, 1_200, False), meter("anna", 900)), AFTER_NS)
        street.do(settle(MeterSlot("boon", 0, 1_300, False), revision=1), AFTER_NS)
        street.do(reserve(terms(3, "anna", "chai", 10), slot=SLOT + 1), AFTER_NS)
        street.do(SealBlock(), AFTER_NS)
        return street.bank.state()

    first, second = story(), story()
    encoded = msgspec.msgpack.encode(first, order="deterministic")
    assert encoded == msgspec.msgpack.encode(second, order="deterministic")
    assert Bank().state() != first


def test_rent_is_reserved_with_the_trade_and_survives_a_corrected_reading(street):
    (reserved,) = street.do(reserve(TradeTerms(1, "anna", "boon", 1_000, 3 * THB, 70_000)))[-1:]
    assert reserved.escrow_micro == 3_150_000 + 70_000 + 2_800_000
    for revision, metered in enumerate((1_000, 600)):
        meters = (meter("anna", import_wh=metered), meter("boon", export_wh=metered))
        street.do(SettleSlot("z", SLOT, revision, meters), AFTER_NS)
        fee = metered * 3 * THB // 1_000 * 500 // 10_000
        assert street.money("@grid/z") == fee + 70_000
