"""A bank with a log beside it, driven as the stem drives it: every logged fact becomes a leaf."""

from cloud.commands import Deposit, MeterSlot, OpenAccount, OpenLedger, TradeTerms, ZoneRules
from cloud.facts import encode_fact
from cloud.ledger.bank import Bank
from protos.clock import slot_end_ns, slot_start_ns

SLOT = 1_000_000
BEFORE_NS = slot_start_ns(SLOT) - 1
AFTER_NS = slot_end_ns(SLOT)
THB = 1_000_000
RULES = ZoneRules()


class Street:
    """One zone with homes that have money."""

    def __init__(self, rules=RULES, homes=("anna", "boon", "chai"), thb=50):
        self.bank = Bank()
        self.leaves = []
        self.facts = []
        self.do(OpenLedger("z", rules))
        for home in homes:
            self.do(OpenAccount(home, "prosumer", "z"))
            if thb:
                self.do(Deposit(f"first/{home}", home, thb * THB))

    def do(self, command, at_ns=BEFORE_NS):
        facts = self.bank.apply(command, at_ns)
        for fact in facts:
            if fact.LOGGED:
                self.leaves.append(encode_fact(fact))
                self.bank.log.append(self.leaves[-1])
        assert not any(self.bank.sums().values())
        self.facts += facts
        return facts

    def money(self, account):
        return self.bank.balances(account).get("MONEY", 0)


def terms(trade, buyer, seller, energy_wh, thb=3):
    return TradeTerms(trade, buyer, seller, energy_wh, thb * THB)


def meter(account, import_wh=0, export_wh=0, *, estimated=False):
    return MeterSlot(account, import_wh, export_wh, estimated)
