"""Traps of gRPC and of the open network that a gate must not fall into. Real TLS, real streams."""

import asyncio
import resource
import time
from contextlib import suppress
from hashlib import sha256

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud import app as application
from cloud.app import App
from cloud.commands import CreateSite, EnrolDevice, IssueToken
from cloud.config import CloudConfig, ZoneConfig
from cloud.gate import gateways, transport
from cloud.gate.downlink import (
    OUTCOMES_QUEUED_MAX,
    Downlink,
    checkpoint_message,
    lease_message,
    market_message,
)
from protos import gateway_pb2 as pb
from protos import gateway_pb2_grpc
from protos.clock import SystemClock
from protos.limits import DOWNLINK_QUEUE_MAX, MESSAGE_BYTES_MAX
from protos.messages import ADVICE, Refusal
from tests.gate.conftest import MAP, Cloud, Gateway

STREAMS = 500
CONNECTS_AT_ONCE = 16
RESETS = 1_000


async def eventually(is_true, within_s=8.0):
    deadline = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.02)


async def started(tmp_path):
    config = CloudConfig(
        state_dir=tmp_path / "state",
        http_port=0,
        gateway_port=0,
        enrolment_port=0,
        utility_port=0,
        zones=(ZoneConfig(name="tiny", network="tiny"),),
    )
    app = App(config, SystemClock())
    return Cloud(app, await app.start())


# ---- pings, sizes and silence ------------------------------------------------------------------


PING_MS = 1_000
PINGING = (
    ("grpc.keepalive_time_ms", PING_MS),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
RIGHT = "grpc.http2.min_ping_interval_without_data_ms"
WRONG = "grpc.http2.min_recv_ping_interval_without_data_ms"


async def survives_pings(cloud):
    """Whether a stream on which nothing but pings is sent lives on for seven of them."""
    gateway = await cloud.gateway()
    credentials = grpc.ssl_channel_credentials(cloud.roots(), gateway.tls_pem(), gateway.chain)
    address = f"127.0.0.1:{cloud.listening.gateway_port}"
    async with grpc.aio.secure_channel(address, credentials, options=PINGING) as channel:
        gateway.call = gateway_pb2_grpc.GatewayServiceStub(channel).Connect()
        await gateway.call.write(pb.ConnectRequest(hello=pb.Hello(device_id=gateway.device)))
        await gateway.call.read()
        await asyncio.sleep(7 * PING_MS / 1000)
        try:
            await gateway.call.write(pb.ConnectRequest(heartbeat=pb.Heartbeat(now_ns=1)))
            await gateway.expect("heartbeat")
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, AssertionError):
            return False
        return True


async def test_a_gateway_that_pings_to_hold_its_address_is_not_cut_off(tmp_path, monkeypatch):
    """Beside it the plausible wrong spelling, which is silently ignored: the test can fail."""
    # Roots sent down would hide the strikes: any data resets their count.
    monkeypatch.setattr(application, "BLOCK_NS", 3_600_000_000_000)
    assert RIGHT in dict(transport.OPTIONS)
    # The ping floor as far below the pings as it is in earnest.
    options = tuple((n, PING_MS // 4 if n == RIGHT else v) for n, v in transport.OPTIONS)
    monkeypatch.setattr(transport, "OPTIONS", options)
    good = await started(tmp_path / "right")
    misspelt = tuple((WRONG if name == RIGHT else name, value) for name, value in options)
    monkeypatch.setattr(transport, "OPTIONS", misspelt)
    bad = await started(tmp_path / "wrong")
    outcomes = await asyncio.gather(survives_pings(good), survives_pings(bad))
    await asyncio.gather(good.app.stop(), bad.app.stop())
    assert outcomes == [True, False]


def test_the_largest_message_down_is_within_the_limit():
    advice = max(ADVICE.values(), key=len)
    outcome = pb.OfferOutcome(
        number=(1 << 64) - 1,
        state=pb.OFFER_STATE_REFUSED,
        energy_wh=(1 << 64) - 1,
        price_micro_per_kwh=-1,
        refused={"reason": 99, "name": max(Refusal.__members__, key=len), "advice": advice},
    )
    news = pb.OfferNews(outcomes=[outcome] * DOWNLINK_QUEUE_MAX)
    assert len(pb.ConnectResponse(offers=news).SerializeToString()) < MESSAGE_BYTES_MAX


async def test_who_says_no_hello_is_sent_away(cloud, gateway, monkeypatch):
    monkeypatch.setattr(gateways, "HELLO_WITHIN_S", 0.3)
    port = cloud.listening.gateway_port
    async with cloud.mutual_channel(gateway.tls_pem(), gateway.chain, port) as channel:
        call = gateway_pb2_grpc.GatewayServiceStub(channel).Connect()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asyncio.wait_for(call.read(), 5)
    assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert not cloud.app.gateways.streams


async def test_streams_without_a_hello_are_bounded(cloud, gateway, monkeypatch):
    monkeypatch.setattr(gateways, "UNHEARD_MAX", 3)
    port = cloud.listening.gateway_port
    async with cloud.mutual_channel(gateway.tls_pem(), gateway.chain, port) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        silent = [stub.Connect() for _ in range(3)]
        await eventually(lambda: cloud.app.gateways._unheard == 3)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Connect().read()
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        for call in silent:
            call.cancel()
        await eventually(lambda: cloud.app.gateways._unheard == 0)
    await gateway.connect()


async def test_a_connection_that_never_shakes_hands_is_closed(tmp_path, monkeypatch):
    options = tuple(
        (name, 500 if value == transport.HANDSHAKE_MS_MAX else value)
        for name, value in transport.OPTIONS
    )
    monkeypatch.setattr(transport, "OPTIONS", options)
    cloud = await started(tmp_path)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", cloud.listening.gateway_port)
        writer.write(b"\x16\x03\x01")
        with suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()
    finally:
        await cloud.app.stop()


async def test_two_aggregators_never_share_a_port(tmp_path):
    """gRPC's default lets them, and the kernel then deals every other gateway to each."""
    first = await started(tmp_path / "first")
    config = CloudConfig(
        state_dir=tmp_path / "second",
        http_port=0,
        gateway_port=first.listening.gateway_port,
        enrolment_port=0,
        utility_port=0,
        zones=(ZoneConfig(name="tiny", network="tiny"),),
    )
    second = App(config, SystemClock())
    try:
        with pytest.raises(OSError, match="another aggregator"):
            await second.start()
    finally:
        await first.app.stop()
        await second.writer.stop()


# ---- who does not read -------------------------------------------------------------------------


async def test_a_gateway_that_never_reads_is_cut_off_and_costs_no_memory(cloud, gateway):
    await gateway.connect()
    downlink = cloud.app.gateways.streams[gateway.device]
    beat = pb.ConnectRequest(heartbeat=pb.Heartbeat(now_ns=1))
    sent = 0
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        while gateway.device in cloud.app.gateways.streams:
            assert sent < 100_000, "it may ask without end and never hear"
            await gateway.call.write(beat)
            sent += 1
    await eventually(lambda: gateway.device not in cloud.app.gateways.streams)
    assert not downlink._urgent
    assert not downlink._outcomes
    await gateway.close()
    await gateway.connect()
    await gateway.send(gateway.seal(MAP))
    await gateway.receipted(1)


async def test_a_lease_overtakes_ten_thousand_outcomes(cloud, gateway):
    await gateway.connect()
    downlink = cloud.app.gateways.streams[gateway.device]
    for number in range(10_000):
        downlink.outcome(cancelled(number))
        if number == 5_000:
            # The stream is in the middle of it.
            await asyncio.sleep(0.2)
    downlink.lease(lease_message(pb.LeaseOrder(lease_id="now", power_w=-3_000, expires_ns=1)))
    earlier = overtaken = 0
    leased = False
    while earlier + overtaken < 10_000:
        async with asyncio.timeout(5):
            message = await gateway.call.read()
        leased = leased or message.WhichOneof("body") == "lease"
        if leased:
            overtaken += len(message.offers.outcomes)
        else:
            earlier += len(message.offers.outcomes)
    # What was written before the lease was there cannot be taken back; what waited stands behind.
    assert overtaken > 4_000


def cancelled(number):
    return pb.OfferOutcome(number=number, state=pb.OFFER_STATE_CANCELLED).SerializeToString()


def test_outcomes_that_nobody_takes_end_the_stream():
    downlink = Downlink()
    for number in range(OUTCOMES_QUEUED_MAX + 1):
        assert not downlink._closed.is_set()
        downlink.outcome(cancelled(number))
    assert downlink._closed.is_set()
    assert not downlink._outcomes


async def test_news_replaces_older_news_and_never_queues():
    downlink = Downlink()
    for number in range(1_000):
        downlink.market(market_message(pb.MarketNews(slot=number)))
        downlink.checkpoint(checkpoint_message(b"%d" % number))
        downlink.receipt(number)
    said = [pb.ConnectResponse.FromString(await downlink.next()) for _ in range(3)]
    assert [message.WhichOneof("body") for message in said] == ["receipt", "checkpoint", "market"]
    assert (said[0].receipt.durable_seq, said[2].market.slot) == (999, 999)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(downlink.next(), 0.05)


# ---- storms ------------------------------------------------------------------------------------


async def test_a_storm_of_resets_leaves_nothing_behind_and_stops_nobody(cloud, gateway):
    other = await cloud.gateway(seed=2, site="home-2", node=2)
    await other.connect()
    tasks = len(asyncio.all_tasks())
    hello = pb.ConnectRequest(hello=pb.Hello(device_id=gateway.device))
    port = cloud.listening.gateway_port
    async with cloud.mutual_channel(gateway.tls_pem(), gateway.chain, port) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        for number in range(RESETS):
            call = stub.Connect()
            if number % 10 == 0:
                with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    await call.write(hello)
            else:
                # So that the headers go out before the reset.
                await asyncio.sleep(0.001)
            call.cancel()
        began = time.monotonic()
        await other.send(other.seal(MAP))
        await other.receipted(1)
        assert time.monotonic() - began < 4
    await eventually(lambda: list(cloud.app.gateways.streams) == [other.device])
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks + 3)
    await other.close()


async def test_at_a_drain_everybody_hears_when_to_come_back_and_then_the_end(cloud, gateway):
    await gateway.connect()
    began = time.monotonic()
    draining = asyncio.create_task(cloud.app.gateways.drain())
    drain = (await gateway.expect("drain")).drain
    assert drain.retry_after_s > 0
    assert drain.jitter_s > 0
    assert await gateway.call.read() is grpc.aio.EOF
    assert await gateway.call.code() == grpc.StatusCode.OK
    await draining
    assert time.monotonic() - began < 4
    assert not cloud.app.gateways.streams
    # Who comes too early is told the same, not taken in.
    with pytest.raises(AssertionError, match="ended before a welcome"):
        await gateway.connect()


async def test_five_hundred_gateways_at_once_are_all_receipted(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4 * STREAMS:
        pytest.skip("this machine allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4 * STREAMS), hard))
    cloud = await started(tmp_path)
    crowd = [enrolled(cloud, number) for number in range(STREAMS)]
    try:
        await cloud.app.writer.settle()
        tls, csr = crowd[0].tls, crowd[0].csr()
        for gateway in crowd:
            gateway.tls, gateway.chain = tls, cloud.app.authority.device_chain(csr, gateway.device)
        for start in range(0, STREAMS, CONNECTS_AT_ONCE):
            await asyncio.gather(
                *(gateway.connect() for gateway in crowd[start : start + CONNECTS_AT_ONCE])
            )
        assert len(cloud.app.gateways.streams) == STREAMS
        await asyncio.gather(*(gateway.send(gateway.seal(MAP)) for gateway in crowd))
        await asyncio.gather(*(gateway.receipted(1) for gateway in crowd))
        # So many are told by turns, so that a root is no burst of work; all within five.
        heard = asyncio.gather(*(gateway.expect("checkpoint") for gateway in crowd))
        for number in range(gateways.ROOT_TURNS):
            cloud.app.switchboard.tell_checkpoint(number, 1, b"root")
            # The first slice of them in the next turn of the loop, the others a little later.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            waiting = sum(d._checkpoint is not None for d in cloud.app.gateways.streams.values())
            assert waiting <= 2 * gateways.ROOT_SLICE
            await asyncio.sleep(0.5)
        await heard
    finally:
        await asyncio.gather(*(gateway.close() for gateway in crowd))
        await cloud.app.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def enrolled(cloud, number):
    """A gateway that the registry knows, without the ceremony of enrolment."""
    seed = sha256(b"%d" % number).digest()
    gateway = Gateway(cloud, Ed25519PrivateKey.from_private_bytes(seed))
    name = f"home-{number}"
    writer = cloud.app.writer
    writer.hand_over(CreateSite(name, "tiny", 1 + number % 5, name))
    writer.hand_over(IssueToken(seed, name))
    writer.hand_over(EnrolDevice(seed, gateway.public))
    return gateway
