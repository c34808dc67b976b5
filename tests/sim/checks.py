"""What must hold in every simulated world, watched from outside after every commit.

Each check says what broke and where; a world that breaks one ends at once, so that its seed can be
run again.
"""

from collections import Counter
from hashlib import sha256

from cloud.facts import (
    BatchAccepted,
    BlockSealed,
    GateClosed,
    LeaseIssued,
    SlotSettled,
    Traded,
    encode_fact,
)
from protos.limits import LEASE_NS_MAX

AUDIT_EVERY = 64


class BrokenPromiseError(AssertionError):
    """A promise of the product did not hold in a simulated world."""


def promise(held, words):
    if not held:
        raise BrokenPromiseError(words)


class Checks:
    """The memory of an outside observer. It outlives every crash of the aggregator."""

    def __init__(self, rules):
        self._rules = rules
        self._told = []
        self._replayed = 0
        self._seqs = Counter()
        self._closed = set()
        self._blocks = {}
        self._commits = 0
        self.counts = Counter()
        self.bank = None

    def begin(self, bank):
        """The aggregator starts, anew or again: what it says first must be what it said before."""
        self.bank = bank
        self._replayed = 0

    def see(self, facts, at_ns):
        """A listener of the writer."""
        for fact in facts:
            digest = sha256(encode_fact(fact)).digest()
            if self._replayed < len(self._told):
                promise(
                    self._told[self._replayed] == digest,
                    f"after a crash, fact {self._replayed} came back as {fact}",
                )
            else:
                self._told.append(digest)
                self._first_time(fact, at_ns)
            self._replayed += 1
        self._commits += 1
        if self._commits % AUDIT_EVERY == 0:
            promise(not any(self.bank.sums().values()), f"sums are {self.bank.sums()}")

    def recovered(self):
        """Recovery is over: nothing that was ever told may be missing."""
        promise(
            self._replayed == len(self._told),
            f"{len(self._told) - self._replayed} facts that were told are gone after a crash",
        )

    def _first_time(self, fact, at_ns):
        self.counts[type(fact).__name__] += 1
        match fact:
            case BatchAccepted(device=device, seq=seq):
                promise(seq > self._seqs[device], f"envelope {seq} of {device} was taken twice")
                self._seqs[device] = seq
            case Traded():
                self._check_trade(fact)
            case GateClosed(zone=zone, slot=slot):
                promise((zone, slot) not in self._closed, f"the gate of {slot} closed twice")
                self._closed.add((zone, slot))
            case SlotSettled():
                promise(
                    not fact.conservation_error_wh,
                    f"slot {fact.slot} lost {fact.conservation_error_wh} Wh",
                )
                promise(
                    fact.delivered_wh <= fact.sold_wh,
                    f"slot {fact.slot} delivered more than was sold",
                )
            case BlockSealed(number=number, size=size, root=root):
                newest = max(self._blocks, default=-1)
                promise(
                    number > newest and size >= self._blocks.get(newest, (0,))[0],
                    f"block {number} of {size} leaves does not follow block {newest}",
                )
                self._blocks[number] = (size, root)
            case LeaseIssued():
                promise(
                    fact.not_before_ns < fact.expires_ns <= at_ns + 2 * LEASE_NS_MAX,
                    f"lease {fact.lease_id} does not end",
                )

    def _check_trade(self, fact):
        rules = self._rules
        promise(
            (fact.zone, fact.slot) not in self._closed, f"trade {fact.trade} came after its gate"
        )
        promise(fact.energy_wh > 0, f"trade {fact.trade} moves nothing")
        promise(fact.buyer != fact.seller, f"{fact.buyer} traded with itself")
        low, high = rules.fallback_export_micro_per_kwh, rules.fallback_import_micro_per_kwh
        promise(low <= fact.price_micro_per_kwh <= high, f"trade {fact.trade} is out of the band")
