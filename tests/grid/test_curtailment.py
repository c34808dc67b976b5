"""Curtailment is fair, exact, local, and honest about what cannot be reached."""

import random

import pytest

from cloud.grid.curtailment import GatewayExport, Reason, equal_caps, plan
from cloud.grid.shipped import network_named


@pytest.fixture(scope="module")
def tiny():
    return network_named("tiny")


def exports(**at):
    """d2=500 is device 'd2' at node 2 with 500 W."""
    return [GatewayExport(name, int(name[1]), power) for name, power in at.items()]


def test_whoever_feeds_in_more_than_the_common_level_is_cut_to_it(tiny):
    result = plan(tiny, 1, 9_000, exports(d2=1_000, d3=6_000, d4=9_000))
    assert [cap.export_limit_w for cap in result.caps] == [4_000, 4_000, 4_000]
    assert result.outflow_w == 9_000
    assert result.feasible
    assert result.reason is Reason.CAPPED


def test_the_watt_that_does_not_divide_goes_to_the_smaller_ids(tiny):
    result = plan(tiny, 1, 11, exports(d5=10, d2=10, d4=10))
    assert [(cap.device, cap.export_limit_w) for cap in result.caps] == [
        ("d2", 4),
        ("d4", 4),
        ("d5", 3),
    ]


def test_only_gateways_below_the_element_are_capped(tiny):
    result = plan(tiny, 4, 1_000, exports(d2=9_000, d3=9_000, d4=3_000, d5=3_000))
    assert [cap.node for cap in result.caps] == [4, 5]


def test_nothing_is_capped_when_the_limit_holds_anyway(tiny):
    result = plan(tiny, 1, 5_000, exports(d2=2_000, d4=3_000))
    assert result.caps == ()
    assert result.reason is Reason.NEEDLESS
    assert result.feasible


def test_the_rest_of_the_subtree_counts_against_the_limit(tiny):
    result = plan(tiny, 1, 5_000, exports(d2=4_000, d4=4_000), rest_w=1_000)
    assert [cap.export_limit_w for cap in result.caps] == [2_000, 2_000]
    assert result.outflow_w == 5_000


def test_consumption_below_the_element_leaves_more_room(tiny):
    result = plan(tiny, 1, 1_000, exports(d2=4_000, d4=4_000), rest_w=-3_000)
    assert sum(min(4_000, cap.export_limit_w) for cap in result.caps) == 4_000


def test_what_cannot_be_reached_is_said_and_the_caps_are_zero(tiny):
    result = plan(tiny, 1, 5_000, exports(d2=4_000, d4=4_000), rest_w=7_000)
    assert [cap.export_limit_w for cap in result.caps] == [0, 0]
    assert result.outflow_w == 7_000
    assert not result.feasible
    assert result.reason is Reason.NOT_ENOUGH


def test_without_a_gateway_that_feeds_in_nothing_can_be_capped(tiny):
    result = plan(tiny, 1, 5_000, exports(d2=-700), rest_w=7_000)
    assert result.caps == ()
    assert result.outflow_w == 7_000
    assert result.reason is Reason.NO_GATEWAY


def test_a_home_that_draws_power_is_not_counted_as_relief(tiny):
    result = plan(tiny, 1, 1_000, exports(d2=-5_000, d4=3_000))
    assert {cap.device: cap.export_limit_w for cap in result.caps}["d4"] == 1_000


def test_an_unknown_element_is_refused(tiny):
    for element in (-1, 6):
        with pytest.raises(ValueError, match="element"):
            plan(tiny, element, 1, [])


def test_caps_are_exact_equal_and_never_more_than_needed():
    draw = random.Random(7)
    for _ in range(300):
        exports_w = [draw.randrange(0, 5_000) for _ in range(draw.randrange(1, 12))]
        if not sum(exports_w):
            continue
        allowed = draw.randrange(sum(exports_w))
        caps = equal_caps(exports_w, allowed)
        kept = [min(export, cap) for export, cap in zip(exports_w, caps, strict=True)]
        assert sum(kept) == allowed
        assert min(caps) >= 0
        assert max(caps) - min(caps) <= 1
