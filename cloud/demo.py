"""`gridtokenx demo`: the whole journey on one machine, with nothing made up but the weather.

Starts three kinds of real processes and keeps them running: simulated homes on real Modbus
sockets and serial lines, agents that read, sign and trade for them, and the aggregator with its
console. A process that dies is started again, so anything here may be killed at any moment. With
`--slots N` it ends after N delivery slots, replays the journal it left, and answers with one JSON
object whether every promise held.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloud.audit import verify_journal
from cloud.config import load_config
from cloud.facts import BatchAccepted, Fact
from cloud.grid.network import Network
from cloud.grid.shipped import network_named
from cloud.remote import CA_FILE, Operator, RemoteError
from cloud.service import CLOSING_FILE
from cloud.store.journal import JOURNAL_FILE, SqliteJournal
from protos.clock import SECOND_NS, SLOT_NS, ScaledClock, slot_at

ORIGIN_NS = 1_780_061_400 * SECOND_NS
"""29 May 2026, 13:30 UTC: the sun has filled a village's transformer and leaves it room again
within two hours, and the gates of the next two wholesale hours are still open.
"""

VILLAGES = (665, 525, 11, 3325)
"""Transformers of the rural network under which the homes stand, the one that congests first."""

BAHT_A_DOLLAR_MICRO = 33_500_000
"""The demo's zones count in baht and its paper venues in dollars; a made rate."""

DEPOSIT_MICRO = 1_000_000_000
READY_WITHIN_S = 60
SETTLE_WITHIN_S = 60
RECEIPT_WITHIN_S = 10
AGENTS_END_WITHIN_S = 40
AGENT_START_S = 4.0
DELIVERY_ROUNDS_MAX = 5
RESTART_PAUSE_S = 0.3
POLL_S = 0.25
PORT_FIRST, PORT_LAST = 20_000, 32_000
PERIOD_S = 60
"""The agents sample once a minute of the demo's clock: each second at speed 60."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line asked for."""

    homes: int = 20
    slots: int = 0
    speed: float = 60.0
    seed: int = 1
    port: int = 8080
    directory: Path = Path(".demo")
    keep: bool = False
    headless: bool = False
    as_json: bool = False
    oasis: tuple[Path, ...] = ()


class DemoError(OSError):
    """The demo cannot go on; the message says where to look."""


@dataclass(slots=True)
class Child:
    """One process that is to stay alive, and where it writes what it has to say."""

    name: str
    command: Sequence[str]
    log: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    started: float = 0.0

    def start(self) -> None:
        self.started = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=subprocess.STDOUT, env=self.environment
            )

    def revive(self) -> None:
        """Starts it again if it has ended, with a pause so that a broken one does not spin."""
        assert self.process is not None
        if self.process.poll() is None or time.monotonic() - self.started < RESTART_PAUSE_S:
            return
        self.restarts += 1
        self.start()

    def end(self) -> None:
        """Asks the process to end in order; does not wait for it."""
        if self.is_running():
            assert self.process is not None
            self.process.send_signal(signal.SIGTERM)

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, within_s: float = 20) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(slots=True)
class Demo:
    """A running demo: its children and its directory."""

    options: DemoOptions
    clock: ScaledClock
    ports: dict[str, int]
    children: list[Child] = field(default_factory=list)

    @property
    def cloud_dir(self) -> Path:
        return self.options.directory / "cloud"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['http']}"

    def start(self, name: str, *command: str) -> Child:
        child = Child(
            name,
            (sys.executable, "-m", *command),
            self.options.directory / f"{name}.log",
            _environment(self.clock),
        )
        child.start()
        self.children.append(child)
        return child

    def revive(self) -> None:
        for child in self.children:
            child.revive()

    def stop(self) -> None:
        for child in reversed(self.children):
            child.stop()


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
    return _conclude(demo)


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
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
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
    _wait("the aggregator", demo, lambda: _is_serving(demo))
    _wait("the simulated homes", demo, fleet_file.exists)
    configs = _write_gateways(demo, json.loads(fleet_file.read_text(encoding="utf-8")))
    # The first home runs in a process of its own, so that one gateway can be killed alone.
    demo.start("gateway", "edge", "run", str(configs[0]))
    if configs[1:]:
        demo.start("gateways", "edge", "run", *map(str, configs[1:]))
    _say(demo, f"console  {demo.url}")
    _say(demo, f"homes    {options.homes} on real Modbus; a slot takes "
               f"{SLOT_NS / SECOND_NS / options.speed:.0f} s; logs in {options.directory}/*.log")  # fmt: skip


def _write_gateways(demo: Demo, homes: list[dict[str, Any]]) -> list[Path]:
    """Registers each home with the aggregator and writes its agent's configuration."""
    operator = Operator(demo.url, demo.cloud_dir)
    network = network_named("rural")
    configs = []
    for home, node in zip(homes, _nodes(network, len(homes)), strict=True):
        directory = demo.options.directory / "gateways" / home["name"]
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "agent.toml"
        token_file = directory / "enrolment.token"
        if not (directory / "certificate.pem").exists():
            answer = operator.post(
                "/api/sites",
                {"site": home["name"], "zone": "rural", "node": node, "account": home["name"]},
            )
            token_file.write_text(answer["token"], encoding="ascii")
        config.write_text(_agent_toml(demo, home), encoding="utf-8")
        configs.append(config)
    return configs


def _nodes(network: Network, count: int) -> Iterator[int]:
    """Homes as neighbours, village after village, so that they share wires that fill up."""
    near = sorted(network.home_groups, key=lambda group: _village(group.transformer))
    nodes = [node for group in near for node in group.nodes]
    for number in range(count):
        yield nodes[number % len(nodes)]


def _village(transformer: int) -> tuple[int, int]:
    place = VILLAGES.index(transformer) if transformer in VILLAGES else len(VILLAGES)
    return place, transformer


def _agent_toml(demo: Demo, home: dict[str, Any]) -> str:
    lines = [
        "[agent]",
        f'name = "{home["name"]}"',
        'state_dir = "."',
        "",
        "[cloud]",
        f'ca = "{(demo.cloud_dir / CA_FILE).resolve()}"',
        f'enrolment = "127.0.0.1:{demo.ports["enrolment"]}"',
        f'gateway = "127.0.0.1:{demo.ports["gateway"]}"',
        'token_file = "enrolment.token"',
        "",
        "[sampling]",
        f"period_s = {PERIOD_S}",
        "sweeps_per_batch = 1",
        "",
        "[offers]",
        "enabled = true",
        "",
    ]
    for device in home["devices"]:
        lines.append("[[devices]]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in device.items() if value != {}]
        lines.append("")
    return "\n".join(lines)


def _run_on(demo: Demo) -> int:
    _say(demo, "runs until you stop it with Ctrl-C")
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
    _say(demo, f"delivering {demo.options.slots} slots")
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
            _wait_serving(demo)
            _end(demo, agents)
            if not _undelivered(demo, _durable(demo)):
                break
            for child in agents:
                child.start()
            _keep(demo, AGENT_START_S)
    finally:
        for child in agents:
            child.stop()
    _export_receipt(demo, "home-01")


def _end(demo: Demo, agents: Sequence[Child]) -> None:
    """Asks the agents to end and waits for them."""
    for child in agents:
        child.end()
    deadline = time.monotonic() + AGENTS_END_WITHIN_S
    while any(child.is_running() for child in agents) and time.monotonic() < deadline:
        _keep(demo, POLL_S)
    for child in agents:
        child.stop()


def _keep(demo: Demo, seconds: float) -> None:
    """Lets time pass while whatever dies is started again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        demo.revive()


def _wait_serving(demo: Demo) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not _is_serving(demo) and time.monotonic() < deadline:
        _keep(demo, POLL_S)


def _durable(demo: Demo) -> dict[str, int]:
    """Up to which envelope the aggregator has each gateway's on its disk."""
    _wait_serving(demo)
    summary = json.loads(Operator(demo.url, demo.cloud_dir).get("/api/summary"))
    durable: dict[str, int] = summary["durable"]
    return durable


def _export_receipt(demo: Demo, account: str) -> None:
    """One home's receipt with the key that checks it. Its root may still be up to 3 s away."""
    operator = Operator(demo.url, demo.cloud_dir)
    path = demo.options.directory / f"{account}.receipt"
    deadline = time.monotonic() + RECEIPT_WITHIN_S
    while True:
        try:
            text = operator.get(f"/api/receipts/{account}")
            break
        except RemoteError as error:
            if time.monotonic() > deadline:
                raise DemoError(f"no receipt for {account}: {error}") from error
        time.sleep(POLL_S)
    path.write_text(text, encoding="utf-8")
    path.with_name(path.name + ".key").write_text(operator.get("/api/log/key"), encoding="ascii")
    _say(demo, f"receipt  {path}; check it offline with: gridtokenx verify {path}")


def _conclude(demo: Demo) -> int:
    """Replays what the run left and says whether everything held."""
    closing = _read_closing(demo)
    config = load_config(demo.options.directory / "cloud.toml")
    journal = SqliteJournal(demo.cloud_dir / JOURNAL_FILE, read_only=True)
    arrivals: Counter[tuple[str, int]] = Counter()
    readings_twice = 0

    def count(facts: Sequence[Fact], _at_ns: int) -> None:
        nonlocal readings_twice
        for fact in facts:
            if isinstance(fact, BatchAccepted):
                arrivals[fact.device, fact.seq] += 1
                readings_twice += fact.readings * (arrivals[fact.device, fact.seq] > 1)

    with contextlib.closing(journal):
        outcome = verify_journal(journal, config, count)
    durable = closing.pop("durable")
    state_hash = closing.pop("state_hash")
    closing.pop("batches")
    closing["readings"] |= {"duplicated": readings_twice, "lost": _undelivered(demo, durable)}
    closing["replay_equal"] = outcome.state_hash.hex() == state_hash and not outcome.problems
    closing["commands"] = outcome.commands
    closing["root"] = outcome.root.hex() if not closing["root"] else closing["root"]
    broken = _broken_promises(closing)
    for promise in broken:
        print(f"gridtokenx: BROKEN: {promise}", file=sys.stderr)
    if demo.options.as_json:
        print(json.dumps(closing), flush=True)
    else:
        for name, value in closing.items():
            print(f"{name:22} {value}")
    return 1 if broken else 0


def _undelivered(demo: Demo, durable: dict[str, int]) -> int:
    """Signed envelopes that the journal does not hold. The agents have ended: all must be there."""
    signed = 0
    for outbox in (demo.options.directory / "gateways").glob("*/outbox.db"):
        with contextlib.closing(sqlite3.connect(outbox)) as db:
            signed += db.execute("select coalesce(max(seq), 0) from envelope").fetchone()[0]
    return signed - sum(durable.values())


def _broken_promises(closing: dict[str, Any]) -> list[str]:
    promises = {
        "no reading is lost": closing["readings"]["lost"] == 0,
        "no reading counts twice": closing["readings"]["duplicated"] == 0,
        "every ledger sums to zero": not any(closing["ledger_sums"].values()),
        "energy is conserved": closing["conservation_error_wh"] == 0,
        "a replay gives the same state": closing["replay_equal"],
    }
    return [promise for promise, held in promises.items() if not held]


def _read_closing(demo: Demo) -> dict[str, Any]:
    path = demo.cloud_dir / CLOSING_FILE
    if not path.exists():
        raise DemoError(
            f"the aggregator did not end in order; see {demo.options.directory / 'cloud.log'}"
        )
    closing: dict[str, Any] = json.loads(path.read_text(encoding="ascii"))
    return closing


def _is_serving(demo: Demo) -> bool:
    try:
        Operator(demo.url, demo.cloud_dir).get("/healthz")
    except RemoteError:
        return False
    return True


def _wait(what: str, demo: Demo, is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not is_done():
        if time.monotonic() > deadline:
            raise DemoError(f"{what} did not start; see {demo.options.directory}/*.log")
        for child in demo.children:
            if child.process is not None and child.process.poll() is not None:
                tail = child.log.read_text(encoding="utf-8", errors="replace")[-600:]
                raise DemoError(f"{child.name} ended at once; {child.log} says:\n{tail}")
        time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    """Ports that are free now and that nobody is given by chance: the simulated homes take theirs
    from the system's own range, so these lie below it. Another demo starts looking elsewhere.
    """
    found: list[int] = []
    start = os.getpid() * 16 % (PORT_LAST - PORT_FIRST)
    for offset in range(PORT_LAST - PORT_FIRST):
        port = PORT_FIRST + (start + offset) % (PORT_LAST - PORT_FIRST)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise DemoError(f"no {count} free ports from {PORT_FIRST} to {PORT_LAST}")


def _environment(clock: ScaledClock) -> dict[str, str]:
    return {**os.environ, **clock.environment(), "PYTHONUNBUFFERED": "1"}


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _say(demo: Demo, text: str) -> None:
    stream = sys.stderr if demo.options.as_json else sys.stdout
    print(text, file=stream, flush=True)
