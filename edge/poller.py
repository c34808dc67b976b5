"""One task a device: open, read on the period, back off when it fails. None waits for another.

Sampling follows the agent's clock; the deadline of one read is physical and uses the event loop's.
Must never hand on a value the driver did not return, and never let an error end the task.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from edge.devices.device import Device, DeviceError, DeviceSpec, Sample
from edge.plausible import Screen
from protos.clock import SECOND_NS, Clock
from protos.limits import SETPOINT_W_MAX
from protos.messages import Quality

BACKOFF_S_MAX = 300.0
OPEN_TIMEOUT_S = 60.0
"""Opening may walk a SunSpec map on a slow bus, register block by register block."""

log = logging.getLogger("edge.poller")

Opener = Callable[[DeviceSpec], Awaitable[Device]]
Listener = Callable[["Poller", Sample, tuple[Quality, ...]], None]


@dataclass(slots=True)
class PollCount:
    """What health shows of one device."""

    reads: int = 0
    failures: int = 0
    failing: int = 0
    problem: str = ""


class Poller:
    """Keeps one device read. `device` is None until it has been opened."""

    def __init__(
        self, spec: DeviceSpec, opener: Opener, clock: Clock, period_s: float, timeout_s: float
    ) -> None:
        self.spec = spec
        self.device: Device | None = None
        self.count = PollCount()
        self.latest: Sample | None = None
        self.qualities: tuple[Quality, ...] = ()
        self._opener = opener
        self._clock = clock
        self._period_s = period_s
        self._timeout_s = timeout_s
        self._screen: Screen | None = None

    async def run(self, listener: Listener) -> None:
        """Polls until cancelled; then closes the device."""
        try:
            while True:
                await self._clock.sleep(self._pause_s())
                sample = await self._attempt()
                if sample is not None:
                    assert self._screen is not None
                    self.latest = sample
                    qualities = self._screen.judge(sample.values, sample.monotonic_ns)
                    self.qualities = qualities
                    listener(self, sample, qualities)
        finally:
            await self.close()

    async def close(self) -> None:
        device, self.device = self.device, None
        if device is not None:
            await device.close()

    def _pause_s(self) -> float:
        """Nothing at first; then to the next multiple of the period, so that sweeps of all homes
        meet slot edges; after failures longer, and spread so that devices of one gateway do not
        try in step.
        """
        if not self.count.reads and not self.count.failures:
            return 0.0
        if self.count.failing:
            backoff = self._period_s * float(1 << min(self.count.failing, 16))
            return min(BACKOFF_S_MAX, backoff) * random.uniform(0.75, 1.0)
        period_ns = int(self._period_s * SECOND_NS)
        return (period_ns - self._clock.now_ns() % period_ns) / SECOND_NS

    async def _attempt(self) -> Sample | None:
        try:
            if self.device is None:
                async with asyncio.timeout(OPEN_TIMEOUT_S):
                    self.device = await self._opener(self.spec)
                self._screen = Screen(self.device.points, self._max_power_w())
            async with asyncio.timeout(self._timeout_s):
                sample = await self.device.read()
        except DeviceError as error:
            self._failed(str(error))
        except TimeoutError:
            self._failed(f"{self.spec.name}: no answer in time; check power and wiring")
        except OSError as error:
            self._failed(f"{self.spec.name}: {error}; check the address {self.spec.address}")
        else:
            self._succeeded()
            return sample
        return None

    def _max_power_w(self) -> int:
        value = self.spec.options.get("max_power_w", SETPOINT_W_MAX)
        return value if type(value) is int and value > 0 else SETPOINT_W_MAX

    def _succeeded(self) -> None:
        if self.count.failing:
            log.info("device answers again", extra={"device": self.spec.name})
        self.count.reads += 1
        self.count.failing = 0
        self.count.problem = ""

    def _failed(self, problem: str) -> None:
        self.count.failures += 1
        self.count.failing += 1
        # The first failure of a row is news, the rest is the same news.
        level = logging.WARNING if self.count.failing == 1 else logging.DEBUG
        log.log(level, "device does not answer", extra={"problem": problem})
        self.count.problem = problem
