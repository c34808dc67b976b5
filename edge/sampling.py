"""Sweeps on the period: takes what the pollers brought, seals it, thins it out when disk is short.

Must never re-stamp a value, let a batch span a step of the clock, or seal sweeps before the map
that explains them is on the disk.
"""

import asyncio
import logging

from edge.devices.device import Sample
from edge.outbox import Outbox, OutboxError
from edge.poller import Poller
from edge.steering import speed_of
from edge.sweeps import Assembler, Column
from protos.clock import SECOND_NS, SLOT_NS, Clock
from protos.codec import encode_payload
from protos.messages import ClockQuality, Quality

CLOCK_STEP_NS = 2 * SECOND_NS
SKEW_NS_MAX = 5 * SECOND_NS
FIRST_WAIT_S = 2.0
MAP_NOTE = "map_id"

log = logging.getLogger("edge.sampling")


class Sampling:
    """The sweeps of one gateway."""

    def __init__(
        self, outbox: Outbox, clock: Clock, period_s: float, sweeps_per_batch: int, boot_id: int
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._period_ns = int(period_s * SECOND_NS)
        self._sweeps_per_batch = sweeps_per_batch
        self._boot_id = boot_id
        self._assembler = Assembler()
        self._columns: dict[str, Column] = {}
        self._new: list[Column] = []
        self._map_id = outbox.note(MAP_NOTE)
        self._map_is_sealed = False
        self._offset_ns: int | None = None
        self._kept_slot = 0
        self._stride = 1
        self._arrived = asyncio.Event()
        self._expected = 0
        self.started = asyncio.Event()
        self.clock_quality = ClockQuality.UNKNOWN
        self.sweeps = 0
        self.thinned = 0
        self.lost = 0
        self.clock_steps = 0
        self.problem = ""

    def heard(self, poller: Poller, sample: Sample, qualities: tuple[Quality, ...]) -> None:
        """A device answered."""
        assert poller.device is not None
        column = self._columns.get(poller.spec.name)
        if column is None:
            column = Column(poller.device.entry, poller.device.points)
            self._columns[poller.spec.name] = column
            self._new.append(column)
        column.take(sample, qualities)
        if len(self._columns) >= self._expected:
            self._arrived.set()

    def cloud_time(self, skew_ns: int) -> None:
        """How far the cloud's clock is from ours: the only other clock a gateway can ask."""
        near = abs(skew_ns) <= SKEW_NS_MAX * max(1.0, speed_of(self._clock))
        self.clock_quality = ClockQuality.SYNCHRONISED if near else ClockQuality.FREE_RUNNING

    async def run(self, devices: int) -> None:
        """Sweeps until cancelled. The first one comes as soon as all devices answered, or after a
        moment, and is sealed alone: a sign of life.
        """
        self._expected = devices
        try:
            async with asyncio.timeout(FIRST_WAIT_S):
                await self._arrived.wait()
        except TimeoutError:
            log.info("starting without all devices", extra={"answered": len(self._columns)})
        await self._sweep(self._clock.now_ns(), seal=True)
        while True:
            # Half a period after the pollers, which start on multiples of it.
            now_ns = self._clock.now_ns()
            left_ns = self._period_ns - (now_ns + self._period_ns // 2) % self._period_ns
            await self._clock.sleep(left_ns / SECOND_NS)
            await self._sweep(self._clock.now_ns())

    async def _sweep(self, now_ns: int, *, seal: bool = False) -> None:
        if self._clock_stepped(now_ns):
            await self.flush()
        if self._new:
            await self.flush()
            self._adopt_columns()
        if not self._assembler.columns:
            return
        first_of_slot = now_ns // SLOT_NS != self._kept_slot
        self._say_fidelity(self._outbox.stride)
        if not first_of_slot and now_ns // self._period_ns % self._stride:
            self._assembler.skip()
            self.thinned += 1
            return
        self._kept_slot = now_ns // SLOT_NS
        self._assembler.sweep()
        self.sweeps += 1
        full = self._assembler.sweeps >= min(self._sweeps_per_batch, self._assembler.sweeps_max)
        # The slot's end is settled soonest when its last counter does not wait for a full batch.
        if full or first_of_slot or seal:
            await self.flush()

    def _say_fidelity(self, stride: int) -> None:
        """Coarser sampling is a decision about the owner's evidence: it is said when it changes."""
        before, self._stride = self._stride, stride
        if stride > before:
            log.warning("the outbox fills, sampling gets coarser", extra={"keeps_one_in": stride})
        elif stride < before:
            log.info("the outbox empties, sampling gets finer", extra={"keeps_one_in": stride})

    def _clock_stepped(self, now_ns: int) -> bool:
        offset_ns = now_ns - self._clock.monotonic_ns()
        before, self._offset_ns = self._offset_ns, offset_ns
        slack_ns = CLOCK_STEP_NS * speed_of(self._clock)
        if before is None or abs(offset_ns - before) <= slack_ns:
            return False
        self.clock_steps += 1
        self.clock_quality = ClockQuality.UNKNOWN
        log.warning("the clock was stepped", extra={"step_s": (offset_ns - before) // SECOND_NS})
        return True

    def _adopt_columns(self) -> None:
        new, self._new = self._new, []
        for column in new:
            try:
                self._assembler.add(column)
            except ValueError as error:
                log.error("device is left out", extra={"problem": str(error)})  # noqa: TRY400
            else:
                self._map_is_sealed = False

    async def flush(self) -> None:
        """Seals what was collected. What the disk does not take is counted, never kept in RAM."""
        sweeps = self._assembler.sweeps
        if not sweeps:
            return
        if not self._outbox.has_telemetry_room:
            self._lose(sweeps, "the outbox is full; connect the gateway")
            self._assembler.drop()
            return
        notes: dict[str, int | str] = {}
        maps: list[bytes] = []
        map_id = self._map_id
        if not self._map_is_sealed:
            # In one transaction with the first sweeps that it explains, and before them.
            map_id += 1
            maps, notes = [encode_payload(self._assembler.register_map(map_id))], {MAP_NOTE: map_id}
        try:
            payloads = self._assembler.take_payloads(
                map_id,
                self._boot_id,
                self._clock.monotonic_ns() // 1_000_000,
                self.clock_quality,
            )
            await self._outbox.append([*maps, *payloads], notes)
            self._map_id, self._map_is_sealed = map_id, True
        except OutboxError as error:
            self._lose(sweeps, str(error))
            self._assembler.drop()
        else:
            self.problem = ""
            self._say_first()

    def _say_first(self) -> None:
        if not self.started.is_set():
            self.started.set()
            log.info("first reading is durable", extra={"seq": self._outbox.head_seq})

    def _lose(self, sweeps: int, problem: str) -> None:
        if problem != self.problem:
            log.error("sweeps are not kept", extra={"problem": problem})
        self.problem = problem
        self.lost += sweeps
