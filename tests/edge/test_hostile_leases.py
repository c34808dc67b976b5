"""A cloud that was taken over, on the real stream: whatever it orders, the devices stay within their own
bounds, every order has an answer, and the agent lives.
"""

import asyncio
import random

from edge.devices.device import SetpointLimits
from protos import gateway_pb2
from protos.clock import SECOND_NS
from protos.messages import Quantity, Role

BOUNDS = SetpointLimits(3000, 4000, 5000)
CAR = SetpointLimits(0, 0, None, 11_040, 4140)


def order(draw, now_ns, number):
    """An order that no honest cloud would give, or now and then one that it would."""
    wild = [0, 1, -1, 6000, -6000, 2_000_000, -(1 << 40), (1 << 62)]
    start = now_ns + draw.choice([-900, 0, 0, 0, 5, 90_000, -(10**9)]) * SECOND_NS
    made = gateway_pb2.LeaseOrder(
        lease_id=draw.choice([f"L{number}", f"L{number // 2}", "", "x" * 900, "a\nb", "L1"]),
        not_before_ns=start,
        expires_ns=start + draw.choice([-5, 0, 1, 3, 60, 86_400, 10**8]) * SECOND_NS,
        ramp_w_per_s=draw.choice([0, 0, 100, 1 << 31]),
        reason="r" * draw.choice([0, 5000]),
    )
    if draw.random() < 0.7:
        made.power_w = draw.choice(wild)
    if draw.random() < 0.5:
        made.export_limit_w = abs(draw.choice(wild))
    if draw.random() < 0.5:
        made.charge_limit_w = abs(draw.choice(wild))
    return made


async def test_no_flood_of_orders_moves_a_device_out_of_its_bounds(site, gate, peers):
    battery = site.add_battery()
    battery.limits = BOUNDS
    car = peers.MemoryDevice(
        peers.meter_spec("car", Role.EV_CHARGER), site.clock, {Quantity.POWER_W: 0}
    )
    car.limits = CAR
    site.devices["car"] = car
    await site.start()
    await peers.eventually(
        lambda: ("restore",) in battery.orders and ("restore",) in car.orders, 20
    )
    draw, now_ns = random.Random(5), site.clock.now_ns()
    for number in range(300):
        await gate.down.put(gateway_pb2.ConnectResponse(lease=order(draw, now_ns, number)))
    honest = gateway_pb2.LeaseOrder(
        lease_id="last", not_before_ns=now_ns, expires_ns=now_ns + 600 * SECOND_NS, power_w=500
    )
    await gate.down.put(gateway_pb2.ConnectResponse(lease=honest))
    await peers.eventually(lambda: any(lease == "last" for lease, _ in site.lease_states()), 20)
    await asyncio.sleep(0.3)
    await site.end()

    kinds = {"power": (-3000, 4000), "limit": (0, 5000), "charge": (0, 11_040)}
    for device in (battery, car):
        for kind, *values in device.orders:
            if kind != "restore":
                low, high = kinds[kind]
                assert low <= values[0] <= high
                assert 1 <= values[1] <= 60, "no order leans on a timer longer than the agent's own"
        assert device.orders[-1] == ("restore",)
    assert all(kind in {"charge", "restore"} for kind, *_ in car.orders)
    answers = site.lease_states()
    assert sum(state == "REFUSED" for _, state in answers) > 50
    assert all(len(lease) <= 64 for lease, _ in answers)


async def test_the_same_order_again_and_a_contradiction_under_its_name_change_nothing(
    site, gate, peers
):
    battery = site.add_battery()
    await site.start()
    await peers.eventually(lambda: ("restore",) in battery.orders, 20)
    now_ns = site.clock.now_ns()
    first = gateway_pb2.LeaseOrder(
        lease_id="L", not_before_ns=now_ns, expires_ns=now_ns + 600 * SECOND_NS, power_w=1000
    )
    await gate.down.put(gateway_pb2.ConnectResponse(lease=first))
    await peers.eventually(lambda: ("L", "ACTIVE") in site.lease_states(), 20)
    first.power_w = -3000
    for _ in range(5):
        await gate.down.put(gateway_pb2.ConnectResponse(lease=first))
    await peers.eventually(lambda: site.lease_states().count(("L", "ACTIVE")) >= 6, 20)
    assert {values[0] for kind, *values in battery.orders if kind == "power"} == {1000}
    await site.end()
