"""Double entry: what may be posted, what is reserved, and what a refusal leaves behind."""

import random
from array import array

import pytest

from cloud.facts import Posted
from cloud.ledger.accounts import Capture, Ledger, Pending, Replay
from cloud.ledger.columns import (
    AMOUNT_MAX,
    ASSET_NUMBER,
    CLAIM,
    CO2,
    GT,
    MONEY,
    Columns,
    changed_money,
    changed_money_in_python,
)
from cloud.ledger.kinds import FLOORS, Kind
from protos.messages import Refusal


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.open("bank", Kind.PROVIDER, "")
    ledger.open("clearing", Kind.CLEARING, "z")
    for name in ("anna", "boon"):
        ledger.open(name, Kind.PROSUMER, "z")
        assert ledger.link([move("bank", name, 1_000)]) is None
    return ledger


def move(debit, credit, amount, asset=MONEY, name="t"):
    return Posted(name, debit, credit, asset, amount, "test", 0)


def hold(name, debit, amount, expires_ns=100, credit="clearing"):
    return Pending(name, debit, credit, MONEY, amount, expires_ns)


def test_every_asset_sums_to_zero_over_all_accounts(ledger):
    ledger.link([move("anna", "boon", 300)])
    assert ledger.balances("bank") == {MONEY: -2_000}
    assert ledger.balances("anna") == {MONEY: 700}
    assert set(ledger.sums().values()) == {0}


def test_a_one_sided_change_of_an_account_stops_the_bank(ledger):
    ledger.columns.credits_posted[ledger.row("anna", MONEY)] += 1
    with pytest.raises(AssertionError, match="do not sum to zero"):
        ledger.audit()


def test_an_account_under_its_floor_stops_the_bank(ledger):
    ledger.columns.debits_posted[ledger.row("anna", MONEY)] += 1_001
    ledger.columns.credits_posted[ledger.row("bank", MONEY)] += 1_001
    with pytest.raises(AssertionError, match="under its floor"):
        ledger.audit()


def test_an_account_cannot_pay_more_than_it_has(ledger):
    assert ledger.link([move("anna", "boon", 1_001)]) is Refusal.INSUFFICIENT_FUNDS
    assert ledger.balances("anna") == {MONEY: 1_000}


def test_reserved_money_cannot_be_spent(ledger):
    assert ledger.link([hold("h", "anna", 900)]) is None
    assert ledger.link([move("anna", "boon", 101)]) is Refusal.INSUFFICIENT_FUNDS
    assert ledger.link([move("anna", "boon", 100)]) is None


def test_money_that_is_only_pending_cannot_be_spent_by_who_will_get_it(ledger):
    assert ledger.link([hold("h", "anna", 900, credit="boon")]) is None
    assert ledger.spendable("boon", MONEY) == 1_000


def test_a_capture_posts_part_and_voids_the_rest(ledger):
    ledger.link([hold("h1", "anna", 300), hold("h2", "anna", 400)])
    assert ledger.link([Capture(("h1", "h2"), move("anna", "clearing", 450))]) is None
    assert ledger.balances("anna") == {MONEY: 550}
    assert ledger.spendable("anna", MONEY) == 550
    assert ledger.pendings == {}


def test_a_capture_without_a_posting_voids_all(ledger):
    ledger.link([hold("h", "anna", 300)])
    assert ledger.link([Capture(("h",), None)]) is None
    assert ledger.spendable("anna", MONEY) == 1_000


def test_no_more_can_be_posted_than_is_pending(ledger):
    ledger.link([hold("h", "anna", 300)])
    before = ledger.state()
    assert ledger.link([Capture(("h",), move("anna", "clearing", 301))]) is Refusal.OVER_POSTED
    assert ledger.state() == before


def test_a_reservation_is_captured_once(ledger):
    ledger.link([hold("h", "anna", 300)])
    twice = [Capture(("h",), None), Capture(("h",), None)]
    assert ledger.link(twice) is Refusal.OVER_POSTED
    assert ledger.link([Capture(("h", "h"), None)]) is Refusal.OVER_POSTED
    assert ledger.spendable("anna", MONEY) == 700


def test_a_capture_cannot_send_the_money_elsewhere(ledger):
    ledger.link([hold("h", "anna", 300)])
    assert ledger.link([Capture(("h",), move("anna", "boon", 10))]) is Refusal.WRONG_ASSET


def test_a_reservation_ends_by_itself_at_its_time(ledger):
    ledger.link([hold("late", "anna", 300, 200), hold("soon", "boon", 300, 100)])
    assert ledger.expire(99) == []
    assert [pending.transfer_id for pending in ledger.expire(100)] == ["soon"]
    assert ledger.spendable("boon", MONEY) == 1_000
    assert ledger.spendable("anna", MONEY) == 700
    assert [pending.transfer_id for pending in ledger.expire(10**9)] == ["late"]


def test_a_captured_reservation_does_not_expire_again(ledger):
    ledger.link([hold("h", "anna", 300)])
    ledger.link([Capture(("h",), None)])
    assert ledger.expire(10**9) == []
    assert ledger.spendable("anna", MONEY) == 1_000


def test_a_linked_group_happens_whole_or_not_at_all(ledger):
    ledger.link([hold("h", "anna", 300)])
    before = ledger.state()
    group = [
        move("boon", "anna", 100),
        hold("h2", "boon", 50),
        Capture(("h",), move("anna", "clearing", 200)),
        move("boon", "anna", 10_000),
    ]
    assert ledger.link(group) is Refusal.INSUFFICIENT_FUNDS
    assert ledger.state() == before
    assert set(ledger._sums.values()) == {0}
    assert ledger.expire(10**9) != []


def test_a_group_may_pass_through_an_account_that_has_nothing(ledger):
    assert ledger.link([move("clearing", "boon", 5), move("anna", "clearing", 5)]) is None
    assert ledger.balances("clearing") == {MONEY: 0}


def test_an_unknown_account_is_refused(ledger):
    assert ledger.link([move("anna", "nobody", 1)]) is Refusal.UNKNOWN_ACCOUNT
    assert ledger.link([hold("h", "nobody", 1)]) is Refusal.UNKNOWN_ACCOUNT


def test_an_account_that_cannot_hold_the_asset_is_refused(ledger):
    assert ledger.link([move("bank", "anna", 1, GT)]) is Refusal.WRONG_ASSET
    assert ledger.link([move("anna", "clearing", 1, CO2)]) is Refusal.WRONG_ASSET
    assert ledger.link([move("anna", "boon", 1, "THB")]) is Refusal.WRONG_ASSET


def test_amounts_stay_within_64_bits(ledger):
    assert ledger.link([move("bank", "anna", AMOUNT_MAX)]) is Refusal.BAD_PRICE
    assert ledger.balances("anna") == {MONEY: 1_000}


def test_a_claim_may_fall_below_zero_for_a_customer_only(ledger):
    ledger.open("utility", Kind.UTILITY, "z")
    assert ledger.link([move("anna", "utility", 5, CLAIM)]) is None
    assert ledger.link([move("utility", "boon", 6, CLAIM)]) is Refusal.INSUFFICIENT_FUNDS


def test_an_account_keeps_the_kind_it_was_opened_with(ledger):
    assert ledger.open("anna", Kind.PROSUMER, "z") is None
    assert ledger.open("anna", Kind.FUND, "z") is Refusal.CHANGED_REPLAY
    assert ledger.open("anna", Kind.PROSUMER, "y") is Refusal.CHANGED_REPLAY


def test_a_group_is_known_by_its_id_and_its_cause(ledger):
    assert ledger.replay("g", "x") is Replay.NEW
    ledger.remember("g", "x")
    assert ledger.replay("g", "x") is Replay.SAME
    assert ledger.replay("g", "y") is Replay.CHANGED
    ledger.forget(["g", "unknown"])
    assert ledger.replay("g", "y") is Replay.NEW


@pytest.mark.parametrize("seed", range(20))
def test_whose_money_changed_is_the_same_in_c_and_in_python(seed):
    draw, columns = random.Random(seed), Columns()
    for _ in range(30):
        columns.open(FLOORS[Kind.PROSUMER])
    known = [array("q", [0] * 30), array("q", [0] * 30)]
    for _ in range(20):
        for _ in range(5):
            row = 6 * draw.randrange(30) + ASSET_NUMBER[MONEY]
            column = draw.choice((columns.credits_posted, columns.debits_posted))
            column[row] += draw.choice((1, 1 << 40))
        asked = [draw.randrange(30) for _ in range(draw.randint(0, 40))]
        told = changed_money(columns, asked, known[0])
        assert told == changed_money_in_python(columns, asked, known[1])
        assert known[0] == known[1]
    for wrong in ([30], [-1]):
        with pytest.raises((ValueError, IndexError)):
            changed_money(columns, wrong, known[0])
