"""Counters to slot energy: interpolation, silence, late data, faults and exchanged meters."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.metering.intervals import GAPS_MAX, SLOT_MS, Counter, Grade

MINUTE = 60_000


def counter(*readings: tuple[int, int]) -> Counter:
    result = Counter()
    for at_ms, value in readings:
        result.add(at_ms, value)
    return result


def at(slot: int, minutes: float = 0) -> int:
    return slot * SLOT_MS + int(minutes * MINUTE)


def every_minute(first: int, last: int, wh_per_minute: int, base: int = 0) -> list[tuple[int, int]]:
    """Readings from the start of slot `first` to the start of slot `last`."""
    return [
        (at(first, minute), base + minute * wh_per_minute)
        for minute in range(15 * (last - first) + 1)
    ]


def test_a_slot_is_the_difference_of_the_counter_between_its_edges() -> None:
    assert counter(*every_minute(10, 12, 20)).energy(10) == (300, Grade.MEASURED)


def test_an_edge_between_two_readings_is_interpolated_linearly_and_rounded_down() -> None:
    meter = counter((at(9, 14), 100), (at(10, 2), 110), (at(10, 14), 230), (at(11, 1), 244))
    # At the start of slot 10: 100 + 10 * 1/3; at its end: 230 + 14 * 1/2.
    assert meter.energy(10) == (237 - 103, Grade.MEASURED)


def test_a_reading_exactly_on_an_edge_is_that_edge() -> None:
    meter = counter((at(10), 5_000), (at(10, 7), 5_100), (at(11), 5_300))
    assert meter.energy(10) == (300, Grade.MEASURED)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 800_000), st.integers(0, 900)), min_size=2, max_size=40))
def test_slots_add_up_to_the_counter(steps: list[tuple[int, int]]) -> None:
    meter, now, value = Counter(), at(10), 7
    meter.add(now, value)
    for wait, grown in steps:
        now, value = now + wait, value + grown
        meter.add(now, value)
    last = now // SLOT_MS
    whole = [meter.energy(slot) for slot in range(10, last)]
    assert all(grade is Grade.MEASURED and energy >= 0 for energy, grade in whole)
    edge = meter.edges[last]
    assert sum(energy for energy, _ in whole) == edge - 7
    assert edge <= value


def test_a_slot_that_the_counter_has_not_reached_the_end_of_is_open() -> None:
    meter = counter((at(10), 0), (at(10, 10), 200))
    assert meter.energy(10) == (300, Grade.OPEN)
    assert meter.energy(11) == (0, Grade.OPEN)


def test_a_short_known_part_is_not_scaled_up() -> None:
    meter = counter((at(10), 0), (at(10, 1), 100))
    assert meter.energy(10) == (100, Grade.OPEN)


def test_the_slot_of_the_first_reading_counts_from_it_and_is_estimated() -> None:
    meter = counter(*[(at(10, 5 + m), 1_000 + 10 * m) for m in range(20)])
    assert meter.energy(10) == (100, Grade.ESTIMATED)
    assert meter.energy(9) == (0, Grade.ESTIMATED)


def test_a_counter_without_readings_knows_nothing() -> None:
    assert Counter().energy(10) == (0, Grade.OPEN)


def test_slots_in_a_long_silence_are_estimates_that_add_up() -> None:
    meter = counter(*every_minute(10, 11, 10), (at(14), 1_050), (at(14, 1), 1_060))
    energies = [meter.energy(slot) for slot in range(10, 14)]
    assert [grade for _, grade in energies] == [Grade.MEASURED] + [Grade.ESTIMATED] * 3
    assert [energy for energy, _ in energies] == [150, 300, 300, 300]


def test_late_readings_from_inside_a_silence_turn_estimates_into_measurements() -> None:
    meter = counter(*every_minute(10, 11, 10), (at(14), 1_050))
    touched = [meter.add(at(11, m), 150 + m) for m in range(1, 45)]
    assert touched[0] == (11, 14)
    assert [meter.energy(s) for s in range(11, 14)] == [
        (15, Grade.MEASURED),
        (15, Grade.MEASURED),
        (1_050 - 180, Grade.MEASURED),
    ]


def test_late_readings_in_any_order_leave_nothing_estimated_and_nothing_lost() -> None:
    late = [(at(11, m), 150 + m * m) for m in range(1, 45, 3)]
    meter = counter(*every_minute(10, 11, 10), (at(14), 5_000), *late[::2], *late[1::2][::-1])
    slots = [meter.energy(slot) for slot in range(10, 14)]
    assert {grade for _, grade in slots} == {Grade.MEASURED}
    assert sum(energy for energy, _ in slots) == 5_000


def test_late_readings_that_do_not_fit_the_silence_are_ignored() -> None:
    meter = counter(*every_minute(10, 11, 10), (at(14), 1_050))
    assert meter.add(at(12), 149) is None
    assert meter.add(at(12), 1_051) is None
    assert meter.ignored == 2
    assert meter.energy(12) == (300, Grade.ESTIMATED)


def test_a_reading_older_than_all_and_a_repeated_one_change_nothing() -> None:
    meter = counter(*every_minute(10, 12, 10))
    before = meter.state()
    assert meter.add(at(9), 0) is None
    assert meter.add(at(12), 99_999) is None
    assert meter.add(at(11, 3.5), 180) is None
    assert meter.state() == before


@pytest.mark.parametrize("value", [149, 0, 150 + 1_000 + 4_167, -5])
def test_a_falling_or_leaping_value_is_counted_and_ignored(value: int) -> None:
    meter = counter(*every_minute(10, 11, 10))
    assert meter.add(at(11, 1), value) is None
    assert meter.ignored == 1
    meter.add(at(11, 2), 170)
    assert (meter.last_ms, meter.last_wh) == (at(11, 2), 170)


def test_a_step_just_within_the_plausible_rate_is_believed() -> None:
    meter = counter(*every_minute(10, 11, 10))
    assert meter.add(at(11, 1), 150 + 1_000 + 4_166) is not None


def test_a_restarted_counter_is_followed_once_its_values_agree_for_a_slot() -> None:
    meter = counter(*every_minute(10, 12, 10))
    for minute in range(1, 40):
        meter.add(at(12, minute), 5 * minute)
    assert meter.energy(11) == (150, Grade.MEASURED)
    # The 5 Wh a minute since the new counter's first reading are counted, but only as an estimate.
    assert meter.energy(12)[1] is Grade.ESTIMATED
    assert meter.energy(13)[1] is Grade.ESTIMATED
    assert meter.last_wh == 300 + 5 * 38
    for minute in range(40, 62):
        meter.add(at(12, minute), 5 * minute)
    assert meter.energy(14) == (75, Grade.MEASURED)


def test_a_single_fault_between_good_values_never_restarts_the_counter() -> None:
    meter = counter(*every_minute(10, 11, 10))
    for minute in range(1, 120):
        meter.add(at(11, minute), 0 if minute % 2 else 150 + 10 * minute)
    assert meter.ignored == 60
    assert meter.energy(12) == (150, Grade.MEASURED)


def test_an_exchanged_meter_goes_on_from_the_old_ones_value() -> None:
    meter = counter(*every_minute(10, 11, 10))
    meter.exchange()
    for minute in range(1, 31):
        meter.add(at(11, minute), 9_000_000 + 10 * minute)
    assert meter.energy(11) == (140, Grade.ESTIMATED)
    assert meter.energy(12) == (150, Grade.MEASURED)


def test_a_gap_over_an_exchange_takes_no_late_data() -> None:
    meter = counter(*every_minute(10, 11, 10))
    meter.exchange()
    meter.add(at(14), 9_000_000)
    assert meter.add(at(12), 150) is None
    assert meter.ignored == 1


def test_old_edges_and_silences_are_let_go() -> None:
    meter = counter(*every_minute(10, 20, 10))
    meter.forget(0)
    meter.trim(19)
    assert sorted(meter.edges) == [19, 20]
    assert meter.energy(12) is None
    assert meter.energy(19) == (150, Grade.MEASURED)


def test_edges_beside_a_silence_that_may_be_filled_are_kept() -> None:
    meter = counter(*every_minute(10, 11, 10), (at(14, 5), 1_050), *every_minute(15, 30, 10, 1_100))
    meter.forget(0)
    meter.trim(29)
    assert meter.energy(14)[1] is Grade.ESTIMATED
    meter.forget(15)
    meter.trim(29)
    assert meter.gaps == []
    assert sorted(meter.edges) == [29, 30]


def test_a_meter_that_is_often_silent_keeps_a_bounded_number_of_gaps() -> None:
    meter = counter(*[(at(2 * n), 10 * n) for n in range(3 * GAPS_MAX)])
    meter.forget(0)
    assert len(meter.gaps) == GAPS_MAX
