"""Telemetry of four seconds and PJM's performance score, against the textbook formula in floats."""

import random
from statistics import correlation as textbook

import pytest

from cloud.venues.performance import SAMPLE_NS, FleetTelemetry, Score, correlation, score
from protos.clock import SECOND_NS


def signal(seed, count=900):
    """An hour of a signal that wanders, in W."""
    draw, at, values = random.Random(seed), 0, []
    for _ in range(count):
        at = max(-500_000, min(500_000, at + draw.randrange(-60_000, 60_001)))
        values.append(at)
    return values


def test_following_exactly_is_a_full_score():
    told = signal(1)
    assert score(told, told) == Score(1_000, 1_000, 1_000)
    assert score(told, told).performance == 1_000


@pytest.mark.parametrize("late", [1, 10, 75])
def test_a_delay_costs_its_part_of_five_minutes(late):
    told = signal(2)
    found = score(told, [0] * late + told[:-late])
    assert found.accuracy == 1_000
    assert found.delay == (75 - late) * 1_000 // 75
    assert found.precision < 1_000


def test_doing_the_opposite_earns_nothing_for_accuracy():
    told = [500_000 if at % 400 < 200 else -500_000 for at in range(900)]
    found = score(told, [-one for one in told])
    assert found.precision == 0
    assert found.accuracy < 400


def test_half_the_power_is_half_the_precision():
    told = signal(3)
    found = score(told, [one // 2 for one in told])
    assert found.accuracy >= 999
    assert 495 <= found.precision <= 505


@pytest.mark.parametrize("seed", range(8))
def test_the_integer_correlation_is_the_textbooks(seed):
    left, right = signal(seed), signal(seed + 100)
    assert abs(correlation(left, right) / 1_000 - textbook(left, right)) <= 0.002


def test_a_signal_that_stands_still_is_judged_by_standing_still():
    assert score([0] * 100, [0] * 100) == Score(1_000, 1_000, 1_000)
    assert score([5] * 100, [5, 6] * 50).accuracy == 0


@pytest.mark.parametrize(("told", "done"), [([1] * 75, [1] * 75), ([1] * 90, [1] * 91)])
def test_too_few_samples_say_how_many_are_needed(told, done):
    with pytest.raises(ValueError, match="more than 75"):
        score(told, done)


def test_samples_come_every_four_seconds_and_leave_out_the_silent():
    fleet = FleetTelemetry()
    fleet.observe("a", 100 * SECOND_NS, 3_000)
    fleet.observe("b", 100 * SECOND_NS, -1_000)
    fleet.observe("b", 99 * SECOND_NS, 7_000)
    first = fleet.sample(102 * SECOND_NS)
    assert (first.at_ns % SAMPLE_NS, first.power_w, first.heard_per_mille) == (0, 2_000, 1_000)
    assert fleet.sample(103 * SECOND_NS) is None
    fleet.observe("a", 170 * SECOND_NS, 2_500)
    later = fleet.sample(172 * SECOND_NS)
    assert (later.power_w, later.heard_per_mille) == (2_500, 500)
