"""Dynamic operating envelopes: how much each home may draw and feed in, whatever the others do.

Decides a max-min fair share of the room left on the wires: all homes' limits rise together, those
below an element stop when it is full, the others go on. Whatever every home then does within its
own envelope, no element passes its room. Must never give a home a limit below zero: a home may
always use its own power, and where the base alone is too much the envelope is zero, not negative.

The names on the wire are CSIP-AUS's: opModImpLimW and opModExpLimW at the connection point,
opModLoadLimW and opModGenLimW for consumption and generation behind it; each is a power of ten and a
16-bit value (IEEE 2030.5, ActivePower). Values are rounded down, so that rounding never loosens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cloud.grid.network import Network
from cloud.grid.voltage import below

Integers = npt.NDArray[np.int64]

VALUE_MAX = 32_767
UNBOUND_W = 1 << 40


@dataclass(frozen=True, slots=True)
class Envelope:
    """The limits of one home's connection point in one slot, in W, both at least 0."""

    node: int
    import_limit_w: int
    export_limit_w: int


class ActivePower(NamedTuple):
    """`value` times ten to the power of `multiplier`, in W."""

    multiplier: int
    value: int


@dataclass(frozen=True, slots=True)
class DerControl:
    """One interval's limits as CSIP-AUS names them. None where there is none."""

    start_s: int
    duration_s: int
    opModImpLimW: ActivePower  # noqa: N815 - the standard's own name
    opModExpLimW: ActivePower  # noqa: N815
    opModLoadLimW: ActivePower | None = None  # noqa: N815
    opModGenLimW: ActivePower | None = None  # noqa: N815


def envelopes(
    network: Network,
    homes: Sequence[int],
    room_w: tuple[Sequence[int], Sequence[int]],
    expected_w: Mapping[int, int],
    drawn_w: Mapping[int, int] | None = None,
) -> list[Envelope]:
    """One envelope for each home, in the order given; homes at one node share its part evenly.

    `room_w` is what is left in each element towards the customers and towards the grid beside what
    is expected; `expected_w` what a node is expected to draw (its base and its trades), 0 if absent;
    `drawn_w` what of it is the homes' own where somebody else feeds in at the same node.
    """
    assert all(0 <= node < network.size for node in homes), "a home stands at a node"
    active = np.zeros(network.size, np.int64)
    np.add.at(active, np.array(homes, np.int64), 1)
    down, up = (fair_shares(network.voltage.end, active, np.array(room)) for room in room_w)
    found = []
    for node in homes:
        own = expected_w.get(node, 0)
        drawn = own if drawn_w is None else drawn_w.get(node, own)
        each = int(active[node])
        found.append(
            Envelope(
                node,
                max(0, int(down[node]) + drawn // each),
                max(0, int(up[node]) - -(-own // each)),
            )
        )
    return found


def fair_shares(end: Integers, homes: Integers, room_w: Integers) -> Integers:
    """What each home at a node gets, in W: the max-min fair share of the room on its path.

    `homes` counts the homes at each node. Every round fills one element at least.
    """
    level = np.zeros(len(end), np.int64)
    rising = homes.copy()
    taken = np.zeros(len(end), np.int64)
    while rising.any():
        count = below(end, rising)
        left = room_w - below(end, taken)
        used = count > 0
        used[0] = False  # there is no element above the root
        height = np.full(len(end), UNBOUND_W, np.int64)
        height[used] = np.maximum(0, left[used] // count[used])
        lowest = int(height.min())
        full = np.flatnonzero(used & (height == lowest))
        stops = np.zeros(len(end) + 1, np.int64)
        np.add.at(stops, full, 1)
        np.add.at(stops, end[full], -1)
        stopping = (np.cumsum(stops[:-1]) > 0) & (rising > 0)
        if not stopping.any():
            # Only homes at the root are left, and nothing bounds them.
            stopping = rising > 0
        level[stopping] = lowest
        taken[stopping] = lowest * rising[stopping]
        rising[stopping] = 0
    return level


def der_control(envelope: Envelope, start_s: int, duration_s: int) -> DerControl:
    """The envelope as it is sent."""
    return DerControl(
        start_s,
        duration_s,
        active_power(envelope.import_limit_w),
        active_power(envelope.export_limit_w),
    )


def active_power(power_w: int) -> ActivePower:
    """At most so many W in 16 bits. Raises ValueError for a negative power."""
    if power_w < 0:
        raise ValueError(f"a limit of {power_w} W; the least is 0")
    multiplier = 0
    while power_w > VALUE_MAX:
        power_w //= 10
        multiplier += 1
    return ActivePower(multiplier, power_w)
