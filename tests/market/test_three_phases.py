"""A zone whose homes hang from single phases: each phase has limits and a band of its own."""

import json
from random import Random

import numpy as np
import pytest

from cloud.commands import ZoneRules
from cloud.facts import Traded, ZoneRefused
from cloud.grid.data import read_shipped
from cloud.grid.network import Network, NetworkError, load_network, quarter_of_year
from cloud.grid.referee import Referee
from cloud.market.physics import loose_rooms_wh, slot_flow, wires_of
from ext.tree import Headroom, Tree
from protos.messages import Refusal
from tests.market.scene import SLOT, START_NS, Scene, of

RULES = ZoneRules(power_flow=True, three_phase=True)


def phased(phases=("A", "B", "C", "A"), winding=(2, 1), clock=5, **line) -> bytes:
    """The garden network behind a delta-star transformer, its homes on single phases."""
    document = json.loads(read_shipped("tiny")[0])
    for row in document["data"]["line"]:
        row.update({"r0": 4 * row["r1"], "x0": 3 * row["x1"], "c0": 0.6 * row["c1"], "tan0": 0.0})
        row.update(line)
    document["data"]["transformer"][0].update(
        winding_from=winding[0], winding_to=winding[1], clock=clock
    )
    document["gridtokenx"]["home_phases"] = list(phases)
    return json.dumps(document).encode()


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(phased())


def scene_of(network: Network, rules: ZoneRules) -> Scene:
    scene = Scene(rules, network)
    scene.at_ns = START_NS - 60 * 10**9
    scene.open()
    for node in network.home_nodes:
        scene.admit(f"home-{node}", node)
    return scene


def test_the_sidecar_says_which_phase_a_home_hangs_from(network: Network) -> None:
    assert [network.electric.phases[node] for node in network.home_nodes] == [1, 2, 3, 1]
    assert load_network(phased(["ABC"] * 4)).electric.zero is None


def test_every_phase_has_the_voltage_that_power_grid_model_finds(network: Network) -> None:
    flow = slot_flow(network, wires_of(network, Tree(network.parent), three_phase=True), SLOT, {})
    quarter = quarter_of_year(SLOT)
    base = network.baseline
    wanted = Referee(network, three_phase=True).voltages_pu(
        base.node_w(quarter).astype(float), base.node_var(quarter).astype(float)
    )
    for row, node in list(enumerate(network.node_ids))[1:]:
        found = flow.phases(row)[0]
        assert np.abs(np.array(found) - wanted[node]).max() < 1e-6
    assert np.ptp(wanted) > 0.02


@pytest.mark.parametrize("seed", range(3))
def test_a_slot_filled_to_the_brim_is_within_its_limits_by_the_unbalanced_referee(
    network: Network, seed: int
) -> None:
    draw, referee = Random(seed), Referee(network, three_phase=True)
    tree = Tree(network.parent)
    flow = slot_flow(network, wires_of(network, tree, three_phase=True), SLOT, {})
    room = Headroom(tree, *loose_rooms_wh(network, SLOT, {}))
    injections = dict.fromkeys(range(network.size), 0)
    for _ in range(200):
        seller, buyer = draw.sample(network.home_nodes, 2)
        wh = min(draw.randrange(100, 5_000), room.room_wh(seller, buyer))
        wh = flow.admit(room, seller, buyer, wh) if wh else 0
        flow.give_back(room)
        injections[seller] += 4 * wh
        injections[buyer] -= 4 * wh
    base, now = referee.check(SLOT, {}), referee.check(SLOT, injections)
    assert flow.refused > 50
    assert now.converged
    assert now.worst_loading_per_mille <= max(1_000, base.worst_loading_per_mille) + 2
    assert now.voltage_min_per_mille >= min(900, base.voltage_min_per_mille) - 1
    assert now.voltage_max_per_mille <= max(1_100, base.voltage_max_per_mille) + 1
    # The same trades by the balanced flow alone would have passed a limit of one phase.
    balanced = slot_flow(network, wires_of(network, tree), SLOT, {})
    other = Headroom(tree, *loose_rooms_wh(network, SLOT, {}))
    fresh = slot_flow(network, wires_of(network, tree, three_phase=True), SLOT, {})
    wh = other.room_wh(3, 5)
    assert balanced.admit(other, 3, 5, wh) > fresh.admit(other, 3, 5, other.room_wh(3, 5))


def test_a_zone_with_the_rule_trades_less_over_one_phase_and_replays_to_the_same_state(
    network: Network,
) -> None:
    volumes = []
    for rules in (RULES, replace_rule(RULES, three_phase=False), RULES):
        scene = scene_of(network, rules)
        scene.sell(f"home-{network.home_nodes[0]}", 9_000, 3_000_000)
        facts = scene.buy(f"home-{network.home_nodes[-1]}", 9_000, 3_000_000)
        volumes.append((sum(t.energy_wh for t in of(facts, Traded)), scene.zone.state()))
        assert scene.replayed() == scene.zone.state()
    assert 0 < volumes[0][0] < volumes[1][0]
    assert volumes[0] == volumes[2]


def replace_rule(rules: ZoneRules, **changes: object) -> ZoneRules:
    values = {name: getattr(rules, name) for name in ZoneRules.__struct_fields__}
    return ZoneRules(**{**values, **changes})


def test_the_rule_needs_the_power_flow_it_belongs_to(network: Network) -> None:
    scene = Scene(ZoneRules(three_phase=True), network)
    assert of(scene.open(), ZoneRefused)[0].reason == Refusal.BAD_PRICE


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        ("has no zero sequence", phased(r0=None)),
        ("has no zero sequence", phased(winding=(1, 0), clock=0)),
        ("turns the phase", phased(winding=(1, 1))),
        ("4 home nodes have 1 home_phases", phased(["A"])),
        ("hangs from 'D'; a phase is A, B, C or ABC", phased(["A", "B", "C", "D"])),
    ],
)
def test_a_file_that_leaves_a_phase_in_doubt_is_refused(reason: str, data: bytes) -> None:
    with pytest.raises(NetworkError, match=reason):
        load_network(data)
