"""Alarms of frequency and voltage: late enough to be true, and over only when it is over."""

import pytest

from cloud.grid.quality import (
    FREQUENCY_MHZ,
    VOLTAGE_PER_MILLE,
    Alarm,
    Level,
    Watch,
    median_frequency_mhz,
    voltage_per_mille,
)
from protos.clock import SECOND_NS


def seen(watch, *readings):
    """Readings as (second, value); the alarms that came of them."""
    alarms = [watch.see(value, second * SECOND_NS) for second, value in readings]
    return [alarm for alarm in alarms if alarm]


def test_a_voltage_must_stay_out_for_a_minute_to_raise_an_alarm():
    watch = Watch("home", VOLTAGE_PER_MILLE)
    assert seen(watch, (0, 1_120), (30, 1_120), (40, 1_000), (50, 1_120), (109, 1_120)) == []
    assert seen(watch, (110, 1_120)) == [Alarm("home", Level.HIGH, 1_120, 110 * SECOND_NS)]


def test_an_alarm_ends_only_well_inside_the_band():
    watch = Watch("home", VOLTAGE_PER_MILLE)
    seen(watch, (0, 890), (60, 890))
    assert watch.level is Level.LOW
    assert seen(watch, (70, 905), (200, 909)) == []
    assert seen(watch, (210, 910), (269, 950)) == []
    (alarm,) = seen(watch, (270, 950))
    assert alarm.level is Level.NORMAL


@pytest.mark.parametrize(
    ("value", "level"), [(46_999, Level.CRITICAL_LOW), (52_001, Level.CRITICAL_HIGH)]
)
def test_a_critical_frequency_is_told_at_once(value, level):
    (alarm,) = seen(Watch("grid", FREQUENCY_MHZ), (0, value))
    assert alarm.level is level


def test_a_value_at_the_limit_is_normal_and_one_beyond_is_not():
    watch = Watch("grid", FREQUENCY_MHZ)
    assert seen(watch, (0, 49_500), (9, 50_500)) == []
    assert [a.level for a in seen(watch, (10, 49_499), (12, 49_499))] == [Level.LOW]


def test_an_older_reading_is_passed_over():
    watch = Watch("grid", FREQUENCY_MHZ)
    seen(watch, (10, 50_000))
    assert seen(watch, (10, 40_000), (5, 40_000)) == []


def test_an_alarm_can_turn_worse_and_from_low_to_high():
    watch = Watch("grid", FREQUENCY_MHZ)
    found = seen(watch, (0, 49_000), (2, 49_000), (3, 46_000), (4, 51_000), (6, 51_000))
    assert [a.level for a in found] == [Level.LOW, Level.CRITICAL_LOW, Level.HIGH]


def test_one_meter_alone_moves_no_median():
    assert median_frequency_mhz([50_000, 40_000, 50_001]) == 50_000
    assert median_frequency_mhz([50_010, 50_000]) == 50_000
    assert median_frequency_mhz([]) is None


@pytest.mark.parametrize(
    ("voltage_mv", "per_mille"),
    [(230_000, 1_000), (253_001, 1_101), (253_000, 1_100), (206_999, 899)],
)
def test_voltages_round_away_from_rated(voltage_mv, per_mille):
    assert voltage_per_mille(voltage_mv, 230_000) == per_mille
