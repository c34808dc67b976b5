"""Disks that fail under the outbox: errors at any call, a read-only remount, no room.

The errors are put into the outbox's own system calls by strace, a window of them at a time. What
was acknowledged must be there afterwards, the chain whole, and the outbox must have come back
without help.
"""

import lzma
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from edge.envelopes import PACKING
from edge.keys import load_or_create_signer
from protos.seal import Sealed, link

ROOT = Path(__file__).parents[2]
TRIES = 60
SESSION = """
import asyncio, os, sys
from pathlib import Path
from edge.keys import load_or_create_signer
from edge.outbox import Outbox, OutboxError

async def main(directory, tries):
    box = await Outbox.open(
        directory / "outbox.db", load_or_create_signer(directory), 1 << 22, 40_000
    )
    for number in range(tries):
        try:
            print("A", await box.append([os.urandom(700)]), flush=True)
        except OutboxError as error:
            print("E", str(error).replace(chr(10), " "), flush=True)
    print("end", box.head_seq, flush=True)
    os._exit(0)

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


FAULTS = [("pwrite64", "EIO"), ("pwrite64", "EROFS"), ("pwrite64", "ENOSPC"), ("fdatasync", "EIO")]


@pytest.mark.parametrize(("call", "error"), FAULTS)
def test_a_disk_that_fails_for_a_while_loses_nothing_and_needs_no_help(tmp_path, call, error):
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    done = under_fault(tmp_path, call, error)
    if done is None:
        pytest.skip("this container may not trace processes")
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith("E")]
    told = [int(line.split()[1]) for line in lines if line.startswith("A")]
    assert failed, "the fault was never met"
    assert lines[-2].startswith("A"), "it did not come back"
    head = whole_chain(tmp_path)
    assert told == sorted(set(told))
    assert head == told[-1] == int(lines[-1].split()[1])


def under_fault(directory, call, error):
    """The session's end with a window of such errors; None where processes may not be traced."""
    load_or_create_signer(directory)
    first, last = (60, 110) if call == "pwrite64" else (20, 35)
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(directory / "outbox.db"),
         "-P", str(directory / "outbox.db-wal"), "-e", f"trace={call}",
         "-e", f"inject={call}:error={error}:when={first}..{last}",
         sys.executable, "-c", SESSION, str(directory), str(TRIES)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if "ptrace" in done.stderr:
        return None
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def whole_chain(directory):
    """The newest sequence; every row from number 1 was checked against the one before."""
    device = load_or_create_signer(directory).device
    with closing(sqlite3.connect(directory / "outbox.db")) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        rows = db.execute("select * from envelope order by seq").fetchall()
    before = None
    for place, (seq, previous, payload, signature, packed) in enumerate(rows, 1):
        assert seq == place
        assert before is None or link(device, before) == previous
        plain = lzma.decompress(payload, **PACKING) if packed else payload
        before = Sealed(seq, previous, plain, signature)
    return len(rows)


DRAINED = """
import asyncio, random, sys, time
from pathlib import Path
from edge.keys import load_or_create_signer
from edge.outbox import Outbox

async def main(directory, batches, size):
    box = await Outbox.open(directory / "outbox.db", load_or_create_signer(directory), size)
    draw = random.Random(3)
    made = 0
    while made < batches:
        made = await box.append([draw.randbytes(4300) for _ in range(60)])
    assert box.stride == 1, box.stride
    seen = 0
    while seen < made:
        for envelope in await box.read(seen, 16):
            assert envelope.seq == seen + 1
            seen = envelope.seq
        box.trim(seen)
        if seen % 320 == 0:
            await box.append([b"live"])
    print(made, box.used_per_mille)
    await box.close()

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
"""


def test_days_without_a_cloud_fit_and_are_drained_in_order(tmp_path):
    """A minute of ten meters deflates to 4,300 bytes; 30 days are 43,200 of them in 512 MB.

    Shortened to a tenth in time and bound, and in full with GRIDTOKENX_OFFLINE_DAYS=30.
    """
    days = int(os.environ.get("GRIDTOKENX_OFFLINE_DAYS", "3"))
    done = subprocess.run(
        [sys.executable, "-c", DRAINED, tmp_path, str(days * 1440), str((512 << 20) * days // 30)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    made = int(done.stdout.split()[0])
    assert made >= days * 1440
    assert (
        sum(path.stat().st_size for path in tmp_path.glob("outbox.db*")) < (512 << 20) * days / 30
    )
