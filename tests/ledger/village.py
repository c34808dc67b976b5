"""All machines together on the six-node network, with two homes that can trade: nothing waits here.

Commands that follow are kept until a test runs them, so that it can put others before them.
"""

from cloud.commands import (
    AdvanceZone,
    AppendSealed,
    CreateSite,
    Deposit,
    EnrolDevice,
    IssueToken,
    MeterSlot,
    OpenZone,
    SettleSlot,
    ZoneRules,
)
from cloud.core import Core
from cloud.facts import Traded
from cloud.flows import follow
from cloud.grid.shipped import network_named
from protos.clock import SECOND_NS, slot_end_ns, slot_start_ns
from protos.codec import encode_payload
from protos.ids import device_id
from protos.messages import Offer, OfferBatch, Side
from protos.seal import GENESIS, Sealed, link

NETWORK = network_named("tiny")
SLOT = 1_960_010
NODES = (2, 4)


class Village:
    """Home 0 sells, home 1 buys; accounts acc-0 and acc-1 have a thousand each."""

    def __init__(self, rules=None):
        self.core = Core({"tiny": NETWORK})
        self.now_ns = slot_start_ns(SLOT - 4)
        self.pending = []
        self.chains = [[bytes([n]) * 32, 0, GENESIS, 0] for n in range(2)]
        self.step(OpenZone("tiny", NETWORK.sha256, SLOT - 4, rules or ZoneRules()))
        for home, node in enumerate(NODES):
            token = bytes([home]) * 32
            self.step(CreateSite(f"home-{home}", "tiny", node, f"acc-{home}"))
            self.step(IssueToken(token, f"home-{home}"))
            self.step(EnrolDevice(token, self.chains[home][0]))
            self.step(Deposit(f"d{home}", f"acc-{home}", 1_000_000_000))

    def step(self, command, *, follows=True):
        """Applies a command; with `follows`, also all that comes of it."""
        facts = self.core.step(command, self.now_ns)
        self.pending += follow(facts)
        return facts + (self.run_following() if follows else [])

    def run_following(self):
        facts = []
        while self.pending:
            facts += self.step(self.pending.pop(0), follows=False)
        return facts

    def offer(self, home, side, energy_wh, price):
        key, seq, previous, number = self.chains[home]
        name = device_id(key)
        payload = encode_payload(OfferBatch((Offer(number + 1, SLOT, side, energy_wh, price),)))
        sealed = Sealed(seq + 1, previous, payload, bytes(64))
        self.chains[home] = [key, seq + 1, link(name, sealed), number + 1]
        return AppendSealed("tiny", name, seq + 1, previous, payload, bytes(64))

    def match(self, energy_wh, price, first=Side.BUY):
        """A trade between the two; what follows from it waits in `pending`."""
        homes = {Side.SELL: 0, Side.BUY: 1}
        second = Side.SELL if first is Side.BUY else Side.BUY
        self.step(self.offer(homes[first], first, energy_wh, price))
        facts = self.step(self.offer(homes[second], second, energy_wh, price), follows=False)
        (traded,) = [fact for fact in facts if isinstance(fact, Traded)]
        return traded

    def close_gate(self):
        self.now_ns = slot_start_ns(SLOT) - 300 * SECOND_NS
        self.core.step(AdvanceZone("tiny"), self.now_ns)

    def settle_slot_without_it(self):
        self.now_ns = slot_end_ns(SLOT)
        self.core.step(AdvanceZone("tiny"), self.now_ns)
        meters = tuple(MeterSlot(f"acc-{home}", 0, 0, False) for home in range(2))
        self.core.step(SettleSlot("tiny", SLOT, 0, meters, True), self.now_ns)

    def zone_state(self):
        return self.core.zones["tiny"].state()

    def reserved(self):
        """What each purse holds for trades and offers, in micro-units."""
        return {name: reserved for name, _, _, reserved, *_ in self.zone_state()["purses"]}

    def traded_wh(self):
        return {n: wh for n, wh in self.core.zones["tiny"].injections_w(SLOT).items() if wh}
