"""The operator's screen as data: views turned into plain JSON tables, once a tick for everybody.

Units stay those of the house (W, Wh, per mille, micro-units); the page formats them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from cloud.store.views import AlarmRow, BidRow, GatewayRow, SlotRow, Views
from protos.clock import MINUTE_NS, Clock, slot_at, slot_start_ns
from protos.limits import CONSOLE_QUEUE_MAX

TICK_S = 1.0
SLOTS_BEFORE = 8
SLOTS_AFTER = 24
ONLINE_NS = 5 * MINUTE_NS
"""A gateway that was not heard for this long (of the clock's time) counts as silent."""


class Screen:
    """What every open page is told each second. One encoding serves all of them."""

    def __init__(self, views: Views, clock: Clock) -> None:
        self._views = views
        self._clock = clock
        self._clients: set[asyncio.Queue[str]] = set()
        self._sent_rows: dict[str, tuple[Any, ...]] = {}
        self._tick = 0

    async def run(self) -> None:
        while True:
            self._broadcast()
            await asyncio.sleep(TICK_S)

    async def stream(self) -> AsyncIterator[str]:
        """Messages for one page: first everything, then what changed. A slow page skips ticks."""
        queue: asyncio.Queue[str] = asyncio.Queue(CONSOLE_QUEUE_MAX)
        self._clients.add(queue)
        try:
            yield self.everything()
            while True:
                yield await queue.get()
        finally:
            self._clients.discard(queue)

    def everything(self) -> str:
        """The whole screen as one JSON document."""
        rows = [_gateway(row) for row in self._views.gateways.values()]
        return _encode(self._tables() | {"gateways": rows, "complete": True})

    def _broadcast(self) -> None:
        self._tick += 1
        if not self._clients:
            self._sent_rows.clear()
            return
        message = _encode(self._tables() | {"gateways": list(self._changed()), "complete": False})
        for queue in self._clients:
            if queue.full():
                # The page takes only the newest; a skipped delta is made good by a full one.
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(self.everything())
            else:
                queue.put_nowait(message)

    def _changed(self) -> Iterable[dict[str, Any]]:
        for row in self._views.gateways.values():
            shown = _gateway(row)
            seen = tuple(shown.values())
            if self._sent_rows.get(row.device) != seen:
                self._sent_rows[row.device] = seen
                yield shown

    def _tables(self) -> dict[str, Any]:
        views, now_ns = self._views, self._clock.now_ns()
        rows = views.gateways.values()
        totals = views.totals
        return {
            "tick": self._tick,
            "now_ms": now_ns // 1_000_000,
            "online": sum(now_ns - row.seen_ns < ONLINE_NS for row in rows),
            "silent": sum(now_ns - row.seen_ns >= ONLINE_NS for row in rows),
            "flow": {
                "pv_w": sum(row.pv_w for row in rows),
                "battery_w": sum(row.battery_w for row in rows),
                "load_w": sum(row.load_w for row in rows),
                "grid_w": sum(row.grid_w for row in rows),
                "at_ms": max((row.seen_ns for row in rows), default=0) // 1_000_000,
            },
            "slots": [_slot(row) for row in _window(views, now_ns)],
            "feeders": [
                {
                    "zone": zone,
                    "slot": closed.slot,
                    "element": flow.element,
                    "power_w": flow.power_w,
                    "limit_w": flow.limit_w,
                }
                for zone, closed in views.feeders.items()
                for flow in closed.flows
            ],
            "bids": [_bid(row) for row in list(views.bids.values())[-24:]],
            "blocks": [
                {
                    "number": block.number,
                    "size": block.size,
                    "root": block.root.hex(),
                    "at_ms": block.at_ns // 1_000_000,
                }
                for block in list(views.blocks)[-12:]
            ],
            "alarms": [_alarm(row) for row in list(views.alarms.values())[-50:]],
            "totals": {
                "readings": totals.readings,
                "offers": totals.offers,
                "trades": totals.trades,
                "slots_settled": totals.slots_settled,
                "minted_wh": totals.minted_wh,
                "burned_wh": totals.burned_wh,
                "leases_sent": totals.leases_sent,
                "leases_confirmed": totals.leases_confirmed,
                "refused": sum(totals.refused.values()),
            },
        }


def _window(views: Views, now_ns: int) -> list[SlotRow]:
    current = slot_at(now_ns)
    wanted = range(current - SLOTS_BEFORE, current + SLOTS_AFTER)
    return sorted(
        (row for (_, slot), row in views.slots.items() if slot in wanted),
        key=lambda row: row.slot,
    )


def _gateway(row: GatewayRow) -> dict[str, Any]:
    return {
        "device": row.device,
        "account": row.account,
        "node": row.node,
        "seen_ms": row.seen_ns // 1_000_000,
        "seq": row.seq,
        "grid_w": row.grid_w,
        "pv_w": row.pv_w,
        "battery_w": row.battery_w,
        "load_w": row.load_w,
        "soc_per_mille": row.soc_per_mille,
        "capacity_wh": row.capacity_wh,
    }


def _slot(row: SlotRow) -> dict[str, Any]:
    return {
        "slot": row.slot,
        "starts_ms": slot_start_ns(row.slot) // 1_000_000,
        "state": row.state,
        "trades": row.trades,
        "volume_wh": row.volume_wh,
        "price_micro_per_kwh": row.last_price_micro_per_kwh,
        "delivered_wh": row.delivered_wh,
        "referee_per_mille": row.referee_per_mille,
    }


def _bid(row: BidRow) -> dict[str, Any]:
    return {
        "bid_id": row.bid_id,
        "venue": row.venue,
        "starts_ms": row.starts_ns // 1_000_000,
        "power_w": row.power_w,
        "price_micro_per_mwh": row.price_micro_per_mwh,
        "state": row.state,
        "reason": row.reason,
        "awarded_w": row.awarded_w,
        "delivered_wh": row.delivered_wh,
    }


def _alarm(row: AlarmRow) -> dict[str, Any]:
    return {
        "key": row.key,
        "priority": row.priority,
        "at_ms": row.at_ns // 1_000_000,
        "source": row.source,
        "message": row.message,
        "count": row.count,
        "acknowledged": row.acknowledged,
    }


def _encode(tables: dict[str, Any]) -> str:
    return json.dumps(tables, separators=(",", ":"))
