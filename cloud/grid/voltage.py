"""How much more may flow through each element before a voltage leaves its band. Whole numbers only.

A voltage belongs to a node and room to an element, so the band's remainder at every node is shared
out over the elements on its path: an element gets room in proportion to the homes below it (and
three more, so that a home alone at a line's end is not held to its even share). Whatever is then
traded within these rooms, in any combination, no node leaves its band by more than the linear
model's own error; that is the operating envelope of the slot. Nodes outside their band already get
no room that worsens them.

Linear model (LinDistFlow): along an element the voltage falls by r*P + x*Q, per unit, from the
no-load voltage that the taps give; cables' charging counts as reactive power. Voltage is in
billionths of rated (ppb) here, resistance in billionths of a per unit.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloud.grid.tables import NetworkError
from protos.units import round_measured

Integers = npt.NDArray[np.int64]

BAND_PPB = (905_000_000, 1_100_000_000)
"""EN 50160: +-10 %. The linear model leaves out losses, which lower a voltage: below, half a point
is kept for them, above, they are on the safe side.
"""

LONELY_HOMES = 3
PPB = 1_000_000_000
WATT_PER_UNIT = 1_000_000
IMPEDANCE_MAX_PPB = 10 * PPB
FLOW_MAX = 400_000_000
"""With at most 10 pu and 400 MW a product stays within 64 bits; more is taken for as much."""


@dataclass(frozen=True, slots=True, eq=False)
class VoltageModel:
    """What of a network decides voltages. `end` and the numbering are the network's."""

    end: Integers
    r_ppb: Integers
    x_ppb: Integers
    no_load_ppb: Integers
    charging_var: Integers
    weight: Integers
    burden: Integers
    """At each node, what one W for every unit of weight on its path moves it by, in 1e-15 pu."""

    def voltage_ppb(self, flow_w: Integers, node_var: Integers) -> Integers:
        """Each node's voltage for flows through the elements and reactive power of the nodes."""
        reactive = below(self.end, node_var - self.charging_var)
        fall = self.r_ppb * np.clip(flow_w, -FLOW_MAX, FLOW_MAX)
        fall += self.x_ppb * np.clip(reactive, -FLOW_MAX, FLOW_MAX)
        return self.no_load_ppb - along(self.end, fall // WATT_PER_UNIT)

    def room_w(self, flow_w: Integers, node_var: Integers) -> tuple[Integers, Integers]:
        """Room towards the customers and towards the grid, in W, beside these flows."""
        voltage = self.voltage_ppb(flow_w, node_var)
        low, high = BAND_PPB
        return self._shared(voltage - low), self._shared(high - voltage)

    def _shared(self, left_ppb: Integers) -> Integers:
        """An element's room is the least that any node below it can bear, times its weight."""
        moved = self.burden > 0
        share = np.full(len(self.end), FLOW_MAX, np.int64)
        share[moved] = left_ppb[moved] * WATT_PER_UNIT // self.burden[moved]
        share = np.clip(share, -FLOW_MAX, FLOW_MAX)
        return least_below(self.end, share) * self.weight


def voltage_model(
    end: Iterable[int],
    r_pu: Iterable[float],
    x_pu: Iterable[float],
    b_pu: Iterable[float],
    no_load_pu: Iterable[float],
    homes: Iterable[int],
) -> VoltageModel:
    """Raises NetworkError where an impedance is beyond any cable's."""
    ends = np.fromiter(end, np.int64)
    r_ppb, x_ppb = _whole(r_pu, PPB), _whole(x_pu, PPB)
    if max(np.abs(r_ppb).max(), np.abs(x_ppb).max()) > IMPEDANCE_MAX_PPB:
        raise NetworkError("network: a branch has more than 10 pu of impedance on a base of 1 MVA")
    at_home = np.zeros(len(ends), np.int64)
    at_home[list(homes)] = 1
    if not at_home.any():
        at_home[:] = 1
    weight = below(ends, at_home) + LONELY_HOMES
    return VoltageModel(
        end=ends,
        r_ppb=r_ppb,
        x_ppb=x_ppb,
        no_load_ppb=_whole(no_load_pu, PPB),
        charging_var=_whole(b_pu, WATT_PER_UNIT),
        weight=weight,
        burden=along(ends, np.abs(r_ppb) * weight),
    )


def _whole(values: Iterable[float], per_unit: int) -> Integers:
    try:
        return np.array([round_measured(value, per_unit) for value in values], np.int64)
    except (ValueError, OverflowError) as error:
        raise NetworkError("network: a branch's electrical data are beyond all measure") from error


def below(end: Integers, node: Integers) -> Integers:
    """The sum over each subtree: in preorder, a difference of two running sums."""
    sums = np.concatenate((np.zeros(1, np.int64), np.cumsum(node)))
    return np.asarray(sums[end] - sums[:-1], np.int64)


def along(end: Integers, element: Integers) -> Integers:
    """The sum over each node's path: what is added where a subtree begins is taken at its end."""
    steps = np.concatenate((element, np.zeros(1, np.int64)))
    np.subtract.at(steps, end, element)
    return np.cumsum(steps[:-1])


def least_below(end: Integers, node: Integers) -> Integers:
    """The least of each subtree."""
    bounds = np.empty(2 * len(end), np.int64)
    bounds[0::2], bounds[1::2] = np.arange(len(end)), end
    guarded = np.concatenate((node, node[-1:]))
    return np.asarray(np.minimum.reduceat(guarded, bounds)[0::2], np.int64)
