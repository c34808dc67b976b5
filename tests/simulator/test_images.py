"""Meters' registers, decoded by hand at the makers' addresses, show what the physics says."""

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from edge.devices.modbus.errors import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE
from edge.devices.modbus.frames import READ_HOLDING, READ_INPUT
from edge.simulator.electrics import frequency_mhz
from edge.simulator.fleet import METERS, meter_profile
from edge.simulator.home import MW_NS_PER_WH, Home, history, traits_of
from edge.simulator.images import MeterImage
from edge.simulator.profiles import shipped
from edge.simulator.wire import Refused
from protos.clock import SECOND_NS

NOON_NS = 1_781_784_000 * SECOND_NS  # 2026-06-18 12:00 UTC, a clear day


def lived_home() -> Home:
    """A home without a battery, that has counted in both directions."""
    home = Home(traits_of(7, 7), shipped(), NOON_NS)
    home.step(NOON_NS + 30 * 3_600 * SECOND_NS)
    before = history(home.traits)
    assert home.counters.imported > before.imported + 1_000 * MW_NS_PER_WH
    assert home.counters.exported > before.exported + 1_000 * MW_NS_PER_WH
    return home


def image_of(name: str, home: Home, *, holes: bool = False) -> MeterImage:
    return MeterImage(meter_profile(name), home, holes=holes)


def f32(words: list[int]) -> float:
    return float(struct.unpack(">f", struct.pack(">2H", *words))[0])


def big(words: list[int]) -> int:
    octets = struct.pack(f">{len(words)}H", *words)
    return int.from_bytes(octets, "big", signed=True)


def swapped(words: list[int]) -> int:
    return big([words[1], words[0]])


Decoder = Callable[[list[int]], float]

PLACES: dict[str, tuple[int, Decoder, dict[str, tuple[int, int, float]]]] = {
    # quantity: address, words, raw counts of one W or one Wh
    "eastron/sdm630": (4, f32, {"w": (0x34, 2, 1), "in": (0x48, 2, 1e-3), "out": (0x4A, 2, 1e-3)}),
    "eastron/sdm120": (4, f32, {"w": (0x0C, 2, 1), "in": (0x48, 2, 1e-3), "out": (0x4A, 2, 1e-3)}),
    "carlo_gavazzi/em340": (
        4,
        swapped,
        {"w": (0x28, 2, 10), "in": (0x34, 2, 1e-2), "out": (0x4E, 2, 1e-2)},
    ),
    "carlo_gavazzi/em24": (
        4,
        swapped,
        {"w": (0x28, 2, 10), "in": (0x42, 2, 1e-2), "out": (0x5C, 2, 1e-2)},
    ),
    "abb/b23": (
        3,
        big,
        {"w": (0x5B14, 2, 100), "in": (0x5000, 4, 0.1), "out": (0x5004, 4, 0.1)},
    ),
}


@pytest.mark.parametrize("name", sorted(PLACES))
def test_power_and_counters_stand_where_the_makers_say(name: str) -> None:
    home = lived_home()
    image = image_of(name, home)
    function, decode, places = PLACES[name]
    expected = {
        "w": home.grid_mw / 1_000,
        "in": home.counters.imported / MW_NS_PER_WH,
        "out": home.counters.exported / MW_NS_PER_WH,
    }
    for quantity, (address, width, counts) in places.items():
        words = list(image.read(function, address, width, home.at_ns))
        resolution = max(1.0, 1 / counts)
        shown = decode(words) / counts
        assert shown == pytest.approx(expected[quantity], abs=resolution), quantity


def test_the_iem3155_mixes_float_kilowatts_and_whole_watt_hours() -> None:
    home = lived_home()
    image = image_of("schneider/iem3155", home)
    power = f32(list(image.read(READ_HOLDING, 3_059, 2, home.at_ns)))
    assert power * 1_000 == pytest.approx(home.grid_mw / 1_000, abs=1)
    imported = big(list(image.read(READ_HOLDING, 3_203, 4, home.at_ns)))
    assert imported == home.counters.imported // MW_NS_PER_WH


def test_every_value_of_an_sdm630_is_read_in_whole_and_in_parts_alike() -> None:
    home = lived_home()
    image = image_of("eastron/sdm630", home)
    whole = list(image.read(READ_INPUT, 0, 76, home.at_ns))
    for address in range(0, 76, 2):
        assert whole[address : address + 2] == list(image.read(READ_INPUT, address, 2, home.at_ns))
    for phase in range(3):
        assert f32(whole[2 * phase : 2 * phase + 2]) == pytest.approx(230, abs=12)
    assert f32(whole[0x46:0x48]) == pytest.approx(frequency_mhz(home) / 1_000, abs=1e-3)


@pytest.mark.parametrize("name", METERS)
def test_every_shipped_meter_can_stand_before_every_kind_of_home(name: str) -> None:
    for number in (3, 7):
        home = Home(traits_of(number, 7), shipped(), NOON_NS)
        image = image_of(name, home)
        profile = meter_profile(name)
        for hour in range(24):
            for point in profile.points:
                value = point.value
                words = image.read(point.function, value.addr, value.width, NOON_NS + hour * 10**12)
                shown = value.canonical(tuple(words))
                assert shown is not None
                assert point.minimum is None or shown >= point.minimum
                assert point.maximum is None or shown <= point.maximum


def test_a_meter_keeps_to_its_limits_with_the_right_exceptions() -> None:
    image = image_of("eastron/sdm630", lived_home())
    for function, address, count, code in (
        (READ_INPUT, 0, 82, ILLEGAL_VALUE),
        (READ_INPUT, 1, 2, ILLEGAL_ADDRESS),
        (READ_INPUT, 0, 3, ILLEGAL_ADDRESS),
        (READ_INPUT, 0x1000, 2, ILLEGAL_ADDRESS),
        (READ_HOLDING, 0, 2, ILLEGAL_FUNCTION),
    ):
        with pytest.raises(Refused) as refused:
            image.read(function, address, count, NOON_NS)
        assert refused.value.code == code
    with pytest.raises(Refused) as refused:
        image.write(0, [1], NOON_NS)
    assert refused.value.code == ILLEGAL_FUNCTION


def test_holes_refuse_a_reader_that_fills_its_gaps() -> None:
    home = lived_home()
    profile = meter_profile("eastron/sdm630")
    used = {at for point in profile.points for at in range(point.value.addr, point.value.end)}
    hole = next(at for at in range(0, 76, 2) if at not in used)
    assert list(image_of("eastron/sdm630", home).read(READ_INPUT, hole, 2, NOON_NS)) == [0, 0]
    strict = image_of("eastron/sdm630", home, holes=True)
    with pytest.raises(Refused):
        strict.read(READ_INPUT, hole, 2, NOON_NS)
    for point in profile.points:
        strict.read(READ_INPUT, point.value.addr, point.value.width, NOON_NS)


def test_reading_moves_the_counters_on() -> None:
    home = Home(traits_of(8, 7), shipped(), NOON_NS)
    image = image_of("schneider/iem3155", home)
    first = big(list(image.read(READ_HOLDING, 3_207, 4, NOON_NS)))
    later = big(list(image.read(READ_HOLDING, 3_207, 4, NOON_NS + 3_600 * SECOND_NS)))
    assert later - first == home.counters.exported // MW_NS_PER_WH - first
    assert later > first


def test_a_forbidden_range_is_refused_also_where_it_lies_in_a_gap() -> None:
    home = lived_home()
    profile = meter_profile("eastron/sdm630")
    transport = replace(profile.transport, forbidden=((0x36, 0x38),))
    image = MeterImage(replace(profile, transport=transport), home)
    assert len(image.read(READ_INPUT, 0x34, 2, NOON_NS)) == 2
    with pytest.raises(Refused) as refused:
        image.read(READ_INPUT, 0x34, 4, NOON_NS)
    assert refused.value.code == ILLEGAL_ADDRESS
