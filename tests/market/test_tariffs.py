"""Tariffs as data: Thai time of use, holidays, seasons, grid fees."""

from datetime import UTC, date, datetime

import pytest

from cloud.market.tariffs import (
    THAI_TOU_LOW_VOLTAGE,
    AdValoremFee,
    CongestionMultiplier,
    EnergyFee,
    Season,
    TimeOfUse,
    Window,
    thai_holidays,
)


def thai(text: str) -> int:
    """Nanoseconds of a local time in Bangkok, seven hours ahead of UTC all year."""
    local = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return (int(local.timestamp()) - 7 * 3_600) * 1_000_000_000


@pytest.mark.parametrize(
    ("local", "period"),
    [
        ("2026-11-20T08:59:59", "off-peak"),
        ("2026-11-20T09:00:00", "on-peak"),
        ("2026-11-20T21:59:59", "on-peak"),
        ("2026-11-20T22:00:00", "off-peak"),
        ("2026-11-21T12:00:00", "off-peak"),
        ("2026-11-22T12:00:00", "off-peak"),
        ("2026-11-23T12:00:00", "on-peak"),
        ("2026-04-13T12:00:00", "off-peak"),
        ("2026-03-03T12:00:00", "off-peak"),
        ("2026-12-07T12:00:00", "on-peak"),
    ],
)
def test_thai_peak_is_weekdays_nine_to_ten_at_night_without_holidays(
    local: str, period: str
) -> None:
    assert THAI_TOU_LOW_VOLTAGE.period_at(thai(local)) == period


def test_the_price_follows_the_period() -> None:
    assert THAI_TOU_LOW_VOLTAGE.price_at(thai("2026-11-20T12:00:00")) == 5_798_200
    assert THAI_TOU_LOW_VOLTAGE.price_at(thai("2026-11-21T12:00:00")) == 2_636_900


def test_holidays_are_data_of_the_years_asked_for() -> None:
    days = thai_holidays(2026, 2026)
    assert all(day.year == 2026 for day in days)
    assert list(days) == sorted(days)
    assert date(2026, 5, 31) in days
    assert date(2025, 5, 11) not in days


def test_the_first_window_that_covers_a_minute_decides() -> None:
    every_day = tuple(range(7))
    tariff = TimeOfUse(
        "test",
        0,
        "base",
        (("base", 1), ("peak", 3), ("noon", 2)),
        (Window(every_day, 720, 780, "noon"), Window(every_day, 540, 1_320, "peak")),
    )
    assert [tariff.price_at(h * 3_600_000_000_000) for h in (8, 9, 12, 13, 22)] == [1, 3, 2, 3, 1]


@pytest.mark.parametrize(
    ("month_day", "covered"), [((2, 28), True), ((11, 1), True), ((10, 31), False), ((3, 1), False)]
)
def test_a_season_may_run_over_new_year(month_day: tuple[int, int], covered: bool) -> None:
    assert Season((11, 1), (2, 28), 12_000).covers(date(2026, *month_day)) is covered


def test_a_season_scales_the_price() -> None:
    tariff = TimeOfUse(
        "test", 0, "base", (("base", 1_001),), (), (), (Season((1, 1), (12, 31), 15_000),)
    )
    assert tariff.price_at(0) == 1_502


def test_a_tariff_with_a_hole_or_a_window_over_midnight_is_refused() -> None:
    with pytest.raises(ValueError, match="no price for period 'peak'"):
        TimeOfUse("test", 0, "base", (("base", 1),), (Window((0,), 0, 10, "peak"),))
    with pytest.raises(ValueError, match="within one day"):
        TimeOfUse("test", 0, "base", (("base", 1),), (Window((0,), 1_300, 60, "base"),))


def test_grid_fees_are_by_value_or_by_energy() -> None:
    assert AdValoremFee(500).fee_micro(2_000, 3_000_000) == 300_000
    assert AdValoremFee(500).fee_micro(2_000, -3_000_000) == 0
    assert EnergyFee(1_151_000).fee_micro(2_000, 3_000_000) == 2_302_000


def test_congestion_multiplies_the_fee_at_its_nodes_only() -> None:
    congested = CongestionMultiplier(((4, 15_000), (5, 5_000)))
    assert [congested.apply(1_000, node) for node in (3, 4, 5)] == [1_000, 1_500, 500]
