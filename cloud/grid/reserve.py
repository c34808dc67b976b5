"""Who gives how much of a reserve: shares of a signal, merit order of a call, fairness of a response.

Secondary reserve (automatic generation control) shares a signal that comes every few seconds over
all units by their participation factors, within their ramps. Tertiary reserve is called once, in
merit order. Demand response asks first who was asked least. Primary reserve is not here: it is a
droop at the gateway, because the cloud is too slow for it.

Decides in whole W. Must never ask a unit for more than it offers, nor more in sum than was asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from protos.ids import DeviceId
from protos.units import largest_remainder

SIGNAL_S = 4
"""How often a signal of secondary reserve comes."""

RAMP_PER_MILLE_S = 100
"""A battery's whole power in ten seconds."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One home's battery. Powers in W, discharge positive; `low_w` and `high_w` are where it can be
    set now. `cost` sorts the merit order, `calls` counts how often it was asked before.
    """

    device: DeviceId
    now_w: int
    low_w: int
    high_w: int
    cost: int = 0
    calls: int = 0


def room_up_w(unit: Unit) -> int:
    """How much more it can give (or less take) than now."""
    return max(0, unit.high_w - unit.now_w)


def room_down_w(unit: Unit) -> int:
    return max(0, unit.now_w - unit.low_w)


def follow_signal(wanted_w: int, units: Sequence[Unit], elapsed_s: int = SIGNAL_S) -> list[int]:
    """Each unit's setpoint, in the order given, so that together they go towards `wanted_w`.

    The participation factor is the room a unit has in the direction of the change, bounded by what
    it can ramp in the time; the sum is `wanted_w` exactly where the rooms suffice.
    """
    now = sum(unit.now_w for unit in units)
    change = wanted_w - now
    rooms = []
    for unit in units:
        room = room_up_w(unit) if change > 0 else room_down_w(unit)
        reach = max(abs(unit.low_w), abs(unit.high_w))
        rooms.append(min(room, reach * RAMP_PER_MILLE_S * max(0, elapsed_s) // 1_000))
    size = min(abs(change), sum(rooms))
    # As the size is no more than the rooms' sum, no part is more than its own room.
    parts = largest_remainder(size, rooms)
    sign = 1 if change > 0 else -1
    return [unit.now_w + sign * part for unit, part in zip(units, parts, strict=True)]


def merit_order(power_w: int, units: Sequence[Unit]) -> list[tuple[Unit, int]]:
    """Who is called, and the setpoint of each: the cheapest first, the last one in part.

    Equal cost is fair by calls, then by device. Positive power is given, negative taken.
    """
    ranked = sorted(units, key=lambda u: (u.cost, u.calls, u.device))
    return _called(power_w, ranked)


def fair_response(reduction_w: int, units: Sequence[Unit]) -> list[tuple[Unit, int]]:
    """Who is asked to draw less: who was asked least goes first, whatever it costs."""
    ranked = sorted(units, key=lambda u: (u.calls, u.cost, u.device))
    return _called(max(0, reduction_w), ranked)


def _called(power_w: int, ranked: Sequence[Unit]) -> list[tuple[Unit, int]]:
    left = abs(power_w)
    sign = 1 if power_w > 0 else -1
    called = []
    for unit in ranked:
        part = min(left, room_up_w(unit) if sign > 0 else room_down_w(unit))
        if part > 0:
            called.append((unit, unit.now_w + sign * part))
            left -= part
        if not left:
            break
    return called


@dataclass(frozen=True, slots=True)
class Store:
    """The storage below an element: power and energy that are free, in W and Wh, and what is in it.

    `efficiency_per_mille` is one way.
    """

    charge_w: int
    discharge_w: int
    capacity_wh: int
    stored_wh: int
    efficiency_per_mille: int = 950


def keep_headroom(
    flow_w: Sequence[int], limits_w: Sequence[int], store: Store, slots_per_hour: int = 4
) -> list[int]:
    """A schedule of storage power by slot, discharge positive, that keeps an element within its
    limit in both directions as far as the storage can; it does no more than is needed.

    It charges beforehand, as late as possible and where the flow leaves room, what a later peak
    will need. Flows are positive towards the customers, limits one a slot.
    """
    need = [_needed(flow, cap, store) for flow, cap in zip(flow_w, limits_w, strict=True)]
    schedule = [0] * len(flow_w)
    stored, wanted = store.stored_wh, 0
    targets = [0] * (len(flow_w) + 1)
    for slot in range(len(flow_w) - 1, -1, -1):
        # What must be in the storage when this slot begins, so that all later peaks are met.
        wanted = max(0, wanted + _drawn_wh(need[slot], store, slots_per_hour))
        wanted = min(wanted, store.capacity_wh)
        if need[slot] == 0:
            room = max(0, min(store.charge_w, limits_w[slot] - flow_w[slot]))
            wanted = max(0, wanted + _drawn_wh(-room, store, slots_per_hour))
        targets[slot] = wanted
    for slot, flow in enumerate(flow_w):
        power = need[slot]
        if power == 0:
            missing = targets[slot + 1] - stored
            if missing > 0:
                room = max(0, min(store.charge_w, limits_w[slot] - flow))
                power = -min(
                    room, -(-missing * slots_per_hour * 1_000 // store.efficiency_per_mille)
                )
        power = _possible(power, stored, store, slots_per_hour)
        schedule[slot] = power
        stored -= _drawn_wh(power, store, slots_per_hour)
        stored = min(store.capacity_wh, max(0, stored))
    return schedule


def _needed(flow_w: int, limit_w: int, store: Store) -> int:
    """What one slot asks of the storage by itself."""
    if flow_w > limit_w:
        return min(flow_w - limit_w, store.discharge_w)
    if -flow_w > limit_w:
        return max(flow_w + limit_w, -store.charge_w)
    return 0


def _drawn_wh(power_w: int, store: Store, slots_per_hour: int) -> int:
    """What a slot at this power takes out of the storage; negative where it fills it."""
    if power_w >= 0:
        return -(-power_w * 1_000 // (store.efficiency_per_mille * slots_per_hour))
    return -(-power_w * store.efficiency_per_mille // (1_000 * slots_per_hour))


def _possible(power_w: int, stored_wh: int, store: Store, slots_per_hour: int) -> int:
    """As much of a power as what is stored, or the room for it, allows."""
    if power_w > 0:
        return min(power_w, stored_wh * store.efficiency_per_mille * slots_per_hour // 1_000)
    room = (store.capacity_wh - stored_wh) * slots_per_hour * 1_000 // store.efficiency_per_mille
    return -min(-power_w, max(0, room))
