"""Matchers that a package brings, on the first 200,000 commands of `w1`, in the same minute.

Each is installed from its package into an environment of its own the first time, beside ours, and
stays there; where it cannot be, its row has no value and says so. Its trades must be the baseline's,
one by one: a peer that trades otherwise is an error.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.bench.matcher_flows import FLOWS, Workload, make_workload, trade_hash
from tests.bench.matcher_peer_run import COMMAND

VERSIONS = {"lightmatchingengine": "2019.1.4", "order-book": "0.6.1"}
"""The newest that Python 3.11 can take."""

HOME = Path(sys.prefix) / "peers" / "matchers"
PROGRAM = Path(__file__).with_name("matcher_peer_run.py")
OPERATIONS = 200_000
INSTALL_S, RUN_S = 120, 60
ROWS = np.dtype(
    [("operation", "u1"), ("side", "u1"), ("order", "<u8"), ("tick", "<u4"), ("quantity", "<u4")]
)
TRADES = np.dtype([("maker", "<u8"), ("taker", "<u8"), ("tick", "<u4"), ("quantity", "<u4")])


class Missing(Exception):
    """The peer cannot run on this machine. The message is the row's note."""


def python_with(peer: str) -> Path:
    """An interpreter that has the peer. Raises Missing."""
    python = HOME / "bin" / "python"
    uv = Path(sys.prefix) / "bin" / "uv"
    package = f"{peer}=={VERSIONS[peer]}"
    made = [] if python.exists() else [[uv, "venv", "-q", "--python", sys.executable, HOME]]
    for command in (*made, [uv, "pip", "install", "-q", "--python", python, package]):
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_S)
        except (OSError, subprocess.SubprocessError) as error:
            raise Missing(f"{package} could not be installed here") from error
    return python


def play_peer(peer: str, work: Workload) -> float:
    """ns an operation. Raises Missing, and RuntimeError where its trades are others."""
    python = python_with(peer)
    rows = np.zeros(len(work.commands), dtype=ROWS)
    for name in ROWS.names or ():
        rows[name] = work.commands[name]
    with tempfile.TemporaryDirectory() as directory:
        commands, trades = Path(directory) / "commands", Path(directory) / "trades"
        commands.write_bytes(rows.tobytes())
        call = [python, PROGRAM, peer, commands, trades]
        done = subprocess.run(call, capture_output=True, text=True, timeout=RUN_S, check=True)
        found = np.frombuffer(trades.read_bytes(), dtype=TRADES)
    prices = found["tick"].astype(np.uint64) + np.uint64(work.flow.floor)
    digest = trade_hash(found["maker"], found["taker"], prices, found["quantity"].astype(np.uint64))
    if (len(found), digest) != (work.trades, work.hash):
        raise RuntimeError(f"{peer} made {len(found)} trades, not the baseline's {work.trades}")
    return float(done.stdout)


def workload() -> Workload:
    """What the peers are given."""
    assert ROWS.itemsize == COMMAND.size
    return make_workload(FLOWS["w1"], OPERATIONS)
