"""Alarms of frequency and voltage from the meters' own readings.

Decides when a value has been outside its band for long enough to be told, and when it has been
inside again for as long. Between two bands lies a hysteresis, so that a value at the limit does not
flicker. Frequency is one for the whole grid: it is the median of those who report, so that no
single meter can raise or hide an alarm; voltage is each home's own. Must never act: primary control
is at the gateway, the cloud is too slow for it.

Bands: EN 50160, voltage +-10 % of rated, frequency 50 Hz +-1 % (which must hold 99.5 % of a year),
critical beyond +4 % and -6 %. mHz and per mille.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from protos.clock import SECOND_NS
from protos.units import PER_MILLE


class Level(IntEnum):
    NORMAL = 0
    LOW = 1
    HIGH = 2
    CRITICAL_LOW = 3
    CRITICAL_HIGH = 4


@dataclass(frozen=True, slots=True)
class Band:
    """Normal from `low` to `high`; critical beyond the outer two; `back` inside to be normal again."""

    critical_low: int
    low: int
    high: int
    critical_high: int
    back: int
    hold_ns: int

    def level(self, value: int) -> Level:
        if value < self.critical_low:
            return Level.CRITICAL_LOW
        if value > self.critical_high:
            return Level.CRITICAL_HIGH
        if value < self.low:
            return Level.LOW
        return Level.HIGH if value > self.high else Level.NORMAL

    def settled(self, value: int) -> bool:
        """Whether a value is far enough inside to end an alarm."""
        return self.low + self.back <= value <= self.high - self.back


FREQUENCY_MHZ = Band(47_000, 49_500, 50_500, 52_000, 50, 2 * SECOND_NS)
VOLTAGE_PER_MILLE = Band(850, 900, 1_100, 1_150, 10, 60 * SECOND_NS)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A change of level; `NORMAL` ends the alarm before."""

    subject: str
    level: Level
    value: int
    at_ns: int


@dataclass(slots=True)
class Watch:
    """One value that is watched. Time never runs backwards; an older reading is passed over."""

    subject: str
    band: Band
    level: Level = Level.NORMAL
    value: int = 0
    """The last reading."""

    _pending: Level = Level.NORMAL
    _since_ns: int = -1
    _last_ns: int = -1

    def see(self, value: int, at_ns: int) -> Alarm | None:
        """The next reading. A level counts once it has lasted; a critical one at once."""
        if at_ns <= self._last_ns:
            return None
        self._last_ns, self.value = at_ns, value
        level = self.band.level(value)
        if level is Level.NORMAL and self.level is not Level.NORMAL:
            level = Level.NORMAL if self.band.settled(value) else self.level
        if level is self.level:
            self._since_ns = -1
            return None
        if level is not self._pending or self._since_ns < 0:
            self._pending, self._since_ns = level, at_ns
        if level < Level.CRITICAL_LOW and at_ns - self._since_ns < self.band.hold_ns:
            return None
        self.level, self._since_ns = level, -1
        return Alarm(self.subject, level, value, at_ns)

    @property
    def is_calm(self) -> bool:
        """Whether all is normal and nothing else is waiting to be told."""
        return self.level is Level.NORMAL and self._since_ns < 0

    def state(self) -> object:
        return self.subject, self.level, self.value, self._pending, self._since_ns, self._last_ns


def median_frequency_mhz(readings: Sequence[int]) -> int | None:
    """The lower median, so that no value is made up; None where nobody reports."""
    return sorted(readings)[(len(readings) - 1) // 2] if readings else None


def voltage_per_mille(voltage_mv: int, rated_mv: int) -> int:
    """A voltage in per mille of rated, rounded towards the worse side of it."""
    whole, rest = divmod(voltage_mv * PER_MILLE, rated_mv)
    return whole + (rest > 0 and whole >= PER_MILLE)
