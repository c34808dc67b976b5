"""A curtailment order as one lease a gateway: the cap on feed-in that keeps an element in bounds.

Decides what the fair plan (`cloud.grid.curtailment`) is told: every gateway that is admitted, with
the export it last signed, and the base flow of the slot in which the order starts. It must never
issue a lease that outlives its order, and never one without an end.
"""

from collections.abc import Iterable

from cloud.commands import OrderCurtailment
from cloud.facts import LeaseIssued
from cloud.grid.curtailment import GatewayExport, plan
from cloud.grid.network import Network
from cloud.market.streams import Gateway
from protos.clock import slot_at
from protos.ids import effect_id

RAMP_W_PER_S = 500
"""Ten kilowatts in twenty seconds: quick for the grid, gentle for an inverter."""


def plan_leases(
    network: Network, order: OrderCurtailment, gateways: Iterable[Gateway], now_ns: int
) -> list[LeaseIssued]:
    """The leases of a checked order, one for each gateway below the element, by device.

    None where the outflow is within the limit already, or where nobody feeds in.
    """
    starts_ns = max(now_ns, order.starts_ns)
    exports = [
        GatewayExport(gateway.device, gateway.node, max(0, -gateway.snapshot.grid_w))
        for gateway in gateways
        if not gateway.expelled
    ]
    rest_w = -network.baseline_flow_w(slot_at(starts_ns))[order.element]
    return [
        LeaseIssued(
            lease_id=effect_id("curtailment", order.order_id, cap.device),
            device=cap.device,
            not_before_ns=starts_ns,
            expires_ns=order.ends_ns,
            ramp_w_per_s=RAMP_W_PER_S,
            power_w=None,
            export_limit_w=cap.export_limit_w,
            reason=order.reason,
        )
        for cap in plan(network, order.element, order.limit_w, exports, rest_w).caps
    ]
