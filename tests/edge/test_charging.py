"""A lease for a car, from the machine to the charging station's registers and back: throttled, paused,
given back, with what was measured.
"""

import asyncio

from edge.devices.catalog import open_device
from edge.devices.device import DeviceSpec
from edge.devices.modbus.bus import BusPool
from edge.dispatch import Dispatch
from edge.home import Home as Seen
from edge.home import steerable
from edge.poller import Poller
from edge.simulator.chargers import KebaCharger
from edge.simulator.server import Station, TcpDevice
from edge.steering import Steering
from protos.clock import SECOND_NS, SystemClock
from protos.ids import DeviceId
from protos.messages import Lease, LeaseState, Role

ME = DeviceId("ab" * 16)


async def test_a_car_is_throttled_and_paused_by_leases_and_charges_on_when_they_end(
    tmp_path, peers
):
    clock, reports = SystemClock(), []
    station = KebaCharger(SECOND_NS)
    server = TcpDevice(Station({station.unit: station}, clock.now_ns))
    spec = DeviceSpec(
        "car", Role.EV_CHARGER, station.profile, "tcp", await server.start(), station.unit
    )
    pool = BusPool()
    poller = Poller(spec, lambda one: open_device(one, clock, pool), clock, 0.05, 2.0)
    seen = Seen([poller], SECOND_NS)
    dispatch = Dispatch(ME, 0, 20 * SECOND_NS)

    async def take(items):
        reports.extend(items)

    steering = Steering(
        dispatch,
        clock,
        tmp_path / "reversion.json",
        lambda _: poller.device,
        lambda: seen.measured(clock.monotonic_ns()),
        take,
    )

    def heard(one, sample, qualities):
        del sample, qualities
        dispatch.add(steerable(one))

    def lease(name, limit_w, for_s):
        now_ns = clock.now_ns()
        steering.give(
            Lease(name, ME, now_ns, now_ns + for_s * SECOND_NS, 0, charge_limit_w=limit_w)
        )

    def states(name):
        return [report.state for report in reports if report.lease_id == name]

    tasks = [asyncio.create_task(part) for part in (poller.run(heard), steering.run())]
    try:
        await peers.eventually(lambda: poller.count.reads > 1, 20)
        steering.wake()
        await peers.eventually(lambda: dispatch.is_idle, 20)
        assert station.offered_ma == 16_000
        lease("long", 5_000, 60)
        await peers.eventually(lambda: station.offered_ma == 7_246, 20)
        assert station.holding[5018] == 60, "its own watchdog runs"
        lease("short", 4_000, 3)
        await peers.eventually(lambda: station.offered_ma == 0, 20)
        await peers.eventually(lambda: station.offered_ma == 7_246, 20)
        await steering.stop()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await pool.close()
        await server.close()
    assert station.offered_ma == 16_000
    assert station.holding[5018] == 0, "nobody steers: nothing watches"
    assert states("short")[:3] == [LeaseState.ACCEPTED, LeaseState.ACTIVE, LeaseState.EXPIRED]
    assert states("long")[-1] is LeaseState.REVERTED
    active = next(r for r in reports if r.lease_id == "long" and r.state is LeaseState.ACTIVE)
    assert active.applied_w == 5_000
    assert active.measured_w == 11_040, "what was drawn when the limit came"
