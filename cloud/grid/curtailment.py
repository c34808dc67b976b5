"""Which home may feed in how much while an element's outflow must stay below a limit.

Fair means water-filling: everybody in the subtree gets the same cap, and whoever feeds in less than
that keeps all of it. It never takes more than needed, never caps below zero (a home may always use
its own power) and never touches a home outside the subtree. Where even caps of zero are not enough,
it says so and returns what can be reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cloud.grid.network import Network
from protos.ids import DeviceId


@dataclass(frozen=True, slots=True)
class GatewayExport:
    """One gateway and the most it would feed in meanwhile: its sales, or its present export."""

    device: DeviceId
    node: int
    export_w: int


@dataclass(frozen=True, slots=True)
class Cap:
    """The most a gateway may feed in from now on."""

    device: DeviceId
    node: int
    export_limit_w: int


class Reason(StrEnum):
    NEEDLESS = "the outflow is within the limit already"
    CAPPED = "caps bring the outflow to the limit"
    NO_GATEWAY = "no gateway below the element feeds in; nothing can be capped"
    NOT_ENOUGH = "with every gateway at zero the rest still exceeds the limit"


@dataclass(frozen=True, slots=True)
class CurtailmentPlan:
    """The caps, and the outflow through the element once they are kept."""

    caps: tuple[Cap, ...]
    outflow_w: int
    reason: Reason

    @property
    def feasible(self) -> bool:
        return self.reason in {Reason.NEEDLESS, Reason.CAPPED}


def plan(
    network: Network,
    element: int,
    limit_w: int,
    gateways: Sequence[GatewayExport],
    rest_w: int = 0,
) -> CurtailmentPlan:
    """Caps that keep the flow out of the element's subtree, towards the grid, at `limit_w`.

    `rest_w` is the outflow that the gateways do not cause: minus the base flow through the element.
    With caps the gateways' sum is exactly what is left of the limit. Every device id stands once;
    the watt that does not divide goes to the smaller ids.
    """
    if not 0 <= element < network.size:
        raise ValueError(f"element {element} is not one of the network's {network.size}")
    below = sorted(
        (g for g in gateways if network.is_below(g.node, element)), key=lambda g: g.device
    )
    exports = [max(0, gateway.export_w) for gateway in below]
    whole = sum(exports)
    allowed = max(0, limit_w - rest_w)
    if rest_w + whole <= limit_w:
        return CurtailmentPlan((), rest_w + whole, Reason.NEEDLESS)
    if not whole:
        return CurtailmentPlan((), rest_w, Reason.NO_GATEWAY)
    caps = tuple(
        Cap(gateway.device, gateway.node, cap)
        for gateway, cap in zip(below, equal_caps(exports, allowed), strict=True)
    )
    reason = Reason.CAPPED if rest_w <= limit_w else Reason.NOT_ENOUGH
    return CurtailmentPlan(caps, rest_w + allowed, reason)


def equal_caps(exports_w: Sequence[int], allowed_w: int) -> list[int]:
    """One level for all, so that the sum of min(export, cap) is `allowed_w` exactly.

    `allowed_w` is at least zero and less than the exports' sum. Whole watts: the remainder raises
    the first of those that the level binds by one each.
    """
    assert 0 <= allowed_w < sum(exports_w)
    left, binding, level = allowed_w, len(exports_w), 0
    for export in sorted(exports_w):
        if export * binding > left:
            break
        left -= export
        binding -= 1
    level, remainder = divmod(left, binding)
    caps = []
    for export in exports_w:
        extra = 1 if export > level and remainder else 0
        remainder -= extra
        caps.append(level + extra)
    return caps
