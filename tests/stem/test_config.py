"""What an operator may write, and how a slip is answered."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

import cloud
from cloud.commands import GridRules
from cloud.config import (
    NESTED,
    CloudConfig,
    ConfigError,
    ZoneConfig,
    config_from,
    load_config,
)

EXAMPLE = Path(cloud.__file__).with_name("cloud.example.toml")


def test_an_empty_configuration_is_a_working_one(tmp_path):
    path = tmp_path / "cloud.toml"
    path.write_text("")
    config = load_config(path)
    assert config.zones[0].name == "rural"
    assert config.http_port == 8080


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"htp_port": 1}, "did you mean http_port"),
        ({"http_port": "8080"}, "whole number"),
        ({"http_port": True}, "whole number"),
        ({"http_port": 70_000}, "0 .any free one. to 65535"),
        ({"gate_processes": 0}, "write 1 to 64"),
        ({"zones": [{"nane": "x"}]}, r"did you mean zones\.name"),
        ({"zones": []}, r"at least one \[\[zones\]\]"),
        ({"zones": [{"tick_micro_per_kwh": 0}]}, "must be > 0"),
        ({"zones": [{"name": "a"}, {"name": "a"}]}, "name of its own"),
        ({"zones": [{"fallback_export_micro_per_kwh": 9_000_000}]}, "below fallback_import"),
        ({"desk": {"power_mx_w": 1}}, r"did you mean desk\.power_max_w"),
    ],
)
def test_a_slip_is_named_with_its_cure(table, words):
    with pytest.raises(ConfigError, match=words):
        config_from(table)


def test_the_environment_comes_last(monkeypatch, tmp_path):
    monkeypatch.setenv("GRIDTOKENX_HTTP_PORT", "9999")
    monkeypatch.setenv("GRIDTOKENX_STATE_DIR", str(tmp_path))
    config = load_config(None)
    assert (config.http_port, config.state_dir) == (9999, tmp_path)
    monkeypatch.setenv("GRIDTOKENX_HTTP_PORT", "many")
    with pytest.raises(ConfigError, match="GRIDTOKENX_HTTP_PORT"):
        load_config(None)


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("a = = 1")
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(broken)


def test_what_alarms_the_grid_is_a_table_of_its_own() -> None:
    config = config_from({"grid": {"voltage_high": 1_050, "envelopes": True}})
    assert (config.grid.voltage_high, config.grid.envelopes) == (1_050, True)
    with pytest.raises(ConfigError, match=r"did you mean grid\.voltage_high"):
        config_from({"grid": {"voltage_hi": 1}})
    with pytest.raises(ConfigError, match=r"grid\.silent_s"):
        config_from({"grid": {"silent_s": "long"}})


def shown_in(text):
    """The example's keys by table, also those in a comment, with the values that they show."""
    found, table = {}, ""
    for line in text.splitlines():
        plain = line.removeprefix("# ")
        if head := re.match(r"\[+([a-z.]+)\]+", plain):
            table = head[1] + "."
        elif pair := re.match(r"([a-z_]+) = (\S.*)", plain):
            value = tomllib.loads(pair[0])[pair[1]]
            found[table + pair[1]] = value
    return found


def test_the_example_shows_every_setting_with_its_default():
    text = EXAMPLE.read_text()
    assert load_config(EXAMPLE) == load_config(None)
    shown = shown_in(text)
    records = {
        "": CloudConfig(),
        "zones.": ZoneConfig(),
        "desk.": CloudConfig().desk,
        "grid.": GridRules(),
    }
    for table, record in records.items():
        names = (
            {f.name for f in fields(record)} if table != "grid." else {*record.__struct_fields__}
        )
        for name in names - NESTED:
            default = getattr(record, name)
            default = str(default) if name == "state_dir" else default
            default = [*default] if isinstance(default, tuple) else default
            assert shown[table + name] == default, table + name
    assert config_from(tomllib.loads(re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", text)))
