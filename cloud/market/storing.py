"""Batteries that make room on the wires before a peak: the leases of a slot whose gate has closed.

Decides, for each transformer that homes hang from, what the batteries below it do in the coming slot
so that the hours after it stay within its limits: they charge or discharge as little and as late as
suffices (`cloud.grid.reserve.keep_headroom`), shared by what each can. Whole numbers of the base
flow, the trades and the orders that the zone knows, so a replay agrees. A home that opted out, or
whose battery says nothing, is left alone; what the owner keeps is kept at the edge.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from cloud.facts import LeaseIssued
from cloud.grid.network import Network
from cloud.grid.reserve import Store, keep_headroom
from cloud.market.enveloping import RAMP_W_PER_S
from cloud.market.streams import Gateway
from protos.clock import slot_end_ns, slot_start_ns
from protos.ids import effect_id
from protos.units import PER_MILLE, largest_remainder

HORIZON_SLOTS = 32
REASON = "room before a peak"

Flows = Callable[[int], Sequence[int]]
"""What flows through every element in a slot, in W, trades included."""

Limits = Callable[[int], Mapping[int, int]]
"""The ordered limits of a slot, in W by element."""


def storage_leases(
    zone: str,
    network: Network,
    slot: int,
    flows: Flows,
    limits: Limits,
    gateways: Iterable[Gateway],
) -> list[LeaseIssued]:
    """One lease for each battery that is needed, for exactly the slot."""
    below: dict[int, list[Gateway]] = {}
    for gateway in gateways:
        element = _transformer(network, gateway.node)
        if element and gateway.snapshot.capacity_wh > 0:
            below.setdefault(element, []).append(gateway)
    if not below:
        return []
    slots = range(slot, slot + HORIZON_SLOTS)
    through = [flows(one) for one in slots]
    caps = [network.capacity_w(one, limits(one)) for one in slots]
    leases: list[LeaseIssued] = []
    for element, units in sorted(below.items()):
        flow_w, limit_w = ([row[element] for row in rows] for rows in (through, caps))
        if any(abs(flow) > cap for flow, cap in zip(flow_w, limit_w, strict=True)):
            power_w = keep_headroom(flow_w, limit_w, _store(units))[0]
            leases += _shared(zone, slot, units, power_w)
    return leases


def _transformer(network: Network, node: int) -> int:
    """The nearest above a node; 0 where there is none."""
    path = network.path(node)
    return next((element for element in path if network.kinds[element] == "transformer"), 0)


def _store(units: Sequence[Gateway]) -> Store:
    """All batteries as one."""
    seen = [unit.snapshot for unit in units]
    return Store(
        charge_w=sum(one.max_charge_w for one in seen),
        discharge_w=sum(one.max_discharge_w for one in seen),
        capacity_wh=sum(one.capacity_wh for one in seen),
        stored_wh=sum(one.capacity_wh * one.soc_per_mille // PER_MILLE for one in seen),
    )


def _shared(zone: str, slot: int, units: Sequence[Gateway], power_w: int) -> list[LeaseIssued]:
    sign = 1 if power_w > 0 else -1
    weights = [
        unit.snapshot.max_discharge_w if power_w > 0 else unit.snapshot.max_charge_w
        for unit in units
    ]
    parts = largest_remainder(abs(power_w), weights) if power_w else [0] * len(units)
    return [
        LeaseIssued(
            effect_id("storage", zone, slot, unit.device),
            unit.device,
            slot_start_ns(slot),
            slot_end_ns(slot),
            RAMP_W_PER_S,
            sign * part,
            None,
            REASON,
        )
        for unit, part in zip(units, parts, strict=True)
        if part
    ]
