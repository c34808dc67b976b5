"""IEC 62056-21 mode C on a terminal: sign-on, data block, check octet, and everything that fails."""

import asyncio
import os
import tty
from dataclasses import replace

import pytest

from edge.devices import optical
from edge.devices.catalog import open_device
from edge.devices.device import DeviceError
from edge.devices.telegram import BadTelegram, block_lines
from protos.clock import SystemClock
from protos.messages import Quantity

LINES = (
    "F.F(00000000)",
    "0.0.0(50123456)",
    "1.8.0(012345.678*kWh)",
    "1.8.0*01(011000.000*kWh)(23-01-01)",
    "2.8.0(000123.456*kWh)",
    "1.7.0(01.250*kW)",
    "2.7.0(00.000*kW)",
    "32.7.0(230.1*V)",
    "!",
)


def block(lines=LINES, spoil=0):
    body = "".join(f"{line}\r\n" for line in lines).encode() + b"\x03"
    check = 0
    for octet in body:
        check ^= octet
    return b"\x02" + body + bytes((check ^ spoil,))


class OpticalMeter:
    """A meter at the other end of a terminal; `echo` is a head that hears itself."""

    def __init__(self):
        self.master, follower = os.openpty()
        tty.setraw(self.master)
        tty.setraw(follower)
        os.set_blocking(self.master, False)
        self.follower = follower
        self.path = os.ttyname(follower)
        self.heard, self.label, self.data, self.echo = b"", "/ABC5METER1", block(), False
        asyncio.get_running_loop().add_reader(self.master, self._readable)

    def _readable(self):
        self.heard += os.read(self.master, 1000)
        if self.echo:
            os.write(self.master, self.heard[-5:])
        if self.heard.endswith(b"/?!\r\n") and self.label:
            os.write(self.master, f"{self.label}\r\n".encode())
        elif self.heard.endswith(b"\r\n") and b"\x06" in self.heard[-7:]:
            half = len(self.data) // 2
            os.write(self.master, self.data[:half])
            loop = asyncio.get_running_loop()
            loop.call_later(0.01, os.write, self.master, self.data[half:])

    def close(self):
        asyncio.get_running_loop().remove_reader(self.master)
        os.close(self.master)
        os.close(self.follower)


@pytest.fixture
async def meter(monkeypatch):
    monkeypatch.setattr(optical, "REACTION_S", 0.01)
    monkeypatch.setattr(optical, "ANSWER_S", 0.4)
    monkeypatch.setattr(optical, "BLOCK_S", 0.4)
    made = OpticalMeter()
    yield made
    made.close()


@pytest.fixture
async def opened(yard, meter):
    async def make():
        _, spec = await yard.tcp()
        # A pseudo-terminal has neither seven bits nor parity.
        spec = replace(
            spec,
            profile="iec62056-21",
            transport="serial",
            address=meter.path,
            options={"bits": 8},
        )
        return await open_device(spec, SystemClock(), yard.pool)

    return make


@pytest.mark.parametrize("echo", [False, True])
async def test_a_meter_is_signed_on_and_read(meter, opened, echo):
    meter.echo = echo
    device = await opened()
    sample = await device.read()
    values = dict(zip([(p.quantity, p.phase) for p in device.points], sample.values, strict=True))
    assert values == {
        (Quantity.ENERGY_IMPORT_WH, 0): 12_345_678,
        (Quantity.ENERGY_EXPORT_WH, 0): 123_456,
        (Quantity.POWER_W, 0): 1250,
        (Quantity.VOLTAGE_MV, 1): 230_100,
    }
    assert b"\x06050\r\n" in meter.heard
    assert device.limits is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": block(spoil=4)}, "check octet"),
        ({"data": block()[:-40]}, "did not end"),
        ({"data": b"\x02" + b"x" * 9000}, "never ends"),
        ({"label": "/AB"}, "identification"),
        ({"label": ""}, "no identification"),
        ({"label": "/XYZ5OTHER"}, "another meter"),
    ],
)
async def test_what_is_not_whole_is_never_a_value(meter, opened, changes, says):
    device = await opened()
    for name, value in changes.items():
        setattr(meter, name, value)
    with pytest.raises(DeviceError, match=says):
        await device.read()
    meter.label, meter.data = "/ABC5METER1", block()
    assert None not in (await device.read()).values


async def test_a_block_without_a_known_value_is_refused_when_opening(meter, opened):
    meter.data = block(("0.0.0(1)", "!"))
    with pytest.raises(DeviceError, match="no value"):
        await opened()


def test_every_single_bit_error_in_a_block_is_noticed():
    whole = block()
    assert block_lines(whole) == list(LINES)
    for at in range(1, len(whole)):
        spoilt = bytearray(whole)
        spoilt[at] ^= 1
        try:
            lines = block_lines(bytes(spoilt))
        except BadTelegram:
            continue
        assert lines is None
