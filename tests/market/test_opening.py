"""The opening auction: what gathers while a slot's market opens and what becomes of it."""

import pytest

from cloud.commands import ExpelGateway, OverrideLimit, ZoneRules
from cloud.facts import (
    EdgePrice,
    OfferCancelled,
    OfferRefused,
    OfferRested,
    PricesIndicated,
    Traded,
)
from cloud.grid.referee import Referee
from protos.clock import MINUTE_NS, SECOND_NS, slot_start_ns
from protos.limits import SLOTS_AHEAD_MAX
from protos.messages import Cancel, OfferBatch, OrderKind, Refusal, Side, TimeInForce
from protos.units import PER_MILLE, val
from tests.market.scene import NETWORK, ORCHARD_2, SLOT, START_NS, Scene, device, of

RULES = ZoneRules(opening_s=300)
NEW = SLOT + SLOTS_AHEAD_MAX
"""The slot whose market opens when slot SLOT begins."""
END_NS = START_NS + RULES.opening_s * SECOND_NS


def opened(rules: ZoneRules) -> Scene:
    """A zone one minute after the market of slot NEW opened."""
    scene = Scene(rules)
    scene.at_ns = START_NS - MINUTE_NS
    scene.open()
    for node in (2, 3, 4, 5):
        scene.admit(f"home-{node}", node)
    scene.at_ns = START_NS + MINUTE_NS
    return scene


@pytest.fixture
def opening() -> Scene:
    return opened(RULES)


def place(scene: Scene, node: int, side: Side, energy_wh: int, price: int, **more: object) -> list:
    return scene.offer(f"home-{node}", side, energy_wh, price, slot=NEW, **more)


def open_wh(scene: Scene) -> dict[tuple[str, int], int]:
    offers = scene.zone.state()["trading"]["offers"]
    return {(offer[1], offer[2]): offer[5] for offer in offers}


def test_without_an_opening_the_newest_slot_trades_at_once() -> None:
    assert ZoneRules().opening_s == 0
    scene = opened(ZoneRules())
    place(scene, 2, Side.SELL, 500, 3_000_000)
    assert of(place(scene, 3, Side.BUY, 500, 3_000_000), Traded)


def test_offers_do_not_trade_before_the_end_and_then_at_one_price(opening: Scene) -> None:
    for node, side, energy_wh, price in (
        (2, Side.SELL, 500, 3_000_000),
        (3, Side.BUY, 400, 5_000_000),
        (4, Side.SELL, 100, 4_000_000),
        (5, Side.BUY, 100, 4_600_000),
    ):
        (fact,) = place(opening, node, side, energy_wh, price)
        assert isinstance(fact, OfferRested)
    assert opening.advance(END_NS - 1) == []
    facts = opening.advance(END_NS)
    trades = of(facts, Traded)
    assert {fact.slot for fact in trades} == {NEW}
    assert sum(fact.energy_wh for fact in trades) == 500
    assert {fact.price_micro_per_kwh for fact in trades} == {3_500_000}
    assert {fact.rent_micro for fact in trades} == {0}
    assert open_wh(opening) == {(device("home-4"), 1): 100}
    assert of(opening.advance(), Traded) == []


def test_any_command_ends_an_opening_before_it_is_applied_itself(opening: Scene) -> None:
    place(opening, 2, Side.SELL, 500, 3_000_000)
    place(opening, 3, Side.BUY, 300, 4_000_000)
    opening.at_ns = END_NS
    chain = opening.chains["home-4"]
    facts = opening.apply(ExpelGateway("north", chain.device))
    assert [fact.energy_wh for fact in of(facts, Traded)] == [300]
    assert isinstance(facts[0], Traded)


def test_other_slots_trade_at_once_while_the_newest_gathers(opening: Scene) -> None:
    opening.sell("home-2", 500, 3_000_000, slot=NEW - 1)
    assert of(opening.buy("home-3", 500, 3_000_000, slot=NEW - 1), Traded)


def test_what_is_left_trades_continuously_in_its_old_order(opening: Scene) -> None:
    place(opening, 2, Side.SELL, 100, 3_500_000)
    place(opening, 3, Side.SELL, 100, 3_500_000)
    place(opening, 4, Side.SELL, 100, 3_200_000)
    assert of(opening.advance(END_NS), OfferRested) == []
    trades = of(place(opening, 5, Side.BUY, 250, 4_000_000), Traded)
    assert [(fact.seller, fact.energy_wh, fact.price_micro_per_kwh) for fact in trades] == [
        ("acc-home-4", 100, 3_200_000),
        ("acc-home-2", 100, 3_500_000),
        ("acc-home-3", 50, 3_500_000),
    ]
    cancel = OfferBatch(cancels=(Cancel(1),))
    assert [f.energy_wh for f in of(opening.send("home-3", cancel), OfferCancelled)] == [50]
    assert open_wh(opening) == {}
    (fact,) = place(opening, 5, Side.BUY, 50, 4_000_000)
    assert isinstance(fact, OfferRested)


def test_behind_a_full_element_the_buyer_pays_rent_and_the_room_stays_taken(
    opening: Scene,
) -> None:
    until_ns = slot_start_ns(NEW + 1)
    opening.apply(OverrideLimit("north", ORCHARD_2, 16_000, "DSO", "works", until_ns))
    room_wh = NETWORK.headroom_wh(NEW, {ORCHARD_2: 16_000})[0][ORCHARD_2]
    assert 0 < room_wh < 5_000
    place(opening, 2, Side.SELL, 5_000, 3_000_000)
    place(opening, 5, Side.BUY, 5_000, 5_000_000)
    facts = opening.advance(END_NS)
    (trade,) = of(facts, Traded)
    assert (trade.energy_wh, trade.price_micro_per_kwh) == (room_wh, 3_000_000)
    assert trade.rent_micro == val(room_wh, 5_000_000) - val(room_wh, 3_000_000) > 0
    (prices,) = [fact for fact in of(facts, PricesIndicated) if fact.is_final]
    assert (prices.slot, prices.steps) == (NEW, (EdgePrice(ORCHARD_2, 2_000_000, 1_000),))
    # Both are crossed and rest: nothing more goes over the line until someone relieves it.
    (refused,) = place(opening, 5, Side.BUY, 10, 5_000_000)
    assert (type(refused), refused.reason) == (OfferRefused, Refusal.NO_HEADROOM)
    wider = OverrideLimit("north", ORCHARD_2, 20_000, "DSO", "done", until_ns)
    more_wh = NETWORK.headroom_wh(NEW, {ORCHARD_2: 20_000})[0][ORCHARD_2] - room_wh
    assert [fact.energy_wh for fact in of(opening.apply(wider), Traded)] == [more_wh]


def test_a_gathered_offer_can_be_withdrawn(opening: Scene) -> None:
    place(opening, 2, Side.SELL, 100, 3_000_000)
    (fact,) = of(opening.send("home-2", OfferBatch(cancels=(Cancel(1),))), OfferCancelled)
    assert fact.energy_wh == 100
    assert opening.purse("home-2")[1:] == (0, 0)
    assert opening.advance(END_NS) == []
    assert isinstance(place(opening, 3, Side.BUY, 100, 3_000_000)[0], OfferRested)


def test_a_market_offer_takes_any_price_and_its_rest_does_not_wait(opening: Scene) -> None:
    place(opening, 2, Side.SELL, 100, 3_000_000)
    place(opening, 3, Side.BUY, 150, 0, kind=OrderKind.MARKET)
    facts = opening.advance(END_NS)
    assert [fact.energy_wh for fact in of(facts, Traded)] == [100]
    (left,) = of(facts, OfferCancelled)
    assert (left.energy_wh, left.reason) == (50, Refusal.MARKET_UNFILLED)
    assert open_wh(opening) == {}
    assert opening.purse("home-3")[1] == 0


def test_what_must_trade_at_once_is_refused_while_a_market_opens(opening: Scene) -> None:
    kill = {"time_in_force": TimeInForce.FILL_OR_KILL}
    (fact,) = place(opening, 3, Side.BUY, 100, 3_000_000, **kill)
    assert (type(fact), fact.reason) == (OfferRefused, Refusal.FILL_OR_KILL_UNFILLED)


def test_after_a_stop_the_opening_is_cleared_before_the_gate_closes(opening: Scene) -> None:
    place(opening, 2, Side.SELL, 500, 3_000_000)
    place(opening, 3, Side.BUY, 300, 4_000_000)
    facts = opening.advance(slot_start_ns(NEW))
    assert [fact.energy_wh for fact in of(facts, Traded)] == [300]
    assert [(fact.energy_wh, fact.reason) for fact in of(facts, OfferCancelled)] == [
        (200, Refusal.GATE_CLOSED)
    ]
    assert opening.replayed() == opening.zone.state()


def test_a_slot_may_have_an_auction_at_each_end() -> None:
    scene = opened(ZoneRules(opening_s=300, auction_s=600))
    place(scene, 2, Side.SELL, 500, 3_000_000)
    place(scene, 3, Side.BUY, 300, 4_000_000)
    assert [fact.energy_wh for fact in of(scene.advance(END_NS), Traded)] == [300]
    gate_ns = slot_start_ns(NEW) - scene.rules.gate_closure_s * SECOND_NS
    scene.at_ns = gate_ns - MINUTE_NS
    assert not of(place(scene, 4, Side.BUY, 150, 4_000_000), Traded)
    assert [fact.energy_wh for fact in of(scene.advance(gate_ns), Traded)] == [150]
    assert scene.replayed() == scene.zone.state()


def test_nothing_is_lost_in_a_replay_before_at_and_after_the_end(opening: Scene) -> None:
    place(opening, 2, Side.SELL, 500, 3_000_000)
    place(opening, 3, Side.BUY, 700, 4_000_000)
    place(opening, 2, Side.BUY, 200, 4_000_000)
    assert opening.zone.state()["trading"]["openings"] == [NEW]
    assert opening.replayed() == opening.zone.state()
    facts = opening.advance(END_NS)
    assert sum(fact.energy_wh for fact in of(facts, Traded)) == 500
    assert sum(open_wh(opening).values()) == 400
    assert opening.zone.state()["trading"]["openings"] == []
    assert opening.replayed() == opening.zone.state()


def test_the_power_flow_admits_an_openings_fills_and_goes_on_from_them() -> None:
    scene = opened(ZoneRules(power_flow=True, opening_s=300))
    for node in (2, 3):
        place(scene, node, Side.SELL, 30_000, 3_000_000)
        place(scene, node + 2, Side.BUY, 30_000, 4_000_000)
    before_wh = sum(open_wh(scene).values())
    traded_wh = sum(fact.energy_wh for fact in of(scene.advance(END_NS), Traded))
    assert 0 < traded_wh < 60_000
    assert sum(open_wh(scene).values()) == before_wh - 2 * traded_wh
    place(scene, 2, Side.SELL, 30_000, 3_000_000)
    found = Referee(NETWORK).check(NEW, scene.zone.injections_w(NEW))
    assert found.converged
    assert found.worst_loading_per_mille <= PER_MILLE + 2
    assert scene.replayed() == scene.zone.state()
