"""The operator's screen on the wire: everything once, then what changed, one encoding for all pages.

Units stay those of the house (W, Wh, per mille, micro-units); the page formats them. A page that
reads slowly skips ticks and is told everything again; it never holds the others up.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Any

from cloud.gate.console.fleet import COLUMNS as FLEET_COLUMNS
from cloud.gate.console.fleet import Fleet
from cloud.gate.console.tables import COLUMNS, Table, alarm_counts, tables
from cloud.market.zone import Zone
from cloud.store.views import Views
from protos.clock import Clock
from protos.limits import CONSOLE_QUEUE_MAX

TICK_S = 1.0


class Screen:
    """What every open page is told each second.

    A page that joins gets the state of the last tick, not of this instant: the next tick says what
    changed since then, and nothing can be lost in between.
    """

    def __init__(self, views: Views, clock: Clock, zones: Mapping[str, Zone] | None = None) -> None:
        """`zones` give wires their names and prices their currency; without them: numbers."""
        self.fleet = Fleet(views)
        self._views = views
        self._clock = clock
        self._zones = zones or {}
        self._clients: set[asyncio.Queue[str]] = set()
        self._tick = 0
        self._now_ms = 0
        self._values: dict[str, Any] = {}
        self._tables: dict[str, Table] = {name: {} for name in COLUMNS}
        self._changed_ms = dict.fromkeys(COLUMNS, 0)

    async def run(self) -> None:
        while True:
            self._broadcast()
            await asyncio.sleep(TICK_S)

    async def stream(self) -> AsyncIterator[str]:
        """Messages for one page: first everything, then what changed. A slow page skips ticks."""
        queue: asyncio.Queue[str] = asyncio.Queue(CONSOLE_QUEUE_MAX)
        if not self._tick:
            self._advance()
        self._clients.add(queue)
        try:
            yield self._complete()
            while True:
                yield await queue.get()
        finally:
            self._clients.discard(queue)

    def everything(self) -> str:
        """The whole screen of this instant, gateways too, as one JSON document with names."""
        now_ns = self._clock.now_ns()
        found = tables(self._views, self._zones, now_ns)
        named = {
            name: [dict(zip(COLUMNS[name], row, strict=True)) for row in table.values()]
            for name, table in found.items()
        }
        gateways = [dict(zip(FLEET_COLUMNS, row, strict=True)) for row in self.fleet.everybody()]
        return _encode({"now_ms": now_ns // 1_000_000, "gateways": gateways, **named})

    def _broadcast(self) -> None:
        changes = self._advance()
        if not self._clients:
            return
        message = _encode(changes)
        for queue in self._clients:
            if queue.full():
                # The page takes only the newest; what it skipped is made good by telling all.
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(self._complete())
            else:
                queue.put_nowait(message)

    def _advance(self) -> dict[str, Any]:
        """Takes the state of now; returns what is different from the last tick's."""
        now_ns = self._clock.now_ns()
        self._tick += 1
        self._now_ms = now_ns // 1_000_000
        values = self._read_values(now_ns)
        changed = {name: value for name, value in values.items() if self._values.get(name) != value}
        self._values = values
        fresh = tables(self._views, self._zones, now_ns)
        deltas = {}
        for name, table in fresh.items():
            delta = _delta(self._tables[name], table)
            if delta:
                self._changed_ms[name] = self._now_ms
                deltas[name] = delta | {"at_ms": self._now_ms}
        self._tables = fresh
        return {"now_ms": self._now_ms, "values": changed, "tables": deltas}

    def _complete(self) -> str:
        """The state of the last tick, with the names of the columns."""
        told = {
            name: {"rows": list(table.values()), "at_ms": self._changed_ms[name]}
            for name, table in self._tables.items()
        }
        return _encode(
            {"now_ms": self._now_ms, "values": self._values, "tables": told, "columns": COLUMNS}
        )

    def _read_values(self, now_ns: int) -> dict[str, Any]:
        totals = asdict(self._views.totals)
        totals["refused"] = sum(totals["refused"].values())
        return {
            "fleet": self.fleet.advance(now_ns),
            "alarms": alarm_counts(self._views, now_ns),
            "totals": totals,
            "currencies": {name: zone.rules.currency for name, zone in self._zones.items()},
        }


def _delta(before: Table, after: Table) -> dict[str, Any]:
    """The rows that are new or different, and the keys of those that left. Empty: all the same."""
    delta: dict[str, Any] = {}
    rows = [row for key, row in after.items() if before.get(key) != row]
    gone = [key for key in before if key not in after]
    if rows:
        delta["rows"] = rows
    if gone:
        delta["gone"] = gone
    return delta


def _encode(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))
