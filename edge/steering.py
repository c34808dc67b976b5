"""Carries out what dispatch decides: the note on disk first, then the device, then the answer.

Restoring works without the cloud, without the outbox and without a disk. Must never write a
setpoint whose reversion note is not durable.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from edge.devices.device import Device, DeviceError
from edge.dispatch import Dispatch
from edge.files import replace
from edge.leases import (
    Action,
    Measured,
    Remember,
    Report,
    Restore,
    SetChargeLimit,
    SetExportLimit,
    Setpoint,
    SetPower,
)
from protos.clock import SECOND_NS, Clock, ScaledClock
from protos.messages import Lease, LeaseReport

REFRESH_S = 20.0
"""Real seconds after which a setpoint is renewed; the device's own timer runs three times as long,
so that it reverts within a minute when the agent is killed."""

TTL_S_MAX = 60
WRITE_TIMEOUT_S = 10.0
TICK_S_MIN = 0.1
STOP_TIMEOUT_S = 8.0

log = logging.getLogger("edge.steering")

Reporter = Callable[[list[LeaseReport]], Awaitable[None]]


def speed_of(clock: Clock) -> float:
    """How many of this clock's seconds pass in a real one."""
    return clock.speed if isinstance(clock, ScaledClock) else 1.0


class Steering:
    """Runs one gateway's dispatch machine against its devices."""

    def __init__(
        self,
        dispatch: Dispatch,
        clock: Clock,
        record: Path,
        devices: Callable[[str], Device | None],
        measure: Callable[[], Measured],
        reporter: Reporter,
    ) -> None:
        self._dispatch = dispatch
        self._clock = clock
        self._record = record
        self._devices = devices
        self._measure = measure
        self._reporter = reporter
        self._wake = asyncio.Event()
        self._reports: list[LeaseReport] = []
        self._note_is_durable = True

    def load_record(self) -> None:
        """What a former run was steering when it ended."""
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            devices = tuple(str(name) for name in record["devices"])
            leases = tuple(str(name) for name in record["leases"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError) as error:
            # Every steerable device is restored at the start anyway; only the report is lost.
            log.warning("reversion note is damaged", extra={"problem": str(error)})
            return
        self._dispatch.recover(devices, leases)

    def give(self, lease: Lease) -> None:
        """A lease came down: judged now, carried out in the loop's next turn."""
        now_ns, steady_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        self._take_reports(self._dispatch.offer(lease, now_ns, steady_ns))
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled. Call `stop` afterwards, while the devices are still open."""
        while True:
            self._wake.clear()
            await self._perform(self._tick())
            await self._flush()
            now_ns = self._clock.now_ns()
            pause_s = (self._dispatch.next_ns(now_ns) - now_ns) / SECOND_NS / speed_of(self._clock)
            try:
                async with asyncio.timeout(max(TICK_S_MIN, pause_s)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _tick(self) -> list[Action]:
        now_ns, steady_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        return self._dispatch.tick(now_ns, self._measure(), steady_ns)

    async def stop(self) -> None:
        """Ends every lease and restores every default, within a bound of real seconds."""
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._perform(self._dispatch.stop(self._clock.now_ns(), self._measure()))
                # The note is emptied only when every device has confirmed its default.
                await self._perform(self._tick())
        except TimeoutError:
            log.warning("a device did not confirm its default; its own timer must end the setpoint")
        await self._flush()

    async def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Report(report):
                    self._reports.append(report)
                case Remember():
                    await self._remember(action)
                case SetPower() | SetExportLimit() | SetChargeLimit() | Restore():
                    await self._steer(action)

    async def _remember(self, note: Remember) -> None:
        text = json.dumps({"devices": note.devices, "leases": note.leases}).encode()
        try:
            await asyncio.to_thread(replace, self._record, text)
        except OSError as error:
            self._note_is_durable = False
            self._dispatch.forgotten()
            log.warning("no reversion note, so no setpoint", extra={"problem": str(error)})
        else:
            self._note_is_durable = True

    async def _steer(self, action: Setpoint | Restore) -> None:
        problem = ""
        device = self._devices(action.device)
        if device is None:
            problem = "the device is not connected"
        elif not self._note_is_durable and not isinstance(action, Restore):
            problem = "the reversion note could not be written"
        else:
            try:
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await self._write(device, action)
            except DeviceError as error:
                problem = str(error)
            except (TimeoutError, OSError) as error:
                problem = f"no answer ({error})"
        now_ns, measured = self._clock.now_ns(), self._measure()
        if problem:
            log.warning("setpoint failed", extra={"device": action.device, "problem": problem})
            self._take_reports(self._dispatch.failed(action, now_ns, problem, measured))
        else:
            self._take_reports(self._dispatch.succeeded(action, now_ns, measured))

    async def _write(self, device: Device, action: Setpoint | Restore) -> None:
        match action:
            case SetPower():
                await device.set_power(action.power_w, self._ttl_s(action.until_ns))
            case SetExportLimit():
                await device.set_export_limit(action.limit_w, self._ttl_s(action.until_ns))
            case SetChargeLimit():
                await device.set_charge_limit(action.limit_w, self._ttl_s(action.until_ns))
            case Restore():
                await device.restore_default()

    def _ttl_s(self, until_ns: int) -> int:
        """Real seconds for the device's own timer, rounded up so that it never ends first."""
        left_ns = (until_ns - self._clock.now_ns()) / speed_of(self._clock)
        return max(1, min(TTL_S_MAX, int(-(-left_ns // SECOND_NS))))

    def _take_reports(self, actions: list[Action]) -> None:
        self._reports.extend(item.report for item in actions if isinstance(item, Report))

    async def _flush(self) -> None:
        reports, self._reports = self._reports, []
        if reports:
            await self._reporter(reports)
