"""Whether a value can be true: range, ramp, counters that only grow, values that never move.

Pure: state in, quality out. It never changes a value and never makes a bad one good; what it
doubts is sent with its doubt, and only GOOD values are ever settled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge.devices.device import Point
from protos.clock import MINUTE_NS, SECOND_NS
from protos.limits import SETPOINT_W_MAX
from protos.messages import Quality, Quantity

HOUR_NS = 60 * MINUTE_NS
STUCK_NS = 6 * HOUR_NS
"""A voltage or a power other than zero that repeats to the last digit for so long is a frozen
register: real ones move within seconds, and meters of coarse resolution within minutes."""

COUNTER_SLACK_WH = 20
"""Rounding of a counter and of its reply time."""

REPLACED_AFTER = 30
"""A counter that stays elsewhere for so many samples, and grows as one can, is a new meter's."""

NEVER_COUNTED_AFTER = 10
"""So many zeros in a row, where nothing else was ever seen, are a counter that never ran: export of a
home without panels, and not a device that wakes up."""

_WH_MAX = 1 << 53
_RANGE: Mapping[Quantity, tuple[int, int]] = {
    Quantity.POWER_W: (-SETPOINT_W_MAX, SETPOINT_W_MAX),
    Quantity.DC_POWER_W: (-SETPOINT_W_MAX, SETPOINT_W_MAX),
    Quantity.REACTIVE_POWER_VAR: (-SETPOINT_W_MAX, SETPOINT_W_MAX),
    Quantity.APPARENT_POWER_VA: (-SETPOINT_W_MAX, SETPOINT_W_MAX),
    Quantity.ENERGY_IMPORT_WH: (0, _WH_MAX),
    Quantity.ENERGY_EXPORT_WH: (0, _WH_MAX),
    Quantity.ENERGY_PRODUCED_WH: (0, _WH_MAX),
    Quantity.ENERGY_CONSUMED_WH: (0, _WH_MAX),
    Quantity.VOLTAGE_MV: (0, 1_000_000),
    Quantity.DC_VOLTAGE_MV: (0, 1_500_000),
    Quantity.CURRENT_MA: (-2_000_000, 2_000_000),
    Quantity.FREQUENCY_MHZ: (40_000, 70_000),
    Quantity.POWER_FACTOR_PER_MILLE: (-1_000, 1_000),
    Quantity.STATE_OF_CHARGE_PER_MILLE: (0, 1_000),
    Quantity.STATE_OF_HEALTH_PER_MILLE: (0, 1_000),
    Quantity.TEMPERATURE_DECI_C: (-600, 2_000),
    Quantity.CAPACITY_WH: (0, 1_000_000_000),
    Quantity.POWER_MAX_CHARGE_W: (0, SETPOINT_W_MAX),
    Quantity.POWER_MAX_DISCHARGE_W: (0, SETPOINT_W_MAX),
}
_RAMP: Mapping[Quantity, tuple[int, int]] = {
    # A step at once, and so much more a second: physics, not a device's data sheet.
    Quantity.FREQUENCY_MHZ: (2_000, 2_000),
    Quantity.STATE_OF_CHARGE_PER_MILLE: (20, 20),
    Quantity.TEMPERATURE_DECI_C: (100, 50),
}
_COUNTERS = frozenset(
    {
        Quantity.ENERGY_IMPORT_WH,
        Quantity.ENERGY_EXPORT_WH,
        Quantity.ENERGY_PRODUCED_WH,
        Quantity.ENERGY_CONSUMED_WH,
    }
)
_CAN_STICK = frozenset({Quantity.VOLTAGE_MV, Quantity.POWER_W})


@dataclass(slots=True)
class _Track:
    """What is remembered of one point: the last believed value and when it last moved."""

    value: int | None = None
    at_ns: int = 0
    moved_ns: int = 0
    doubted: int = 0
    doubted_value: int = 0
    doubted_ns: int = 0


class Screen:
    """Judges the samples of one device, in the order in which they were taken."""

    def __init__(self, points: Sequence[Point], max_power_w: int = SETPOINT_W_MAX) -> None:
        self._points = tuple(points)
        self._max_power_w = max_power_w
        self._tracks = [_Track() for _ in points]

    def judge(self, values: Sequence[int | None], monotonic_ns: int) -> tuple[Quality, ...]:
        """The quality of each value. `monotonic_ns` never goes back, whatever the wall clock does."""
        assert len(values) == len(self._points)
        return tuple(
            self._one(point, track, value, monotonic_ns)
            for point, track, value in zip(self._points, self._tracks, values, strict=True)
        )

    def _one(self, point: Point, track: _Track, value: int | None, at_ns: int) -> Quality:
        if value is None:
            return Quality.NOT_AVAILABLE
        quantity = point.quantity
        low, high = _RANGE.get(quantity, (-_WH_MAX, _WH_MAX))
        if not low <= value <= high:
            return Quality.SUSPECT
        if quantity in _COUNTERS:
            return self._counter(point, track, value, at_ns)
        if quantity in _RAMP and not _ramps(_RAMP[quantity], track, value, at_ns):
            return Quality.SUSPECT
        if track.value != value:
            track.moved_ns = at_ns
        track.value, track.at_ns = value, at_ns
        if quantity in _CAN_STICK and value and at_ns - track.moved_ns >= STUCK_NS:
            return Quality.STALE
        return Quality.GOOD

    def _counter(self, point: Point, track: _Track, value: int, at_ns: int) -> Quality:
        if track.value is None and value:
            return _believed(track, value, at_ns)
        limit_w = min(self._max_power_w, point.max_rate_w or self._max_power_w)
        # The reference stays where it is while a value is doubted, so that the allowance grows with
        # time and a true value is believed again in the end.
        if track.value is not None and _follows(
            point, track.value, track.at_ns, value, at_ns, limit_w
        ):
            return _believed(track, value, at_ns)
        goes_on = track.doubted > 0 and _follows(
            point, track.doubted_value, track.doubted_ns, value, at_ns, limit_w
        )
        is_zero_again = track.value is not None and not track.doubted_value
        track.doubted = track.doubted + 1 if goes_on and not is_zero_again else 1
        track.doubted_value, track.doubted_ns = value, at_ns
        if track.doubted >= (NEVER_COUNTED_AFTER if track.value is None else REPLACED_AFTER):
            track.value, track.at_ns, track.doubted = value, at_ns, 0
        return Quality.SUSPECT


def _believed(track: _Track, value: int, at_ns: int) -> Quality:
    track.value, track.at_ns, track.doubted = value, at_ns, 0
    return Quality.GOOD


def _follows(
    point: Point, before: int, before_ns: int, value: int, at_ns: int, limit_w: int
) -> bool:
    """Whether a counter can have come from there to here in that time, round its end if need be."""
    grown = value - before
    if grown < 0:
        grown += point.rollover_wh
    # W * ns / 3.6e12 = Wh
    return 0 <= grown <= limit_w * (at_ns - before_ns) // (3_600 * SECOND_NS) + COUNTER_SLACK_WH


def _ramps(limit: tuple[int, int], track: _Track, value: int, at_ns: int) -> bool:
    if track.value is None:
        return True
    step, per_second = limit
    return abs(value - track.value) <= step + per_second * (at_ns - track.at_ns) // SECOND_NS
