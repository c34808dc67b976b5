"""What an installer can write wrong, and what he is told."""

import tomllib
from pathlib import Path

import pytest

from edge.config import Config, ConfigError, load
from edge.devices.device import DeviceSpec
from protos.messages import Role

GOOD = """
[agent]
state_dir = "state"

[cloud]
ca = "ca.pem"

[[devices]]
name = "meter"
role = "grid"
profile = "eastron/sdm630"
transport = "tcp"
address = "10.0.0.5:502"
"""


def read(tmp_path: Path, text: str, **environment: str) -> Config:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return load(path, environment)


def test_a_small_file_is_enough_and_paths_are_taken_from_its_directory(tmp_path):
    config = read(tmp_path, GOOD)
    assert config.agent.state_dir == tmp_path / "state"
    assert config.sampling.sweeps_per_batch == 60
    assert config.devices == (
        DeviceSpec("meter", Role.GRID, "eastron/sdm630", "tcp", "10.0.0.5:502"),
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("state_dir =", "state_dri =", r"agent\.toml:3: unknown key agent\.state_dri.*state_dir\?"),
        ("[cloud]", "[clout]", r":5: unknown section \[clout\]; did you mean cloud\?"),
        ('ca = "ca.pem"', "", r"\[cloud\] needs ca"),
        ('ca = "ca.pem"', "ca = 5", r":6: cloud\.ca is a path"),
        ('"grid"', '"gird"', r":10: devices\.role = 'gird'; did you mean grid\?"),
        ('"tcp"', '"tpc"', r":12: devices\.transport is one of tcp"),
        ("address =", "adress =", r":13: unknown key devices\.adress; did you mean address\?"),
        ('name = "meter"', "", r"\[devices\] needs name"),
        ('name = "meter"', 'name = ""', "1 to 64"),
        ('name = "meter"', 'name = "meter"\nunit = "1"', r":10: devices\.unit is of type int"),
        (
            "[agent]",
            "[sampling]\nperiod_s = 0\n[agent]",
            r":3: sampling\.period_s = 0\.0 is outside",
        ),
        ("[agent]", "[sampling]\nperiod_s = nan\n[agent]", "outside"),
        ("[agent]", "[sampling]\nsweeps_per_batch = true\n[agent]", "of type int"),
        ("[agent]", "agent = 3\n[x]", "unknown section|is a section"),
        ("[[devices]]", "[devices]", r"write each device under \[\[devices\]\]"),
        ("[agent]", "[agent", "line 2"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_to_write(tmp_path, old, new, told):
    with pytest.raises(ConfigError, match=told):
        read(tmp_path, GOOD.replace(old, new, 1))


def test_two_devices_need_two_names(tmp_path):
    with pytest.raises(ConfigError, match="two devices are named 'meter'"):
        read(tmp_path, GOOD + GOOD[GOOD.index("[[devices]]") :])


def test_a_missing_file_points_to_the_example(tmp_path):
    with pytest.raises(ConfigError, match=r"agent\.example\.toml"):
        load(tmp_path / "none.toml", {})


def test_the_environment_goes_before_the_file(tmp_path):
    config = read(
        tmp_path,
        GOOD,
        GRIDTOKENX_EDGE_CLOUD_GATEWAY="gate:1",
        GRIDTOKENX_EDGE_SAMPLING_PERIOD_S="2.5",
        GRIDTOKENX_EDGE_OFFERS_ENABLED="true",
        HOME="/root",
    )
    assert config.cloud.gateway == "gate:1"
    assert config.sampling.period_s == 2.5
    assert config.offers.enabled is True


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("GRIDTOKENX_EDGE_CLOUD_GATEWAI", "x", "did you mean GRIDTOKENX_EDGE_CLOUD_GATEWAY"),
        ("GRIDTOKENX_EDGE_SAMPLING_PERIOD_S", "soon", "is no number"),
        ("GRIDTOKENX_EDGE_OFFERS_ENABLED", "yes", "write true or false"),
    ],
)
def test_a_wrong_variable_is_refused(tmp_path, name, value, told):
    with pytest.raises(ConfigError, match=told):
        read(tmp_path, GOOD, **{name: value})


def test_the_shipped_example_is_well_formed_and_shows_the_defaults():
    path = Path(__file__).parents[2] / "edge" / "agent.example.toml"
    text = path.read_text()
    shown = load(path, {})
    uncommented = "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and " = " in line.split("#")[1] else line
        for line in text.splitlines()
        if "token_file" not in line and "options" not in line and not line.startswith("# comment")
    )
    tree = tomllib.loads(uncommented)
    for section in ("sampling", "outbox", "offers", "battery"):
        for key, value in tree[section].items():
            assert getattr(getattr(shown, section), key) == value, key
