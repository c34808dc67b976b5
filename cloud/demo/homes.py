"""The demo's homes: registered with the aggregator as neighbours, each with its agent's file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloud.demo.processes import Demo
from cloud.grid.network import Network
from cloud.grid.shipped import network_named
from cloud.remote import CA_FILE, Operator

VILLAGES = (665, 525, 11, 3325)
"""Transformers of the rural network under which the homes stand, the one that congests first."""

PERIOD_S = 60
"""The agents sample once a minute of the demo's clock: each second at speed 60."""


def write_gateways(demo: Demo, homes: list[dict[str, Any]]) -> list[Path]:
    """Registers each home with the aggregator and writes its agent's configuration."""
    operator = Operator(demo.url, demo.cloud_dir)
    network = network_named("rural")
    configs = []
    for home, node in zip(homes, _nodes(network, len(homes)), strict=True):
        directory = demo.options.directory / "gateways" / home["name"]
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "agent.toml"
        token_file = directory / "enrolment.token"
        if not (directory / "certificate.pem").exists():
            answer = operator.post(
                "/api/sites",
                {"site": home["name"], "zone": "rural", "node": node, "account": home["name"]},
            )
            token_file.write_text(answer["token"], encoding="ascii")
        config.write_text(_agent_toml(demo, home), encoding="utf-8")
        configs.append(config)
    return configs


def _nodes(network: Network, count: int) -> Iterator[int]:
    """Homes as neighbours, village after village, so that they share wires that fill up."""
    near = sorted(network.home_groups, key=lambda group: _village(group.transformer))
    nodes = [node for group in near for node in group.nodes]
    for number in range(count):
        yield nodes[number % len(nodes)]


def _village(transformer: int) -> tuple[int, int]:
    place = VILLAGES.index(transformer) if transformer in VILLAGES else len(VILLAGES)
    return place, transformer


def _agent_toml(demo: Demo, home: dict[str, Any]) -> str:
    lines = [
        "[agent]",
        f'name = "{home["name"]}"',
        'state_dir = "."',
        "",
        "[cloud]",
        f'ca = "{(demo.cloud_dir / CA_FILE).resolve()}"',
        f'enrolment = "127.0.0.1:{demo.ports["enrolment"]}"',
        f'gateway = "127.0.0.1:{demo.ports["gateway"]}"',
        'token_file = "enrolment.token"',
        "",
        "[sampling]",
        f"period_s = {PERIOD_S}",
        "sweeps_per_batch = 1",
        "",
        "[offers]",
        "enabled = true",
        "",
    ]
    for device in home["devices"]:
        lines.append("[[devices]]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in device.items() if value != {}]
        lines.append("")
    return "\n".join(lines)
