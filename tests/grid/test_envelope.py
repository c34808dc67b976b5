"""Envelopes that hold whatever the homes do, fairly shared, in the standard's own words."""

import json
from itertools import product
from random import Random

import numpy as np
import pytest

from cloud.grid.data import read_shipped
from cloud.grid.envelope import (
    ActivePower,
    Envelope,
    active_power,
    der_control,
    envelopes,
    fair_shares,
)
from cloud.grid.network import load_network
from cloud.grid.shipped import network_named
from cloud.market.enveloping import slot_envelopes
from cloud.market.streams import Gateway
from cloud.metering.reports import Home
from tests.market.scene import device

ENDS = np.array([6, 6, 4, 4, 6, 6])
"""0 - 1 - 2 - 3 and 1 - 4 - 5."""

PARENT = (-1, 0, 1, 2, 1, 4)


def shares(room, homes=(0, 0, 1, 1, 0, 1)):
    return fair_shares(ENDS, np.array(homes), np.array(room)).tolist()


def test_all_homes_rise_together_and_who_is_not_stopped_goes_on():
    assert shares([0, 900, 200, 150, 900, 900]) == [0, 0, 100, 100, 0, 700]


def test_homes_below_an_element_that_is_over_get_nothing_and_others_their_room():
    assert shares([0, 900, -5, 100, 900, 500]) == [0, 0, 0, 0, 0, 500]


def test_whatever_homes_do_within_their_shares_no_element_passes_its_room():
    draw = Random(2)
    for _ in range(300):
        room = [0, *(draw.randint(-50, 400) for _ in range(5))]
        homes = [draw.randint(0, 2) for _ in range(6)]
        share = shares(room, homes)
        for element in range(1, 6):
            flow = sum(share[n] * homes[n] for n in range(element, ENDS[element]))
            assert flow <= max(0, room[element])


def test_shares_are_max_min_fair():
    """No home could have a watt more without taking it from one that has no more than it."""
    draw = Random(3)
    for _ in range(100):
        room = [0, *(draw.randint(0, 60) for _ in range(5))]
        share = shares(room)
        for home in (2, 3, 5):
            if share[home] == 0 and min(room[1:]) == 0:
                continue
            path, node = [], home
            while node > 0:
                path.append(node)
                node = PARENT[node]
            blocked = [
                e
                for e in path
                if room[e] - sum(share[n] for n in (2, 3, 5) if e <= n < ENDS[e])
                < sum(e <= n < ENDS[e] for n in (2, 3, 5))
                and all(share[n] <= share[home] for n in (2, 3, 5) if e <= n < ENDS[e])
            ]
            assert blocked, (room, share, home)


def test_an_envelope_counts_what_the_home_is_expected_to_do():
    network = network_named("tiny")
    room = [10_000] * network.size
    (quiet, busy, sunny) = (
        envelopes(network, [3], (room, room), {3: expected})[0] for expected in (0, 700, -20_000)
    )
    assert quiet == Envelope(3, 10_000, 10_000)
    assert busy == Envelope(3, 10_700, 9_300)
    assert sunny == Envelope(3, 0, 30_000)


def test_a_plant_beside_a_home_takes_no_draw_from_it():
    network = network_named("tiny")
    room = [10_000] * network.size
    (home,) = envelopes(network, [3], (room, room), {3: -20_000}, {3: 0})
    assert home.import_limit_w == 10_000


def test_homes_at_one_node_share_its_part():
    network = network_named("tiny")
    room = [1_000] * network.size
    found = envelopes(network, [3, 3, 5], (room, room), {})
    assert [e.node for e in found] == [3, 3, 5]
    assert sum(e.export_limit_w for e in found) <= 1_000
    assert found[0] == found[1]


def test_a_network_without_homes_has_no_envelopes():
    network = network_named("tiny")
    assert envelopes(network, [], ([0] * network.size, [0] * network.size), {}) == []


@pytest.mark.parametrize(
    ("power_w", "sent"),
    [(0, (0, 0)), (32_767, (0, 32_767)), (32_768, (1, 3_276)), (5_000_009, (3, 5_000))],
)
def test_a_power_is_sent_in_sixteen_bits_and_never_rounded_up(power_w, sent):
    assert active_power(power_w) == ActivePower(*sent)
    assert sent[1] * 10 ** sent[0] <= power_w


def test_a_control_carries_the_standards_names():
    control = der_control(Envelope(3, 4_000, 2_500), 1_800_000_000, 900)
    assert control.opModImpLimW == (0, 4_000)
    assert control.opModExpLimW == (0, 2_500)
    assert control.opModGenLimW is None
    with pytest.raises(ValueError, match="least"):
        active_power(-1)


def test_corners_of_all_envelopes_keep_the_tiny_network_within_its_rooms():
    network = network_named("tiny")
    down, up = ([wh * 4 for wh in room] for room in network.headroom_wh(1_960_000, {}))
    homes = [2, 3, 4, 5]
    found = envelopes(network, homes, (down, up), {})
    for corner in product((False, True), repeat=4):
        power = [0] * network.size
        for draws, envelope in zip(corner, found, strict=True):
            limit = envelope.import_limit_w if draws else -envelope.export_limit_w
            power[envelope.node] += limit
        for element in range(1, network.size):
            flow = sum(power[element : network.end[element]])
            assert -up[element] <= flow <= down[element]


def test_what_a_base_feeds_in_is_a_homes_own_only_as_far_as_it_could_be():
    """SimBench has farms' roofs and biogas plants at nodes where homes hang."""
    network = plant_at(3, -80_000)
    for produces, least in ((False, 1_000), (True, 1_000)):
        gateway = Gateway(0, device("home"), "anna", 3, Home("anna", 0))
        gateway.produces = produces
        (home,) = slot_envelopes("z", network, 1_960_000, {}, {}, [gateway], 10_000).homes
        assert home.import_limit_w >= least


def plant_at(node, power_w):
    document = json.loads(read_shipped("tiny")[0])
    load = dict(document["data"]["sym_load"][0])
    document["data"]["sym_load"].append(load | {"id": 77, "node": node, "p_specified": power_w})
    for row in document["data"]["line"]:
        row["i_n"] *= 5
    return load_network(json.dumps(document).encode())
