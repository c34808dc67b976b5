"""ThingsBoard gateway 3.8.5 as a peer: the same ten meters, into a real Mosquitto, in the same minute.

It is installed from its package into an environment of its own the first time, beside ours, and
stays there. Its store is SQLite, as a product that must not lose readings has it; it speaks plain
MQTT without TLS and signs nothing. A client in the place of the ThingsBoard server answers the one
call without which the gateway sends nothing.
"""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

VERSION = "3.8.5"
HOME = Path(sys.prefix) / "peers" / f"thingsboard-gateway-{VERSION}"
PACKAGES = (f"thingsboard-gateway=={VERSION}", "pymodbus==3.9.2", "pyserial", "pyserial-asyncio")
"""What the gateway would fetch by itself while it runs comes first, so that its run is measured."""

POINTS = (0, 6, 12, 18, 24, 30, 70, 72, 74, 342)
"""Ten two-register values of an SDM120."""

INSTALL_S = 300


class Missing(Exception):
    """The peer cannot run on this machine. The message is the row's note."""


def install() -> Path:
    """The gateway's program, installed when it is not there yet. Raises Missing."""
    program = HOME / "bin" / "thingsboard-gateway"
    if program.exists():
        return program
    uv = Path(sys.prefix) / "bin" / "uv"
    commands = (
        [uv, "venv", "-q", "--python", sys.executable, HOME],
        [uv, "pip", "install", "-q", "--python", HOME / "bin" / "python", "setuptools", *PACKAGES],
    )
    for command in commands:
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_S)
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(HOME, ignore_errors=True)
            raise Missing("thingsboard-gateway could not be installed here") from error
    return program


@contextlib.asynccontextmanager
async def running(directory: Path, ports: Sequence[int]) -> AsyncIterator[tuple[int, list[str]]]:
    """The gateway's process, and the messages that reached the broker, as long as it runs.

    Raises Missing.
    """
    program = install()
    broker = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if broker is None:
        raise Missing("mosquitto is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    directory.mkdir()
    (directory / "logs").mkdir()
    settings = directory / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    _configure(directory / "config", port, ports)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(_end, await asyncio.create_subprocess_exec(
            broker, "-c", settings, **quiet
        ))  # fmt: skip
        heard: list[str] = []
        server = asyncio.create_task(_serve(port, heard))
        stack.callback(server.cancel)
        gateway = await asyncio.create_subprocess_exec(
            program,
            cwd=directory,
            env={**os.environ, "TB_GW_CONFIG_DIR": str(directory / "config")},
            **quiet,
        )
        stack.push_async_callback(_end, gateway)
        yield gateway.pid, heard


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _serve(port: int, heard: list[str]) -> None:
    """In the place of the ThingsBoard server: says that there are no limits, counts what comes."""
    import aiomqtt

    limits = json.dumps({"rateLimits": {}, "maxPayloadSize": 65_536, "maxInflightMessages": 100})
    while True:
        try:
            async with aiomqtt.Client("127.0.0.1", port) as client:
                await client.subscribe("v1/#", qos=1)
                async for message in client.messages:
                    topic = str(message.topic)
                    if "/rpc/request/" in topic:
                        answer = topic.replace("/request/", "/response/")
                        await client.publish(answer, limits, qos=1)
                    elif topic.endswith("/telemetry"):
                        heard.append(topic)
        except aiomqtt.MqttError:
            await asyncio.sleep(0.2)


def _configure(config: Path, port: int, meters: Sequence[int]) -> None:
    """Its own files as it ships them, with another server, store and connector."""
    shipped = next((HOME / "lib").glob("*/site-packages/thingsboard_gateway/config"))
    shutil.copytree(shipped, config)
    main = json.loads((config / "tb_gateway.json").read_text())
    main["thingsboard"] |= {"host": "127.0.0.1", "port": port, "remoteConfiguration": False}
    main["thingsboard"]["security"] = {"type": "accessToken", "accessToken": "bench"}
    main["storage"] = {
        "type": "sqlite",
        "data_file_path": "./data/",
        "messages_ttl_check_in_hours": 1,
        "messages_ttl_in_days": 7,
        "max_read_records_count": 1000,
    }
    main["connectors"] = [
        {"type": "modbus", "name": "Meters", "configuration": "modbus.json"},
    ]
    (config / "tb_gateway.json").write_text(json.dumps(main))
    slaves = [_slave(number, meter) for number, meter in enumerate(meters)]
    connector = {"name": "Meters", "logLevel": "INFO", "master": {"slaves": slaves}}
    (config / "modbus.json").write_text(json.dumps(connector))


def _slave(number: int, port: int) -> dict[str, Any]:
    values = [
        {"tag": f"v{at}", "type": "32float", "functionCode": 4, "objectsCount": 2, "address": at}
        for at in POINTS
    ]
    return {
        "host": "127.0.0.1",
        "port": port,
        "type": "tcp",
        "method": "socket",
        "unitId": 1,
        "deviceName": f"meter {number}",
        "deviceType": "default",
        "timeout": 5,
        "byteOrder": "BIG",
        "wordOrder": "BIG",
        "retries": 3,
        "retryOnEmpty": True,
        "retryOnInvalid": True,
        "pollPeriod": 1000,
        "connectAttemptTimeMs": 5000,
        "connectAttemptCount": 5,
        "waitAfterFailedAttemptsMs": 300_000,
        "attributes": [],
        "timeseries": values,
        "attributeUpdates": [],
        "rpc": [],
    }
