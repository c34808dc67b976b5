"""MQTT devices against a real Mosquitto: values exact, fresh, from the topic that was named."""

import asyncio
import shutil
import socket
import subprocess
from dataclasses import replace
from fractions import Fraction

import pytest

from edge.devices.catalog import open_device
from edge.devices.device import DeviceError, DeviceSpec
from protos.clock import SystemClock
from protos.messages import Quantity, Role

aiomqtt = pytest.importorskip("aiomqtt", reason="the mqtt extra is not installed")
from edge.devices.mqtt import sources_of, value_of  # noqa: E402

TOPICS = {
    "power_w": "home/meter#total.power",
    "energy_import_wh": "home/meter#total.import * 1000",
    "voltage_mv_l1": "home/meter#phases.0 * 1000",
    "state_of_charge_per_mille": "home/soc * 10",
}


def spec_of(address, **options):
    return DeviceSpec("meter", Role.GRID, "mqtt", "mqtt", address, options=options or TOPICS)


@pytest.fixture
async def broker(tmp_path):
    program = shutil.which("mosquitto")
    if program is None:
        pytest.skip("no mosquitto on this machine")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    process = subprocess.Popen(
        [program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(100):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            break
    yield f"127.0.0.1:{port}"
    process.kill()
    process.wait()


async def publish(address, topic, payload, *, retain=False):
    host, port = address.split(":")
    async with aiomqtt.Client(host, int(port)) as client:
        await client.publish(topic, payload, qos=1, retain=retain)


@pytest.fixture
async def opened():
    devices = []

    async def make(spec):
        devices.append(await open_device(spec, SystemClock(), None))
        await asyncio.sleep(0.2)
        return devices[-1]

    yield make
    for device in devices:
        await device.close()


async def test_a_device_is_read_from_the_topics_that_were_named(broker, opened):
    device = await opened(spec_of(broker))
    await publish(
        broker, "home/meter", '{"total": {"power": -1250, "import": 12345.678}, "phases": [230.1]}'
    )
    sample = await device.read()
    assert sample.values == (-1250, 12_345_678, 230_100, None)
    assert [(p.quantity, p.phase, p.billing) for p in device.points] == [
        (Quantity.POWER_W, 0, False),
        (Quantity.ENERGY_IMPORT_WH, 0, True),
        (Quantity.VOLTAGE_MV, 1, False),
        (Quantity.STATE_OF_CHARGE_PER_MILLE, 0, False),
    ]
    await publish(broker, "home/soc", "55.5")
    assert (await device.read()).values == (-1250, 12_345_678, 230_100, 555)


async def test_a_retained_message_is_of_unknown_age_and_not_used(broker, opened):
    await publish(broker, "home/soc", "99", retain=True)
    device = await opened(spec_of(broker, **TOPICS, patience_s="0.3"))
    with pytest.raises(DeviceError, match="check the topics"):
        await device.read()


async def test_a_value_that_grew_old_is_not_available(broker, opened):
    device = await opened(spec_of(broker, **TOPICS, max_age_s="0.04"))
    await publish(broker, "home/soc", "50")
    assert (await device.read()).values[3] == 500
    await asyncio.sleep(0.1)
    await publish(broker, "home/meter", '{"total": {"power": 5}}')
    assert (await device.read()).values == (5, None, None, None)


async def test_a_message_without_its_value_takes_the_old_one_away(broker, opened):
    device = await opened(spec_of(broker))
    await publish(broker, "home/soc", "50")
    await publish(broker, "home/meter", '{"total": {"power": 5}}')
    await asyncio.sleep(0.1)
    assert (await device.read()).values == (5, None, None, 500)
    await publish(broker, "home/soc", "NaN")
    await publish(broker, "home/meter", '{"total": {"power": 6}}')
    await asyncio.sleep(0.1)
    assert (await device.read()).values == (6, None, None, None)


async def test_a_broker_that_is_not_there_is_named(opened):
    device = await opened(spec_of("127.0.0.1:1", **TOPICS, patience_s="0.3"))
    with pytest.raises(DeviceError, match="broker"):
        await device.read()


@pytest.mark.parametrize(
    ("payload", "path", "value"),
    [
        ("12.5", "", 12),
        ("0.1", "", 0),
        ('{"a": {"b": [1, 2.25]}}', "#a.b.1 * 1000", 2250),
        ('{"a": 3}', "#a * -1/2", -2),
        ("true", "", None),
        ('"7"', "", None),
        ("NaN", "", None),
        ("1e400", "", None),
        ("1e999999999", "", None),
        ("1e-999999999", "", None),
        ("0.0", "", 0),
        ("9" * 5000, "", None),
        ("", "", None),
        ("[" * 5000, "", None),
        ('{"a": 1}', "#b", None),
        ("[1]", "#x", None),
    ],
)
def test_payloads_become_whole_numbers_or_nothing(payload, path, value):
    source = sources_of(spec_of("h:1", power_w=f"t{path}"))[0]
    assert value_of(source, payload.encode()) == value
    assert isinstance(source.factor, Fraction)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"powr_w": "a/b"}, "no topic"),
        ({"power_w": "a/#"}, "is no topic"),
        ({"power_w": "a * x"}, "is no"),
    ],
)
def test_topics_that_cannot_be_used_are_refused_with_what_to_write(options, says):
    with pytest.raises(DeviceError, match=says):
        sources_of(spec_of("h:1", **options))


async def test_a_spec_that_cannot_work_is_refused():
    with pytest.raises(DeviceError, match='transport = "mqtt"'):
        await open_device(replace(spec_of("h:1"), transport="tcp"), SystemClock(), None)
    with pytest.raises(DeviceError, match="host:port"):
        await open_device(spec_of("nowhere"), SystemClock(), None)
