"""Role edge by Ansible itself: real runs that fill folders on this machine instead of hosts.

No root and no systemd: `gridtokenx_root` stands before every path and the service is left out, so
the health gate is what the installed program itself answers. The rings of site.yml are as shipped.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edge.config import load

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = ROOT / "ansible"
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.skipif(
    not (BIN / "ansible-playbook").exists(),
    reason="ansible-core is not installed; it comes with the extra 'ansible'",
)


class Fleet:
    """Two gateways that are folders, and the wheels to roll out to them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / "ca.pem").write_text("the aggregator's certificate\n")
        (directory / "token").write_text("one-time-secret\n")
        (directory / "inventory.json").write_text(json.dumps(self._inventory()))

    def _inventory(self) -> dict[str, object]:
        device = {"role": "grid", "profile": "eastron/sdm630", "transport": "tcp", "unit": 1}
        device |= {"name": "meter", "address": '10.0.0.9:502 "quoted"', "options": {"in_flight": 1}}
        common = {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
            "gridtokenx_manage_service": False,
            "edge_python": sys.executable,
            # The gate needs the agent's own modules only.
            "edge_pip_arguments": ["--no-index", "--no-deps"],
            "edge_cloud_ca_file": str(self._directory / "ca.pem"),
            "edge_cloud": {"enrolment": "cloud.example:8444"},
            "edge_token_file": str(self._directory / "token"),
            "edge_settings": {"sampling": {"period_s": 2.5}, "offers": {"enabled": True}},
            "edge_devices": [device],
        }
        hosts = {name: {"gridtokenx_root": str(self.root(name))} for name in ("first", "second")}
        return {"gateways": {"hosts": hosts, "vars": common}}

    def root(self, host: str) -> Path:
        return self._directory / "hosts" / host

    def current(self, host: str) -> str:
        return str((self.root(host) / "opt/gridtokenx-edge/current").readlink())

    def wheel(self, version: str, broken: str = "") -> Path:
        """The light wheel of this tree, as if it were released under that version."""
        tree = self._directory / f"tree-{version}"
        unwanted = shutil.ignore_patterns("__pycache__")
        for part in ("edge", "protos", "firmware-configs"):
            shutil.copytree(ROOT / part, tree / part, symlinks=True, ignore=unwanted)
        shutil.copy(ROOT / "LICENSE", tree)
        (tree / "protos/version.py").write_text(f'__version__ = "{version}"\n')
        with (tree / "edge/config.py").open("a") as config:
            config.write(broken)
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
        subprocess.run([*command, "-o", tree, tree / "edge"], check=True, capture_output=True)
        (wheel,) = tree.glob("*.whl")
        return wheel

    def roll_out(self, version: str, wheel: Path, *arguments: str) -> tuple[str, dict[str, dict]]:
        """Runs site.yml. Returns what it said, and for each host touched its recap counters."""
        done = subprocess.run(
            [BIN / "ansible-playbook", "-i", self._directory / "inventory.json",
             ANSIBLE / "site.yml", "-e", f"edge_version={version}", "-e", f"edge_wheel={wheel}",
             *arguments],
            capture_output=True, text=True, check=False, cwd=self._directory,
            env=environment(self._directory),
        )  # fmt: skip
        text = done.stdout + done.stderr
        recap = {
            host: {key: int(number) for key, number in re.findall(r"(\w+)=(\d+)", counters)}
            for host, counters in re.findall(r"^(\w+) +: (ok=.*)$", text, re.MULTILINE)
        }
        assert recap, text
        return text, recap


def environment(directory: Path) -> dict[str, str]:
    """Ansible's surroundings: its own programs, and nothing kept outside the test's folder."""
    return os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "ANSIBLE_HOME": str(directory / ".ansible"),
        "ANSIBLE_LOCAL_TEMP": str(directory / ".ansible/local"),
        "ANSIBLE_REMOTE_TMP": str(directory / ".ansible/remote"),
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "XDG_CACHE_HOME": str(directory / ".cache"),
    }


def contents(root: Path) -> dict[str, bytes | str]:
    """Every file and link below a host's root, but for what Python compiles for itself."""
    found: dict[str, bytes | str] = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(root))] = str(path.readlink())
        elif path.is_file() and path.suffix != ".pyc":
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


def changing(said: str) -> list[str]:
    """The tasks that changed something, in order."""
    tasks = re.split(r"^TASK ", said, flags=re.MULTILINE)
    return [task.splitlines()[0] for task in tasks if re.search("^changed:", task, re.MULTILINE)]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def installed(fleet):
    """The first gateway on version 1.0.0, after check mode had announced it."""
    wheel = fleet.wheel("1.0.0")
    announced = fleet.roll_out(
        "1.0.0", wheel, "--check", "--limit", "first", "--skip-tags", "board"
    )
    untouched = not fleet.root("first").exists()
    return wheel, announced, untouched, fleet.roll_out("1.0.0", wheel, "--limit", "first")


def test_check_mode_announces_every_change_and_makes_none(installed):
    _, (announcement, announced), untouched, (said, made) = installed
    assert announced["first"]["failed"] == 0, announcement
    assert untouched
    assert made["first"]["failed"] == 0, said
    assert (
        changing(announcement) == [task for task in changing(said) if "board :" not in task] != []
    )


def test_a_first_run_installs_configures_and_makes_the_version_current(installed, fleet):
    _, _, _, (said, recap) = installed
    assert recap["first"]["failed"] == 0, said
    assert fleet.current("first") == "releases/1.0.0"
    program = fleet.root("first") / "opt/gridtokenx-edge/current/venv/bin/gridtokenx-edge"
    asked = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert asked.stdout.split() == ["gridtokenx-edge", "1.0.0"]


def test_the_configuration_says_what_the_inventory_says(installed, fleet):
    path = fleet.root("first") / "etc/gridtokenx/agent.toml"
    assert tomllib.loads(path.read_text())["cloud"]["enrolment"] == "cloud.example:8444"
    config = load(path, {})
    assert config.agent.name == "first"
    assert (config.sampling.period_s, config.offers.enabled) == (2.5, True)
    (meter,) = config.devices
    assert (meter.address, meter.options) == ('10.0.0.9:502 "quoted"', {"in_flight": 1})


def test_the_token_reaches_the_gateway_but_no_log_and_no_other_user(installed, fleet):
    _, (announced, _), _, (said, _) = installed
    token = fleet.root("first") / "etc/gridtokenx/token"
    assert token.read_text() == "one-time-secret\n"
    assert token.stat().st_mode & 0o007 == 0
    assert "one-time-secret" not in announced + said


def test_a_second_run_changes_nothing(installed, fleet):
    before = contents(fleet.root("first"))
    said, recap = fleet.roll_out("1.0.0", installed[0], "--limit", "first", "--diff")
    assert (recap["first"]["failed"], recap["first"]["changed"]) == (0, 0), said
    assert contents(fleet.root("first")) == before


def test_a_broken_version_goes_back_on_the_first_gateway_and_reaches_no_other(installed, fleet):
    before = contents(fleet.root("first") / "etc")
    wheel = fleet.wheel("1.1.0", broken='\nraise ImportError("a release that cannot start")\n')
    change = '{"edge_settings": {"sampling": {"period_s": 9}}}'
    said, recap = fleet.roll_out("1.1.0", wheel, "-e", change, "--skip-tags", "board")
    assert recap["first"]["rescued"] == recap["first"]["failed"] == 1, said
    assert "1.0.0 runs again" in said
    assert fleet.current("first") == "releases/1.0.0"
    restored = contents(fleet.root("first") / "etc")
    assert {name: restored[name] for name in before} == before
    assert "second" not in recap
    assert not fleet.root("second").exists()


def test_a_release_cut_off_half_way_is_made_again_and_only_the_last_two_are_kept(installed, fleet):
    half = fleet.root("first") / "opt/gridtokenx-edge/releases/1.2.0"
    (half / "venv").mkdir(parents=True)
    (half / "venv/half").write_text("")
    wheel = fleet.wheel("1.2.0")
    said, recap = fleet.roll_out("1.2.0", wheel, "--limit", "first", "--skip-tags", "board")
    assert recap["first"]["failed"] == 0, said
    assert fleet.current("first") == "releases/1.2.0"
    assert not (half / "venv/half").exists()
    assert {path.name for path in half.parent.iterdir()} == {"1.0.0", "1.2.0"}


def test_another_wheel_under_the_same_version_is_refused(installed, fleet):
    other = fleet.root("first") / installed[0].name
    other.write_bytes(installed[0].read_bytes() + b"changed")
    said, recap = fleet.roll_out("1.0.0", other, "--limit", "first", "--skip-tags", "board")
    assert recap["first"]["failed"] == 1
    assert "a change needs a new version" in said
    assert fleet.current("first") == "releases/1.2.0"


def test_a_wish_of_the_wrong_kind_is_refused_before_anything_changes(installed, fleet):
    before = contents(fleet.root("first"))
    wish = '{"edge_cloud": {"enrollment": "cloud.example:8444"}}'
    arguments = ("--limit", "first", "--skip-tags", "board", "-e", wish)
    said, recap = fleet.roll_out("1.0.0", installed[0], *arguments)
    assert (recap["first"]["failed"], recap["first"]["changed"]) == (1, 0)
    assert "enrollment" in said
    assert contents(fleet.root("first")) == before
