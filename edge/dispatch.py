"""Setpoint leases: accept, ramp, hold, expire, revert. A pure state machine without a clock.

It returns actions and is told what became of them. Bounds come from the devices' own profiles and
from the owner's reserve, so a hostile cloud can at most do what the owner's hardware permits, for at
most a day. The default is restored at the start, at the end of every lease and at the exit, and a
`Remember` always precedes the setpoint it insures.

Must never emit a setpoint outside the limits, hold one beyond its lease, or stop trying to restore.
"""

from dataclasses import dataclass, field

from edge.droop import Droop, FrequencyDroop
from edge.importing import ImportGuard, cars_room_w
from edge.leases import (
    LEASE_ID_MAX,
    Action,
    Measured,
    Remember,
    Restore,
    SetChargeLimit,
    SetExportLimit,
    Setpoint,
    SetPower,
    Steerable,
    amount_w,
    asked_w,
    charge_shares,
    known,
    orders_of,
    power_range,
    problem_of,
    report,
    report_of,
)
from protos.clock import SECOND_NS
from protos.ids import DeviceId
from protos.messages import Lease, LeaseState
from protos.units import largest_remainder

LEASES_MAX = 64
KNOWN_MAX = 512
RETRY_NS = 5 * SECOND_NS
RAMP_TICK_NS = SECOND_NS


@dataclass(slots=True)
class _Held:
    """An accepted lease and the last thing that was said about it. `deadline_ns` is its end on the
    steady clock, so that no one who sets the wall's clock back can make it last.
    """

    lease: Lease
    deadline_ns: int
    reported: LeaseState = LeaseState.ACCEPTED
    failed: bool = False


@dataclass(slots=True)
class _Output:
    """One device. `confirmed` is what it confirmed of each kind of setpoint and when;
    `touched` names the kinds that were tried since its default was last confirmed.
    """

    confirmed: dict[type[Setpoint], tuple[int, int]] = field(default_factory=dict)
    touched: tuple[type[Setpoint], ...] = ()
    must_restore: bool = True
    retry_ns: int = 0


class Dispatch:
    """The leases of one gateway. `refresh_ns` is how often a setpoint is renewed at a device whose
    own timer would otherwise end it; on the agent's clock. `droop` lets the home answer the grid's
    frequency by itself, within the devices' bounds, the owner's reserve and any export limit.
    """

    def __init__(
        self,
        device: DeviceId,
        reserve_per_mille: int,
        refresh_ns: int,
        droop: Droop | None = None,
    ) -> None:
        self._device = device
        self._reserve = reserve_per_mille
        self._refresh_ns = refresh_ns
        self._fleet: tuple[Steerable, ...] = ()
        self._outputs: dict[str, _Output] = {}
        self._awaited: set[str] = set()
        self._held: list[_Held] = []
        self._known: dict[str, LeaseState] = {}
        self._ended: list[str] = []
        self._ramp_w = 0
        self._ramp_ns: int | None = None
        self._remembered: Remember | None = None
        self._stopping = False
        self._droop = FrequencyDroop(droop or Droop())
        self._steady_ns = 0
        self._guard = ImportGuard()

    @property
    def droop_per_mille(self) -> int:
        """How the home answers the frequency now, in per mille of its rating."""
        return self._droop.share_per_mille

    @property
    def is_idle(self) -> bool:
        """Nothing is held and every device is known to be at its default."""
        return not self._held and not self._pending_restore()

    @property
    def holding(self) -> int:
        return len(self._held)

    def standing(self, at_ns: int) -> list[dict[str, object]]:
        """The leases that are held, for people: what they order, how they stand, what is left."""
        return [
            {
                "id": item.lease.lease_id,
                "orders": orders_of(item.lease),
                "state": item.reported.name if item.lease.not_before_ns <= at_ns else "WAITING",
                "left_s": max(0, item.lease.expires_ns - at_ns) // SECOND_NS,
            }
            for item in self._held
        ]

    def recover(self, devices: tuple[str, ...], leases: tuple[str, ...]) -> None:
        """What a former run left steering: restored as soon as the devices are there again."""
        self._awaited.update(devices)
        self._ended.extend(leases)

    def add(self, steerable: Steerable) -> None:
        """A device appeared. Its default is restored before it is steered."""
        if steerable.name not in self._outputs:
            self._fleet = (*self._fleet, steerable)
            self._outputs[steerable.name] = _Output()
        self._awaited.discard(steerable.name)

    def offer(self, lease: Lease, at_ns: int, steady_ns: int | None = None) -> list[Action]:
        """A lease came down. Answered with ACCEPTED or REFUSED; a repeat with where it stands.

        `steady_ns` is a clock that nobody can set; where there is none, `at_ns` stands for it.
        """
        before = self._known.get(lease.lease_id)
        if before is not None:
            return [report(lease.lease_id, before, at_ns, detail="already known")]
        problem = problem_of(lease, self._device, self._fleet, at_ns)
        if self._stopping:
            problem = "the agent is stopping"
        if len(self._held) >= LEASES_MAX:
            problem = f"{LEASES_MAX} leases are waiting already"
        if problem:
            lease_id = lease.lease_id[:LEASE_ID_MAX]
            return [report(lease_id, LeaseState.REFUSED, at_ns, detail=problem)]
        steady_ns = at_ns if steady_ns is None else steady_ns
        self._held.append(_Held(lease, steady_ns + lease.expires_ns - at_ns))
        self._learn(lease.lease_id, LeaseState.ACCEPTED)
        return [report(lease.lease_id, LeaseState.ACCEPTED, at_ns)]

    def tick(self, at_ns: int, measured: Measured, steady_ns: int | None = None) -> list[Action]:
        """Everything that is due now. Called on time changes, new leases and new measurements."""
        self._steady_ns = at_ns if steady_ns is None else steady_ns
        actions = self._expire(at_ns, measured)
        self._droop.update(self._steady_ns, measured)
        actions += self._watch_import(at_ns, measured)
        self._ramp(self._governing(at_ns, SetPower), at_ns, measured)
        wanted = {} if self._stopping else self._wanted(at_ns, measured)
        self._mark_restores(wanted)
        actions += self._reverted(at_ns, measured)
        restoring = {name for name, output in self._outputs.items() if output.must_restore}
        remember = Remember(
            tuple(sorted({*wanted, *restoring, *self._awaited})),
            tuple(item.lease.lease_id for item in self._held),
        )
        if remember != self._remembered:
            self._remembered = remember
            actions.append(remember)
        for item in self._fleet:
            actions.extend(self._drive(item.name, wanted.get(item.name, ()), at_ns))
        return actions

    def stop(self, at_ns: int, measured: Measured) -> list[Action]:
        """The agent exits: every lease ends, every device goes back to its default."""
        self._stopping = True
        actions: list[Action] = []
        for item in self._held:
            actions.append(
                report_of(
                    item.lease, LeaseState.EXPIRED, at_ns, measured, self._ramp_w, "agent stops"
                )
            )
            self._end(item)
        self._held.clear()
        for output in self._outputs.values():
            output.must_restore, output.retry_ns = True, 0
        return [*actions, *self.tick(at_ns, measured)]

    def next_ns(self, at_ns: int) -> int:
        """When `tick` is due again if nothing else happens."""
        times = [at_ns + self._refresh_ns]
        for item in self._held:
            ends_ns = at_ns + item.deadline_ns - self._steady_ns
            starts_ns = item.lease.not_before_ns
            times += [t for t in (starts_ns, item.lease.expires_ns, ends_ns) if t > at_ns]
        if any(output.must_restore or output.retry_ns > at_ns for output in self._outputs.values()):
            times.append(at_ns + RETRY_NS)
        power = self._governing(at_ns, SetPower)
        is_ramping = power is not None and power.lease.power_w != self._ramp_w
        if is_ramping or self._droop.is_active:
            times.append(at_ns + RAMP_TICK_NS)
        return min(times)

    def forgotten(self) -> None:
        """The disk did not take the last `Remember`; the next tick gives it again."""
        self._remembered = None

    def succeeded(self, action: Action, at_ns: int, measured: Measured) -> list[Action]:
        """The device took it."""
        if isinstance(action, Restore):
            return self._restored(action.device, at_ns, measured)
        if not isinstance(action, Setpoint):
            return []
        output = self._outputs[action.device]
        output.retry_ns = 0
        output.confirmed[type(action)] = (amount_w(action), at_ns)
        item = self._answerable(at_ns, type(action))
        if item is None:
            return []
        item.failed = False
        if item.reported is LeaseState.ACTIVE:
            return []
        return [self._said(item, LeaseState.ACTIVE, at_ns, measured)]

    def failed(self, action: Action, at_ns: int, problem: str, measured: Measured) -> list[Action]:
        """The device did not take it. It is tried again; the lease says so once."""
        if not isinstance(action, Setpoint | Restore):
            return []
        output = self._outputs[action.device]
        output.retry_ns = at_ns + RETRY_NS
        if isinstance(action, Restore):
            return []
        output.confirmed.pop(type(action), None)
        item = self._answerable(at_ns, type(action))
        if item is None or item.failed:
            return []
        item.failed = True
        return [self._said(item, LeaseState.FAILED, at_ns, measured, problem[:200])]

    def _said(
        self, item: _Held, state: LeaseState, at_ns: int, measured: Measured, detail: str = ""
    ) -> Action:
        item.reported = state
        self._learn(item.lease.lease_id, state)
        return report_of(item.lease, state, at_ns, measured, self._ramp_w, detail)

    def _pending_restore(self) -> bool:
        return bool(self._awaited) or any(out.must_restore for out in self._outputs.values())

    def _restored(self, device: str, at_ns: int, measured: Measured) -> list[Action]:
        output = self._outputs[device]
        output.must_restore, output.retry_ns, output.touched = False, 0, ()
        output.confirmed.clear()
        return self._reverted(at_ns, measured)

    def _reverted(self, at_ns: int, measured: Measured) -> list[Action]:
        """What is over is said to be undone as soon as nothing is left to restore."""
        if self._pending_restore():
            return []
        ended, self._ended = self._ended, []
        for lease_id in ended:
            self._learn(lease_id, LeaseState.REVERTED)
        power_w = known(measured.battery_w)
        return [report(lease_id, LeaseState.REVERTED, at_ns, 0, power_w) for lease_id in ended]

    def _learn(self, lease_id: str, state: LeaseState) -> None:
        self._known[lease_id] = state
        while len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]

    def _expire(self, at_ns: int, measured: Measured) -> list[Action]:
        over = [
            item
            for item in self._held
            if item.lease.expires_ns <= at_ns or item.deadline_ns <= self._steady_ns
        ]
        self._held = [item for item in self._held if item not in over]
        reports: list[Action] = []
        for item in over:
            end_ns = min(at_ns, item.lease.expires_ns)
            reports.append(
                report_of(item.lease, LeaseState.EXPIRED, end_ns, measured, self._ramp_w)
            )
            self._end(item)
        return reports

    def _end(self, item: _Held) -> None:
        """A lease is over; REVERTED follows once its devices are back at their default."""
        self._learn(item.lease.lease_id, LeaseState.EXPIRED)
        if item.reported is not LeaseState.ACCEPTED:
            self._ended.append(item.lease.lease_id)

    def _governing(self, at_ns: int, kind: type[Setpoint]) -> _Held | None:
        """The lease that rules now: of those in force, the one that was given last."""
        current = None
        for item in self._held:
            lease = item.lease
            if asked_w(lease, kind) is not None and lease.not_before_ns <= at_ns:
                current = item
        return current

    def _answerable(self, at_ns: int, kind: type[Setpoint]) -> _Held | None:
        """The lease that a setpoint was made for."""
        item = self._governing(at_ns, kind)
        if item is None and kind is not SetExportLimit:
            return self._import_limit(at_ns)
        return item

    def _import_limit(self, at_ns: int) -> _Held | None:
        """The tightest limit on what the home draws that is in force."""
        limits = [
            item
            for item in self._held
            if item.lease.import_limit_w is not None and item.lease.not_before_ns <= at_ns
        ]
        return min(limits, key=lambda item: known(item.lease.import_limit_w), default=None)

    def _watch_import(self, at_ns: int, measured: Measured) -> list[Action]:
        """Such a limit is active from its start on, whether or not there is something to do yet."""
        limit = self._import_limit(at_ns)
        if limit is None:
            self._guard = ImportGuard()
            return []
        if limit.reported is not LeaseState.ACCEPTED:
            return []
        return [self._said(limit, LeaseState.ACTIVE, at_ns, measured)]

    @property
    def _stores(self) -> list[Steerable]:
        return [item for item in self._fleet if item.stores]

    def _ramp(self, item: _Held | None, at_ns: int, measured: Measured) -> None:
        """Moves the commanded power towards the lease's, from what the battery does now."""
        if item is None:
            self._ramp_w, self._ramp_ns = 0, None
            return
        assert item.lease.power_w is not None
        target = self._within_reserve(item.lease.power_w, measured)
        if self._ramp_ns is None:
            low, high = power_range(self._stores)
            self._ramp_w = max(low, min(high, known(measured.battery_w)))
            self._ramp_ns = at_ns
        if item.lease.ramp_w_per_s == 0:
            # No ramp was asked for: at once.
            self._ramp_w, self._ramp_ns = target, at_ns
            return
        step = item.lease.ramp_w_per_s * (at_ns - self._ramp_ns) // SECOND_NS
        if step > 0:
            self._ramp_w = min(max(target, self._ramp_w - step), self._ramp_w + step)
            self._ramp_ns = at_ns

    def _within_reserve(self, power_w: int, measured: Measured) -> int:
        """What the owner keeps for himself is not the cloud's, also where the charge is unknown."""
        if power_w <= 0 or not self._reserve or not measured.knows_charge:
            return power_w
        charge = measured.charge_per_mille
        return 0 if charge is None or charge <= self._reserve else power_w

    def _wanted(self, at_ns: int, measured: Measured) -> dict[str, list[Setpoint]]:
        """The setpoints of each device, split in proportion to what each can do."""
        wanted: dict[str, list[Setpoint]] = {}
        limit = self._governing(at_ns, SetExportLimit)
        for part in (
            self._battery_parts(at_ns, measured, limit),
            self._roof_parts(at_ns, limit),
            self._charger_parts(at_ns, measured),
        ):
            for action in part:
                wanted.setdefault(action.device, []).append(action)
        return wanted

    def _until(self, item: _Held | None, at_ns: int) -> int:
        """The lease's end; what no lease asked for is held for the devices' own timers only."""
        return at_ns + 3 * self._refresh_ns if item is None else item.lease.expires_ns

    def _battery_parts(self, at_ns: int, measured: Measured, limit: _Held | None) -> list[Setpoint]:
        item = self._governing(at_ns, SetPower)
        stores = self._stores
        if item is None:
            # Nobody's order stands: only batteries whose memory does not wear answer by themselves.
            stores = [store for store in stores if not store.limits.wears]
        least_w = self._least_w(at_ns, measured, stores)
        if item is None and (not stores or not (self._droop.is_active or least_w is not None)):
            return []
        power_w = self._ramp_w if item is not None else self._droop.battery_w
        if item is None and not self._droop.is_active:
            power_w = 0
        if least_w is not None:
            power_w = max(power_w, least_w)
        low, high = power_range(stores)
        change_w = self._droop.change_w(high if self._droop.share_per_mille > 0 else -low)
        if any(store.limits.wears for store in stores):
            # The order is for all of them together, and one must not be written at each wobble.
            change_w = 0
        if change_w > 0 and limit is not None:
            # Helping the frequency is no leave to pass an export limit.
            room_w = known(limit.lease.export_limit_w) - known(measured.export_w)
            change_w = 0 if measured.export_w is None else min(change_w, max(0, room_w))
        power_w = max(low, min(high, power_w + change_w))
        if change_w or item is None or least_w is not None:
            power_w = self._within_reserve(power_w, measured)
        weights = [
            store.limits.max_charge_w if power_w < 0 else store.limits.max_discharge_w
            for store in stores
        ]
        until_ns = self._until(item, at_ns)
        parts = largest_remainder(abs(power_w), weights)
        return [
            SetPower(store.name, -part if power_w < 0 else part, until_ns)
            for store, part in zip(stores, parts, strict=True)
        ]

    def _least_w(self, at_ns: int, measured: Measured, stores: list[Steerable]) -> int | None:
        """What an import limit asks of the batteries."""
        limit = self._import_limit(at_ns)
        if limit is None or not stores:
            return None
        charge_w = -power_range(stores)[0]
        return self._guard.least_battery_w(known(limit.lease.import_limit_w), measured, charge_w)

    def _roof_parts(self, at_ns: int, limit: _Held | None) -> list[Setpoint]:
        roofs = [item for item in self._fleet if item.limits.max_export_w is not None]
        if limit is None:
            # A battery's own inverter answers through its battery.
            roofs = [item for item in roofs if not item.stores and not item.limits.wears]
            if not roofs or not self._droop.is_active or self._droop.share_per_mille >= 0:
                return []
        weights = [known(item.limits.max_export_w) for item in roofs]
        total = sum(weights)
        if limit is not None:
            total = min(total, known(limit.lease.export_limit_w))
        if self._droop.is_active and self._droop.share_per_mille < 0:
            before_w = self._droop.production_w
            before_w = sum(weights) if before_w is None else before_w
            total = max(0, min(total, before_w + self._droop.change_w(sum(weights))))
        until_ns = self._until(limit, at_ns)
        return [
            SetExportLimit(item.name, part, until_ns)
            for item, part in zip(roofs, largest_remainder(total, weights), strict=True)
        ]

    def _charger_parts(self, at_ns: int, measured: Measured) -> list[Setpoint]:
        """The lesser of what a lease allows the cars and what an import limit leaves them."""
        item, limit = self._governing(at_ns, SetChargeLimit), self._import_limit(at_ns)
        chargers = [one for one in self._fleet if one.limits.max_draw_w is not None]
        caps = [] if item is None else [known(item.lease.charge_limit_w)]
        if limit is not None:
            caps.append(cars_room_w(known(limit.lease.import_limit_w), measured))
        holders = [held.lease.expires_ns for held in (item, limit) if held is not None]
        if not caps or not chargers:
            return []
        parts = charge_shares(min(caps), chargers)
        return [
            SetChargeLimit(one.name, part, min(holders))
            for one, part in zip(chargers, parts, strict=True)
        ]

    def _mark_restores(self, wanted: dict[str, list[Setpoint]]) -> None:
        """A setpoint nobody holds any more is undone, with everything else on that device."""
        for name, output in self._outputs.items():
            kinds = {type(action) for action in wanted.get(name, ())}
            if not output.must_restore and any(kind not in kinds for kind in output.touched):
                output.must_restore, output.retry_ns = True, 0

    def _drive(self, name: str, wanted: "list[Setpoint] | tuple[()]", at_ns: int) -> list[Action]:
        output = self._outputs[name]
        if at_ns < output.retry_ns:
            return []
        if output.must_restore:
            return [Restore(name)]
        due: list[Action] = []
        for action in wanted:
            value_w, written_ns = output.confirmed.get(type(action), (None, 0))
            # A clock that was set back makes a setpoint due, never silent.
            if value_w != amount_w(action) or not 0 <= at_ns - written_ns < self._refresh_ns:
                due.append(action)
                if type(action) not in output.touched:
                    output.touched = (*output.touched, type(action))
        return due
