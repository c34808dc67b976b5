"""Every command of the bank against what can be wrong with it: one refusal, and nothing has changed."""

import pytest

from cloud.commands import (
    AssignPseudonyms,
    BankCommand,
    BondStake,
    CommitRecord,
    CompensateHomes,
    Delivery,
    Deposit,
    GrantStake,
    HomePayment,
    InflateSupply,
    MeterSlot,
    OpenAccount,
    OpenLedger,
    OpenSupply,
    PayRewards,
    PostTransfers,
    RecordErasure,
    RegisterValidator,
    ReserveTrades,
    RetireTokens,
    SealBlock,
    SettleSlot,
    ShareRevenue,
    SlashStake,
    StakeRules,
    StakeSlice,
    TradeTerms,
    UnbondStake,
    ZoneRules,
)
from cloud.facts import BankRefused, TransfersPosted
from cloud.ledger.bank import Bank
from cloud.ledger.books import final_ns
from cloud.ledger.columns import AMOUNT_MAX
from cloud.ledger.transfers import HOUR_NS, pack
from protos.clock import slot_end_ns, slot_start_ns
from protos.messages import ADVICE, Refusal
from protos.witness import witness_key
from tests.validator.test_replica import KEY

SLOT = 1_000_000
BEFORE, AFTER, LATE = slot_start_ns(SLOT), slot_end_ns(SLOT), final_ns(SLOT)
HOUR = BEFORE // HOUR_NS
VALIDATOR_KEY = witness_key("v.example", KEY).text()
RICH = 10**12


def trade(number=1, buyer="anna", seller="boon", energy=100, price=3_000_000, rent=0):
    return TradeTerms(number, buyer, seller, energy, price, rent)


def reserve(*trades, zone="z", slot=SLOT):
    return ReserveTrades(zone, slot, trades)


def settle(*meters, zone="z", slot=SLOT, revision=0):
    return SettleSlot(zone, slot, revision, meters)


def send(bank, name, debit, credit, amount, asset="MONEY", **more):
    """A packed transfer between accounts by name; 999 is the number of nobody."""
    numbers = [999 if (n := bank.account_number(who)) is None else n for who in (debit, credit)]
    return PostTransfers(HOUR, pack(name.encode().ljust(16, b"."), *numbers, amount, asset, **more))


def share(*deliveries, amount=100, owners=800):
    """What a venue paid for a bid."""
    return ShareRevenue("caiso", "bid", 0, amount, owners, deliveries)


@pytest.fixture
def bank():
    bank = Bank()
    bank.apply(OpenLedger("z", ZoneRules(bank_unsold=True)), BEFORE)
    bank.apply(OpenLedger("y", ZoneRules()), BEFORE)
    for name, zone in (("anna", "z"), ("boon", "z"), ("yuda", "y")):
        bank.apply(OpenAccount(name, "prosumer", zone), BEFORE)
        bank.apply(Deposit(f"first {name}", name, RICH), BEFORE)
    bank.apply(OpenSupply(StakeRules()), BEFORE)
    bank.apply(RegisterValidator("boon", VALIDATOR_KEY), BEFORE)
    bank.apply(GrantStake("g", "community", "anna", 1_000), BEFORE)
    bank.apply(BondStake("b", "anna", "boon", 100), BEFORE)
    bank.apply(reserve(trade()), BEFORE)
    bank.apply(settle(MeterSlot("anna", 5, 3, False), slot=SLOT - 1), BEFORE)
    bank.apply(RetireTokens("r", "anna", 1), BEFORE)
    bank.apply(send(bank, "pending", "anna", "boon", 50, flags=2, timeout_s=3_600), BEFORE)
    bank.apply(CommitRecord(b"c" * 32, "kyc"), BEFORE)
    return bank


R = Refusal
CASES = {
    # An account that is not there.
    "deposit to nobody": (Deposit("d", "nobody", 1), BEFORE, R.UNKNOWN_ACCOUNT),
    "deposit to the mint": (Deposit("d", "@mint", 1), BEFORE, R.UNKNOWN_ACCOUNT),
    "transfer to nobody": (lambda b: send(b, "t", "anna", "nobody", 1), BEFORE, R.UNKNOWN_ACCOUNT),
    "transfer to the mint": (lambda b: send(b, "t", "anna", "@mint", 1), BEFORE, R.UNKNOWN_ACCOUNT),
    "trade with nobody": (reserve(trade(2, "nobody")), BEFORE, R.UNKNOWN_ACCOUNT),
    "trade across zones": (reserve(trade(2, "yuda")), BEFORE, R.UNKNOWN_ACCOUNT),
    "trade in no zone": (reserve(trade(2), zone="x"), BEFORE, R.UNKNOWN_ACCOUNT),
    "settle no zone": (settle(zone="x"), AFTER, R.UNKNOWN_ACCOUNT),
    "meter of nobody": (settle(MeterSlot("nobody", 1, 0, False)), AFTER, R.UNKNOWN_ACCOUNT),
    "grant to nobody": (GrantStake("h", "community", "nobody", 1), BEFORE, R.UNKNOWN_ACCOUNT),
    "grant from no slice": (GrantStake("h", "lottery", "anna", 1), BEFORE, R.UNKNOWN_ACCOUNT),
    "bond to no validator": (BondStake("c", "anna", "anna", 1), BEFORE, R.UNKNOWN_ACCOUNT),
    "unbond what is not bound": (UnbondStake("u", "boon", "boon", 1), BEFORE, R.UNKNOWN_ACCOUNT),
    "slash no validator": (SlashStake("anna", "two-roots", "", ""), BEFORE, R.UNKNOWN_ACCOUNT),
    "validator nobody": (RegisterValidator("nobody", VALIDATOR_KEY), BEFORE, R.UNKNOWN_ACCOUNT),
    # The wrong asset.
    "tokens from the provider": (lambda b: send(b, "t", "@provider", "anna", 1, "GT"), BEFORE, R.WRONG_ASSET),
    "a claim": (lambda b: send(b, "t", "anna", "boon", 1, "CLAIM"), BEFORE, R.WRONG_ASSET),
    "money of the issuer": (lambda b: send(b, "t", "@issuer", "anna", 1), BEFORE, R.WRONG_ASSET),
    "another asset than is pending": (
        lambda b: send(b, "t", "anna", "boon", 5, "GC", flags=4, pending_id=b"pending.........."[:16]),
        BEFORE, R.WRONG_ASSET),
    "rewards in certificates": (PayRewards("r", "GC"), BEFORE, R.WRONG_ASSET),
    # Numbers that do not fit.
    "deposit over 64 bits": (Deposit("d", "anna", AMOUNT_MAX), BEFORE, R.BAD_PRICE),
    "deposit of nothing": (Deposit("d", "anna", 0), BEFORE, R.MALFORMED),
    "deposit of less": (Deposit("d", "anna", -5), BEFORE, R.MALFORMED),
    "transfer over 64 bits": (lambda b: send(b, "t", "@provider", "anna", AMOUNT_MAX), BEFORE, R.BAD_PRICE),
    "transfer of less": (lambda b: send(b, "t", "anna", "boon", -1), BEFORE, R.MALFORMED),
    "share for nothing": (share(Delivery("anna", 0)), BEFORE, R.BAD_ENERGY),
    "share over 64 bits": (share(Delivery("anna", 5), amount=AMOUNT_MAX), BEFORE, R.BAD_PRICE),
    "compensation of nothing": (CompensateHomes("z", SLOT, (HomePayment("d", "anna", 0),)), BEFORE, R.BAD_PRICE),
    "share of more than all": (share(Delivery("anna", 5), owners=1_001), BEFORE, R.MALFORMED),
    "trade of nothing": (reserve(trade(2, energy=0)), BEFORE, R.BAD_ENERGY),
    "trade of a power station": (reserve(trade(2, energy=10**9)), BEFORE, R.BAD_ENERGY),
    "price under the band": (reserve(trade(2, price=1)), BEFORE, R.PRICE_OUTSIDE_BAND),
    "price over 64 bits": (reserve(trade(2, price=1 << 70)), BEFORE, R.PRICE_OUTSIDE_BAND),
    "rent over the band": (reserve(trade(2, rent=10**9)), BEFORE, R.PRICE_OUTSIDE_BAND),
    "meter that runs backwards": (settle(MeterSlot("anna", -1, 0, False)), AFTER, R.BAD_ENERGY),
    "meter of a power station": (settle(MeterSlot("anna", 10**9, 0, False)), AFTER, R.BAD_ENERGY),
    "bond of less": (BondStake("c", "anna", "boon", -1), BEFORE, R.MALFORMED),
    "grant over 64 bits": (GrantStake("h", "community", "anna", 1 << 63), BEFORE, R.MALFORMED),
    "revision before the first": (settle(revision=-1), AFTER, R.MALFORMED),
    # More than there is.
    "transfer of what is not there": (lambda b: send(b, "t", "anna", "boon", RICH), BEFORE, R.INSUFFICIENT_FUNDS),
    "trade that cannot be paid": (
        reserve(*(trade(n, energy=10**7, price=5_000_000) for n in range(2, 23))), BEFORE, R.INSUFFICIENT_FUNDS),
    "bond of what is not there": (BondStake("c", "anna", "boon", 901), BEFORE, R.INSUFFICIENT_FUNDS),
    "unbond more than is bound": (UnbondStake("u", "anna", "boon", 101), BEFORE, R.INSUFFICIENT_FUNDS),
    "post above pending": (
        lambda b: send(b, "t", "anna", "boon", 51, flags=4, pending_id=b"pending.........."[:16]),
        BEFORE, R.OVER_POSTED),
    "post of nothing pending": (
        lambda b: send(b, "t", "anna", "boon", 1, flags=4, pending_id=b"x" * 16), BEFORE, R.OVER_POSTED),
    # The same id for something else.
    "deposit replayed otherwise": (Deposit("first anna", "anna", 5), BEFORE, R.CHANGED_REPLAY),
    "trade replayed otherwise": (reserve(trade(energy=99)), BEFORE, R.CHANGED_REPLAY),
    "settlement replayed otherwise": (
        settle(MeterSlot("anna", 6, 0, False), slot=SLOT - 1), BEFORE, R.CHANGED_REPLAY),
    "grant replayed otherwise": (GrantStake("g", "community", "anna", 2), BEFORE, R.CHANGED_REPLAY),
    "transfer replayed otherwise": (lambda b: send(b, "pending", "anna", "boon", 51, flags=2, timeout_s=9), BEFORE, R.CHANGED_REPLAY),
    "account of another kind": (OpenAccount("anna", "consumer", "z"), BEFORE, R.CHANGED_REPLAY),
    "zone with other rules": (OpenLedger("z", ZoneRules(grid_fee_bps=1)), BEFORE, R.CHANGED_REPLAY),
    "supply with other rules": (OpenSupply(StakeRules(inflation_bps=1)), BEFORE, R.CHANGED_REPLAY),
    "key of another validator": (RegisterValidator("anna", VALIDATOR_KEY), BEFORE, R.CHANGED_REPLAY),
    "retirement replayed otherwise": (RetireTokens("r", "anna", 2), BEFORE, R.CHANGED_REPLAY),
    "retirement by nobody": (RetireTokens("q", "nobody", 1), BEFORE, R.UNKNOWN_ACCOUNT),
    "retirement by the bank": (RetireTokens("q", "@utility/z", 1), BEFORE, R.UNKNOWN_ACCOUNT),
    "retirement of nothing": (RetireTokens("q", "anna", 0), BEFORE, R.MALFORMED),
    "retirement of more than there is": (RetireTokens("q", "anna", 1 << 62), BEFORE, R.INSUFFICIENT_FUNDS),
    "trade with a fee for the way that the rules do not know": (
        reserve(TradeTerms(2, "anna", "boon", 50, 3_000_000, 0, 1)), BEFORE, R.BAD_PRICE),
    "rules with a ragged matrix of ways": (
        OpenLedger("x", ZoneRules(wheeling_micro_per_kwh=((0, 1),))), BEFORE, R.MALFORMED),
    # The wrong time.
    "settle before delivery": (settle(), BEFORE, R.TOO_EARLY),
    "clock one nanosecond before the slot's end": (settle(), AFTER - 1, R.TOO_EARLY),
    "settle after the last day": (settle(slot=SLOT), LATE, R.TOO_OLD),
    "trade after the last day": (reserve(trade(2)), LATE, R.TOO_OLD),
    "trade two days ahead": (reserve(trade(2), slot=SLOT + 200), BEFORE, R.UNKNOWN_SLOT),
    "trade in a settled slot": (reserve(trade(9), slot=SLOT - 1), BEFORE, R.GATE_CLOSED),
    "a year that is not over": (InflateSupply(1), BEFORE, R.TOO_EARLY),
    "transfers of last week": (lambda b: PostTransfers(HOUR - 99, bytes(56)), BEFORE, R.TOO_OLD),
    "transfers of next week": (lambda b: PostTransfers(HOUR + 99, bytes(56)), BEFORE, R.TOO_EARLY),
    "pending for ever": (lambda b: send(b, "t", "anna", "boon", 1, flags=2, timeout_s=1 << 31), BEFORE, R.BAD_INTERVAL),
    # What makes no sense.
    "account of the bank's own": (OpenAccount("@mine", "prosumer", "z"), BEFORE, R.MALFORMED),
    "account of no kind": (OpenAccount("carl", "king", "z"), BEFORE, R.MALFORMED),
    "rules with fees over all": (OpenLedger("x", ZoneRules(grid_fee_bps=10_001)), BEFORE, R.MALFORMED),
    "rules with a band upside down": (
        OpenLedger("x", ZoneRules(fallback_export_micro_per_kwh=9_000_000)), BEFORE, R.MALFORMED),
    "trade with oneself": (reserve(trade(2, "anna", "anna")), BEFORE, R.SELF_TRADE),
    "transfer to oneself": (lambda b: send(b, "t", "anna", "anna", 1), BEFORE, R.MALFORMED),
    "half a transfer": (PostTransfers(HOUR, bytes(55)), BEFORE, R.MALFORMED),
    "a key that is none": (RegisterValidator("anna", "v+0+x"), BEFORE, R.MALFORMED),
    "evidence that convicts nobody": (SlashStake("boon", "two-roots", "a", "b"), BEFORE, R.BAD_SIGNATURE),
    "a year in the wrong order": (InflateSupply(7), BEFORE, R.MALFORMED),
    "a commitment that is none": (CommitRecord(b"short", "kyc"), BEFORE, R.MALFORMED),
    "pseudonyms that are none": (AssignPseudonyms(1, ("anna",), ("x",)), BEFORE, R.MALFORMED),
    "erasure of what was never there": (RecordErasure((b"x" * 32,), "asked"), BEFORE, R.MALFORMED),
}  # fmt: skip


def reasons(facts):
    found = [fact.reason for fact in facts if isinstance(fact, BankRefused)]
    for fact in facts:
        if isinstance(fact, TransfersPosted):
            found += [reason for _, reason in fact.refused]
    return found


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_with_advice_and_no_balance_moves(bank, name):
    command, at_ns, reason = CASES[name]
    command = command(bank) if callable(command) else command
    before = bank.state()
    balances = {n: bank.balances(n) for n in ("anna", "boon", "yuda", "@mint", "@provider")}
    facts = bank.apply(command, at_ns)
    if name == "trade that cannot be paid":
        assert set(reasons(facts)) == {reason}
        assert bank.reserved_micro("anna") <= bank.balances("anna")["MONEY"]
        return
    assert reasons(facts) == [int(reason)]
    assert ADVICE[reason]
    assert {name: bank.balances(name) for name in balances} == balances or at_ns == LATE
    assert not any(bank.sums().values())
    if at_ns == BEFORE:
        after = bank.state()
        assert after["ledger"] == before["ledger"]
        assert after["stakes"] == before["stakes"]
        assert after["transfers"] == before["transfers"] or "transfers" in name


def test_every_command_of_the_bank_stands_in_the_table(bank):
    met = {type(c(bank) if callable(c) else c) for c, _, _ in CASES.values()}
    every = {kind for kind in BankCommand.__subclasses__() if kind is not SealBlock}
    assert met == every, {kind.__name__ for kind in every - met}


def test_rules_of_stake_that_do_not_add_up_are_refused():
    bank = Bank()
    (refused,) = bank.apply(OpenSupply(StakeRules(slices=(StakeSlice("all", 99),))), BEFORE)
    assert refused == BankRefused("GTX", int(Refusal.MALFORMED))
