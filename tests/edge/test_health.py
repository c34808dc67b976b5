"""What a collector reads, by the reference parser, and what systemd allows the agent to do."""

import configparser
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge.health import as_metrics

UNIT = Path(__file__).parents[2] / "firmware-configs" / "boards" / "gridtokenx-edge.service"
NASTY = ["my meter", 'quo"te', "new\nline", "back\\slash", "{}=,", "1st", "Zähler"]


def samples(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_are_read_by_prometheus_own_parser_whatever_devices_and_alarms_are_called():
    status = {
        "name": "home",
        "uplink": {"connected": True, "problem": "words", "sent": 3},
        "devices": {name: {"reads": n, "age_s": None} for n, name in enumerate(NASTY)},
        "alarms": {"envelope refused, SEQUENCE_GAP": 2, "no local page": 1},
    }
    seen = samples(as_metrics(status))
    assert seen["gridtokenx_edge_uplink_connected", ""] == 1
    assert seen["gridtokenx_edge_uplink_sent", ""] == 3
    for number, name in enumerate(NASTY):
        assert seen["gridtokenx_edge_device_reads", name] == number
    assert seen["gridtokenx_edge_alarms", "envelope refused, SEQUENCE_GAP"] == 2
    assert len(seen) == 4 + len(NASTY)


@pytest.fixture
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(UNIT)
    return parser


def test_the_unit_lets_systemd_watch_the_agent_and_gives_it_no_rights(unit):
    service = unit["Service"]
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert 10 <= int(service["WatchdogSec"]) <= 60
    assert service["CapabilityBoundingSet"] == ""
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateUsers", "MemoryDenyWriteExecute"):
        assert service[name] == "yes", name
    assert service["ProtectSystem"] == "strict"


def test_under_the_unit_the_page_can_listen_on_its_usual_port_and_nothing_else(unit):
    example = (UNIT.parents[2] / "edge" / "agent.example.toml").read_text()
    port = next(
        line.split("=")[1].split()[0] for line in example.splitlines() if line.startswith("# port")
    )
    assert unit["Service"]["SocketBindDeny"] == "any"
    assert unit["Service"]["SocketBindAllow"] == f"ipv4:tcp:{port}"
