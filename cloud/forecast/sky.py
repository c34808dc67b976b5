"""Where the sun stands, and what it brings through a clear sky.

Position: Spencer's series for declination and the equation of time (J. W. Spencer, "Fourier series
representation of the position of the sun", Search 2 (1971) 172). Clear sky: Haurwitz' formula for
global horizontal irradiance, GHI = 1098 * cos(z) * exp(-0.057 / cos(z)) in W/m2 (B. Haurwitz,
J. Meteorology 2 (1945) 154), which needs the sun's height alone. Good to some percent of a clear
noon: the rest is learnt from the plant's own history.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protos.clock import SLOT_NS, SLOTS_PER_DAY

Floats = npt.NDArray[np.float64]

_DAY_OF_EPOCH_IN_CYCLE = 365.25
_HALF_SLOT = 0.5
_SLOTS_PER_MINUTE = 60_000_000_000 / SLOT_NS
_MINUTES_PER_DEGREE = 4.0


@dataclass(frozen=True, slots=True)
class Place:
    """Degrees, north and east positive."""

    latitude_deg: float
    longitude_deg: float

    def __post_init__(self) -> None:
        if not (-90 <= self.latitude_deg <= 90 and -180 <= self.longitude_deg <= 180):
            raise ValueError(f"{self} is not on the earth; latitude first, in degrees")


def clear_sky_w_per_m2(place: Place, first_slot: int, count: int) -> Floats:
    """Global horizontal irradiance at the middle of `count` slots, in W/m2, 0 at night."""
    slots = first_slot + np.arange(count) + _HALF_SLOT
    days = slots / SLOTS_PER_DAY
    angle = 2 * np.pi * (days % _DAY_OF_EPOCH_IN_CYCLE) / _DAY_OF_EPOCH_IN_CYCLE
    declination = (
        0.006918
        - 0.399912 * np.cos(angle)
        + 0.070257 * np.sin(angle)
        - 0.006758 * np.cos(2 * angle)
        + 0.000907 * np.sin(2 * angle)
        - 0.002697 * np.cos(3 * angle)
        + 0.00148 * np.sin(3 * angle)
    )
    equation_min = 229.18 * (
        0.000075
        + 0.001868 * np.cos(angle)
        - 0.032077 * np.sin(angle)
        - 0.014615 * np.cos(2 * angle)
        - 0.040849 * np.sin(2 * angle)
    )
    minute_utc = (slots % SLOTS_PER_DAY) / _SLOTS_PER_MINUTE
    solar_min = minute_utc + equation_min + _MINUTES_PER_DEGREE * place.longitude_deg
    hour_angle = np.radians(solar_min / _MINUTES_PER_DEGREE - 180)
    latitude = np.radians(place.latitude_deg)
    height = np.sin(latitude) * np.sin(declination)
    height += np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    up = np.maximum(height, 1e-3)
    return np.where(height > 1e-3, 1_098 * up * np.exp(-0.057 / up), 0.0)
