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
    counts_down: bool = False


class Unscalable(ValueError):
    """The device does not say what its percentages are worth."""


def _put(model: int, name: str, value: int) -> Order:
    place = field(model, name)
    return Order(place.offset, encode(value, place.kind))


def _timer(model: int, name: str, ttl_s: int, longest_s: int) -> Order:
    place = field(model, name)
    seconds = max(1, min(ttl_s, longest_s))
    return Order(place.offset, encode(seconds, place.kind), counts_down=True)


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
        _timer(124, "InOutWRte_RvrtTms", ttl_s, MAX_TTL_S),
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
        _timer(123, "WMaxLimPct_RvrtTms", ttl_s, MAX_TTL_S),
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


# --- model 704, of inverters after IEEE 1547-2018 --------------------------------------------------

LONG_TTL_S = 0x7FFFFFFF
WATTS = 1
"""WSetMod: the setting is in watts."""


def active_power(
    words: Sequence[int], power_w: int, ttl_s: int, charge_w: int, discharge_w: int
) -> list[Order]:
    """Hold a device at `power_w` through model 704. What it reverts to is written first: the
    function off, 0 W; then the time; the function is enabled last.
    """
    power_w = max(-charge_w, min(discharge_w, power_w))
    watts = _wide(704, "WSet", words, Fraction(power_w))
    return [
        _put(704, "WSetEnaRvrt", 0),
        _put(704, "WSetRvrt", 0),
        _timer(704, "WSetRvrtTms", ttl_s, LONG_TTL_S),
        _put(704, "WSetMod", WATTS),
        _put(704, "WSet", watts),
        _put(704, "WSetEna", 1),
    ]


def active_power_default(words: Sequence[int]) -> list[Order]:
    """Undo `active_power`: the function off, then no setting and no time."""
    del words
    return [
        _put(704, "WSetEna", 0),
        _put(704, "WSet", 0),
        _put(704, "WSetRvrtTms", 0),
    ]


def active_power_limit(
    words: Sequence[int], limit_w: int, ttl_s: int, rating_w: int
) -> list[Order]:
    """Cap an inverter's output through model 704; `rating_w` is what 100 % means."""
    limit_w = max(0, min(rating_w, limit_w))
    percent = _counts(704, "WMaxLimPct", words, Fraction(100 * limit_w, rating_w))
    return [
        _put(704, "WMaxLimPctEnaRvrt", 0),
        _put(704, "WMaxLimPctRvrt", _counts(704, "WMaxLimPct", words, Fraction(100))),
        _timer(704, "WMaxLimPctRvrtTms", ttl_s, LONG_TTL_S),
        _put(704, "WMaxLimPct", percent),
        _put(704, "WMaxLimPctEna", 1),
    ]


def active_power_limit_default(words: Sequence[int]) -> list[Order]:
    """Undo `active_power_limit`: limit off first, then 100 % and no time."""
    return [
        _put(704, "WMaxLimPctEna", 0),
        _put(704, "WMaxLimPct", _counts(704, "WMaxLimPct", words, Fraction(100))),
        _put(704, "WMaxLimPctRvrtTms", 0),
    ]


def _wide(model: int, name: str, words: Sequence[int], value: Fraction) -> int:
    counts = unscaled(model, name, words, value)
    if counts is None or not -0x7FFFFFFF <= counts <= 0x7FFFFFFF:
        raise Unscalable(f"model {model} gives {name} no usable scale factor")
    return counts


def battery_ratings(models: dict[int, Sequence[int]]) -> tuple[int, int]:
    """(charge, discharge) in W, which the rates of model 124 are percentages of; 0 if unknown.

    WChaMax is the reference for charging; for discharging the nameplate's rate where there is one.
    """
    charge = discharge = 0
    if 124 in models:
        charge = discharge = scaled(124, "WChaMax", models[124]) or 0
    if 120 in models:
        charge = charge or scaled(120, "MaxChaRte", models[120]) or 0
        discharge = scaled(120, "MaxDisChaRte", models[120]) or discharge or charge
    for model, into, out in (
        (702, "WChaRteMax", "WDisChaRteMax"),
        (702, "WChaRteMaxRtg", "WDisChaRteMaxRtg"),
        (802, "WChaRteMax", "WDisChaRteMax"),
    ):
        if model in models:
            charge = charge or scaled(model, into, models[model]) or 0
            discharge = discharge or scaled(model, out, models[model]) or 0
    return max(0, charge), max(0, discharge)


def production_rating(models: dict[int, Sequence[int]]) -> int:
    """What 100 % of model 123 means, in W: the setting WMax, else the nameplate; 0 if unknown."""
    for model, name in ((121, "WMax"), (120, "WRtg"), (702, "WMax"), (702, "WMaxRtg")):
        if model in models:
            value = scaled(model, name, models[model])
            if value:
                return max(0, value)
    return 0
