"""The way in: what a signed batch costs the aggregator, from mutual TLS to the disk and back.

The load and the aggregator are processes of their own (`ingest_load`, `ingest_site`). A cost is
processor time of the aggregator's processes and so covers everything they do: TLS, signature,
journal with fsync, the zone's machine, views and receipts. Baselines are the measured prototypes,
which ended at the journal: no machine was behind them.

A floor is measured in the same run, so that slow code can be told from a slow machine: the bare
stream under the same load (`ingest_floor`), one OpenSSL check, and one commit of a hundred batches.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cloud.commands import (
    AppendSealed,
    Command,
    CreateSite,
    EnrolDevice,
    IssueToken,
    OpenZone,
    ZoneRules,
)
from cloud.core import Core
from cloud.flows import follow
from cloud.grid.shipped import network_named
from cloud.signatures import OneByOne, Signed, fast_checker
from cloud.start import fast_columns
from cloud.store.journal import Record, SqliteJournal
from cloud.store.views import Views
from ext import columns
from protos.clock import slot_at
from protos.codec import encode_payload
from protos.gateway_pb2 import ConnectRequest
from protos.ids import AccountId, SiteId
from tests.bench.ingest_load import Gateway
from tests.bench.ingest_traffic import (
    DEVICES,
    OFFERS,
    READINGS,
    batches,
    private_key,
    public_key,
    register_map,
)

ROOT = Path(__file__).parents[2]
LOAD_WITHIN_S = 600
"""With thousands of streams. As it is by default all of it ends within two minutes."""

GATES = 2
COMMIT_BATCHES = 100
COMMITS = 20
SWEEPS = 10
DECODES = 500
DECODE_ROUNDS = 40
TOGETHER = 64
CHECK_THERE_US = 57
"""OpenSSL's check on the machine from which baselines and targets are."""

MACHINE_BATCHES = 1_000

Row = dict[str, Any]


def rows() -> list[Row]:
    """One row a figure."""
    floor, found = _burdened("ingest_floor"), _burdened("ingest_site")
    spread = _burdened("ingest_site", GATES)
    signatures = _signatures()
    commit_us = _commit_us()
    return [
        *signatures,
        *_floors(floor, commit_us),
        *_batches(found, floor, signatures[0]["value"], commit_us),
        *_spread(found, spread),
        _machine(),
        *_readings(),
        *_streams(found),
        *_offers(found),
    ]


def _burdened(site: str, gates: int = 1) -> dict[str, Any]:
    """The figures of one measured side."""
    # Not in /tmp, which may be memory: the journal's fsync is part of the figure.
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-ingest-") as name:
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.ingest_load", name, site, str(gates)],
            cwd=ROOT,
            env=os.environ | {"GRPC_VERBOSITY": "ERROR"},
            stdout=subprocess.PIPE,
            timeout=LOAD_WITHIN_S,
            check=True,
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _commit_us() -> float:
    """One batch of readings as a row of a journal, a hundred in one transaction on the disk."""
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-ingest-") as name:
        journal = SqliteJournal(Path(name) / "journal.db")
        costs = []
        for commit in range(COMMITS):
            first = 1 + commit * COMMIT_BATCHES
            records = [
                Record(seq, 1, 1, 0, 0, "zone/rural", bytes(700))
                for seq in range(first, first + COMMIT_BATCHES)
            ]
            costs.append(_cpu_us(partial(journal.append, records)))
        journal.close()
    return min(costs) / COMMIT_BATCHES


def _row(
    name: str, value: float, unit: str, target: float | None, *, direction: str = "min", **more: Any
) -> Row:
    """A figure with three digits."""
    short = float(f"{value:.3g}")
    ok = None
    if target is not None:
        ok = short <= target if direction == "min" else short >= target
    return {
        "name": name,
        "value": short,
        "unit": unit,
        "target": target,
        "direction": direction,
        "ok": ok,
        "baseline": more.get("baseline"),
        "note": more.get("note", ""),
    }


def _signatures() -> list[Row]:
    """What one check costs here and now: OpenSSL's is the yardstick for this room's figures."""
    keys = [private_key(number) for number in range(TOGETHER)]
    message = bytes(600)
    costs = {}
    for name, checker in (("alone", OneByOne()), ("together", fast_checker())):
        signed = [
            Signed(checker.open(key.public_key().public_bytes_raw()), key.sign(message), message)
            for key in keys
        ]
        assert all(checker.are_valid(signed))
        costs[name] = min(_cpu_us(partial(checker.are_valid, signed)) for _ in range(9)) / TOGETHER
    return [
        _row(
            "check of one signature, OpenSSL",
            costs["alone"],
            "us CPU",
            None,
            baseline=CHECK_THERE_US,
            note="the machine's yardstick: baselines and targets are from one where it took 57",
        ),
        _row(
            "check of one signature, the gate's",
            costs["together"],
            "us CPU",
            None,
            baseline=15.5,
            note=f"{TOGETHER} together, keys opened before; the baseline is a batch equation, which "
            "allows what OpenSSL does not",
        ),
        _row(
            "OpenSSL's check, as a multiple of the gate's",
            costs["alone"] / costs["together"],
            "x",
            None,
            direction="max",
            baseline=3.6,
        ),
    ]


def _cpu_us(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return 1e6 * (time.process_time() - began)


def _machine() -> Row:
    """What lies behind the journal and in no baseline: zone, facts, leaves, follow-ups, views."""
    network, now_ns = network_named("rural"), time.time_ns()
    core, views = Core({"rural": network}, fast_columns()), Views()

    def apply(command: Command) -> None:
        facts = core.step(command, now_ns)
        views.update(facts, now_ns)
        for following in follow(facts):
            apply(following)

    apply(OpenZone("rural", network.sha256, slot_at(now_ns), ZoneRules()))
    apply(CreateSite(SiteId("home"), "rural", 1, AccountId("home")))
    apply(IssueToken(bytes(32), SiteId("home")))
    apply(EnrolDevice(bytes(32), public_key(0)))
    gateway = Gateway(0, None)
    payloads = [encode_payload(b) for b in batches(MACHINE_BATCHES, 1, now_ns // 1_000_000, 1)]
    gateway.prepare([encode_payload(register_map()), *payloads])
    commands = []
    for message in gateway.ready:
        sealed = ConnectRequest.FromString(message).sealed
        commands.append(
            AppendSealed(
                "rural",
                gateway.device,
                sealed.seq,
                sealed.previous,
                sealed.payload,
                sealed.signature,
            )
        )
    apply(commands[0])
    costs = [_cpu_us(partial(apply, command)) for command in commands[1:]]
    assert views.totals.readings == MACHINE_BATCHES * READINGS
    return _row(
        "of a batch, what the machines and views take",
        sorted(costs)[len(costs) // 2],
        "us CPU",
        None,
        note="within the two figures above; the prototypes ended at the journal",
    )


def _floors(floor: dict[str, Any], commit_us: float) -> list[Row]:
    """What a batch costs a server that does nothing with it, on this machine in this run."""
    full, paced = floor["pipelined"], floor["gateway_like"]
    return [
        _row(
            "floor: the bare stream, pipelined",
            full["cpu_us"],
            "us CPU",
            None,
            baseline=17.8,
            note="gRPC for Python on uvloop, mutual TLS, read and receipted as the aggregator does",
        ),
        _row(
            "floor: the bare stream, gateways at 1 to 3 a second",
            paced["cpu_us"],
            "us CPU",
            None,
            baseline=98,
            note=f"{floor['gateways']} gateways, {paced['per_s']:.0f} batches/s",
        ),
        _row(
            "floor: a batch in the journal",
            commit_us,
            "us CPU",
            None,
            baseline=3.5,
            note=f"{COMMIT_BATCHES} in a transaction, SQLite with WAL and FULL, hash chain included",
        ),
    ]


def _batches(
    found: dict[str, Any], floor: dict[str, Any], check_us: float, commit_us: float
) -> list[Row]:
    """The note says what the figure is where the check takes as long as for the targets."""
    full, paced = found["pipelined"], found["gateway_like"]
    there = CHECK_THERE_US / check_us
    floors = [
        floor[flow]["cpu_us"] + check_us + commit_us for flow in ("pipelined", "gateway_like")
    ]
    return [
        _row(
            "batch of 150 signed readings, pipelined",
            full["cpu_us"],
            "us CPU",
            45,
            baseline=40,
            note=f"{full['cpu_us'] * there:.0f} on the targets' machine; 16 streams, the agent's "
            "window and pause between receipts; the baseline ended at the journal",
        ),
        _row(
            "the same, as a multiple of stream, OpenSSL check and commit",
            full["cpu_us"] / floors[0],
            "x",
            None,
            baseline=45 / (17.8 + CHECK_THERE_US + 3.5),
            note=f"these three alone take {floors[0]:.0f} us here",
        ),
        _row(
            "readings a core carries, pipelined",
            READINGS * 1e6 / full["cpu_us"],
            "1/s",
            None,
            direction="max",
            baseline=3.8e6,
        ),
        _row(
            "batch of 150 signed readings, gateways at 1 to 3 a second",
            paced["cpu_us"],
            "us CPU",
            141,
            baseline=141,
            note=f"{paced['cpu_us'] * there:.0f} on the targets' machine; {found['gateways']} "
            f"gateways, {paced['per_s']:.0f} batches/s",
        ),
        _row(
            "the same, as a multiple of stream, OpenSSL check and commit",
            paced["cpu_us"] / floors[1],
            "x",
            None,
            baseline=141 / (98 + CHECK_THERE_US + 3.5),
            note=f"these three alone take {floors[1]:.0f} us here",
        ),
        _row(
            "receipt after send, p99, at that load",
            paced["p99_ms"],
            "ms",
            None,
            note=f"p50 {paced['p50_ms']:.1f} ms; a gateway is content to wait a second for it",
        ),
    ]


def _spread(found: dict[str, Any], spread: dict[str, Any]) -> list[Row]:
    """With gates in processes of their own the one writer is what bounds an aggregator."""
    alone, apart = found["pipelined"], spread["pipelined"]
    return [
        _row(
            f"of a batch, the writer's process, with {GATES} gate processes",
            apart["writer_us"],
            "us CPU",
            None,
            note=f"{apart['cpu_us']:.0f} with the gates'; {apart['per_s']:.0f} batches/s here, where "
            f"they share {os.cpu_count()} cores with the load; one process: {alone['per_s']:.0f}",
        ),
        _row(
            "batches one writer carries, as a multiple of one process",
            alone["cpu_us"] / apart["writer_us"],
            "x",
            None,
            direction="max",
        ),
    ]


def _readings() -> list[Row]:
    """Decoding and size of ten sweeps, on realistic values."""
    batch = batches(1, SWEEPS, int(time.time() * 1000), 1)[0]
    first, data = batch.times_ms, columns.encode(batch.values)
    offsets = [[(at - first[0][0]) // 10 - 100 * t for t, at in enumerate(row)] for row in first]
    whole = columns.encode([*offsets, *batch.values])
    count = DEVICES + READINGS
    room = np.empty(count * SWEEPS, dtype=np.int64)
    best = min(_decode_ns(whole, count, room) for _ in range(DECODE_ROUNDS))
    readings = READINGS * SWEEPS
    return [
        _row("decode, ten sweeps", best / readings, "ns a reading", 1.2, baseline=0.9),
        _row(
            "size of the values, ten sweeps",
            len(data) / readings,
            "bytes a reading",
            1.3,
            baseline=1.2,
        ),
        _row(
            "size of the whole payload, ten sweeps",
            len(encode_payload(batch)) / readings,
            "bytes a reading",
            None,
            note="with the time of each device's answer",
        ),
    ]


def _decode_ns(data: bytes, count: int, room: "np.typing.NDArray[np.int64]") -> float:
    began = time.process_time_ns()
    for _ in range(DECODES):
        columns.decode_into(data, count, SWEEPS, room)
    return (time.process_time_ns() - began) / DECODES


def _streams(found: dict[str, Any]) -> list[Row]:
    connect, streams = found["connect"], found["streams"]
    note = f"{streams} streams; 5,000 in proportion: {{:.0f}} ms"
    loaded = found["news_under_load"]
    idle, busy = found["news"]["last_ms"], loaded["last_ms"]
    return [
        _row(
            "1 KB to every stream, the last one",
            idle,
            "ms",
            400 * streams / 5_000,
            baseline=371 * streams / 5_000,
            note=note.format(idle * 5_000 / streams),
        ),
        _row(
            "1 KB to every stream, the last one, while they send",
            busy,
            "ms",
            400 * streams / 5_000,
            note=note.format(busy * 5_000 / streams)
            + f", with {loaded['per_s']:.0f} batches/s, {100 * loaded['busy']:.0f} % of a core",
        ),
        _row(
            "of that, what a stream takes of the aggregator",
            found["news"]["cpu_us"],
            "us CPU",
            None,
            baseline=60,
            note=f"5,000 take {5 * found['news']['cpu_us']:.0f} ms of a core that does nothing else",
        ),
        _row("connect with mutual TLS", connect["connect_cpu_us"], "us CPU", None, baseline=970),
        _row("memory of a stream", connect["stream_kib"], "KiB", None, baseline=88.8),
        _row("memory of the aggregator at the end", found["rss_mib"], "MiB", None),
    ]


def _offers(found: dict[str, Any]) -> list[Row]:
    offers = found["offers"]
    return [
        _row(
            "signed offers end to end, a core",
            1e6 / offers["cpu_us"],
            "1/s",
            10_000,
            direction="max",
            note=f"{OFFERS} in an envelope; verified, journaled, matched, checked, confirmed",
        ),
        _row(
            "offer to confirmation at half of that, p99",
            offers["p99_ms"],
            "ms",
            100,
            note=f"p50 {offers['p50_ms']:.1f} ms at {offers['paced_per_s']:.0f} offers/s",
        ),
    ]
