"""What a bus remembers of each unit behind it: manner, measured turnaround, rest after silence.

No octet passes here. It must never keep a unit from being written to in an emergency: rest binds
reads only.
"""

from edge.devices.modbus.errors import Resting
from edge.devices.modbus.timing import Manner, Rest

_DEFAULT = Manner()
_WEIGHT = 0.2
"""Share of the newest answer in the running mean of a unit's turnaround."""


class Units:
    """The bus's memory, by unit number."""

    def __init__(self) -> None:
        self._manners: dict[int, Manner] = {}
        self._rests: dict[int, Rest] = {}
        self._turnarounds: dict[int, float] = {}

    def introduce(self, unit: int, manner: Manner) -> None:
        self._manners[unit] = manner

    def manner(self, unit: int) -> Manner:
        return self._manners.get(unit, _DEFAULT)

    def turnaround_s(self, unit: int) -> float | None:
        """Running mean of the time between question and answer beyond the wire; None before."""
        return self._turnarounds.get(unit)

    @property
    def is_any_resting(self) -> bool:
        return bool(self._rests)

    def check(self, unit: int, now: float) -> None:
        """Raises Resting while the unit is left alone."""
        rest = self._rests.get(unit)
        if rest is not None and (remaining := rest.remaining(now)) > 0:
            raise Resting(unit, remaining)

    def failed(self, unit: int, now: float, cost_s: float) -> None:
        self._rests.setdefault(unit, Rest()).failed(now, cost_s)

    def answered(self, unit: int, turnaround_s: float) -> None:
        if self._rests:
            self._rests.pop(unit, None)
        measured = max(0.0, turnaround_s)
        mean = self._turnarounds.get(unit, measured)
        self._turnarounds[unit] = mean + _WEIGHT * (measured - mean)
