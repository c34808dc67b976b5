"""What a number means, and the only places where one is rounded.

Energy is a whole number of Wh, power of W, voltage of mV, current of mA, frequency of mHz,
a ratio of per mille; money is a whole number of micro-units of the zone's currency (1 THB =
1_000_000 µTHB) and a local price is micro-units per kWh. Nothing in this module returns a float,
and nothing outside it may turn a float into one of these units.
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from math import isfinite

WH_PER_TOKEN = 1_000
"""One GT token is one kWh; the ledger counts it in Wh."""

BPS = 10_000
PER_MILLE = 1_000


def val(energy_wh: int, price_micro_per_kwh: int) -> int:
    """Money for an amount of energy, in micro-units, halves rounded up.

    val(w, p) = (2*w*p + 1000) div 2000. The one formula by which energy becomes money.
    """
    return (2 * energy_wh * price_micro_per_kwh + 1_000) // 2_000


def share_bps(amount: int, rate_bps: int) -> int:
    """`rate_bps` ten-thousandths of an amount, halves rounded up: (amount*rate + 5000) div 10000."""
    return (amount * rate_bps + BPS // 2) // BPS


def largest_remainder(total: int, weights: Sequence[int]) -> list[int]:
    """Split `total` in proportion to non-negative `weights`; the parts sum to `total` exactly.

    Floors first, then one more to the largest remainders; ties go to the earlier weight, so callers
    order weights by id. With all weights zero nothing can be split and `total` must be zero.
    """
    if total < 0 or min(weights, default=0) < 0:
        raise ValueError(f"cannot split {total} over negative parts; pass amounts >= 0")
    whole = sum(weights)
    if whole == 0:
        if total:
            raise ValueError(f"cannot split {total} over weights that are all zero")
        return [0] * len(weights)
    products = [total * weight for weight in weights]
    parts = [product // whole for product in products]
    remainders = [product % whole for product in products]
    # A reversed sort keeps the order of equals, too.
    order = sorted(range(len(weights)), key=remainders.__getitem__, reverse=True)
    for i in order[: total - sum(parts)]:
        parts[i] += 1
    return parts


def round_measured(value: float, per_unit: int = 1) -> int:
    """A driver's or solver's float, times `per_unit`, as the nearest integer (halves to even).

    This is the only door from floats to integers. NaN and infinities are refused: a missing value
    is a quality, never a number.
    """
    if not isfinite(value):
        raise ValueError(
            "a reading that is not finite has no integer; mark it not-available instead"
        )
    return round(value * per_unit)


def energy_wh(power_w: int, duration_ns: int) -> int:
    """Energy of a constant power, in Wh, halves away from zero. For plans only: billing energy
    comes from a device's own counter.
    """
    numerator = 2 * power_w * duration_ns
    denominator = 2 * 3_600_000_000_000
    half = denominator // 2
    sign = -1 if numerator < 0 else 1
    return sign * ((abs(numerator) + half) // denominator)


def mean_power_w(energy: int, duration_ns: int) -> int:
    """Mean power of an amount of energy over a duration, in W, rounded away from zero.

    Away from zero, because it is used against limits: a limit is never passed by rounding.
    """
    numerator = energy * 3_600_000_000_000
    sign = -1 if numerator < 0 else 1
    return sign * -(-abs(numerator) // duration_ns)


def wholesale_micro(price_per_mwh: Decimal) -> int:
    """A wholesale price of exact decimal currency per MWh as micro-units per MWh.

    OASIS publishes five decimals, so nothing is lost; a sixth decimal and beyond is rounded to even.
    """
    return int((price_per_mwh * 1_000_000).to_integral_value(rounding=ROUND_HALF_EVEN))
