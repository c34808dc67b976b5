"""The search: what it finds, what it says on the way, what it refuses."""

import asyncio
import json
import tomllib
from dataclasses import replace

import pytest

from edge.config import load
from edge.devices.catalog import load_profiles, open_device
from edge.devices.device import DeviceSpec
from edge.devices.modbus.bus import BusPool
from edge.devices.profile import RegisterValue, Signature
from edge.neighbours import absent, present
from edge.scan import SIGNED, Finding, _Heard, _score, as_toml, expand_hosts, main, scan
from edge.simulator.der import InverterMeterImage
from edge.simulator.home import MW_NS_PER_WH, Home, traits_of
from edge.simulator.profiles import shipped
from edge.simulator.server import Station, TcpDevice
from edge.simulator.sunspec import SolarImage
from protos.clock import SystemClock
from protos.messages import Quantity, Role

PROFILES = load_profiles()


def live(profile):
    """Registers of a meter on a European grid."""
    words = {}
    for point in profile.points:
        value = {Quantity.VOLTAGE_MV: 230_000, Quantity.FREQUENCY_MHZ: 50_000}.get(
            point.quantity, 0
        )
        words.update(enumerate(point.value.registers(value), point.value.addr))
    return words


def only(slave, words):
    slave.written = words
    slave.holes = set(range(65536)) - set(words)


async def test_a_meter_is_recognised_by_its_values_and_said_to_be_inferred(yard):
    slave, spec = await yard.tcp()
    only(slave, live(PROFILES["abb/b23"]))
    seen = []
    host, port = spec.address.split(":")
    found = await scan([host], [int(port)], [], [1], seen.append)
    assert [(f.spec.name, f.sure) for f in found] == [("grid-1", False)]
    assert found[0].spec.profile.startswith("abb/")
    assert "abb/b23" in found[0].label
    assert seen[0].total == 1
    assert (seen[-1].done, seen[-1].found) == (1, 1)


async def test_a_single_phase_meter_is_not_taken_for_a_three_phase_one(yard):
    slave, spec = await yard.tcp()
    only(slave, live(PROFILES["eastron/sdm120"]))
    host, port = spec.address.split(":")
    found = await scan([host], [int(port)], [], [1], lambda _: None)
    assert [f.spec.profile.split("/")[0] for f in found] == ["eastron"]
    assert "eastron/sdm120" in found[0].label
    assert "sdm630" not in found[0].label


async def test_a_model_that_names_itself_is_believed(yard):
    slave, spec = await yard.tcp()
    only(slave, live(PROFILES["abb/b23"]) | {0x8960: 0x4232, 0x8961: 0x3300})
    value = RegisterValue(0x8960, "str", "ABCD", 2)
    signed = replace(PROFILES["abb/b23"], signature=Signature(3, value, ("B23",)))
    other = replace(signed, signature=Signature(3, value, ("B24",)))
    heard = _Heard(yard.pool.bus(spec))
    assert await _score(heard, 1, signed) == SIGNED
    assert await _score(heard, 1, other) == 0
    assert len(slave.requests) == 1


async def test_a_serial_line_is_searched_unit_by_unit(yard):
    slave, spec = await yard.rtu(silent_units={1, 3})
    only(slave, live(PROFILES["eastron/sdm630"]))
    seen = []
    found = await scan([], [], [spec.address], [1, 2, 3], seen.append, bauds=[115200])
    told = [progress.place.removeprefix(spec.address) for progress in seen]
    assert [place for place in told if place] == [" unit 1", " unit 2", " unit 3"]
    assert [(f.spec.unit, f.spec.baud) for f in found] == [(2, 115200)]
    assert "eastron/sdm630" in found[0].label


async def test_a_host_that_does_not_answer_and_a_unit_that_is_unknown_cost_little(yard):
    slave, spec = await yard.tcp()
    slave.holes = set(range(65536))
    host, port = spec.address.split(":")
    found = await scan([host, "127.0.0.1"], [1, int(port)], [], [1], lambda _: None)
    assert [f.spec.profile for f in found] == ["unknown", "unknown"]


async def test_the_search_never_writes(yard):
    slave, spec = await yard.tcp()
    only(slave, live(PROFILES["abb/b23"]))
    host, port = spec.address.split(":")
    await scan([host], [int(port)], [], [1, 2], lambda _: None)
    assert {request.function for request in slave.requests} <= {3, 4}
    assert len(slave.open) <= 1


def test_networks_are_spelt_out_up_to_a_slash_24():
    assert len(expand_hosts(["10.0.0.0/24"])) == 254
    assert expand_hosts(["meter.local", "10.0.0.4/31"]) == ["meter.local", "10.0.0.4", "10.0.0.5"]
    for text in ("10.0.0.0/23", "10.0.0.0/8", "fd00::/64"):
        with pytest.raises(ValueError, match="/24"):
            expand_hosts([text])


def test_what_is_found_can_be_pasted_into_the_agents_configuration(tmp_path):
    spec = DeviceSpec("grid-1", Role.GRID, "abb/b23", "rtu", '/dev/tty"U\\SB', 3, 19200, "E")
    other = replace(
        spec, name="pv-1", role=Role.PV, profile="sunspec", transport="tcp", address="h:1"
    )
    text = as_toml([Finding(spec, "line\nbreak", sure=False), Finding(other, "x", sure=True)])
    assert len(tomllib.loads(text)["devices"]) == 2
    path = tmp_path / "agent.toml"
    path.write_text(f'[agent]\nstate_dir = "s"\n[cloud]\nca = "ca.pem"\n{text}')
    devices = load(path, {}).devices
    assert devices == (spec, replace(other, baud=9600, parity="N"))


async def test_a_program_reads_the_findings_as_json(yard, capsys):
    slave, spec = await yard.tcp()
    only(slave, live(PROFILES["abb/b23"]))
    host, port = spec.address.split(":")
    command = [host, "--ports", port, "--units", "1", "--json"]
    assert await asyncio.to_thread(main, command) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["address"], row["unit"], row["role"], row["sure"]) for row in found] == [
        (spec.address, 1, "grid", False)
    ]


async def test_a_port_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        await scan([], [], [str(tmp_path / "ttyUSB7")], [1], lambda _: None)


def test_the_command_says_what_is_wrong_with_its_arguments(capsys):
    assert main(["10.0.0.0/8"]) == 2
    assert "/24" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2


def test_the_command_answers_five_when_nothing_is_there(capsys):
    assert main(["127.0.0.1", "--ports", "1"]) == 5


TABLE = """IP address       HW type     Flags       HW address            Mask     Device
10.0.0.1         0x1         0x2         02:42:ac:11:00:01     *        eth0
10.0.0.7         0x1         0x0         00:00:00:00:00:00     *        eth0
10.0.0.9         0x1         0x6         02:42:ac:11:00:09     *        eth0
"""


def test_addresses_that_nobody_has_are_told_from_those_that_answer():
    assert absent(TABLE) == {"10.0.0.7"}
    assert absent("") == frozenset()


async def test_what_the_machine_cannot_tell_is_knocked_at():
    hosts = [f"127.0.0.{n}" for n in range(1, 12)]
    assert await present(hosts) == hosts
    assert await present(["meter.local"]) == ["meter.local"]


async def test_a_second_meter_is_not_billed_beside_the_first(yard):
    slave, spec = await yard.tcp()
    only(slave, live(PROFILES["abb/b23"]))
    host, port = spec.address.split(":")
    found = await scan([host], [int(port)], [], [1, 2], lambda _: None)
    assert [(f.spec.name, f.spec.role) for f in found] == [
        ("grid-1", Role.GRID),
        ("load-1", Role.LOAD),
    ]
    assert "change the roles" in found[1].label


async def test_an_inverter_that_names_itself_answers_for_what_is_really_behind_it(yard):
    slave, spec = await yard.tcp()
    words = {30000 + i: w for i, w in enumerate((0x5355, 0x4E32, 0x3030, 0x302D, *[0] * 11))}
    for name in ("huawei/sun2000", "huawei/luna2000"):
        for (_, start), raw in PROFILES[name].selftests[0].raw.items():
            words.update(enumerate(raw, start))
    meter = next(p for p in PROFILES["huawei/power_sensor"].points if p.id == "power")
    words.update({meter.value.addr: 0x7FFF, meter.value.addr + 1: 0xFFFF})
    only(slave, words)
    host, port = spec.address.split(":")
    found = await scan([host], [int(port)], [], [1], lambda _: None)
    assert [(f.spec.profile, f.spec.role, f.sure) for f in found] == [
        ("huawei/luna2000", Role.BATTERY, True),
        ("huawei/sun2000", Role.PV, True),
    ]


async def test_a_meter_behind_an_inverter_is_found_at_its_own_unit_and_read_as_shipped():
    now_ns = SystemClock().now_ns
    home = Home(traits_of(1, 7), shipped(), now_ns())
    images = {1: SolarImage(home, 10**9), 240: InverterMeterImage(home, 10**9)}
    server = TcpDevice(Station(images, now_ns))
    host, port = (await server.start()).split(":")
    pool = BusPool()
    found = await scan([host], [int(port)], [], [1, 240], lambda _: None)
    assert [(f.spec.role, f.spec.unit, f.sure) for f in found] == [
        (Role.PV, 1, True),
        (Role.GRID, 240, True),
    ]
    assert found[1].label.startswith("Fronius Smart Meter")
    device = await open_device(found[1].spec, SystemClock(), pool)
    sample = await device.read()
    values = {(p.quantity, p.phase): v for p, v in zip(device.points, sample.values, strict=True)}
    assert values[Quantity.ENERGY_IMPORT_WH, 0] == home.counters.imported // MW_NS_PER_WH
    assert values[Quantity.POWER_W, 0] == round(home.grid_mw / 1000)
    assert {p.quantity for p in device.points if p.billing} == {
        Quantity.ENERGY_IMPORT_WH,
        Quantity.ENERGY_EXPORT_WH,
    }
    await device.close()
    await pool.close()
    await server.close()


def test_what_nobody_knows_is_a_comment_and_not_a_device():
    spec = DeviceSpec("grid-1", Role.GRID, "unknown", "tcp", "10.0.0.4:502", 7)
    text = as_toml([Finding(spec, "speaks Modbus, model unknown", sure=False)])
    assert tomllib.loads(text) == {}
    assert "10.0.0.4:502 as unit 7" in text


def test_half_a_configuration_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["127.0.0.1", "--ca", "ca.pem"])
    assert "belong together" in capsys.readouterr().err
