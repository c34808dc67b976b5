"""What an AC power flow by power-grid-model says of a slot of a network with loops, while it trades.

The book admits by factors of impedances alone (`cloud.grid.loops`). Beside it, every few trades, the
slot is solved with voltages, reactive power and losses; what the factors leave out, and what each
branch may still carry, go back to the market as whole numbers in a command. Where trades have led
beyond a limit or the band, the loops are frozen: what lowers a flow passes, nothing that raises one.
It fails closed: without a solution nothing but relief may pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np

from cloud.grid.network import Network
from cloud.grid.redispatch import disagrees
from cloud.grid.referee import Floats, Referee, RefereeResult
from protos.units import PER_MILLE, round_measured

MARGIN_PER_MILLE = 20
"""Of each limit, for what the factors leave out until the next check."""


@dataclass(frozen=True, slots=True)
class LoopState:
    """By branch of the loops: what flows beside the factors' sum, and the cap either way, in W."""

    offset_w: tuple[int, ...]
    cap_w: tuple[int, ...]
    verdict: RefereeResult


class LoopReferee:
    """One meshed network's. Not to be shared between threads."""

    def __init__(self, network: Network) -> None:
        assert network.loops is not None, "a network without loops needs no such check"
        self._network = network
        self._loops = network.loops
        self._referee = Referee(network)

    def check(self, slot: int, injections_w: Mapping[int, int]) -> LoopState:
        """A slot with its base flow and, by node, what the trades feed in (negative: take)."""
        verdict, columns = self._referee.branches(slot, injections_w)
        drawn = self._network.node_w(slot)
        for node, power in injections_w.items():
            drawn[node] -= power
        summed = self._loops.flow(drawn)
        if not verdict.converged:
            return LoopState(tuple([0] * len(summed)), tuple([0] * len(summed)), verdict)
        flow = self._flows(columns)
        caps = self._caps(flow, columns["loading"])
        if disagrees(verdict, self._referee.check(slot, {})):
            caps = [min(cap, abs(power)) for cap, power in zip(caps, flow, strict=True)]
        offset = [seen - thought for seen, thought in zip(flow, summed, strict=True)]
        return LoopState(tuple(offset), tuple(caps), verdict)

    def _flows(self, columns: Mapping[str, Floats]) -> list[int]:
        """Of the end that carries more, in the direction of the loop's branch."""
        start, end = columns["p_from"], columns["p_to"]
        greater = np.where(np.abs(start) >= np.abs(end), start, -end)
        return [
            round_measured(sum(sign * float(greater[row]) for row, sign in zip(*ways, strict=True)))
            for ways in zip(self._loops.rows, self._loops.signs, strict=True)
        ]

    def _caps(self, flow: Sequence[int], loading: Floats) -> list[int]:
        """What active power each branch may carry beside what fills it already otherwise: the
        reactive power and the voltage of now, as the loading tells them, less the margin.
        """
        caps = []
        for power, limit, rows in zip(flow, self._loops.limit_w, self._loops.rows, strict=True):
            used = round_measured(max(float(loading[row]) for row in rows) * limit)
            kept = limit - -(-limit * MARGIN_PER_MILLE // PER_MILLE)
            other = max(0, used * used - power * power)
            caps.append(isqrt(max(0, kept * kept - other)))
        return caps
