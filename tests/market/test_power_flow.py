"""A zone in which an AC power flow has the last word on every fill."""

from random import Random

import pytest

from cloud.commands import OverrideLimit, ZoneRules
from cloud.facts import Traded
from cloud.grid.referee import Referee
from cloud.market.physics import loose_rooms_wh, rating_va, slot_flow, wires_of
from ext.tree import Headroom, Tree
from protos.clock import MINUTE_NS, SECOND_NS, slot_start_ns
from protos.units import PER_MILLE
from tests.market.scene import GARDEN_2, NETWORK, ORCHARD_1, SLOT, START_NS, Scene, of

RULES = ZoneRules(power_flow=True)
SOON = SLOT + 2


@pytest.fixture
def scene() -> Scene:
    scene = Scene(RULES)
    scene.at_ns = START_NS - MINUTE_NS
    scene.open()
    for node in (2, 3, 4, 5):
        scene.admit(f"home-{node}", node)
    return scene


def limit(element: int, limit_w: int) -> OverrideLimit:
    return OverrideLimit("north", element, limit_w, "PEA", "works", slot_start_ns(SOON + 1))


def traded_wh(facts: list) -> int:
    return sum(fact.energy_wh for fact in of(facts, Traded))


def trade_until_nothing_passes(scene: Scene, draw: Random) -> None:
    for _ in range(60):
        seller, buyer = draw.sample((2, 3, 4, 5), 2)
        scene.sell(f"home-{seller}", draw.randrange(500, 8_000), 3_000_000)
        scene.buy(f"home-{buyer}", draw.randrange(500, 8_000), 3_000_000)


def verdict(scene: Scene) -> tuple[int, int, int]:
    """What power-grid-model says: worst loading, lowest and highest voltage, per mille."""
    found = Referee(NETWORK).check(SOON, scene.zone.injections_w(SOON))
    assert found.converged
    return found.worst_loading_per_mille, found.voltage_min_per_mille, found.voltage_max_per_mille


@pytest.mark.parametrize("seed", range(3))
def test_a_slot_filled_to_the_brim_is_within_its_limits_by_an_independent_solver(
    scene: Scene, seed: int
) -> None:
    trade_until_nothing_passes(scene, Random(seed))
    base = Referee(NETWORK).check(SOON, {})
    loading, low, high = verdict(scene)
    assert loading <= max(PER_MILLE, base.worst_loading_per_mille) + 2
    assert low >= min(900, base.voltage_min_per_mille) - 1
    assert high <= max(1_100, base.voltage_max_per_mille) + 1


def test_more_is_fed_in_than_whole_watts_and_reserves_would_let(scene: Scene) -> None:
    plain = Scene(ZoneRules())
    plain.at_ns = scene.at_ns
    plain.open()
    volumes = []
    for one in (scene, plain):
        if one is plain:
            for node in (2, 5):
                one.admit(f"home-{node}", node)
        one.sell("home-2", 40_000, 3_000_000)
        volumes.append(traded_wh(one.buy("home-5", 40_000, 3_000_000)))
    assert volumes[0] >= volumes[1] > 0


def test_a_replay_comes_to_the_same_bits(scene: Scene) -> None:
    trade_until_nothing_passes(scene, Random(7))
    scene.apply(limit(1, 9_000))
    trade_until_nothing_passes(scene, Random(8))
    assert scene.replayed() == scene.zone.state()


def test_an_authoritys_limit_holds_in_the_power_flow_too(scene: Scene) -> None:
    scene.sell("home-2", 300, 3_000_000)
    assert traded_wh(scene.buy("home-5", 300, 3_000_000)) == 300
    scene.apply(limit(ORCHARD_1, 0))
    scene.sell("home-2", 300, 3_000_000)
    assert traded_wh(scene.buy("home-5", 300, 3_000_000)) == 0
    # They cross and rest; what lets them meet must make them trade.
    assert traded_wh(scene.apply(limit(ORCHARD_1, 1 << 30))) == 300


def test_what_the_flow_withheld_is_tried_again_when_a_limit_rises(scene: Scene) -> None:
    scene.apply(limit(ORCHARD_1, 2_000))
    scene.sell("home-2", 900, 3_000_000)
    first = traded_wh(scene.buy("home-5", 900, 3_000_000))
    assert first < 900
    assert first + traded_wh(scene.apply(limit(ORCHARD_1, 1 << 30))) == 900


def test_an_auction_asks_the_power_flow_for_every_fill() -> None:
    scene = Scene(ZoneRules(power_flow=True, auction_s=600))
    scene.at_ns = START_NS - MINUTE_NS
    scene.open()
    for node in (2, 3, 4, 5):
        scene.admit(f"home-{node}", node)
    gate_ns = slot_start_ns(SOON) - scene.rules.gate_closure_s * SECOND_NS
    scene.at_ns = gate_ns - 60 * SECOND_NS
    for node in (2, 3):
        scene.sell(f"home-{node}", 30_000, 3_000_000)
        scene.buy(f"home-{node + 2}", 30_000, 4_000_000)
    trades = of(scene.advance(gate_ns), Traded)
    assert trades
    assert verdict(scene)[0] <= PER_MILLE + 2
    assert scene.replayed() == scene.zone.state()


def test_room_is_loose_and_ratings_are_only_ever_lowered() -> None:
    tree = Tree(NETWORK.parent)
    rooms = loose_rooms_wh(NETWORK, SOON, {})
    assert all(
        loose >= tight
        for own, other in zip(rooms, NETWORK.headroom_wh(SOON, {}), strict=True)
        for loose, tight in list(zip(own, other, strict=True))[1:]
    )
    assert rating_va(NETWORK, 2, {2: 5}) == 5
    assert rating_va(NETWORK, 2, {2: -5}) == 0
    assert rating_va(NETWORK, 2, {2: 1 << 40}) == NETWORK.limit_w[2]
    flow = slot_flow(NETWORK, wires_of(NETWORK, tree), SOON, {GARDEN_2: 1})
    assert not flow.is_blind
    assert flow.admit(Headroom(tree, *rooms), 0, GARDEN_2, 1_000) < 100
