"""Power cuts over the real outbox: every write it made is recorded, then the disk is cut anywhere.

A `kill -9` leaves the page cache alive, so it is no power cut. Here the agent's own outbox runs
under strace, which notes each write, truncation, deletion and sync of its files. For a cut after
any of them the disk is built again: what was synced is there; of what was not, any part may be
there, torn at 512 bytes. As on ext4, a deletion is on the disk with the next sync of any file. The
full number of cuts is had with GRIDTOKENX_POWER_CUTS=100000.
"""

import asyncio
import lzma
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from edge.envelopes import PACKING
from edge.keys import load_or_create_signer
from edge.outbox import Outbox
from protos.seal import Sealed, link

ROOT = Path(__file__).parents[2]
CUTS = int(os.environ.get("GRIDTOKENX_POWER_CUTS", "2000"))
SECTOR = 512
OPENED_EVERY = 40
NAMES = ("outbox.db", "outbox.db-wal", "outbox.db-journal", "said")
SESSION = """
import asyncio, os, random, sys
from pathlib import Path
from edge.keys import load_or_create_signer
from edge.outbox import Outbox

async def main(directory):
    said = os.open(directory / "said", os.O_WRONLY | os.O_CREAT, 0o600)
    draw = random.Random(7)
    box = await Outbox.open(
        directory / "outbox.db", load_or_create_signer(directory), 1 << 22, 40_000
    )
    for number in range(140):
        sizes = [draw.choice((40, 900, 5000)) for _ in range(draw.choice((1, 1, 3)))]
        seq = await box.append([draw.randbytes(size) for size in sizes], {"number": number})
        os.pwrite(said, b"A %d" % seq, 0)
        if draw.random() < 0.4:
            seq -= draw.choice((0, 0, 5)) if seq > 5 else 0
            os.pwrite(said, b"T %d" % seq, 0)
            box.trim(max(seq, box.durable_seq))
    await box.close()

asyncio.run(main(Path(sys.argv[1])))
"""
_CALL = re.compile(r"^\d+ +(\w+)\((.*)$")
_FILE = re.compile(r"^\d+<([^>]*)>(.*)$")
_DATA = re.compile(r'^, "((?:\\x[0-9a-f]{2})*)", \d+, (\d+)')


@pytest.fixture
def work():
    """In memory where there is such a place: thousands of small disks are built here."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory, prefix="gridtokenx-cuts-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Where the outbox ran, and what it did to its files, in order."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    directory = tmp_path_factory.mktemp("powered")
    operations = powered(directory)
    if operations is None:
        pytest.skip("this container may not trace processes")
    return directory, operations


def powered(directory):
    """Runs the outbox there and records its calls; None where processes may not be traced."""
    load_or_create_signer(directory)
    paths = [word for name in NAMES for word in ("-P", str(directory / name))]
    calls = "trace=pwrite64,ftruncate,fdatasync,fsync,unlink"
    trace = directory / "trace"
    done = subprocess.run(
        ["strace", "-f", "-y", "-xx", "-s", "200000", "-e", calls, *paths, "-o", trace,
         sys.executable, "-c", SESSION, directory],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )  # fmt: skip
    if "ptrace" in done.stderr:
        return None
    assert done.returncode == 0, done.stderr
    return recorded(trace.read_text())


def recorded(text):
    """Operations as (kind, file, place, data)."""
    result = []
    for line in text.splitlines():
        call = _CALL.match(line)
        if call is None:
            continue
        kind, rest = call.groups()
        if kind == "unlink":
            hexes = re.match(r'^"((?:\\x[0-9a-f]{2})*)"', rest)
            path = bytes.fromhex(hexes[1].replace("\\x", "")).decode()
            result.append(("unlink", Path(path).name, 0, b""))
            continue
        shown, rest = _FILE.match(rest).groups()
        if shown.startswith("\\x"):
            shown = bytes.fromhex(shown.replace("\\x", "")).decode()
        name = Path(shown).name
        if kind == "pwrite64":
            data, place = _DATA.match(rest).groups()
            data = bytes.fromhex(data.replace("\\x", ""))
            result.append(("say" if name == "said" else "write", name, int(place), data))
        elif kind == "ftruncate":
            result.append(("truncate", name, int(re.match(r"^, (\d+)", rest)[1]), b""))
        else:
            result.append(("sync", name, 0, b""))
    return result


class Disk:
    """What is surely on the disk, and what may be."""

    def __init__(self):
        self.files, self.pending, self.acknowledged, self.trimmed = {}, [], 0, 0

    def take(self, operation):
        kind, name, _, data = operation
        if kind == "say":
            word, seq = data.split()[:2]
            if word == b"A":
                self.acknowledged = int(seq)
            else:
                self.trimmed = max(self.trimmed, int(seq))
        elif kind == "sync":
            durable = [item for item in self.pending if item[1] == name or item[0] == "unlink"]
            for item in durable:
                apply(self.files, item)
            self.pending = [item for item in self.pending if item not in durable]
        else:
            self.pending.append(operation)

    def after_cut(self, draw, variant):
        """The files as the next start finds them. Variant 0 loses and 1 keeps all unsynced."""
        files = {name: bytearray(content) for name, content in self.files.items()}
        for item in self.pending:
            kind, name, place, data = item
            if kind != "write":
                if variant != 0:
                    apply(files, item)
            elif variant == 1:
                apply(files, item)
            elif variant > 1:
                for start in range(0, len(data), SECTOR):
                    if draw.random() < 0.5:
                        part = data[start : start + SECTOR]
                        apply(files, (kind, name, place + start, part))
        return files


def apply(files, operation):
    kind, name, place, data = operation
    if kind == "unlink":
        files.pop(name, None)
        return
    content = files.setdefault(name, bytearray())
    size = place if kind == "truncate" else place + len(data)
    if len(content) < size:
        content.extend(bytes(size - len(content)))
    if kind == "truncate":
        del content[place:]
    else:
        content[place:size] = data


def cut_everywhere(directory, operations, cuts, work):
    """Counts of (cuts, acknowledged lost, unopenable) over about so many cuts."""
    draw, disk = random.Random(11), Disk()
    variants = max(4, -(-cuts // len(operations)))
    share = 1.02 * cuts / (variants * len(operations))
    made = lost = closed = 0
    device = load_or_create_signer(directory).device
    shutil.copy(directory / "device.key", work / "device.key")
    for operation in operations:
        disk.take(operation)
        if draw.random() > share:
            continue
        for variant in range(variants):
            for old in work.glob("outbox.db*"):
                old.unlink()
            for name, content in disk.after_cut(draw, variant).items():
                (work / name).write_bytes(content)
            made += 1
            try:
                head = head_of(work / "outbox.db", device, disk)
            except sqlite3.DatabaseError:
                closed += 1
                continue
            lost += head < disk.acknowledged
            if made % OPENED_EVERY == 0 and head >= disk.acknowledged:
                asyncio.run(opens_and_goes_on(work, head))
    return made, lost, closed


def head_of(path, device, disk):
    """The newest envelope of the chain; -1 where it has a gap or starts too late."""
    with closing(sqlite3.connect(path)) as db:
        known = db.execute("select 1 from sqlite_master where name = 'envelope'").fetchone()
        if known is None:
            return 0
        if [tuple(row) for row in db.execute("pragma quick_check")] != [("ok",)]:
            raise sqlite3.DatabaseError("quick_check")
        rows = db.execute("select * from envelope order by seq").fetchall()
    before = None
    for seq, previous, payload, signature, packed in rows:
        plain = lzma.decompress(payload, **PACKING) if packed else payload
        if before is not None and (before.seq + 1 != seq or link(device, before) != previous):
            return -1
        before = Sealed(seq, previous, plain, signature)
    if rows and rows[0][0] > disk.trimmed + 1 and disk.acknowledged > disk.trimmed:
        return -1
    return before.seq if before else 0


async def opens_and_goes_on(work, head):
    box = await Outbox.open(work / "outbox.db", load_or_create_signer(work), 1 << 22, 0)
    assert box.head_seq == head
    assert await box.append([b"after the cut"]) == head + 1
    await box.close()


def test_no_cut_loses_what_was_acknowledged_or_leaves_a_file_that_does_not_open(session, work):
    directory, operations = session
    kinds = {kind for kind, _, _, _ in operations}
    assert kinds >= {"write", "sync", "say", "unlink"}
    assert any(kind == "write" and name == "outbox.db" for kind, name, _, _ in operations[50:-20])
    made, lost, closed = cut_everywhere(directory, operations, CUTS, work)
    print(f"power cuts: {made}, acknowledged lost in {lost}, unopenable {closed}")
    assert made >= CUTS * 9 // 10
    assert (lost, closed) == (0, 0)


def test_an_outbox_that_did_not_sync_would_be_found_out(session, work):
    directory, operations = session
    lazy = [item for item in operations if item[0] != "sync" or item[1] != "outbox.db-wal"]
    made, lost, closed = cut_everywhere(directory, lazy, 500, work)
    assert lost + closed > made // 10
