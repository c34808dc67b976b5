"""The port of a forecaster: a history of quarter hours in, three curves of whole Wh out.

Whatever can do this may take the place of the forecasters of this room. Must never hand out a
float: a forecast enters the machines as a command, and is rounded once, here.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from protos.units import round_measured

Floats = npt.NDArray[np.float64]

HORIZON_MAX = 192
"""Two days: what a day-ahead market can ask for."""

HISTORY_MAX = 2 * 35_136
ENERGY_WH_MAX = 1 << 40


class Forecast(NamedTuple):
    """What is expected of each slot, in Wh, and the bounds of four fifths of what may come."""

    median_wh: tuple[int, ...]
    low_wh: tuple[int, ...]
    high_wh: tuple[int, ...]


class Forecaster(Protocol):
    """Shapes: `history_wh` has one entry a slot, the last of slot `start_slot - 1`, none missing;
    the answer has `horizon` entries a curve, the first of `start_slot`. The same history gives the
    same forecast. Raises ValueError for what cannot be meant.
    """

    def forecast(self, history_wh: Sequence[int], start_slot: int, horizon: int) -> Forecast: ...


def checked(history_wh: Sequence[int], start_slot: int, horizon: int) -> Floats:
    """The history as a forecaster computes with it. Raises ValueError."""
    if not 1 <= horizon <= HORIZON_MAX:
        raise ValueError(f"a horizon of {horizon} slots; ask for 1 to {HORIZON_MAX}")
    if not 1 <= len(history_wh) <= min(HISTORY_MAX, start_slot):
        raise ValueError(
            f"a history of {len(history_wh)} slots before slot {start_slot}; give 1 to "
            f"{HISTORY_MAX}, none before slot 0"
        )
    history = np.array(history_wh, np.int64)
    if np.abs(history).max() > ENERGY_WH_MAX:
        raise ValueError(f"a history with more than {ENERGY_WH_MAX} Wh in a slot; check its unit")
    return history.astype(np.float64)


def rounded_forecast(median: Floats, low: Floats, high: Floats, history: Floats) -> Forecast:
    """The one rounding: to whole Wh, never crossing, and never below zero for what never was.

    Raises ValueError where a curve is not finite.
    """
    if history.min() >= 0:
        median, low, high = (np.maximum(curve, 0.0) for curve in (median, low, high))
    curves = (np.minimum(low, median), median, np.maximum(high, median))
    lowest, middle, highest = (
        tuple(round_measured(float(value)) for value in curve) for curve in curves
    )
    return Forecast(middle, lowest, highest)
