"""Indicative prices of congestion: what the elements cost in the slot whose gate closes next.

Decides when they are said anew: when a trade or a limit has moved an element's loading beyond the
hysteresis, or another slot is next. They are a signal to those who offer, and nobody is charged by
them; the shape of the steps is `cloud.grid.congestion`'s. A slot's auction replaces them by the
prices that were really paid. Prices are given by element, not by node: a node's is the sum of the
steps on its path.
"""

from collections.abc import Mapping

from cloud.facts import EdgePrice, PricesIndicated
from cloud.grid.congestion import EdgeStep, edge_steps, node_price
from cloud.grid.network import Network
from cloud.market.slots import Markets


class Indication:
    """What was last said of one zone's prices."""

    def __init__(self, zone: str, network: Network, markets: Markets) -> None:
        self._zone = zone
        self._network = network
        self._markets = markets
        self._slot = -1
        self._moved: tuple[int, int] = (-1, -1)
        self._steps: tuple[EdgeStep, ...] = ()

    @property
    def slot(self) -> int:
        """The slot the prices are of; -1 before the first."""
        return self._slot

    @property
    def steps(self) -> Mapping[int, int]:
        """The steps that are not zero, in micro-units per kWh by element."""
        return {step.element: step.step_micro_per_kwh for step in self._steps}

    def node_price(self, node: int) -> int:
        """How much dearer energy is at a node than at the grid, in micro-units per kWh."""
        return node_price(self._network, node, self.steps)

    def advance(self) -> list[PricesIndicated]:
        """What there is to say since the last time: one fact or none."""
        markets = self._markets
        slot = markets.next_slot
        market = markets.open.get(slot)
        moved = (market.trades if market else 0, markets.overrides.ordered)
        if (slot, moved) == (self._slot, self._moved):
            return []
        rules = markets.rules
        spread = rules.fallback_import_micro_per_kwh - rules.fallback_export_micro_per_kwh
        flows = [0] * self._network.size
        for flow in markets.flows(slot):
            flows[flow.element] = flow.power_w
        capacity = self._network.capacity_w(slot, markets.limits(slot))
        previous = self._steps if slot == self._slot else ()
        steps = edge_steps(flows, capacity, spread, previous)
        is_said = slot == self._slot and steps == self._steps
        is_said = is_said or not (steps or self._steps)
        self._slot, self._moved, self._steps = slot, moved, steps
        if is_said:
            return []
        return [PricesIndicated(self._zone, slot, tuple(EdgePrice(*step) for step in steps))]

    def state(self) -> object:
        return self._slot, self._moved, [tuple(step) for step in self._steps]
