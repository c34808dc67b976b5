"""P1 telegrams: whole ones are read to the last digit, spoilt ones never; over a socket and a
terminal.
"""

import asyncio
import os
import tty
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.devices.catalog import open_device
from edge.devices.device import DeviceError, NotControllableError
from edge.devices.obis import columns_of, parse_lines
from edge.devices.telegram import TELEGRAM_MAX, Telegrams, crc16
from protos.clock import SystemClock
from protos.messages import Quantity

METER = "4530303334303036313336383134333135"
"""E0034006136814315 in the hexadecimal of its letters."""


def telegram(power="00.193", back="00.000", low="000671.578", crc=None, meter=METER, head="XMX5LG"):
    body = (
        f"/{head}BBLB2410065887\r\n\r\n1-3:0.2.8(50)\r\n0-0:1.0.0(171105201324W)\r\n"
        f"0-0:96.1.1({meter})\r\n1-0:1.8.1({low}*kWh)\r\n1-0:1.8.2(000842.472*kWh)\r\n"
        "1-0:2.8.1(000000.000*kWh)\r\n1-0:2.8.2(000000.007*kWh)\r\n0-0:96.14.0(0001)\r\n"
        f"1-0:1.7.0({power}*kW)\r\n1-0:2.7.0({back}*kW)\r\n0-0:96.7.21(00004)\r\n"
        "1-0:99.97.0(1)(0-0:96.7.19)(160315165420W)(0000000241*s)\r\n0-0:96.13.0()\r\n"
        "1-0:32.7.0(226.0*V)\r\n1-0:31.7.0(001*A)\r\n1-0:21.7.0(00.193*kW)\r\n"
        "1-0:22.7.0(00.000*kW)\r\n0-1:24.2.1(171105201000W)(00016.713*m3)\r\n!"
    ).encode()
    return body + (f"{crc16(body):04X}" if crc is None else crc).encode() + b"\r\n"


EXPECTED = {
    (Quantity.ENERGY_IMPORT_WH, 0): 671578 + 842472,
    (Quantity.ENERGY_EXPORT_WH, 0): 7,
    (Quantity.POWER_W, 0): 193,
    (Quantity.POWER_W, 1): 193,
    (Quantity.VOLTAGE_MV, 1): 226000,
    (Quantity.CURRENT_MA, 1): 1000,
}


def by_point(device, sample):
    keys = [(point.quantity, point.phase) for point in device.points]
    return dict(zip(keys, sample.values, strict=True))


def test_the_check_sum_is_that_of_the_published_polynomial():
    assert crc16(b"123456789") == 0xBB3D


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=8), st.integers(0, 3))
def test_a_stream_cut_anywhere_gives_the_same_telegrams(cuts, noise):
    stream = b"\x00\xff\r\n"[:noise] + telegram("00.100") + telegram("00.200") + telegram("00.300")
    reader, seen, at = Telegrams(), [], 0
    for cut in [*cuts, len(stream)]:
        seen += reader.feed(stream[at : at + cut])
        at += cut
    assert len(seen) == 3
    assert reader.bad == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, len(telegram()) - 8), st.integers(1, 255))
def test_no_spoilt_octet_ever_gives_a_telegram(at, flip):
    octets = bytearray(telegram())
    octets[at] ^= flip
    assert Telegrams().feed(bytes(octets)) == []


@pytest.mark.parametrize("crc", ["0000", "", "XYZW"])
def test_a_telegram_without_its_check_sum_is_left_out(crc):
    reader = Telegrams()
    assert reader.feed(telegram(crc=crc) + telegram()) != []
    assert reader.bad == 1
    assert len(Telegrams(checked=False).feed(telegram(crc=""))) == 1


def test_a_telegram_whose_end_was_lost_does_not_swallow_the_next():
    reader = Telegrams()
    assert len(reader.feed(telegram()[:200] + b"\r\n" + telegram())) == 1
    assert reader.bad == 1


def test_a_line_that_babbles_costs_no_memory():
    reader = Telegrams()
    for _ in range(200):
        assert reader.feed(b"/" + b"x" * 1000) == []
        assert len(reader._left) <= TELEGRAM_MAX
    assert reader.bad > 10
    assert len(reader.feed(b"\r\n" + telegram())) == 1


def test_units_that_are_unknown_and_codes_that_contradict_themselves_give_nothing():
    lines = [
        "1-0:1.8.0(1.5*MWh)",
        "1-0:2.8.0(7*GJ)",
        "1-0:1.7.0(1*kW)",
        "1-0:1.7.0(2*kW)",
        "16.7.0",
    ]
    values = parse_lines(lines)
    assert values == {"1.8.0": (1_500_000, "Wh")}
    assert [column.point.quantity for column in columns_of(values)] == [Quantity.ENERGY_IMPORT_WH]


@given(st.text(alphabet="01.:-*&()kWhVA/!\r\n", max_size=60))
def test_no_text_makes_the_parser_fail(text):
    columns_of(parse_lines(text.splitlines()))
    Telegrams().feed(text.encode())


class Meter:
    """A meter behind a socket: says what the test puts, to whoever is connected."""

    def __init__(self):
        self.writers, self.connections = [], 0

    async def start(self):
        self.server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def _connected(self, reader, writer):
        self.connections += 1
        self.writers.append(writer)
        writer.write(telegram())

    def say(self, octets):
        for writer in self.writers:
            writer.write(octets)

    def hang_up(self):
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()


@pytest.fixture
async def meter():
    made = Meter()
    made.address = await made.start()
    yield made
    made.hang_up()
    made.server.close()


@pytest.fixture
async def opened(yard, meter):
    devices = []

    async def make(**options):
        _, spec = await yard.tcp()
        spec = replace(spec, profile="p1", address=meter.address, options=options)
        devices.append(await open_device(spec, SystemClock(), yard.pool))
        return devices[-1]

    yield make
    for device in devices:
        await device.close()


async def test_a_meter_on_the_network_is_read_to_the_last_digit(meter, opened):
    device = await opened()
    assert by_point(device, await device.read()) == EXPECTED
    assert device.entry.serial == "E0034006136814315"
    assert [p.quantity.name for p in device.points if p.billing] == [
        "ENERGY_IMPORT_WH",
        "ENERGY_EXPORT_WH",
    ]
    meter.say(telegram("00.000", "01.250"))
    assert by_point(device, await device.read())[Quantity.POWER_W, 0] == -1250


async def test_a_telegram_is_handed_out_once_and_with_the_time_it_came(meter, opened):
    device = await opened(patience_s="0.3")
    first = await device.read()
    with pytest.raises(DeviceError, match="no telegram"):
        await device.read()
    meter.say(telegram())
    await asyncio.sleep(0.1)
    now = SystemClock().now_ns()
    second = await device.read()
    assert first.at_ns < second.at_ns < now


async def test_a_spoilt_telegram_is_counted_and_never_read(meter, opened):
    device = await opened(patience_s="0.3")
    await device.read()
    meter.say(telegram(low="999999.999", crc="1234"))
    with pytest.raises(DeviceError, match="none of them whole"):
        await device.read()
    assert device.bad_telegrams == 1


async def test_another_meter_at_the_same_port_is_not_taken_for_the_first(meter, opened):
    device = await opened(patience_s="0.3")
    await device.read()
    meter.say(telegram(meter="3132"))
    with pytest.raises(DeviceError, match="another meter"):
        await device.read()


async def test_a_line_that_broke_is_opened_again_after_a_pause(meter, opened):
    device = await opened()
    await device.read()
    meter.hang_up()
    began = asyncio.get_running_loop().time()
    await device.read()
    assert asyncio.get_running_loop().time() - began > 0.3
    assert meter.connections == 2


async def test_a_meter_that_only_speaks_takes_no_orders(meter, opened):
    device = await opened()
    assert device.limits is None
    with pytest.raises(NotControllableError):
        await device.set_power(0, 60)
    with pytest.raises(NotControllableError):
        await device.set_export_limit(0, 60)
    await device.restore_default()


async def test_a_port_on_which_nothing_speaks_is_said_so(yard):
    _, spec = await yard.tcp()
    spec = replace(spec, profile="p1", options={"first_s": "0.3"})
    with pytest.raises(DeviceError, match="no telegram"):
        await open_device(spec, SystemClock(), yard.pool)
    with pytest.raises(DeviceError, match="tcp or serial"):
        await open_device(replace(spec, transport="rtu"), SystemClock(), yard.pool)
    with pytest.raises(DeviceError, match="host:port"):
        await open_device(replace(spec, address="x"), SystemClock(), yard.pool)


async def test_a_meter_on_a_terminal_survives_being_unplugged(yard, tmp_path):
    port = tmp_path / "by-id"
    ends = []

    def plug():
        master, follower = os.openpty()
        tty.setraw(master)
        tty.setraw(follower)
        port.unlink(missing_ok=True)
        port.symlink_to(os.ttyname(follower))
        ends.append(master)
        os.close(follower)

    plug()
    _, spec = await yard.tcp()
    spec = replace(spec, profile="p1", transport="serial", address=str(port), baud=115200)
    opening = asyncio.create_task(open_device(spec, SystemClock(), yard.pool))
    await asyncio.sleep(0.05)
    os.write(ends[0], telegram())
    device = await opening
    try:
        assert by_point(device, await device.read()) == EXPECTED
        os.close(ends.pop())
        plug()
        reading = asyncio.create_task(device.read())
        for _ in range(40):
            await asyncio.sleep(0.05)
            os.write(ends[0], telegram("00.500"))
            if reading.done():
                break
        assert by_point(device, await reading)[Quantity.POWER_W, 0] == 500
    finally:
        await device.close()
        os.close(ends.pop())
