"""SunSpec information models: where each point lies, what it means, and how it scales.

Pure. Points come from sunspec_models.json. It must never apply a scale factor that was not read in
the same answer as the value, and never guess a point of a model it does not know.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from edge.devices.device import Point
from edge.devices.registers import Kind, Raw, decode
from protos.messages import Quantity, Role
from protos.units import round_measured

MARKER = (0x5375, 0x6E53)
"""The letters "SunS" before the first model."""

BASES = (40000, 0, 50000)
END_ID = 0xFFFF
HEADER = 2

SENTINELS: dict[Kind, tuple[int, ...]] = {
    "u16": (0xFFFF,),
    "i16": (0x8000,),
    "u32": (0xFFFFFFFF,),
    "i32": (0x80000000,),
    "u64": (0xFFFFFFFFFFFFFFFF,),
    "i64": (0x8000000000000000,),
}
"""Not implemented, by type (SunSpec device information model specification, section 4.2)."""


@dataclass(frozen=True, slots=True)
class Field:
    """One point of a model: offset from the model's id, type, registers, scale factor's name."""

    offset: int
    kind: Kind
    width: int
    factor: str


@dataclass(frozen=True, slots=True)
class Found:
    """A model that a device has: its number, the wire address of its id, and its L."""

    model: int
    address: int
    length: int


@dataclass(frozen=True, slots=True)
class Column:
    """One value of a device: a model's point times `per_unit` in the quantity's unit."""

    name: str
    point: Point
    per_unit: int


@cache
def _models() -> Mapping[int, Mapping[str, Field]]:
    path = Path(__file__).with_name("sunspec_models.json")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["models"]
    return {
        int(number): {name: Field(*row) for name, row in model["points"].items()}
        for number, model in content.items()
    }


def known(model: int) -> bool:
    return model in _models()


def field(model: int, name: str) -> Field:
    """A point's place. Raises KeyError for a point that the model has not."""
    return _models()[model][name]


def has(model: int, name: str) -> bool:
    return name in _models().get(model, {})


def raw(model: int, name: str, words: Sequence[int]) -> Raw | None:
    """A point without its scale, from the model's words (from its id on)."""
    place = field(model, name)
    if place.offset + place.width > len(words):
        return None
    part = words[place.offset : place.offset + place.width]
    return decode(part, place.kind, "ABCD", SENTINELS.get(place.kind, ()))


def factor(model: int, name: str, words: Sequence[int]) -> Fraction | None:
    """What one count of a point is worth; None where its scale factor is not implemented."""
    scale = field(model, name).factor
    if not scale:
        return Fraction(1)
    exponent = raw(model, scale, words)
    if not isinstance(exponent, int) or not -10 <= exponent <= 10:
        return None
    return Fraction(10) ** exponent


def scaled(model: int, name: str, words: Sequence[int], per_unit: int = 1) -> int | None:
    """A point as a whole number of `per_unit` parts of its unit, None where not implemented."""
    value = raw(model, name, words)
    if value is None or isinstance(value, str):
        return None
    if isinstance(value, float):
        return round_measured(value, per_unit)
    worth = factor(model, name, words)
    return None if worth is None else round(value * worth * per_unit)


def unscaled(model: int, name: str, words: Sequence[int], value: Fraction) -> int | None:
    """The counts to write for a value, towards zero so that no limit is passed by rounding."""
    worth = factor(model, name, words)
    return None if worth is None else int(value / worth)


# --- which points a role has ---------------------------------------------------------------------

_Rows = Sequence[tuple[str, Quantity, int, int]]
"""(point, quantity, phase, per_unit)."""

INVERTERS = (701, 113, 112, 111, 103, 102, 101)
METERS = (214, 213, 212, 211, 204, 203, 202, 201)
FLOATS = frozenset({111, 112, 113, 211, 212, 213, 214})
BATTERIES = (802, 713)

_INVERTER: _Rows = (
    ("W", Quantity.POWER_W, 0, 1),
    ("WH", Quantity.ENERGY_PRODUCED_WH, 0, 1),
    ("PhVphA", Quantity.VOLTAGE_MV, 1, 1000),
    ("PhVphB", Quantity.VOLTAGE_MV, 2, 1000),
    ("PhVphC", Quantity.VOLTAGE_MV, 3, 1000),
    ("A", Quantity.CURRENT_MA, 0, 1000),
    ("Hz", Quantity.FREQUENCY_MHZ, 0, 1000),
    ("PF", Quantity.POWER_FACTOR_PER_MILLE, 0, 10),
    ("VAr", Quantity.REACTIVE_POWER_VAR, 0, 1),
    ("VA", Quantity.APPARENT_POWER_VA, 0, 1),
    ("DCW", Quantity.DC_POWER_W, 0, 1),
    ("DCV", Quantity.DC_VOLTAGE_MV, 0, 1000),
    ("TmpCab", Quantity.TEMPERATURE_DECI_C, 0, 10),
    ("St", Quantity.STATUS, 0, 1),
)
_DER: _Rows = (
    ("W", Quantity.POWER_W, 0, 1),
    ("TotWhInj", Quantity.ENERGY_PRODUCED_WH, 0, 1),
    ("TotWhAbs", Quantity.ENERGY_CONSUMED_WH, 0, 1),
    ("VL1", Quantity.VOLTAGE_MV, 1, 1000),
    ("A", Quantity.CURRENT_MA, 0, 1000),
    ("Hz", Quantity.FREQUENCY_MHZ, 0, 1000),
    ("PF", Quantity.POWER_FACTOR_PER_MILLE, 0, 1000),
    ("Var", Quantity.REACTIVE_POWER_VAR, 0, 1),
    ("VA", Quantity.APPARENT_POWER_VA, 0, 1),
    ("TmpCab", Quantity.TEMPERATURE_DECI_C, 0, 10),
    ("St", Quantity.STATUS, 0, 1),
)
_METER: _Rows = (
    ("W", Quantity.POWER_W, 0, 1),
    ("WphA", Quantity.POWER_W, 1, 1),
    ("WphB", Quantity.POWER_W, 2, 1),
    ("WphC", Quantity.POWER_W, 3, 1),
    ("TotWhImp", Quantity.ENERGY_IMPORT_WH, 0, 1),
    ("TotWhExp", Quantity.ENERGY_EXPORT_WH, 0, 1),
    ("PhVphA", Quantity.VOLTAGE_MV, 1, 1000),
    ("PhVphB", Quantity.VOLTAGE_MV, 2, 1000),
    ("PhVphC", Quantity.VOLTAGE_MV, 3, 1000),
    ("AphA", Quantity.CURRENT_MA, 1, 1000),
    ("AphB", Quantity.CURRENT_MA, 2, 1000),
    ("AphC", Quantity.CURRENT_MA, 3, 1000),
    ("Hz", Quantity.FREQUENCY_MHZ, 0, 1000),
    ("PF", Quantity.POWER_FACTOR_PER_MILLE, 0, 10),
    ("VAR", Quantity.REACTIVE_POWER_VAR, 0, 1),
    ("VA", Quantity.APPARENT_POWER_VA, 0, 1),
)
_BANK: _Rows = (
    ("SoC", Quantity.STATE_OF_CHARGE_PER_MILLE, 0, 10),
    ("SoH", Quantity.STATE_OF_HEALTH_PER_MILLE, 0, 10),
    ("WHRtg", Quantity.CAPACITY_WH, 0, 1),
    ("WChaRteMax", Quantity.POWER_MAX_CHARGE_W, 0, 1),
    ("WDisChaRteMax", Quantity.POWER_MAX_DISCHARGE_W, 0, 1),
    ("W", Quantity.POWER_W, 0, 1),
)
_STORAGE: _Rows = (
    ("ChaState", Quantity.STATE_OF_CHARGE_PER_MILLE, 0, 10),
    ("WChaMax", Quantity.POWER_MAX_CHARGE_W, 0, 1),
)
_COUNTERS = frozenset(
    {
        Quantity.ENERGY_IMPORT_WH,
        Quantity.ENERGY_EXPORT_WH,
        Quantity.ENERGY_PRODUCED_WH,
        Quantity.ENERGY_CONSUMED_WH,
    }
)


def _rows(model: int) -> _Rows:
    if model == 701:
        return _DER
    if model in INVERTERS:
        return _INVERTER
    if model in METERS:
        return _METER
    return _STORAGE if model == 124 else _BANK


def columns(role: Role, models: Sequence[int]) -> list[tuple[int, Column]]:
    """What a device with these models gives in this role: (model, column), each point once.

    A battery's own state comes before its inverter's, so its power is the inverter's only where
    there is one: that is what flows into the house.
    """
    first = next((m for m in (*METERS, *INVERTERS) if m in models), None)
    if role in {Role.PV, Role.BATTERY}:
        first = next((m for m in (*INVERTERS, *METERS) if m in models), None)
    chosen = [] if first is None else [first]
    if role is Role.BATTERY:
        chosen += [m for m in (*BATTERIES, 124) if m in models]
    made: list[tuple[int, Column]] = []
    taken: set[tuple[Quantity, int]] = set()
    for model in chosen:
        for name, quantity, phase, per_unit in _rows(model):
            if (quantity, phase) in taken or not has(model, name):
                continue
            taken.add((quantity, phase))
            point = Point(quantity, phase, quantity in _COUNTERS and phase == 0)
            made.append((model, Column(name, point, per_unit)))
    return made
