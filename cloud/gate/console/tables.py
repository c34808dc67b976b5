"""The operator's tables: views as rows of plain values, each with a key that never changes.

Decides what is worth an operator's look: the most urgent alarms, the slots around now, the most
loaded wires. It changes nothing and formats nothing: units stay those of the house (W, Wh, per
mille, micro-units, ms since 1970).
"""

import re
from collections.abc import Mapping
from typing import Any

from cloud.market.zone import Zone
from cloud.store.views import AlarmRow, Views
from protos.clock import MINUTE_NS, slot_at, slot_start_ns

SLOTS_BEFORE = 32
SLOTS_AFTER = 64
ALARMS_SHOWN_MAX = 50
ALARM_RATE_NS = 10 * MINUTE_NS
BIDS_SHOWN_MAX = 24
BLOCKS_SHOWN_MAX = 12
FEEDERS_SHOWN_MAX = 24
PRIORITIES = (1, 2, 3)

NAMES_AN_ELEMENT = {"loading", "outage", "redispatch", "contested", "limit"}
"""Kinds of alarms whose key ends with a zone and an element."""

_NS_PER_MS = 1_000_000
_SLOT_IN_WORDS = re.compile(r"\bslot (\d+)\b")

Row = tuple[Any, ...]
Table = dict[str, Row]

COLUMNS: dict[str, tuple[str, ...]] = {
    "alarms": ("key", "priority", "at_ms", "source", "message", "count", "acknowledged"),
    "feeders": ("key", "zone", "slot", "element", "name", "power_w", "limit_w"),
    "slots": (
        "key",
        "zone",
        "slot",
        "starts_ms",
        "state",
        "trades",
        "volume_wh",
        "price_micro_per_kwh",
        "delivered_wh",
        "referee_per_mille",
    ),
    "bids": (
        "key",
        "venue",
        "starts_ms",
        "power_w",
        "price_micro_per_mwh",
        "state",
        "reason",
        "awarded_w",
        "delivered_wh",
        "revenue_micro",
    ),
    "blocks": ("key", "size", "root", "at_ms"),
}
"""The names of every row's places. The first is the key."""


def tables(views: Views, zones: Mapping[str, Zone], now_ns: int) -> dict[str, Table]:
    """All tables as they stand."""
    return {
        "alarms": _alarms(views, zones),
        "feeders": _feeders(views, zones),
        "slots": _slots(views, now_ns),
        "bids": _bids(views),
        "blocks": _blocks(views),
    }


def alarm_counts(views: Views, now_ns: int) -> dict[str, Any]:
    """How many wait for an operator, by priority, and how many rose in the last ten minutes."""
    waiting = [row.priority for row in views.alarms.values() if not row.acknowledged]
    return {
        "waiting": [waiting.count(priority) for priority in PRIORITIES],
        "risen": sum(now_ns - row.at_ns < ALARM_RATE_NS for row in views.alarms.values()),
    }


def _alarms(views: Views, zones: Mapping[str, Zone]) -> Table:
    """The most urgent first, so that a flood of small ones never pushes a great one out."""
    urgent = sorted(
        views.alarms.values(), key=lambda row: (row.acknowledged, row.priority, -row.at_ns)
    )
    return {
        row.key: (
            row.key,
            row.priority,
            row.at_ns // _NS_PER_MS,
            _source(row, views),
            _worded(row, zones),
            row.count,
            row.acknowledged,
        )
        for row in urgent[:ALARMS_SHOWN_MAX]
    }


def _source(row: AlarmRow, views: Views) -> str:
    """The home's name where the alarm is about a gateway, else what the alarm says."""
    for part in row.key.split("/"):
        if part in views.gateways:
            return views.gateways[part].account
    return row.source


def _worded(row: AlarmRow, zones: Mapping[str, Zone]) -> str:
    """The message with names and times in place of element and slot numbers."""
    kind, *about = row.key.split("/")
    message = _SLOT_IN_WORDS.sub(lambda found: f"slot {_time(int(found[1]))}", row.message)
    if kind in NAMES_AN_ELEMENT and len(about) == 2 and about[1].isdigit():
        zone, element = about
        message = message.replace(f"element {element}", _element(zones, zone, int(element)))
    return message


def _time(slot: int) -> str:
    minutes = slot_start_ns(slot) // MINUTE_NS % 1_440
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _element(zones: Mapping[str, Zone], zone: str, element: int) -> str:
    names = zones[zone].network.element_names if zone in zones else ()
    return names[element] if element < len(names) and names[element] else f"element {element}"


def _feeders(views: Views, zones: Mapping[str, Zone]) -> Table:
    flows = [
        (zone, closed.slot, flow) for zone, closed in views.feeders.items() for flow in closed.flows
    ]
    flows.sort(key=lambda row: -abs(row[2].power_w) / max(row[2].limit_w, 1))
    return {
        f"{zone}/{flow.element}": (
            f"{zone}/{flow.element}",
            zone,
            slot,
            flow.element,
            _element(zones, zone, flow.element),
            flow.power_w,
            flow.limit_w,
        )
        for zone, slot, flow in flows[:FEEDERS_SHOWN_MAX]
    }


def _slots(views: Views, now_ns: int) -> Table:
    current = slot_at(now_ns)
    wanted = range(current - SLOTS_BEFORE, current + SLOTS_AFTER)
    return {
        f"{zone}/{slot}": (
            f"{zone}/{slot}",
            zone,
            slot,
            slot_start_ns(slot) // _NS_PER_MS,
            row.state,
            row.trades,
            row.volume_wh,
            row.last_price_micro_per_kwh,
            row.delivered_wh,
            row.referee_per_mille,
        )
        for (zone, slot), row in views.slots.items()
        if slot in wanted
    }


def _bids(views: Views) -> Table:
    return {
        row.bid_id: (
            row.bid_id,
            row.venue,
            row.starts_ns // _NS_PER_MS,
            row.power_w,
            row.price_micro_per_mwh,
            row.state,
            row.reason,
            row.awarded_w,
            row.delivered_wh,
            row.revenue_micro,
        )
        for row in list(views.bids.values())[-BIDS_SHOWN_MAX:]
    }


def _blocks(views: Views) -> Table:
    return {
        str(block.number): (
            str(block.number),
            block.size,
            block.root.hex(),
            block.at_ns // _NS_PER_MS,
        )
        for block in list(views.blocks)[-BLOCKS_SHOWN_MAX:]
    }
