"""One simulated device behind a real socket with the agent's own parts round it, for tests of steering."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Self

from edge.devices.catalog import open_device
from edge.devices.device import DeviceSpec
from edge.devices.modbus.bus import BusPool
from edge.home import Home, steerable
from edge.poller import Poller
from edge.simulator.server import Station, TcpDevice
from edge.steering import Steering
from protos.clock import SystemClock
from protos.messages import Role


class Steered:
    """One simulated device on a socket, read and steered as an agent does it; reports are kept."""

    def __init__(self, directory: Path, image, profile: str, role: Role, unit: int, dispatch):
        self.clock, self.reports, self.dispatch = SystemClock(), [], dispatch
        self.server = TcpDevice(Station({unit: image}, self.clock.now_ns))
        self.spec = DeviceSpec("it", role, profile, "tcp", "", unit)
        self.directory, self.pool = directory, BusPool()

    async def __aenter__(self) -> Self:
        spec = dataclasses.replace(self.spec, address=await self.server.start())
        self.poller = Poller(spec, self._open, self.clock, 0.05, 2.0)
        seen = Home([self.poller], 1_000_000_000)
        self.steering = Steering(
            self.dispatch,
            self.clock,
            self.directory / "reversion.json",
            lambda _: self.poller.device,
            lambda: seen.measured(self.clock.monotonic_ns()),
            self._keep,
        )
        parts = (self.poller.run(self._heard), self.steering.run())
        self.tasks = [asyncio.create_task(part) for part in parts]
        return self

    async def _open(self, spec):
        return await open_device(spec, self.clock, self.pool)

    async def _keep(self, reports) -> None:
        self.reports.extend(reports)

    def _heard(self, poller, sample, qualities) -> None:
        del sample, qualities
        self.dispatch.add(steerable(poller))
        self.steering.wake()

    async def __aexit__(self, *_) -> None:
        self.tasks[1].cancel()
        await asyncio.gather(self.tasks[1], return_exceptions=True)
        await self.steering.stop()
        self.tasks[0].cancel()
        await asyncio.gather(self.tasks[0], return_exceptions=True)
        await self.pool.close()
        await self.server.close()
