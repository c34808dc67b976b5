"""What the grid room's figures are made with: a row, a time."""

from collections.abc import Callable
from time import process_time
from typing import Any

Row = dict[str, Any]


def row(
    name: str,
    value: float,
    unit: str,
    target: float,
    baseline: str,
    note: str = "",
    direction: str = "min",
) -> Row:
    """One figure, which should be at most its target, or with `max` at least."""
    return {
        "name": name,
        "value": float(f"{value:.4g}"),
        "unit": unit,
        "target": target,
        "direction": direction,
        "ok": value >= target if direction == "max" else value <= target,
        "baseline": baseline,
        "note": note,
    }


def seconds(call: Callable[[], object], repeat: int = 5) -> float:
    """Processor time, the best of some runs: what the machine does when it is left alone, also
    where it is not.
    """
    runs = []
    for _ in range(repeat):
        begin = process_time()
        call()
        runs.append(process_time() - begin)
    return min(runs)
