"""Devices that publish their values over MQTT, each value under a topic that an installer names.

It decides which message gives which value and how fresh it is. It must never use a retained
message: nobody knows how old it is. Needs the package's mqtt extra.
"""

import asyncio
import json
import re
import ssl
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from edge.devices.device import DeviceError, DeviceSpec, Point
from edge.devices.modbus.links import split_address
from edge.devices.modbus.timing import Reopening
from edge.devices.pushed import PushedDevice
from protos.clock import Clock
from protos.messages import Quantity

if TYPE_CHECKING:
    from aiomqtt import Client, Message

REVISION = 1
MAX_AGE_S = 30
RATE_MAX_W = 1_000_000
"""No counter of a home grows faster."""

PAYLOAD_MAX = 65536
EXPONENT_MAX = 30

_KEY = re.compile(r"^([a-z_]+?)(?:_l([123]))?$")
_TOPIC = re.compile(r"^([^#+* ]+)(?:#([^* ]+))?(?: *\* *(-?[0-9]+(?:/[0-9]+)?))?$")
_NAMES = {quantity.name.lower(): quantity for quantity in Quantity}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value comes from: a topic, the path of names inside its JSON, and a factor."""

    point: Point
    topic: str
    path: tuple[str, ...]
    factor: Fraction


def sources_of(spec: DeviceSpec) -> tuple[Source, ...]:
    """The values that the options name: `power_w = "home/meter#total.power * 1000"`; a name in
    `_l1` to `_l3` is of one phase. Raises DeviceError.
    """
    made: list[Source] = []
    for key, text in spec.options.items():
        name = _KEY.match(key)
        if name is None or name[1] not in _NAMES:
            continue
        found = _TOPIC.match(str(text))
        if found is None:
            raise DeviceError(
                spec.name, f"{key} = {text!r} is no topic", "write topic#json.path * factor"
            )
        phase = int(name[2] or 0)
        billing = name[1].startswith("energy_") and phase == 0
        made.append(
            Source(
                Point(_NAMES[name[1]], phase, billing, 0, RATE_MAX_W if billing else 0),
                found[1],
                tuple(found[2].split(".")) if found[2] else (),
                Fraction(found[3] or 1),
            )
        )
    if not made:
        raise DeviceError(
            spec.name, "no topic is named", "give options such as power_w = 'home/meter/power'"
        )
    return tuple(made)


def value_of(source: Source, payload: bytes) -> int | None:
    """The value in a payload as a whole number, None where it holds none. Decimal text is never
    made a float.
    """
    if len(payload) > PAYLOAD_MAX:
        return None
    try:
        tree = json.loads(payload, parse_float=Decimal, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    for step in source.path:
        if isinstance(tree, list) and step.isdecimal() and int(step) < len(tree):
            tree = tree[int(step)]
        elif isinstance(tree, dict):
            tree = tree.get(step)
        else:
            return None
    if isinstance(tree, bool) or not isinstance(tree, int | Decimal):
        return None
    # An exponent in the millions would take the machine hours to write out.
    if isinstance(tree, Decimal) and not -EXPONENT_MAX < tree.adjusted() < EXPONENT_MAX:
        return None
    value = round(Fraction(tree) * source.factor)
    return value if abs(value) < 1 << 62 else None


class MqttDevice(PushedDevice):
    """The `Device` port over a broker. Options: topics by value, max_age_s, username,
    password_file, tls, ca.
    """

    def __init__(self, spec: DeviceSpec, clock: Clock) -> None:
        super().__init__(spec, clock, REVISION)
        self._sources = sources_of(spec)
        self._max_age_s = float(spec.options.get("max_age_s", MAX_AGE_S))
        self._values: dict[int, tuple[int, float]] = {}
        self._problem = ""
        try:
            self._host, self._port = split_address(spec.address)
        except ValueError as error:
            raise DeviceError(spec.name, "bad address", str(error)) from error
        self._task = asyncio.get_running_loop().create_task(self._keep_open())

    @property
    def points(self) -> tuple[Point, ...]:
        return tuple(source.point for source in self._sources)

    async def _keep_open(self) -> None:
        """One attempt to connect per back-off, for as long as the device is used."""
        import aiomqtt

        loop, reopening = asyncio.get_running_loop(), Reopening()
        while True:
            try:
                async with self._client() as client:
                    for topic in sorted({source.topic for source in self._sources}):
                        await client.subscribe(topic, qos=1)
                    self._problem = ""
                    reopening.opened()
                    async for message in client.messages:
                        self._heard(message)
            except (aiomqtt.MqttError, OSError) as error:
                self._problem = str(error)
            await asyncio.sleep(reopening.failed(loop.time()))

    def _client(self) -> "Client":
        import aiomqtt

        options = self._spec.options
        secret = str(options.get("password_file", ""))
        context = None
        if options.get("tls"):
            context = ssl.create_default_context(
                cafile=str(options["ca"]) if "ca" in options else None
            )
        return aiomqtt.Client(
            self._host,
            self._port,
            username=str(options["username"]) if "username" in options else None,
            password=Path(secret).read_text(encoding="utf-8").strip() if secret else None,
            tls_context=context,
            timeout=5,
        )

    def _heard(self, message: "Message") -> None:
        payload = message.payload
        if message.retain or not isinstance(payload, bytes | bytearray):
            return
        now, topic, news = asyncio.get_running_loop().time(), str(message.topic), False
        for index, source in enumerate(self._sources):
            if source.topic == topic:
                value = value_of(source, bytes(payload))
                if value is None:
                    self._values.pop(index, None)
                else:
                    self._values[index] = (value, now)
                    news = True
        if news:
            self._mailbox.put(self._stamped(self._fresh(now)))

    def _fresh(self, now: float) -> tuple[int | None, ...]:
        """Every value that was said not long ago; the others are not available."""
        return tuple(
            entry[0]
            if (entry := self._values.get(index)) and now - entry[1] <= self._max_age_s
            else None
            for index in range(len(self._sources))
        )

    def _silence(self) -> tuple[str, str]:
        if self._problem:
            return self._problem, f"check the broker at {self._spec.address} and the password"
        topics = ", ".join(sorted({source.topic for source in self._sources}))
        return "nothing new was published", f"check the topics: {topics}"

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
