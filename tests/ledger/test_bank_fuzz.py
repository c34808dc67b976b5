"""Hostile commands: the bank answers all of them with facts and stays sound."""

import random

import msgspec
import pytest

from cloud.commands import (
    BondStake,
    Deposit,
    GrantStake,
    InflateSupply,
    MeterSlot,
    OpenAccount,
    OpenLedger,
    OpenSupply,
    PayRewards,
    RegisterValidator,
    ReserveTrades,
    SealBlock,
    SettleSlot,
    SlashStake,
    StakeRules,
    StakeSlice,
    TradeTerms,
    UnbondStake,
    ZoneRules,
    decode_command,
    encode_command,
)
from cloud.ledger.books import final_ns
from tests.ledger.street import AFTER_NS, BEFORE_NS, SLOT, Street
from tests.ledger.test_stake import ONE, TWO

NAMES = ("anna", "boon", "chai", "", "@mint", "@utility/z", "nobody", "z/1", "\u0e44\u0e1f", "z")
NUMBERS = (0, 1, -1, 7, 999, 3_000_000, 10_000_000, 1 << 31, (1 << 63) - 1, -(1 << 63), 1 << 60)
SLOTS = (SLOT, SLOT, SLOT + 1, SLOT - 1, 0, -1, 1 << 60, -(1 << 60))
TIMES = (BEFORE_NS, AFTER_NS, AFTER_NS, AFTER_NS + 10**12, 0, final_ns(SLOT))


def hostile(draw):
    """A command from pieces that are sometimes sensible, as the journal's decoder would give it."""
    name, number = lambda: draw.choice(NAMES), lambda: draw.choice(NUMBERS)
    zone = draw.choice(("z", "z", "z", "y", ""))
    slot = draw.choice(SLOTS)
    trades = tuple(
        TradeTerms(
            draw.choice((1, 2, 3, number())),
            name(),
            name(),
            number(),
            draw.choice((3_000_000, number())),
        )
        for _ in range(draw.randint(0, 4))
    )
    meters = tuple(
        MeterSlot(name(), number(), number(), draw.random() < 0.5)
        for _ in range(draw.randint(0, 5))
    )
    rules = ZoneRules(fallback_import_micro_per_kwh=number(), grid_fee_bps=number())
    command = draw.choice(
        (
            OpenLedger(zone, rules),
            OpenAccount(
                name(), draw.choice(("prosumer", "consumer", "mint", "", "PROSUMER")), zone
            ),
            Deposit(name(), name(), number()),
            ReserveTrades(zone, slot, trades),
            ReserveTrades(zone, slot, trades),
            SettleSlot(zone, slot, draw.choice((0, 1, 2, number())), meters),
            SettleSlot(zone, slot, draw.choice((0, 1, 2, number())), meters),
            SealBlock(),
        )
    )
    return decode_command(encode_command(command))


def hostile_stake(draw):
    """The same about GTX; half of the supplies and keys are good ones."""
    name, number = lambda: draw.choice(NAMES), lambda: draw.choice((*NUMBERS, 10**9, 10**11))
    rules = StakeRules(
        genesis_micro=number(), slices=(StakeSlice(name(), 100),), inflation_bps=number()
    )
    command = draw.choice(
        (
            OpenSupply(draw.choice((StakeRules(), rules))),
            RegisterValidator(name(), draw.choice((ONE.key, TWO.key, "", "a+b+c"))),
            GrantStake(name(), draw.choice(("community", "x", "")), name(), number()),
            GrantStake(str(number()), "community", "anna", number()),
            BondStake(name(), name(), name(), number()),
            BondStake(str(number()), "anna", draw.choice(("anna", "boon")), number()),
            UnbondStake(name(), name(), name(), number()),
            UnbondStake(str(number()), "anna", "anna", number()),
            SlashStake(name(), *draw.choice((ONE, TWO)).two_roots(draw.choice((1, 2, 3)))),
            SlashStake(name(), name(), name(), name()),
            InflateSupply(draw.choice((1, 2, number()))),
            PayRewards(name(), draw.choice(("MONEY", "GTX", "GT", ""))),
        )
    )
    return decode_command(encode_command(command))


@pytest.mark.parametrize("seed", range(30))
def test_no_command_about_stake_can_stop_or_unbalance_the_bank(seed):
    draw = random.Random(seed)
    street = Street()
    for _ in range(150):
        street.do(draw.choice((hostile, hostile_stake, hostile_stake))(draw), draw.choice(TIMES))
    street.bank._ledger.audit()
    stakes = street.bank.stakes
    assert stakes.outstanding <= (stakes.rules.cap_micro if stakes.rules else 0)
    for validator, bonds in stakes.bonds.items():
        waiting = sum(r.amount for r in stakes.releases if r.validator == validator)
        held = street.bank.balances(f"@bonded/{validator}").get("GTX", 0)
        assert held == sum(bonds.values()) + waiting
    assert msgspec.msgpack.encode(street.bank.state(), order="deterministic")


@pytest.mark.parametrize("seed", range(30))
def test_no_command_can_stop_or_unbalance_the_bank(seed):
    draw = random.Random(seed)
    street = Street(thb=draw.choice((0, 1_000, 1_000_000)))
    for _ in range(120):
        street.do(hostile(draw), draw.choice(TIMES))
    street.bank._ledger.audit()
    assert msgspec.msgpack.encode(street.bank.state(), order="deterministic")
    assert not any(street.bank.sums().values())
