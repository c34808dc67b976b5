"""The pump of the learned worth of energy: a model once a day, and each hour's worth before its bid.

Learning and asking both go to a process aside (`learning`), one of each at a time and each within a
time limit; what it says becomes a `ValueEnergy`, and whatever else happens to it leaves the desk with
its stochastic programme. Tells an hour once: what the desk was told it remembers, also over a
restart. Nothing is told while the desk is halted, and nothing is done before it is open.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from cloud.commands import ValueEnergy
from cloud.facts import DeskRefused
from cloud.learning import (
    BUSY,
    NO_LIGHTGBM,
    NO_MODEL,
    TOO_SHORT,
    Head,
    Learned,
    Table,
    UnusableModelError,
    lead_ns,
    model_path,
    read_head,
    said,
)
from cloud.pumps import ALARM_PRIORITY, Alarm
from cloud.vpp.bids import OFFERED, Product, product_for
from cloud.vpp.capability import HOUR_NS
from cloud.vpp.desk import LAST_CALL_NS
from cloud.vpp.optimum import Plant
from cloud.vpp.prices import DAY_NS
from cloud.writer import Writer, WriterStoppedError
from protos.clock import MINUTE_NS, SECOND_NS, Clock

POLL_S = 60.0
LEARN_LIMIT_S = 3_600.0
TELL_LIMIT_S = 60.0
"""The machine's own seconds, after which the process is killed."""

RETRY_NS = HOUR_NS
"""A model that turned out to be unusable is learned anew so long after the last try."""

TELL_AGAIN_NS = 3 * MINUTE_NS
TELLS_MAX = 3
"""So often an hour's worth is asked for, so far apart, before the hour goes without."""

KILLED = -9
TRIAL = "trial"
EXPECTED = frozenset({str(TOO_SHORT), str(NO_LIGHTGBM), TRIAL})
"""Causes that nobody need do anything about: they are logged, and alarm nobody."""

Said = TypeVar("Said", Learned, Table)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a process aside ended: its status, the last line it wrote, the last it complained."""

    status: int
    answer: str
    complaint: str


class ValuePump:
    """All venues'. `run` is the pump."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        directory: Path,
        alarm: Alarm | None = None,
        offered: tuple[Product, ...] = OFFERED,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._directory = directory
        self._alarm = alarm
        self._offered = offered
        self._next_ns: dict[str, int] = {}
        self._asked: dict[int, tuple[int, int]] = {}
        self._complained: dict[str, str] = {}
        self.learn_limit_s = LEARN_LIMIT_S
        self.tell_limit_s = TELL_LIMIT_S

    async def run(self) -> None:
        """Learns and tells beside each other: learning takes minutes, and an hour does not wait."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeatedly(self.learn))
            tasks.create_task(self._repeatedly(self.tell))

    async def _repeatedly(self, task: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await task()
            except WriterStoppedError:
                return
            await self._clock.sleep(POLL_S)

    # ---- once a day ------------------------------------------------------------------------

    async def learn(self) -> None:
        """A model for each venue that has none that fits, one after the other."""
        for product in self._offered:
            now_ns = self._clock.now_ns()
            plant = self._writer.core.desk.plant(now_ns)
            if plant is not None and await self._is_due(product, plant, now_ns):
                self._next_ns[product.venue] = now_ns + DAY_NS
                await self._learn(product, plant, now_ns)

    async def _is_due(self, product: Product, plant: Plant, now_ns: int) -> bool:
        if now_ns < self._next_ns.get(product.venue, 0):
            return False
        head = await asyncio.to_thread(self._head, product)
        return head is None or now_ns - head.made_ns >= DAY_NS or not _fits(head, plant, product)

    def _head(self, product: Product) -> Head | None:
        try:
            return read_head(model_path(self._directory, product))
        except FileNotFoundError:
            return None
        except (OSError, UnusableModelError) as error:
            log.warning("the model of %s is not used: %s", product.venue, error)
            return None

    async def _learn(self, product: Product, plant: Plant, now_ns: int) -> None:
        outcome = await self._aside(
            "learn",
            product,
            now_ns,
            self.learn_limit_s,
            *("--energy-wh", plant.energy_wh),
            *("--charge-w", plant.charge_w, "--discharge-w", plant.discharge_w),
            *("--wear-micro-per-mwh", plant.wear_micro_per_mwh),
        )
        learned = self._answer(Learned, product, now_ns, outcome)
        if learned is None:
            return
        if not learned.kept:
            self._say(product, now_ns, TRIAL, said(learned))
            return
        self._next_ns[product.venue] = now_ns + RETRY_NS
        self._complained.pop(product.venue, None)
        log.info("%s: %s", product.venue, said(learned))

    # ---- before each bid -------------------------------------------------------------------

    async def tell(self) -> None:
        """The worth of each hour whose bid is soon due, where there is a model."""
        desk = self._writer.core.desk
        now_ns = self._clock.now_ns()
        self._asked = {hour: asked for hour, asked in self._asked.items() if hour > now_ns}
        if not desk.is_open or desk.rules.guard.is_halted:
            return
        for hour_ns in self._due_hours(now_ns):
            product = product_for(self._offered, hour_ns)
            if desk.lacks_worth(product, hour_ns) and self._may_ask(hour_ns, now_ns):
                await self._tell(product, hour_ns, now_ns)

    def _due_hours(self, now_ns: int) -> list[int]:
        """The hours ahead that may be told of: not before all is known that was learned from."""
        first_ns = (now_ns // HOUR_NS + 1) * HOUR_NS
        last_ns = now_ns + max(map(lead_ns, self._offered))
        due = []
        for hour_ns in range(first_ns, last_ns + 1, HOUR_NS):
            product = product_for(self._offered, hour_ns)
            closes_ns = hour_ns - product.gate_lead_ns - LAST_CALL_NS
            if hour_ns - lead_ns(product) <= now_ns < closes_ns:
                due.append(hour_ns)
        return due

    def _may_ask(self, hour_ns: int, now_ns: int) -> bool:
        times, last_ns = self._asked.get(hour_ns, (0, 0))
        return times < TELLS_MAX and now_ns - last_ns >= TELL_AGAIN_NS

    async def _tell(self, product: Product, hour_ns: int, now_ns: int) -> None:
        if not model_path(self._directory, product).exists():
            return
        self._asked[hour_ns] = (self._asked.get(hour_ns, (0, 0))[0] + 1, now_ns)
        outcome = await self._aside(
            "tell", product, now_ns, self.tell_limit_s, "--starts-ns", hour_ns
        )
        if outcome.status == NO_MODEL:
            model_path(self._directory, product).unlink(missing_ok=True)
            soon_ns = min(self._next_ns.get(product.venue, 0), now_ns + RETRY_NS)
            self._next_ns[product.venue] = soon_ns
        table = self._answer(Table, product, now_ns, outcome)
        if table is None or self._writer.core.desk.rules.guard.is_halted:
            return
        command = ValueEnergy(
            product.venue, product.node, hour_ns, table.prices_micro, table.worth_micro
        )
        for fact in await self._writer.submit(command):
            if isinstance(fact, DeskRefused):
                self._say(product, now_ns, "refused", f"a told worth was refused: {fact.reason}")

    # ---- the process aside -----------------------------------------------------------------

    async def _aside(
        self, task: str, product: Product, now_ns: int, limit_s: float, *more: object
    ) -> Outcome:
        """One run of `learning`, killed when it takes longer or the pump ends."""
        where = ("--directory", self._directory, "--venue", product.venue, "--node", product.node)
        words = (sys.executable, "-m", "cloud.learning", task, *where, "--now-ns", now_ns, *more)
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *map(str, words), stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
            )
        except OSError as error:
            return Outcome(KILLED, "", f"no process could be started: {error}")
        try:
            async with asyncio.timeout(limit_s):
                out, complaints = await process.communicate()
        except TimeoutError:
            return Outcome(KILLED, "", f"killed: {task} took longer than {limit_s:.0f} s")
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        assert process.returncode is not None
        return Outcome(process.returncode, _last_line(out), _last_line(complaints))

    def _answer(
        self, kind: type[Said], product: Product, now_ns: int, outcome: Outcome
    ) -> Said | None:
        """What the process answered, or None once it is said why it did not."""
        if outcome.status == BUSY:
            log.info("%s: %s", product.venue, outcome.complaint)
            return None
        if outcome.status:
            text = outcome.complaint or f"the learning ended with status {outcome.status}"
            self._say(product, now_ns, str(outcome.status), text)
            return None
        try:
            return msgspec.json.decode(outcome.answer, type=kind)
        except msgspec.DecodeError as error:
            self._say(product, now_ns, "answer", f"the learning gave no answer: {error}")
            return None

    def _say(self, product: Product, now_ns: int, cause: str, text: str) -> None:
        """Once a cause: the desk goes on without, and the next day does not say so again."""
        if self._complained.get(product.venue) == cause:
            return
        self._complained[product.venue] = cause
        words = f"{product.venue}: bids by the stochastic programme: {text}"
        is_expected = cause in EXPECTED
        log.log(logging.INFO if is_expected else logging.WARNING, "%s", words)
        if self._alarm is not None and not is_expected:
            self._alarm(f"worth/{product.venue}", ALARM_PRIORITY, now_ns, product.venue, words)


def _fits(head: Head, plant: Plant, product: Product) -> bool:
    """Whether the plant is near enough to the one that the model was made for: its hours of storage
    differ by a quarter at most.
    """
    if head.lead_s * SECOND_NS != lead_ns(product):
        return False
    model, now = head.energy_wh * plant.discharge_w, plant.energy_wh * head.discharge_w
    return 4 * abs(now - model) <= model


def _last_line(octets: bytes) -> str:
    lines = octets.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
