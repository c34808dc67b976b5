"""Every shipped profile: schema, golden registers, both directions; and bad files are refused."""

import json
import tomllib

import pytest
from jsonschema import Draft202012Validator

from edge.devices.catalog import load_profiles, profile_directory, profile_files
from edge.devices.profile_checks import check_profile, run_selftest
from edge.devices.profile_file import load_profile, parse_profile
from edge.devices.profile_table import BadProfile
from edge.devices.registers import BadValue
from edge.steering import REFRESH_S, TTL_S_MAX
from protos.messages import Role

FILES = profile_files()
SCHEMA = json.loads((profile_directory() / "profile.schema.json").read_text())


def name(path):
    return f"{path.parent.name}/{path.stem}"


def test_the_profiles_that_are_promised_are_shipped():
    shipped = load_profiles()
    assert len(shipped) >= 40
    assert {name.split("/")[0] for name in shipped} >= {
        *("eastron", "carlo_gavazzi", "abb", "schneider", "huawei"),
        *("sungrow", "growatt", "sma", "solaredge"),
    }


def test_no_product_is_described_by_two_files_for_one_role():
    seen = {}
    for profile in load_profiles().values():
        for product in profile.products:
            for role in profile.roles:
                assert seen.setdefault((product, role), profile.id) == profile.id


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
            try:
                registers = point.value.registers(whole)
            except BadValue:
                # Tenths in 16 bits end early.
                continue
            assert abs(point.value.canonical(registers) - whole) <= max(1, unit // 2), point.id


BILLED = {
    Role.GRID: {"ENERGY_IMPORT_WH", "ENERGY_EXPORT_WH"},
    Role.PV: {"ENERGY_PRODUCED_WH"},
    Role.BATTERY: {"ENERGY_PRODUCED_WH"},
    # What a car took is billed to nobody.
    Role.EV_CHARGER: set(),
}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_device_has_its_billing_counters_and_a_power(path):
    profile = load_profile(path)
    billed = {p.quantity.name for p in profile.points if p.billing}
    assert billed >= BILLED[profile.roles[0]]
    powers = {p.quantity.name for p in profile.points if p.phase == 0}
    assert powers & {"POWER_W", "DC_POWER_W"}
    assert all(p.phase == 0 and p.max_rate_w > 0 for p in profile.points if p.billing)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_setpoint_can_be_undone_and_says_who_undoes_it(path):
    for write in load_profile(path).writes:
        assert write.restore
        assert write.failsafe in {"device_timer", "device_watchdog", "agent"}
        timers = [step for step in write.steps if step.source == "ttl"]
        assert bool(timers) == (write.failsafe == "device_timer")
        # A watchdog that waits must be fed more often than it bites.
        assert write.failsafe != "device_watchdog" or 2 * REFRESH_S < write.holds_s <= TTL_S_MAX
        assert not write.wears or 0 < write.max_writes_per_day <= 2000
        commanded = {step.value.addr for step in write.steps if step.source == "mode"}
        assert commanded <= {step.value.addr for step in write.restore}


def test_a_flow_told_in_two_directions_is_one_signed_power():
    point = next(p for p in load_profiles()["growatt/hybrid_battery"].points if p.id == "power")
    assert point.read({(4, 1009): 0, (4, 1010): 5000, (4, 1011): 0, (4, 1012): 0}) == 500
    assert point.read({(4, 1009): 0, (4, 1010): 0, (4, 1011): 0, (4, 1012): 25000}) == -2500
    assert point.read({(4, 1009): 0, (4, 1010): 0, (4, 1011): 0}) is None


def test_a_sign_in_a_register_of_its_own_is_applied():
    point = next(p for p in load_profiles()["sungrow/sh_battery"].points if p.id == "power")
    assert point.read({(4, 13021): 1500, (4, 13000): 0x0004}) == 1500
    assert point.read({(4, 13021): 1500, (4, 13000): 0x0002}) == -1500
    assert point.read({(4, 13021): 1500}) is None


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
            {
                "id": "e",
                "addr": 12,
                "type": "u32",
                "quantity": "energy_import_wh",
                "billing": True,
                "counter": {"max_rate_w": 1},
            },
        ],
        "selftest": [{"raw": {"0x000A": [0, 7]}, "expect": {"p": 7}}],
    }


def steps(**changes):
    write = {"id": "w", "setpoint": "power_w", "min": 0, "max": 5, "failsafe": "agent"}
    rows = {"steps": [{"addr": 1, "from": "value"}], "restore": [{"addr": 1, "constant": 0}]}
    return write | rows | changes


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
        ({"e": {"counter": {}}}, "how fast"),
        ({"p": {"counter": {"max_rate_w": 5}}}, "cannot roll over"),
        ({"p": {"minus": {"addr": 12}}}, "overlaps"),
        ({"p": {"phase": 4}}, "phase"),
        ({"writes": [steps(failsafe="device_timer")]}, "names a device timer"),
        ({"writes": [steps(failsafe="luck")]}, "did you mean"),
        ({"writes": [steps(restore=[])]}, "restores"),
        ({"writes": [steps(min=7)]}, "wrong way round"),
        ({"writes": [steps(steps=[{"addr": 1, "from": "share"}])]}, "rating"),
        ({"writes": [steps(restore=[{"addr": 1, "from": "value"}])]}, "else than constants"),
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
                        "failsafe": "agent",
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
                        "failsafe": "agent",
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
                        "failsafe": "agent",
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
