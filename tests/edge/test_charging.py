"""A lease for a car, from the machine to the charging station's registers and back: throttled, paused,
given back, with what was measured.
"""

from edge.dispatch import Dispatch
from edge.simulator.chargers import KebaCharger
from protos.clock import SECOND_NS
from protos.ids import DeviceId
from protos.messages import Lease, LeaseState, Role
from tests.edge.steered import Steered

ME = DeviceId("ab" * 16)


async def test_a_car_is_throttled_and_paused_by_leases_and_charges_on_when_they_end(
    tmp_path, peers
):
    station, dispatch = KebaCharger(SECOND_NS), Dispatch(ME, 0, 20 * SECOND_NS)
    profile, unit = station.profile, station.unit
    async with Steered(tmp_path, station, profile, Role.EV_CHARGER, unit, dispatch) as steered:

        def lease(name, limit_w, for_s):
            now_ns = steered.clock.now_ns()
            end_ns = now_ns + for_s * SECOND_NS
            steered.steering.give(Lease(name, ME, now_ns, end_ns, 0, charge_limit_w=limit_w))

        await peers.eventually(lambda: dispatch.is_idle and steered.poller.count.reads > 1, 20)
        assert station.offered_ma == 16_000
        lease("long", 5_000, 60)
        await peers.eventually(lambda: station.offered_ma == 7_246, 20)
        assert station.holding[5018] == 60, "its own watchdog runs"
        lease("short", 4_000, 3)
        await peers.eventually(lambda: station.offered_ma == 0, 20)
        await peers.eventually(lambda: station.offered_ma == 7_246, 20)
    assert station.offered_ma == 16_000
    assert station.holding[5018] == 0, "nobody steers: nothing watches"
    told = {name: [r for r in steered.reports if r.lease_id == name] for name in ("short", "long")}
    states = [report.state for report in told["short"]]
    assert states[:3] == [LeaseState.ACCEPTED, LeaseState.ACTIVE, LeaseState.EXPIRED]
    assert told["long"][-1].state is LeaseState.REVERTED
    active = next(report for report in told["long"] if report.state is LeaseState.ACTIVE)
    assert active.applied_w == 5_000
    assert active.measured_w == 11_040, "what was drawn when the limit came"
