"""Tariffs as data: time-of-use prices, grid fees and congestion multipliers.

Decides which price of a tariff holds at an instant and what a grid fee is for a trade. It is the
one place of the market that knows local time, as a fixed offset from UTC that is part of the data.
It must never know a date or an hour that is not data: a cabinet may move a holiday tomorrow.

Prices in micro-units per kWh, energy Wh, money micro-units, rates in ten-thousandths.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from protos.clock import SECOND_NS
from protos.units import share_bps, val

MINUTES_PER_DAY = 1_440
MONDAY_TO_FRIDAY = (0, 1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Window:
    """Minutes of local days, [from, to), in which a period holds. Weekdays count from Monday 0."""

    weekdays: tuple[int, ...]
    from_minute: int
    to_minute: int
    period: str

    def covers(self, weekday: int, minute: int) -> bool:
        return weekday in self.weekdays and self.from_minute <= minute < self.to_minute


@dataclass(frozen=True, slots=True)
class Season:
    """A factor on all prices, in ten-thousandths, from one month and day to another, both in."""

    from_month_day: tuple[int, int]
    to_month_day: tuple[int, int]
    factor_bps: int

    def covers(self, day: date) -> bool:
        here = (day.month, day.day)
        if self.from_month_day <= self.to_month_day:
            return self.from_month_day <= here <= self.to_month_day
        return here >= self.from_month_day or here <= self.to_month_day


@dataclass(frozen=True, slots=True)
class TimeOfUse:
    """Prices by period. The first window that covers a minute decides, else `base_period`.

    On a holiday `base_period` holds all day. `prices` pairs each period with its price.
    """

    name: str
    utc_offset_minutes: int
    base_period: str
    prices: tuple[tuple[str, int], ...]
    windows: tuple[Window, ...]
    holidays: tuple[date, ...] = ()
    seasons: tuple[Season, ...] = ()

    def __post_init__(self) -> None:
        known = {period for period, _ in self.prices}
        for period in (self.base_period, *(window.period for window in self.windows)):
            if period not in known:
                raise ValueError(f"tariff {self.name!r} has no price for period {period!r}")
        for window in self.windows:
            if not 0 <= window.from_minute < window.to_minute <= MINUTES_PER_DAY:
                raise ValueError(f"tariff {self.name!r}: a window lies within one day")

    def period_at(self, instant_ns: int) -> str:
        local = self._local(instant_ns)
        if local.date() in self.holidays:
            return self.base_period
        minute = local.hour * 60 + local.minute
        for window in self.windows:
            if window.covers(local.weekday(), minute):
                return window.period
        return self.base_period

    def price_at(self, instant_ns: int) -> int:
        """Micro-units per kWh, the season's factor included."""
        price = dict(self.prices)[self.period_at(instant_ns)]
        day = self._local(instant_ns).date()
        for season in self.seasons:
            if season.covers(day):
                return share_bps(price, season.factor_bps)
        return price

    def _local(self, instant_ns: int) -> datetime:
        utc = datetime.fromtimestamp(instant_ns // SECOND_NS, UTC)
        return utc + timedelta(minutes=self.utc_offset_minutes)


@dataclass(frozen=True, slots=True)
class AdValoremFee:
    """A share of the trade's value."""

    rate_bps: int

    def fee_micro(self, energy_wh: int, price_micro_per_kwh: int) -> int:
        return share_bps(max(0, val(energy_wh, price_micro_per_kwh)), self.rate_bps)


@dataclass(frozen=True, slots=True)
class EnergyFee:
    """A wheeling charge per kWh, whatever the price."""

    fee_micro_per_kwh: int

    def fee_micro(self, energy_wh: int, price_micro_per_kwh: int) -> int:
        """`price_micro_per_kwh` is there because all fees are asked alike; it does not matter."""
        del price_micro_per_kwh
        return val(energy_wh, self.fee_micro_per_kwh)


GridFee = AdValoremFee | EnergyFee


@dataclass(frozen=True, slots=True)
class CongestionMultiplier:
    """A factor on the grid fee for trades that end at certain nodes, in ten-thousandths."""

    factor_by_node: tuple[tuple[int, int], ...] = ()

    def apply(self, fee_micro: int, buyer_node: int) -> int:
        for node, factor_bps in self.factor_by_node:
            if node == buyer_node:
                return share_bps(fee_micro, factor_bps)
        return fee_micro


def dates(year: int, *month_days: tuple[int, int]) -> tuple[date, ...]:
    return tuple(date(year, month, day) for month, day in month_days)


THAI_FIXED_HOLIDAYS = (
    *((1, 1), (4, 6), (4, 13), (4, 14), (4, 15), (5, 1), (5, 4), (6, 3), (7, 28)),
    *((8, 12), (10, 13), (10, 23), (12, 5), (12, 10), (12, 31)),
)
"""Month and day of the Thai public holidays that do not follow the moon. Substitution days and the
Royal Ploughing Day are on-peak, so they are absent on purpose.
"""

THAI_LUNAR_HOLIDAYS = (
    *dates(2025, (2, 12), (5, 11), (7, 10), (7, 11)),
    *dates(2026, (3, 3), (5, 31), (7, 29), (7, 30)),
)


def thai_holidays(first_year: int, last_year: int) -> tuple[date, ...]:
    """The off-peak holidays of whole years, as far as the lunar ones are listed above."""
    fixed = tuple(
        day
        for year in range(first_year, last_year + 1)
        for day in dates(year, *THAI_FIXED_HOLIDAYS)
    )
    lunar = tuple(day for day in THAI_LUNAR_HOLIDAYS if first_year <= day.year <= last_year)
    return tuple(sorted(fixed + lunar))


THAI_TOU_LOW_VOLTAGE = TimeOfUse(
    name="Thailand TOU, below 22 kV",
    utc_offset_minutes=7 * 60,
    base_period="off-peak",
    prices=(("on-peak", 5_798_200), ("off-peak", 2_636_900)),
    windows=(Window(MONDAY_TO_FRIDAY, 9 * 60, 22 * 60, "on-peak"),),
    holidays=thai_holidays(2025, 2026),
)
"""On-peak Monday to Friday 09:00-22:00, else off-peak, weekends and holidays all day; energy
charge only, without Ft, service charge and VAT. Source: MEA and PEA time-of-use tariff sheets.
"""
