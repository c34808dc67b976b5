"""The grid operator pays homes whose trades it takes back: once, whole, and whatever it has."""

import pytest

from cloud.commands import CompensateHomes, Deposit, HomePayment, OpenAccount, OpenLedger, ZoneRules
from cloud.facts import AllowanceChanged, BankRefused, HomeCompensation, Posted, Redispatched
from cloud.flows import follow
from cloud.ledger.bank import Bank
from protos.ids import effect_id
from protos.messages import Refusal

SLOT = 1_960_002
HOMES = (HomePayment("dev-anna", "anna", 700), HomePayment("dev-boon", "boon", 1_300))


@pytest.fixture
def bank():
    bank = Bank()
    bank.apply(OpenLedger("north", ZoneRules()), 0)
    for name in ("anna", "boon"):
        bank.apply(OpenAccount(name, "prosumer", "north"), 0)
    return bank


def money(bank, account):
    return bank.balances(account)["MONEY"]


def test_every_home_is_paid_from_the_operators_account_which_may_go_below_zero(bank):
    facts = bank.apply(CompensateHomes("north", SLOT, HOMES), 0)
    posted = [fact for fact in facts if isinstance(fact, Posted)]
    assert [fact.transfer_id for fact in posted] == [
        effect_id("redispatch", "north", SLOT, home.device) for home in HOMES
    ]
    assert (money(bank, "anna"), money(bank, "boon")) == (700, 1_300)
    assert money(bank, "@utility/north") == -2_000
    assert set(bank.sums().values()) == {0}
    assert [f.account for f in facts if isinstance(f, AllowanceChanged)] == ["anna", "boon"]


def test_the_same_payment_happens_once_and_a_changed_one_never(bank):
    bank.apply(CompensateHomes("north", SLOT, HOMES), 0)
    before = bank.state()
    assert bank.apply(CompensateHomes("north", SLOT, HOMES), 0) == []
    (refused,) = bank.apply(CompensateHomes("north", SLOT, HOMES[:1]), 0)
    assert refused == BankRefused(f"north/{SLOT}", Refusal.CHANGED_REPLAY)
    assert bank.state() == before


def test_a_home_that_is_not_known_is_named_and_the_others_are_paid(bank):
    stranger = HomePayment("dev-x", "nobody", 5)
    facts = bank.apply(CompensateHomes("north", SLOT, (stranger, *HOMES)), 0)
    assert BankRefused(f"north/{SLOT}/dev-x", Refusal.UNKNOWN_ACCOUNT) in facts
    assert money(bank, "anna") == 700


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (CompensateHomes("south", SLOT, HOMES), Refusal.UNKNOWN_ACCOUNT),
        (CompensateHomes("north", SLOT, (HomePayment("d", "anna", 0),)), Refusal.BAD_PRICE),
        (CompensateHomes("north", SLOT, (HomePayment("d", "anna", -5),)), Refusal.BAD_PRICE),
        (CompensateHomes("north", SLOT, (HomePayment("d", "anna", 1 << 63),)), Refusal.BAD_PRICE),
    ],
)
def test_what_cannot_be_paid_is_refused_and_changes_nothing(bank, command, reason):
    before = bank.state()
    (refused,) = bank.apply(command, 0)
    assert refused.reason == reason
    assert bank.state() == before


def test_what_is_owed_follows_from_the_redispatch_and_who_lost_nothing_is_left_out():
    homes = (
        HomeCompensation("dev-anna", "anna", 400, 100, 700),
        HomeCompensation("dev-boon", "boon", 1, 0, 0),
    )
    fact = Redispatched("north", SLOT, 3, True, 1_200, 990, homes)
    assert follow([fact]) == [CompensateHomes("north", SLOT, HOMES[:1])]
    assert follow([Redispatched("north", SLOT, 3, True, 1_200, 990, homes[1:])]) == []


def test_a_later_deposit_and_replay_give_the_same_balances(bank):
    history = [
        (CompensateHomes("north", SLOT, HOMES), 0),
        (Deposit("d1", "anna", 5), 1),
        (CompensateHomes("north", SLOT + 1, HOMES), 2),
    ]
    for command, at_ns in history:
        bank.apply(command, at_ns)
    again = Bank()
    again.apply(OpenLedger("north", ZoneRules()), 0)
    for name in ("anna", "boon"):
        again.apply(OpenAccount(name, "prosumer", "north"), 0)
    for command, at_ns in history:
        again.apply(command, at_ns)
    assert again.state() == bank.state()
    assert money(again, "anna") == 1_405
