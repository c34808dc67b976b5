from array import array
from collections.abc import Sequence
from typing import Final

ITERATIONS_MAX: Final[int]
CLOCKS: Final[tuple[int, ...]]

class Sweep3:
    size: int
    def __init__(
        self,
        parent: Sequence[int],
        positive: Sequence[complex],
        zero: Sequence[complex],
        shunt_positive: Sequence[complex],
        shunt_zero: Sequence[complex],
        ratio: Sequence[float],
        clock: Sequence[int],
        root_voltage_pu: float,
    ) -> None: ...
    def reset(self) -> None: ...
    def load(self, p_w: Sequence[float], q_var: Sequence[float]) -> None: ...
    def add(self, node: int, phase: int, p_w: float, q_var: float = 0.0) -> None: ...
    def solve(
        self, p_w: Sequence[float], q_var: Sequence[float], tolerance: float = 1e-8
    ) -> int: ...
    def settle(self, tolerance: float = 1e-8) -> int: ...
    def sweeps(self, count: int, element: int = 0) -> float: ...
    def voltages_pu(self) -> array[float]: ...
    def current_pu(self, element: int) -> tuple[float, float, float]: ...
