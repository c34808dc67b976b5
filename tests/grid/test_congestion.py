"""What a loaded wire costs, in whole micro-units, and which wires are the fullest."""

from itertools import pairwise
from random import Random

import pytest

from cloud.facts import ElementFlow
from cloud.grid.congestion import (
    EdgeStep,
    edge_step,
    edge_steps,
    loading_per_mille,
    most_loaded,
    node_price,
    pack_steps,
    unpack_steps,
)
from cloud.grid.shipped import network_named

SPREAD = 3_600_000


def test_a_wire_below_eighty_per_cent_costs_nothing():
    assert edge_step(0, 100, SPREAD) == 0
    assert edge_step(80_000, 100_000, SPREAD) == 0
    assert edge_step(80_001, 100_000, SPREAD) == 0  # rounds to less than a micro-unit
    assert edge_step(80_100, 100_000, SPREAD) > 0


def test_a_full_wire_costs_the_whole_spread_and_never_more():
    assert edge_step(100_000, 100_000, SPREAD) == SPREAD
    assert edge_step(250_000, 100_000, SPREAD) == SPREAD


def test_halfway_a_quarter_of_the_spread():
    assert edge_step(90_000, 100_000, SPREAD) == SPREAD // 4


def test_the_price_rises_faster_the_fuller_the_wire():
    steps = [edge_step(flow, 1_000, SPREAD) for flow in range(800, 1_001, 10)]
    rises = [b - a for a, b in pairwise(steps)]
    assert rises == sorted(rises)
    assert rises[0] > 0


def test_the_step_is_signed_like_the_flow():
    assert edge_step(-95, 100, SPREAD) == -edge_step(95, 100, SPREAD) < 0


def test_a_wire_without_capacity_is_full_as_soon_as_anything_flows():
    assert edge_step(0, 0, SPREAD) == 0
    assert edge_step(1, 0, SPREAD) == SPREAD
    assert loading_per_mille(1, 0) == 2_000


def test_a_spread_below_zero_is_refused():
    with pytest.raises(ValueError, match="import costs less"):
        edge_step(1, 1, -1)


def test_loading_is_rounded_up_so_that_a_limit_is_not_hidden():
    assert loading_per_mille(100_001, 100_000) == 1_001
    assert loading_per_mille(-50, 100) == 500


def test_only_steps_that_are_not_zero_are_broadcast():
    steps = edge_steps([0, 900, -100, -1_000], [1_000] * 4, SPREAD)
    assert steps == (EdgeStep(1, SPREAD // 4, 900), EdgeStep(3, -SPREAD, 1_000))


def test_a_published_step_stands_while_the_loading_hardly_moves():
    first = edge_steps([900], [1_000], SPREAD)
    assert edge_steps([919], [1_000], SPREAD, first) == first
    assert edge_steps([881], [1_000], SPREAD, first) == first
    assert edge_steps([920], [1_000], SPREAD, first) != first


def test_a_published_step_does_not_outlive_a_turn_or_the_limit():
    first = edge_steps([995], [1_000], SPREAD)
    assert edge_steps([1_000], [1_000], SPREAD, first) == (EdgeStep(0, SPREAD, 1_000),)
    assert edge_steps([-995], [1_000], SPREAD, first)[0].step_micro_per_kwh < 0


def test_a_step_vanishes_when_the_wire_empties():
    first = edge_steps([900], [1_000], SPREAD)
    assert edge_steps([100], [1_000], SPREAD, first) == ()


def test_a_node_pays_the_steps_on_its_path():
    tiny = network_named("tiny")
    steps = {1: 100, 2: 20, 4: -7}
    assert [node_price(tiny, node, steps) for node in range(6)] == [0, 100, 120, 120, 93, 93]


def test_the_fullest_elements_come_first_ties_by_number():
    flows = [ElementFlow(e, w, 100) for e, w in enumerate([10, -40, 20, 40, 0], 1)]
    found = most_loaded(flows, count=3)
    assert [(f.element, f.power_w) for f in found] == [(2, -40), (4, 40), (3, 20)]
    assert most_loaded([ElementFlow(1, 0, 0), ElementFlow(2, 5, 0)], 2)[0].element == 2


def test_a_price_update_is_small_and_comes_back_as_it_was():
    draw = Random(1)
    elements = sorted(draw.sample(range(1, 5_479), 200))
    steps = tuple(
        EdgeStep(e, draw.randint(-SPREAD, SPREAD) or 1, draw.randint(800, 2_000)) for e in elements
    )
    packed = pack_steps(1_980_000, steps)
    assert unpack_steps(packed) == (1_980_000, steps)
    assert len(packed) <= 2_000
    assert unpack_steps(pack_steps(7, ())) == (7, ())


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x01\x01", b"\x01" * 6, b"\xff" * 20])
def test_bytes_that_are_no_price_update_are_refused(data):
    with pytest.raises(ValueError, match="price update"):
        unpack_steps(data)
