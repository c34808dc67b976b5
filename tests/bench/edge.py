"""The edge room as a whole: the bus, the agent round it, what both survive, what both never sign."""

import importlib
import importlib.util
from typing import Any

from tests.bench import agent, endurance, hostile, modbus

PARTS = ("agent", "endurance", "failsafe", "hostile", "modbus")


def rows() -> list[dict[str, Any]]:
    """All rows, the bus first, because the agent stands on it."""
    return [
        *hostile.rows(),
        *modbus.rows(),
        *agent.rows(),
        *endurance.rows(),
        *_setpoint_rows(),
    ]


def _setpoint_rows() -> list[dict[str, Any]]:
    """How soon a killed agent's setpoint is undone, where that is measured."""
    if importlib.util.find_spec("tests.bench.failsafe") is not None:
        found = importlib.import_module("tests.bench.failsafe").rows()
        return list(found)
    return [
        {
            "name": "setpoint back to default after kill -9 of the agent",
            "value": None,
            "unit": "TTL",
            "target": 2,
            "direction": "min",
            "ok": None,
            "baseline": None,
            "note": "there is no tests/bench/failsafe.py in this checkout",
        }
    ]
