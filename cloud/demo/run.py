"""`gridtokenx demo`: the whole journey on one machine, with nothing made up but the weather.

Starts three kinds of real processes and keeps them running: simulated homes on real Modbus
sockets and serial lines, agents that read, sign and trade for them, and the aggregator with its
console. A process that dies is started again, so anything here may be killed at any moment. With
`--slots N` it ends after N delivery slots, replays the journal it left, and answers with one JSON
object whether every promise held.
"""

import contextlib
import json
import shutil
import signal
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from cloud.demo.closing import conclude, export_receipt, undelivered
from cloud.demo.homes import write_gateways
from cloud.demo.processes import (
    POLL_S,
    Child,
    Demo,
    DemoOptions,
    free_ports,
    is_serving,
    keep,
    say,
    wait,
    wait_serving,
)
from cloud.remote import Operator, RemoteError
from cloud.store.journal import JOURNAL_FILE
from protos.clock import SECOND_NS, SLOT_NS, ScaledClock, slot_at

ORIGIN_NS = 1_780_061_400 * SECOND_NS
"""29 May 2026, 13:30 UTC: the sun has filled a village's transformer and leaves it room again
within two hours, and the gates of the next two wholesale hours are still open.
"""

BAHT_A_DOLLAR_MICRO = 33_500_000
"""The demo's zones count in baht and its paper venues in dollars; a made rate."""

DEPOSIT_MICRO = 1_000_000_000
SETTLE_WITHIN_S = 60
AGENTS_END_WITHIN_S = 40
AGENT_START_S = 4.0
DELIVERY_ROUNDS_MAX = 5


def run_demo(options: DemoOptions) -> int:
    """Runs until its slots are settled, or until it is told to stop."""
    _check(options)
    demo = _prepare(options)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _open(demo)
        if not options.slots:
            return _run_on(demo)
        _deliver(demo)
        _close_agents(demo)
    finally:
        demo.stop()
    return conclude(demo)


def _check(options: DemoOptions) -> None:
    if not 1 <= options.homes <= 1_000:
        raise ValueError("--homes: 1 to 1000 on one machine")
    if not 0.1 <= options.speed <= 600:
        raise ValueError("--speed: 0.1 to 600; at 60 a slot takes 15 seconds")
    if options.slots < 0:
        raise ValueError("--slots: 0 runs on, else how many slots to deliver")


def _prepare(options: DemoOptions) -> Demo:
    """A fresh directory, or the old one with its clock going on where it stood."""
    directory = options.directory
    if directory.exists() and not options.keep:
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    clock = ScaledClock(options.speed, time.time_ns(), _resume_ns(directory))
    names = ("gateway", "enrolment", "utility", "http")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    ports["http"] = options.port or ports["http"]
    (directory / "cloud.toml").write_text(
        f'state_dir = "{directory / "cloud"}"\n'
        f"http_port = {ports['http']}\ngateway_port = {ports['gateway']}\n"
        f"enrolment_port = {ports['enrolment']}\nutility_port = {ports['utility']}\n"
        f"opening_deposit_micro = {DEPOSIT_MICRO}\n"
        f"[desk]\nrate_micro = {BAHT_A_DOLLAR_MICRO}\noasis_files = {json.dumps([str(one.resolve()) for one in options.oasis])}\n",
        encoding="utf-8",
    )
    return Demo(options, clock, ports)


def _resume_ns(directory: Path) -> int:
    """Where the last run's journal ended, or the demo's first morning."""
    path = directory / "cloud" / JOURNAL_FILE
    if not path.exists():
        return ORIGIN_NS
    with contextlib.closing(sqlite3.connect(path)) as journal:
        newest: int | None = journal.execute("select max(at_ns) from journal").fetchone()[0]
    return ORIGIN_NS if newest is None else newest + SECOND_NS


def _open(demo: Demo) -> None:
    """Starts homes and aggregator side by side, then introduces the homes to it."""
    options = demo.options
    fleet = options.directory / "homes"
    fleet_file = fleet / "fleet.json"
    fleet_file.unlink(missing_ok=True)
    demo.start(
        "homes", "edge", "simulate", "--homes", str(options.homes), "--seed", str(options.seed),
        "--directory", str(fleet), "--state", str(fleet / "state.json"),
    )  # fmt: skip
    demo.start("cloud", "cloud", "serve", "--config", str(options.directory / "cloud.toml"))
    wait("the aggregator", demo, lambda: is_serving(demo))
    wait("the simulated homes", demo, fleet_file.exists)
    configs = write_gateways(demo, json.loads(fleet_file.read_text(encoding="utf-8")))
    # The first home runs in a process of its own, so that one gateway can be killed alone.
    demo.start("gateway", "edge", "run", str(configs[0]))
    if configs[1:]:
        demo.start("gateways", "edge", "run", *map(str, configs[1:]))
    say(demo, f"console  {demo.url}")
    say(demo, f"homes    {options.homes} on real Modbus; a slot takes "
               f"{SLOT_NS / SECOND_NS / options.speed:.0f} s; logs in {options.directory}/*.log")  # fmt: skip


def _run_on(demo: Demo) -> int:
    say(demo, "runs until you stop it with Ctrl-C")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(POLL_S)
            demo.revive()
    return 0


def _deliver(demo: Demo) -> None:
    """Waits until the wanted number of whole slots has been delivered and settled."""
    first = slot_at(demo.clock.now_ns()) + 1
    last = first + demo.options.slots - 1
    end_ns = (last + 1) * SLOT_NS
    say(demo, f"delivering {demo.options.slots} slots")
    while demo.clock.now_ns() < end_ns:
        time.sleep(POLL_S)
        demo.revive()
    deadline = time.monotonic() + SETTLE_WITHIN_S
    while time.monotonic() < deadline and not _is_settled(demo, last):
        time.sleep(POLL_S)
        demo.revive()


def _is_settled(demo: Demo, slot: int) -> bool:
    try:
        screen = json.loads(Operator(demo.url, demo.cloud_dir).get("/api/screen"))
    except RemoteError:
        return False
    return any(row["slot"] == slot and row["state"] == "settled" for row in screen["slots"])


def _close_agents(demo: Demo) -> None:
    """Agents end first: they give their setpoints back and deliver what they have signed.

    The rest is kept alive meanwhile. What an agent could not deliver before it ended, because the
    aggregator was just coming back or the agent itself had died, waits in its outbox: so it is
    started again for as long as there is something to deliver.
    """
    agents = [child for child in demo.children if child.name.startswith("gateway")]
    demo.children = [child for child in demo.children if child not in agents]
    try:
        for _ in range(DELIVERY_ROUNDS_MAX):
            wait_serving(demo)
            _end(demo, agents)
            if not undelivered(demo, _durable(demo)):
                break
            for child in agents:
                child.start()
            keep(demo, AGENT_START_S)
    finally:
        for child in agents:
            child.stop()
    export_receipt(demo, "home-01")


def _end(demo: Demo, agents: Sequence[Child]) -> None:
    """Asks the agents to end and waits for them."""
    for child in agents:
        child.end()
    deadline = time.monotonic() + AGENTS_END_WITHIN_S
    while any(child.is_running() for child in agents) and time.monotonic() < deadline:
        keep(demo, POLL_S)
    for child in agents:
        child.stop()


def _durable(demo: Demo) -> dict[str, int]:
    """Up to which envelope the aggregator has each gateway's on its disk."""
    wait_serving(demo)
    summary = json.loads(Operator(demo.url, demo.cloud_dir).get("/api/summary"))
    durable: dict[str, int] = summary["durable"]
    return durable


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
