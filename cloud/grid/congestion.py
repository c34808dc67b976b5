"""What a loaded wire costs before the gate closes, and which wires are worth a look.

The indicative price of an element is nothing below 80 % of its capacity and rises convexly to the
whole spread between fallback import and export price at 100 %. It is a signal, never a charge by
itself: at gate closure the cleared slot's own duals replace it. The shape is a design choice.

A step is signed like the flow: a node's price is the root's plus the steps on its path, so energy
is dearer below an element that is full towards the customers and cheaper below one that is full
towards the grid. A trade pays buyer's minus seller's price; who relieves a wire is paid.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cloud.facts import ElementFlow
from cloud.grid.network import Network

FREE_PER_MILLE = 800
"""Below this loading a wire costs nothing."""

HYSTERESIS_PER_MILLE = 20
"""A published step stands until the loading has moved this far, so that prices do not flicker."""

FULL_PER_MILLE = 1_000
_VARINT_BITS_MAX = 63


class EdgeStep(NamedTuple):
    """The price difference across one element, in micro-units per kWh, and its loading then."""

    element: int
    step_micro_per_kwh: int
    loading_per_mille: int


def loading_per_mille(flow_w: int, capacity_w: int) -> int:
    """How full an element is, rounded up; any flow where there is no capacity is twice full."""
    if capacity_w <= 0:
        return 2 * FULL_PER_MILLE if flow_w else 0
    return -(-abs(flow_w) * FULL_PER_MILLE // capacity_w)


def edge_step(flow_w: int, capacity_w: int, spread_micro_per_kwh: int) -> int:
    """Spread * ((|flow|/capacity - 0.8) / 0.2)², at most the spread, with the flow's sign."""
    if spread_micro_per_kwh < 0:
        raise ValueError("import costs less than export pays; check the zone's fallback prices")
    size = abs(flow_w)
    if size == 0 or FULL_PER_MILLE * size <= FREE_PER_MILLE * capacity_w:
        return 0
    step = spread_micro_per_kwh
    if size < capacity_w:
        above = FULL_PER_MILLE * size - FREE_PER_MILLE * capacity_w
        whole = (FULL_PER_MILLE - FREE_PER_MILLE) * capacity_w
        step = spread_micro_per_kwh * above * above // (whole * whole)
    return step if flow_w > 0 else -step


def edge_steps(
    flows_w: Sequence[int],
    capacity_w: Sequence[int],
    spread_micro_per_kwh: int,
    previous: Sequence[EdgeStep] = (),
) -> tuple[EdgeStep, ...]:
    """All steps that are not zero, by element: the whole price broadcast of a slot.

    A step of `previous` is kept while its element's loading stays within the hysteresis and does
    not turn round or cross its limit.
    """
    before = {step.element: step for step in previous}
    steps = []
    for element, (flow, capacity) in enumerate(zip(flows_w, capacity_w, strict=True)):
        step = edge_step(flow, capacity, spread_micro_per_kwh)
        old = before.get(element)
        if not step and old is None:
            continue
        now = EdgeStep(element, step, loading_per_mille(flow, capacity))
        if old is not None and _still_stands(old, now, flow):
            now = old
        if now.step_micro_per_kwh:
            steps.append(now)
    return tuple(steps)


def _still_stands(old: EdgeStep, now: EdgeStep, flow_w: int) -> bool:
    same_way = (old.step_micro_per_kwh > 0) == (flow_w > 0)
    near = abs(old.loading_per_mille - now.loading_per_mille) < HYSTERESIS_PER_MILLE
    limit = FULL_PER_MILLE
    same_side = (old.loading_per_mille < limit) == (now.loading_per_mille < limit)
    return same_way and near and same_side


def node_price(network: Network, node: int, steps: Mapping[int, int]) -> int:
    """How much dearer energy is at a node than at the grid, in micro-units per kWh."""
    return sum(steps.get(element, 0) for element in network.path(node))


def most_loaded(flows: Sequence[ElementFlow], count: int) -> tuple[ElementFlow, ...]:
    """The elements nearest to their limits, fullest first. An integer ratio, then the number: no
    float decides an order.
    """
    ranked = sorted(
        flows, key=lambda f: (-(abs(f.power_w) * 1_000_000 // max(1, f.limit_w)), f.element)
    )
    return tuple(ranked[:count])


def pack_steps(slot: int, steps: Sequence[EdgeStep]) -> bytes:
    """A slot's whole price update in a few bytes a step: varints of the slot, then for each step, by
    element, how far its element is from the one before, its price (zigzag) and its loading.
    """
    packed = bytearray(_varint(slot))
    last = 0
    for step in sorted(steps):
        price = step.step_micro_per_kwh
        packed += _varint(step.element - last)
        packed += _varint(2 * price if price >= 0 else -2 * price - 1)
        packed += _varint(step.loading_per_mille)
        last = step.element
    return bytes(packed)


def unpack_steps(data: bytes) -> tuple[int, tuple[EdgeStep, ...]]:
    """The reverse. Raises ValueError for bytes that no update packs to."""
    numbers: list[int] = []
    value = shift = 0
    for octet in data:
        value |= (octet & 0x7F) << shift
        shift += 7
        if not octet & 0x80:
            numbers.append(value)
            value = shift = 0
        elif shift > _VARINT_BITS_MAX:
            raise ValueError("a number of the price update is too long")
    if shift or len(numbers) % 3 != 1:
        raise ValueError("the price update is cut off")
    steps, element = [], 0
    for place in range(1, len(numbers), 3):
        element += numbers[place]
        price = numbers[place + 1]
        steps.append(
            EdgeStep(
                element, price >> 1 if not price & 1 else -(price >> 1) - 1, numbers[place + 2]
            )
        )
    return numbers[0], tuple(steps)


def _varint(value: int) -> bytes:
    packed = bytearray()
    while value > 0x7F:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    packed.append(value)
    return bytes(packed)
