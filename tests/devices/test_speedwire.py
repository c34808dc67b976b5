"""SMA's meters as they are shipped: datagrams to a multicast group, built here by hand after the
maker's document, sent over a real socket.
"""

import asyncio
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.devices.catalog import open_device
from edge.devices.device import DeviceError, DeviceSpec, NotControllableError
from edge.devices.speedwire import BadDatagram, DatagramCutter, parse_datagram
from protos.clock import SystemClock
from protos.messages import Quantity, Role

VALUES = [
    (1, 4, 15_003),  # 1500.3 W drawn
    (1, 8, 3_600 * 12_345_678),
    (2, 4, 0),
    (2, 8, 3_600 * 98_765 + 1_799),
    (3, 4, 123),
    (4, 4, 0),
    (13, 4, 985),
    (14, 4, 50_020),
    *((21 + 20 * n, 4, 5_001) for n in range(3)),
    *((22 + 20 * n, 4, 0) for n in range(3)),
    *((31 + 20 * n, 4, 2_200 + n) for n in range(3)),
    *((32 + 20 * n, 4, 230_100 + n) for n in range(3)),
    *((23 + 20 * n, 8, 99) for n in range(3)),
]


def datagram(values=VALUES, serial=1_900_123_456, ticks=100_000, protocol=0x6069, susy=270):
    body = struct.pack(">HHII", protocol, susy, serial, ticks)[:12]
    for index, kind, number in values:
        body += bytes((0, index, kind, 0)) + number.to_bytes(kind, "big")
    body += bytes((144, 0, 0, 0)) + b"\x02\x03\x04R"
    head = b"SMA\0" + struct.pack(">HHI", 4, 0x02A0, 1)
    return head + struct.pack(">HH", len(body), 0x0010) + body + b"\0\0\0\0"


EXPECTED = {
    (Quantity.ENERGY_IMPORT_WH, 0): 12_345_678,
    (Quantity.ENERGY_EXPORT_WH, 0): 98_765,
    (Quantity.POWER_W, 0): 1500,
    (Quantity.REACTIVE_POWER_VAR, 0): 12,
    (Quantity.FREQUENCY_MHZ, 0): 50_020,
    **{(Quantity.POWER_W, n + 1): 500 for n in range(3)},
    **{(Quantity.CURRENT_MA, n + 1): 2_200 + n for n in range(3)},
    **{(Quantity.VOLTAGE_MV, n + 1): 230_100 + n for n in range(3)},
}


def sender():
    speaker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    speaker.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    return speaker


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
async def group():
    """The group's address for a spec, and a way to speak to it every few ms."""
    port = free_port()
    said = {"datagrams": [datagram()]}

    async def speak():
        with sender() as speaker:
            ticks = 100_000
            while True:
                for make in said["datagrams"]:
                    ticks += 1_000
                    octets = bytearray(make)
                    octets[24:28] = struct.pack(">I", ticks)
                    speaker.sendto(bytes(octets), ("239.12.255.254", port))
                await asyncio.sleep(0.02)

    task = asyncio.create_task(speak())
    yield f"239.12.255.254:{port}", said
    task.cancel()


def spec_of(address, **options):
    options = {"interface": "127.0.0.1", "patience_s": 1, "first_s": 2} | options
    return DeviceSpec("m", Role.GRID, "sma-speedwire", "udp", address, options=options)


def by_point(device, sample):
    keys = [(point.quantity, point.phase) for point in device.points]
    return dict(zip(keys, sample.values, strict=True))


async def test_a_meter_is_read_as_it_is_shipped_and_takes_no_setpoint(group):
    address, _ = group
    device = await open_device(spec_of(address), SystemClock(), None)
    try:
        assert by_point(device, await device.read()) == EXPECTED
        assert device.entry.serial == "1900123456"
        billed = {point.quantity for point in device.points if point.billing}
        assert billed == {Quantity.ENERGY_IMPORT_WH, Quantity.ENERGY_EXPORT_WH}
        with pytest.raises(NotControllableError):
            await device.set_charge_limit(0, 60)
    finally:
        await device.close()


async def test_two_meters_in_one_group_are_never_mixed(group):
    address, said = group
    said["datagrams"] = [datagram(serial=1, values=[(1, 4, 10), (2, 4, 0)]), datagram()]
    device = await open_device(spec_of(address, serial="1900123456"), SystemClock(), None)
    try:
        for _ in range(3):
            assert by_point(device, await device.read()) == EXPECTED
    finally:
        await device.close()


async def test_a_group_where_nobody_speaks_is_an_error_with_advice(group):
    address, said = group
    said["datagrams"] = [b"SMA\0junk", b"GET / HTTP/1.1", datagram(protocol=0x6065)]
    with pytest.raises(DeviceError, match="check"):
        await open_device(spec_of(address, first_s=0.3), SystemClock(), None)


@pytest.mark.parametrize(
    ("changes", "says"), [({"transport": "tcp"}, "udp"), ({"address": "meter"}, "239.12")]
)
async def test_a_spec_that_cannot_work_says_what_to_write(changes, says):
    from dataclasses import replace

    spec = replace(spec_of("239.12.255.254:9522"), **changes)
    with pytest.raises(DeviceError, match=says):
        await open_device(spec, SystemClock(), None)


def test_a_datagram_that_is_old_or_comes_twice_is_left_out():
    reader = DatagramCutter("")
    assert len(reader.feed(datagram(ticks=200_000))) == 1
    assert reader.feed(datagram(ticks=200_000)) == []
    assert reader.feed(datagram(ticks=199_000)) == []
    assert reader.bad == 2
    assert len(reader.feed(datagram(ticks=500))) == 1, "it was started again"
    reader = DatagramCutter("")
    reader.feed(datagram(ticks=(1 << 32) - 100))
    assert len(reader.feed(datagram(ticks=900))) == 1, "its counter began again"


def test_a_value_of_an_unknown_kind_spoils_the_whole_and_not_only_itself():
    with pytest.raises(BadDatagram):
        parse_datagram(datagram([(1, 4, 5), (2, 7, 5)]))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=700), st.booleans(), st.integers(0, 600))
def test_no_octets_make_the_parser_fail(noise, is_headed, cut):
    reader = DatagramCutter("")
    reader.feed(b"SMA\0" + noise if is_headed else noise)
    reader.feed(datagram()[:cut] + noise)
