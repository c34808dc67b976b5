"""The shipped year of loads and suns: whole, licensed, and made by the script beside it."""

from pathlib import Path

import pytest

import edge.simulator
from edge.simulator import make_profiles
from edge.simulator.profiles import PER_PEAK, per_peak_at, quarter_of_year, shipped
from protos.clock import SECOND_NS, SLOT_NS

ROOM = Path(edge.simulator.__file__).parent
NEW_YEAR_SLOT = 1_767_225_600 * SECOND_NS // SLOT_NS  # 2026-01-01 00:00 UTC


def test_the_shipped_year_is_whole_and_small() -> None:
    profiles = shipped()
    assert sorted(profiles.loads) == sorted(make_profiles.LOADS)
    assert sorted(profiles.suns) == sorted(make_profiles.SUNS)
    for values in (*profiles.loads.values(), *profiles.suns.values()):
        assert len(values) == make_profiles.QUARTERS
        assert 0 <= min(values) <= max(values) <= PER_PEAK
    assert (ROOM / "profiles.npz").stat().st_size < 600_000


def test_the_data_come_with_their_licence_and_attribution() -> None:
    assert "ODC Open Database License" in (ROOM / "LICENSE-ODbL.txt").read_text(encoding="utf-8")
    assert "SimBench" in (ROOM / "profiles.LICENSE.txt").read_text(encoding="utf-8")


def test_the_script_writes_what_numpy_reads_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    for file, names in (
        ("LoadProfile.csv", [f"{name}_pload" for name in make_profiles.LOADS]),
        ("RESProfile.csv", list(make_profiles.SUNS)),
    ):
        rows = [";".join(["time", *names])]
        rows += [
            ";".join(["t", *[f"{(i * 7 + n) % 1_000 / 1_000}" for n in range(len(names))]])
            for i in range(make_profiles.QUARTERS)
        ]
        (tmp_path / file).write_text("\n".join(rows))
    for name in ("one.npz", "two.npz"):
        make_profiles.main([str(tmp_path), str(tmp_path / name)])
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with numpy.load(tmp_path / "one.npz") as arrays:
        assert len(arrays.files) == 9
        assert arrays["H0-B"][:3].tolist() == [2, 16, 30]


def test_a_short_year_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a year has 35136"):
        make_profiles.write(tmp_path / "x.npz", {"PV1": next(iter(shipped().suns.values()))[:9]})


def test_a_year_begins_on_new_years_day_and_comes_round_again() -> None:
    assert quarter_of_year(NEW_YEAR_SLOT) == 0
    assert quarter_of_year(NEW_YEAR_SLOT - 1) == 365 * 96 - 1
    assert quarter_of_year(NEW_YEAR_SLOT + 96) == 96


def test_power_runs_straight_from_one_quarter_hour_to_the_next() -> None:
    sun = shipped().suns["PV5"]
    noon = NEW_YEAR_SLOT + 170 * 96 + 48
    here, there = sun[170 * 96 + 48], sun[170 * 96 + 49]
    start_ns = noon * SLOT_NS
    assert per_peak_at(sun, start_ns, PER_PEAK) == here
    assert per_peak_at(sun, start_ns + SLOT_NS, PER_PEAK) == there
    middle = per_peak_at(sun, start_ns + SLOT_NS // 2, PER_PEAK)
    assert middle == (here + there) // 2
