"""What to write so that a SunSpec device obeys for a while and then lets go by itself.

Pure: from a model's words to an ordered list of writes. The device's own reversion timer always
comes first, so that a write that is the last to arrive still ends. Power is signed: positive
discharges. Percentages round towards zero, and no value passes the device's own ratings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from edge.devices.registers import encode
from edge.devices.sunspec_map import field, scaled, unscaled

MAX_TTL_S = 0xFFFE
"""The reversion timers are 16 bits, and all ones means not implemented."""

CHARGE_AND_DISCHARGE = 3
"""StorCtl_Mod: both rates bind."""


@dataclass(frozen=True, slots=True)
class Order:
    """Words to write at an offset from the model's id."""

    offset: int
    words: tuple[int, ...]


class Unscalable(ValueError):
    """The device does not say what its percentages are worth."""


def _put(model: int, name: str, value: int) -> Order:
    place = field(model, name)
    return Order(place.offset, encode(value, place.kind))


def _counts(model: int, name: str, words: Sequence[int], percent: Fraction) -> int:
    counts = unscaled(model, name, words, percent)
    if counts is None or not -0x7FFF <= counts <= 0x7FFF:
        raise Unscalable(f"model {model} gives {name} no usable scale factor")
    return counts


def battery_power(
    words: Sequence[int], power_w: int, ttl_s: int, charge_w: int, discharge_w: int
) -> list[Order]:
    """Hold a battery at `power_w` through model 124, its words given from its id on.

    The two rates bound the battery's power from both sides; a negative rate forces, so
    InWRte = -OutWRte is a setpoint. `charge_w` and `discharge_w` are the ratings that the rates
    are percentages of; the power is clipped to them.
    """
    power_w = max(-charge_w, min(discharge_w, power_w))
    rating = discharge_w if power_w >= 0 else charge_w
    percent = Fraction(100 * power_w, rating) if power_w else Fraction(0)
    out = _counts(124, "OutWRte", words, percent)
    into = _counts(124, "InWRte", words, -percent)
    rates = _put(124, "OutWRte", out).words + _put(124, "InWRte", into).words
    return [
        _put(124, "InOutWRte_RvrtTms", max(1, min(ttl_s, MAX_TTL_S))),
        Order(field(124, "OutWRte").offset, rates),
        _put(124, "StorCtl_Mod", CHARGE_AND_DISCHARGE),
    ]


def battery_default(words: Sequence[int]) -> list[Order]:
    """Undo `battery_power`: control off first, then rates of 100 % and no timer."""
    whole = _counts(124, "OutWRte", words, Fraction(100))
    rates = _put(124, "OutWRte", whole).words + _put(124, "InWRte", whole).words
    return [
        _put(124, "StorCtl_Mod", 0),
        Order(field(124, "OutWRte").offset, rates),
        _put(124, "InOutWRte_RvrtTms", 0),
    ]


def production_limit(words: Sequence[int], limit_w: int, ttl_s: int, rating_w: int) -> list[Order]:
    """Cap an inverter's output through model 123; `rating_w` is what 100 % means."""
    limit_w = max(0, min(rating_w, limit_w))
    percent = _counts(123, "WMaxLimPct", words, Fraction(100 * limit_w, rating_w))
    return [
        _put(123, "WMaxLimPct_RvrtTms", max(1, min(ttl_s, MAX_TTL_S))),
        _put(123, "WMaxLimPct", percent),
        _put(123, "WMaxLim_Ena", 1),
    ]


def production_default(words: Sequence[int]) -> list[Order]:
    """Undo `production_limit`: limit off first, then 100 % and no timer."""
    return [
        _put(123, "WMaxLim_Ena", 0),
        _put(123, "WMaxLimPct", _counts(123, "WMaxLimPct", words, Fraction(100))),
        _put(123, "WMaxLimPct_RvrtTms", 0),
    ]


def battery_ratings(models: dict[int, Sequence[int]]) -> tuple[int, int]:
    """(charge, discharge) in W that the rates of model 124 are percentages of; zeros if unknown.

    WChaMax is the reference for charging; for discharging the nameplate's rate where there is one.
    """
    charge = discharge = 0
    if 124 in models:
        charge = discharge = scaled(124, "WChaMax", models[124]) or 0
    if 120 in models:
        charge = charge or scaled(120, "MaxChaRte", models[120]) or 0
        discharge = scaled(120, "MaxDisChaRte", models[120]) or discharge or charge
    return max(0, charge), max(0, discharge)


def production_rating(models: dict[int, Sequence[int]]) -> int:
    """What 100 % of model 123 means, in W: the setting WMax, else the nameplate; 0 if unknown."""
    for model, name in ((121, "WMax"), (120, "WRtg"), (702, "WMax"), (702, "WMaxRtg")):
        if model in models:
            value = scaled(model, name, models[model])
            if value:
                return max(0, value)
    return 0
