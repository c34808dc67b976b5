"""What can be true, and what is doubted: each rule by the reading that users suffered from."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.devices.device import Point
from edge.plausible import NEVER_COUNTED_AFTER, REPLACED_AFTER, STUCK_NS, Screen
from protos.clock import SECOND_NS
from protos.messages import Quality, Quantity

GOOD, SUSPECT, STALE, MISSING = (
    Quality.GOOD,
    Quality.SUSPECT,
    Quality.STALE,
    Quality.NOT_AVAILABLE,
)


def judged(quantity: Quantity, values, step_s: int = 1, **more) -> list[Quality]:
    screen = Screen([Point(quantity)], **more)
    return [
        screen.judge([value], number * step_s * SECOND_NS)[0] for number, value in enumerate(values)
    ]


def test_a_value_outside_what_physics_allows_is_doubted():
    assert judged(Quantity.VOLTAGE_MV, [230_000, 6_553_500]) == [GOOD, SUSPECT]
    assert judged(Quantity.FREQUENCY_MHZ, [50_000, 0]) == [GOOD, SUSPECT]
    assert judged(Quantity.POWER_W, [-1_000_001]) == [SUSPECT]
    assert judged(Quantity.STATE_OF_CHARGE_PER_MILLE, [1001]) == [SUSPECT]


def test_a_missing_value_is_missing_and_forgets_nothing():
    seen = judged(Quantity.ENERGY_IMPORT_WH, [1000, None, 1001])
    assert seen == [GOOD, MISSING, GOOD]


def test_a_counter_that_wakes_up_at_zero_books_no_energy():
    seen = judged(Quantity.ENERGY_IMPORT_WH, [15_500_000, 0, 0, 15_500_001])
    assert seen == [GOOD, SUSPECT, SUSPECT, GOOD]


def test_a_counter_whose_first_word_is_zero_is_asked_again_before_it_is_believed():
    # An inverter at dawn: it counts from zero until it remembers, and the agent has just started.
    seen = judged(Quantity.ENERGY_IMPORT_WH, [0, 0, 15_500_000, 15_500_001])
    assert seen == [SUSPECT, SUSPECT, GOOD, GOOD]
    fresh = judged(Quantity.ENERGY_IMPORT_WH, [0] * (NEVER_COUNTED_AFTER + 2))
    assert fresh == [SUSPECT] * NEVER_COUNTED_AFTER + [GOOD] * 2


def test_zeros_after_a_count_are_never_a_new_meter_however_long_they_last():
    seen = judged(Quantity.ENERGY_IMPORT_WH, [15_500_000] + [0] * 3 * REPLACED_AFTER)
    assert set(seen[1:]) == {SUSPECT}


def rolled(values, **more) -> list[Quality]:
    screen = Screen([Point(Quantity.ENERGY_IMPORT_WH, rollover_wh=100_000, **more)])
    return [screen.judge([value], n * SECOND_NS)[0] for n, value in enumerate(values)]


def test_a_counter_goes_on_round_its_end_and_nowhere_else():
    assert rolled([99_995, 99_998, 3, 5]) == [GOOD] * 4
    assert rolled([60_000, 3, 60_001]) == [GOOD, SUSPECT, GOOD]
    assert judged(Quantity.ENERGY_IMPORT_WH, [99_998, 3]) == [GOOD, SUSPECT]


def test_a_model_that_says_how_fast_it_counts_is_held_to_it():
    assert rolled([1000, 1060], max_rate_w=100_000) == [GOOD, SUSPECT]
    assert rolled([1000, 1040], max_rate_w=100_000) == [GOOD, GOOD]


def test_a_meter_that_was_replaced_by_one_that_counted_further_is_believed_as_well():
    values = [1000] + [500_000 + n for n in range(REPLACED_AFTER + 3)]
    seen = judged(Quantity.ENERGY_IMPORT_WH, values, max_power_w=10_000)
    assert seen[1 : REPLACED_AFTER + 1] == [SUSPECT] * REPLACED_AFTER
    assert set(seen[REPLACED_AFTER + 1 :]) == {GOOD}


def test_values_that_jump_about_never_add_up_to_a_new_meter():
    values = [1000] + [500_000, 700_000] * REPLACED_AFTER
    assert set(judged(Quantity.ENERGY_IMPORT_WH, values, max_power_w=10_000)[1:]) == {SUSPECT}


def test_a_counter_cannot_grow_faster_than_the_connection_allows():
    seen = judged(Quantity.ENERGY_IMPORT_WH, [1000, 1003, 9000, 1009], max_power_w=10_000)
    assert seen == [GOOD, GOOD, SUSPECT, GOOD]


def test_a_gap_of_hours_is_made_up_by_the_time_that_passed():
    seen = judged(Quantity.ENERGY_IMPORT_WH, [1000, 21_000], step_s=7200, max_power_w=10_000)
    assert seen == [GOOD, GOOD]


def test_a_replaced_meter_is_believed_after_a_while_and_not_before():
    values = [500_000] + [100 + n for n in range(REPLACED_AFTER + 3)]
    seen = judged(Quantity.ENERGY_IMPORT_WH, values)
    assert seen[1 : REPLACED_AFTER + 1] == [SUSPECT] * REPLACED_AFTER
    assert set(seen[REPLACED_AFTER + 1 :]) == {GOOD}


def test_jitter_of_one_step_is_doubted_but_costs_nothing():
    seen = judged(Quantity.ENERGY_EXPORT_WH, [1000, 999, 1000, 1001])
    assert seen == [GOOD, SUSPECT, GOOD, GOOD]


def test_a_temperature_or_a_charge_does_not_jump():
    assert judged(Quantity.TEMPERATURE_DECI_C, [250, 800]) == [GOOD, SUSPECT]
    assert judged(Quantity.STATE_OF_CHARGE_PER_MILLE, [500, 100, 499]) == [GOOD, SUSPECT, GOOD]


def test_a_frozen_register_is_stale_after_hours_and_a_dark_inverter_is_not():
    step = STUCK_NS // SECOND_NS // 4
    assert judged(Quantity.VOLTAGE_MV, [230_100] * 6, step)[-1] is STALE
    assert judged(Quantity.VOLTAGE_MV, [230_100] * 6 + [230_200], step)[-1] is GOOD
    assert judged(Quantity.POWER_W, [0] * 6, step)[-1] is GOOD


@given(st.lists(st.none() | st.integers(-(1 << 62), 1 << 62), max_size=60))
def test_a_counter_that_is_called_good_never_falls_unless_the_meter_was_replaced(values):
    seen = judged(Quantity.ENERGY_IMPORT_WH, values)
    good = [value for value, quality in zip(values, seen, strict=True) if quality is GOOD]
    drops = sum(after < before for before, after in pairwise(good))
    assert drops <= len(values) // REPLACED_AFTER
