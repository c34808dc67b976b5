"""A limit on what the home draws: its cars yield, then its batteries give, within their bounds."""

from hypothesis import given
from hypothesis import strategies as st

from edge.devices.device import SetpointLimits
from edge.importing import STEP_W, ImportGuard, cars_room_w
from edge.leases import Measured, Steerable
from edge.uplink import _lease
from protos.gateway_pb2 import LeaseOrder
from protos.messages import Lease
from tests.edge.test_dispatch import BATTERY, CHARGER, INVERTER, ME, SECOND_NS, START, Bench

WATTS = st.integers(-30_000, 30_000)


def lease(limit_w=3_000, name="import", seconds=60, **more):
    return Lease(name, ME, START, START + seconds * SECOND_NS, 0, import_limit_w=limit_w, **more)


def home(grid_w, battery_w=0, draw_w=0, charge=600):
    """A home by its meter, its batteries and its cars."""
    return Measured(battery_w, charge, True, max(0, -grid_w), draw_w, 0, 50_000, max(0, grid_w))


def given_lease(bench, *leases):
    """Leases come down, and the machine has its turn; devices' defaults are restored before."""
    bench.carry_out(bench.machine.tick(bench.now, bench.measured))
    for one in leases:
        bench.carry_out(bench.machine.offer(one, bench.now))
    bench.carry_out(bench.machine.tick(bench.now, bench.measured))


def test_a_car_gets_what_the_house_leaves_of_the_limit_and_no_more():
    bench = Bench(CHARGER)
    bench.measured = home(8_000, draw_w=7_000)
    given_lease(bench, lease(6_000))
    assert bench.draw == {"charger": 5_000}
    assert ("import", "ACTIVE") in bench.reports
    bench.measured = home(9_000, draw_w=5_000)
    given_lease(bench)
    # Less than the car can take: it pauses.
    assert bench.draw == {"charger": 0}


def test_a_battery_gives_what_the_limit_lacks_and_never_charges_because_of_it():
    bench = Bench(BATTERY)
    bench.measured = home(5_000)
    given_lease(bench, lease(3_000))
    assert bench.power == {"battery": 2_000}
    # It gives that now, so the meter shows the limit; the answer stays.
    bench.measured = home(3_000, battery_w=2_000)
    given_lease(bench)
    assert bench.power == {"battery": 2_000}
    bench.measured = home(1_000, battery_w=2_000)
    given_lease(bench)
    assert bench.power == {"battery": 0}


def test_a_battery_that_charges_by_order_charges_less_under_the_limit():
    bench = Bench(BATTERY)
    bench.measured = home(4_000, battery_w=-3_000)
    power = Lease("power", ME, START, START + 60 * SECOND_NS, 0, power_w=-3_000)
    given_lease(bench, power, lease(3_500))
    assert bench.power == {"battery": -2_500}


def test_the_limit_ends_with_its_lease_and_devices_go_back_to_their_default():
    bench = Bench(BATTERY, CHARGER)
    bench.measured = home(9_000, draw_w=4_500)
    given_lease(bench, lease(3_000))
    assert bench.power["battery"] > 0
    bench.now += 61 * SECOND_NS
    given_lease(bench)
    given_lease(bench)
    assert (bench.power, bench.draw) == ({}, {})
    states = [state for name, state in bench.reports if name == "import"]
    assert states == ["ACCEPTED", "ACTIVE", "EXPIRED", "REVERTED"]


def test_the_tightest_of_two_limits_holds_and_an_order_for_cars_with_it():
    bench = Bench(CHARGER)
    bench.measured = home(1_000)
    given_lease(bench, lease(9_000, "wide"), lease(7_000, "tight"), lease(8_000, "late"))
    assert bench.draw == {"charger": 6_000}
    given_lease(bench, Lease("cars", ME, START, START + 9 * SECOND_NS, 0, charge_limit_w=5_000))
    assert bench.draw == {"charger": 5_000}


def test_the_owners_reserve_stays_where_the_limit_would_need_it():
    bench = Bench(BATTERY)
    bench.measured = home(9_000, charge=150)
    given_lease(bench, lease(3_000))
    assert bench.power == {"battery": 0}


def test_a_battery_whose_memory_wears_is_left_alone_without_an_order_of_its_own():
    worn = Steerable("worn", SetpointLimits(3_000, 4_000, wears=True), stores=True)
    bench = Bench(worn)
    bench.measured = home(9_000)
    given_lease(bench, lease(3_000))
    assert bench.power == {}


def test_without_a_meter_cars_get_the_limit_and_batteries_are_not_asked():
    bench = Bench(BATTERY, CHARGER)
    bench.measured = Measured(0, 600, True)
    given_lease(bench, lease(6_000))
    assert bench.draw == {"charger": 6_000}
    assert bench.power == {}


def test_a_device_that_does_not_take_it_is_reported():
    bench = Bench(CHARGER)
    bench.measured = home(8_000)
    given_lease(bench)
    bench.broken = True
    given_lease(bench, lease(3_000))
    assert ("import", "FAILED") in bench.reports


def test_a_home_that_can_draw_no_less_refuses():
    bench = Bench(INVERTER)
    given_lease(bench, lease())
    assert ("import", "REFUSED") in bench.reports
    for limit in (-1, 1 << 40):
        bench = Bench(BATTERY)
        given_lease(bench, lease(limit))
        assert ("import", "REFUSED") in bench.reports


@given(WATTS, WATTS, st.integers(0, 22_000), st.integers(0, 20_000))
def test_what_is_left_to_the_cars_keeps_the_limit_whatever_they_draw_now(
    grid, battery, draw, limit
):
    measured = home(grid, battery, draw)
    room = cars_room_w(limit, measured)
    assert room % STEP_W == 0
    others = grid + battery - draw
    assert room == 0 or others + room <= limit
    guard = ImportGuard()
    least = guard.least_battery_w(limit, measured, 3_000)
    if grid > limit and least is not None:
        assert others + draw - least == limit


def test_the_limit_travels_in_the_treatys_own_field():
    order = LeaseOrder(lease_id="x", expires_ns=5, import_limit_w=0)
    assert _lease(order, ME).import_limit_w == 0
    assert _lease(LeaseOrder(lease_id="x"), ME).import_limit_w is None
