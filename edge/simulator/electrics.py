"""What flows through a home's connection, as a good meter would see it, in whole units.

Powers and energies are the home's own; voltage, current and frequency are made from them plus a
little noise that depends on the second and the seed alone, so that every device of a home agrees.
"""

from edge.simulator.home import MW_NS_PER_WH, PHASES, Home, noise
from protos.clock import SECOND_NS
from protos.messages import Quantity

NOMINAL_MV = 230_000
DROP_UV_PER_W = 1_200
"""A house line's resistance: feeding in lifts the voltage by this, drawing lowers it."""

POWER_FACTOR = 985

Electrics = dict[tuple[Quantity, int], int]
"""Whole numbers in the quantity's unit, by quantity and phase (0 is the total)."""


def frequency_mhz(home: Home) -> int:
    """The grid's frequency: the same in every home, but where a test moves it."""
    wander = noise(0, home.at_ns // SECOND_NS) % 41 - 20
    return 50_000 + wander + home.frequency_offset_mhz


def voltage_mv(home: Home, phase: int) -> int:
    """Phase counted from 0. 230 V, less the line's drop, with a third of a volt of noise."""
    jitter = noise(home.traits.seed + 7 + phase, home.at_ns // SECOND_NS) % 600 - 300
    drop_mv = home.phases_mw[phase] * DROP_UV_PER_W // 1_000_000
    return max(180_000, NOMINAL_MV - drop_mv + jitter)


def current_ma(power_mw: int, millivolt: int) -> int:
    """Apparent current, never negative, as meters show it."""
    return abs(power_mw) * 1_000_000 // (millivolt * POWER_FACTOR)


def grid_electrics(home: Home) -> Electrics:
    """Everything a meter at the grid connection can show of the home as it stands."""
    seen: Electrics = {(Quantity.FREQUENCY_MHZ, 0): frequency_mhz(home)}
    _add_power(seen, 0, home.grid_mw)
    counters = home.counters
    _add_energy(seen, 0, counters.imported, counters.exported)
    voltages = [voltage_mv(home, phase) for phase in range(PHASES)]
    currents = [current_ma(home.phases_mw[phase], voltages[phase]) for phase in range(PHASES)]
    seen[Quantity.VOLTAGE_MV, 0] = sum(voltages) // PHASES
    seen[Quantity.CURRENT_MA, 0] = sum(currents)
    for phase in range(PHASES):
        seen[Quantity.VOLTAGE_MV, phase + 1] = voltages[phase]
        seen[Quantity.CURRENT_MA, phase + 1] = currents[phase]
        _add_power(seen, phase + 1, home.phases_mw[phase])
        _add_energy(seen, phase + 1, home.phase_imported[phase], home.phase_exported[phase])
    return seen


def single_phase(seen: Electrics, home: Home) -> Electrics:
    """The same connection behind a single-phase meter: one wire carries everything."""
    seen[Quantity.VOLTAGE_MV, 0] = seen[Quantity.VOLTAGE_MV, 1]
    seen[Quantity.CURRENT_MA, 0] = current_ma(home.grid_mw, seen[Quantity.VOLTAGE_MV, 1])
    for quantity, phase in list(seen):
        if phase == 1:
            seen[quantity, 1] = seen[quantity, 0]
    return seen


def _add_power(seen: Electrics, phase: int, power_mw: int) -> None:
    watts = _nearest(power_mw, 1_000)
    seen[Quantity.POWER_W, phase] = watts
    seen[Quantity.APPARENT_POWER_VA, phase] = abs(power_mw) // POWER_FACTOR
    seen[Quantity.REACTIVE_POWER_VAR, phase] = abs(power_mw) * 175 // 1_000_000
    seen[Quantity.POWER_FACTOR_PER_MILLE, phase] = POWER_FACTOR


def _add_energy(seen: Electrics, phase: int, imported: int, exported: int) -> None:
    seen[Quantity.ENERGY_IMPORT_WH, phase] = imported // MW_NS_PER_WH
    seen[Quantity.ENERGY_EXPORT_WH, phase] = exported // MW_NS_PER_WH


def _nearest(value: int, per: int) -> int:
    return (2 * value + per) // (2 * per)
