"""The live lane: a gateway's newest readings, seen before its chain has brought them.

After an outage a chain is sent oldest first, and hours of backlog stand before the present. So the
agent shows its newest sealed envelope out of order: the same bytes under the same signature that
will come again in their place. Decides whether such a glimpse may be shown: signed by the
stream's device, ahead of its chain and of the last glimpse, not from the future, and not too often.
It changes nothing that is journaled, receipted or settled, and must never stand for a receipt.
"""

from collections.abc import Callable
from typing import Any

from cloud.market.streams import open_payload
from cloud.market.zone import Zone
from cloud.metering.telemetry import Snapshot, newest_ms, observe
from cloud.signatures import Checker, Signed
from protos.clock import Clock
from protos.ids import DeviceId
from protos.limits import CLOCK_AHEAD_NS_MAX, GLIMPSE_PERIOD_S
from protos.messages import SweepBatch
from protos.seal import Sealed, is_well_formed, signed_bytes

GLIMPSE_PAUSE_S = GLIMPSE_PERIOD_S / 2
"""What comes sooner after the last one is not looked at: a check costs more than a drop."""

Shown = Callable[[DeviceId, Snapshot], None]
"""Is called on the event loop with the newest powers of a home."""

_NS_PER_MS = 1_000_000


class Glimpses:
    """What one stream has shown out of order."""

    def __init__(
        self, device: DeviceId, key: Any, checker: Checker, zone: Zone, clock: Clock, shown: Shown
    ) -> None:
        """`key` was opened by `checker`."""
        self._device = device
        self._key = key
        self._checker = checker
        self._zone = zone
        self._clock = clock
        self._shown = shown
        self._last_seq = 0
        self._looked_at_s = -GLIMPSE_PAUSE_S

    def take(self, sealed: Sealed, now_s: float) -> bool:
        """Shows a glimpse or drops it; whether it was shown. `now_s` is the loop's time."""
        if now_s - self._looked_at_s < GLIMPSE_PAUSE_S or not self._is_ahead(sealed):
            return False
        self._looked_at_s = now_s
        message = signed_bytes(self._device, sealed.seq, sealed.previous, sealed.payload)
        if self._checker.are_valid([Signed(self._key, sealed.signature, message)]) != [True]:
            return False
        snapshot = self._open(sealed.payload)
        if snapshot is None:
            return False
        self._last_seq = sealed.seq
        self._shown(self._device, snapshot)
        return True

    def _is_ahead(self, sealed: Sealed) -> bool:
        """A replay, or what the chain has passed, shows nothing new."""
        durable = self._zone.durable(self._device)[0]
        return is_well_formed(sealed) and sealed.seq > max(durable, self._last_seq)

    def _open(self, payload: bytes) -> Snapshot | None:
        """The powers, if these are readings under a map that the chain has brought already."""
        batch = open_payload(payload, self._zone.columns)
        if not isinstance(batch, SweepBatch):
            return None
        plan = self._zone.plan(self._device, batch.map_id)
        if plan is None or (len(batch.times_ms), len(batch.values)) != (
            plan.devices,
            plan.registers,
        ):
            return None
        if newest_ms(batch) * _NS_PER_MS > self._clock.now_ns() + CLOCK_AHEAD_NS_MAX:
            return None
        return observe(plan, batch, self._zone.snapshot(self._device))
