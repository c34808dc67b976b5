"""The live lane: after an outage the present is seen at once, and settled only in its place."""

import asyncio
import time

import pytest

from cloud.gate import glimpses
from edge.outbox import Outbox
from edge.uplink import Uplink
from protos import gateway_pb2 as pb
from protos.clock import SystemClock
from protos.codec import encode_payload
from protos.limits import UNACKNOWLEDGED_BATCHES_MAX
from protos.seal import GENESIS, Sealed, seal
from tests.gate.conftest import MAP

HOUR_S = 3_600
BATCH_EVERY_S = 10
OUTAGE_S = 6 * HOUR_S


async def glimpse(gateway, sealed):
    body = pb.SealedPayload(
        seq=sealed.seq,
        previous=sealed.previous,
        payload=sealed.payload,
        signature=sealed.signature,
    )
    await gateway.call.write(pb.ConnectRequest(glimpse=body))
    # A heartbeat's answer comes after it was looked at.
    await gateway.call.write(pb.ConnectRequest(heartbeat=pb.Heartbeat(now_ns=1)))
    await gateway.expect("heartbeat")


@pytest.fixture
async def behind(cloud, gateway, monkeypatch):
    """A gateway whose chain has brought the map and one old batch; any glimpse is in time."""
    monkeypatch.setattr(glimpses, "GLIMPSE_PAUSE_S", 0.0)
    await gateway.connect()
    hour_ago = int(time.time() * 1000) - 3_600_000
    await gateway.send(gateway.seal(MAP))
    await gateway.send(gateway.seal(gateway.readings(hour_ago, power_w=100)))
    await gateway.receipted(2)
    return gateway


def shown(cloud, gateway):
    row = cloud.app.views.gateways[gateway.device]
    return row.grid_w, row.is_glimpse


def ahead(gateway, seq=50, power_w=777, at_ms=None, key=None):
    payload = encode_payload(gateway.readings(at_ms, power_w=power_w))
    return seal(key or gateway, seq, b"\x07" * 32, payload)


async def test_a_glimpse_is_seen_but_neither_journaled_nor_receipted(cloud, behind):
    totals = cloud.app.views.totals.readings
    await glimpse(behind, ahead(behind))
    assert shown(cloud, behind) == (777, True)
    zone = cloud.app.core.zones["tiny"]
    assert zone.durable(behind.device)[0] == 2
    assert zone.snapshot(behind.device).grid_w == 100
    assert cloud.app.views.totals.readings == totals
    assert not any(b"\x07" * 32 in record.body for record in cloud.app.reader.read())
    # The chain goes on where it was.
    await behind.send(behind.seal(behind.readings(int(time.time() * 1000) - 1_800_000)))
    await behind.receipted(3)
    assert shown(cloud, behind) == (777, True)


async def test_what_was_shown_ahead_is_in_order_once_the_chain_has_brought_it(cloud, behind):
    now_ms = int(time.time() * 1000)
    newest = behind.seal(behind.readings(now_ms, power_w=640))
    await glimpse(behind, newest)
    assert shown(cloud, behind) == (640, True)
    await behind.send(newest)
    await behind.receipted(3)
    assert shown(cloud, behind) == (640, False)


async def test_a_forged_glimpse_shows_nothing(cloud, behind):
    honest = ahead(behind)
    for forged in (
        Sealed(honest.seq, honest.previous, honest.payload, bytes(64)),
        Sealed(honest.seq + 1, honest.previous, honest.payload, honest.signature),
        Sealed(honest.seq, honest.previous, honest.payload + b"\x00", honest.signature),
        Sealed(honest.seq, honest.previous, honest.payload, b""),
    ):
        await glimpse(behind, forged)
        assert shown(cloud, behind) == (100, False)
    await glimpse(behind, honest)
    assert shown(cloud, behind) == (777, True)


async def test_another_gateways_glimpse_shows_nothing(cloud, behind):
    other = await cloud.gateway(seed=2, site="home-2", node=2)
    await glimpse(behind, ahead(behind, key=other))
    assert shown(cloud, behind) == (100, False)


async def test_a_replayed_or_stale_glimpse_shows_nothing(cloud, behind):
    await glimpse(behind, ahead(behind, seq=50, power_w=1))
    older = int(time.time() * 1000) - 60_000
    for stale in (
        ahead(behind, seq=50, power_w=2),  # a used number
        ahead(behind, seq=49, power_w=3),  # before the last one
        ahead(behind, seq=2, power_w=4),  # what the chain has passed
        ahead(behind, seq=51, power_w=5, at_ms=older),  # older than what is seen
        ahead(behind, seq=52, power_w=6, at_ms=int(time.time() * 1000) + 86_400_000),
    ):
        await glimpse(behind, stale)
        assert shown(cloud, behind) == (1, True)


async def test_glimpses_of_anything_but_known_readings_show_nothing(cloud, behind):
    unknown = encode_payload(behind.readings()).replace(b"\x08\x01", b"\x08\x09", 1)
    for number, payload in enumerate((b"nonsense", encode_payload(MAP), unknown), start=60):
        await glimpse(behind, seal(behind, number, GENESIS, payload))
        assert shown(cloud, behind) == (100, False)
    await behind.send(behind.seal(behind.readings()))
    await behind.receipted(3)


async def test_a_flood_of_glimpses_is_looked_at_once_in_a_while(cloud, behind, monkeypatch):
    monkeypatch.setattr(glimpses, "GLIMPSE_PAUSE_S", 60.0)
    checked = []
    checker = cloud.app.writer.checker
    real = type(checker).are_valid
    monkeypatch.setattr(
        type(checker), "are_valid", lambda self, signed: checked.append(1) or real(self, signed)
    )
    await behind.close()
    await behind.connect()
    for number in range(100):
        await behind.call.write(
            pb.ConnectRequest(
                glimpse=pb.SealedPayload(
                    seq=100 + number, previous=bytes(32), payload=b"x", signature=bytes(64)
                )
            )
        )
    await glimpse(behind, ahead(behind, seq=300))
    assert len(checked) == 1


class Listener:
    """Whoever listens to an uplink; nothing that comes down matters here."""

    def __getattr__(self, _name):
        return lambda *_: None


async def test_after_hours_offline_the_present_is_seen_before_the_backlog(cloud, gateway, tmp_path):
    """The agent's own outbox and uplink, with six hours of batches of ten seconds."""
    outbox = await Outbox.open(tmp_path / "outbox.db", gateway, 64 << 20)
    now_ms = int(time.time() * 1000)
    count = OUTAGE_S // BATCH_EVERY_S
    backlog = [
        encode_payload(gateway.readings(now_ms - (count - n) * BATCH_EVERY_S * 1000, 1000 + n, 100))
        for n in range(count)
    ]
    now = encode_payload(gateway.readings(now_ms, 1000 + count, 4_321))
    head = await outbox.append([encode_payload(MAP)])
    port = cloud.listening.gateway_port

    def uplink():
        return Uplink(
            gateway.device,
            1,
            outbox,
            SystemClock(),
            lambda: cloud.mutual_channel(gateway.tls_pem(), gateway.chain, port),
            Listener(),
        )

    async def until(is_true, within_s):
        async with asyncio.timeout(within_s):
            while not is_true():
                await asyncio.sleep(0.001)

    zone = cloud.app.core.zones["tiny"]
    before = asyncio.create_task(uplink().run())
    await until(lambda: zone.durable(gateway.device)[0] == head, 10)
    before.cancel()
    await asyncio.gather(before, return_exceptions=True)
    head = await outbox.append([*backlog, now])
    link = uplink()
    began = time.monotonic()
    running = asyncio.create_task(link.run())
    try:
        await until(lambda: shown(cloud, gateway) == (4_321, True), 5)
        took_s, behind = time.monotonic() - began, head - zone.durable(gateway.device)[0]
        assert took_s < 5
        assert behind > UNACKNOWLEDGED_BATCHES_MAX
        await until(lambda: zone.durable(gateway.device)[0] == head, 60)
        await until(lambda: shown(cloud, gateway) == (4_321, False), 5)
        assert link.count.glimpses >= 1
        assert cloud.app.views.totals.readings == 3 * (count + 1)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await outbox.close()
