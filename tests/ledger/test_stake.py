"""GTX: the supply table, bonds, slashing on evidence and rewards; every refusal has a reason."""

from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.commands import (
    BondStake,
    Deposit,
    GrantStake,
    InflateSupply,
    OpenSupply,
    PayRewards,
    RegisterValidator,
    ReserveTrades,
    SettleSlot,
    SlashStake,
    StakeRules,
    StakeSlice,
    UnbondStake,
)
from cloud.facts import (
    AllowanceChanged,
    BankRefused,
    RewardsPaid,
    StakeReleased,
    StakeSlashed,
    SupplyInflated,
)
from cloud.ledger.evidence import TWO_ROOTS
from cloud.ledger.stake import YEAR_NS, bonded_account, inflation, rules_are_sound, slice_account
from protos.messages import Refusal
from protos.receipt import Checkpoint
from protos.units import largest_remainder
from protos.witness import cosign, parse_policy, witness_key
from tests.ledger.street import AFTER_NS, BEFORE_NS, SLOT, Street, meter, terms

RULES = StakeRules()
GTX = 1_000_000
DAY_NS = YEAR_NS // 365


@dataclass
class Party:
    """A validator's key."""

    name: str
    seed: int

    @property
    def private(self):
        return Ed25519PrivateKey.from_private_bytes(bytes([self.seed] * 32))

    @property
    def key(self):
        return witness_key(self.name, self.private).text()

    def note(self, size, root):
        checkpoint = Checkpoint("grid.example/log", size, root)
        return f"{checkpoint.text()}\n" + cosign(checkpoint, self.name, self.private, 7)

    def two_roots(self, size=9):
        return TWO_ROOTS, self.note(size, bytes(32)), self.note(size, bytes([1] * 32))


ONE, TWO = Party("one.example", 1), Party("two.example", 2)


@pytest.fixture
def stakes():
    """Anna and Boon run validators; Chai binds to Anna's."""
    street = Street()
    street.do(OpenSupply(RULES))
    street.do(RegisterValidator("anna", ONE.key))
    street.do(RegisterValidator("boon", TWO.key))
    for home in ("anna", "boon", "chai"):
        street.do(GrantStake(f"g/{home}", "community", home, 1_000 * GTX))
    street.do(BondStake("b1", "anna", "anna", 600 * GTX))
    street.do(BondStake("b2", "chai", "anna", 200 * GTX))
    street.do(BondStake("b3", "boon", "boon", 800 * GTX))
    return street


def gtx(street, account):
    return street.bank.balances(account).get("GTX", 0)


def refusals(facts):
    return [Refusal(fact.reason) for fact in facts if isinstance(fact, BankRefused)]


def test_the_genesis_supply_is_split_5_10_5_80():
    street = Street()
    street.do(OpenSupply(RULES))
    assert street.bank.stakes.outstanding == 1_000_000 * GTX
    assert [gtx(street, slice_account(part.name)) // GTX for part in RULES.slices] == [
        50_000,
        100_000,
        50_000,
        800_000,
    ]
    assert street.do(OpenSupply(RULES)) == []
    changed = StakeRules(cap_micro=5 * 10**12)
    assert refusals(street.do(OpenSupply(changed))) == [Refusal.CHANGED_REPLAY]
    assert street.bank.stakes.outstanding == 1_000_000 * GTX


@pytest.mark.parametrize(
    "rules",
    [
        StakeRules(genesis_micro=0),
        StakeRules(cap_micro=1),
        StakeRules(slices=()),
        StakeRules(slices=(StakeSlice("a", 99),)),
        StakeRules(slices=(StakeSlice("a", 50), StakeSlice("a", 50))),
        StakeRules(slices=(StakeSlice("a", 150), StakeSlice("b", -50))),
        StakeRules(inflation_bps=-1),
        StakeRules(decay_per_mille=1_001),
        StakeRules(slash_per_mille=1_001),
        StakeRules(unbonding_s=-1),
        StakeRules(cap_micro=1 << 70),
    ],
)
def test_a_table_that_does_not_add_up_is_refused(rules):
    assert not rules_are_sound(rules)
    assert refusals(Street().do(OpenSupply(rules))) == [Refusal.MALFORMED]


def test_inflation_decays_and_never_passes_the_cap():
    outstanding = 1_000_000 * GTX
    for year in range(1, 200):
        outstanding += inflation(outstanding, year, RULES)
    assert 1_637_000 * GTX < outstanding < 1_639_000 * GTX
    flat = StakeRules(decay_per_mille=1_000)
    outstanding = 1_000_000 * GTX
    for year in range(1, 60):
        outstanding += inflation(outstanding, year, flat)
    assert outstanding == flat.cap_micro


def test_a_year_is_made_once_and_not_before_it_is_over(stakes):
    opened = BEFORE_NS
    assert refusals(stakes.do(InflateSupply(1), opened + YEAR_NS - 1)) == [Refusal.TOO_EARLY]
    assert refusals(stakes.do(InflateSupply(2), opened + 3 * YEAR_NS)) == [Refusal.MALFORMED]
    assert refusals(stakes.do(InflateSupply(0), opened + 3 * YEAR_NS)) == [Refusal.MALFORMED]
    facts = stakes.do(InflateSupply(1), opened + 3 * YEAR_NS)
    assert facts[-1] == SupplyInflated(1, 50_000 * GTX, 1_050_000 * GTX)
    assert stakes.do(InflateSupply(1), opened + 3 * YEAR_NS) == []
    assert gtx(stakes, "@fund/validators") == 50_000 * GTX


def test_bound_stake_cannot_be_spent_and_comes_back_after_the_wait(stakes):
    assert gtx(stakes, bonded_account("anna")) == 800 * GTX
    assert gtx(stakes, "anna") == 400 * GTX
    stakes.do(UnbondStake("u1", "anna", "anna", 600 * GTX))
    assert gtx(stakes, "anna") == 400 * GTX
    early = stakes.do(Deposit("x", "chai", 1), BEFORE_NS + 21 * DAY_NS - 1)
    assert not [fact for fact in early if isinstance(fact, StakeReleased)]
    facts = stakes.do(Deposit("y", "chai", 1), BEFORE_NS + 21 * DAY_NS)
    assert StakeReleased("anna", "anna", 600 * GTX) in facts
    assert gtx(stakes, "anna") == 1_000 * GTX


def test_two_cosigned_roots_cost_a_validator_and_its_bonders_five_per_cent(stakes):
    stakes.do(UnbondStake("u1", "anna", "anna", 100 * GTX))
    before = stakes.bank.stakes.outstanding
    facts = stakes.do(SlashStake("anna", *ONE.two_roots()))
    slashed = facts[-1]
    assert isinstance(slashed, StakeSlashed)
    assert slashed.amount == 40 * GTX
    assert stakes.bank.stakes.outstanding == before - 40 * GTX
    assert gtx(stakes, bonded_account("anna")) == 760 * GTX
    assert stakes.do(SlashStake("anna", *ONE.two_roots())) == []
    assert stakes.bank.stakes.weights() == {TWO.key: 800 * GTX}
    facts = stakes.do(Deposit("y", "chai", 1), BEFORE_NS + 21 * DAY_NS)
    assert StakeReleased("anna", "anna", 95 * GTX) in facts


def test_nobody_is_slashed_without_evidence_against_his_own_key(stakes):
    for kind, first, second in (
        TWO.two_roots(),
        (TWO_ROOTS, ONE.note(9, bytes(32)), ONE.note(9, bytes(32))),
        (TWO_ROOTS, ONE.note(9, bytes(32)), ONE.note(8, bytes([1] * 32))),
        (TWO_ROOTS, "", ""),
        ("hearsay", *ONE.two_roots()[1:]),
    ):
        assert refusals(stakes.do(SlashStake("anna", kind, first, second))) == [
            Refusal.BAD_SIGNATURE
        ]
    assert refusals(stakes.do(SlashStake("chai", *ONE.two_roots()))) == [Refusal.UNKNOWN_ACCOUNT]


def test_a_convicted_validator_takes_no_more_stake_and_earns_nothing(stakes):
    stakes.do(SlashStake("anna", *ONE.two_roots()))
    assert refusals(stakes.do(BondStake("b9", "chai", "anna", GTX))) == [Refusal.NOT_AUTHORISED]
    stakes.do(InflateSupply(1), BEFORE_NS + YEAR_NS)
    facts = stakes.do(PayRewards("r1", "GTX"), BEFORE_NS + YEAR_NS)
    assert facts[-1].accounts == ("boon",)


def test_the_validators_share_of_the_fees_is_paid_by_bound_stake(stakes):
    stakes.do(ReserveTrades("z", SLOT, (terms(1, "anna", "boon", 5_000),)))
    stakes.do(SettleSlot("z", SLOT, 0, (meter("anna", 5_000), meter("boon", 0, 5_000))), AFTER_NS)
    pot = stakes.money("@fund/validators")
    assert pot > 0
    before = {home: stakes.money(home) for home in ("anna", "boon", "chai")}
    facts = stakes.do(PayRewards("r1", "MONEY"), AFTER_NS)
    paid = {home: stakes.money(home) - before[home] for home in before}
    assert sum(paid.values()) == pot
    assert stakes.money("@fund/validators") == 0
    assert list(paid.values()) == largest_remainder(pot, [600, 800, 200])
    assert any(isinstance(fact, RewardsPaid) for fact in facts)
    assert len([fact for fact in facts if isinstance(fact, AllowanceChanged)]) == 3
    assert stakes.do(PayRewards("r1", "MONEY"), AFTER_NS) == []


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (RegisterValidator("nobody", ONE.key), Refusal.UNKNOWN_ACCOUNT),
        (RegisterValidator("@mint", ONE.key), Refusal.UNKNOWN_ACCOUNT),
        (RegisterValidator("chai", "x"), Refusal.MALFORMED),
        (RegisterValidator("chai", ONE.key), Refusal.CHANGED_REPLAY),
        (RegisterValidator("anna", Party("x", 5).key), Refusal.CHANGED_REPLAY),
        (GrantStake("g9", "community", "nobody", 1), Refusal.UNKNOWN_ACCOUNT),
        (GrantStake("g9", "nowhere", "anna", 1), Refusal.UNKNOWN_ACCOUNT),
        (GrantStake("g9", "founders", "anna", 10**12), Refusal.INSUFFICIENT_FUNDS),
        (GrantStake("g9", "founders", "anna", 0), Refusal.MALFORMED),
        (GrantStake("g9", "founders", "anna", 1 << 63), Refusal.MALFORMED),
        (GrantStake("g/anna", "founders", "anna", 1), Refusal.CHANGED_REPLAY),
        (BondStake("b9", "anna", "chai", 1), Refusal.UNKNOWN_ACCOUNT),
        (BondStake("b9", "anna", "anna", -1), Refusal.MALFORMED),
        (BondStake("b9", "anna", "anna", 401 * GTX), Refusal.INSUFFICIENT_FUNDS),
        (BondStake("b1", "anna", "anna", 1), Refusal.CHANGED_REPLAY),
        (UnbondStake("u9", "anna", "boon", 1), Refusal.UNKNOWN_ACCOUNT),
        (UnbondStake("u9", "anna", "anna", 0), Refusal.MALFORMED),
        (UnbondStake("u9", "anna", "anna", 601 * GTX), Refusal.INSUFFICIENT_FUNDS),
        (PayRewards("r9", "GC"), Refusal.WRONG_ASSET),
        (PayRewards("r9", "MONEY"), Refusal.INSUFFICIENT_FUNDS),
    ],
)
def test_a_bad_command_is_refused_with_its_reason_and_changes_nothing(stakes, command, reason):
    before = stakes.bank.state()
    assert refusals(stakes.do(command)) == [reason]
    after = stakes.bank.state()
    assert {k: v for k, v in after.items() if k != "log"} == {
        k: v for k, v in before.items() if k != "log"
    }


def test_before_the_supply_is_opened_there_is_no_stake():
    assert refusals(Street().do(BondStake("b", "anna", "anna", 1))) == [Refusal.UNKNOWN_ACCOUNT]


def test_the_stake_makes_the_policy(stakes):
    policy = parse_policy(stakes.bank.stakes.policy_text())
    assert policy.stake == {"one.example": 800 * GTX, "two.example": 800 * GTX}
    assert not policy.is_final(["one.example"])
    assert policy.is_final(["one.example", "two.example"])
