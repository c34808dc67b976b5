"""Answering the grid's frequency: the curve of the standards, the machine, and a real inverter whose
frequency moves.
"""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import ConfigError, load
from edge.devices.device import SetpointLimits
from edge.dispatch import Dispatch
from edge.droop import Droop, response_per_mille
from edge.leases import Measured, Steerable
from edge.simulator.home import MW_NS_PER_WH, Home, traits_of
from edge.simulator.profiles import shipped
from edge.simulator.sunspec import BatteryImage
from protos.clock import SECOND_NS, SystemClock
from protos.messages import Role
from tests.edge.steered import Steered
from tests.edge.test_dispatch import BATTERY, INVERTER, ME, ready

EN = Droop(enabled=True)
IEEE = Droop(enabled=True, nominal_mhz=60_000, deadband_mhz=36)
WEARS = Steerable("old", SetpointLimits(3000, 3000, wears=True), stores=True)


@pytest.mark.parametrize(
    ("droop", "frequency_mhz", "share"),
    [
        (EN, 50_000, 0),
        (EN, 50_200, 0),
        (EN, 49_800, 0),
        (EN, 50_450, -100),  # 250 mHz of 50 Hz at 5 %: a tenth
        (EN, 51_500, -520),
        (EN, 49_300, 200),
        (EN, 47_000, 1000),
        (EN, 55_000, -1000),
        (IEEE, 60_036, 0),
        (IEEE, 60_336, -100),  # 300 mHz of 60 Hz at 5 %
        (IEEE, 59_664, 100),
        (Droop(enabled=True, share_max_per_mille=300), 47_000, 300),
    ],
)
def test_the_response_is_that_of_the_standards(droop, frequency_mhz, share):
    assert response_per_mille(droop, frequency_mhz) == share


@given(st.integers(40_000, 65_000), st.integers(10, 5000), st.integers(20, 120))
def test_the_response_never_passes_the_exact_line_and_never_helps_the_wrong_way(
    frequency_mhz, deadband_mhz, droop_per_mille
):
    droop = Droop(True, 50_000, deadband_mhz, droop_per_mille)
    share = response_per_mille(droop, frequency_mhz)
    beyond = max(0, abs(50_000 - frequency_mhz) - deadband_mhz)
    exact = Fraction(beyond * 1_000_000, 50_000 * droop_per_mille)
    assert abs(share) <= min(exact, 1000)
    assert min(exact, 1000) - abs(share) < 10
    assert share * (50_000 - frequency_mhz) >= 0


def at(frequency_mhz, **more):
    return Measured(
        more.get("battery_w", 0),
        more.get("charge", 600),
        True,
        more.get("export_w", 0),
        production_w=more.get("production_w"),
        frequency_mhz=frequency_mhz,
    )


def test_a_free_battery_adds_to_what_it_did_and_is_released_when_the_grid_is_well():
    bench = ready(BATTERY, droop=EN)
    bench.measured = at(49_300, battery_w=500)
    bench.tick(1)
    assert bench.power == {"battery": 500 + 800}
    bench.measured = at(49_900, battery_w=1300)
    bench.tick(1)
    assert bench.power == {"battery": 500}, "held, for the case that it comes back"
    bench.tick(29)
    assert bench.power == {"battery": 500}
    bench.tick(1)
    assert bench.power == {}
    assert bench.machine.droop_per_mille == 0


def test_too_much_frequency_charges_the_battery_and_throttles_the_roof():
    bench = ready(BATTERY, INVERTER, droop=EN)
    bench.measured = at(50_450, production_w=5000)
    bench.tick(1)
    assert bench.power == {"battery": -300}
    assert bench.limit == {"inverter": 5000 - 800}


def test_too_little_frequency_asks_nothing_of_a_roof():
    bench = ready(INVERTER, droop=EN)
    bench.measured = at(49_000, production_w=5000)
    bench.tick(1)
    assert bench.limit == {}


def test_a_lease_is_the_base_and_the_bounds_stay_the_devices():
    bench = ready(BATTERY, droop=EN)
    bench.give("L", 3500, for_s=100)
    bench.measured = at(49_300)
    bench.tick(1)
    assert bench.power == {"battery": 4000}
    bench.measured = at(51_500)
    bench.tick(1)
    assert bench.power == {"battery": 3500 - 1560}


def test_helping_the_frequency_is_no_leave_to_pass_an_export_limit():
    bench = ready(BATTERY, INVERTER, droop=EN)
    bench.give("cap", None, 1000, for_s=600)
    bench.measured = at(49_300, export_w=700)
    bench.tick(1)
    assert bench.power == {"battery": 300}
    bench.measured = Measured(0, 600, True, None, frequency_mhz=49_300)
    bench.tick(1)
    assert bench.power == {"battery": 0}, "what is fed in is not known"


def test_the_owners_reserve_is_not_the_grids():
    bench = ready(BATTERY, droop=EN)
    bench.measured = at(49_000, charge=150)
    bench.tick(1)
    assert bench.power == {"battery": 0}


def test_a_frequency_that_is_not_measured_is_none():
    bench = ready(BATTERY, droop=EN)
    bench.measured = at(49_300)
    bench.tick(1)
    assert bench.power
    bench.measured = at(None)
    bench.tick(1)
    assert bench.power == {}


def test_memory_that_wears_out_does_not_follow_the_frequency():
    bench = ready(WEARS, droop=EN)
    bench.measured = at(49_000)
    bench.tick(1)
    assert bench.power == {}
    bench.give("L", 1000)
    bench.tick(1)
    assert bench.power == {"old": 1000}


def test_noise_inside_a_step_writes_nothing():
    bench = ready(BATTERY, droop=EN)
    bench.measured = at(49_300)
    bench.tick(1)
    bench.power.clear()
    for wobble in (49_299, 49_301, 49_290, 49_300):
        bench.measured = at(wobble)
        bench.tick(1)
    assert bench.power == {}


def test_switched_off_it_does_nothing():
    bench = ready(BATTERY, INVERTER)
    bench.measured = at(45_000)
    bench.tick(1)
    assert (bench.power, bench.limit) == ({}, {})


def test_it_is_configured_within_bounds(tmp_path):
    path = tmp_path / "agent.toml"
    base = '[agent]\nstate_dir = "s"\n[cloud]\nca = "ca.pem"\n'
    path.write_text(base + "[droop]\nenabled = true\nnominal_mhz = 60000\ndeadband_mhz = 36\n")
    assert load(path, {}).droop == IEEE
    for wrong in ("nominal_mhz = 55000", "droop_per_mille = 0", "deadband_mhz = -1", "hz = 3"):
        path.write_text(base + f"[droop]\n{wrong}\n")
        with pytest.raises(ConfigError):
            load(path, {})


async def test_a_real_battery_answers_an_inverter_whose_frequency_moves(tmp_path, peers):
    home = Home(traits_of(2, 7), shipped(), SystemClock().now_ns())
    home.stored = home.traits.capacity_wh * MW_NS_PER_WH // 2
    image, dispatch = BatteryImage(home, SECOND_NS), Dispatch(ME, 200, 20 * SECOND_NS, EN)
    rating = home.traits.battery_w
    async with Steered(tmp_path, image, "sunspec", Role.BATTERY, 1, dispatch) as steered:
        await peers.eventually(lambda: dispatch.is_idle and steered.poller.count.reads > 2, 20)
        assert home.battery_window_w is None
        home.frequency_offset_mhz = -700
        await peers.eventually(lambda: home.battery_mw > rating * 150, 20)
        assert home.battery_mw <= rating * 1000
        home.frequency_offset_mhz = 700
        await peers.eventually(lambda: home.battery_mw < -rating * 150, 20)
    assert home.battery_window_w is None
