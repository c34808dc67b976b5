"""What to take back of a closed slot's trades where the referee finds a limit broken.

Decides by asking the referee again and again: cuts below the worst element, fairly (equal caps, so
who feeds in little keeps all of it), as much as the excess and a little more, until the slot is
within its limits or as good as it was without any trade. It is the operator's remedy, not the
homes' fault: trades stand, and both figures are handed back. Must never cut more than a home has
traded, and never leave a slot worse than it found it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cloud.grid.curtailment import equal_caps
from cloud.grid.network import Network
from cloud.grid.referee import RefereeResult
from protos.ids import DeviceId
from protos.units import PER_MILLE

LOADING_MAX, VOLTAGE_MIN, VOLTAGE_MAX = 1_000, 900, 1_100
TRIES_MAX = 6
ELEMENTS_MAX = 12
"""How many elements in turn are relieved; who has more has a broken network, not a slot."""

MORE_PER_MILLE = 20
"""Cut beyond the excess, because a watt at a home is less than a watt at the element."""

VOLTAGE_CUT_PER_MILLE = 250
"""Of what flows, for a voltage: how much one watt moves it is not known here."""


class Checks(Protocol):
    """What is asked of a referee."""

    def check(self, slot: int, injections_w: Mapping[int, int]) -> RefereeResult: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A home whose trades can be taken back: W it sells, and W its battery could give instead of
    what it buys.
    """

    device: DeviceId
    node: int
    export_w: int
    relief_w: int


@dataclass(frozen=True, slots=True)
class Remedy:
    """The cuts by device in W (of feed-in; negative: relief of a draw), the element that was worst
    and how, and the referee's word before and after them.
    """

    element: int
    exporting: bool
    cuts: tuple[tuple[DeviceId, int], ...]
    before: RefereeResult
    after: RefereeResult


def disagrees(verdict: RefereeResult, unloaded: RefereeResult) -> bool:
    """Whether trades brought a slot beyond a limit: further than it was without them."""
    return (
        not verdict.converged
        or verdict.worst_loading_per_mille > max(LOADING_MAX, unloaded.worst_loading_per_mille)
        or verdict.voltage_min_per_mille < min(VOLTAGE_MIN, unloaded.voltage_min_per_mille)
        or verdict.voltage_max_per_mille > max(VOLTAGE_MAX, unloaded.voltage_max_per_mille)
    )


def remedy(
    referee: Checks,
    network: Network,
    slot: int,
    injections_w: Mapping[int, int],
    candidates: Sequence[Candidate],
) -> Remedy | None:
    """The cuts for a slot, or None where the referee agrees or nothing that can be cut helps."""
    unloaded = referee.check(slot, {})
    before = after = referee.check(slot, injections_w)
    place = _worst(network, slot, before, injections_w)
    total: dict[DeviceId, int] = {}
    injections, left = dict(injections_w), list(candidates)
    for _ in range(ELEMENTS_MAX):
        if not disagrees(after, unloaded):
            break
        found = _relieve(referee, network, slot, injections, left, unloaded, after)
        if found is None:
            break
        after, injections, cuts = found
        for device, power_w in cuts.items():
            total[device] = total.get(device, 0) + power_w
        left = [_less(candidate, cuts.get(candidate.device, 0)) for candidate in left]
    if not total:
        return None
    chosen = tuple((device, power_w) for device, power_w in total.items() if power_w)
    return Remedy(*place, chosen, before, after)


def _relieve(
    referee: Checks,
    network: Network,
    slot: int,
    injections_w: Mapping[int, int],
    candidates: Sequence[Candidate],
    unloaded: RefereeResult,
    before: RefereeResult,
) -> tuple[RefereeResult, dict[int, int], dict[DeviceId, int]] | None:
    """The worst element's turn: the verdict, the injections and the cuts afterwards."""
    element, exporting = _worst(network, slot, before, injections_w)
    pool = [c for c in candidates if network.is_below(c.node, element)]
    limits = [c.export_w if exporting else c.relief_w for c in pool]
    whole_w, cut_w, verdict = sum(limits), 0, before
    best = None
    for _ in range(TRIES_MAX):
        cut_w = min(whole_w, cut_w + _step(network, element, verdict, unloaded, whole_w))
        if cut_w <= 0:
            break
        sign = 1 if exporting else -1
        cuts = {c.device: sign * w for c, w in zip(pool, _shares(limits, cut_w), strict=True)}
        changed = _with(injections_w, pool, cuts)
        verdict = referee.check(slot, changed)
        if not _is_better(verdict, best[0] if best else before):
            break
        best = verdict, changed, cuts
        if verdict.worst_element != element or not disagrees(verdict, unloaded):
            break
        if cut_w == whole_w:
            break
    return best


def _less(candidate: Candidate, cut_w: int) -> Candidate:
    """What can still be taken back of a home after a cut."""
    return Candidate(
        candidate.device,
        candidate.node,
        candidate.export_w - max(0, cut_w),
        candidate.relief_w - max(0, -cut_w),
    )


def _worst(
    network: Network, slot: int, verdict: RefereeResult, injections_w: Mapping[int, int]
) -> tuple[int, bool]:
    """The element to relieve and whether power leaves its subtree too strongly."""
    if verdict.converged and verdict.worst_loading_per_mille <= LOADING_MAX:
        high = verdict.voltage_max_per_mille > VOLTAGE_MAX
        node = verdict.highest_node if high else verdict.lowest_node
        return _feeder(network, node), high
    element = verdict.worst_element if verdict.converged else _heaviest(network, injections_w)
    flow = network.baseline_flow_w(slot)[element]
    flow -= sum(w for node, w in injections_w.items() if network.is_below(node, element))
    return element, flow < 0


def _feeder(network: Network, node: int) -> int:
    """The lowest element above a node with a transformer's or the root's reach."""
    path = network.path(node)
    return next((e for e in path if network.kinds[e] == "transformer"), path[-1] if path else 0)


def _heaviest(network: Network, injections_w: Mapping[int, int]) -> int:
    """Where nothing could be solved: the element below which most was traded."""
    moved = [0] * network.size
    for node, power in injections_w.items():
        for element in network.path(node):
            moved[element] += power
    return max(range(1, network.size), key=lambda e: (abs(moved[e]), -e))


def _step(
    network: Network,
    element: int,
    verdict: RefereeResult,
    unloaded: RefereeResult,
    flow_w: int,
) -> int:
    """How much more to cut, in W, for what is still too much."""
    aim = max(LOADING_MAX, unloaded.worst_loading_per_mille)
    if verdict.converged and verdict.worst_loading_per_mille > aim:
        over = verdict.worst_loading_per_mille - aim + MORE_PER_MILLE
        return -(-network.limit_w[element] * over // PER_MILLE)
    return max(1, flow_w * VOLTAGE_CUT_PER_MILLE // PER_MILLE)


def _shares(limits: Sequence[int], cut_w: int) -> list[int]:
    """What each gives up: the rest of equal caps."""
    allowed = sum(limits) - cut_w
    if not allowed:
        return list(limits)
    caps = equal_caps(limits, allowed)
    return [max(0, limit - cap) for limit, cap in zip(limits, caps, strict=True)]


def _with(
    injections_w: Mapping[int, int], pool: Sequence[Candidate], cuts: Mapping[DeviceId, int]
) -> dict[int, int]:
    changed = dict(injections_w)
    for candidate in pool:
        changed[candidate.node] = changed.get(candidate.node, 0) - cuts[candidate.device]
    return changed


def _is_better(one: RefereeResult, other: RefereeResult) -> bool:
    return _badness(one) < _badness(other)


def _badness(verdict: RefereeResult) -> tuple[bool, int]:
    over = max(0, verdict.worst_loading_per_mille - LOADING_MAX)
    over += max(0, VOLTAGE_MIN - verdict.voltage_min_per_mille)
    return not verdict.converged, over + max(0, verdict.voltage_max_per_mille - VOLTAGE_MAX)
