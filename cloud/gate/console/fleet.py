"""The gateways as a window: a page asks for the rows it shows, never for the whole fleet.

So what a page costs is bounded by its height, at twenty homes and at five thousand. Filtering and
sorting happen here, once a tick for all pages that ask the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from cloud.store.views import GatewayRow, Views
from protos.clock import MINUTE_NS

SILENT_NS = 5 * MINUTE_NS
"""A gateway that was not heard for this long (of the clock's time) counts as silent."""

WINDOW_ROWS_MAX = 200
FILTER_LENGTH_MAX = 64
ORDERS_KEPT_MAX = 16

Order = Literal[
    "account", "node", "pv_w", "load_w", "battery_w", "grid_w", "soc_per_mille", "seq", "seen_ns"
]
COLUMNS = (
    "device",
    "account",
    "node",
    "pv_w",
    "load_w",
    "battery_w",
    "grid_w",
    "soc_per_mille",
    "capacity_wh",
    "seq",
    "seen_ms",
    "is_glimpse",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which gateways, in which order. `text` is looked for in home, device and zone."""

    text: str = ""
    is_silent_only: bool = False
    order: Order = "account"
    is_descending: bool = False


class Fleet:
    """The gateways of the views, ordered as pages want them."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._now_ns = 0
        self._ordered: dict[Wanted, list[GatewayRow]] = {}

    def advance(self, now_ns: int) -> dict[str, Any]:
        """A new tick: orders are made afresh. Returns what all gateways together do."""
        self._now_ns = now_ns
        self._ordered.clear()
        pv_w = battery_w = load_w = grid_w = newest_ns = silent = 0
        for row in self._views.gateways.values():
            pv_w += row.pv_w
            battery_w += row.battery_w
            load_w += row.load_w
            grid_w += row.grid_w
            newest_ns = max(newest_ns, row.seen_ns)
            silent += self._is_silent(row)
        return {
            "online": len(self._views.gateways) - silent,
            "silent": silent,
            "pv_w": pv_w,
            "battery_w": battery_w,
            "load_w": load_w,
            "grid_w": grid_w,
            "at_ms": newest_ns // 1_000_000,
        }

    def window(self, wanted: Wanted, first: int, count: int) -> dict[str, Any]:
        """Rows `first` to `first + count` of those wanted, as columns name them."""
        rows = self._order(wanted)
        first = max(0, min(first, len(rows) - 1))
        return {
            "total": len(self._views.gateways),
            "matched": len(rows),
            "first": first,
            "columns": COLUMNS,
            "rows": [_shown(row) for row in rows[first : first + min(count, WINDOW_ROWS_MAX)]],
        }

    def everybody(self) -> list[tuple[Any, ...]]:
        """Every gateway's row, for programs."""
        return [_shown(row) for row in self._views.gateways.values()]

    def _order(self, wanted: Wanted) -> list[GatewayRow]:
        if wanted not in self._ordered:
            if len(self._ordered) >= ORDERS_KEPT_MAX:
                self._ordered.clear()
            text = wanted.text.casefold()
            rows = [row for row in self._views.gateways.values() if self._fits(row, wanted, text)]
            rows.sort(key=_key(wanted.order), reverse=wanted.is_descending)
            self._ordered[wanted] = rows
        return self._ordered[wanted]

    def _fits(self, row: GatewayRow, wanted: Wanted, text: str) -> bool:
        if wanted.is_silent_only and not self._is_silent(row):
            return False
        return any(text in name.casefold() for name in (row.account, row.device, row.zone))

    def _is_silent(self, row: GatewayRow) -> bool:
        return self._now_ns - row.seen_ns >= SILENT_NS


def _key(order: Order) -> Callable[[GatewayRow], tuple[Any, str]]:
    return lambda row: (getattr(row, order), row.device)


def _shown(row: GatewayRow) -> tuple[Any, ...]:
    return (
        row.device,
        row.account,
        row.node,
        row.pv_w,
        row.load_w,
        row.battery_w,
        row.grid_w,
        row.soc_per_mille,
        row.capacity_wh,
        row.seq,
        row.seen_ns // 1_000_000,
        row.is_glimpse,
    )
