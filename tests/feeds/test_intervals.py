"""No interval is misplaced, on any day that a clock was changed from 2016 to 2030."""

# ruff: noqa: DTZ001 - wall clocks have no zone

from datetime import date, datetime, timedelta

import pytest

from cloud.feeds.intervals import (
    CENTRAL,
    EASTERN,
    HOUR_NS,
    PACIFIC,
    DoubledHour,
    NoSuchTime,
    from_local,
    hour_ending,
    hour_interval,
    is_ambiguous,
    operating_hour,
    operating_hour_of,
    to_local,
    to_ns,
    trade_date,
    trade_day,
)
from protos.clock import MINUTE_NS

ZONES = [PACIFIC, CENTRAL, EASTERN]


def nth_sunday(year, month, nth):
    first = date(year, month, 1)
    return first + timedelta(days=(6 - first.weekday()) % 7 + 7 * (nth - 1))


SPRING = [nth_sunday(year, 3, 2) for year in range(2016, 2031)]
AUTUMN = [nth_sunday(year, 11, 1) for year in range(2016, 2031)]


@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: zone.key)
def test_every_switch_day_has_23_or_25_hours_and_its_neighbours_24(zone):
    for days, hours in ((SPRING, 23), (AUTUMN, 25)):
        for day in days:
            assert trade_day(day, zone).duration_ns == hours * HOUR_NS
            for neighbour in (day - timedelta(days=1), day + timedelta(days=1)):
                assert trade_day(neighbour, zone).duration_ns == 24 * HOUR_NS


@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: zone.key)
def test_days_follow_each_other_without_gap_or_overlap(zone):
    for day in SPRING + AUTUMN:
        after = day + timedelta(days=1)
        assert trade_day(day, zone).end_ns == trade_day(after, zone).start_ns


@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: zone.key)
def test_every_hour_of_every_switch_day_is_found_again_by_its_label(zone):
    for day in SPRING + AUTUMN:
        labels = set()
        for start_ns in trade_day(day, zone).steps(HOUR_NS):
            label = hour_ending(start_ns, zone)
            labels.add(label)
            assert label[0] == day == trade_date(start_ns, zone)
            interval = hour_interval(day, label[1], zone, repeated=label[2])
            assert (interval.start_ns, interval.duration_ns) == (start_ns, HOUR_NS)
        assert len(labels) == trade_day(day, zone).duration_ns // HOUR_NS


def test_caiso_numbers_the_repeated_hour_25_between_2_and_3():
    for day in AUTUMN:
        numbers = [operating_hour_of(start)[1] for start in trade_day(day, PACIFIC).steps(HOUR_NS)]
        assert numbers == [1, 2, 25, *range(3, 25)]
        starts = [operating_hour(day, number).start_ns for number in numbers]
        assert starts == list(trade_day(day, PACIFIC).steps(HOUR_NS))


def test_the_autumn_hour_of_2025_lies_where_caiso_published_it():
    day = date(2025, 11, 2)
    nine_utc = to_ns(datetime.fromisoformat("2025-11-02T09:00:00-00:00"))
    assert operating_hour(day, 25).start_ns == nine_utc
    assert operating_hour(day, 3).start_ns == nine_utc + HOUR_NS


@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: zone.key)
def test_the_skipped_hour_of_spring_does_not_exist(zone):
    for day in SPRING:
        with pytest.raises(NoSuchTime):
            hour_interval(day, 3, zone)


@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: zone.key)
def test_an_hour_that_comes_once_has_no_repetition(zone):
    for day in [*SPRING, date(2026, 7, 15)]:
        with pytest.raises(NoSuchTime):
            hour_interval(day, 2, zone, repeated=True)
    with pytest.raises(NoSuchTime):
        operating_hour(date(2026, 7, 15), 25)


@pytest.mark.parametrize("hour", [0, -1, 26, 99])
def test_an_hour_no_day_has_is_refused(hour):
    with pytest.raises(NoSuchTime):
        operating_hour(AUTUMN[0], hour)


def test_nyisos_doubled_hour_is_told_by_its_order_for_each_zone():
    for day in AUTUMN:
        doubled = DoubledHour(EASTERN)
        midnight = trade_day(day, EASTERN).start_ns
        ends = [midnight + n * 5 * MINUTE_NS for n in range(25 * 12)]
        for end_ns in ends:
            label = to_local(end_ns, EASTERN).replace(tzinfo=None, fold=0)
            for place in ("N.Y.C.", "LONGIL"):
                assert doubled.resolve(place, label) == end_ns


def test_only_the_autumn_hour_is_ambiguous():
    assert is_ambiguous(datetime(2026, 11, 1, 1, 30), EASTERN)
    assert not is_ambiguous(datetime(2026, 11, 1, 2, 0), EASTERN)
    assert not is_ambiguous(datetime(2026, 3, 8, 2, 30), EASTERN)


def test_a_moment_without_a_zone_is_not_guessed():
    with pytest.raises(ValueError, match="no zone"):
        to_ns(datetime(2026, 1, 1))


def test_a_wall_clock_time_keeps_its_fraction():
    moment = datetime(2026, 1, 1, 0, 0, 0, 500_000)
    assert from_local(moment, EASTERN) % 1_000_000_000 == 500_000_000
