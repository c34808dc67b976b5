"""Market time: every conversion between a market's local labels and UTC stands here.

An interval is half-open, [start, end), in ns UTC. Markets label hours by prevailing local time, so
a trade day has 23, 24 or 25 of them and an autumn hour comes twice; each market says differently
which of the two it means:
- CAISO: the hour that ends at 1..24; the repeated one is number 25, though by time it stands
  between 2 and 3. The spring day has no hour 3.
- PJM: the hour that ends at 1..24 and a flag for the duplicate.
- ERCOT: the hour that ends at 1..24 and DSTFlag or RepeatedHourFlag Y for the repetition.
- NYISO: nothing at all; the second of two equal labels is the repetition.
Never guesses: a local time that does not exist is `NoSuchTime`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from protos.clock import MINUTE_NS, SECOND_NS

HOUR_NS = 60 * MINUTE_NS
REPEATED_HOUR = 25
"""CAISO's OPR_HR for the second 01:00 to 02:00 of the autumn day."""

YEARS = range(1971, 2200)
"""No market publishes outside them, and within them ns since 1970 fit 64 bits."""

PACIFIC = ZoneInfo("America/Los_Angeles")
CENTRAL = ZoneInfo("America/Chicago")
EASTERN = ZoneInfo("America/New_York")


class NoSuchTime(ValueError):
    """A local label that this day's clock does not have."""

    def __init__(self, label: str, zone: ZoneInfo) -> None:
        super().__init__(f"{label} does not exist in {zone.key}")
        self.label = label
        self.zone = zone


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """[start_ns, end_ns) in UTC."""

    start_ns: int
    end_ns: int

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.start_ns

    def steps(self, step_ns: int) -> Iterator[int]:
        """The starts of the equal parts of this interval."""
        return iter(range(self.start_ns, self.end_ns, step_ns))


def to_ns(moment: datetime) -> int:
    """A timezone-aware moment as ns UTC. Raises ValueError outside YEARS."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no zone; say which local time it is")
    if moment.year not in YEARS:
        raise ValueError(f"{moment} is not of this market's age")
    return int(moment.timestamp()) * SECOND_NS + moment.microsecond * 1_000


def to_local(instant_ns: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(instant_ns // SECOND_NS, tz=UTC).astimezone(zone)


def from_local(naive: datetime, zone: ZoneInfo, *, repeated: bool = False) -> int:
    """A wall-clock time as ns UTC; `repeated` means its second occurrence in autumn.

    Raises NoSuchTime for an hour that is skipped in spring, and for a repetition of an hour that
    comes once.
    """
    moment = naive.replace(tzinfo=zone, fold=1 if repeated else 0)
    instant_ns = to_ns(moment)
    if to_local(instant_ns, zone).replace(tzinfo=None) != naive.replace(microsecond=0):
        raise NoSuchTime(str(naive), zone)
    if repeated and to_ns(naive.replace(tzinfo=zone, fold=0)) == instant_ns:
        raise NoSuchTime(f"the second {naive}", zone)
    return instant_ns


def is_ambiguous(naive: datetime, zone: ZoneInfo) -> bool:
    """Whether this wall-clock time comes twice."""
    first = naive.replace(tzinfo=zone, fold=0).utcoffset()
    second = naive.replace(tzinfo=zone, fold=1).utcoffset()
    assert first is not None
    assert second is not None
    return first > second


@lru_cache(maxsize=512)
def trade_day(day: date, zone: ZoneInfo) -> Interval:
    """A trade day: from local midnight to the next, 23 to 25 hours long."""
    start = datetime(day.year, day.month, day.day, tzinfo=zone)
    after = day + timedelta(days=1)
    end = datetime(after.year, after.month, after.day, tzinfo=zone)
    return Interval(to_ns(start), to_ns(end))


def trade_date(instant_ns: int, zone: ZoneInfo) -> date:
    return to_local(instant_ns, zone).date()


def hour_ending(instant_ns: int, zone: ZoneInfo) -> tuple[date, int, bool]:
    """The label of the hour that holds this instant: trade date, hour 1 to 24, and whether it is
    the second hour of that number.
    """
    local = to_local(instant_ns, zone)
    return local.date(), local.hour + 1, bool(local.fold)


def hour_interval(day: date, hour: int, zone: ZoneInfo, *, repeated: bool = False) -> Interval:
    """The hour that ends at `hour` (1 to 24) of a trade date. Raises NoSuchTime."""
    if not 1 <= hour <= 24:
        raise NoSuchTime(f"{day} hour ending {hour}", zone)
    naive = datetime(day.year, day.month, day.day, hour - 1)  # noqa: DTZ001 - wall clock
    start_ns = from_local(naive, zone, repeated=repeated)
    return Interval(start_ns, start_ns + HOUR_NS)


def operating_hour(day: date, opr_hr: int) -> Interval:
    """CAISO's OPR_HR of a trade date; 25 is the repeated hour of autumn. Raises NoSuchTime."""
    if opr_hr == REPEATED_HOUR:
        return hour_interval(day, 2, PACIFIC, repeated=True)
    return hour_interval(day, opr_hr, PACIFIC)


def operating_hour_of(instant_ns: int) -> tuple[date, int]:
    """The trade date and OPR_HR of the hour that holds this instant."""
    day, hour, repeated = hour_ending(instant_ns, PACIFIC)
    return day, REPEATED_HOUR if repeated else hour


class DoubledHour:
    """Tells NYISO's two equal labels apart by their order: the second one is the repetition.

    One per file; `place` is the zone or node, each of which has its own sequence. A label that
    comes a third time, or twice on a day without a repeated hour, is the caller's to judge: it
    stands for the same instant as before.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._seen: dict[tuple[str, datetime], None] = {}

    def resolve(self, place: str, naive: datetime) -> int:
        """The label as ns UTC. Raises NoSuchTime."""
        if not is_ambiguous(naive, self._zone):
            return from_local(naive, self._zone)
        second = (place, naive) in self._seen
        self._seen[place, naive] = None
        return from_local(naive, self._zone, repeated=second)
