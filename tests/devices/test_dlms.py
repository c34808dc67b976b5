"""DLMS pushes: whole and believed ones are read to the last digit, others never; over a terminal and a
socket, in the open and under a key. The telegrams are built by an encoder of this file's own and by
the independent package dlms-cosem.
"""

import asyncio
import os
import random
import re
import struct
import tty

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher as Aes
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.devices.axdr import DEPTH_MAX, BadData, Octets, parse, readings
from edge.devices.catalog import open_device
from edge.devices.device import DeviceError, DeviceSpec
from edge.devices.dlms import Cipher, PushCutter
from edge.devices.hdlc import MESSAGE_MAX, Frames, Wrapped, crc16_x25
from protos.clock import SystemClock
from protos.messages import Quantity, Role

KEY, AUTH_KEY = bytes(range(16)), bytes(range(100, 116))
TITLE = b"KAM\x10\x20\x30\x40\x50"


# --- an encoder that knows nothing of the agent's ------------------------------------------------


def octet(octets):
    return bytes((9, len(octets))) + octets


def structure(*items):
    return bytes((2, len(items))) + b"".join(items)


def code(c, d, e=0, b=0):
    return octet(bytes((1, b, c, d, e, 255)))


def u32(value):
    return b"\x06" + struct.pack(">I", value)


def scaled(exponent, unit):
    return structure(b"\x0f" + struct.pack(">b", exponent), b"\x16" + bytes((unit,)))


def register(c, d, value, exponent, unit):
    return structure(code(c, d), value, scaled(exponent, unit))


def push(*items, invoke=b"\x40\0\0\0", date=b"\0"):
    return b"\x0f" + invoke + date + b"\x01" + bytes((len(items),)) + b"".join(items)


def number(text=b"5706567000000000"):
    return structure(octet(bytes((0, 0, 96, 1, 0, 255))), b"\x0a" + bytes((len(text),)) + text)


def a_push(import_dwh=1234567, power_w=1500, date=b"\0", **more):
    return push(
        number(**more),
        register(1, 8, u32(import_dwh), 1, 30),
        register(2, 8, u32(4321), 1, 30),
        register(1, 7, u32(power_w), 0, 27),
        register(2, 7, u32(0), 0, 27),
        register(32, 7, b"\x12" + struct.pack(">H", 2301), -1, 35),
        register(31, 7, b"\x10" + struct.pack(">h", 652), -2, 33),
        date=date,
    )


EXPECTED = {
    (Quantity.ENERGY_IMPORT_WH, 0): 12_345_670,
    (Quantity.ENERGY_EXPORT_WH, 0): 43_210,
    (Quantity.POWER_W, 0): 1500,
    (Quantity.VOLTAGE_MV, 1): 230_100,
    (Quantity.CURRENT_MA, 1): 6520,
}


def frame(message, *, segmented=False, llc=True):
    body = (b"\xe6\xe7\x00" if llc else b"") + message
    length = 2 + 1 + 2 + 1 + 2 + len(body) + 2
    head = struct.pack(">H", 0xA000 | segmented << 11 | length) + b"\x41\x88\x83\x13"
    head += crc16_x25(head).to_bytes(2, "little")
    return b"\x7e" + head + body + crc16_x25(head + body).to_bytes(2, "little") + b"\x7e"


def frames(message, size=100):
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    last = len(parts) - 1
    return b"".join(frame(part, segmented=at < last, llc=at == 0) for at, part in enumerate(parts))


def wrapped(message):
    return struct.pack(">HHHH", 1, 1, 16, len(message)) + message


def enciphered(message, counter=1, key=KEY, auth=AUTH_KEY, control=0x30, title=TITLE):
    nonce = title + struct.pack(">I", counter)
    if control & 0x10:
        sealer = Aes(algorithms.AES(key), modes.GCM(nonce)).encryptor()
        sealer.authenticate_additional_data(bytes((control,)) + auth)
        text = sealer.update(message) + sealer.finalize()
        text += sealer.tag[:12]
    else:
        text = Aes(algorithms.AES(key), modes.CTR(nonce + b"\0\0\0\2")).encryptor().update(message)
    body = bytes((control,)) + struct.pack(">I", counter) + text
    length = bytes((len(body),)) if len(body) < 128 else b"\x82" + struct.pack(">H", len(body))
    return b"\xdb\x08" + title + length + body


def cutter(cipher=None, told=None, kind=Frames):
    return PushCutter(kind(), cipher, told or {})


def cipher(**more):
    return Cipher(KEY, AUTH_KEY, **more)


# --- what is read --------------------------------------------------------------------------------


def test_the_check_sequence_is_that_of_the_published_polynomial():
    assert crc16_x25(b"123456789") == 0x906E


@pytest.mark.parametrize("date", [b"\0", b"\x0c" + bytes(12), b"\x01" + bytes(12)])
def test_a_push_is_read_to_the_last_digit(date):
    (telegram,) = cutter().feed(frame(a_push(date=date)))
    assert telegram.number == "5706567000000000"
    assert telegram.values["1.8.0"] == (12_345_670, "Wh")
    assert telegram.values["31.7.0"] == (6520, "mA")
    assert telegram.values["32.7.0"] == (230_100, "mV")


def test_a_flat_list_without_units_needs_the_installers_word():
    flat = push(code(1, 8, b=1), u32(123), code(1, 7, b=1), u32(456))
    assert cutter().feed(frame(flat)) == []
    told = {"1.8.0": (10, "Wh"), "1.7.0": (1, "W")}
    (telegram,) = cutter(told=told).feed(frame(flat))
    assert telegram.values == {"1.8.0": (1230, "Wh"), "1.7.0": (456, "W")}


def test_units_that_are_unknown_and_codes_that_contradict_themselves_give_nothing():
    reader = cutter()
    assert reader.feed(frame(push(register(1, 8, u32(5), 0, 13)))) == []
    assert "unit" in reader.advice
    twice = push(register(1, 8, u32(5), 0, 30), register(1, 8, u32(6), 0, 30))
    assert readings(parse(Octets(twice[6:])), {}) == {}
    huge = push(register(1, 8, u32(5), 100, 30))
    assert cutter().feed(frame(huge)) == []
    nan = push(register(1, 7, b"\x17\x7f\xc0\0\0", 0, 27))
    assert cutter().feed(frame(nan)) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 300), max_size=8), st.integers(0, 3), st.integers(20, 200))
def test_a_stream_cut_anywhere_gives_the_same_pushes(cuts, noise, size):
    one, two = a_push(100), a_push(200)
    stream = b"\x00\xffA"[:noise] + frames(one, size) + frames(two, size)
    reader, seen, at = cutter(), [], 0
    for cut in [*cuts, len(stream)]:
        seen += reader.feed(stream[at : at + cut])
        at += cut
    assert [telegram.values["1.8.0"][0] for telegram in seen] == [1000, 2000]


@settings(max_examples=80, deadline=None)
@given(st.integers(1, len(frame(a_push())) - 2), st.integers(1, 255))
def test_no_spoilt_octet_of_a_frame_ever_gives_a_push(at, flip):
    octets = bytearray(frame(a_push()))
    octets[at] ^= flip
    assert cutter().feed(bytes(octets)) == []


def test_a_part_that_is_missing_spoils_the_whole_and_not_the_next():
    whole = frames(a_push(100), 60)
    first = whole.index(b"\x7e\x7e") + 1
    reader = cutter()
    second = whole.index(b"\x7e\x7e", first + 1) + 1
    broken = bytearray(whole)
    broken[first + 20] ^= 1
    assert second > first
    seen = reader.feed(bytes(broken)) + reader.feed(frames(a_push(200), 60))
    assert [telegram.values["1.8.0"][0] for telegram in seen] == [2000]
    assert reader.bad


def test_messages_in_the_wrapper_are_found_again_after_noise():
    reader = cutter(kind=Wrapped)
    stream = wrapped(a_push(1)) + b"\xff\xfe" + wrapped(a_push(2)) + wrapped(a_push(3))[:20]
    seen = reader.feed(stream)
    assert [telegram.values["1.8.0"][0] for telegram in seen] == [10, 20]
    assert reader.bad == 1


# --- under a key ---------------------------------------------------------------------------------


def test_a_push_under_the_meters_key_is_opened():
    (telegram,) = cutter(cipher()).feed(frame(enciphered(a_push())))
    assert telegram.values["1.8.0"] == (12_345_670, "Wh")
    assert telegram.label == TITLE.hex()


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (enciphered(a_push(), key=bytes(16)), "tag is wrong"),
        (enciphered(a_push(), auth=bytes(16)), "tag is wrong"),
        (enciphered(a_push(), control=0x20), "open_ciphering"),
        (enciphered(a_push(), control=0x31), "suite 0"),
        (enciphered(a_push(), control=0x10), "suite 0"),
        (enciphered(a_push(), title=b"short"), "suite 0"),
        (a_push(), "in the open"),
        (enciphered(b"\x0e" + a_push()[1:]), "no push"),
        (b"\xdb", "ends too soon"),
        (enciphered(a_push())[:40], "ends too soon"),
    ],
)
def test_what_cannot_be_believed_is_left_out_and_said(message, says):
    reader = cutter(cipher())
    assert reader.feed(frame(message)) == []
    assert re.search(says, reader.advice)


def test_a_push_that_is_sent_again_or_is_older_is_not_believed():
    reader = cutter(cipher())
    assert len(reader.feed(frame(enciphered(a_push(), 7)))) == 1
    assert reader.feed(frame(enciphered(a_push(), 7))) == []
    assert reader.feed(frame(enciphered(a_push(), 6))) == []
    assert "sent before" in reader.advice
    assert len(reader.feed(frame(enciphered(a_push(), 8)))) == 1
    other = enciphered(a_push(), 9, title=b"OTHERTIT")
    assert reader.feed(frame(other)) == []


def test_a_forged_counter_does_not_lock_the_meter_out():
    reader = cutter(cipher())
    reader.feed(frame(enciphered(a_push(), 1)))
    assert reader.feed(frame(enciphered(a_push(), 0xFFFFFFFF, key=bytes(16)))) == []
    assert len(reader.feed(frame(enciphered(a_push(), 2)))) == 1


def test_encryption_alone_is_taken_only_where_the_installer_says_so():
    reader = cutter(cipher(takes_open=True))
    assert len(reader.feed(frame(enciphered(a_push(), control=0x20)))) == 1
    assert reader.feed(frame(enciphered(a_push(), 2, control=0x20, key=bytes(16)))) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(enciphered(a_push())) - 1), st.integers(1, 255))
def test_no_spoilt_octet_inside_a_good_frame_gets_past_the_tag(at, flip):
    octets = bytearray(enciphered(a_push()))
    octets[at] ^= flip
    assert cutter(cipher()).feed(frame(bytes(octets))) == []


# --- hostile input -------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_no_octets_make_the_parser_fail_or_keep_them(noise, is_framed):
    for kind in (Frames, Wrapped):
        reader = cutter(cipher(), kind=kind)
        reader.feed(frame(noise) if is_framed and kind is Frames else noise)
        reader.feed(wrapped(noise) if is_framed else noise)
        assert len(reader._frames._left) <= MESSAGE_MAX


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_no_data_makes_the_parser_fail(noise):
    try:
        readings(parse(Octets(noise)), {})
    except BadData:
        return


def test_mutated_pushes_are_read_or_refused_and_never_crash():
    draw = random.Random(7)
    whole = a_push()
    for _ in range(3000):
        octets = bytearray(whole)
        for _ in range(draw.randint(1, 6)):
            octets[draw.randrange(len(octets))] = draw.randrange(256)
        cutter().feed(frame(bytes(octets[: draw.randint(1, len(octets))])))


def test_depth_and_number_of_values_are_bounded():
    with pytest.raises(BadData, match="deeper"):
        parse(Octets(b"\x02\x01" * (DEPTH_MAX + 1) + b"\x00"))
    with pytest.raises(BadData, match="more than"):
        parse(Octets(b"\x01\x82\xff\xff" + b"\x00" * 0xFFFF))
    with pytest.raises(BadData, match="too soon"):
        parse(Octets(b"\x09\x84\xff\xff\xff\xff"))


def test_a_line_that_babbles_costs_no_memory():
    for kind in (Frames, Wrapped):
        reader = kind()
        for _ in range(100):
            reader.feed(b"\x7e\xa7" + b"\x00\x01" * 1000)
            assert len(reader._left) <= MESSAGE_MAX + 2004


# --- an independent peer -------------------------------------------------------------------------


def test_the_independent_package_builds_what_ours_reads():
    pytest.importorskip("dlms_cosem")
    from dlms_cosem import dlms_data, security
    from dlms_cosem.hdlc.address import HdlcAddress
    from dlms_cosem.hdlc.frames import UnnumberedInformationFrame
    from dlms_cosem.protocol.xdlms import DataNotification, GeneralGlobalCipher
    from dlms_cosem.protocol.xdlms.data_notification import LongInvokeIdAndPriority

    body = dlms_data.DataArray(
        [
            dlms_data.DataStructure(
                [
                    dlms_data.OctetStringData(bytes((1, 0, c, 8, 0, 255))),
                    dlms_data.DoubleLongUnsignedData(value),
                    dlms_data.DataStructure([dlms_data.IntegerData(-1), dlms_data.EnumData(30)]),
                ]
            )
            for c, value in ((1, 123_450), (2, 60))
        ]
    )
    message = DataNotification(LongInvokeIdAndPriority(1), None, body.to_bytes()).to_bytes()
    control = security.SecurityControlField(0, authenticated=True, encrypted=True)
    text = security.encrypt(control, TITLE, 5, KEY, message, AUTH_KEY)
    sealed = GeneralGlobalCipher(TITLE, control, 5, text).to_bytes()
    for payload, opener in ((message, None), (sealed, cipher())):
        framed = UnnumberedInformationFrame(
            HdlcAddress(1, address_type="client"),
            HdlcAddress(1, address_type="server"),
            b"\xe6\xe7\x00" + payload,
        ).to_bytes()
        (telegram,) = cutter(opener).feed(framed)
        assert telegram.values == {"1.8.0": (12_345, "Wh"), "2.8.0": (6, "Wh")}


# --- on real wires -------------------------------------------------------------------------------


def by_point(device, sample):
    keys = [(point.quantity, point.phase) for point in device.points]
    return dict(zip(keys, sample.values, strict=True))


async def repeat(write, make, every_s=0.05):
    counter = 0
    while True:
        counter += 1
        write(make(counter))
        await asyncio.sleep(every_s)


async def test_a_meter_on_a_terminal_is_read_under_its_key(tmp_path):
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    for name, key in (("key", KEY), ("auth", AUTH_KEY)):
        (tmp_path / name).write_text(key.hex() + "\n")
    speaker = asyncio.create_task(
        repeat(lambda o: os.write(ours, o), lambda n: frames(enciphered(a_push(n), n), 120))
    )
    options = {"key_file": str(tmp_path / "key"), "auth_key_file": str(tmp_path / "auth")}
    spec = DeviceSpec("m", Role.GRID, "dlms", "serial", os.ttyname(theirs), options=options)
    try:
        device = await open_device(spec, SystemClock(), None)
        first, second = await device.read(), await device.read()
        assert device.entry.serial == "5706567000000000"
        assert by_point(device, first)[Quantity.POWER_W, 0] == 1500
        energy = [by_point(device, s)[Quantity.ENERGY_IMPORT_WH, 0] for s in (first, second)]
        assert energy[0] < energy[1]
        await device.close()
    finally:
        speaker.cancel()
        os.close(ours)
        os.close(theirs)


async def test_a_meter_behind_a_socket_is_read_and_another_one_is_not(tmp_path):
    del tmp_path
    writers = []
    server = await asyncio.start_server(lambda _, w: writers.append(w), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    def say(octets):
        for writer in writers:
            writer.write(octets)

    speaker = asyncio.create_task(repeat(say, lambda n: wrapped(a_push())))
    spec = DeviceSpec("m", Role.GRID, "dlms", "tcp", f"127.0.0.1:{port}", options={"patience_s": 1})
    device = await open_device(spec, SystemClock(), None)
    try:
        assert by_point(device, await device.read()) == EXPECTED
        speaker.cancel()
        other = asyncio.create_task(repeat(say, lambda n: wrapped(a_push(text=b"666"))))
        await asyncio.sleep(0.2)
        device._mailbox._sample = None
        device._mailbox._arrived.clear()
        with pytest.raises(DeviceError, match="another meter speaks here now: 666"):
            await device.read()
        other.cancel()
    finally:
        speaker.cancel()
        await device.close()
        for writer in writers:
            writer.close()
        server.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"key_file": "/nowhere"}, "32 hexadecimal digits"),
        ({"framing": "morse"}, "hdlc"),
        ({"1.8.0": "ten"}, "10 Wh"),
    ],
)
async def test_options_that_cannot_work_are_refused_with_what_to_write(options, says):
    spec = DeviceSpec("m", Role.GRID, "dlms", "tcp", "127.0.0.1:9", options=options)
    with pytest.raises(DeviceError, match=says):
        await open_device(spec, SystemClock(), None)


async def test_a_key_is_never_in_a_message(tmp_path):
    (tmp_path / "key").write_text("DEADBEEF")
    spec = DeviceSpec(
        "m", Role.GRID, "dlms", "tcp", "h:1", options={"key_file": str(tmp_path / "key")}
    )
    with pytest.raises(DeviceError) as raised:
        await open_device(spec, SystemClock(), None)
    assert "DEADBEEF" not in str(raised.value)
