"""The newest power of a home by part, out of one batch.

Decides what operators, the curtailment planner and the desk see of a home. It is never billed.
A part that the batch does not know keeps its last known value; the load, where no device measures
it, is what the other parts leave over. Powers in W; import, production and discharge positive.
"""

from collections.abc import Sequence
from typing import NamedTuple

from cloud.metering.columns import MapPlan
from protos.messages import Quality, SweepBatch
from protos.units import PER_MILLE

UNKNOWN = -1
"""What no meter of a home measures."""

LIVE_MV = 46_000
"""Below a fifth of 230 V a phase is not connected, or dead."""


class Snapshot(NamedTuple):
    """One home at one instant. The voltages are the lowest and the highest live phase's; where no
    phase is live both are the highest there is, so that a dead connection shows.
    """

    at_ns: int = 0
    grid_w: int = 0
    pv_w: int = 0
    battery_w: int = 0
    load_w: int = 0
    soc_per_mille: int = 0
    capacity_wh: int = 0
    max_charge_w: int = 0
    max_discharge_w: int = 0
    voltage_low_mv: int = UNKNOWN
    voltage_high_mv: int = UNKNOWN
    frequency_mhz: int = UNKNOWN

    def state(self) -> object:
        return tuple(self)


def newest_ms(batch: SweepBatch) -> int:
    return batch.newest_ms or max(map(max, batch.times_ms))


def observe(plan: MapPlan, batch: SweepBatch, last: Snapshot) -> Snapshot:
    """The snapshot after a batch that is newer than `last`."""
    bad = frozenset([(m.register, m.sweep) for m in batch.marks if m.quality is not Quality.GOOD])
    values = batch.values

    def total(columns: Sequence[int], known: int) -> int:
        if bad:
            return _total(batch, columns, bad, known)
        sum_ = 0
        for column in columns:
            sum_ += values[column][-1]
        return sum_

    grid_w = total(plan.grid_power, last.grid_w)
    pv_w = total(plan.pv_power, last.pv_w)
    battery_w = total(plan.battery_power, last.battery_w)
    rest_w = max(0, grid_w + pv_w + battery_w)
    load_w = total(plan.load_power, last.load_w) if plan.load_power else rest_w
    voltages = _voltages(batch, plan.voltage, bad, last)
    frequency = [_newest(batch, column, bad) for column in plan.frequency]
    soc = total(plan.soc, last.soc_per_mille * max(1, len(plan.soc)))
    return Snapshot(
        at_ns=newest_ms(batch) * 1_000_000,
        grid_w=grid_w,
        pv_w=pv_w,
        battery_w=battery_w,
        load_w=load_w,
        soc_per_mille=min(PER_MILLE, max(0, soc // max(1, len(plan.soc)))),
        capacity_wh=total(plan.capacity, last.capacity_wh),
        max_charge_w=total(plan.max_charge, last.max_charge_w),
        max_discharge_w=total(plan.max_discharge, last.max_discharge_w),
        voltage_low_mv=voltages[0],
        voltage_high_mv=voltages[1],
        frequency_mhz=frequency[0] if frequency and frequency[0] is not None else UNKNOWN,
    )


def _voltages(
    batch: SweepBatch, columns: Sequence[int], bad: frozenset[tuple[int, int]], last: Snapshot
) -> tuple[int, int]:
    if bad:
        values = [value for column in columns if (value := _newest(batch, column, bad)) is not None]
    else:
        values = [batch.values[column][-1] for column in columns]
    if not values:
        return (last.voltage_low_mv, last.voltage_high_mv) if columns else (UNKNOWN, UNKNOWN)
    live = [value for value in values if value >= LIVE_MV]
    return (min(live), max(live)) if live else (max(values), max(values))


def _total(
    batch: SweepBatch, columns: Sequence[int], bad: frozenset[tuple[int, int]], known: int
) -> int:
    """The sum of the columns' newest good values; `known` if any column has none."""
    total = 0
    for column in columns:
        value = _newest(batch, column, bad)
        if value is None:
            return known
        total += value
    return total


def _newest(batch: SweepBatch, column: int, bad: frozenset[tuple[int, int]]) -> int | None:
    values = batch.values[column]
    for sweep in range(len(values) - 1, -1, -1):
        if (column, sweep) not in bad:
            return values[sweep]
    return None
