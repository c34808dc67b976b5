"""A profiled device: right values, holes learnt, setpoints bounded and read back."""

import asyncio
from dataclasses import replace

import pytest

from edge.devices.catalog import load_profiles, open_device
from edge.devices.device import DeviceError, NotControllableError
from edge.devices.metered import MeteredDevice
from edge.devices.profile_file import parse_profile
from protos.clock import SystemClock
from protos.messages import Quantity

PROFILES = load_profiles()


def image_of(profile, value=1000):
    """Registers in which every point reads about `value`, by address."""
    words = {}
    for point in profile.points:
        canonical = 500 if point.quantity is Quantity.POWER_FACTOR_PER_MILLE else value
        registers = point.value.registers(canonical)
        words.update(enumerate(registers, point.value.addr))
    return words


def battery(**write):
    """A device with one setpoint, as a profile file would describe it."""
    setpoint = {
        "id": "power",
        "setpoint": "power_w",
        "addr": 100,
        "type": "i16",
        "min": -3000,
        "max": 2500,
        "default": 0,
        "failsafe": "agent",
        **write,
    }
    return parse_profile(
        "a/b",
        {
            "schema": 1,
            "id": "a/b",
            "revision": 4,
            "roles": ["battery"],
            "products": [],
            "source": {"document": "manual"},
            "transport": {"kinds": ["tcp"]},
            "points": [{"id": "p", "addr": 0, "type": "i16", "quantity": "power_w"}],
            "writes": [setpoint],
            "selftest": [],
        },
    )


async def battery_device(yard, **write):
    slave, spec = await yard.tcp()
    return slave, MeteredDevice(spec, battery(**write), yard.pool.bus(spec), SystemClock())


async def test_a_meter_is_read_in_few_questions_and_stamped_with_the_time_of_its_answer(yard):
    slave, spec = await yard.rtu_over_tcp()
    profile = PROFILES["eastron/sdm630"]
    slave.written = image_of(profile)
    clock = SystemClock()
    device = await open_device(replace(spec, profile=profile.id), clock, yard.pool)
    before = clock.now_ns()
    sample = await device.read()
    assert before <= sample.at_ns <= clock.now_ns()
    assert len(slave.requests) <= 4
    values = dict(zip([p.id for p in profile.points], sample.values, strict=True))
    assert values["energy_import"] == 1000
    assert values["voltage_l1"] == 1000
    assert values["power_factor"] == 500
    assert device.entry.profile == "eastron/sdm630"
    assert [p.quantity.name for p in device.points if p.billing] == [
        "ENERGY_IMPORT_WH",
        "ENERGY_EXPORT_WH",
    ]
    assert device.limits is None


async def test_refused_gaps_are_learnt_and_cost_nothing_afterwards(yard):
    slave, spec = await yard.tcp()
    profile = PROFILES["eastron/sdm630"]
    slave.written = image_of(profile)
    slave.holes = set(range(0x24, 0x34)) | set(range(0x4C, 0x156))
    device = await open_device(replace(spec, profile=profile.id), SystemClock(), yard.pool)
    first = await device.read()
    assert None not in first.values
    slave.requests.clear()
    again = await device.read()
    assert again.values == first.values
    asked = {a for r in slave.requests for a in range(r.address, r.address + r.count)}
    assert not asked & slave.holes


def questions(slave):
    asked = [(request.address, request.count) for request in slave.requests]
    slave.requests.clear()
    return asked


async def test_refused_gaps_and_values_are_remembered_across_a_restart(yard, tmp_path):
    slave, spec = await yard.tcp()
    spec = replace(spec, profile="eastron/sdm630", options={"holes_dir": str(tmp_path)})
    slave.written = image_of(PROFILES[spec.profile])
    slave.holes = {*range(0x24, 0x34), *range(0x160, 0x166)}
    first = await (await open_device(spec, SystemClock(), yard.pool)).read()
    learning = questions(slave)
    again = await (await open_device(spec, SystemClock(), yard.pool)).read()
    remembered = questions(slave)
    assert again.values == first.values
    assert len(remembered) < len(learning)
    asked = {a for address, count in remembered for a in range(address, address + count)}
    assert not asked & slave.holes
    other = replace(spec, unit=2)
    await (await open_device(other, SystemClock(), yard.pool)).read()
    assert len(questions(slave)) == len(learning)


@pytest.mark.parametrize("note", ["", "{", "[1]", '{"about": 3}', '{"about": [], "cuts": 7}'])
async def test_a_note_that_cannot_be_used_costs_a_few_questions_only(yard, tmp_path, note):
    slave, spec = await yard.tcp()
    spec = replace(spec, profile="eastron/sdm120", options={"holes_dir": str(tmp_path)})
    slave.written = image_of(PROFILES[spec.profile])
    (tmp_path / "holes-meter.json").write_text(note)
    device = await open_device(spec, SystemClock(), yard.pool)
    assert None not in (await device.read()).values


async def test_a_folder_that_cannot_be_written_does_not_stop_a_reading(yard, tmp_path):
    slave, spec = await yard.tcp()
    spec = replace(spec, profile="eastron/sdm630", options={"holes_dir": str(tmp_path / "none")})
    slave.written = image_of(PROFILES[spec.profile])
    slave.holes = set(range(0x24, 0x34))
    device = await open_device(spec, SystemClock(), yard.pool)
    assert None not in (await device.read()).values


async def test_a_value_the_model_has_not_is_none_and_the_others_stand(yard):
    slave, spec = await yard.tcp()
    profile = PROFILES["eastron/sdm630"]
    slave.written = image_of(profile)
    slave.holes = {0x160, 0x161, 0x162, 0x163, 0x164, 0x165}
    device = await open_device(replace(spec, profile=profile.id), SystemClock(), yard.pool)
    sample = await device.read()
    absent = [p.id for p, v in zip(profile.points, sample.values, strict=True) if v is None]
    assert absent == ["energy_export_l1", "energy_export_l2", "energy_export_l3"]


async def test_a_value_that_was_there_and_is_refused_now_is_an_error_not_a_gap(yard):
    slave, spec = await yard.tcp()
    slave.written = image_of(PROFILES["eastron/sdm120"])
    device = await open_device(replace(spec, profile="eastron/sdm120"), SystemClock(), yard.pool)
    assert None not in (await device.read()).values
    slave.holes = set(range(0x48, 0x4C))
    with pytest.raises(DeviceError):
        await device.read()
    slave.holes = set()
    assert None not in (await device.read()).values


async def test_an_impossible_value_is_not_believed(yard):
    slave, spec = await yard.tcp()
    profile = PROFILES["eastron/sdm120"]
    slave.written = image_of(profile)
    power = next(p for p in profile.points if p.quantity is Quantity.POWER_W)
    slave.written.update(enumerate(power.value.registers(9_000_000), power.value.addr))
    device = await open_device(replace(spec, profile=profile.id), SystemClock(), yard.pool)
    with pytest.raises(DeviceError, match="outside"):
        await device.read()


async def test_a_silent_device_is_an_error_with_advice(yard):
    _, spec = await yard.rtu_over_tcp(silent_units={1})
    device = await open_device(replace(spec, profile="eastron/sdm120"), SystemClock(), yard.pool)
    with pytest.raises(DeviceError, match="wiring"):
        await device.read()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"profile": "eastron/sdm63"}, "eastron/sdm630"),
        ({"profile": "../../etc/passwd"}, "unknown profile"),
        ({"profile": "eastron/sdm630", "transport": "mqtt"}, "not spoken to"),
        ({"profile": "eastron/sdm630", "address": "meter"}, "host:port"),
        ({"profile": "eastron/sdm630", "unit": 300}, "247"),
    ],
)
async def test_a_spec_that_cannot_work_is_refused_with_what_to_write(yard, changes, says):
    _, spec = await yard.tcp()
    with pytest.raises(DeviceError, match=says):
        await open_device(replace(spec, **changes), SystemClock(), yard.pool)


async def test_one_line_has_one_speed(yard):
    _, spec = await yard.rtu(baud=9600)
    yard.pool.bus(spec)
    with pytest.raises(DeviceError, match="same baud"):
        yard.pool.bus(replace(spec, unit=2, baud=19200))


async def test_a_setpoint_is_clipped_to_the_profiles_bounds(yard):
    slave, device = await battery_device(yard)
    assert (device.limits.max_charge_w, device.limits.max_discharge_w) == (3000, 2500)
    await device.set_power(-1500, 60)
    assert slave.written[100] == 65536 - 1500
    await device.set_power(1_000_000, 60)
    assert slave.written[100] == 2500
    await device.set_power(-1_000_000, 60)
    assert slave.written[100] == 65536 - 3000
    await device.restore_default()
    assert slave.written[100] == 0


async def test_the_devices_own_timer_is_written_before_the_setpoint(yard):
    slave, device = await battery_device(yard, timer={"addr": 200, "type": "u16"})
    await device.set_power(700, 90)
    writes = [(r.address, r.values) for r in slave.requests if r.function == 16]
    assert writes == [(200, (90,)), (100, (700,))]


async def test_a_setpoint_that_does_not_read_back_is_an_error(yard):
    slave, device = await battery_device(yard)
    answer = slave.answer

    def deaf(request):
        reply = answer(request)
        if request.function == 16:
            slave.written[100] = 5
        return reply

    slave.answer = deaf
    with pytest.raises(DeviceError, match="reads back"):
        await device.set_power(700, 60)


async def test_memory_that_wears_out_is_written_on_change_and_within_its_budget_only(yard):
    slave, device = await battery_device(yard, nonvolatile=True, max_writes_per_day=3)
    for power in (100, 100, 100, 200, 300):
        await device.set_power(power, 60)
    assert sum(r.function == 16 for r in slave.requests) == 3
    with pytest.raises(DeviceError, match="wears out"):
        await device.set_power(400, 60)
    await device.restore_default()
    assert slave.written[100] == 0


async def test_a_setpoint_that_the_device_has_not_is_refused(yard):
    _, device = await battery_device(yard)
    with pytest.raises(NotControllableError):
        await device.set_export_limit(0, 60)


async def test_setpoints_overtake_readings_that_wait(yard):
    slave, spec = await yard.rtu_over_tcp()
    device = MeteredDevice(spec, replace_kinds(battery()), yard.pool.bus(spec), SystemClock())
    readings = [asyncio.ensure_future(device.read()) for _ in range(20)]
    await asyncio.sleep(0)
    await device.restore_default()
    functions = [r.function for r in slave.requests]
    assert functions.index(16) < 4
    await asyncio.gather(*readings)


def replace_kinds(profile):
    return replace(profile, transport=replace(profile.transport, kinds=("rtu_over_tcp",)))
