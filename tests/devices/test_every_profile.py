"""Every shipped model as a live device: its golden registers read over a socket, its setpoints
written, read back, kept within bounds and undone.
"""

from dataclasses import replace

import pytest

from edge.devices.catalog import load_profiles, open_device
from edge.devices.device import DeviceError, NotControllableError
from protos.clock import SystemClock

PROFILES = load_profiles()
STEERED = sorted(name for name, profile in PROFILES.items() if profile.writes)


async def live(yard, name, **options):
    """A device whose registers are the model's golden ones and whose gaps are holes; its owner
    consents to everything.
    """
    consents = {write.consent: True for write in PROFILES[name].writes if write.consent}
    options = consents | options
    slave, spec = await yard.tcp()
    profile = PROFILES[name]
    for (_, start), words in profile.selftests[0].raw.items():
        slave.written.update(enumerate(words, start))
    slave.holes = set(range(65536)) - set(slave.written)
    for write in profile.writes:
        for step in (*write.steps, *write.restore):
            places = range(step.value.addr, step.value.end)
            slave.holes.difference_update(places)
            slave.written.update(dict.fromkeys(places, 0))
        if write.rating is not None:
            value = write.rating[1]
            slave.holes.difference_update(range(value.addr, value.end))
            slave.written.update(enumerate(value.registers(10_000), value.addr))
    transport = "tcp" if "tcp" in profile.transport.kinds else profile.transport.kinds[0]
    spec = replace(spec, profile=name, role=profile.roles[0], transport=transport, options=options)
    return slave, await open_device(spec, SystemClock(), yard.pool)


def held(slave, step):
    return tuple(slave.written[a] for a in range(step.value.addr, step.value.end))


@pytest.mark.parametrize("name", sorted(PROFILES))
async def test_its_golden_registers_read_as_they_should_over_a_socket(yard, name):
    slave, device = await live(yard, name, connect_delay_ms=0)
    sample = await device.read()
    test = PROFILES[name].selftests[0]
    assert [test.expect[point.id] for point in PROFILES[name].points] == list(sample.values)
    assert {request.function for request in slave.requests} <= {3, 4}
    for request in slave.requests:
        assert request.count <= PROFILES[name].transport.max_words


@pytest.mark.parametrize("power", [-1000, 0, 800])
@pytest.mark.parametrize("name", [n for n in STEERED if PROFILES[n].roles[0].name == "BATTERY"])
async def test_a_battery_obeys_reads_back_and_is_given_back_to_itself(yard, name, power):
    slave, device = await live(yard, name, connect_delay_ms=0)
    write = PROFILES[name].writes[0]
    await device.set_power(power, 90)
    for step in write.steps:
        assert held(slave, step) == step.value.registers(step.wanted(power, 90))
    await device.restore_default()
    for step in write.restore:
        assert held(slave, step) == step.value.registers(step.constant)


@pytest.mark.parametrize("name", [n for n in STEERED if PROFILES[n].writes[0].failsafe != "agent"])
async def test_the_models_own_timer_runs_before_anything_can_move(yard, name):
    slave, device = await live(yard, name, connect_delay_ms=0)
    write = PROFILES[name].writes[0]
    await device.set_power(-1000, 61)
    written = [r.address for r in slave.requests if r.function in {6, 16}]
    timer = next(step for step in write.steps if step.source == "ttl")
    mode = next(step for step in write.steps if step.source == "mode")
    assert written.index(timer.value.addr) < written.index(mode.value.addr)
    seconds = timer.value.canonical(held(slave, timer))
    assert 61 <= seconds <= 120


@pytest.mark.parametrize("name", STEERED)
async def test_no_order_passes_the_profiles_bounds_or_the_installers(yard, name):
    _, device = await live(yard, name, connect_delay_ms=0)
    write = PROFILES[name].writes[0]
    limits = device.limits
    assert limits.max_discharge_w == (write.maximum if write.setpoint == "power_w" else 0)
    slave, device = await live(
        yard,
        name,
        connect_delay_ms=0,
        max_charge_w=700,
        max_discharge_w=600,
        max_export_w=5000,
    )
    if write.setpoint == "power_w":
        assert (device.limits.max_charge_w, device.limits.max_discharge_w) == (700, 600)
        await device.set_power(-1_000_000, 60)
        wanted = -700
    else:
        assert device.limits.max_export_w == 5000
        await device.set_export_limit(1_000_000, 60)
        wanted = 5000
    for step in write.steps:
        assert held(slave, step) == step.value.registers(step.wanted(wanted, 60, 10_000))


async def test_a_share_of_the_rating_never_lets_more_through_than_was_ordered(yard):
    slave, device = await live(yard, "huawei/sun2000", connect_delay_ms=0)
    await device.set_export_limit(3339, 60)
    assert (slave.written[47418], slave.written[47415]) == (333, 7)
    with pytest.raises(NotControllableError):
        await device.set_power(0, 60)


async def test_what_the_installer_did_not_allow_is_neither_set_nor_restored(yard):
    slave, device = await live(yard, "huawei/sun2000", connect_delay_ms=0, may_set_feed_in=False)
    assert device.limits is None
    with pytest.raises(NotControllableError):
        await device.set_export_limit(3000, 60)
    await device.restore_default()
    assert not any(request.function in {6, 16} for request in slave.requests)


async def test_an_inverter_that_hides_its_rating_is_not_limited_by_guess(yard):
    slave, device = await live(yard, "huawei/sun2000", connect_delay_ms=0)
    slave.written.update({30075: 0, 30076: 0})
    with pytest.raises(DeviceError, match="rated power"):
        await device.set_export_limit(3000, 60)
    assert slave.written[47415] == 0


async def test_wearing_memory_is_read_first_and_left_alone_where_it_holds_the_value(yard):
    slave, device = await live(yard, "sungrow/sh_battery")
    for _ in range(5):
        await device.set_power(-1500, 60)
    assert sum(request.function == 6 for request in slave.requests) == 3
    slave.written[13049] = 0  # someone at the inverter's own panel
    await device.set_power(-1500, 60)
    assert slave.written[13049] == 2
    await device.restore_default()
    assert (slave.written[13050], slave.written[13049]) == (0xCC, 0)
    slave.requests.clear()
    await device.restore_default()
    assert not any(request.function == 6 for request in slave.requests)


@pytest.mark.parametrize("deaf", [13049, 13050, 13051])
async def test_any_step_that_does_not_read_back_is_an_error(yard, deaf):
    slave, device = await live(yard, "sungrow/sh_battery")
    answer = slave.answer

    def ignore(request):
        reply = answer(request)
        if request.function == 6 and request.address == deaf:
            slave.written[deaf] = 0
        return reply

    slave.answer = ignore
    with pytest.raises(DeviceError, match="reads back"):
        await device.set_power(-1500, 60)
