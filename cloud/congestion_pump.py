"""The forecast of congestion: what homes that are heard will draw, in place of what a year of
profiles says of them.

Sums the telemetry of the homes below each transformer by slot; at each slot's beginning their load
and their generation are forecast, off the event loop, by whatever stands behind the port (recursive
ridge; with a place, clear sky for the generation). Decides nothing: grid operators read it, no
machine does. Below a day of history the profiles stand.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cloud.facts import ElementFlow, Fact, Telemetry
from cloud.forecast.history import SlotHistory
from cloud.forecast.port import Forecaster
from cloud.forecast.ridge import RidgeForecaster
from cloud.forecast.sky import Place
from cloud.grid.network import Network
from cloud.market.zone import Zone
from cloud.writer import Writer
from protos.clock import SLOTS_PER_DAY, SLOTS_PER_HOUR, Clock, slot_at
from protos.ids import DeviceId

POLL_S = 60.0
GROUPS_MAX = 512
"""Transformers with homes that are heard; of more the first to be heard are forecast."""


@dataclass(slots=True)
class _Group:
    """The homes below one transformer: their history, and by slot the W they are expected to draw."""

    history: SlotHistory = field(default_factory=SlotHistory)
    nodes: dict[DeviceId, int] = field(default_factory=dict)
    expected_w: dict[int, int] = field(default_factory=dict)


class CongestionPump:
    """All zones'. `listen` is a fact listener of the writer, `run` the pump."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        places: Mapping[str, Place] | None = None,
        load: Forecaster | None = None,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._places = places or {}
        self._load = load or RidgeForecaster()
        self._groups: dict[tuple[str, int], _Group] = {}
        self._homes: dict[tuple[str, DeviceId], tuple[int, int]] = {}

    def listen(self, facts: Sequence[Fact], _at_ns: int) -> None:
        for fact in facts:
            if isinstance(fact, Telemetry):
                place = self._place(fact.zone, fact.device)
                group = self._group(fact.zone, place[0]) if place else None
                if place and group:
                    group.nodes[fact.device] = place[1]
                    group.history.hear(
                        slot_at(fact.at_ns), fact.device, fact.load_w, max(0, fact.pv_w)
                    )

    def _place(self, zone: str, device: DeviceId) -> tuple[int, int] | None:
        """The transformer above a home, and its node."""
        key = (zone, device)
        if key not in self._homes:
            machine = self._writer.core.zones[zone]
            for gateway in machine.gateways:
                above = transformer_above(machine.network, gateway.node)
                self._homes[zone, gateway.device] = (above, gateway.node)
        return self._homes.get(key)

    def _group(self, zone: str, element: int) -> _Group | None:
        key = (zone, element)
        if key not in self._groups and len(self._groups) < GROUPS_MAX:
            self._groups[key] = _Group()
        return self._groups.get(key)

    def close(self, slot: int) -> None:
        for group in self._groups.values():
            group.history.close(slot)

    def forecast(self) -> None:
        """Every group's next day."""
        for (zone, _), group in list(self._groups.items()):
            history = group.history
            if len(history.load_wh) < SLOTS_PER_DAY:
                continue
            first = history.next_slot
            sun = RidgeForecaster(self._places.get(zone))
            load = self._load.forecast(history.load_wh, first, SLOTS_PER_DAY).median_wh
            made = sun.forecast(history.made_wh, first, SLOTS_PER_DAY).median_wh
            group.expected_w = {
                first + i: (taken - given) * SLOTS_PER_HOUR
                for i, (taken, given) in enumerate(zip(load, made, strict=True))
            }

    def flows(self, zone: Zone, slot: int) -> list[ElementFlow]:
        """Every element in a slot to come: the zone's own figures, and where homes are forecast,
        what they will draw instead of the profiles' word and their trades.
        """
        more = [0] * zone.network.size
        drawn = zone.network.node_w(slot)
        traded = zone.injections_w(slot)
        for (name, element), group in self._groups.items():
            expected = group.expected_w.get(slot)
            if name != zone.name or expected is None:
                continue
            nodes = set(group.nodes.values())
            known = sum(drawn[node] - traded.get(node, 0) for node in nodes)
            for above in zone.network.path(element):
                more[above] += expected - known
        return [
            ElementFlow(flow.element, flow.power_w + more[flow.element], flow.limit_w)
            for flow in zone.element_flows(slot)
        ]

    async def run(self) -> None:
        """A forecast at each slot's beginning."""
        done = -1
        while True:
            slot = slot_at(self._clock.now_ns())
            if slot != done:
                done = slot
                self.close(slot)
                await asyncio.to_thread(self.forecast)
            await self._clock.sleep(POLL_S)


def transformer_above(network: Network, node: int) -> int:
    """The nearest; the topmost element of the node's path where there is none."""
    path = network.path(node)
    found = (element for element in path if network.kinds[element] == "transformer")
    return next(found, path[-1] if path else 0)
