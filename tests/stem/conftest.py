"""A stem on a real journal with the six-node network, at a time that tests set."""

import asyncio
from dataclasses import dataclass, field

import pytest

from cloud.commands import OpenZone, ZoneRules
from cloud.core import Core
from cloud.grid.shipped import network_named
from cloud.store.journal import SqliteJournal
from cloud.writer import Writer

START_NS = 1_781_519_400_000_000_000
NETWORK = network_named("tiny")


@dataclass
class HandClock:
    """Time that moves when a test says so."""

    ns: int = START_NS

    def now_ns(self):
        return self.ns

    def monotonic_ns(self):
        return self.ns

    async def sleep(self, seconds):
        self.ns += int(seconds * 1e9)
        await asyncio.sleep(0)


@dataclass
class Stem:
    """A writer with its parts, and everything it ever said."""

    path: object
    clock: HandClock
    facts: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    writer: Writer = None
    network: object = NETWORK

    async def start(self):
        self.facts.clear()
        core = Core({"tiny": self.network})
        self.writer = Writer(core, SqliteJournal(self.path), self.clock, self.sign)
        self.writer.listen(lambda facts, _at: self.facts.extend(facts))
        self.writer.listen_checkpoints(lambda *note: self.notes.append(note))
        await self.writer.start()
        return self.writer

    async def crash(self):
        """Ends it as kill -9 would for everything but the page cache: nothing is flushed."""
        self.writer._task.cancel()
        await asyncio.gather(self.writer._task, return_exceptions=True)
        self.writer._thread.shutdown()
        self.writer._journal.close()

    @staticmethod
    def sign(block):
        return b"origin\n%d\n%s\n\nsignature\n" % (
            block.size,
            __import__("base64").b64encode(block.root),
        )


@pytest.fixture
async def stem(tmp_path):
    stem = Stem(tmp_path / "journal.db", HandClock())
    await stem.start()
    yield stem
    if stem.writer.problem is None and not stem.writer._stopping:
        await stem.writer.stop()


@pytest.fixture
def open_zone():
    return OpenZone("tiny", NETWORK.sha256, START_NS // 900_000_000_000, ZoneRules())
