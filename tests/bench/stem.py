"""The stem: how fast commands become durable, how fast a journal becomes the state again.

Commands go through the writer into SQLite with synchronous=FULL on the checkout's own disk. The
journal that is replayed is what a demo makes, in kind: readings of homes, offers, trades, ticks,
settlement and blocks, written once per run through the same writer.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.commands import (
    AdvanceZone,
    AppendSealed,
    Command,
    CreateSite,
    Deposit,
    EnrolDevice,
    IssueToken,
    OpenZone,
    SealBlock,
    ZoneRules,
)
from cloud.core import Core
from cloud.facts import BlockSealed
from cloud.grid.shipped import network_named
from cloud.replay import rebuild
from cloud.snapshot import Snapshot, build_id, read_snapshot, write_snapshot
from cloud.start import fast_columns
from cloud.store.journal import SqliteJournal
from cloud.store.views import Views
from cloud.writer import Writer
from protos.codec import encode_payload
from protos.ids import device_id
from protos.messages import Offer, OfferBatch, Side
from protos.seal import GENESIS, Sealed, link
from tests.bench.ingest_traffic import batches, public_key, register_map

ROOT = Path(__file__).parents[2]
NETWORK = network_named("rural")
HOMES = 20
SLOTS = 4
SECONDS_A_SLOT = 900
SWEEP_S = 10
COMMANDS = 20_000
ALONE = 500
START_NS = 1_781_519_400_000_000_000

Row = dict[str, Any]


def rows() -> list[Row]:
    """One row a figure."""
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-stem-") as name:
        directory = Path(name)
        return [
            *asyncio.run(_write(directory / "plain.db")),
            *asyncio.run(_day(directory / "day.db")),
            *_replay("plain ticks", directory / "plain.db", 100_000),
            *_replay("demo-like", directory / "day.db", None),
            _begin(directory / "day.db"),
            _process(directory),
        ]


def _row(
    name: str, value: float | None, unit: str, target: float | None, direction: str, note: str = ""
) -> Row:
    ok = None
    if target is not None and value is not None:
        ok = value <= target if direction == "min" else value >= target
    return {
        "name": name,
        "value": None if value is None else float(f"{value:.3g}"),
        "unit": unit,
        "target": target,
        "direction": direction,
        "ok": ok,
        "baseline": None,
        "note": note,
    }


class HandClock:
    """Journal time that the bench sets."""

    def __init__(self) -> None:
        self.ns = START_NS

    def now_ns(self) -> int:
        return self.ns

    def monotonic_ns(self) -> int:
        return self.ns

    async def sleep(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


def _core() -> Core:
    return Core({"rural": NETWORK}, fast_columns())


async def _open(path: Path) -> tuple[Writer, HandClock]:
    clock = HandClock()
    writer = Writer(_core(), SqliteJournal(path), clock, _sign)
    await writer.start()
    await writer.submit(OpenZone("rural", NETWORK.sha256, START_NS // 900_000_000_000, ZoneRules()))
    return writer, clock


def _sign(block: BlockSealed) -> bytes:
    return b"bench\n%d\n" % block.size


async def _write(path: Path) -> list[Row]:
    """Small commands: many at once, then one at a time, each waiting for its facts."""
    writer, _ = await _open(path)
    began = time.perf_counter()
    for _ in range(COMMANDS // 1_000):
        for _ in range(1_000):
            writer.hand_over(AdvanceZone("rural"))
        await writer.settle()
    many_s = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(ALONE):
        await writer.submit(AdvanceZone("rural"))
    alone_s = time.perf_counter() - began
    await writer.stop()
    return [
        _row("durable commands through the writer", COMMANDS / many_s, "1/s", 20_000, "max",
             "a thousand at a time, SQLite FULL"),
        _row("one command, from submit to its facts", 1e3 * alone_s / ALONE, "ms", 5, "min",
             "alone: one fsync each"),
    ]  # fmt: skip


async def _day(path: Path) -> list[Row]:
    """Four slots of twenty homes that send ten-second sweeps and trade."""
    writer, clock = await _open(path)
    homes = [_Home(number) for number in range(HOMES)]
    for home in homes:
        for command in home.enrol():
            writer.hand_over(command)
    await writer.settle()
    for home in homes:
        writer.hand_over(Deposit(home.name, home.name, 10**12))
        writer.hand_over(home.seal(encode_payload(register_map())))
    count = SLOTS * SECONDS_A_SLOT // SWEEP_S
    period_ms = SWEEP_S * 1_000
    ends_ms = START_NS // 1_000_000 + (count + 1) * period_ms
    payloads = [encode_payload(batch) for batch in batches(count, 1, ends_ms, 3, period_ms)]
    for step, payload in enumerate(payloads):
        clock.ns += SWEEP_S * 1_000_000_000
        for home in homes:
            writer.hand_over(home.seal(payload))
        if step % 10 == 0:
            for home in homes:
                writer.hand_over(home.seal(home.offers(clock.ns)))
        writer.hand_over(AdvanceZone("rural"))
        writer.hand_over(SealBlock())
        await writer.settle()
    began = time.perf_counter()
    writer.core.state_hash()
    hash_ms = 1e3 * (time.perf_counter() - began)
    leaves = writer.core.bank.log.size
    commands = writer.commands
    await writer.stop()
    return [
        _row("state hash after a demo-like hour", hash_ms, "ms", 500, "min",
             f"{commands} commands, {leaves} leaves"),
    ]  # fmt: skip


class _Home:
    """A gateway whose signatures nobody checks: the writer is what is measured."""

    def __init__(self, number: int) -> None:
        self.name = f"home-{number}"
        self.number = number
        self.key = public_key(number)
        self.device = device_id(self.key)
        self.seq = 0
        self.previous = GENESIS
        self.offered = 0

    def enrol(self) -> list[Command]:
        token = self.key
        return [
            CreateSite(self.name, "rural", 1 + self.number, self.name),
            IssueToken(token, self.name),
            EnrolDevice(token, self.key),
        ]

    def seal(self, payload: bytes) -> AppendSealed:
        self.seq += 1
        sealed = Sealed(self.seq, self.previous, payload, bytes(64))
        self.previous = link(self.device, sealed)
        previous, signature = sealed.previous, sealed.signature
        return AppendSealed("rural", self.device, self.seq, previous, payload, signature)

    def offers(self, now_ns: int) -> bytes:
        slot = now_ns // 900_000_000_000 + 2
        side, price = (Side.SELL, 3_000_000) if self.number % 2 else (Side.BUY, 4_000_000)
        first = self.offered + 1
        self.offered += 4
        return encode_payload(
            OfferBatch(
                tuple(Offer(n, slot + n % 4, side, 10, price) for n in range(first, first + 4))
            )
        )


def _replay(name: str, path: Path, target: float | None) -> list[Row]:
    """As a restart does it: every record decoded, chained and applied, follow-ups accounted for."""
    journal = SqliteJournal(path, read_only=True)
    core = _core()
    began = time.perf_counter()
    found = rebuild(journal, core)
    seconds = time.perf_counter() - began
    journal.close()
    size_mb = path.stat().st_size / 1e6
    return [
        _row(f"replay, {name}", found.commands / seconds, "1/s", target, "max",
             f"{found.commands} commands of {size_mb:.1f} MB in {seconds:.2f} s"),
    ]  # fmt: skip


def _begin(path: Path) -> Row:
    """A start from a snapshot against the replay that it spares."""
    journal = SqliteJournal(path, read_only=True)
    core, views = _core(), Views()
    began = time.perf_counter()
    found = rebuild(journal, core, views.update)
    replay_s = time.perf_counter() - began
    file, key = path.with_suffix(".snapshot"), Ed25519PrivateKey.generate()
    write_snapshot(file, Snapshot(core, views, found), journal, key)
    build_id()
    began = time.perf_counter()
    begun = read_snapshot(file, {"rural": NETWORK}, journal, key)
    begin_s = time.perf_counter() - began
    journal.close()
    assert begun is not None
    assert begun.core.state_hash() == core.state_hash()
    note = f"{file.stat().st_size / 1e6:.1f} MB, state compared; the replay took {replay_s:.2f} s"
    return _row("start from a snapshot", 1e3 * begin_s, "ms", None, "min", note)


def _process(directory: Path) -> Row:
    """The aggregator as a process of its own, just started, with the shipped network."""
    config = directory / "cloud.toml"
    ports = "".join(f"{name}_port = 0\n" for name in ("http", "gateway", "enrolment", "utility"))
    config.write_text(f'state_dir = "{directory / "state"}"\n{ports}')
    with subprocess.Popen(
        [sys.executable, "-m", "cloud", "serve", "--json", "--config", config],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        process.terminate()
    kib = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    return _row("memory of an idle aggregator", kib / 1024, "MiB", None, "min", "all rooms loaded")
