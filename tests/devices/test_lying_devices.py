"""Devices that take an order and do something else: timers that do not stick, values that read back
otherwise, registers that refuse half of it. Nothing moves behind a dead timer, and nothing is believed.
"""

import asyncio

import pytest

from edge.devices.catalog import open_device
from edge.devices.device import DeviceError, DeviceSpec
from edge.devices.modbus.bus import BusPool
from edge.simulator.chargers import CHARGERS, AlfenCharger, KebaCharger
from edge.simulator.der import BeatlessDerImage
from edge.simulator.home import MW_NS_PER_WH, Home, traits_of
from edge.simulator.makers import STORAGE, SolarEdgeStorage, SungrowStorage
from edge.simulator.profiles import shipped
from edge.simulator.server import Station, TcpDevice
from edge.simulator.sunspec import BASE, BatteryImage, SolarImage
from protos.clock import SECOND_NS, SystemClock
from protos.messages import Role


class Stand:
    """A simulated device on a socket, and the agent's driver for it."""

    def __init__(self, image, role, profile="sunspec", unit=1, **options):
        self.image, self.pool = image, BusPool()
        self.server = TcpDevice(Station({unit: image}, SystemClock().now_ns))
        self.spec = DeviceSpec("it", role, profile, "tcp", "", unit, options=options)

    async def __aenter__(self):
        from dataclasses import replace

        spec = replace(self.spec, address=await self.server.start())
        self.device = await open_device(spec, SystemClock(), self.pool)
        return self.device

    async def __aexit__(self, *_):
        await self.device.close()
        await self.pool.close()
        await self.server.close()


def home():
    made = Home(traits_of(1, 7), shipped(), SystemClock().now_ns())
    made.stored = made.traits.capacity_wh * MW_NS_PER_WH // 2
    return made


def of(kind, **options):
    return Stand(kind(SECOND_NS), kind.role, kind.profile, kind.unit, **options)


def forgetting(image, model, point):
    """Makes one point of a SunSpec map forget whatever is written to it."""
    write, first = image.write, BASE + image.chain.place(model, point)

    def forget(address, words, at_ns):
        write(address, words, at_ns)
        if address <= first < address + len(words):
            image.chain.words[first - BASE] = 0

    image.write = forget


TIMERS = [
    (BatteryImage, Role.BATTERY, 124, "InOutWRte_RvrtTms"),
    (SolarImage, Role.PV, 123, "WMaxLimPct_RvrtTms"),
]


@pytest.mark.parametrize(("kind", "role", "model", "point"), TIMERS)
async def test_behind_a_sunspec_timer_that_does_not_stick_nothing_moves(kind, role, model, point):
    image = kind(home(), SECOND_NS)
    forgetting(image, model, point)
    async with Stand(image, role) as device:
        order = device.set_power if role is Role.BATTERY else device.set_export_limit
        with pytest.raises(DeviceError, match="no reversion timer"):
            await order(1000, 60)
        assert not image.is_steered(SystemClock().now_ns())


@pytest.mark.parametrize(("kind", "role", "model", "point"), TIMERS)
async def test_an_installer_may_take_it_on_himself(kind, role, model, point):
    image = kind(home(), SECOND_NS)
    forgetting(image, model, point)
    async with Stand(image, role, may_steer_without_timer=True) as device:
        order = device.set_power if role is Role.BATTERY else device.set_export_limit
        await order(1000, 60)
        assert image.is_steered(SystemClock().now_ns())
        await device.restore_default()
        assert not image.is_steered(SystemClock().now_ns())


async def test_a_wide_timer_that_keeps_only_its_high_word_is_found_out():
    image = BeatlessDerImage(home(), SECOND_NS)
    write = image.write
    place = BASE + image.chain.place(704, "WSetRvrtTms")

    def halve(address, words, at_ns):
        write(address, words, at_ns)
        if address == place:
            image.chain.words[place - BASE + 1] = 0

    image.write = halve
    async with Stand(image, Role.BATTERY) as device:
        with pytest.raises(DeviceError, match="no reversion timer"):
            await device.set_power(1000, 60)
        assert not image.is_steered(SystemClock().now_ns())


ON_SOCKETS = [kind for kind in (*STORAGE, *CHARGERS) if kind.transport == "tcp"]


@pytest.mark.parametrize("kind", ON_SOCKETS, ids=lambda kind: kind.profile)
async def test_a_device_that_refuses_everything_is_an_error_and_is_not_steered(kind):
    image = kind(SECOND_NS)
    image.is_acceptable = lambda: False
    async with Stand(
        image, kind.role, kind.profile, kind.unit, may_set_feed_in=True, connect_delay_ms=0
    ) as device:
        for order in (device.set_power, device.set_export_limit, device.set_charge_limit):
            with pytest.raises(DeviceError):
                await order(5000, 60)
        assert not image.is_steered(SystemClock().now_ns())


async def test_a_sungrow_that_leaves_the_remote_mode_at_once_is_not_given_a_command():
    image = SungrowStorage(SECOND_NS)
    took = image.took

    def leave(address):
        took(address)
        image.holding[13049] = 0

    image.took = leave
    async with Stand(image, Role.BATTERY, image.profile) as device:
        with pytest.raises(DeviceError, match="reads back"):
            await device.set_power(-2000, 60)
        assert image.holding[13050] == 0xCC


async def test_a_charger_that_offers_more_than_it_was_told_is_an_error():
    async with of(KebaCharger) as device:
        await device.set_charge_limit(6000, 60)
    image = KebaCharger(SECOND_NS)
    took = image.took

    def offer_more(address):
        took(address)
        if address == 5004:
            image.holding[5004] = 16_000

    image.took = offer_more
    async with Stand(image, image.role, image.profile, image.unit) as device:
        with pytest.raises(DeviceError, match="reads back 16000 after 8695"):
            await device.set_charge_limit(6000, 60)


async def test_a_setpoint_that_is_renewed_costs_no_wearing_memory(monkeypatch):
    del monkeypatch
    image = SungrowStorage(SECOND_NS)
    worn = []
    took = image.took

    def count(address):
        worn.append(address)
        took(address)

    image.took = count
    async with Stand(image, Role.BATTERY, image.profile) as device:
        for _ in range(5):
            await device.set_power(-2000, 60)
    assert [address for address in worn if address != 13079] == [13049, 13051, 13050]


async def test_an_alfen_keeps_its_car_throttled_as_long_as_somebody_renews_and_no_longer():
    image = AlfenCharger(SECOND_NS // 100)
    async with Stand(image, image.role, image.profile) as device:
        for _ in range(4):
            await device.set_charge_limit(5000, 60)
            await asyncio.sleep(0.25)
            assert image.is_steered(SystemClock().now_ns())
        await asyncio.sleep(0.5)
        assert not image.is_steered(SystemClock().now_ns())
        assert image.offered_ma == image.failsafe_ma


async def test_a_solaredge_command_ends_with_its_timeout():
    image = SolarEdgeStorage(SECOND_NS // 100)
    async with Stand(image, image.role, image.profile, connect_delay_ms=0) as device:
        await device.set_power(-2000, 60)
        assert image.is_steered(SystemClock().now_ns())
        await asyncio.sleep(0.7)
        assert not image.is_steered(SystemClock().now_ns())
