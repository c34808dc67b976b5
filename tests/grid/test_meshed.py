"""Meshed networks: what the factors admit, the independent power flow confirms."""

import json
from random import Random

import numpy as np
import pytest

from cloud.grid.data import read_shipped
from cloud.grid.meshed import ONE, MeshedGate, _Engine, load_mesh
from cloud.grid.network import load_network
from cloud.grid.tables import NetworkError


def ringed(extra=True, **changes):
    """The six-node network with a line between the ends of its two streets."""
    document = json.loads(read_shipped("tiny")[0])
    if extra:
        line = dict(document["data"]["line"][0])
        line |= {"id": 99, "from_node": 3, "to_node": 5, "i_n": 45.0} | changes
        document["data"]["line"].append(line)
    return json.dumps(document).encode()


@pytest.fixture(scope="module")
def ring():
    return load_mesh(ringed())


def gate_of(mesh):
    base = [0, 0, 3_000, 2_000, 4_000, 1_000]
    return MeshedGate(mesh, base, [200] * 6)


def test_the_markets_tree_refuses_the_ring_and_the_mesh_takes_it(ring):
    with pytest.raises(NetworkError, match="loop"):
        load_network(ringed())
    assert len(ring.branches) == 6


def test_in_a_tree_the_factors_are_the_paths():
    tree = load_mesh(ringed(extra=False))
    network = load_network(ringed(extra=False))
    index = {identity: node for node, identity in enumerate(network.node_ids)}
    for column, identity in enumerate(tree.node_ids):
        path = set(network.path(index[identity]))
        for row, branch in enumerate(tree.branches):
            child = max(index[branch.from_node], index[branch.to_node])
            assert abs(tree.ptdf[row, column]) == (ONE if child in path else 0)


def test_in_the_ring_current_takes_both_ways(ring):
    node = ring.node_ids.index(3)
    names = [branch.name for branch in ring.branches]
    shares = dict(zip(names, np.abs(ring.ptdf[:, node]) / ONE, strict=True))
    assert sum(0.05 < share < 0.95 for share in shares.values()) >= 4


@pytest.mark.parametrize("seed", range(6))
def test_filled_to_the_brim_no_branch_is_over_by_the_independent_power_flow(ring, seed):
    draw = Random(seed)
    gate, engine = gate_of(ring), _Engine(ring)
    worst = []
    for _ in range(120):
        seller, buyer = draw.choice((0, 2, 3)), draw.choice((4, 5))
        if gate.take(seller, buyer, draw.randrange(100, 9_000)):
            _, _, verdict = engine.solve(gate._node_w, gate._node_var)
            worst.append(verdict.worst_loading_per_mille)
    assert len(worst) > 10
    # The worst that ever was, after each accepted trade, and it was nearly full.
    assert 950 <= max(worst) <= 1_000


def test_a_branch_that_is_over_already_blocks_only_what_loads_it_further():
    gate = MeshedGate(load_mesh(ringed(extra=False)), [0, 0, 0, 90_000, 0, 0], [0] * 6)
    over = gate.verdict.worst_loading_per_mille
    assert over > 1_000
    assert gate.take(0, 3, 1_000) == 0
    assert gate.take(3, 0, 20_000) == 20_000
    assert gate.check().worst_loading_per_mille < over
    assert gate.take(4, 5, 1_000) == 1_000


def test_the_active_set_hides_nothing(ring, monkeypatch):
    def filled(active):
        monkeypatch.setattr("cloud.grid.meshed.ACTIVE", active)
        draw, gate = Random(3), gate_of(ring)
        return [gate.take(*draw.sample(range(6), 2), draw.randrange(100, 9_000)) for _ in range(80)]

    assert filled(2) == filled(32)


def test_where_nothing_can_be_solved_nothing_may_pass():
    gate = MeshedGate(load_mesh(ringed()), [0, 0, 0, 9_000_000, 0, 0], [0] * 6)
    assert not gate.verdict.converged
    assert gate.take(0, 5, 1_000) == 0


def test_a_part_without_supply_is_refused():
    document = json.loads(ringed())
    for line in document["data"]["line"][2:]:
        line["from_status"] = 0
    with pytest.raises(NetworkError, match="no supply"):
        load_mesh(json.dumps(document).encode())
