"""kill -9 of the aggregator and of a gateway in the middle of the demo: nothing lost or doubled.

The demo is the shipped one: real Modbus, real TLS, real files. It revives what dies; this test
kills by process id, at seeded random moments, and believes only the demo's last line and a replay.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
KILLS = int(os.environ.get("GRIDTOKENX_KILLS", "20"))
SLOTS = max(3, KILLS // 3)
BETWEEN_S = (1.2, 2.4)


def children(pid):
    """The demo's child processes by the name of their part."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"serve" in command:
            found["cloud"] = int(child)
        elif b"run" in command and any(b"home-01" in word for word in command):
            found["gateway"] = int(child)
    return found


def kill(pid, part):
    target = children(pid).get(part)
    if target is None:
        return False
    os.kill(target, signal.SIGKILL)
    return True


def test_twenty_kills_of_cloud_and_gateway_lose_and_double_nothing(tmp_path):
    draw = random.Random(20)
    demo = subprocess.Popen(
        [sys.executable, "-m", "cloud", "demo", "--headless", "--speed", "60", "--homes", "4",
         "--slots", str(SLOTS), "--json", "--directory", tmp_path / "demo"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while "gateway" not in children(demo.pid):
            assert demo.poll() is None, demo.stderr.read()
            time.sleep(0.1)
        time.sleep(3)
        killed = {"cloud": 0, "gateway": 0}
        while min(killed.values()) < KILLS and demo.poll() is None:
            part = min(killed, key=killed.get) if draw.random() < 0.8 else draw.choice([*killed])
            killed[part] += kill(demo.pid, part)
            time.sleep(draw.uniform(*BETWEEN_S))
        output, errors = demo.communicate(timeout=300)
    finally:
        demo.kill()
    assert min(killed.values()) >= KILLS, f"only {killed} kills before the demo ended"
    assert demo.returncode == 0, errors[-2000:]
    result = json.loads(output.splitlines()[-1])
    assert result["readings"]["lost"] == 0
    assert result["readings"]["duplicated"] == 0
    assert result["readings"]["accepted"] > 1_000
    assert result["replay_equal"] is True
    assert result["conservation_error_wh"] == 0
    assert not any(result["ledger_sums"].values())
    assert result["slots_settled"] >= SLOTS
