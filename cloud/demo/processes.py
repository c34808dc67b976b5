"""The demo's processes: started, kept alive, waited for, and ended in order."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from cloud.remote import Operator, RemoteError
from protos.clock import ScaledClock

READY_WITHIN_S = 60
RESTART_PAUSE_S = 0.3
POLL_S = 0.25
PORT_FIRST, PORT_LAST = 20_000, 32_000


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


def is_serving(demo: Demo) -> bool:
    """Whether the aggregator answers now."""
    try:
        Operator(demo.url, demo.cloud_dir).get("/healthz")
    except RemoteError:
        return False
    return True


def wait(what: str, demo: Demo, is_done: Callable[[], bool]) -> None:
    """Waits until something has started. Raises DemoError if it did not, or a process ended."""
    deadline = time.monotonic() + READY_WITHIN_S
    while not is_done():
        if time.monotonic() > deadline:
            raise DemoError(f"{what} did not start; see {demo.options.directory}/*.log")
        for child in demo.children:
            if child.process is not None and child.process.poll() is not None:
                tail = child.log.read_text(encoding="utf-8", errors="replace")[-600:]
                raise DemoError(f"{child.name} ended at once; {child.log} says:\n{tail}")
        time.sleep(0.05)


def keep(demo: Demo, seconds: float) -> None:
    """Lets time pass while whatever dies is started again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        demo.revive()


def wait_serving(demo: Demo) -> None:
    """Waits until the aggregator answers, or READY_WITHIN_S have passed."""
    deadline = time.monotonic() + READY_WITHIN_S
    while not is_serving(demo) and time.monotonic() < deadline:
        keep(demo, POLL_S)


def free_ports(count: int) -> list[int]:
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


def say(demo: Demo, text: str) -> None:
    """What goes on; standard output is the answer's where that is to be one JSON object."""
    tell(text, sys.stderr if demo.options.as_json else sys.stdout)


def tell(text: str, stream: TextIO) -> None:
    """One line, at once."""
    print(text, file=stream, flush=True)
