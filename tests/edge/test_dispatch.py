"""The lease machine against everything a hostile or confused cloud can send, without a clock."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.devices.device import SetpointLimits
from edge.dispatch import LEASES_MAX, Dispatch
from edge.droop import Droop
from edge.leases import (
    Measured,
    Remember,
    Report,
    Restore,
    SetChargeLimit,
    SetExportLimit,
    SetPower,
    Steerable,
)
from protos.clock import SECOND_NS
from protos.ids import DeviceId
from protos.limits import LEASE_NS_MAX
from protos.messages import Lease, LeaseState

ME = DeviceId("ab" * 16)
START = 1_800_000_000 * SECOND_NS
BATTERY = Steerable("battery", SetpointLimits(3000, 4000), stores=True)
INVERTER = Steerable("inverter", SetpointLimits(0, 0, 8000), stores=False)
CHARGER = Steerable("charger", SetpointLimits(0, 0, None, 11_040, 4140), stores=False)
CALM = Measured(0, 600, True, 0)


class Bench:
    """Runs a machine and keeps what the devices hold, as a device would."""

    def __init__(self, *fleet: Steerable, reserve: int = 200, droop: Droop | None = None) -> None:
        self.machine = Dispatch(ME, reserve, 20 * SECOND_NS, droop)
        for item in fleet:
            self.machine.add(item)
        self.now = START
        self.power: dict[str, int] = {}
        self.limit: dict[str, int] = {}
        self.draw: dict[str, int] = {}
        self.restores: list[str] = []
        self.reports: list[tuple[str, str]] = []
        self.noted: tuple[str, ...] = ()
        self.broken = False
        self.measured = CALM

    def carry_out(self, actions) -> None:
        for action in actions:
            if isinstance(action, Report):
                self.reports.append((action.report.lease_id, action.report.state.name))
                continue
            if isinstance(action, Remember):
                self.noted = action.devices
                continue
            if isinstance(action, SetPower | SetExportLimit | SetChargeLimit):
                assert action.device in self.noted, "a setpoint before its reversion was noted"
                assert self.now < action.until_ns <= self.now + 2 * LEASE_NS_MAX
            if self.broken:
                after = self.machine.failed(action, self.now, "no answer", self.measured)
            else:
                self.apply(action)
                after = self.machine.succeeded(action, self.now, self.measured)
            self.carry_out(after)

    def apply(self, action) -> None:
        if isinstance(action, SetPower):
            self.power[action.device] = action.power_w
        elif isinstance(action, SetExportLimit):
            self.limit[action.device] = action.limit_w
        elif isinstance(action, SetChargeLimit):
            self.draw[action.device] = action.limit_w
        elif isinstance(action, Restore):
            self.power.pop(action.device, None)
            self.limit.pop(action.device, None)
            self.draw.pop(action.device, None)
            self.restores.append(action.device)

    def tick(self, seconds: float = 0) -> None:
        self.now += int(seconds * SECOND_NS)
        self.carry_out(self.machine.tick(self.now, self.measured))

    def give(
        self, lease_id: str, power: int | None = None, limit: int | None = None, **more
    ) -> None:
        start = self.now + int(more.get("after", 0) * SECOND_NS)
        end = start + int(more.get("for_s", 60) * SECOND_NS)
        lease = Lease(
            lease_id,
            more.get("device", ME),
            start,
            end,
            more.get("ramp", 0),
            power,
            limit,
            charge_limit_w=more.get("draw"),
        )
        self.carry_out(self.machine.offer(lease, self.now))

    def states(self, lease_id: str) -> list[str]:
        return [state for name, state in self.reports if name == lease_id]


def ready(*fleet: Steerable, **more) -> Bench:
    bench = Bench(*fleet, **more)
    bench.tick()
    return bench


def test_every_device_is_restored_before_it_is_steered():
    bench = Bench(BATTERY, INVERTER)
    bench.give("L", 1000)
    bench.tick()
    assert bench.restores == ["battery", "inverter"]
    assert bench.power == {}
    bench.tick()
    assert bench.power == {"battery": 1000}


def test_a_lease_is_accepted_active_expired_and_reverted():
    bench = ready(BATTERY)
    bench.give("L", 1500)
    bench.tick()
    assert bench.power == {"battery": 1500}
    bench.tick(61)
    assert bench.power == {}
    assert bench.states("L") == ["ACCEPTED", "ACTIVE", "EXPIRED", "REVERTED"]
    assert bench.machine.is_idle
    assert bench.noted == ("battery",)
    bench.tick()
    assert bench.noted == ()


def test_a_ramp_is_followed_and_starts_from_what_the_battery_does():
    bench = ready(BATTERY)
    bench.measured = Measured(-500, 600, True, 0)
    bench.give("L", 1000, ramp=100)
    bench.tick()
    seen = []
    for _ in range(17):
        seen.append(bench.power["battery"])
        bench.tick(1)
    assert seen[:3] == [-500, -400, -300]
    assert seen[-1] == 1000
    assert all(0 <= after - before <= 100 for before, after in pairwise(seen))


def test_a_lease_for_later_waits_for_its_time():
    bench = ready(BATTERY)
    bench.give("L", 1000, after=30, for_s=10)
    bench.tick(29)
    assert bench.power == {}
    bench.tick(1)
    assert bench.power == {"battery": 1000}
    assert bench.machine.next_ns(bench.now) == bench.now + 10 * SECOND_NS


def test_the_lease_given_last_rules_and_the_earlier_one_resumes():
    bench = ready(BATTERY)
    bench.give("A", 1000, for_s=100)
    bench.tick(1)
    bench.give("B", -1000, for_s=10)
    bench.tick(1)
    assert bench.power == {"battery": -1000}
    bench.tick(10)
    assert bench.power == {"battery": 1000}
    bench.tick(100)
    assert bench.power == {}
    assert bench.states("B")[-1] == bench.states("A")[-1] == "REVERTED"


def test_a_setpoint_is_renewed_and_otherwise_written_only_on_change():
    bench = ready(BATTERY)
    bench.give("L", 1000, for_s=300)
    bench.tick()
    bench.power.clear()
    bench.tick(5)
    assert bench.power == {}
    bench.tick(15)
    assert bench.power == {"battery": 1000}


def test_the_owners_reserve_is_not_the_clouds():
    bench = ready(BATTERY)
    bench.measured = Measured(0, 200, True, 0)
    bench.give("L", 1000)
    bench.tick()
    assert bench.power == {"battery": 0}
    bench.measured = Measured(0, None, True, 0)
    bench.tick(20)
    assert bench.power == {"battery": 0}, "an unknown charge is no charge"
    bench.measured = Measured(0, 201, True, 0)
    bench.tick(1)
    assert bench.power == {"battery": 1000}


def test_a_failing_device_is_reported_once_and_tried_until_it_takes_it():
    bench = ready(BATTERY)
    bench.give("L", 1000)
    bench.broken = True
    for _ in range(4):
        bench.tick(5)
    assert bench.states("L") == ["ACCEPTED", "FAILED"]
    bench.broken = False
    bench.tick(5)
    assert bench.states("L")[-1] == "ACTIVE"


def test_a_setpoint_of_unknown_outcome_is_undone_too():
    bench = ready(BATTERY)
    bench.give("L", 1000, for_s=4)
    bench.broken = True
    bench.tick()
    bench.broken = False
    bench.restores.clear()
    bench.tick(10)
    assert bench.restores == ["battery"]


def test_restoring_never_gives_up():
    bench = ready(BATTERY)
    bench.give("L", 1000, for_s=5)
    bench.tick()
    bench.broken = True
    for _ in range(20):
        bench.tick(60)
    assert bench.states("L") == ["ACCEPTED", "ACTIVE", "EXPIRED"]
    assert bench.noted == ("battery",), "still on the disk for the next start"
    bench.broken = False
    bench.tick(5)
    assert bench.states("L")[-1] == "REVERTED"


def test_what_a_former_run_left_is_reported_only_when_its_device_is_back():
    bench = Bench()
    bench.machine.recover(("battery",), ("OLD",))
    bench.tick()
    assert bench.noted == ("battery",)
    assert bench.reports == []
    bench.machine.add(BATTERY)
    bench.tick()
    assert bench.reports == [("OLD", "REVERTED")]


def test_stopping_ends_every_lease_and_takes_no_new_one():
    bench = ready(BATTERY, INVERTER)
    bench.give("A", 1000)
    bench.give("B", None, 100)
    bench.tick()
    assert bench.limit == {"inverter": 100}
    bench.carry_out(bench.machine.stop(bench.now, CALM))
    assert (bench.power, bench.limit) == ({}, {})
    bench.give("C", 1000)
    assert bench.states("C") == ["REFUSED"]


def test_undoing_one_setpoint_of_a_hybrid_keeps_the_other():
    hybrid = Steerable("hybrid", SetpointLimits(3000, 3000, 5000), stores=True)
    bench = ready(hybrid)
    bench.give("A", 1000, for_s=10)
    bench.give("B", None, 500, for_s=100)
    bench.tick()
    bench.tick(11)
    bench.tick(1)
    assert (bench.power, bench.limit) == ({}, {"hybrid": 500})


def test_two_batteries_share_an_order_in_proportion_and_to_the_watt():
    other = Steerable("other", SetpointLimits(1000, 3000), stores=True)
    bench = ready(BATTERY, other)
    bench.give("L", 1001)
    bench.tick()
    assert bench.power == {"battery": 572, "other": 429}


def test_a_repeated_order_is_answered_with_where_it_stands_and_not_done_again():
    bench = ready(BATTERY)
    bench.give("L", 1000)
    bench.tick()
    bench.give("L", -3000)
    bench.tick()
    assert bench.power == {"battery": 1000}
    assert bench.states("L") == ["ACCEPTED", "ACTIVE", "ACTIVE"]


def test_refusals_name_what_is_wrong():
    bench = ready(BATTERY)
    for wrong in (
        {"power": 4001},
        {"power": -3001},
        {"limit": 100},
        {},
        {"power": 1, "for_s": 0},
        {"power": 1, "for_s": -5},
        {"power": 1, "after": -100, "for_s": 50},
        {"power": 1, "for_s": 86_401},
        {"power": 1, "after": 86_401},
        {"power": 1, "ramp": 1_000_001},
        {"power": 1, "device": DeviceId("00" * 16)},
    ):
        bench.reports.clear()
        bench.give("L", **wrong)
        assert bench.reports == [("L", "REFUSED")], wrong
    bench.give("", 1)
    bench.give("x" * 65, 1)
    bench.give("a\nb", 1)
    assert [state for _, state in bench.reports[1:]] == ["REFUSED"] * 3
    assert (
        Dispatch(ME, 0, 1)
        .offer(Lease("L", ME, START, START + 1, 0, None, -1), START)[0]
        .report.state
        is LeaseState.REFUSED
    )


def test_a_car_is_throttled_paused_and_given_back_to_itself():
    bench = ready(CHARGER)
    bench.give("A", draw=7000, for_s=100)
    bench.tick()
    assert bench.draw == {"charger": 7000}
    bench.give("B", draw=0, for_s=10)
    bench.tick(1)
    assert bench.draw == {"charger": 0}
    bench.tick(10)
    assert bench.draw == {"charger": 7000}
    bench.tick(90)
    assert bench.draw == {}
    assert bench.states("A") == ["ACCEPTED", "ACTIVE", "EXPIRED", "REVERTED"]


def test_a_limit_that_does_not_reach_for_every_car_pauses_the_last_ones():
    fleet = [
        Steerable(f"car-{n}", SetpointLimits(0, 0, None, 11_040, 4140), stores=False)
        for n in range(3)
    ]
    bench = ready(*fleet)
    for limit, wanted in (
        (33_120, [11_040, 11_040, 11_040]),
        (12_420, [4140, 4140, 4140]),
        (12_419, [6210, 6209, 0]),
        (4140, [4140, 0, 0]),
        (4139, [0, 0, 0]),
        (0, [0, 0, 0]),
    ):
        bench.give(f"L{limit}", draw=limit)
        bench.tick(1)
        assert list(bench.draw.values()) == wanted
        assert sum(wanted) <= limit


def test_a_home_with_everything_obeys_all_three_kinds_at_once_and_undoes_each_alone():
    bench = ready(BATTERY, INVERTER, CHARGER)
    bench.give("A", 1000, 2000, draw=6000, for_s=60)
    bench.tick()
    assert (bench.power, bench.limit, bench.draw) == (
        {"battery": 1000},
        {"inverter": 2000},
        {"charger": 6000},
    )
    bench.give("B", draw=4200, for_s=30)
    bench.tick(1)
    assert bench.draw == {"charger": 4200}
    bench.tick(30)
    assert bench.draw == {"charger": 6000}
    bench.tick(60)
    bench.tick(1)
    assert (bench.power, bench.limit, bench.draw) == ({}, {}, {})


def test_orders_for_a_car_are_refused_where_there_is_none_and_out_of_bounds():
    assert (
        ready(BATTERY)
        .machine.offer(Lease("L", ME, START, START + SECOND_NS, 0, charge_limit_w=5000), START)[0]
        .report.detail
        == "no charger that can be limited"
    )
    bench = ready(CHARGER)
    for wrong in (-1, 1_000_001, 1 << 63):
        bench.give(f"L{wrong}", draw=wrong)
    assert [state for _, state in bench.reports] == ["REFUSED"] * 3


def test_a_clock_that_is_set_back_makes_no_lease_last_longer():
    bench = ready(BATTERY)
    bench.give("L", 1000, for_s=300)
    bench.tick()
    wall, steady = bench.now - 3600 * SECOND_NS, bench.now
    for passed in range(0, 301, 20):
        at = wall + passed * SECOND_NS
        bench.carry_out(
            bench.machine.tick(at, CALM, steady + passed * SECOND_NS),
        )
        assert bench.machine.next_ns(at) - at <= 20 * SECOND_NS
    assert bench.power == {}
    assert bench.states("L")[-2:] == ["EXPIRED", "REVERTED"]


def test_a_clock_that_is_set_back_a_little_renews_the_setpoint_at_once():
    bench = ready(BATTERY)
    bench.tick(60)
    bench.give("L", 1000, after=-30, for_s=300)
    bench.tick()
    bench.power.clear()
    bench.tick(-10)
    assert bench.power == {"battery": 1000}, "the last writing lies in the future"


def test_a_clock_that_jumps_ahead_ends_every_lease():
    bench = ready(BATTERY, CHARGER)
    bench.give("L", 1000, draw=5000, for_s=86_000)
    bench.tick()
    bench.tick(400 * 86_400)
    assert (bench.power, bench.draw) == ({}, {})
    assert bench.machine.is_idle


def test_a_flood_of_leases_is_bounded():
    bench = ready(BATTERY)
    for number in range(LEASES_MAX + 10):
        bench.give(f"L{number}", 1)
    assert [state for _, state in bench.reports].count("REFUSED") == 10


WILD = st.integers(-(1 << 40), 1 << 40)
TIMES = st.integers(-200_000, 200_000)
STEP = st.one_of(
    st.tuples(
        st.just("give"),
        st.sampled_from(["A", "B", "C", "D", "E"]),
        st.none() | st.integers(-6000, 6000) | WILD,
        st.tuples(
            st.none() | st.integers(0, 9000) | WILD, st.none() | st.integers(0, 12_000) | WILD
        ),
        st.tuples(TIMES, TIMES),
        st.integers(0, 5000) | WILD,
    ),
    st.tuples(st.just("tick"), st.integers(0, 100_000)),
    st.tuples(st.just("break"), st.booleans()),
    st.tuples(
        st.just("measure"),
        st.none() | st.integers(-9000, 9000),
        st.none() | st.integers(0, 1000),
        st.none() | st.integers(0, 9000),
        st.none() | st.integers(40_000, 65_000),
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=30), st.booleans())
def test_no_sequence_of_orders_gets_outside_the_bounds_or_past_its_end(steps, droops):
    bench = ready(BATTERY, INVERTER, CHARGER, droop=Droop(enabled=droops))
    for step in steps:
        if step[0] == "give":
            start, end = (bench.now + part * SECOND_NS for part in step[4])
            limit, draw = step[3]
            lease = Lease(step[1], ME, start, end, step[5], step[2], limit, "", draw)
            bench.carry_out(bench.machine.offer(lease, bench.now))
        elif step[0] == "tick":
            bench.tick(step[1])
        elif step[0] == "break":
            bench.broken = step[1]
        else:
            bench.measured = Measured(
                step[1], step[2], True, step[3], production_w=step[3], frequency_mhz=step[4]
            )
        assert -3000 <= bench.power.get("battery", 0) <= 4000
        assert 0 <= bench.limit.get("inverter", 0) <= 8000
        assert 0 <= bench.draw.get("charger", 0) <= 11_040
        assert "inverter" not in bench.power
    bench.broken = False
    bench.measured = CALM
    bench.tick(2 * 86_401)
    bench.tick(10)
    bench.tick(10)
    assert (bench.power, bench.limit, bench.draw) == ({}, {}, {})
    assert bench.machine.is_idle
