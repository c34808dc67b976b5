"""The shipped network data: small, licensed, made the same way every time."""

import gzip
import json
from importlib.resources import files
from types import SimpleNamespace

import numpy as np
import pytest

from cloud.grid.data import SHIPPED, read_shipped

FOLDER = files("cloud.grid.data")


def test_the_data_are_small():
    sizes = [len(part) for name in SHIPPED for part in read_shipped(name) if part]
    assert sum(sizes) <= 4_000_000


def test_licence_and_attribution_are_shipped_with_the_data():
    licence = FOLDER.joinpath("LICENSE-ODbL.txt").read_text(encoding="utf-8")
    assert "Contains information from SimBench" in licence
    assert "ODC Open Database License (ODbL)" in licence
    sidecar = json.loads(gzip.decompress(read_shipped("rural")[0]))["gridtokenx"]
    assert sidecar["licence"] == "ODbL-1.0"
    assert "SimBench" in sidecar["attribution"]


def test_no_date_and_no_machine_is_in_the_bytes():
    data, profiles = read_shipped("rural")
    assert data[4:8] == bytes(4)  # gzip's time
    assert profiles[10:14] == b"\x00\x00\x21\x00"  # zip's time: 1980-01-01, 00:00


def test_power_grid_model_reads_the_file_as_it_is():
    from power_grid_model.utils import json_deserialize

    dataset = json_deserialize(gzip.decompress(read_shipped("rural")[0]).decode())
    sizes = {str(getattr(name, "value", name)): len(rows) for name, rows in dataset.items()}
    assert sizes == {"node": 5_479, "line": 5_387, "transformer": 92, "source": 1}


def test_the_data_can_be_made_again_byte_for_byte(tmp_path):
    simbench = pytest.importorskip("simbench", reason="install the 'data' extra to make it again")
    from cloud.grid.data import make_network

    make_network.write(
        tmp_path, *make_network.document(simbench.get_simbench_net(make_network.CODE))
    )
    for made in ("rural.pgm.json.gz", "rural_profiles.npz"):
        assert (tmp_path / made).read_bytes() == FOLDER.joinpath(made).read_bytes()


def test_a_set_tap_goes_into_the_file():
    from cloud.grid.data.make_network import ATTRIBUTES, transformer_rows

    unit = SimpleNamespace(
        name="T1",
        hv_bus=7, lv_bus=8, sn_mva=0.16, parallel=1, vn_hv_kv=20.0, vn_lv_kv=0.4,
        vk_percent=4.0, vkr_percent=1.5, pfe_kw=0.46, i0_percent=0.1, tap_side="hv",
        tap_step_percent=2.5, tap_pos=1.0, tap_min=-2.0, tap_max=2.0, tap_neutral=0.0,
    )  # fmt: skip
    rows, names = transformer_rows([unit], {7: 0, 8: 1}, 100)
    row = dict(zip(ATTRIBUTES["transformer"], rows[0], strict=True))
    assert (row["tap_pos"], row["tap_size"], row["tap_side"]) == (1, 500.0, 0)
    # The iron loss alone needs this much no-load current.
    assert row["i0"] == pytest.approx(0.46 / 160)
    assert names == ["T1"]


def test_nodes_are_numbered_parents_first_and_unsupplied_ones_left_out():
    from cloud.grid.data.make_network import preorder

    assert preorder([(5, 9), (5, 2), (9, 1), (30, 31)], 5) == [5, 2, 9, 1]


def test_the_profiles_are_sixteen_bit_and_each_is_there_once():
    profiles = np.load(FOLDER.joinpath("rural_profiles.npz").open("rb"))["profiles"]
    assert profiles.dtype == np.int16
    assert profiles.shape == (95, 366 * 96)
    assert len({row.tobytes() for row in profiles}) == 95
