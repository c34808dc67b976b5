"""Every shipped profile: schema, golden registers, both directions; and bad files are refused."""

import json
import tomllib

import pytest
from jsonschema import Draft202012Validator

from edge.devices.catalog import load_profiles, profile_directory, profile_files
from edge.devices.profile_checks import check_profile, run_selftest
from edge.devices.profile_file import load_profile, parse_profile
from edge.devices.profile_table import BadProfile

FILES = profile_files()
SCHEMA = json.loads((profile_directory() / "profile.schema.json").read_text())


def name(path):
    return f"{path.parent.name}/{path.stem}"


def test_the_profiles_that_are_promised_are_shipped():
    assert set(load_profiles()) >= {
        "eastron/sdm630",
        "eastron/sdm120",
        "carlo_gavazzi/em340",
        "carlo_gavazzi/em24",
        "abb/b23",
        "schneider/iem3155",
    }


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_shipped_profile_passes_its_schema_and_its_golden_registers(path):
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator(SCHEMA).validate(content)
    profile = load_profile(path)
    tested = {point for test in profile.selftests for point in test.expect}
    assert tested == {point.id for point in profile.points}
    for test in profile.selftests:
        run_selftest(profile, test)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_what_a_simulated_device_writes_is_what_the_driver_reads(path):
    for point in load_profile(path).points:
        low = point.minimum if point.minimum is not None else -1000
        high = point.maximum if point.maximum is not None else 1000
        for wanted in [w for w in (0, 1000, 230_000, 5000, -5000) if low <= w <= high]:
            unit = point.value.multiply // point.value.divide or 1
            whole = wanted - wanted % unit
            got = point.value.canonical(point.value.registers(whole))
            assert abs(got - whole) <= 1, point.id


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_meter_has_both_billing_counters_and_its_power(path):
    points = load_profile(path).points
    assert {p.quantity.name for p in points if p.billing} == {
        "ENERGY_IMPORT_WH",
        "ENERGY_EXPORT_WH",
    }
    assert any(p.quantity.name == "POWER_W" and p.phase == 0 for p in points)


def good():
    return {
        "schema": 1,
        "id": "a/b",
        "revision": 1,
        "roles": ["grid"],
        "products": [{"vendor": "A", "model": "B"}],
        "source": {"document": "manual"},
        "transport": {"kinds": ["tcp"]},
        "points": [
            {"id": "p", "addr": 10, "type": "i32", "quantity": "power_w"},
            {"id": "e", "addr": 12, "type": "u32", "quantity": "energy_import_wh", "billing": True},
        ],
        "selftest": [{"raw": {"0x000A": [0, 7]}, "expect": {"p": 7}}],
    }


def spoil(**changes):
    content = good()
    for place, value in changes.items():
        if place in {"p", "e"}:
            content["points"][0 if place == "p" else 1].update(value)
        elif isinstance(value, dict):
            content.setdefault(place, {}).update(value)
        else:
            content[place] = value
    return content


def test_a_good_profile_is_accepted():
    check_profile(parse_profile("a/b", good()))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"p": {"adr": 3}}, "did you mean addr"),
        ({"p": {"quantity": "powr_w"}}, "did you mean 'power_w'"),
        ({"p": {"type": "float"}}, "did you mean"),
        ({"p": {"addr": "ten"}}, "no whole number"),
        ({"p": {"addr": 11}}, "overlaps"),
        ({"e": {"id": "p"}}, "given twice"),
        ({"p": {"billing": True}}, "no energy counter"),
        ({"p": {"phase": 4}}, "phase"),
        ({"p": {"multiply": 0}}, "has no number"),
        ({"transport": {"step": 4}}, "aligned"),
        ({"transport": {"forbidden": [[9, 10]]}}, "forbidden"),
        ({"transport": {"max_words": 1}}, "outside"),
        ({"id": "a/c"}, "file path"),
        ({"schema": 2}, "schema"),
        ({"selftest": []}, "golden"),
        ({"selftest": [{"raw": {"0x000A": [0, 7]}, "expect": {"p": 8}}]}, "decodes to 7"),
        ({"selftest": [{"raw": {"0x000A": [0]}, "expect": {"p": 8}}]}, "no registers"),
        ({"selftest": [{"raw": {}, "expect": {"q": 8}}]}, "unknown point"),
        ({"colour": "red"}, "unknown"),
        (
            {
                "writes": [
                    {
                        "id": "w",
                        "setpoint": "power_w",
                        "addr": 1,
                        "type": "i16",
                        "min": 0,
                        "max": 5,
                        "default": 9,
                    }
                ]
            },
            "outside its bounds",
        ),
        (
            {
                "writes": [
                    {
                        "id": "w",
                        "setpoint": "power_w",
                        "addr": 1,
                        "type": "i16",
                        "min": 0,
                        "max": 50000,
                        "default": 9,
                    }
                ]
            },
            "does not fit",
        ),
        (
            {
                "writes": [
                    {
                        "id": "w",
                        "setpoint": "power_w",
                        "addr": 1,
                        "type": "i16",
                        "min": 0,
                        "max": 5,
                        "default": 0,
                        "nonvolatile": True,
                    }
                ]
            },
            "wears out",
        ),
    ],
)
def test_a_profile_that_contradicts_itself_is_refused_with_the_place(changes, says):
    with pytest.raises(BadProfile, match=says):
        check_profile(parse_profile("a/b", spoil(**changes)))


def test_a_file_that_is_no_toml_is_refused(tmp_path):
    path = tmp_path / "a" / "b.toml"
    path.parent.mkdir()
    path.write_text("schema = ")
    with pytest.raises(BadProfile, match="TOML"):
        load_profile(path)
    with pytest.raises(BadProfile):
        load_profile(tmp_path / "a" / "none.toml")
