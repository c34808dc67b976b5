"""Who may import whom: the contract of pyproject.toml, and the purity of the machines' rooms."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PURE = [
    *(ROOT / "cloud").glob("*.py"),
    *(ROOT / "cloud" / "market").rglob("*.py"),
    *(ROOT / "cloud" / "metering").rglob("*.py"),
    *(ROOT / "cloud" / "ledger").rglob("*.py"),
    *(ROOT / "cloud" / "vpp").rglob("*.py"),
    *(ROOT / "cloud" / "grid").glob("*.py"),
    *(ROOT / "cloud" / "forecast").glob("*.py"),
]
NOT_PURE = {
    "__main__.py", "app.py", "audit.py", "bench.py", "config.py", "congestion_pump.py", "demo.py", "gridwork.py", "homes_pump.py", "learning.py",
    "naming.py", "pumps.py", "remote.py", "replay.py", "reserve_pump.py", "service.py", "snapshot.py", "start.py", "value_pump.py", "writer.py", "shipped.py",
}  # fmt: skip
AMBIENT = {"asyncio", "socket", "sqlite3", "grpc", "time", "random", "logging", "os", "secrets"}
PORTS = {
    # What only one room may touch, and which room that is.
    "sqlite3": ("cloud/store", "cloud/demo/", "edge/outbox.py", "edge/envelopes.py"),
    "serial": ("edge/devices", "edge/simulator", "edge/scan.py", "edge/doctor.py"),
    "fastapi": ("cloud/gate", "cloud/venues/sim_http.py"),
    "uvicorn": ("cloud/app.py", "cloud/venues/sim_http.py"),
}


def test_the_import_contract_holds():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_pure_room_takes_nothing_from_the_machine_it_runs_on(path):
    if path.name in NOT_PURE or "data" in path.parts:
        return
    found = {name.split(".")[0] for name in imports(path)} & AMBIENT
    assert not found, f"{path.relative_to(ROOT)} imports {found}"


@pytest.mark.parametrize("module", sorted(PORTS))
def test_a_port_to_the_world_is_opened_in_its_own_room_only(module):
    users = {
        str(path.relative_to(ROOT))
        for room in ("cloud", "edge", "protos")
        for path in (ROOT / room).rglob("*.py")
        if module in {name.split(".")[0] for name in imports(path)}
    }
    strangers = {user for user in users if not user.startswith(PORTS[module])}
    assert not strangers


def test_generated_names_stay_in_codec_uplink_and_gate():
    allowed = ("cloud/gate", "edge/uplink.py", "edge/enrol.py", "edge/channel.py", "protos/")
    strangers = {
        str(path.relative_to(ROOT))
        for room in ("cloud", "edge")
        for path in (ROOT / room).rglob("*.py")
        if any("_pb2" in name for name in imports(path))
    }
    assert not {user for user in strangers if not user.startswith(allowed)}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
