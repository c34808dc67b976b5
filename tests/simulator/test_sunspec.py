"""SunSpec devices: readable by an independent walker, obedient, and reverting by themselves."""

import pytest

from edge.devices.modbus.errors import ILLEGAL_ADDRESS, ILLEGAL_VALUE
from edge.devices.modbus.frames import READ_HOLDING, READ_INPUT
from edge.simulator.home import MW_NS_PER_WH, Home, traits_of
from edge.simulator.models import Chain
from edge.simulator.profiles import shipped
from edge.simulator.sunspec import BASE, BatteryImage, SolarImage, SunSpecImage
from edge.simulator.wire import Refused
from protos.clock import SECOND_NS

NOON_NS = 1_781_784_000 * SECOND_NS  # 2026-06-18 12:00 UTC, a clear day


def home_of(number: int = 1) -> Home:
    home = Home(traits_of(number, 7), shipped(), NOON_NS)
    home.stored = home.traits.capacity_wh * MW_NS_PER_WH // 2
    return home


def point(image: SunSpecImage, model: int, name: str, at_ns: int) -> int:
    image.read(READ_HOLDING, BASE, 2, at_ns)
    return image.chain.get(model, name)


def write(image: SunSpecImage, at_ns: int, model: int, **points: int) -> None:
    for name, value in points.items():
        image.write(BASE + image.chain.place(model, name), [value & 0xFFFF], at_ns)


@pytest.mark.parametrize(("kind", "last"), [(SolarImage, 123), (BatteryImage, 802)])
def test_the_chain_walks_from_the_mark_to_the_end(kind: type[SunSpecImage], last: int) -> None:
    image = kind(home_of(), SECOND_NS)
    words = image.read(READ_HOLDING, BASE, 100, NOON_NS)
    assert bytes(words[0].to_bytes(2, "big") + words[1].to_bytes(2, "big")) == b"SunS"
    found, at = [], 2
    while (head := image.read(READ_HOLDING, BASE + at, 2, NOON_NS))[0] != 0xFFFF:
        found.append(head[0])
        at += 2 + head[1]
    assert found[0] == 1
    assert found[-1] == last
    assert at + 2 == len(image.chain.words)


def test_our_tables_agree_with_the_published_models() -> None:
    device = pytest.importorskip("sunspec2.device")
    for model in (1, 103, 120, 123, 124, 203, 701, 702, 713, 715, 802):
        published = device.get_model_def(model)["group"]["points"]
        chain = Chain([model])
        offset = 0
        for entry in published:
            if offset >= 2 and entry["type"] != "pad":
                assert chain.place(model, entry["name"]) == 2 + offset, entry["name"]
            offset += entry["size"]
        assert chain.words[3] == offset - 2


@pytest.mark.parametrize("rate", [10_000, 5_000, 1, 0, -1, -5_000, -10_000])
def test_two_opposite_rates_are_a_setpoint_and_end_with_the_timer(rate: int) -> None:
    home = home_of()
    image = BatteryImage(home, SECOND_NS)
    write(image, NOON_NS, 124, InOutWRte_RvrtTms=120, OutWRte=rate, InWRte=-rate, StorCtl_Mod=3)
    expected = home.traits.battery_w * abs(rate) // 10_000 * (1 if rate >= 0 else -1)
    assert point(image, 103, "W", NOON_NS) == expected
    assert point(image, 802, "W", NOON_NS) == expected
    assert point(image, 124, "StorCtl_Mod", NOON_NS + 119 * SECOND_NS) == 3
    assert point(image, 124, "StorCtl_Mod", NOON_NS + 120 * SECOND_NS) == 0
    assert image.chain.get(124, "OutWRte") == 10_000
    assert home.battery_window_w is None


def test_a_discharge_limit_alone_leaves_the_charging_to_the_battery() -> None:
    home = home_of()
    image = BatteryImage(home, SECOND_NS)
    write(image, NOON_NS, 124, OutWRte=0, StorCtl_Mod=2)
    assert home.battery_window_w == (-home.traits.battery_w, 0)


def test_a_later_write_arms_the_timer_again() -> None:
    image = BatteryImage(home_of(), SECOND_NS)
    write(image, NOON_NS, 124, InOutWRte_RvrtTms=60, OutWRte=3_000, InWRte=-3_000, StorCtl_Mod=3)
    write(image, NOON_NS + 50 * SECOND_NS, 124, OutWRte=3_000)
    assert point(image, 124, "StorCtl_Mod", NOON_NS + 109 * SECOND_NS) == 3
    assert point(image, 124, "StorCtl_Mod", NOON_NS + 110 * SECOND_NS) == 0


def test_a_timer_of_zero_holds_until_it_is_written_off() -> None:
    image = BatteryImage(home_of(), SECOND_NS)
    write(image, NOON_NS, 124, OutWRte=0, InWRte=0, StorCtl_Mod=3)
    assert point(image, 124, "StorCtl_Mod", NOON_NS + 7_200 * SECOND_NS) == 3
    write(image, NOON_NS + 7_200 * SECOND_NS, 124, StorCtl_Mod=0)
    assert image.home.battery_window_w is None


def test_reversion_is_the_devices_own_time_also_in_a_demo_that_runs_sixty_times_as_fast() -> None:
    image = BatteryImage(home_of(), 60 * SECOND_NS)
    write(image, NOON_NS, 124, InOutWRte_RvrtTms=10, OutWRte=0, InWRte=0, StorCtl_Mod=3)
    assert point(image, 124, "StorCtl_Mod", NOON_NS + 599 * SECOND_NS) == 3
    assert point(image, 124, "StorCtl_Mod", NOON_NS + 600 * SECOND_NS) == 0


def test_a_limited_inverter_throttles_and_comes_back() -> None:
    home = home_of()
    image = SolarImage(home, SECOND_NS)
    free_w = point(image, 103, "W", NOON_NS)
    write(image, NOON_NS, 123, WMaxLimPct=500, WMaxLimPct_RvrtTms=30, WMaxLim_Ena=1)
    limited_w = point(image, 103, "W", NOON_NS)
    assert limited_w == home.traits.pv_peak_w * 5 // 100 < free_w
    assert image.chain.get(103, "St") == 5
    assert point(image, 123, "WMaxLim_Ena", NOON_NS + 30 * SECOND_NS) == 0
    assert image.chain.get(123, "WMaxLimPct") == 10_000
    assert image.chain.get(103, "W") > limited_w


@pytest.mark.parametrize(
    ("name", "value"), [("StorCtl_Mod", 4), ("OutWRte", 10_001), ("InWRte", -10_001)]
)
def test_a_value_without_meaning_is_refused_and_changes_nothing(name: str, value: int) -> None:
    image = BatteryImage(home_of(), SECOND_NS)
    before = point(image, 124, name, NOON_NS)
    with pytest.raises(Refused) as refused:
        write(image, NOON_NS, 124, **{name: value})
    assert refused.value.code == ILLEGAL_VALUE
    assert point(image, 124, name, NOON_NS) == before


def test_a_measurement_cannot_be_written() -> None:
    image = BatteryImage(home_of(), SECOND_NS)
    with pytest.raises(Refused) as refused:
        write(image, NOON_NS, 802, SoC=1_000)
    assert refused.value.code == ILLEGAL_ADDRESS


@pytest.mark.parametrize(
    ("function", "address"), [(READ_HOLDING, BASE - 1), (READ_HOLDING, 60_000), (READ_INPUT, BASE)]
)
def test_registers_outside_the_chain_are_illegal(function: int, address: int) -> None:
    image = SolarImage(home_of(), SECOND_NS)
    with pytest.raises(Refused) as refused:
        image.read(function, address, 2, NOON_NS)
    assert refused.value.code == ILLEGAL_ADDRESS
