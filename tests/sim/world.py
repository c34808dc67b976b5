"""A whole grid community in one thread, from one seed: homes, lines, an aggregator that dies.

The aggregator is the product's own writer, machines and journal file; homes plan and seal with the
agent's own code. Made up are the weather, the people, the network and the disk's faults, by this
model:

- A line carries envelopes in order with a delay, may bring one twice, may turn a bit, and goes down
  for seconds up to hours. A receipt may be lost with its line.
- The aggregator dies between commits, or in one: the disk fails before the transaction or after it.
  What was committed is on the disk (WAL, FULL); what power cuts do to a file is tests/faults' matter.
- A grid operator changes limits and orders curtailments as it likes.
- A home's clock may be wrong, and a home may be silent for hours.

First anything may go wrong. Then everything heals, and all that was promised must come true.
"""

import asyncio
import random
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256

from cloud.commands import (
    AdvanceDesk,
    AdvanceZone,
    AppendSealed,
    CreateSite,
    Deposit,
    EnrolDevice,
    IssueToken,
    OpenDesk,
    OpenZone,
    OrderCurtailment,
    OverrideLimit,
    SealBlock,
    ZoneRules,
)
from cloud.core import Core
from cloud.facts import BatchRefused
from cloud.grid.shipped import network_named
from cloud.replay import verify
from cloud.signatures import Signed, fast_checker
from cloud.store.journal import SqliteJournal
from cloud.writer import ForgedError, Writer, WriterStoppedError
from protos.clock import MINUTE_NS, SECOND_NS, slot_at
from protos.messages import Refusal
from protos.seal import signed_bytes
from tests.sim.checks import Checks, promise
from tests.sim.homes import Home, Key
from tests.sim.loop import VirtualClock, run_virtual

ORIGIN_NS = 1_780_045_200 * SECOND_NS
"""29 May 2026, 9:00 UTC: the sun is up and the roofs have something to sell."""

ZONE = "tiny"
NETWORK = network_named(ZONE)
ANSWER_WITHIN_S = 30
HEAL_WITHIN_S = 3 * 3_600
DEPOSIT_MICRO = 1_000_000_000


@dataclass(frozen=True)
class Faults:
    """How often what goes wrong, while anything may."""

    line_up_s: float = 86_400
    line_down_s: float = 1
    twice_per_mille: int = 0
    forged_per_mille: int = 0
    disk_per_mille: int = 0
    crash_every_s: float = 0
    utility_every_s: float = 0
    skewed_homes: int = 0
    silent_homes: int = 0


def swarm(rng):
    """A random subset of all faults: a world in which everything fails hides what one would show."""

    def maybe(value, otherwise):
        return value if rng.random() < 0.5 else otherwise

    return Faults(
        line_up_s=maybe(rng.choice((120, 900, 3_600)), 86_400),
        line_down_s=rng.choice((1, 20, 600)),
        twice_per_mille=maybe(100, 0),
        forged_per_mille=maybe(30, 0),
        disk_per_mille=maybe(2, 0),
        crash_every_s=maybe(rng.choice((600, 3_600)), 0),
        utility_every_s=maybe(1_800, 0),
        skewed_homes=maybe(1, 0),
        silent_homes=maybe(1, 0),
    )


class FailingDisk:
    """The real journal on a disk that sometimes fails, before a commit or right after it."""

    def __init__(self, journal, world):
        self._journal = journal
        self._world = world

    def __getattr__(self, name):
        return getattr(self._journal, name)

    def append(self, records):
        world = self._world
        fails = world.rng.random() * 1_000 < world.faults.disk_per_mille
        if fails and world.rng.random() < 0.5:
            raise OSError(28, "no space left on device")
        self._journal.append(records)
        if fails:
            raise OSError(5, "input/output error")


@dataclass
class Outcome:
    """What one world came to. Equal for equal seeds."""

    seed: int
    hours: float
    homes: int
    state_hash: str
    crashes: int
    counts: dict = field(default_factory=dict)


class World:
    """One seed's world. `run` lets it live for so many hours and then heal."""

    def __init__(self, seed, path, homes=8, faults=None, journal=SqliteJournal, core=Core):
        self.rng = random.Random(seed)
        self.faults = faults or swarm(self.rng)
        self.rules = ZoneRules()
        self.checks = Checks(self.rules)
        self.homes = [self._home(seed, number) for number in range(homes)]
        self.crashes = 0
        self._seed = seed
        self._path = path
        self._journal = journal
        self._core = core
        self._clock = VirtualClock(ORIGIN_NS)
        self._serving = None
        self.writer = None

    def run(self, hours):
        return run_virtual(self._run(hours))

    # ---- the story -----------------------------------------------------------------------------

    async def _run(self, hours):
        self._serving = asyncio.Event()
        await self._start()
        await self._found()
        lives = [asyncio.create_task(self._live(home)) for home in self.homes]
        lines = [asyncio.create_task(self._line(home)) for home in self.homes]
        others = [
            asyncio.create_task(work())
            for work in (self._tick, self._seal_blocks, self._die, self._meddle)
        ]
        tasks = lives + lines + others
        try:
            await self._pass(hours * 3_600, tasks)
            for life in lives:
                life.cancel()
            self.faults = Faults()
            await self._heal([*lines, *others])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return await self._conclude(hours)

    async def _pass(self, seconds, tasks):
        """Time passes; whatever breaks on the way is told here."""
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def _heal(self, tasks):
        """All that was signed must arrive, and every slot that was traded must be settled."""
        last = slot_at(self._clock.now_ns()) + 6
        deadline_ns = self._clock.now_ns() + HEAL_WITHIN_S * SECOND_NS
        while self._waiting() or slot_at(self._clock.now_ns()) <= last:
            promise(
                self._clock.now_ns() < deadline_ns, f"not delivered after hours: {self._waiting()}"
            )
            await self._pass(60, tasks)

    def _waiting(self):
        return {
            home.name: len(home.signed) - home.receipted
            for home in self.homes
            if home.receipted < len(home.signed)
        }

    async def _conclude(self, hours):
        bank, zone = self.writer.core.bank, self.writer.core.zones[ZONE]
        for home in self.homes:
            promise(
                zone.durable(home.device)[0] == len(home.signed), f"{home.name} lost an envelope"
            )
            promise(not bank.reserved_micro(home.name), f"{home.name} has money set aside for ever")
        exported_wh = sum(home.export_wh for home in self.homes)
        promise(bank.minted_wh <= exported_wh, "more was minted than ever left a meter")
        promise(not any(bank.sums().values()), f"sums are {bank.sums()}")
        await self.writer.stop()
        state_hash = self.writer.core.state_hash()
        journal = SqliteJournal(self._path, read_only=True)
        try:
            proof = verify(journal, Core({ZONE: NETWORK}))
        finally:
            journal.close()
        promise(not proof.problems, f"the journal does not make what was published: {proof}")
        promise(proof.state_hash == state_hash, "a replay gives another state")
        return Outcome(
            self._seed, hours, len(self.homes), state_hash.hex(), self.crashes,
            dict(self.checks.counts),
        )  # fmt: skip

    # ---- the aggregator ------------------------------------------------------------------------

    async def _start(self):
        core = self._core({ZONE: NETWORK})
        disk = FailingDisk(self._journal(self._path), self)
        writer = Writer(core, disk, self._clock, _sign, fast_checker())
        self.checks.begin(core.bank)
        writer.listen(self.checks.see)
        await writer.start()
        self.checks.recovered()
        self.writer = writer
        self._serving.set()

    async def _restart(self):
        """As after kill -9: nothing is flushed, nobody is told; then by replay."""
        self._serving.clear()
        task = self.writer._task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._raise_broken(self.writer.problem)
        self.writer._thread.shutdown()
        self.writer._journal.close()
        self.crashes += 1
        await asyncio.sleep(self.rng.choice((1, 5, 60)))
        await self._start()

    @staticmethod
    def _raise_broken(problem):
        """A dying disk is the world's doing; a broken promise or invariant is the product's."""
        if isinstance(problem, Exception) and not isinstance(problem, OSError):
            raise problem

    async def _submit(self, command, signed=None):
        """What any pump does: hand over, and try again after a crash. None when it did not land."""
        await self._serving.wait()
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await self.writer.submit(command, signed)
        except (WriterStoppedError, TimeoutError):
            return None

    async def _surely(self, command):
        while await self._submit(command) is None:
            await asyncio.sleep(1)

    async def _found(self):
        faults, self.faults = self.faults, Faults()
        first = slot_at(ORIGIN_NS)
        await self._surely(OpenZone(ZONE, NETWORK.sha256, first, self.rules))
        await self._surely(OpenDesk(500_000, 10_000_000_000, 100_000))
        for home in self.homes:
            token = sha256(home.name.encode()).digest()
            await self._surely(CreateSite(home.name, ZONE, home.node, home.name))
            await self._surely(Deposit(f"opening/{home.name}", home.name, DEPOSIT_MICRO))
            await self._surely(IssueToken(token, home.name))
            await self._surely(EnrolDevice(token, home.key.public.public_bytes_raw()))
        self.faults = faults

    async def _tick(self):
        while True:
            await self._submit(AdvanceZone(ZONE))
            await self._submit(AdvanceDesk())
            await asyncio.sleep(60)

    async def _seal_blocks(self):
        while True:
            await self._submit(SealBlock())
            await asyncio.sleep(300)

    async def _die(self):
        """Crashes by plan, and after every commit in which the disk failed."""
        planned_s = self._next_crash_s()
        while True:
            await asyncio.sleep(1)
            planned_s -= 1
            if self.writer.problem is not None or planned_s <= 0:
                await self._restart()
                planned_s = self._next_crash_s()

    def _next_crash_s(self):
        every_s = self.faults.crash_every_s
        return self.rng.expovariate(1 / every_s) if every_s else float("inf")

    async def _meddle(self):
        """A grid operator with many wishes."""
        number = 0
        while True:
            await asyncio.sleep(self.faults.utility_every_s or 86_400)
            now_ns = self._clock.now_ns()
            number += 1
            element = self.rng.randrange(1, len(NETWORK.parent))
            limit_w = self.rng.choice((0, 1_000, 4_000, 50_000))
            until_ns = now_ns + self.rng.randrange(5, 120) * MINUTE_NS
            if self.rng.random() < 0.5:
                order = OverrideLimit(ZONE, element, limit_w, "PEA", "drill", until_ns, 1, ZONE)
            else:
                order = OrderCurtailment(
                    ZONE, f"order-{number}", element, limit_w, now_ns, until_ns, "PEA", "drill"
                )
            await self._submit(order)

    # ---- homes and their lines -----------------------------------------------------------------

    def _home(self, seed, number):
        rng = random.Random(f"{seed}/{number}")
        name = f"home-{number + 1}"
        home = Home(
            name, 2 + number % 4, rng, Key(f"{seed}/{name}"), rng.choice((0, 3_000, 8_000)),
            rng.choice((150, 400, 900)),
        )  # fmt: skip
        if number < self.faults.skewed_homes:
            home.skew_ns = rng.choice((-7_200, -1_200, 20)) * SECOND_NS
        return home

    async def _live(self, home):
        while True:
            await asyncio.sleep(60)
            now_ns = self._clock.now_ns()
            home.live(now_ns)
            if now_ns % (5 * MINUTE_NS) < MINUTE_NS:
                home.trade(now_ns, self.rules)

    async def _line(self, home):
        """Comes up, delivers, goes down. A silent home has no line for the first hours."""
        if home in self.homes[len(self.homes) - self.faults.silent_homes :]:
            await asyncio.sleep(self.rng.choice((2, 5)) * 3_600)
        while True:
            await self._serving.wait()
            lasts_s = self.rng.expovariate(1 / self.faults.line_up_s)
            try:
                async with asyncio.timeout(lasts_s):
                    await self._deliver(home)
            except TimeoutError:
                pass  # the line went down, with whatever was on it
            await asyncio.sleep(self.rng.expovariate(1 / self.faults.line_down_s))

    async def _deliver(self, home):
        """One connection: from where the cloud says, in order, until something is wrong."""
        writer = self.writer
        home.receipted = cursor = writer.core.zones[ZONE].durable(home.device)[0]
        while writer is self.writer:
            if cursor == len(home.signed):
                await asyncio.sleep(5)
                continue
            sealed = home.signed[cursor]
            await asyncio.sleep(self.rng.choice((0.02, 0.02, 0.3)))
            if self.rng.random() * 1_000 < self.faults.forged_per_mille:
                await self._forge(home, sealed)
            facts = await self._append(home, sealed)
            if facts is None:
                return
            self._check_answer(home, sealed, facts)
            cursor = sealed.seq
            if self.rng.random() * 1_000 < self.faults.twice_per_mille:
                await self._append(home, home.signed[self.rng.randrange(cursor)])
            home.receipted = cursor

    def _check_answer(self, home, sealed, facts):
        """An honest envelope is taken; unusable content is refused, but never its place."""
        refused = [fact for fact in facts if isinstance(fact, BatchRefused)]
        if refused:
            reason = Refusal(refused[0].reason)
            is_late = reason in {Refusal.FUTURE_DATED, Refusal.TOO_OLD} and home.skew_ns
            promise(is_late, f"{home.name}'s envelope {sealed.seq} was refused: {reason.name}")

    async def _forge(self, home, sealed):
        """Somebody turns a bit. It must be refused, and the true envelope still be taken."""
        forged = home.forged(sealed)
        try:
            facts = await self._append(home, forged)
        except ForgedError:
            return
        promise(facts is None, f"a forged envelope {sealed.seq} of {home.name} was taken")

    async def _append(self, home, sealed):
        command = AppendSealed(
            ZONE, home.device, sealed.seq, sealed.previous, sealed.payload, sealed.signature
        )
        message = signed_bytes(home.device, sealed.seq, sealed.previous, sealed.payload)
        key = self.writer.checker.open(home.key.public.public_bytes_raw())
        return await self._submit(command, Signed(key, sealed.signature, message))


def _sign(block):
    return b"origin\n%d\n%s\n\nsignature\n" % (block.size, b64encode(block.root))
