"""The life of each delivery slot's market: opening, grid room, closing.

Decides which slots may be traded at an instant, what room the grid has in each of them, and what is
said of a slot when its gate closes. A market opens a day before delivery and closes `gate_closure_s`
before it. A gate that has closed must never open again, whatever a clock does, and an override of a
limit must never be wider in time than it was ordered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cloud.commands import OverrideLimit, ZoneRules
from cloud.facts import ElementFlow, GateClosed
from cloud.grid.congestion import most_loaded
from cloud.grid.network import Network
from cloud.market.overrides import Conflict, Overrides
from cloud.market.physics import loose_rooms_wh, meshed_flow, rating_va, slot_flow, wires_of
from cloud.market.wheeling import Wheeling
from ext.loops import Loops as KernelLoops
from ext.tree import Headroom, Tree
from ext.wires import SlotFlow, Wires
from protos.clock import SECOND_NS, SLOTS_PER_HOUR, slot_at, slot_start_ns
from protos.limits import SLOTS_AHEAD_MAX
from protos.messages import Refusal

FLOWS_REPORTED = 10
CLOSED_KEPT_MAX = 8
"""Slots between gate and delivery, whose trades the grid's solvers still ask for."""


@dataclass(slots=True)
class Market:
    """One slot's market while it is open. `net_wh` is what trades bring to each node."""

    slot: int
    headroom: Headroom
    flow: SlotFlow | None = None
    net_wh: dict[int, int] = field(default_factory=dict)
    trades: int = 0
    volume_wh: int = 0
    last_price_micro_per_kwh: int = 0

    def count(self, seller_node: int, buyer_node: int, energy_wh: int, price: int) -> None:
        """One trade more; the headroom was taken by the match itself."""
        self.net_wh[seller_node] = self.net_wh.get(seller_node, 0) - energy_wh
        self.net_wh[buyer_node] = self.net_wh.get(buyer_node, 0) + energy_wh
        self.trades += 1
        self.volume_wh += energy_wh
        self.last_price_micro_per_kwh = price

    def withdraw(self, seller_node: int, buyer_node: int, energy_wh: int) -> None:
        """A trade did not come about: the grid has its room again. Its price stays the last one."""
        self.headroom.release(seller_node, buyer_node, energy_wh)
        if self.flow is not None and seller_node != buyer_node:
            self.flow.withdraw(seller_node, buyer_node, energy_wh)
        self.net_wh[seller_node] += energy_wh
        self.net_wh[buyer_node] -= energy_wh
        self.trades -= 1
        self.volume_wh -= energy_wh

    def admit(self, seller_node: int, buyer_node: int, energy_wh: int) -> int:
        """How much of an auction's fill the power flow admits; all of it where none is asked."""
        if self.flow is None:
            return energy_wh
        room_wh = self.headroom.room_wh(seller_node, buyer_node)
        return self.flow.admit(self.headroom, seller_node, buyer_node, min(energy_wh, room_wh))

    def plain(self) -> tuple[dict[int, int], int, int, int]:
        """All but the room and the flow."""
        return self.net_wh, self.trades, self.volume_wh, self.last_price_micro_per_kwh

    def resume(self, net_wh: dict[int, int], trades: int, volume_wh: int, price: int) -> None:
        """As an earlier `plain()` was."""
        self.net_wh, self.trades, self.volume_wh = net_wh, trades, volume_wh
        self.last_price_micro_per_kwh = price

    def state(self) -> object:
        return (
            self.slot,
            self.headroom.state(),
            sorted(self.net_wh.items()),
            self.trades,
            self.volume_wh,
            self.last_price_micro_per_kwh,
            *([sha256(self.flow.state()).digest()] if self.flow else []),
        )


class Markets:
    """The open slots of one zone and the limits that hold in them."""

    def __init__(self, zone: str, network: Network) -> None:
        self.zone = zone
        self.rules = ZoneRules()
        self.wheeling = Wheeling(network.parent, self.rules)
        self.first_slot = -1
        self.next_slot = 0
        """The first slot whose gate has not closed yet."""
        self.overrides = Overrides()
        self.open: dict[int, Market] = {}
        self.closed: dict[int, dict[int, int]] = {}
        """What trades bring to each node in the slots that closed last."""
        self._network = network
        self._tree = Tree(network.parent)
        self._wires: Wires | None = None
        self._loops: KernelLoops | None = None

    def begin(self, first_slot: int, rules: ZoneRules, now_ns: int) -> None:
        """From here on slots can be traded."""
        self.rules, self.first_slot = rules, first_slot
        self.wheeling = Wheeling(self._network.parent, rules)
        self.next_slot = max(first_slot, self._first_open(now_ns))

    @property
    def is_begun(self) -> bool:
        return self.first_slot >= 0

    @property
    def next_gate_ns(self) -> int:
        """When the next gate closes."""
        return self._gate_ns(self.next_slot)

    def tradable(self, now_ns: int) -> range:
        """The slots for which offers are taken at this instant."""
        if not self.is_begun:
            return range(0)
        first = max(self.next_slot, self._first_open(now_ns))
        return range(first, max(first, slot_at(now_ns) + SLOTS_AHEAD_MAX + 1))

    def refuse(self, slot: int, now_ns: int) -> Refusal | None:
        """Why a slot cannot be traded now."""
        if not self.is_begun or not self.first_slot <= slot <= slot_at(now_ns) + SLOTS_AHEAD_MAX:
            return Refusal.UNKNOWN_SLOT
        if slot < self.next_slot or now_ns >= self._gate_ns(slot):
            return Refusal.GATE_CLOSED
        return None

    def is_gathering(self, slot: int, now_ns: int) -> bool:
        """Whether offers for a slot that can be traded wait for its auction."""
        seconds = self.rules.auction_s
        if self.is_opening(slot, now_ns):
            return True
        return seconds > 0 and now_ns >= self._gate_ns(slot) - seconds * SECOND_NS

    def is_opening(self, slot: int, now_ns: int) -> bool:
        """Whether the slot's market opened less than `opening_s` ago."""
        opened_ns = slot_start_ns(slot - SLOTS_AHEAD_MAX)
        return now_ns < opened_ns + self.rules.opening_s * SECOND_NS

    def tick(self, price_micro_per_kwh: int) -> int:
        """A price of the band in the book's numbers."""
        low = self.rules.fallback_export_micro_per_kwh
        return (price_micro_per_kwh - low) // self.rules.tick_micro_per_kwh

    def price(self, tick: int) -> int:
        """The reverse of `tick`."""
        rules = self.rules
        return rules.fallback_export_micro_per_kwh + tick * rules.tick_micro_per_kwh

    def market(self, slot: int) -> Market:
        """The slot's market, opened with all the room the grid has on its first use."""
        market = self.open.get(slot)
        if market is None:
            headroom = Headroom(self._tree, *self._rooms_wh(slot, self.limits(slot)))
            market = self.open[slot] = Market(slot, headroom, self._flow(slot))
        return market

    def auction_headroom(self, market: Market) -> Headroom:
        """The room that an auction may clear in. It sees no power flow, so reserves are kept where
        it is cleared once; where it is cleared again within what the flow refuses, none.
        """
        if market.flow is None:
            return market.headroom
        limits = self.limits(market.slot)
        down_wh, up_wh = self._network.headroom_wh(market.slot, limits)
        if self.rules.auction_rounds:
            down_wh, up_wh = self._rooms_wh(market.slot, limits)
        traded_wh = self.through_wh(market.net_wh)
        down = [room - wh for room, wh in zip(down_wh, traded_wh, strict=True)]
        up = [room + wh for room, wh in zip(up_wh, traded_wh, strict=True)]
        return Headroom(self._tree, down, up)

    def through_wh(self, net_wh: dict[int, int]) -> list[int]:
        """What trades bring through every element: the sum of its subtree, up each node's path."""
        flow_wh = [0] * len(self._network.parent)
        for node, energy_wh in net_wh.items():
            while node >= 0:
                flow_wh[node] += energy_wh
                node = self._network.parent[node]  # noqa: PLW2901 - the walk is the loop
        return flow_wh

    def copied(self, market: Market) -> Market:
        """A market to try trades on, with the flow and the room of another; nothing is withheld."""
        room, flow = market.headroom, self._flow(market.slot)
        copy = Market(market.slot, Headroom(self._tree, room.down, room.up), flow)
        if flow is not None and market.flow is not None:
            flow.restore(market.flow.state())
            flow.give_all_back(copy.headroom)
        return copy

    def charge_opening(self, market: Market) -> None:
        """Takes what the opening traded, the slot's first trades, out of the room. All at once: on
        its way a clearing may lean on counterflows. A power flow took it with every fill.
        """
        if market.flow is not None:
            return
        for element, energy_wh in enumerate(self.through_wh(market.net_wh)):
            if element and energy_wh:
                down_wh, up_wh = market.headroom.edge(element)
                market.headroom.set_edge(element, down_wh - energy_wh, up_wh + energy_wh)

    def due(self, now_ns: int) -> Sequence[int]:
        """The slots whose gates must close by now. After a stop of days: only those that could
        have been traded; nothing is said of the others.
        """
        if not self.is_begun or now_ns < self.next_gate_ns:
            return ()
        first, end = self.next_slot, self._first_open(now_ns)
        self.next_slot = end
        return range(first, min(end, first + SLOTS_AHEAD_MAX + 1))

    def close(self, slot: int) -> GateClosed:
        """The slot's last word. Its book must be empty by now."""
        market = self.open.pop(slot, None)
        self.closed[slot] = market.net_wh if market else {}
        while len(self.closed) > CLOSED_KEPT_MAX:
            del self.closed[next(iter(self.closed))]
        flows = most_loaded(self.flows(slot), FLOWS_REPORTED)
        if market is None:
            return GateClosed(self.zone, slot, 0, 0, 0, flows)
        return GateClosed(
            self.zone,
            slot,
            market.trades,
            market.volume_wh,
            market.last_price_micro_per_kwh,
            flows,
        )

    def traded_wh(self, slot: int) -> dict[int, int]:
        """Net energy that trades bring to each node, open or lately closed."""
        market = self.open.get(slot)
        return market.net_wh if market else self.closed.get(slot, {})

    def flows_w(self, slot: int) -> list[int]:
        """What flows through every element, in W: baseline and trades together."""
        node_w = self._network.node_w(slot)
        for node, wh in self.traded_wh(slot).items():
            node_w[node] += wh * SLOTS_PER_HOUR
        return self._network.through(node_w)

    def flows(self, slot: int) -> list[ElementFlow]:
        """Every element below the root, against the limit that holds."""
        flow_w = self.flows_w(slot)
        limit_w = list(self._network.limit_w)
        for element, limit in self.limits(slot).items():
            limit_w[element] = limit
        parents = self._network.parent
        return [
            ElementFlow(element, flow_w[element], limit_w[element])
            for element in range(len(parents))
            if parents[element] >= 0
        ]

    def limits(self, slot: int) -> dict[int, int]:
        """The overridden limits that hold in a slot, in W by element."""
        return self.overrides.limits(slot)

    def override(self, order: OverrideLimit) -> tuple[list[Conflict], list[Market]]:
        """Another limit for an element. Returns the conflicts with other orders, and the open
        markets in which the room changed.
        """
        before = {slot: self.limits(slot) for slot in self.open}
        conflicts = self.overrides.order(
            order.element,
            order.limit_w,
            order.until_ns,
            order.authority,
            order.rank,
            own=order.area == self.zone,
            starts_ns=order.starts_ns,
        )
        changed = []
        for slot, market in sorted(self.open.items()):
            if self.limits(slot) != before[slot]:
                self._shift(market, before[slot])
                changed.append(market)
        return conflicts, changed

    def correct(self, market: Market, offset_w: Sequence[int], cap_w: Sequence[int]) -> None:
        """What an AC power flow saw in the loops, but no cap above what is ordered."""
        loops, flow = self._network.loops, market.flow
        assert loops is not None
        assert flow is not None
        limits = self.limits(market.slot)
        pairs = zip(loops.elements, cap_w, strict=True)
        flow.correct(offset_w, [max(0, min(cap, limits.get(at, cap))) for at, cap in pairs])
        flow.give_all_back(market.headroom)

    def expire(self, now_ns: int) -> None:
        """Forgets overrides that no slot to come can see."""
        self.overrides.expire(now_ns)

    def state(self) -> object:
        return {
            "first_slot": self.first_slot,
            "next_slot": self.next_slot,
            "overrides": self.overrides.state(),
            "ordered": self.overrides.ordered,
            "open": [market.state() for _, market in sorted(self.open.items())],
            "closed": [(slot, sorted(net.items())) for slot, net in self.closed.items()],
        }

    def __getstate__(self) -> dict[str, object]:
        """For a snapshot: rooms and flows as bytes, beside what a network gives anew."""
        kept = {
            name: value
            for name, value in self.__dict__.items()
            if name not in {"open", "_tree", "_wires", "_loops"}
        }
        rooms = {slot: market.headroom.state() for slot, market in self.open.items()}
        flows = {slot: market.flow.state() for slot, market in self.open.items() if market.flow}
        plain = {slot: market.plain() for slot, market in self.open.items()}
        return {"kept": kept, "plain": plain, "rooms": rooms, "flows": flows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["kept"])
        self.open, self._wires, self._loops = {}, None, None
        self._tree = Tree(self._network.parent)
        for slot, plain in state["plain"].items():
            market = self.market(slot)
            market.headroom.restore(state["rooms"][slot])
            if market.flow is not None:
                market.flow.restore(state["flows"][slot])
            market.resume(*plain)

    def _shift(self, market: Market, before: dict[int, int]) -> None:
        """Moves the room by as much as the limits moved it; trades keep what they took.

        The room may become negative: then only trades that relieve the element are matched.
        """
        after = self.limits(market.slot)
        if self._network.loops is not None and market.flow is not None:
            caps = self._network.loops.caps_w(self._network.node_var(market.slot), after)
            self.correct(market, market.flow.loop_offsets_w, caps)
        elif market.flow is not None:
            for element in sorted({*before, *after}):
                market.flow.rate(element, rating_va(self._network, element, after))
            market.flow.give_all_back(market.headroom)
        old_down, old_up = self._rooms_wh(market.slot, before)
        new_down, new_up = self._rooms_wh(market.slot, after)
        for element in range(1, len(new_down)):
            more_down = new_down[element] - old_down[element]
            more_up = new_up[element] - old_up[element]
            if more_down or more_up:
                down, up = market.headroom.edge(element)
                market.headroom.set_edge(element, down + more_down, up + more_up)

    def _rooms_wh(self, slot: int, limits: Mapping[int, int]) -> tuple[list[int], list[int]]:
        if self.rules.power_flow and self._network.loops is None:
            return loose_rooms_wh(self._network, slot, limits)
        return self._network.headroom_wh(slot, limits)

    def _flow(self, slot: int) -> SlotFlow | None:
        if self._network.loops is not None:
            return self._meshed_flow(slot)
        if not self.rules.power_flow:
            return None
        if self._wires is None:
            three_phase = self.rules.three_phase
            self._wires = wires_of(self._network, self._tree, three_phase=three_phase)
        return slot_flow(self._network, self._wires, slot, self.limits(slot))

    def _meshed_flow(self, slot: int) -> SlotFlow:
        """Where current can choose its way the factors decide, whatever the rules say."""
        assert self._network.loops is not None
        if self._wires is None or self._loops is None:
            self._wires = wires_of(self._network, self._tree)
            self._loops = KernelLoops(self._tree, self._network.loops.factors)
        return meshed_flow(self._network, self._wires, self._loops, slot, self.limits(slot))

    def _first_open(self, now_ns: int) -> int:
        """The earliest slot whose gate has not closed at this instant."""
        return slot_at(now_ns + self.rules.gate_closure_s * SECOND_NS) + 1

    def _gate_ns(self, slot: int) -> int:
        return slot_start_ns(slot) - self.rules.gate_closure_s * SECOND_NS
