"""Outages from silence: which element has failed when everybody below it stops talking at once.

Decides from when each gateway was last heard, and from last gasps (a meter without voltage). One silent home is a broken
router; a whole subtree that fell silent together, while others are heard, is an outage of the
element above it. Must never call it an outage when nobody at all is heard: then it is our own
connection. The highest element that explains the silence is named, and none below it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cloud.grid.network import Network
from protos.clock import SECOND_NS

SILENT_NS = 90 * SECOND_NS
MISSED = 3
"""Batches that must be missing, in a row."""

TOGETHER_NS = 60 * SECOND_NS
"""Those whom one failure silences were heard last within the longest time between two batches."""

WITNESSES_MIN = 2


@dataclass(frozen=True, slots=True)
class Heard:
    """One gateway: its node, when it was last heard, whether it said that power was failing, and
    how long it was silent at most of late while all was well.
    """

    node: int
    at_ns: int
    gasped: bool = False
    every_ns: int = 0

    def is_silent(self, now_ns: int, silent_ns: int) -> bool:
        """A gateway that speaks seldom is not silent as soon as one that speaks every second."""
        return self.gasped or now_ns - self.at_ns > max(silent_ns, MISSED * self.every_ns)


@dataclass(frozen=True, slots=True)
class Outage:
    """An element that seems to have failed. `since_ns` is when the last gateway below was heard."""

    element: int
    gateways: int
    gasps: int
    since_ns: int


class Verdict(StrEnum):
    CLEAR = "everybody is heard, or only single gateways are not"
    OUTAGES = "elements have failed"
    DEAF = "nobody is heard: the fault is at this end"


def outages(
    network: Network, gateways: Sequence[Heard], now_ns: int, silent_ns: int = SILENT_NS
) -> tuple[Verdict, list[Outage]]:
    """The failed elements, by number, as far as they can be told apart from lost connections.

    A last gasp counts as a witness of its own, so that a single home's gasp is enough.
    """
    silent = [g for g in gateways if g.is_silent(now_ns, silent_ns)]
    if not silent:
        return Verdict.CLEAR, []
    if len(silent) == len(gateways) and not any(g.gasped for g in gateways):
        return Verdict.DEAF, []
    talking = [False] * network.size
    for gateway in gateways:
        if not gateway.is_silent(now_ns, silent_ns):
            for element in network.path(gateway.node):
                talking[element] = True
    below: dict[int, list[Heard]] = {}
    for gateway in silent:
        highest = _highest(network, gateway.node, talking)
        if highest:
            below.setdefault(highest, []).append(gateway)
    found = [
        outage
        for element, group in sorted(below.items())
        if (outage := _outage(network, element, group)) is not None
    ]
    return (Verdict.OUTAGES if found else Verdict.CLEAR), found


def _highest(network: Network, node: int, talking: Sequence[bool]) -> int:
    """The last element on the way up below which nobody talks; 0 where there is none."""
    highest = 0
    for element in network.path(node):
        if talking[element]:
            break
        highest = element
    return highest


def _outage(network: Network, element: int, group: Sequence[Heard]) -> Outage | None:
    """The lowest element that all of a silent group share, if they are witnesses enough."""
    last = max(g.at_ns for g in group)
    slowest = max(TOGETHER_NS, *(g.every_ns for g in group))
    together = [g for g in group if g.gasped or last - g.at_ns <= slowest]
    gasps = sum(g.gasped for g in together)
    if len(together) + gasps < WITNESSES_MIN:
        return None
    nodes = [g.node for g in together]
    common = next(
        (e for e in network.path(nodes[0]) if all(network.is_below(n, e) for n in nodes)), element
    )
    return Outage(common, len(together), gasps, last)
