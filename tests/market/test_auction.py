"""The closing auction: what gathers before a gate and what becomes of it."""

from random import Random

import pytest

from cloud.commands import OverrideLimit, ZoneRules
from cloud.facts import (
    EdgePrice,
    GateClosed,
    OfferCancelled,
    OfferRefused,
    OfferRested,
    PricesIndicated,
    Traded,
)
from cloud.flows import follow
from cloud.market.auction import Fill, Waiting, clear_offers
from ext.book import Books
from ext.records import parse_snapshot
from ext.tree import Headroom, Tree
from protos.clock import MINUTE_NS, SECOND_NS, slot_start_ns
from protos.messages import Cancel, OfferBatch, OrderKind, Refusal, Side, TimeInForce
from protos.units import val
from tests.market.scene import NETWORK, ORCHARD_2, SLOT, START_NS, Scene, of
from tests.oracle.auction import best

RULES = ZoneRules(auction_s=600)
SOON = SLOT + 2
GATE_NS = slot_start_ns(SOON) - RULES.gate_closure_s * SECOND_NS
OPEN = 1 << 40


@pytest.fixture
def gathering() -> Scene:
    """A zone in the last minutes before the gate of slot SOON."""
    scene = Scene(RULES)
    scene.at_ns = START_NS - MINUTE_NS
    scene.open()
    for node in (2, 3, 4, 5):
        scene.admit(f"home-{node}", node)
    scene.at_ns = GATE_NS - 60 * SECOND_NS
    return scene


def offer(owner, node, side, tick, energy_wh):
    return Waiting(owner, node, side, tick, energy_wh, 3)


def test_offers_gather_and_trade_at_one_price_when_the_gate_closes(gathering: Scene) -> None:
    assert isinstance(gathering.sell("home-2", 500, 3_000_000)[0], OfferRested)
    assert isinstance(gathering.buy("home-3", 400, 5_000_000)[0], OfferRested)
    assert isinstance(gathering.sell("home-4", 100, 4_000_000)[0], OfferRested)
    assert isinstance(gathering.buy("home-5", 100, 4_600_000)[0], OfferRested)
    facts = gathering.advance(GATE_NS)
    trades = of(facts, Traded)
    assert sum(fact.energy_wh for fact in trades) == 500
    assert {fact.price_micro_per_kwh for fact in trades} == {3_500_000}
    assert {fact.rent_micro for fact in trades} == {0}
    (left,) = of(facts, OfferCancelled)
    assert (left.energy_wh, left.reason) == (100, Refusal.GATE_CLOSED)
    (closed,) = of(facts, GateClosed)
    assert (closed.trades, closed.volume_wh) == (len(trades), 500)
    assert facts.index(trades[-1]) < facts.index(left) < facts.index(closed)


def test_before_the_last_minutes_offers_trade_at_once(gathering: Scene) -> None:
    gathering.at_ns = GATE_NS - 601 * SECOND_NS
    gathering.sell("home-2", 500, 3_000_000)
    assert of(gathering.buy("home-3", 500, 3_000_000), Traded)


def test_what_rests_in_the_book_is_cleared_with_what_gathered(gathering: Scene) -> None:
    gathering.at_ns = GATE_NS - 700 * SECOND_NS
    gathering.sell("home-2", 500, 3_000_000)
    gathering.at_ns = GATE_NS - 100 * SECOND_NS
    assert not of(gathering.buy("home-3", 500, 4_000_000), Traded)
    (trade,) = of(gathering.advance(GATE_NS), Traded)
    assert trade.energy_wh == 500


def test_behind_a_full_element_the_buyer_pays_rent_on_top(gathering: Scene) -> None:
    until = slot_start_ns(SOON + 1)
    gathering.apply(OverrideLimit("north", ORCHARD_2, 16_000, "DSO", "works", until))
    room = NETWORK.headroom_wh(SOON, {ORCHARD_2: 16_000})[0][ORCHARD_2]
    assert 0 < room < 5_000
    gathering.sell("home-2", 5_000, 3_000_000)
    gathering.buy("home-5", 5_000, 5_000_000)
    facts = gathering.advance(GATE_NS)
    (trade,) = of(facts, Traded)
    (prices,) = [fact for fact in of(facts, PricesIndicated) if fact.is_final]
    assert prices.steps == (EdgePrice(ORCHARD_2, 2_000_000, 1_000),)
    assert trade.energy_wh == room
    assert trade.price_micro_per_kwh == 3_000_000
    assert trade.rent_micro == val(room, 5_000_000) - val(room, 3_000_000) > 0
    (command,) = follow([trade])
    assert command.trades[0].rent_micro == trade.rent_micro


def test_what_must_trade_at_once_is_refused_while_offers_gather(gathering: Scene) -> None:
    for tif, reason in (
        (TimeInForce.FILL_OR_KILL, Refusal.FILL_OR_KILL_UNFILLED),
        (TimeInForce.IMMEDIATE_OR_CANCEL, Refusal.MARKET_UNFILLED),
    ):
        (fact,) = gathering.buy("home-3", 100, 3_000_000, time_in_force=tif)
        assert isinstance(fact, OfferRefused)
        assert fact.reason == reason


def test_a_market_offer_takes_any_price_of_the_auction(gathering: Scene) -> None:
    gathering.sell("home-2", 100, 3_000_000)
    gathering.buy("home-3", 100, 0, kind=OrderKind.MARKET)
    (trade,) = of(gathering.advance(GATE_NS), Traded)
    assert trade.energy_wh == 100


def test_a_gathered_offer_can_be_withdrawn(gathering: Scene) -> None:
    gathering.sell("home-2", 100, 3_000_000)
    (fact,) = of(gathering.send("home-2", OfferBatch(cancels=(Cancel(1),))), OfferCancelled)
    assert fact.energy_wh == 100
    gathering.buy("home-3", 100, 3_000_000)
    assert not of(gathering.advance(GATE_NS), Traded)
    assert gathering.purse("home-2")[1:] == (0, 0)


def test_a_zone_with_auctions_replays_to_the_same_state(gathering: Scene) -> None:
    gathering.sell("home-2", 500, 3_000_000)
    gathering.buy("home-3", 700, 4_000_000)
    assert gathering.replayed() == gathering.zone.state()
    gathering.advance(GATE_NS)
    assert gathering.replayed() == gathering.zone.state()


def test_an_account_that_crosses_itself_keeps_the_side_it_was_first_on() -> None:
    headroom = Headroom(Tree([-1]), [0], [0])
    waiting = [
        offer(1, 0, Side.SELL, 5, 10),
        offer(1, 0, Side.BUY, 9, 10),
        offer(2, 0, Side.BUY, 6, 4),
    ]
    assert [
        (f.seller, f.buyer, f.energy_wh) for f in clear_offers(headroom, 16, waiting).fills
    ] == [(0, 2, 4)]


def test_an_account_whose_bids_are_below_its_asks_may_be_on_both_sides() -> None:
    headroom = Headroom(Tree([-1]), [0], [0])
    waiting = [
        offer(1, 0, Side.SELL, 9, 10),
        offer(1, 0, Side.BUY, 5, 10),
        offer(2, 0, Side.SELL, 4, 3),
    ]
    assert clear_offers(headroom, 16, waiting) == ([Fill(2, 1, 3, 5, 5)], [])


def test_what_the_continuous_book_left_has_nothing_more_to_trade() -> None:
    draw = Random(3)
    for _ in range(60):
        parents = [-1, *(draw.randrange(max(0, n - 3), n) for n in range(1, 9))]
        rooms = [[0, *(draw.randint(0, 20) for _ in range(8))] for _ in range(2)]
        headroom, books = Headroom(Tree(parents), *rooms), Books(256)
        books.open(0, headroom)
        for number in range(1, 60):
            price, energy = draw.randrange(20), draw.randint(1, 9)
            node, side = draw.randrange(9), draw.randrange(2)
            books.submit(0, number, side, price, energy, number, node)
        down, up = headroom.down, headroom.up
        ((_, _, resting),) = parse_snapshot(books.snapshot(), books.ticks)
        orders = [(node, side, tick, wh) for _, tick, wh, _, node, side, _ in resting]
        assert best(parents, down, up, orders)[0] == 0
