"""pandapower files as zones' networks: what is taken is exact, what is not is refused by name."""

import json
import subprocess
import sys
from random import Random

import numpy as np
import pytest

from cloud.grid.data.convert import convert, convert_file
from cloud.grid.network import load_network
from cloud.grid.referee import Referee
from cloud.grid.shipped import network_named
from cloud.grid.tables import NetworkError

COLUMNS = {
    "bus": ["name", "vn_kv", "in_service"],
    "ext_grid": ["bus", "vm_pu", "in_service"],
    "line": ["name", "from_bus", "to_bus", "length_km", "r_ohm_per_km", "x_ohm_per_km",
             "c_nf_per_km", "max_i_ka", "parallel", "df", "in_service"],
    "trafo": ["name", "hv_bus", "lv_bus", "sn_mva", "vn_hv_kv", "vn_lv_kv", "vk_percent",
              "vkr_percent", "pfe_kw", "i0_percent", "tap_side", "tap_pos", "tap_neutral",
              "tap_min", "tap_max", "tap_step_percent", "tap_step_degree", "vector_group",
              "parallel", "in_service"],
    "switch": ["bus", "element", "et", "closed"],
    "load": ["bus", "p_mw", "q_mvar", "scaling", "in_service"],
    "sgen": ["bus", "p_mw", "q_mvar", "scaling", "in_service"],
}  # fmt: skip


def village():
    """20 kV, a transformer, a street of two lines, a spare line and a busbar of two buses."""
    return {
        "bus": [["grid", 20.0, True], ["bar a", 0.4, True], ["bar b", 0.4, True],
                ["street 1", 0.4, True], ["street 2", 0.4, True], ["lost", 0.4, True]],
        "ext_grid": [[0, 1.01, True]],
        "line": [["main", 2, 3, 0.2, 0.2, 0.08, 300.0, 0.27, 1, 1.0, True],
                 ["end", 3, 4, 0.1, 0.4, 0.08, 300.0, 0.2, 1, 0.9, True],
                 ["spare", 4, 5, 0.1, 0.4, 0.08, 300.0, 0.2, 1, 1.0, True]],
        "trafo": [["unit", 0, 1, 0.25, 20.0, 0.4, 6.0, 1.4, 0.8, 0.4, "hv", 1, 0, -2, 2, 2.5,
                   None, "Dyn5", 1, True]],
        "switch": [[1, 2, "b", True], [4, 2, "l", False]],
        "load": [[3, 0.012, 0.003, 1.0, True], [4, 0.02, 0.0, 0.5, True],
                 [4, 0.9, 0.0, 1.0, False]],
        "sgen": [[4, 0.004, 0.0, 1.0, True]],
    }  # fmt: skip


def written(tables, **others):
    """As pandapower writes it: a table is a text of JSON inside the JSON."""
    entries = {
        kind: {
            "_module": "pandas.core.frame",
            "_class": "DataFrame",
            "_object": json.dumps(
                {"columns": COLUMNS.get(kind, ["in_service"]), "index": list(range(len(rows))),
                 "data": rows}
            ),
            "orient": "split",
        }
        for kind, rows in tables.items()
    }  # fmt: skip
    return json.dumps(
        {"_module": "pandapower.auxiliary", "_class": "pandapowerNet", "_object": entries | others}
    )


def changed(kind, row, column, value):
    tables = village()
    tables[kind][row][COLUMNS[kind].index(column)] = value
    return tables


def solved(data):
    network = load_network(data)
    base = network.baseline
    powers = base.constant_w.astype(float), base.constant_var.astype(float)
    return network, Referee(network).voltages_pu(*powers)


def test_a_village_becomes_a_network_with_its_busbar_fused_and_its_spare_left_out():
    data, words = convert(written(village()), "village")
    network, voltages = solved(data)
    assert words == (
        "nodes 4, lines 2, transformers 1, homes 2; left out, without supply or load: buses 1"
    )
    assert network.element_names == ("grid", "unit", "main", "end")
    assert network.node_names == ("grid", "bar a", "street 1", "street 2")
    assert network.baseline.constant_w.tolist() == [0, 0, 12_000, 6_000]
    assert network.limit_w[3] == round(3**0.5 * 400 * 0.2e3 * 0.9)
    assert network.limit_w[1] == 250_000
    assert 0.9 < voltages.min() < voltages.max() < 1.02


def test_a_tap_moves_the_voltage_and_nothing_else_does():
    one, two = (solved(convert(written(t), "v")[0])[1] for t in (
        village(), changed("trafo", 0, "tap_pos", 2)))  # fmt: skip
    assert 0.02 < (one - two)[1] < 0.03
    assert abs(one - two)[0] < 1e-9


def test_the_same_file_gives_the_same_bytes():
    assert convert(written(village()), "v") == convert(written(village()), "v")


def test_parallel_lines_are_one_edge_and_no_loop():
    tables = village()
    tables["line"].append(["twin", 3, 4, 0.1, 0.4, 0.08, 300.0, 0.2, 1, 0.9, True])
    network, _ = solved(convert(written(tables), "v")[0])
    assert network.limit_w[3] == 2 * round(3**0.5 * 400 * 0.2e3 * 0.9)


def test_a_ring_is_taken_with_its_loop():
    tables = changed("switch", 1, "closed", True)
    tables["line"].append(["ring", 5, 2, 0.1, 0.4, 0.08, 300.0, 0.2, 1, 1.0, True])
    network, _ = solved(convert(written(tables), "v")[0])
    assert network.loops is not None
    assert "ring" in network.loops.names


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        (changed("trafo", 0, "vector_group", "Dy5"), r"trafo 0 \(unit\) is Dy5.*earthed"),
        (changed("trafo", 0, "vector_group", "Dd0"), "earthed star point"),
        (changed("trafo", 0, "tap_step_percent", None), "tap would do nothing"),
        (changed("trafo", 0, "tap_step_degree", 5.0), "shifts the phase"),
        (changed("line", 0, "max_i_ka", None), r"line 0 \(main\) has no max_i_ka"),
        (changed("line", 0, "max_i_ka", float("nan")), "has no max_i_ka"),
        (changed("line", 0, "max_i_ka", 0), "a zone needs its limit"),
        (changed("line", 0, "parallel", 0), "line 0 has parallel = 0"),
        (changed("load", 0, "bus", 1.5), "load 0 has bus = 1.5"),
        (changed("line", 0, "r_ohm_per_km", None), "has no r_ohm_per_km"),
        (changed("switch", 0, "closed", False), "island without supply"),
        (changed("ext_grid", 0, "in_service", False), "0 external grids"),
        (village() | {"ext_grid": [[0, 1.0, True], [1, 1.0, True]]}, "2 external grids"),
        (village() | {"gen": [[True]]}, "has a gen: voltage-controlled"),
        (village() | {"trafo3w": [[True]]}, "three-winding"),
        (village() | {"asymmetric_load": [[True]]}, "single-phase loads"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_by_name(tables, words):
    with pytest.raises(NetworkError, match=words):
        convert(written(tables), "v")


@pytest.mark.parametrize("seed", range(120))
def test_whatever_stands_in_a_table_is_taken_or_refused(seed):
    draw, tables = Random(seed), village()
    rows = tables[draw.choice(list(tables))]
    row = draw.choice(rows)
    row[draw.randrange(len(row))] = draw.choice(
        [None, "x", -1, 0, 1e30, float("nan"), True, [], {}, 99, -1e9, 1e-30]
    )
    try:
        data, _ = convert(written(tables), "v")
    except NetworkError:
        return
    assert load_network(data).size > 1


def test_what_is_out_of_service_refuses_nothing():
    assert convert(written(village() | {"gen": [[False]]}), "v")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"_class": "DataFrame", "_object": {}}', "nul"])
def test_what_is_no_pandapower_file_is_refused(text):
    with pytest.raises(NetworkError, match="no pandapower JSON"):
        convert(text, "v")


def test_a_broken_table_is_named():
    broken = {"line": {"_class": "DataFrame", "_object": "{"}}
    with pytest.raises(NetworkError, match="table line"):
        convert(written(village(), **broken), "v")


def test_the_command_line_makes_a_file_that_a_zone_can_name(tmp_path):
    source = tmp_path / "village.json"
    source.write_text(written(village()))
    done = subprocess.run(
        [sys.executable, "-m", "cloud", "network", str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    path = tmp_path / "village.pgm.json.gz"
    assert str(path) in done.stdout
    assert network_named(str(path)).size == 4
    source.write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "cloud", "network", str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "pandapower.to_json" in done.stderr) == (2, True)


def test_pandapowers_own_networks_have_pandapowers_own_voltages(tmp_path):
    pandapower = pytest.importorskip(
        "pandapower", reason="install the 'data' extra to compare with pandapower"
    )
    from pandapower import networks

    for make in (networks.create_cigre_network_lv, networks.create_kerber_vorstadtnetz_kabel_1):
        net = make()
        pandapower.to_json(net, str(tmp_path / "net.json"))
        pandapower.runpp(net, trafo_model="pi", calculate_voltage_angles=False, tolerance_mva=1e-9)
        path, _ = convert_file(tmp_path / "net.json")
        _, voltages = solved(path.read_bytes())
        theirs = net.res_bus.vm_pu.dropna()
        assert np.abs(np.sort(voltages)[[0, -1]] - [theirs.min(), theirs.max()]).max() < 1e-6
