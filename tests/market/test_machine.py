"""Anything may come in any order: what must hold of a zone whatever happens.

A model follows the facts alone, as an account holder would, and computes independently what is
open, what is owed and what flows.
"""

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cloud.commands import (
    ExpelGateway,
    GrantAllowance,
    OverrideLimit,
    ReleaseReservation,
    ZoneRules,
)
from cloud.facts import (
    Fact,
    GateClosed,
    LimitOverridden,
    OfferCancelled,
    OfferReduced,
    OfferRefused,
    OfferRested,
    SlotMetered,
    Traded,
)
from cloud.market.risk import owed_micro, unit_reserve_micro
from protos.clock import SECOND_NS, slot_start_ns
from protos.messages import Cancel, Offer, OfferBatch, OrderKind, SelfTrade, Side, TimeInForce
from protos.units import val
from tests.market.scene import NETWORK, SLOT, Scene, device, of

RULES = ZoneRules(tick_micro_per_kwh=100_000, position_max_wh=30_000)
LOW, HIGH = RULES.fallback_export_micro_per_kwh, RULES.fallback_import_micro_per_kwh
NODES = {"a": 2, "b": 3, "c": 4, "d": 5, "e": 5}
NAMES = st.sampled_from(sorted(NODES))
SLOTS = st.integers(SLOT, SLOT + 6)


class Model:
    """What the facts say."""

    def __init__(self) -> None:
        self.submitted: dict[tuple[str, int], Offer] = {}
        self.open: dict[tuple[str, int], int] = {}
        self.owed: dict[tuple[str, int], int] = defaultdict(int)
        self.net: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self.overrides: dict[int, tuple[int, int]] = {}
        self.closed: set[int] = set()
        self.trades = 0
        self.metered: dict[int, int] = {}

    def see(self, facts: list[Fact]) -> None:
        for fact in facts:
            match fact:
                case Traded():
                    self.trade(fact)
                case OfferCancelled():
                    left = self.open.pop((fact.device, fact.number))
                    assert left == fact.energy_wh > 0
                case OfferReduced():
                    self.open[fact.device, fact.number] -= fact.energy_wh
                    assert self.open[fact.device, fact.number] == fact.left_wh > 0
                case OfferRested():
                    assert self.open[fact.device, fact.number] == fact.energy_wh
                case OfferRefused() if (fact.device, fact.number) in self.open and fact.slot:
                    # Only the whole of an offer is ever refused.
                    assert self.open.pop((fact.device, fact.number)) == fact.energy_wh
                case LimitOverridden():
                    self.overrides[fact.element] = (fact.limit_w, fact.until_ns)
                case GateClosed():
                    assert fact.slot not in self.closed
                    self.closed.add(fact.slot)
                case SlotMetered():
                    assert fact.revision == self.metered.get(fact.slot, -1) + 1
                    self.metered[fact.slot] = fact.revision

    def trade(self, fact: Traded) -> None:
        self.trades += 1
        assert fact.trade == self.trades
        assert fact.slot not in self.closed
        assert fact.buyer != fact.seller
        assert fact.energy_wh > 0
        for side, who, number, account in (
            (Side.BUY, fact.buyer_device, fact.buyer_number, fact.buyer),
            (Side.SELL, fact.seller_device, fact.seller_number, fact.seller),
        ):
            offer = self.submitted[who, number]
            assert (offer.side, offer.slot) == (side, fact.slot)
            if offer.kind is OrderKind.LIMIT:
                value = val(fact.energy_wh, fact.price_micro_per_kwh)
                limit = val(fact.energy_wh, offer.price_micro_per_kwh)
                assert fact.rent_micro >= 0
                if side is Side.BUY:
                    assert value + fact.rent_micro <= limit
                else:
                    assert value >= limit
            self.open[who, number] -= fact.energy_wh
            assert self.open[who, number] >= 0
            if self.open[who, number] == 0:
                del self.open[who, number]
            self.owed[account, fact.slot] += owed_micro(
                side, fact.energy_wh, fact.price_micro_per_kwh, RULES, fact.rent_micro
            )
        self.flow(fact)

    def flow(self, fact: Traded) -> None:
        """No trade loads an element beyond its limit."""
        limits = {
            element: limit
            for element, (limit, until_ns) in self.overrides.items()
            if slot_start_ns(fact.slot) < until_ns
        }
        down, up = NETWORK.headroom_wh(fact.slot, limits)
        nodes = {device(name): node for name, node in NODES.items()}
        buyer = set(NETWORK.path(nodes[fact.buyer_device]))
        seller = set(NETWORK.path(nodes[fact.seller_device]))
        net = self.net[fact.slot]
        for element in buyer - seller:
            net[element] += fact.energy_wh
            assert net[element] <= down[element]
        for element in seller - buyer:
            net[element] -= fact.energy_wh
            assert -net[element] <= up[element]


class ZoneMachine(RuleBasedStateMachine):
    zone_rules = RULES

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene(self.zone_rules)
        self.model = Model()
        self.expelled: set[str] = set()

    def see(self, facts: list[Fact]) -> None:
        self.model.see(facts)

    @initialize()
    def begin(self) -> None:
        self.scene.open()
        for name, node in NODES.items():
            account = "acc-d" if name == "e" else ""
            self.scene.admit(name, node, allowance=100_000_000, account=account)

    @rule(
        name=NAMES,
        slot=SLOTS,
        side=st.sampled_from(Side),
        energy_wh=st.integers(-1, 9_000),
        price=st.integers(LOW // 100_000 - 1, HIGH // 100_000 + 1),
        kind=st.sampled_from([OrderKind.LIMIT, OrderKind.LIMIT, OrderKind.LIMIT, *OrderKind]),
        tif=st.sampled_from(TimeInForce),
        replaces=st.just(0) | st.integers(1, 12),
        self_trade=st.sampled_from(SelfTrade),
    )
    def offer(
        self,
        name: str,
        slot: int,
        side: Side,
        energy_wh: int,
        price: int,
        kind: OrderKind,
        tif: TimeInForce,
        replaces: int,
        self_trade: SelfTrade,
    ) -> None:
        chain = self.scene.chains[name]
        chain.number += 1
        offer = Offer(
            *(chain.number, slot, side, energy_wh, price * 100_000, kind, tif),
            replaces=replaces,
            self_trade=self_trade,
        )
        self.model.submitted[chain.device, chain.number] = offer
        if name not in self.expelled:
            self.model.open[chain.device, chain.number] = energy_wh
        facts = self.scene.send(name, OfferBatch((offer,)))
        self.see(facts)
        if name in self.expelled:
            assert len(of(facts, Traded)) == 0

    @rule(name=NAMES, number=st.integers(0, 12))
    def cancel(self, name: str, number: int) -> None:
        self.see(self.scene.send(name, OfferBatch(cancels=(Cancel(number),))))

    @rule(name=NAMES)
    def replay(self, name: str) -> None:
        chain = self.scene.chains[name]
        before = self.scene.zone.durable(chain.device)
        sent = [c for c, _ in self.scene.history if getattr(c, "device", "") == chain.device]
        self.see(self.scene.apply(sent[-1]))
        assert self.scene.zone.durable(chain.device) == before

    @rule(name=NAMES, wh=st.integers(0, 400), back_s=st.sampled_from([0, 0, 0, 3_000]))
    def read(self, name: str, wh: int, back_s: int) -> None:
        chain = self.scene.chains[name]
        chain.counters["in"] = chain.counters.get("in", 0) + wh
        at_ms = self.scene.at_ns // 1_000_000 - 1_000 * back_s
        self.see(self.scene.read(name, (at_ms, chain.counters["in"], 0), power_w=-wh))

    @rule(seconds=st.integers(-600, 1_500))
    def advance(self, seconds: int) -> None:
        self.see(self.scene.advance(self.scene.at_ns + seconds * SECOND_NS))

    @rule(element=st.integers(0, 6), limit_w=st.integers(-1, 50_000), hours=st.integers(-1, 2))
    def override(self, element: int, limit_w: int, hours: int) -> None:
        until_ns = self.scene.at_ns + hours * 3_600 * SECOND_NS
        self.see(self.scene.apply(OverrideLimit("north", element, limit_w, "DSO", "", until_ns)))

    @rule(name=NAMES, allowance=st.integers(0, 200_000_000))
    def grant(self, name: str, allowance: int) -> None:
        self.see(self.scene.apply(GrantAllowance("north", f"acc-{name}", allowance)))

    @rule(name=st.sampled_from(["d", "e"]))
    def expel(self, name: str) -> None:
        self.see(self.scene.apply(ExpelGateway("north", device(name))))
        self.expelled.add(name)

    @rule(name=NAMES)
    def settle(self, name: str) -> None:
        for slot in sorted(self.model.closed):
            self.release(f"acc-{name}", slot)

    def release(self, account: str, slot: int) -> None:
        self.see(self.scene.apply(ReleaseReservation("north", account, slot)))
        self.model.owed.pop((account, slot), None)

    @invariant()
    def reservations_are_what_the_facts_say(self) -> None:
        accounts = {device(name): f"acc-{'d' if name == 'e' else name}" for name in NODES}
        held: dict[str, int] = defaultdict(int)
        for key, energy_wh in self.model.open.items():
            offer = self.model.submitted[key]
            price = offer.price_micro_per_kwh
            if offer.kind is OrderKind.MARKET:
                price = HIGH if offer.side is Side.BUY else LOW
            unit = unit_reserve_micro(offer.side, price, RULES)
            held[accounts[key[0]]] += energy_wh * unit
        for account, allowance, opened, reserved, *_ in self.scene.zone.state()["purses"]:
            owed = sum(wh for (who, _), wh in self.model.owed.items() if who == account)
            assert opened == held[account] >= 0
            assert reserved == opened + owed >= 0
            assert opened == 0 or reserved <= allowance

    @invariant()
    def the_book_holds_what_the_facts_say(self) -> None:
        offers = self.scene.zone.state()["trading"]["offers"]
        assert {(o[1], o[2]): o[5] for o in offers} == self.model.open

    def teardown(self) -> None:
        self.see(self.scene.advance(slot_start_ns(SLOT + 30)))
        assert self.model.open == {}
        for account, slot in sorted(self.model.owed):
            self.release(account, slot)
        assert all(purse[2:4] == (0, 0) for purse in self.scene.zone.state()["purses"])
        assert self.scene.replayed() == self.scene.zone.state()


class AuctionMachine(ZoneMachine):
    """The same with half an hour of gathering before each gate."""

    zone_rules = ZoneRules(tick_micro_per_kwh=100_000, position_max_wh=30_000, auction_s=1_800)


class OpeningMachine(ZoneMachine):
    """The same while the first slots open: for a while, a call auction at each end of a slot."""

    zone_rules = ZoneRules(
        tick_micro_per_kwh=100_000,
        position_max_wh=30_000,
        auction_s=600,
        opening_s=85_000,
    )


TestZone = ZoneMachine.TestCase
TestZone.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAuction = AuctionMachine.TestCase
TestAuction.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOpening = OpeningMachine.TestCase
TestOpening.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
