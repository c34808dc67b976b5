"""What the zone says about its market in the Welcome."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """Prices in micro-units per kWh. The gate of a slot closes so long before the slot starts."""

    zone: str
    tick_micro_per_kwh: int
    price_min_micro_per_kwh: int
    price_max_micro_per_kwh: int
    gate_closure_s: int
