"""What the wires of a zone bear in a slot, as the book asks before every fill.

Decides how loose the whole numbers may be where an AC power flow has the last word: then they only
keep the book from asking in vain, so they are set to what no flow would admit anyway. Where it has
not, `Network.headroom_wh` stands alone and keeps reserves for all that it does not see.
"""

from collections.abc import Mapping

from cloud.grid.network import ElementKind, Network, quarter_of_year
from ext.loops import Loops as KernelLoops
from ext.tree import Tree
from ext.wires import SlotFlow, Wires
from protos.clock import SLOTS_PER_HOUR
from protos.units import PER_MILLE

LOOSE_PER_MILLE = 100
"""Losses let more be fed in than a lossless tree admits; never a tenth more."""


def wires_of(network: Network, tree: Tree, *, three_phase: bool = False) -> Wires:
    """The impedances, cut below the transformers that homes hang from. Where it is to be three-phase,
    the grids in which a home hangs from one phase are.
    """
    electric = network.electric
    heads = {group.transformer for group in network.home_groups}
    is_unbalanced = three_phase and electric.zero is not None
    if is_unbalanced:
        # A home without a transformer above it: its whole branch of the trunk is cut off.
        loose = [n for group in network.home_groups if not group.transformer for n in group.nodes]
        heads |= {network.path(node)[-1] for node in loose if electric.phases[node]}
    return Wires(
        tree,
        sorted(heads - {0}),
        electric.r_pu,
        electric.x_pu,
        electric.g_pu,
        electric.b_pu,
        electric.ratio,
        [i for i, kind in enumerate(network.kinds) if kind is ElementKind.TRANSFORMER],
        electric.zero if is_unbalanced else None,
        electric.phases if is_unbalanced else None,
    )


def slot_flow(network: Network, wires: Wires, slot: int, overrides: Mapping[int, int]) -> SlotFlow:
    """The power flow of a slot's base, without a trade."""
    quarter = quarter_of_year(slot)
    active = network.baseline.node_w(quarter).tolist()
    reactive = network.baseline.node_var(quarter).tolist()
    return SlotFlow(
        wires,
        active,
        reactive,
        [rating_va(network, element, overrides) for element in range(network.size)],
        network.electric.root_voltage_pu,
    )


def meshed_flow(
    network: Network, wires: Wires, loops: KernelLoops, slot: int, overrides: Mapping[int, int]
) -> SlotFlow:
    """The flow of a slot's base in a network with loops, as the factors have it."""
    assert network.loops is not None
    nothing = [0.0] * network.size
    node_w, node_var = network.node_w(slot), network.node_var(slot)
    flow_w, cap_w = network.loops.flow(node_w), network.loops.caps_w(node_var, overrides)
    pu = network.electric.root_voltage_pu
    return SlotFlow(wires, nothing, nothing, network.limit_w, pu, loops, flow_w, cap_w)


def rating_va(network: Network, element: int, overrides: Mapping[int, int]) -> int:
    """An element's limit, which an authority's order lowers and never raises."""
    limit = network.limit_w[element]
    return max(0, min(limit, overrides.get(element, limit)))


def loose_rooms_wh(
    network: Network, slot: int, overrides: Mapping[int, int]
) -> tuple[list[int], list[int]]:
    """Room in each element towards the customers and towards the grid, in Wh, beside the base."""
    capacity = network.capacity_w(slot, overrides)
    loose = [watt * (PER_MILLE + LOOSE_PER_MILLE) // PER_MILLE for watt in capacity]
    flow = network.baseline_flow_w(slot)
    down = [(most - now) // SLOTS_PER_HOUR for most, now in zip(loose, flow, strict=True)]
    up = [(most + now) // SLOTS_PER_HOUR for most, now in zip(loose, flow, strict=True)]
    return down, up
