"""kill -9 of a real agent in the middle of a setpoint, with one of every kind of device behind it."""

import time

import pytest

from edge.devices.catalog import load_profiles
from tests.bench.failsafe import Yard, orphaned, peers, restart_s, restarted

AGENT_ALONE = {"huawei/sun2000", "sma/smart_energy_battery"}
"""Devices without any timer of their own that we know of."""

SPEED = 5
TTL_S = 20


@pytest.fixture
async def gate(tmp_path):
    made = peers()
    gate = made.Gate(made.Authority(tmp_path))
    await gate.start()
    gate.now_ns = time.time_ns
    yield gate
    await gate.stop()


def test_every_shipped_profile_that_writes_stands_in_the_yard():
    from edge.simulator.chargers import CHARGERS
    from edge.simulator.makers import STORAGE

    writing = {name for name, profile in load_profiles().items() if profile.writes}
    assert {kind.profile for kind in (*STORAGE, *CHARGERS)} == writing
    alone = {name for name in writing if load_profiles()[name].writes[0].failsafe == "agent"}
    assert alone == AGENT_ALONE


async def test_without_its_agent_every_device_with_a_timer_is_back_within_twice_its_ttl(
    tmp_path, gate
):
    yard = await orphaned(tmp_path, gate, SPEED, TTL_S, 2.0 * TTL_S / SPEED)
    late = {place.name: place.back_s for place in yard.places if place.waits}
    assert len(late) == 12
    assert None not in late.values(), late
    left = {place.name for place in yard.places if place.back_s is None}
    assert left == AGENT_ALONE, (
        "a simulator that lets go by itself would hide what the agent must do"
    )


async def test_an_agent_that_is_started_again_restores_every_default_first_of_all(tmp_path, gate):
    yard = await restarted(tmp_path, gate, 0.5, 900, 15)
    back = {place.name: place.back_s for place in yard.places}
    assert None not in back.values(), back
    assert max(back.values()) < 15


def test_systemd_starts_the_agent_again_long_before_a_second_ttl():
    assert restart_s() <= 15


async def test_a_device_that_is_not_steered_is_not_taken_for_one_that_is(tmp_path):
    yard = Yard(tmp_path)
    await yard.open()
    assert yard.steered() == []
    await yard.close()
