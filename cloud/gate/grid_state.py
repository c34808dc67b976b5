"""What a grid operator reads of a zone's present state, as the treaty's messages.

Decides nothing: outages, alarms, envelopes, congestion to come and the estimated state are the
zone's own figures.
"""

import asyncio
from collections.abc import Callable, Sequence

from cloud.facts import ElementFlow, EnvelopesSet
from cloud.grid.congestion import loading_per_mille, most_loaded
from cloud.grid.envelope import Envelope, der_control
from cloud.market.zone import Zone
from protos import utility_pb2 as pb
from protos.clock import SLOT_NS, SLOTS_PER_DAY, slot_start_ns
from protos.units import PER_MILLE

CONGESTION_SLOTS = 16
CONGESTION_PER_MILLE = 800
POINTS_PER_SLOT_MAX = 10


FlowsOf = Callable[[Zone, int], Sequence[ElementFlow]]
"""What flows through every element of a zone in a slot."""


def outages_of(zone: Zone) -> pb.ListOutagesResponse:
    return pb.ListOutagesResponse(
        outages=[
            pb.Outage(
                element=outage.element,
                name=zone.network.element_names[outage.element],
                gateways=outage.gateways,
                gasps=outage.gasps,
                since_ns=outage.since_ns,
            )
            for outage in zone.grid.watch.out.values()
        ]
    )


def alarms_of(zone: Zone) -> pb.ListAlarmsResponse:
    return pb.ListAlarmsResponse(
        alarms=[
            pb.Alarm(subject=watch.subject, level=watch.level.name, value=watch.value)
            for watch in zone.grid.watch.alarms()
        ]
    )


def envelopes_of(zone: Zone, fact: EnvelopesSet, start: int, end: int) -> list[pb.Envelope]:
    """A part of the newest envelopes, in CSIP-AUS' names and numbers."""
    nodes = {gateway.device: gateway.node for gateway in zone.gateways}
    found = []
    for home in fact.homes[start:end]:
        own = Envelope(nodes[home.device], home.import_limit_w, home.export_limit_w)
        control = der_control(own, slot_start_ns(fact.slot) // 10**9, SLOT_NS // 10**9)
        imported, exported = control.opModImpLimW, control.opModExpLimW
        found.append(
            pb.Envelope(
                device=home.device,
                node=own.node,
                op_mod_imp_lim_w=pb.ActivePower(
                    multiplier=imported.multiplier, value=imported.value
                ),
                op_mod_exp_lim_w=pb.ActivePower(
                    multiplier=exported.multiplier, value=exported.value
                ),
            )
        )
    return found


async def congestion_of(
    zone: Zone, first_slot: int, slots: int, least_per_mille: int, flows_of: FlowsOf
) -> pb.ListCongestionResponse:
    """Slot by slot; others get a turn in between, because a day of a large grid takes a moment."""
    count = min(max(slots, 0) or CONGESTION_SLOTS, SLOTS_PER_DAY)
    points = []
    for slot in range(first_slot, first_slot + count):
        flows = [
            flow
            for flow in flows_of(zone, slot)
            if abs(flow.power_w) * PER_MILLE
            >= (least_per_mille or CONGESTION_PER_MILLE) * flow.limit_w
        ]
        points += [
            pb.CongestionPoint(slot=slot, feeder=feeder_of(zone, flow))
            for flow in most_loaded(flows, POINTS_PER_SLOT_MAX)
        ]
        await asyncio.sleep(0)
    return pb.ListCongestionResponse(points=points)


def feeder_of(zone: Zone, flow: ElementFlow) -> pb.Feeder:
    return pb.Feeder(
        element=flow.element,
        name=zone.network.element_names[flow.element],
        power_w=flow.power_w,
        limit_w=flow.limit_w,
        loading_per_mille=loading_per_mille(flow.power_w, flow.limit_w),
    )


def state_of(zone: Zone) -> pb.GetGridStateResponse | None:
    """The newest estimate; None before the first."""
    state = zone.grid.estimate
    if state is None:
        return None
    network = zone.network
    return pb.GetGridStateResponse(
        slot=state.slot,
        converged=state.converged,
        measured=state.measured,
        assumed=state.assumed,
        voltage_min_per_mille=state.voltage_min_per_mille,
        voltage_max_per_mille=state.voltage_max_per_mille,
        feeders=[
            pb.Feeder(
                element=element,
                name=network.element_names[element],
                power_w=power_w,
                limit_w=network.limit_w[element],
                loading_per_mille=loading,
            )
            for element, power_w, loading in state.flows
        ],
        rejected=state.rejected,
    )
