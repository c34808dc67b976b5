"""The whole house is typed, formatted and lint-clean, by the tools' own settings."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [("mypy",), ("ruff", "check", "-q", "."), ("ruff", "format", "--check", "-q", ".")],
    ids=" ".join,
)
def test_a_checker_finds_nothing(command):
    done = subprocess.run(
        [TOOLS / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]
