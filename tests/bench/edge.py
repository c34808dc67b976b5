"""The edge room as a whole: the bus (modbus) and the agent round it."""

from typing import Any

from tests.bench import agent, modbus

PARTS = ("agent", "modbus")


def rows() -> list[dict[str, Any]]:
    """All rows of both, the bus first, because the agent stands on it."""
    return [*modbus.rows(), *agent.rows()]
