"""Hostile commands: the bank answers all of them with facts and stays sound."""

import random

import msgspec
import pytest

from cloud.commands import (
    Deposit,
    MeterSlot,
    OpenAccount,
    OpenLedger,
    ReserveTrades,
    SealBlock,
    SettleSlot,
    TradeTerms,
    ZoneRules,
    decode_command,
    encode_command,
)
from cloud.ledger.books import final_ns
from tests.ledger.street import AFTER_NS, BEFORE_NS, SLOT, Street

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


@pytest.mark.parametrize("seed", range(30))
def test_no_command_can_stop_or_unbalance_the_bank(seed):
    draw = random.Random(seed)
    street = Street(thb=draw.choice((0, 1_000, 1_000_000)))
    for _ in range(120):
        street.do(hostile(draw), draw.choice(TIMES))
    street.bank._ledger.audit()
    assert msgspec.msgpack.encode(street.bank.state(), order="deterministic")
    assert not any(street.bank.sums().values())
