"""SunSpec: discovery, scale factors that change, sentinels, control with the device's timer first.

Register images are written here by offsets from the standard's tables, not by the driver's own.
"""

import asyncio
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.devices.catalog import open_device
from edge.devices.device import DeviceError, NotControllableError
from edge.devices.sunspec_beat import Heartbeat
from edge.devices.sunspec_control import battery_power, production_limit
from edge.devices.sunspec_map import Found, field, known, scaled
from protos.clock import SystemClock
from protos.messages import Quantity, Role


def text(value, width):
    octets = value.encode().ljust(2 * width, b"\0")
    return [int.from_bytes(octets[i : i + 2], "big") for i in range(0, 2 * width, 2)]


def model(number, length, **offsets):
    """A model's words; offsets by name are given as o<offset>=value or list of words."""
    words = [number, length] + [0x8000] * length
    for name, value in offsets.items():
        at = int(name[1:])
        row = value if isinstance(value, list) else [value & 0xFFFF]
        words[at : at + len(row)] = row
    return words


COMMON = model(1, 66, o2=text("Maker", 16), o18=text("Model", 16), o50=text("SN42", 16), o66=1)


def inverter(watts=3000, factor=0, energy=123456):
    words = model(
        103,
        50,
        o11=0xFFFF,
        o14=watts,
        o15=factor,
        o16=5002,
        o17=-2,
        o13=-1,
        o10=2301,
        o2=435,
        o6=-1,
    )
    words[24:27] = [energy >> 16, energy & 0xFFFF, 0]
    return words


def nameplate(watts=5000, charge=4000, discharge=4500):
    return model(120, 26, o3=watts, o4=0, o23=charge, o24=0, o25=discharge, o26=0)


CONTROLS = model(123, 24, o5=100, o6=0, o7=0, o8=0, o9=0, o23=0)
STORAGE = model(
    124,
    24,
    o2=4000,
    o18=0,
    o5=0,
    o8=5550,
    o22=-2,
    o12=10000,
    o13=10000,
    o14=0,
    o15=0,
    o16=0,
    o25=-2,
)
BANK = model(802, 62, o3=1000, o53=1, o4=400, o5=450, o54=1, o11=555, o56=-1, o47=-1500, o63=0)


async def lay(yard, models, base=40000, transport="tcp", options=None):
    """A slave with these models after the marker, and nothing anywhere else."""
    slave, spec = await (yard.tcp() if transport == "tcp" else yard.rtu_over_tcp())
    words = [0x5375, 0x6E53]
    places = {}
    for words_of_model in models:
        places[words_of_model[0]] = base + len(words)
        words += words_of_model
    words += [0xFFFF, 0]
    slave.written = dict(enumerate(words, base))
    slave.holes = set(range(65536)) - set(slave.written)
    slave.places = places
    return slave, replace(spec, profile="sunspec", options=options or {})


def values_of(device, sample):
    return {
        (point.quantity, point.phase): value
        for point, value in zip(device.points, sample.values, strict=True)
    }


@pytest.mark.parametrize("base", [40000, 0, 50000])
@pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp"])
async def test_an_inverter_is_found_and_read_wherever_its_map_begins(yard, base, transport):
    _, spec = await lay(yard, [COMMON, model(63000, 7), inverter()], base, transport)
    device = await open_device(replace(spec, role=Role.PV), SystemClock(), yard.pool)
    assert device.entry.serial == "SN42"
    values = values_of(device, await device.read())
    assert values[Quantity.POWER_W, 0] == 3000
    assert values[Quantity.ENERGY_PRODUCED_WH, 0] == 123456
    assert values[Quantity.FREQUENCY_MHZ, 0] == 50020
    assert values[Quantity.VOLTAGE_MV, 1] == 230100
    assert values[Quantity.CURRENT_MA, 0] == 43500
    assert values[Quantity.VOLTAGE_MV, 2] is None
    assert device.limits is None


async def test_a_scale_factor_that_changes_between_sweeps_never_scales_another_value(yard):
    slave, spec = await lay(yard, [COMMON, inverter(3000, 0)])
    device = await open_device(replace(spec, role=Role.PV), SystemClock(), yard.pool)
    at = slave.places[103]
    for factor, watts in ((0, 3000), (-1, 30000), (1, 300), (-2, 0x7530), (0, 3000)):
        slave.written.update({at + 14: watts, at + 15: factor & 0xFFFF})
        values = values_of(device, await device.read())
        assert values[Quantity.POWER_W, 0] == Fraction(watts) * Fraction(10) ** factor


async def test_every_sentinel_of_the_night_is_not_available(yard):
    slave, spec = await lay(yard, [COMMON, model(103, 50, o10=0xFFFF, o24=[0, 0], o38=0xFFFF)])
    device = await open_device(replace(spec, role=Role.PV), SystemClock(), yard.pool)
    assert set((await device.read()).values) == {None}
    at = slave.places[103]
    slave.written.update({at + 14: 5, at + 15: 0x8000})
    assert values_of(device, await device.read())[Quantity.POWER_W, 0] is None


async def test_a_meter_reads_import_and_export_and_solaredge_is_turned_round(yard):
    _, spec = await lay(
        yard, [COMMON, model(203, 105, o18=0xFFFF - 499, o22=0, o38=[1, 0], o46=[2, 0], o54=0)]
    )
    device = await open_device(spec, SystemClock(), yard.pool)
    values = values_of(device, await device.read())
    assert values[Quantity.POWER_W, 0] == -500
    assert values[Quantity.ENERGY_EXPORT_WH, 0] == 65536
    assert values[Quantity.ENERGY_IMPORT_WH, 0] == 131072
    turned = replace(spec, options={"export_positive": True})
    device = await open_device(turned, SystemClock(), yard.pool)
    assert values_of(device, await device.read())[Quantity.POWER_W, 0] == 500


async def test_a_map_that_moved_is_noticed_before_a_value_is_used(yard):
    slave, spec = await lay(yard, [COMMON, inverter()])
    device = await open_device(replace(spec, role=Role.PV), SystemClock(), yard.pool)
    await device.read()
    slave.written[slave.places[103]] = 113
    with pytest.raises(DeviceError, match="no longer"):
        await device.read()


async def test_a_map_that_moved_is_found_again_without_a_restart(yard):
    slave, spec = await lay(yard, [COMMON, inverter()])
    device = await open_device(replace(spec, role=Role.PV), SystemClock(), yard.pool)
    points = device.points
    chain = [0x5375, 0x6E53, *COMMON, *model(63000, 7), *inverter(2222), 0xFFFF, 0]
    slave.written = dict(enumerate(chain, 40000))
    slave.holes = set(range(65536)) - set(slave.written)
    with pytest.raises(DeviceError, match="discovered anew"):
        await device.read()
    assert values_of(device, await device.read())[Quantity.POWER_W, 0] == 2222
    assert device.points == points


async def test_another_device_at_the_same_place_is_not_taken_for_the_old_one(yard):
    slave, spec = await lay(yard, [COMMON, inverter()])
    device = await open_device(replace(spec, role=Role.PV), SystemClock(), yard.pool)
    other = model(1, 66, o2=text("Maker", 16), o18=text("Model", 16), o50=text("SN43", 16))
    chain = [0x5375, 0x6E53, *other, *model(63000, 7), *inverter(2222), 0xFFFF, 0]
    slave.written = dict(enumerate(chain, 40000))
    slave.holes = set(range(65536)) - set(slave.written)
    with pytest.raises(DeviceError, match="no longer"):
        await device.read()
    for _ in range(2):
        with pytest.raises(DeviceError, match="SN43"):
            await device.read()
    assert device.entry.serial == "SN42"


async def test_a_counter_at_zero_is_believed_of_a_new_inverter_that_is_awake_only(yard):
    slave, spec = await lay(yard, [COMMON, inverter(energy=0)])
    state = slave.places[103] + 38
    device = await open_device(replace(spec, role=Role.PV), SystemClock(), yard.pool)
    seen = []
    for status, energy in ((2, 0), (4, 0), (4, 700), (3, 0), (4, 0), (4, 701)):
        slave.written.update({state: status, state - 13: energy})
        seen.append(values_of(device, await device.read())[Quantity.ENERGY_PRODUCED_WH, 0])
    assert seen == [None, 0, 700, None, None, 701]


async def test_a_device_without_the_marker_is_refused_with_advice(yard):
    _, spec = await yard.tcp()
    with pytest.raises(DeviceError, match="switch SunSpec on"):
        await open_device(replace(spec, profile="sunspec"), SystemClock(), yard.pool)


async def test_a_role_that_the_device_cannot_have_is_refused(yard):
    _, spec = await lay(yard, [COMMON, nameplate()])
    with pytest.raises(DeviceError, match="role"):
        await open_device(spec, SystemClock(), yard.pool)


async def test_a_chain_that_never_ends_is_walked_within_bounds(yard):
    slave, spec = await lay(yard, [COMMON])
    slave.holes = set()
    slave.written = {40000: 0x5375, 40001: 0x6E53} | dict.fromkeys(range(40002, 41000), 1)
    slave.written.update(dict.fromkeys(range(41000, 65536), 0))
    with pytest.raises(DeviceError):
        await open_device(spec, SystemClock(), yard.pool)
    assert len(slave.requests) < 200


# --- control -------------------------------------------------------------------------------------


def writes(slave, model_number):
    at = slave.places[model_number]
    return [
        (r.address - at, r.values)
        for r in slave.requests
        if r.function == 16 and at <= r.address < at + 2 + slave.written[at + 1]
    ]


async def battery(yard, models=None):
    slave, spec = await lay(yard, models or [COMMON, inverter(), nameplate(), STORAGE, BANK])
    device = await open_device(replace(spec, role=Role.BATTERY), SystemClock(), yard.pool)
    slave.requests.clear()
    return slave, device


async def test_a_battery_tells_its_state_and_its_bounds(yard):
    _, device = await battery(yard)
    values = values_of(device, await device.read())
    assert values[Quantity.STATE_OF_CHARGE_PER_MILLE, 0] == 555
    assert values[Quantity.CAPACITY_WH, 0] == 10000
    assert values[Quantity.POWER_MAX_CHARGE_W, 0] == 4000
    assert values[Quantity.POWER_MAX_DISCHARGE_W, 0] == 4500
    assert values[Quantity.POWER_W, 0] == 3000
    assert (device.limits.max_charge_w, device.limits.max_discharge_w) == (4000, 4500)


async def test_charging_writes_the_devices_timer_first_and_a_window_of_one_power(yard):
    slave, device = await battery(yard)
    await device.set_power(-2000, 90)
    assert writes(slave, 124) == [(15, (90,)), (12, (0x10000 - 5000, 5000)), (5, (3,))]


async def test_discharging_is_a_share_of_the_nameplates_rate(yard):
    slave, device = await battery(yard)
    await device.set_power(2250, 90)
    assert writes(slave, 124)[1] == (12, (5000, 0x10000 - 5000))


async def test_power_beyond_the_ratings_is_clipped(yard):
    slave, device = await battery(yard)
    await device.set_power(-1_000_000, 10**9)
    assert writes(slave, 124) == [(15, (0xFFFE,)), (12, (0x10000 - 10000, 10000)), (5, (3,))]


async def test_the_scale_factor_at_the_time_of_writing_counts(yard):
    slave, device = await battery(yard)
    slave.written[slave.places[124] + 25] = 0
    await device.set_power(-2000, 90)
    assert writes(slave, 124)[1] == (12, (0x10000 - 50, 50))


async def test_restoring_takes_control_off_first(yard):
    slave, device = await battery(yard)
    await device.set_power(-2000, 90)
    slave.requests.clear()
    await device.restore_default()
    assert writes(slave, 124) == [(5, (0,)), (12, (10000, 10000)), (15, (0,))]


async def test_production_is_capped_by_percent_of_the_rating_rounded_down(yard):
    slave, spec = await lay(yard, [COMMON, inverter(), nameplate(5000), CONTROLS])
    device = await open_device(replace(spec, role=Role.PV), SystemClock(), yard.pool)
    assert device.limits.max_export_w == 5000
    slave.requests.clear()
    await device.set_export_limit(1999, 60)
    assert writes(slave, 123) == [(7, (60,)), (5, (39,)), (9, (1,))]
    slave.requests.clear()
    await device.restore_default()
    assert writes(slave, 123) == [(9, (0,)), (5, (100,)), (7, (0,))]
    with pytest.raises(NotControllableError):
        await device.set_power(100, 60)


async def test_a_device_that_ignores_the_setpoint_is_an_error(yard):
    slave, device = await battery(yard)
    answer = slave.answer

    def deaf(request):
        before = dict(slave.written)
        reply = answer(request)
        if request.function == 16:
            slave.written = before
        return reply

    slave.answer = deaf
    with pytest.raises(DeviceError, match="no reversion timer"):
        await device.set_power(-2000, 90)


async def test_a_battery_without_a_scale_factor_is_not_steered_by_guess(yard):
    slave, device = await battery(yard)
    slave.written[slave.places[124] + 25] = 0x8000
    with pytest.raises(DeviceError, match="scale factor"):
        await device.set_power(-2000, 90)
    assert writes(slave, 124) == []


@given(
    st.integers(-20000, 20000),
    st.integers(1, 10000),
    st.integers(1, 10000),
    st.sampled_from([0, -1, -2]),
)
def test_no_order_ever_asks_for_more_than_the_ratings_or_than_was_ordered(
    power, charge, discharge, exponent
):
    words = list(STORAGE)
    words[25] = exponent & 0xFFFF
    _, rates, _ = battery_power(words, power, 60, charge, discharge)
    out, into = (word - 0x10000 if word & 0x8000 else word for word in rates.words)
    rating = discharge if power >= 0 else charge
    asked = Fraction(out) * Fraction(10) ** exponent * rating / 100
    assert out == -into
    assert -charge <= asked <= discharge
    assert abs(asked) <= abs(power)


@given(st.integers(0, 20000), st.integers(1, 10000))
def test_no_cap_ever_lets_more_through_than_was_ordered(limit, rating):
    _, percent, _ = production_limit(CONTROLS, limit, 60, rating)
    assert percent.words[0] * rating <= 100 * limit


# --- inverters after IEEE 1547-2018 --------------------------------------------------------------

CONTROLS_704 = model(704, 65, o54=0xFFFF, o55=1, o56=0, o53=0, o57=0, o58=0)
CAPACITY = model(702, 50, o26=500, o34=400, o35=450, o45=1)
"""Tens of watts."""

CONTROL = model(715, 7, o2=0, o3=[0, 7], o5=[0, 41])
STATE = model(713, 7, o2=10000, o3=5000, o4=555, o5=990, o7=0, o8=0xFFFF)
MEASURED = model(701, 153, o10=1200, o116=0)


async def modern(yard, role=Role.BATTERY, extra=(), **options):
    slave, spec = await lay(
        yard, [COMMON, MEASURED, CAPACITY, CONTROLS_704, STATE, *extra], options=options
    )
    device = await open_device(replace(spec, role=role), SystemClock(), yard.pool)
    slave.requests.clear()
    return slave, device


async def test_model_704_is_told_what_it_reverts_to_before_anything_can_move(yard):
    slave, device = await modern(yard)
    assert (device.limits.max_charge_w, device.limits.max_discharge_w) == (4000, 4500)
    await device.set_power(-1999, 90)
    made = writes(slave, 704)
    assert made == [
        (30, (0,)),
        (26, (0, 0)),
        (31, (0, 90)),
        (23, (1,)),
        (24, (0xFFFF, 0x10000 - 199)),
        (22, (1,)),
    ]
    slave.requests.clear()
    await device.restore_default()
    assert writes(slave, 704)[0] == (22, (0,))
    assert (14, (0,)) in writes(slave, 704)


async def test_model_704_never_gets_more_than_the_ratings_or_the_installer_allow(yard):
    slave, device = await modern(yard, max_charge_w=1000)
    assert device.limits.max_charge_w == 1000
    await device.set_power(-1_000_000, 10**12)
    assert (24, (0xFFFF, 0x10000 - 100)) in writes(slave, 704)
    assert (31, (0x7FFF, 0xFFFF)) in writes(slave, 704)


async def test_production_is_capped_through_704_where_there_is_one(yard):
    slave, device = await modern(yard, Role.PV)
    assert device.limits.max_export_w == 5000
    await device.set_export_limit(1999, 60)
    assert writes(slave, 704) == [
        (17, (0,)),
        (16, (1000,)),
        (18, (0, 60)),
        (15, (399,)),
        (14, (1,)),
    ]


async def test_the_heart_beats_while_an_order_stands_and_stops_with_it(yard, monkeypatch):
    monkeypatch.setattr(Heartbeat.__init__, "__defaults__", (0.02,))
    slave, device = await modern(yard, extra=[CONTROL])
    await device.set_power(500, 60)
    await asyncio.sleep(0.15)
    beats = [values[1] for offset, values in writes(slave, 715) if offset == 5]
    assert beats[0] == 42
    assert len(beats) >= 3
    assert beats == sorted(set(beats))
    await device.restore_default()
    slave.requests.clear()
    await asyncio.sleep(0.08)
    assert writes(slave, 715) == []


async def test_the_heart_stops_by_itself_when_nobody_renews_the_order(yard, monkeypatch):
    monkeypatch.setattr(Heartbeat.__init__, "__defaults__", (0.02,))
    slave, device = await modern(yard, extra=[CONTROL])
    await device.set_power(500, 0)
    await asyncio.sleep(0.1)
    slave.requests.clear()
    await asyncio.sleep(0.08)
    assert writes(slave, 715) == []


async def test_a_device_under_local_control_is_left_to_whoever_stands_before_it(yard):
    slave, device = await modern(yard, extra=[model(715, 7, o2=1, o3=[0, 7], o5=[0, 41])])
    with pytest.raises(DeviceError, match="local control"):
        await device.set_power(500, 60)
    assert writes(slave, 704) == []


# --- the table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [103, 113, 120, 123, 124, 203, 213, 701, 704, 802])
def test_the_table_agrees_with_the_published_definitions(number):
    definitions = pytest.importorskip("sunspec2.mdef")
    group = definitions.from_json_file(
        definitions.__file__.replace("mdef.py", f"models/json/model_{number}.json")
    )["group"]
    offset = 0
    for point in group["points"]:
        if point["type"] != "pad":
            place = field(number, point["name"])
            assert (place.offset, place.width, place.factor) == (
                offset,
                point["size"],
                point.get("sf", ""),
            )
        offset += point["size"]


def test_unknown_models_are_known_to_be_unknown():
    assert known(103)
    assert not known(63000)
    assert Found(63000, 40002, 4).length == 4
    assert scaled(103, "W", inverter(12, 1)) == 120
