"""An operator with a real journal and real sockets, and validators as real processes beside it."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI

from cloud.commands import Deposit, OpenAccount, OpenZone, SealBlock, ZoneRules
from cloud.core import Core
from cloud.gate.log_http import POLICY_FILE, PublishedLog, load_policy, log_router
from cloud.grid.shipped import network_named
from cloud.ledger.checkpoint import CheckpointSigner
from cloud.store.journal import SqliteJournal
from cloud.validator.files import make_key
from cloud.writer import Writer
from protos.clock import SystemClock

ROOT = Path(__file__).resolve().parent.parent.parent
NETWORK = network_named("tiny")
CONFIG = '[[zones]]\nname = "tiny"\nnetwork = "tiny"\n'


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Operator:
    """Writer, journal and the log's routes on one port; blocks are sealed when a test says so."""

    def __init__(self, directory, port=0, key=bytes(32)):
        self.directory = directory
        self.port = port or free_port()
        self.signer = CheckpointSigner(
            "grid.example/log", Ed25519PrivateKey.from_private_bytes(key)
        )
        directory.mkdir(exist_ok=True)
        self.deposits = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def start(self):
        path = self.directory / "journal.db"
        journal = SqliteJournal(path)
        self.reader = SqliteJournal(path, read_only=True)
        self.writer = Writer(
            Core({"tiny": NETWORK}),
            journal,
            SystemClock(),
            lambda block: self.signer.sign_block(block).encode(),
        )
        await self.writer.start()
        self.log = PublishedLog(
            self.writer, self.reader, self.signer.key, load_policy(self.directory)
        )
        app = FastAPI()
        app.include_router(log_router(self.log))
        self.server = uvicorn.Server(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=self.port,
                log_level="error",
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
        )
        self.task = asyncio.create_task(self.server.serve())
        while not self.server.started:
            await asyncio.sleep(0.01)
        if not self.writer.core.zones["tiny"].is_open:
            await self.writer.submit(OpenZone("tiny", NETWORK.sha256, 1, ZoneRules()))
            await self.writer.submit(OpenAccount("anna", "prosumer", "tiny"))
        return self

    async def block(self, deposits=5):
        """Some money comes in, then a root over it."""
        for _ in range(deposits):
            self.deposits += 1
            await self.writer.submit(Deposit(f"d{self.deposits}", "anna", 1_000))
        await self.writer.settle()
        before = self.log.size
        await self.writer.submit(SealBlock())
        while self.log.size == before:
            await asyncio.sleep(0.001)
        return self.log.size

    async def final(self, size, within_s=90):
        """Waits until that size is final; whether it became so."""
        deadline = time.monotonic() + within_s
        while self.log.finality.final_size < size and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        return self.log.finality.final_size >= size

    async def stop(self):
        self.server.should_exit = True
        await self.task
        if self.writer.problem is None:
            await self.writer.stop()
        self.reader.close()


class Guard:
    """One validator process and what it has said."""

    def __init__(self, directory, name):
        self.directory = directory / name
        self.directory.mkdir(parents=True)
        self.name = name
        self.line = make_key(self.directory / "key", name)
        self.process = None
        self.said = []

    def start(self, url, *more):
        config = self.directory / "zones.toml"
        config.write_text(CONFIG)
        self.output = (self.directory / "said").open("ab")
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "cloud",
                "validator",
                "--url",
                url,
                "--key",
                self.directory / "key",
                "--state-dir",
                self.state,
                "--config",
                config,
                *more,
            ],
            cwd=ROOT,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        return self

    @property
    def state(self):
        return self.directory / "state"

    @property
    def words(self):
        lines = (self.directory / "said").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    async def ended(self, within_s=90):
        deadline = time.monotonic() + within_s
        while self.process.poll() is None and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        return self.process.poll()

    async def heard(self, count, within_s=90):
        """Waits until it has said so many things."""
        deadline = time.monotonic() + within_s
        while len(self.words) < count:
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(AttributeError):
            self.output.close()

    def forget(self):
        shutil.rmtree(self.state)


def write_policy(directory, guards, extra=""):
    directory.mkdir(exist_ok=True)
    text = "".join(f"{guard.line}\n" for guard in guards) + extra
    (directory / POLICY_FILE).write_text(text)
