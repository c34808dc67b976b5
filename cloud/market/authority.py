"""What a grid authority orders: other limits, curtailments; and what the referee says of a slot.

Decides whether an order names an element of this network and an interval within bounds. Whether the
authority exists and outranks another is the registry's matter and was checked before. An order
changes limits; it never skips the physics check and never touches a trade that was made.
"""

from cloud.commands import OrderCurtailment, OverrideLimit, RecordReferee
from cloud.facts import RefereeRecorded
from cloud.grid.network import Network
from protos.clock import MINUTE_NS
from protos.limits import LEASE_NS_MAX
from protos.messages import Refusal

OVERRIDE_NS_MAX = 31 * 24 * 60 * MINUTE_NS
"""An override that is meant to last longer belongs into the network's data."""

LIMIT_W_MAX = 1 << 40


def refuse_override(network: Network, order: OverrideLimit, now_ns: int) -> Refusal | None:
    if not 0 < order.element < network.size:
        return Refusal.UNKNOWN_ELEMENT
    if not max(now_ns, order.starts_ns) < order.until_ns <= now_ns + OVERRIDE_NS_MAX:
        return Refusal.BAD_INTERVAL
    if not 0 <= order.limit_w <= LIMIT_W_MAX:
        return Refusal.RISK_LIMIT
    return None


def refuse_curtailment(network: Network, order: OrderCurtailment, now_ns: int) -> Refusal | None:
    """A lease is bounded by a day, so an order is too; a later order may go on."""
    if not 0 < order.element < network.size:
        return Refusal.UNKNOWN_ELEMENT
    if not max(now_ns, order.starts_ns) < order.ends_ns <= now_ns + LEASE_NS_MAX:
        return Refusal.BAD_INTERVAL
    if not 0 <= order.limit_w <= LIMIT_W_MAX:
        return Refusal.RISK_LIMIT
    return None


def referee_fact(zone: str, command: RecordReferee) -> RefereeRecorded:
    return RefereeRecorded(
        zone,
        command.slot,
        command.converged,
        command.worst_element,
        command.worst_loading_per_mille,
        command.voltage_min_per_mille,
        command.voltage_max_per_mille,
    )
