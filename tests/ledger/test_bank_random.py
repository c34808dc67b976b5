"""Random streets over many slots: what must hold whatever happens."""

import random

import pytest

from cloud.commands import ReserveTrades, SealBlock, SettleSlot, TradeTerms, ZoneRules
from cloud.facts import AllowanceChanged, BankRefused, SlotSettled, Statement, TradesReserved
from cloud.ledger.settlement import escrow, margin
from protos.clock import slot_end_ns, slot_start_ns
from tests.ledger.street import BEFORE_NS, SLOT, Street, meter
from tests.oracle import bank as oracle

HOMES = tuple(f"home-{number}" for number in range(8))
RULES = ZoneRules()


class CarefulZone:
    """What a zone does about money: reserves against allowances, frees a slot when told."""

    def __init__(self):
        self.allowances = {}
        self.reserved = {}

    def admits(self, slot, trade):
        amounts = (trade.energy_wh, trade.price_micro_per_kwh, RULES)
        needs = {trade.buyer: escrow(*amounts), trade.seller: margin(*amounts)}
        for account, amount in needs.items():
            total = sum(wh for (name, _), wh in self.reserved.items() if name == account)
            if total + amount > self.allowances.get(account, 0):
                return False
        for account, amount in needs.items():
            key = (account, slot)
            self.reserved[key] = self.reserved.get(key, 0) + amount
        return True

    def hears(self, facts):
        for fact in facts:
            if isinstance(fact, AllowanceChanged):
                self.allowances[fact.account] = fact.allowance_micro
            elif isinstance(fact, SlotSettled):
                for account in fact.accounts:
                    self.reserved.pop((account, fact.slot), None)


def random_meters(draw, energy=3_000):
    return tuple(
        meter(home, draw.randint(0, energy), 0, estimated=draw.random() < 0.1)
        if draw.random() < 0.5
        else meter(home, 0, draw.randint(0, energy), estimated=draw.random() < 0.1)
        for home in HOMES
        if draw.random() < 0.9
    )


def trade_a_while(draw, zone, street, slot, first, at_ns):
    """Random trades that the zone admits, a few a step; returns the next trade's number."""
    number = first
    for _ in range(draw.randint(1, 5)):
        step = []
        for _ in range(draw.randint(1, 4)):
            buyer, seller = draw.sample(HOMES, 2)
            price = 1_000 * draw.randint(2_200, 5_800)
            trade = TradeTerms(number, buyer, seller, draw.randint(1, 2_000), price)
            if zone.admits(slot, trade):
                step.append(trade)
                number += 1
        if step:
            facts = street.do(ReserveTrades("z", slot, tuple(step)), at_ns)
            assert [type(fact) for fact in facts] == [TradesReserved]
    return number


@pytest.mark.parametrize("seed", range(25))
def test_what_a_zone_reserves_within_the_allowance_can_always_be_paid(seed):
    draw = random.Random(seed)
    street, zone = Street(homes=HOMES, thb=draw.randint(5, 40)), CarefulZone()
    zone.hears(street.facts)
    number = 1
    for slot in range(SLOT, SLOT + 12):
        number = trade_a_while(draw, zone, street, slot + 2, number, slot_start_ns(slot))
        number = trade_a_while(draw, zone, street, slot + 1, number, slot_start_ns(slot))
        command = SettleSlot("z", slot, 0, random_meters(draw))
        facts = street.do(command, slot_end_ns(slot))
        assert not [fact for fact in facts if isinstance(fact, BankRefused)]
        zone.hears(facts)
        street.do(SealBlock(), slot_end_ns(slot))
    assert all(street.money(home) >= 0 for home in HOMES)


@pytest.mark.parametrize("seed", range(40))
def test_corrections_end_where_the_last_meters_alone_would_have_led(seed):
    draw = random.Random(1_000 + seed)
    corrected, straight = Street(homes=HOMES, thb=10_000), Street(homes=HOMES, thb=10_000)
    zone = CarefulZone()
    zone.hears(corrected.facts)
    trade_a_while(draw, zone, corrected, SLOT, 1, BEFORE_NS)
    for fact in corrected.facts:
        if isinstance(fact, TradesReserved):
            straight.do(ReserveTrades("z", SLOT, fact.trades), BEFORE_NS)
    runs = [random_meters(draw) for _ in range(draw.randint(2, 5))]
    for revision, meters in enumerate(runs):
        corrected.do(SettleSlot("z", SLOT, revision, meters), slot_end_ns(SLOT))
        seen = [fact for fact in corrected.facts if isinstance(fact, SlotSettled)]
        assert seen[-1].conservation_error_wh == 0
        assert corrected.bank.minted_wh == corrected.bank.burned_wh
    straight.do(SettleSlot("z", SLOT, 0, runs[-1]), slot_end_ns(SLOT))
    system = ("@utility/z", "@grid/z", "@fund/validators", "@fund/treasury", "@fund/insurance")
    for account in (*HOMES, *system):
        assert corrected.money(account) == straight.money(account), account
    assert corrected.bank.minted_wh == straight.bank.minted_wh
    changes = [fact for fact in corrected.facts if isinstance(fact, Statement)]
    for home in HOMES:
        changed = sum(fact.money_micro for fact in changes if fact.account == home)
        assert changed == corrected.money(home) - 10_000_000_000


@pytest.mark.parametrize("seed", range(20))
def test_the_bank_delivers_the_optimum(seed):
    draw = random.Random(2_000 + seed)
    street, zone = Street(homes=HOMES, thb=10_000), CarefulZone()
    zone.hears(street.facts)
    trade_a_while(draw, zone, street, SLOT, 1, BEFORE_NS)
    trades = [t for fact in street.facts if isinstance(fact, TradesReserved) for t in fact.trades]
    meters = random_meters(draw)
    (settled,) = [
        fact
        for fact in street.do(SettleSlot("z", SLOT, 0, meters), slot_end_ns(SLOT))
        if isinstance(fact, SlotSettled)
    ]
    exported = dict.fromkeys(HOMES, 0) | {m.account: m.export_wh for m in meters}
    imported = dict.fromkeys(HOMES, 0) | {m.account: m.import_wh for m in meters}
    assert settled.delivered_wh == oracle.optimum_wh(trades, exported, imported)
