"""A closed slot's operating envelopes, and the leases that keep homes within them.

Decides what is left on the wires beside the base flow and the trades of the slot, and lets
`cloud.grid.envelope` share it out fairly. A lease is issued only where an envelope binds: where it is
less than the connection may feed in or draw anyway, and the home has something that does so and can
be told (for draw, a battery). Must never let
an envelope's lease loosen a curtailment: the lesser of the two holds.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cloud.commands import GridRules
from cloud.facts import EnvelopesSet, HomeEnvelope, LeaseIssued
from cloud.grid.envelope import envelopes
from cloud.grid.network import Network
from cloud.market.streams import Gateway
from protos.clock import SLOTS_PER_HOUR, slot_end_ns, slot_start_ns
from protos.ids import DeviceId, effect_id

RAMP_W_PER_S = 500
REASON = "operating envelope"
SLOTS_KEPT = 8


@dataclass(slots=True)
class Caps:
    """The caps on feed-in that curtailments have set, until each ends."""

    by_device: dict[DeviceId, list[tuple[int, int, int]]] = field(default_factory=dict)

    def add(self, lease: LeaseIssued) -> None:
        if lease.export_limit_w is not None:
            cap = (lease.not_before_ns, lease.expires_ns, lease.export_limit_w)
            self.by_device.setdefault(lease.device, []).append(cap)

    def least_w(self, device: DeviceId, starts_ns: int, ends_ns: int, limit_w: int) -> int:
        """The limit, or the lowest cap that holds at some time in between."""
        caps = self.by_device.get(device, ())
        return min([limit_w, *(w for start, end, w in caps if start < ends_ns and starts_ns < end)])

    def expire(self, now_ns: int) -> None:
        for device, caps in list(self.by_device.items()):
            left = [cap for cap in caps if cap[1] > now_ns]
            if left:
                self.by_device[device] = left
            else:
                del self.by_device[device]

    def state(self) -> object:
        return sorted(self.by_device.items())


def slot_envelopes(
    zone: str,
    network: Network,
    slot: int,
    limits: Mapping[int, int],
    net_wh: Mapping[int, int],
    gateways: Sequence[Gateway],
    connection_export_w: int,
) -> EnvelopesSet:
    """The envelopes of all gateways, in the order given. `net_wh` is what trades bring each node.

    What a base feeds in at a node is a home's own as far as its connection allows, and not where no
    home there produces: the rest is a plant beside it, which takes no draw from anybody.
    """
    traded_w = [0] * network.size
    for node, energy_wh in net_wh.items():
        for element in network.path(node):
            traded_w[element] += energy_wh * SLOTS_PER_HOUR
    down_wh, up_wh = network.headroom_wh(slot, limits)
    down_w = [wh * SLOTS_PER_HOUR - w for wh, w in zip(down_wh, traded_w, strict=True)]
    up_w = [wh * SLOTS_PER_HOUR + w for wh, w in zip(up_wh, traded_w, strict=True)]
    base_w = network.node_w(slot)
    expected_w = {
        gateway.node: base_w[gateway.node] + net_wh.get(gateway.node, 0) * SLOTS_PER_HOUR
        for gateway in gateways
    }
    drawn_w = dict(expected_w)
    own_w = Counter(dict.fromkeys(expected_w, 0))
    for gateway in gateways:
        own_w[gateway.node] += connection_export_w if gateway.produces else 0
    for node, power in expected_w.items():
        drawn_w[node] = max(power, -own_w[node])
    nodes = [gateway.node for gateway in gateways]
    shares = envelopes(network, nodes, (down_w, up_w), expected_w, drawn_w)
    return EnvelopesSet(
        zone,
        slot,
        tuple(
            HomeEnvelope(gateway.device, share.import_limit_w, share.export_limit_w)
            for gateway, share in zip(gateways, shares, strict=True)
        ),
    )


def envelope_leases(
    fact: EnvelopesSet, rules: GridRules, gateways: Mapping[DeviceId, Gateway], caps: Caps
) -> list[LeaseIssued]:
    """One lease for each home whose envelope binds, for exactly the slot."""
    starts_ns, ends_ns = slot_start_ns(fact.slot), slot_end_ns(fact.slot)
    leases = []
    for home in fact.homes:
        gateway = gateways[home.device]
        feeds = gateway.produces or gateway.snapshot.max_discharge_w > 0
        draws = gateway.snapshot.max_charge_w > 0
        export_w = import_w = None
        if feeds and home.export_limit_w < rules.connection_export_w:
            export_w = caps.least_w(home.device, starts_ns, ends_ns, home.export_limit_w)
        if draws and home.import_limit_w < rules.connection_import_w:
            import_w = home.import_limit_w
        if export_w is None and import_w is None:
            continue
        leases.append(
            LeaseIssued(
                lease_id=effect_id("envelope", fact.zone, fact.slot, home.device),
                device=home.device,
                not_before_ns=starts_ns,
                expires_ns=ends_ns,
                ramp_w_per_s=RAMP_W_PER_S,
                power_w=None,
                export_limit_w=export_w,
                reason=REASON,
                import_limit_w=import_w,
            )
        )
    return leases
