"""The collection as a whole: the linter's strictest profile, syntax, and how hard the units are."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = ROOT / "ansible"
BIN = Path(sys.executable).parent
UNITS = sorted((ROOT / "firmware-configs/boards").glob("*.service"))
EXPOSURE_MAX = 15
"""In tenths, of the 0 to 10 that systemd-analyze gives; 0 is a service that can do nothing."""

needs_ansible = pytest.mark.skipif(
    not (BIN / "ansible-lint").exists(),
    reason="ansible-lint is not installed; it comes with the extra 'ansible'",
)


def run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    surroundings = os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "ANSIBLE_HOME": str(directory / "home"),
        "ANSIBLE_LOCAL_TEMP": str(directory / "local"),
        "XDG_CACHE_HOME": str(directory / "cache"),
    }
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ANSIBLE, env=surroundings
    )


@needs_ansible
def test_the_linter_has_nothing_to_say_in_its_production_profile(tmp_path):
    done = run(tmp_path, "ansible-lint", "--profile", "production", "--offline", "--nocolor")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_ansible
def test_the_playbook_and_the_example_inventory_are_well_formed(tmp_path):
    example = str(ANSIBLE / "inventories/example")
    done = run(tmp_path, "ansible-playbook", "--syntax-check", "-i", example, "site.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine"
)
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_gives_its_service_no_more_than_it_needs(unit):
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_agents_unit_lets_nothing_listen_and_watches_what_the_agent_feeds():
    text = (ROOT / "firmware-configs/boards/gridtokenx-edge.service").read_text()
    lines = text.splitlines()
    for line in (
        "Type=notify",
        "SocketBindDeny=any",
        "ProtectSystem=strict",
        "User=gridtokenx-edge",
    ):
        assert line in lines
    (limit,) = [line for line in lines if line.startswith("WatchdogSec=")]
    # The agent feeds at half of it; below this a slow read could look like a stuck loop.
    assert int(limit.split("=")[1]) >= 20


def test_every_unit_that_a_role_brings_is_the_one_of_the_boards():
    brought = sorted(ANSIBLE.glob("roles/*/files/*.service"))
    assert [unit.resolve() for unit in brought] == [UNITS[0].resolve(), UNITS[1].resolve()]
