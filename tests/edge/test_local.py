"""The page and the metrics on loopback, asked over real sockets."""

import asyncio
import base64
import hashlib
import json
import re
import socket

import pytest

from edge.config import LocalSection
from edge.page import page


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def ask(port, request) -> tuple[str, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head, _, body = (await asyncio.wait_for(reader.read(), 8)).decode().partition("\r\n\r\n")
    writer.close()
    return head, body


def get(path, host="127.0.0.1:1", method="GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


@pytest.fixture
async def port(site, peers):
    number = free_port()
    site.change(local=LocalSection(number))
    await site.start()
    await peers.eventually(lambda: site.chain.seq >= 2)
    yield number
    await site.end()


async def test_the_page_is_small_needs_nothing_else_and_shows_a_dead_device(site, peers, port):
    site.meter.failing = True
    await peers.eventually(lambda: site.agent.status()["devices"]["meter"]["problem"])
    head, body = await ask(port, get("/"))
    assert head.startswith("HTTP/1.1 200 OK")
    assert len(body) < 100_000
    assert "check the wire" in body
    assert re.search(r"read \d+ s ago", body)
    assert not re.search(r"src=|href=|https?://|@import|url\(", body)
    assert body.count("<script") == 1
    script = re.search(r"<script>(.*?)</script>", body, re.DOTALL)[1]
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{hashed}'" in head
    assert "unsafe-eval" not in head


async def test_the_part_that_changes_can_be_asked_alone(port):
    head, body = await ask(port, get("/part"))
    assert head.startswith("HTTP/1.1 200 OK")
    assert body.startswith("<section")
    assert "power" in body
    assert "1.500 kW" in body


async def test_metrics_and_status_are_those_of_the_socket(port):
    _, metrics = await ask(port, get("/metrics"))
    assert "gridtokenx_edge_uplink_connected 1\n" in metrics
    _, text = await ask(port, get("/status.json", "localhost"))
    assert json.loads(text)["name"] == "home"
    head, body = await ask(port, get("/metrics", method="HEAD"))
    assert ("200 OK" in head, body) == (True, "")


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (get("/", "evil.example"), "421"),
        (get("/", "evil.example:127.0.0.1"), "421"),
        (b"GET / HTTP/1.1\r\n\r\n", "421"),
        (get("/", method="POST"), "405"),
        (b"nonsense\r\nHost: localhost\r\n\r\n", "405"),
        (get("/../../device.key"), "404"),
        (b"\xff\xfe\r\nHost: localhost\r\n\r\n", "405"),
    ],
)
async def test_what_is_no_plain_question_from_this_machine_is_turned_away(
    port, request_bytes, code
):
    head, _ = await ask(port, request_bytes)
    assert head.split()[1] == code


async def test_an_endless_head_ends_the_connection_and_not_the_page(port):
    assert await ask(port, b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 20_000) == ("", "")
    assert (await ask(port, get("/")))[0].startswith("HTTP/1.1 200")


async def test_a_taken_port_is_an_alarm_and_readings_go_on(site, peers):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        site.change(local=LocalSection(other.getsockname()[1]))
        await site.start()
        await peers.eventually(lambda: site.chain.seq >= 2)
        assert site.agent.status()["alarms"] == {"no local page": 1}
        await site.end()


async def test_by_default_nothing_listens(site, peers):
    assert site.config.local.port == 0
    await site.start()
    await peers.eventually(lambda: site.chain.seq >= 1)
    assert await site.agent._serve_local() is None
    await site.end()


async def test_names_from_a_configuration_cannot_change_the_page(site, peers):
    await site.start()
    await peers.eventually(lambda: site.chain.seq >= 1)
    status = {**site.agent.status(), "name": "<script>alert(1)</script>"}
    await site.end()
    assert page(status).count("<script") == 1
    assert "alert(1)</script>" not in page(status)
