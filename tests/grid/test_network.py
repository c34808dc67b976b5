"""The network as a zone sees it: a radial tree, whole watts, and no guess about unfit data."""

import gzip
import json
from copy import deepcopy
from hashlib import sha256
from math import isqrt

import numpy as np
import pytest

from cloud.grid.data import read_shipped
from cloud.grid.network import RESERVE_DOWN_PER_MILLE, _root, load_network, quarter_of_year
from cloud.grid.shipped import network_named
from cloud.grid.tables import NetworkError
from cloud.grid.topology import NO_LIMIT_W, ElementKind

NOON = 1_780_056_000 // 900
"""29 May 2026, 12:00 UTC: a sunny quarter hour."""


@pytest.fixture(scope="module")
def rural():
    return network_named("rural")


@pytest.fixture
def tiny():
    return network_named("tiny")


@pytest.fixture
def drawing():
    return json.loads(read_shipped("tiny")[0])


def loaded(document, profiles=None):
    return load_network(json.dumps(document).encode(), profiles)


def test_the_shipped_network_has_the_nodes_and_branches_of_its_source(rural):
    assert rural.size == 5_479
    # The two 110 kV transformers are one element.
    assert rural.kinds.count(ElementKind.TRANSFORMER) == 91
    assert rural.kinds.count(ElementKind.LINE) == 5_387
    assert len(rural.branch_element) == 5_387 + 92
    assert len(rural.home_nodes) == 5_125


def test_parents_come_before_their_children_and_a_subtree_is_a_range(rural):
    assert rural.parent[0] == -1
    for node in range(1, rural.size):
        parent = rural.parent[node]
        assert 0 <= parent < node < rural.end[node] <= rural.end[parent]


def test_is_below_agrees_with_the_path_to_the_grid(tiny):
    for node in range(tiny.size):
        above = {0, *tiny.path(node)}
        assert above == {e for e in range(tiny.size) if tiny.is_below(node, e)}


def test_every_home_hangs_below_its_groups_feeder_at_low_voltage(rural):
    for group in rural.home_groups:
        assert rural.kinds[group.transformer] is ElementKind.TRANSFORMER
        assert rural.parent[group.feeder] == group.transformer or group.feeder == group.transformer
        for node in group.nodes:
            assert rural.is_below(node, group.feeder)
            assert rural.rated_v[node] == 400


def test_a_line_may_carry_its_rated_current_at_rated_voltage(tiny):
    assert tiny.limit_w[2] == round(3**0.5 * 400 * 58)
    assert tiny.limit_w[1] == 100_000


def test_the_base_flow_is_the_sum_of_the_nodes_below(tiny):
    assert tiny.baseline_flow_w(NOON) == [20_000, 20_000, 8_000, 0, 12_000, 12_000]
    assert tiny.baseline_flow_var(NOON) == [3_000, 3_000, 1_000, 0, 2_000, 2_000]


def test_headroom_is_what_apparent_power_leaves_beside_the_base(tiny):
    down, up = tiny.headroom_wh(NOON, {})
    capacity = isqrt(100_000**2 - 3_000**2)
    kept = -(-capacity * RESERVE_DOWN_PER_MILLE // 1_000)
    assert down[1] == (capacity - kept - 20_000) // 4
    assert up[1] == (capacity + 20_000) // 4


def test_the_grid_above_the_root_has_no_limit_of_its_own(tiny):
    assert tiny.limit_w[0] == NO_LIMIT_W
    assert tiny.capacity_w(NOON, {})[0] >= NO_LIMIT_W - 1


def test_the_root_of_a_square_is_exact_up_to_the_greatest_limit():
    roots = [0, 1, 2, 3, 94_906_265, 94_906_267, (1 << 31) - 1, 1 << 31]
    squares = [r * r + d for r in roots for d in (-1, 0, 1) if r * r + d >= 0]
    assert _root(np.array(squares, np.int64)).tolist() == [isqrt(square) for square in squares]


def test_an_override_lowers_a_limit_and_never_raises_it(tiny):
    free = tiny.capacity_w(NOON, {})
    assert tiny.capacity_w(NOON, {1: 30_000})[1] == 30_000
    assert tiny.capacity_w(NOON, {1: 10**9}) == free
    assert tiny.capacity_w(NOON, {1: -5})[1] == 0


def test_headroom_is_negative_where_the_base_is_over_the_limit(tiny):
    down, up = tiny.headroom_wh(NOON, {4: 10_000})
    assert down[4] < 0 < up[4]


def test_an_unknown_element_in_an_override_is_a_broken_invariant(tiny):
    for element in (-1, 6):
        with pytest.raises(AssertionError):
            tiny.headroom_wh(NOON, {element: 1})


def test_a_sunny_noon_congests_and_the_night_after_it_does_not(rural):
    assert min(rural.headroom_wh(NOON, {})[1]) < 0
    assert min(rural.headroom_wh(NOON + 48, {})[1]) > 0


def test_the_sun_turns_the_flow_of_a_solar_village_towards_the_grid(rural):
    village = rural.element_names.index("MV1.101-LV1.101-Trafo 1")
    assert rural.baseline_flow_w(NOON)[village] < -rural.limit_w[village]


def test_a_slot_finds_its_quarter_in_any_year():
    assert quarter_of_year(0) == 0
    assert quarter_of_year(95) == 95
    leap_last = 1_483_228_800 // 900 - 1
    assert quarter_of_year(leap_last) == 366 * 96 - 1
    assert quarter_of_year(leap_last + 1) == 0


def test_flows_of_a_slot_are_the_same_every_time(rural):
    assert rural.headroom_wh(NOON, {}) == network_named("rural").headroom_wh(NOON, {})


def test_the_hash_covers_network_and_profiles(rural):
    data, profiles = read_shipped("rural")
    expected = sha256(sha256(data).digest() + sha256(profiles).digest()).digest()
    assert rural.sha256 == expected
    assert load_network(data).sha256 != expected


def test_numbering_does_not_depend_on_the_files_order(drawing):
    shuffled = deepcopy(drawing)
    for name in ("node", "line"):
        shuffled["data"][name].reverse()
    shuffled["gridtokenx"]["node_names"].reverse()
    shuffled["gridtokenx"]["branch_names"][:4] = reversed(drawing["gridtokenx"]["branch_names"][:4])
    first, second = loaded(drawing), loaded(shuffled)
    assert (first.parent, first.limit_w) == (second.parent, second.limit_w)
    assert (first.element_names, first.node_names) == (second.element_names, second.node_names)


def test_a_transformer_fed_from_its_to_side_gives_the_same_limit_and_an_inverse_ratio(drawing):
    turned = deepcopy(drawing)
    unit = turned["data"]["transformer"][0]
    unit["from_node"], unit["to_node"] = 1, 0
    unit["u1"], unit["u2"], unit["tap_side"] = 400.0, 20_000.0, 1
    plain, back = loaded(drawing).electric, loaded(turned).electric
    assert back.ratio[1] == pytest.approx(plain.ratio[1], rel=1e-12)
    assert back.ratio[1] == pytest.approx(20_000 / 20_500)


def test_a_network_without_names_numbers_them(drawing):
    del drawing["gridtokenx"]
    network = loaded(drawing)
    assert network.element_names[1] == "transformer 11"
    assert network.home_nodes == ()


def test_gzipped_and_plain_data_give_the_same_tree(drawing):
    text = json.dumps(drawing).encode()
    assert load_network(gzip.compress(text)).parent == load_network(text).parent


def _remove(document, *path):
    for step in path[:-1]:
        document = document[step]
    del document[path[-1]]


BREAKAGES = {
    "not a power-grid-model input": lambda d: d.update(type="update"),
    "has no 'data'": lambda d: d.pop("data"),
    "'three_winding_transformer' is not understood": lambda d: d["data"].update(
        three_winding_transformer=[]
    ),
    "line 12 has no i_n": lambda d: _remove(d, "data", "line", 0, "i_n"),
    "line 12 has no r1": lambda d: d["data"]["line"][0].update(r1=float("nan")),
    "line 13 needs i_n above zero": lambda d: d["data"]["line"][1].update(i_n=0),
    "branch 12 has no impedance": lambda d: d["data"]["line"][0].update(r1=0, x1=0),
    "line 12 joins two voltages": lambda d: d["data"]["line"][0].update(from_node=0),
    "line 12 ends at an unknown node": lambda d: d["data"]["line"][0].update(to_node=99),
    "'garden line 1' ends where it starts": lambda d: d["data"]["line"][0].update(to_node=1),
    "stands twice": lambda d: d["data"]["node"].append({"id": 5, "u_rated": 400.0}),
    "turns the phase": lambda d: d["data"]["transformer"][0].update(clock=5),
    "one source in service is needed, there are 0": lambda d: d["data"]["source"].clear(),
    "there are 2": lambda d: d["data"]["source"].append(d["data"]["source"][0]),
    "source is at the unknown node 7": lambda d: d["data"]["source"][0].update(node=7),
    "1 nodes have no supply, the first is 3": lambda d: d["data"]["line"][1].update(to_status=0),
    "limit above 2 GW": lambda d: d["data"]["line"][0].update(i_n=4e6),
    "home node 9": lambda d: d["gridtokenx"].update(home_nodes=[9]),
    "home node 0 is not at low voltage": lambda d: d["gridtokenx"].update(home_nodes=[0]),
    "load 21 is at an unknown node": lambda d: d["data"]["sym_load"][0].update(node=77),
    "a row of line does not fit": lambda d: d["data"]["line"].append([1, 2]),
    "profile_per_peak": lambda d: d["gridtokenx"].update(profile_per_peak=0),
}


@pytest.mark.parametrize("reason", BREAKAGES)
def test_unfit_data_are_refused_with_the_place(drawing, reason):
    BREAKAGES[reason](drawing)
    with pytest.raises(NetworkError, match=reason.replace("(", r"\(")):
        loaded(drawing)


def test_bytes_that_are_no_network_are_refused():
    for junk in (b"", b"\xff\xfe", b"[]", b"{}", b"\x1f\x8bjunk", b"[" * 100_000):
        with pytest.raises(NetworkError):
            load_network(junk)


def test_data_that_unpack_to_too_much_are_refused():
    with pytest.raises(NetworkError, match="unpacks to more"):
        load_network(gzip.compress(bytes(70 << 20), compresslevel=1))


def test_profiles_that_are_damaged_or_do_not_fit_are_refused():
    data, profiles = read_shipped("rural")
    for junk in (b"", b"PK\x03\x04", profiles[:50_000], b"\x93NUMPY\x01\x00"):
        with pytest.raises(NetworkError, match="profiles"):
            load_network(data, junk)


def test_shares_of_unknown_profiles_or_nodes_are_refused(drawing):
    _, profiles = read_shipped("rural")
    for rows, reason in (
        ([[2, 95, 1_000]], "profile that is not"),
        ([[99, 0, 1_000]], "names node 99"),
        ([[2, 0]], "not rows of"),
        ([[2, 0, 1 << 41]], "rated power above"),
    ):
        drawing["gridtokenx"]["base_w"] = rows
        with pytest.raises(NetworkError, match=reason):
            loaded(drawing, profiles)


def test_a_file_of_the_operators_own_is_found_with_its_profiles(tmp_path, drawing):
    _, profiles = read_shipped("rural")
    drawing["gridtokenx"] |= {"profile_per_peak": 10_000, "base_w": [[3, 0, 50_000]]}
    path = tmp_path / "village.pgm.json"
    path.write_text(json.dumps(drawing))
    assert network_named(str(path)).baseline_flow_w(48)[3] == 0
    (tmp_path / "village.profiles.npz").write_bytes(profiles)
    with_year = network_named(str(path))
    assert max(with_year.baseline_flow_w(slot)[3] for slot in range(0, 35_040, 50)) > 0


def test_a_missing_file_names_what_is_shipped(tmp_path):
    with pytest.raises(NetworkError, match=r"neither shipped \(rural, tiny\)"):
        network_named(str(tmp_path / "nowhere.json"))
