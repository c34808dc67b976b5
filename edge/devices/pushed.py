"""Devices that speak unasked: the newest of what they said, handed out once.

It must never hand out the same sample twice, one with another time than that of its arrival, or
one that lay too long.
"""

import asyncio

from edge.devices.device import DeviceError, DeviceSpec, NotControllableError, Sample
from protos.clock import Clock
from protos.messages import DeviceEntry

PATIENCE_S = 8.0
"""How long a reading waits: shorter than a poller's own deadline, so that it can say what is
missing. A meter that speaks every ten seconds is read every ten."""

OLD_S = 30


class Mailbox:
    """Room for one sample; a newer one takes its place."""

    def __init__(self) -> None:
        self._sample: Sample | None = None
        self._arrived = asyncio.Event()
        self._at = 0.0

    def put(self, sample: Sample) -> None:
        self._sample = sample
        self._at = asyncio.get_running_loop().time()
        self._arrived.set()

    async def take(self, patience_s: float) -> Sample | None:
        """The newest sample not taken yet, None where none comes in time."""
        loop = asyncio.get_running_loop()
        if self._sample is not None and loop.time() - self._at > OLD_S:
            self._sample = None
            self._arrived.clear()
        try:
            async with asyncio.timeout(patience_s):
                await self._arrived.wait()
        except TimeoutError:
            return None
        self._arrived.clear()
        sample, self._sample = self._sample, None
        return sample


class PushedDevice:
    """What all devices that only speak have in common: they cannot be asked, nor steered."""

    def __init__(self, spec: DeviceSpec, clock: Clock, revision: int) -> None:
        self._spec = spec
        self._clock = clock
        self._revision = revision
        self._mailbox = Mailbox()
        self._serial = str(spec.options.get("serial", ""))
        self._patience_s = float(spec.options.get("patience_s", PATIENCE_S))

    @property
    def entry(self) -> DeviceEntry:
        spec = self._spec
        return DeviceEntry(spec.name, spec.role, spec.profile, self._revision, self._serial)

    @property
    def limits(self) -> None:
        return None

    def _silence(self) -> tuple[str, str]:
        """What is wrong and what to do when nothing was said in time."""
        return f"nothing came within {self._patience_s:g} s", "check the cable and the address"

    def _stamped(self, values: tuple[int | None, ...]) -> Sample:
        return Sample(self._clock.now_ns(), self._clock.monotonic_ns(), values)

    async def read(self) -> Sample:
        """The newest sample not read yet. Raises DeviceError when none comes."""
        sample = await self._mailbox.take(self._patience_s)
        if sample is None:
            raise DeviceError(self._spec.name, *self._silence())
        return sample

    async def set_power(self, power_w: int, ttl_s: int) -> None:
        del power_w, ttl_s
        raise self._deaf()

    async def set_export_limit(self, limit_w: int, ttl_s: int) -> None:
        del limit_w, ttl_s
        raise self._deaf()

    async def set_charge_limit(self, limit_w: int, ttl_s: int) -> None:
        del limit_w, ttl_s
        raise self._deaf()

    async def restore_default(self) -> None:
        """Nothing was ever set."""

    def _deaf(self) -> DeviceError:
        return NotControllableError(
            self._spec.name, "it only speaks and takes no setpoint", "choose another device"
        )
