"""Unsold export that a home banks: it stays a token, can be moved and used, and is never made twice."""

import random

import pytest

from cloud.commands import (
    PostTransfers,
    ReserveTrades,
    RetireTokens,
    SealBlock,
    SettleSlot,
    ZoneRules,
)
from cloud.facts import BankRefused, BlockSealed, Posted, SlotSettled, Statement
from cloud.ledger.transfers import HOUR_NS, pack
from protos.clock import slot_end_ns
from protos.messages import Refusal
from tests.ledger.street import AFTER_NS, SLOT, Street, meter, terms

RULES = ZoneRules(bank_unsold=True)


def tokens(street, account):
    return street.bank.balances(account).get("GT", 0)


def outstanding(street):
    return street.bank.minted_wh - street.bank.burned_wh


def settle(street, *meters, revision=0, slot=SLOT):
    return street.do(SettleSlot("z", slot, revision, meters), slot_end_ns(slot))


def move(street, debit, credit, amount, number=1, at_ns=AFTER_NS):
    ends = [street.bank.account_number(name) for name in (debit, credit)]
    record = pack(number.to_bytes(16, "big"), *ends, amount, "GT")
    return street.do(PostTransfers(at_ns // HOUR_NS, record, True), at_ns)


def test_unsold_export_stays_with_the_home_and_nobody_pays_for_it():
    street = Street(RULES)
    before = street.money("boon")
    facts = settle(street, meter("boon", 0, 900), meter("anna", 200))
    assert (tokens(street, "boon"), street.money("boon")) == (900, before)
    assert outstanding(street) == 900
    said = {fact.account: fact for fact in facts if isinstance(fact, Statement)}
    assert (said["boon"].banked_wh, said["boon"].minted_wh) == (900, 900)
    assert (facts[-1].minted_wh, facts[-1].burned_wh) == (900, 0)


def test_without_the_policy_unsold_export_is_bought_and_burned():
    street = Street(ZoneRules())
    before = street.money("boon")
    settle(street, meter("boon", 0, 1_000))
    assert (tokens(street, "boon"), outstanding(street)) == (0, 0)
    assert street.money("boon") - before == 2_200_000


def test_what_was_sold_is_burned_by_its_buyer_and_what_nobody_took_the_utility_pays_for():
    street = Street(RULES)
    street.do(ReserveTrades("z", SLOT, (terms(1, "anna", "boon", 600),)))
    before = street.money("boon")
    settle(street, meter("boon", 0, 1_000), meter("anna", 400))
    # 400 Wh delivered, 200 ready but not taken: the utility bought them; 400 beyond the trade.
    assert tokens(street, "boon") == outstanding(street) == 400
    assert street.bank.burned_wh == 600
    assert street.money("boon") - before == 600 * 3_000 - 1_200


def test_an_estimate_is_paid_for_but_banks_nothing_until_it_is_read():
    street = Street(RULES)
    before = street.money("boon")
    settle(street, meter("boon", 0, 500, estimated=True))
    assert (tokens(street, "boon"), street.money("boon") - before) == (0, 1_100_000)
    settle(street, meter("boon", 0, 500), revision=1)
    assert (tokens(street, "boon"), street.money("boon")) == (500, before)


def test_banked_tokens_can_be_given_away_and_used():
    street = Street(RULES)
    settle(street, meter("boon", 0, 900))
    move(street, "boon", "anna", 300)
    used = street.do(RetireTokens("bill-5", "anna", 250), AFTER_NS)
    assert [fact.code for fact in used if isinstance(fact, Posted)] == ["retire"]
    assert (tokens(street, "anna"), tokens(street, "boon")) == (50, 600)
    assert outstanding(street) == 650
    assert street.do(RetireTokens("bill-5", "anna", 250), AFTER_NS) == []


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (RetireTokens("a", "anna", 1), Refusal.INSUFFICIENT_FUNDS),
        (RetireTokens("a", "boon", 901), Refusal.INSUFFICIENT_FUNDS),
        (RetireTokens("a", "boon", 0), Refusal.MALFORMED),
        (RetireTokens("a", "boon", -5), Refusal.MALFORMED),
        (RetireTokens("a", "boon", 1 << 62), Refusal.INSUFFICIENT_FUNDS),
        (RetireTokens("a", "nobody", 1), Refusal.UNKNOWN_ACCOUNT),
        (RetireTokens("a", "@utility/z", 1), Refusal.UNKNOWN_ACCOUNT),
        (RetireTokens("done", "boon", 5), Refusal.CHANGED_REPLAY),
    ],
)
def test_tokens_that_nobody_has_cannot_be_used(command, reason):
    street = Street(RULES)
    settle(street, meter("boon", 0, 901))
    street.do(RetireTokens("done", "boon", 1), AFTER_NS)
    assert street.do(command, AFTER_NS) == [BankRefused(command.retire_id, int(reason))]
    assert outstanding(street) == 900


def test_a_late_reading_banks_the_difference():
    street = Street(RULES)
    settle(street, meter("boon", 0, 900))
    facts = settle(street, meter("boon", 0, 1_400), revision=1)
    assert tokens(street, "boon") == outstanding(street) == 1_400
    (said,) = [fact for fact in facts if isinstance(fact, Statement)]
    assert said.banked_wh == 500


def test_a_correction_takes_banked_tokens_back():
    street = Street(RULES)
    settle(street, meter("boon", 0, 900))
    settle(street, meter("boon", 0, 100), revision=1)
    assert tokens(street, "boon") == outstanding(street) == 100


def test_where_they_were_given_away_the_utility_stands_in_and_is_owed_the_replacement():
    street = Street(RULES)
    settle(street, meter("boon", 0, 900))
    move(street, "boon", "anna", 850)
    before = street.money("boon")
    settle(street, meter("boon", 0, 100), revision=1)
    assert (tokens(street, "boon"), tokens(street, "anna")) == (0, 850)
    assert tokens(street, "@utility/z") == -750
    assert outstanding(street) == 100
    # 750 Wh at the fallback import tariff, collected at once because the home can pay.
    assert before - street.money("boon") == 750 * 5_800
    street.bank._ledger.audit()


@pytest.mark.parametrize("seed", range(25))
def test_at_every_root_what_is_outstanding_is_verified_export_less_what_was_burned(seed):
    draw = random.Random(seed)
    street = Street(RULES, thb=100_000)
    homes, verified, number = ("anna", "boon", "chai"), {}, 0
    for slot in range(SLOT, SLOT + 6):
        trades = []
        for _ in range(draw.randint(0, 4)):
            number += 1
            trades.append(terms(number, *draw.sample(homes, 2), draw.randint(1, 900)))
        street.do(ReserveTrades("z", slot, tuple(trades)), slot_end_ns(SLOT - 1))
    for step in range(40):
        slot = draw.randint(SLOT, SLOT + 5)
        at_ns = slot_end_ns(SLOT + 6)
        meters = tuple(
            meter(home, draw.choice((0, draw.randint(0, 900))), draw.randint(0, 900),
                  estimated=draw.random() < 0.2)
            for home in homes
        )  # fmt: skip
        street.do(SettleSlot("z", slot, step, meters), at_ns)
        verified[slot] = sum(m.export_wh for m in meters if not m.estimated)
        move(street, *draw.sample(homes, 2), draw.randint(1, 500), 1_000 + step, at_ns)
        street.do(RetireTokens(f"r{step}", draw.choice(homes), draw.randint(1, 300)), at_ns)
        (root,) = [f for f in street.do(SealBlock(), at_ns) if isinstance(f, BlockSealed)]
        assert root.size == len(street.leaves) - 1
        held = sum(tokens(street, name) for name in (*homes, "@utility/z", "@clearing/z"))
        assert street.bank.minted_wh == sum(verified.values())
        assert held == outstanding(street)
        assert all(tokens(street, home) >= 0 for home in homes)
    settled = [fact for fact in street.facts if isinstance(fact, SlotSettled)]
    assert sum(fact.minted_wh for fact in settled) == street.bank.minted_wh
    retired = sum(f.amount for f in street.facts if isinstance(f, Posted) and f.code == "retire")
    assert sum(fact.burned_wh for fact in settled) + retired == street.bank.burned_wh


def test_a_banked_correction_after_all_was_spent_waits_as_a_claim():
    street = Street(RULES, thb=0)
    settle(street, meter("boon", 0, 900))
    move(street, "boon", "anna", 900)
    settle(street, meter("boon", 0, 0), revision=1)
    assert street.bank.balances("boon")["CLAIM"] == -900 * 5_800
    assert street.bank.balances("@utility/z")["CLAIM"] == 900 * 5_800
