"""Values by OBIS code, as meters write them in plain text: P1 telegrams and IEC 62056-21 blocks.

Pure. Decimal text becomes whole numbers of canonical units without a float on the way. It must
never read a value in a unit that it does not know.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from edge.devices.device import Point
from protos.messages import Quantity

_LINE = re.compile(r"^(?:\d+-\d+:)?(\d+\.\d+\.\d+)(?:[*&]\d+)?((?:\([^()]*\))+)$")
_LAST = re.compile(r"\((-?[0-9]+(?:\.[0-9]+)?)(?:\*([A-Za-z0-9]+))?\)$")
_UNITS: Mapping[str, tuple[str, int]] = {
    "kWh": ("Wh", 1000),
    "Wh": ("Wh", 1),
    "MWh": ("Wh", 1_000_000),
    "kW": ("W", 1000),
    "W": ("W", 1),
    "kvar": ("var", 1000),
    "var": ("var", 1),
    "V": ("mV", 1000),
    "A": ("mA", 1000),
    "Hz": ("mHz", 1000),
}
"""A written unit as its canonical one, and how many of those it is."""

Values = Mapping[str, tuple[Fraction, str]]
"""Value and canonical unit by OBIS code C.D.E."""


@dataclass(frozen=True, slots=True)
class Column:
    """One point as a sum of codes, less a sum of others; all of them must be there."""

    point: Point
    unit: str
    plus: tuple[str, ...]
    minus: tuple[str, ...] = ()


def _phase(quantity: Quantity, phase: int, unit: str, code: int, back: int = 0) -> Column:
    """Phase values stand 20 codes apart."""
    step = 20 * (phase - 1)
    minus = (f"{back + step}.7.0",) if back else ()
    return Column(Point(quantity, phase), unit, (f"{code + step}.7.0",), minus)


def _counter(quantity: Quantity, code: int) -> list[Column]:
    """The total register, else the sum of all tariffs that there are, four at most."""
    # No consumer's connection carries more; the counters have six digits of kWh.
    point = Point(quantity, 0, billing=True, rollover_wh=10**9, max_rate_w=100_000)
    tariffs = [tuple(f"{code}.8.{n}" for n in range(1, last + 1)) for last in (4, 3, 2, 1)]
    return [Column(point, "Wh", plus) for plus in ((f"{code}.8.0",), *tariffs)]


COLUMNS: tuple[Column, ...] = (
    *_counter(Quantity.ENERGY_IMPORT_WH, 1),
    *_counter(Quantity.ENERGY_EXPORT_WH, 2),
    Column(Point(Quantity.POWER_W), "W", ("1.7.0",), ("2.7.0",)),
    Column(Point(Quantity.POWER_W), "W", ("16.7.0",)),
    *(_phase(Quantity.POWER_W, phase, "W", 21, 22) for phase in (1, 2, 3)),
    *(_phase(Quantity.VOLTAGE_MV, phase, "mV", 32) for phase in (1, 2, 3)),
    *(_phase(Quantity.CURRENT_MA, phase, "mA", 31) for phase in (1, 2, 3)),
    Column(Point(Quantity.REACTIVE_POWER_VAR), "var", ("3.7.0",), ("4.7.0",)),
    Column(Point(Quantity.FREQUENCY_MHZ), "mHz", ("14.7.0",)),
)
"""What is looked for, in the order of preference for one point."""


def parse_lines(lines: Sequence[str]) -> dict[str, tuple[Fraction, str]]:
    """Every line that holds one number in a known unit; others are left out. A code that comes
    twice with different values has none.
    """
    values: dict[str, tuple[Fraction, str]] = {}
    doubtful: set[str] = set()
    for line in lines:
        found = _LINE.match(line.strip())
        number = _LAST.search(found[2]) if found else None
        if found is None or number is None or number[2] not in _UNITS:
            continue
        unit, factor = _UNITS[number[2]]
        value = (Fraction(number[1]) * factor, unit)
        if values.setdefault(found[1], value) != value:
            doubtful.add(found[1])
    return {code: value for code, value in values.items() if code not in doubtful}


def column_value(column: Column, values: Values) -> int | None:
    """A point's value, None where a part is missing or in another unit."""
    total = Fraction(0)
    for sign, codes in ((1, column.plus), (-1, column.minus)):
        for code in codes:
            part = values.get(code)
            if part is None or part[1] != column.unit:
                return None
            total += sign * part[0]
    return round(total)


def columns_of(values: Values) -> tuple[Column, ...]:
    """The columns that these values fill, each point once."""
    chosen: dict[tuple[Quantity, int], Column] = {}
    for column in COLUMNS:
        if column_value(column, values) is not None:
            chosen.setdefault((column.point.quantity, column.point.phase), column)
    return tuple(chosen.values())
