"""The only rounding there is."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.units import (
    energy_wh,
    largest_remainder,
    mean_power_w,
    round_measured,
    share_bps,
    val,
    wholesale_micro,
)

amounts = st.integers(0, 10**15)


@given(amounts, st.lists(st.integers(0, 10**12), min_size=1, max_size=30))
def test_parts_always_sum_to_the_whole(total, weights):
    if not any(weights):
        total = 0
    parts = largest_remainder(total, weights)
    assert sum(parts) == total
    exact = [total * weight / (sum(weights) or 1) for weight in weights]
    assert all(
        abs(part - share) <= 1 + share * 1e-9 for part, share in zip(parts, exact, strict=True)
    )


def test_ties_go_to_the_earlier_part():
    assert largest_remainder(10, [1, 1, 1]) == [4, 3, 3]


@pytest.mark.parametrize(("total", "weights"), [(-1, [1]), (1, [-1, 2]), (1, [0, 0])])
def test_what_cannot_be_split_is_refused(total, weights):
    with pytest.raises(ValueError, match="cannot split"):
        largest_remainder(total, weights)


@given(st.integers(0, 10**7), st.integers(-(10**9), 10**9))
def test_money_is_the_nearest_micro_unit_halves_up(energy, price):
    twice = 2 * energy * price
    assert -1000 < 2000 * val(energy, price) - twice <= 1000


def test_a_kilowatt_hour_at_four_baht_costs_four_baht():
    assert val(1_000, 4_000_000) == 4_000_000
    assert val(1, 1_500) == 2
    assert share_bps(1_000_000, 500) == 50_000


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_has_no_integer(value):
    with pytest.raises(ValueError, match="not-available"):
        round_measured(value)


def test_power_and_energy_over_a_slot():
    quarter_ns = 900_000_000_000
    assert energy_wh(4_000, quarter_ns) == 1_000
    assert energy_wh(-4_000, quarter_ns) == -1_000
    assert mean_power_w(1_000, quarter_ns) == 4_000
    # Against a limit the mean is never rounded down.
    assert mean_power_w(1, quarter_ns * 3) == 2


def test_five_decimals_of_a_wholesale_price_are_kept():
    assert wholesale_micro(Decimal("-12.34567")) == -12_345_670
