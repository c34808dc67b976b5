"""The outbox on real files: killed, filled, trimmed, and asked by clouds that remember otherwise."""

import asyncio
import hashlib
import lzma
import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.envelopes import PACKING
from edge.keys import load_or_create_signer
from edge.outbox import ChainForked, Outbox, OutboxError, OutboxFull, stride
from protos.seal import GENESIS, seal

ROOT = Path(__file__).parents[2]
KILLS = 20
WRITER = """
import asyncio, sys
from pathlib import Path
from edge.keys import load_or_create_signer
from edge.outbox import Outbox

async def main(directory):
    outbox = await Outbox.open(directory / "outbox.db", load_or_create_signer(directory), 1 << 24)
    print("open", outbox.head_seq, flush=True)
    while True:
        seq = await outbox.append([b"reading " * 40, b"second"], {"number": outbox.head_seq + 2})
        print(seq, flush=True)
        outbox.trim(max(0, seq - 7))

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.fixture
async def outbox(tmp_path):
    box = await Outbox.open(tmp_path / "outbox.db", load_or_create_signer(tmp_path), 1 << 22)
    yield box
    await box.close()


def links(device: str, rows: list[tuple]) -> list[bytes]:
    """The link of each row, computed from the text of the treaty."""
    head = b"gridtokenx/seal/v1\x00" + bytes.fromhex(device)
    return [
        hashlib.sha256(head + struct.pack(">Q", seq) + previous + payload).digest()
        for seq, previous, payload, _ in rows
    ]


def check_file(path: Path) -> list[tuple]:
    """Every row of the file, after checking sequence, links, signatures and the file itself."""
    signer = load_or_create_signer(path.parent)
    key = Ed25519PublicKey.from_public_bytes(signer.public_key)
    with sqlite3.connect(path) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        rows = [
            (seq, previous, lzma.decompress(payload, **PACKING) if packed else payload, signature)
            for seq, previous, payload, signature, packed in db.execute(
                "select * from envelope order by seq"
            )
        ]
    db.close()
    names = links(signer.device, rows)
    head = b"gridtokenx/seal/v1\x00" + bytes.fromhex(signer.device)
    for place, (seq, previous, payload, signature) in enumerate(rows):
        key.verify(signature, head + struct.pack(">Q", seq) + previous + payload)
        if place:
            assert seq == rows[place - 1][0] + 1
            assert previous == names[place - 1]
    return rows


def test_a_killed_writer_loses_nothing_it_was_told_is_durable(tmp_path):
    seed = random.Random(7)
    highest = 0
    for _ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        assert child.stdout.readline().startswith("open")
        wanted = seed.randrange(1, 25)
        said = [child.stdout.readline() for _ in range(wanted)]
        child.send_signal(signal.SIGKILL)
        said += child.stdout.read().splitlines()
        child.wait()
        child.stdout.close()
        told = max(int(line) for line in said if line.strip().isdigit())
        rows = check_file(tmp_path / "outbox.db")
        assert rows[-1][0] >= told > highest
        highest = told
        with sqlite3.connect(tmp_path / "outbox.db") as db:
            number = db.execute("select value from note where name='number'").fetchone()[0]
        db.close()
        assert number == rows[-1][0], "the note and its envelopes are one transaction"


async def test_callers_at_the_same_time_share_one_transaction(outbox):
    before = outbox.commits
    last = await asyncio.gather(*(outbox.append([b"a", b"b"]) for _ in range(50)))
    assert sorted(last) == list(range(2, 101, 2))
    assert outbox.commits - before <= 3


async def test_the_newest_envelope_stays_so_that_the_chain_goes_on(tmp_path, outbox):
    await outbox.append([b"one", b"two", b"three"])
    outbox.trim(3)
    await outbox.append([], {"x": 1})
    await outbox.close()
    assert [row[0] for row in check_file(tmp_path / "outbox.db")] == [3]
    again = await Outbox.open(tmp_path / "outbox.db", load_or_create_signer(tmp_path), 1 << 22)
    assert again.head_seq == 3
    await again.append([b"four"])
    await again.close()
    assert [row[0] for row in check_file(tmp_path / "outbox.db")] == [3, 4]


async def test_a_receipt_costs_no_write_of_its_own(outbox):
    await outbox.append([b"one"])
    before = outbox.commits
    outbox.trim(1)
    await asyncio.sleep(0.02)
    assert outbox.commits == before
    assert outbox.waiting == 0


async def test_a_full_outbox_keeps_every_envelope_and_takes_more_after_a_receipt(tmp_path):
    box = await Outbox.open(tmp_path / "outbox.db", load_or_create_signer(tmp_path), 64 * 4096)
    payload = os.urandom(9_000)
    last = 0
    while box.has_telemetry_room:
        last = await box.append([payload])
    with pytest.raises(OutboxFull):
        await box.append([payload] * 10)
    assert last > 10
    assert [item.seq for item in await box.read(0, 500)] == list(range(1, last + 1))
    assert not box.has_telemetry_room
    box.trim(last)
    async with asyncio.timeout(5):
        while not box.has_telemetry_room:
            await asyncio.sleep(0.01)
    assert await box.append([payload]) == last + 1
    assert box.used_per_mille < 200
    await box.close()
    check_file(tmp_path / "outbox.db")


async def test_a_large_entry_that_does_not_fit_does_not_take_a_small_one_with_it(tmp_path):
    box = await Outbox.open(tmp_path / "outbox.db", load_or_create_signer(tmp_path), 40 * 4096)
    big, small = await asyncio.gather(
        box.append([os.urandom(60_000) for _ in range(4)]),
        box.append([b"lease report"]),
        return_exceptions=True,
    )
    assert isinstance(big, OutboxFull)
    assert small == 1
    await box.close()


@pytest.mark.root
async def test_a_disk_filled_by_others_is_survived_and_the_ballast_comes_back(tmp_path):
    if os.geteuid():
        pytest.skip("needs root to mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this container may not mount")
    try:
        await _fill_and_free(disk)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


async def _fill_and_free(disk: Path) -> None:
    box = await Outbox.open(disk / "outbox.db", load_or_create_signer(disk), 1 << 30, 1_000_000)
    assert (disk / "ballast").stat().st_size == 1_000_000
    last = 0
    while box.has_telemetry_room:
        with suppress(OutboxError):
            last = await box.append([os.urandom(20_000)])
        if last == 20:
            _take_the_rest(disk)
    assert not (disk / "ballast").exists()
    assert [item.seq for item in await box.read(0, 1000)] == list(range(1, last + 1))
    # Small things still go out, and a receipt alone makes room.
    assert await box.append([b"lease report"]) == last + 1
    box.trim(last + 1)
    await box.append([b"lease report"])
    assert len(await box.read(0, 1000)) == 1
    for _ in range(100):
        last = await box.append([os.urandom(20_000)])
        box.trim(last)
    (disk / "of somebody else").unlink()
    await box.append([b"lease report"])
    assert box.has_telemetry_room
    assert (disk / "ballast").exists()
    await box.close()
    check_file(disk / "outbox.db")


def _take_the_rest(disk: Path) -> None:
    with (disk / "of somebody else").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


async def test_only_one_agent_opens_a_file(tmp_path, outbox):
    await outbox.append([b"one"])
    with pytest.raises(OutboxError, match="another agent"):
        await Outbox.open(tmp_path / "outbox.db", load_or_create_signer(tmp_path), 1 << 22)


async def test_a_file_that_is_no_database_is_said_to_be_damaged(tmp_path):
    (tmp_path / "outbox.db").write_bytes(b"no database" * 1000)
    with pytest.raises(OutboxError, match=r"outbox\.db"):
        await Outbox.open(tmp_path / "outbox.db", load_or_create_signer(tmp_path), 1 << 22)


async def test_the_cloud_may_be_behind_but_not_ahead_or_elsewhere(tmp_path, outbox):
    await outbox.append([b"one", b"two", b"three"])
    rows = [(e.seq, e.previous, e.payload, e.signature) for e in await outbox.read(0, 9)]
    names = links(load_or_create_signer(tmp_path).device, rows)
    await outbox.adopt(0, b"")
    await outbox.adopt(2, names[1])
    await outbox.adopt(3, names[2])
    with pytest.raises(ChainForked, match="we 3"):
        await outbox.adopt(4, names[2])
    with pytest.raises(ChainForked, match="another one"):
        await outbox.adopt(2, names[0])


async def test_a_cloud_that_lost_what_it_receipted_is_found_out(outbox):
    await outbox.append([b"one", b"two", b"three"])
    outbox.trim(3)
    await outbox.append([b"four"])
    with pytest.raises(ChainForked, match="receipted up to"):
        await outbox.adopt(1, b"x" * 32)


async def test_what_is_not_committed_yet_is_not_read(outbox):
    await outbox.append([b"one"])
    waiting = asyncio.gather(outbox.append([b"x" * 50_000 for _ in range(20)]))
    for _ in range(50):
        await asyncio.sleep(0)
        seen = len(await outbox.read(0, 99))
        assert seen in {1, 21}
        assert seen <= outbox.head_seq, "rows of an open transaction were handed out"
    await waiting


async def test_a_caller_that_gives_up_does_not_break_the_chain(tmp_path, outbox):
    task = asyncio.create_task(outbox.append([b"left alone"]))
    await asyncio.sleep(0)
    task.cancel()
    await outbox.append([b"after"])
    await outbox.close()
    assert len(check_file(tmp_path / "outbox.db")) in {1, 2}


def test_the_fuller_the_outbox_the_coarser_the_sweeps_and_never_none():
    seen = [stride(used, 1000) for used in range(0, 1100, 50)]
    assert seen == sorted(seen)
    assert stride(0, 1000) == stride(749, 1000) == 1, "a month offline is kept as it was read"
    assert stride(750, 1000) == 2
    assert stride(875, 1000) == 4
    assert stride(5000, 1000) == 4096


async def test_a_file_of_an_earlier_version_is_read_on_and_nothing_in_it_changes(tmp_path):
    signer = load_or_create_signer(tmp_path)
    first = seal(signer, 1, GENESIS, b"as it was" * 50)
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db:
        db.executescript(
            "pragma page_size=4096; create table envelope(seq integer primary key, previous blob"
            " not null, payload blob not null, signature blob not null);"
        )
        row = (first.seq, first.previous, first.payload, first.signature)
        db.execute("insert into envelope values(?,?,?,?)", row)
        db.commit()
    box = await Outbox.open(tmp_path / "outbox.db", signer, 1 << 22)
    assert await box.append([b"and after it" * 50]) == 2
    assert (await box.read(0, 9))[0] == first
    await box.close()
    assert len(check_file(tmp_path / "outbox.db")) == 2


async def test_bytes_that_rotted_on_the_disk_are_not_sent(tmp_path, outbox):
    await outbox.append([b"of value" * 50])
    await outbox.close()
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db:
        db.execute("update envelope set payload = x'ffffff'")
        db.commit()
    with pytest.raises(OutboxError, match="envelope 1 is damaged"):
        await Outbox.open(tmp_path / "outbox.db", load_or_create_signer(tmp_path), 1 << 22)
