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
        owned = [(step.own, 16_000) for step in write.restore if step.own]
        for place, said in [*owned, *([(write.rating, 10_000)] if write.rating else [])]:
            value = place[1]
            slave.holes.difference_update(range(value.addr, value.end))
            slave.written.update(enumerate(value.registers(said), value.addr))
        mirror(slave, (*write.steps, *write.restore))
    transport = "tcp" if "tcp" in profile.transport.kinds else profile.transport.kinds[0]
    spec = replace(spec, profile=name, role=profile.roles[0], transport=transport, options=options)
    return slave, await open_device(spec, SystemClock(), yard.pool)


def mirror(slave, steps):
    """What is shown elsewhere than where it is written follows what is written."""
    shown = [(step.value, step.readback[1]) for step in steps if step.readback]
    answer = slave.answer
    for _, place in shown:
        slave.holes.difference_update(range(place.addr, place.end))
        slave.written.update(dict.fromkeys(range(place.addr, place.end), 0))

    def follow(request):
        reply = answer(request)
        for value, place in shown:
            now = value.canonical(tuple(slave.written[a] for a in range(value.addr, value.end)))
            slave.written.update(enumerate(place.registers(now), place.addr))
        return reply

    slave.answer = follow


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


@pytest.mark.parametrize(
    "name", [n for n in STEERED if PROFILES[n].writes[0].failsafe == "device_timer"]
)
async def test_the_models_own_timer_runs_before_anything_can_move(yard, name):
    slave, device = await live(yard, name, connect_delay_ms=0)
    write = PROFILES[name].writes[0]
    if write.setpoint == "power_w":
        await device.set_power(-1000, 61)
    else:
        await device.set_charge_limit(6000, 61)
    written = [r.address for r in slave.requests if r.function in {6, 16}]
    timer = next(step for step in write.steps if step.source == "ttl" and not step.early)
    mode = next(step for step in write.steps if step.source in {"mode", "current"})
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
        max_draw_w=7000,
    )
    if write.setpoint == "power_w":
        assert (device.limits.max_charge_w, device.limits.max_discharge_w) == (700, 600)
        await device.set_power(-1_000_000, 60)
        wanted = -700
    elif write.setpoint == "charge_limit_w":
        assert device.limits.max_draw_w == 7000
        await device.set_charge_limit(1_000_000, 60)
        wanted = 7000
    else:
        assert device.limits.max_export_w == 5000
        await device.set_export_limit(1_000_000, 60)
        wanted = 5000
    for step in write.steps:
        asked = step.wanted(wanted, 60, 10_000, write.amps)
        assert held(slave, step) == step.value.registers(asked)


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
    worn = [r.address for r in slave.requests if r.function == 6 and r.address != 13079]
    assert sorted(worn) == [13049, 13050, 13051]
    slave.written[13049] = 0  # someone at the inverter's own panel
    await device.set_power(-1500, 60)
    assert slave.written[13049] == 3
    await device.restore_default()
    assert (slave.written[13050], slave.written[13049]) == (0xCC, 0)
    slave.requests.clear()
    await device.restore_default()
    assert not any(request.function == 6 for request in slave.requests)


@pytest.mark.parametrize("deaf", [13049, 13050, 13051, 13079])
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


CHARGERS = [name for name in STEERED if PROFILES[name].writes[0].setpoint == "charge_limit_w"]


@pytest.mark.parametrize("name", CHARGERS)
@pytest.mark.parametrize(
    ("limit_w", "current_ma"),
    [(0, 0), (4139, 0), (4140, 6000), (4200, 6086), (11_040, 16_000), (1_000_000, None)],
)
async def test_a_charger_offers_six_amperes_or_more_or_nothing(yard, name, limit_w, current_ma):
    slave, device = await live(yard, name, connect_delay_ms=0)
    write = PROFILES[name].writes[0]
    await device.set_charge_limit(limit_w, 60)
    step = next(step for step in write.steps if step.source == "current")
    offered = step.value.canonical(held(slave, step))
    if current_ma is None:
        current_ma = 1000 * write.maximum // 690
    # Registers in tenths of an ampere round, but never up.
    assert current_ma - 100 < offered <= current_ma
    assert offered == 0 or offered >= 6000


@pytest.mark.parametrize("name", CHARGERS)
async def test_a_charger_on_one_phase_gets_the_same_current_for_a_third_of_the_power(yard, name):
    slave, device = await live(yard, name, connect_delay_ms=0, phases=1)
    write = PROFILES[name].writes[0]
    assert device.limits.least_draw_w == 1380
    assert device.limits.max_draw_w == write.maximum // 3
    await device.set_charge_limit(2300, 60)
    step = next(step for step in write.steps if step.source == "current")
    assert step.value.canonical(held(slave, step)) == 10_000


@pytest.mark.parametrize("name", CHARGERS)
async def test_a_charger_that_hides_what_it_is_made_for_is_not_set_by_guess(yard, name):
    slave, device = await live(yard, name, connect_delay_ms=0)
    write = PROFILES[name].writes[0]
    own = next(step.own[1] for step in write.restore if step.own)
    slave.written.update(dict.fromkeys(range(own.addr, own.end), 0))
    slave.requests.clear()
    with pytest.raises(DeviceError, match="does not say"):
        await device.restore_default()
    assert not any(request.function in {6, 16} for request in slave.requests)


async def test_a_timer_that_the_device_forgets_is_no_timer(yard):
    slave, device = await live(yard, "solaredge/storedge_battery", connect_delay_ms=0)
    answer = slave.answer

    def forget(request):
        reply = answer(request)
        slave.written.update({0xE00B: 0, 0xE00C: 0})
        return reply

    slave.answer = forget
    with pytest.raises(DeviceError, match="reads back 0"):
        await device.set_power(-1000, 60)
    assert slave.written[0xE00D] == 0, "nothing was commanded behind a dead timer"
