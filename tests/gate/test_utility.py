"""The grid operators' API, read by our own client and by `buf curl`, which knows nothing of us."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from cloud.remote import register_authority
from protos import gateway_pb2 as gateway_pb
from protos import utility_pb2 as pb
from protos import utility_pb2_grpc
from protos.messages import LeaseReport, LeaseReports, LeaseState
from tests.gate.conftest import MAP

SERVICE = "gridtokenx.grid.v1.UtilityService"


@pytest.fixture
async def credentials(cloud, tmp_path):
    """Key, certificate and CA of a registered authority, as files."""
    return await asyncio.to_thread(
        register_authority,
        f"http://127.0.0.1:{cloud.listening.http_port}",
        cloud.app.config.state_dir,
        "PEA",
        1,
        "tiny",
        tmp_path / "authority",
    )


@pytest.fixture
async def utility(cloud, credentials):
    channel = cloud.mutual_channel(
        credentials["key"].read_bytes(),
        credentials["pem"].read_bytes(),
        cloud.listening.utility_port,
    )
    yield utility_pb2_grpc.UtilityServiceStub(channel)
    await channel.close()


def order(**changes):
    now_ns = time.time_ns()
    fields = {"request_id": "c-1", "zone": "tiny", "element": 1, "limit_w": 0, "reason": "TEST",
              "starts_ns": now_ns, "ends_ns": now_ns + 600_000_000_000} | changes  # fmt: skip
    return pb.OrderCurtailmentRequest(**fields)


async def test_zones_and_feeders_are_listed_most_loaded_first(utility):
    (zone,) = (await utility.ListZones(pb.ListZonesRequest())).zones
    assert (zone.name, zone.nodes) == ("tiny", 6)
    answer = await utility.ListFeeders(pb.ListFeedersRequest(zone="tiny"))
    loading = [feeder.loading_per_mille for feeder in answer.feeders]
    assert loading == sorted(loading, reverse=True)
    assert len(answer.feeders) == 5
    assert all(feeder.limit_w > 0 and feeder.name for feeder in answer.feeders)


async def test_pages_hold_together(utility):
    seen, token = [], ""
    while True:
        page = await utility.ListFeeders(
            pb.ListFeedersRequest(zone="tiny", page_size=2, page_token=token)
        )
        seen += [feeder.element for feeder in page.feeders]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == [1, 2, 3, 4, 5]


async def test_a_curtailment_reaches_the_gateways_and_is_confirmed(cloud, gateway, utility):
    await gateway.connect()
    await gateway.send(gateway.seal(MAP))
    await gateway.send(gateway.seal(gateway.readings(power_w=-2_000_000)))
    await gateway.receipted(2)
    answer = await utility.OrderCurtailment(order())
    assert answer.curtailment.gateways == 1
    lease = (await gateway.expect("lease")).lease
    # The neighbours of the tiny network use 20 kW themselves; only what is beyond is capped.
    assert lease.export_limit_w == 20_000
    assert lease.expires_ns == answer.curtailment.ends_ns
    report = LeaseReport(lease.lease_id, LeaseState.ACTIVE, time.time_ns(), 0, 0)
    await gateway.send(gateway.seal(LeaseReports((report,))))
    await gateway.receipted(3)
    again = await utility.GetCurtailment(pb.GetCurtailmentRequest(request_id="c-1"))
    assert again.curtailment.confirmed == 1


async def test_the_same_request_never_curtails_twice(cloud, utility):
    first = await utility.OrderCurtailment(order())
    commands = cloud.app.writer.commands
    second = await utility.OrderCurtailment(order(limit_w=77))
    assert second.curtailment.limit_w == first.curtailment.limit_w
    journaled = [r for r in cloud.app.reader.read(commands) if r.stream == "zone/tiny"]
    assert not [record for record in journaled if b"TEST" in record.body]


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"zone": "nowhere"}, grpc.StatusCode.NOT_FOUND, "UNKNOWN_ELEMENT"),
        ({"element": 0}, grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_ELEMENT"),
        ({"element": 99}, grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_ELEMENT"),
        ({"ends_ns": 5}, grpc.StatusCode.INVALID_ARGUMENT, "BAD_INTERVAL"),
        ({"starts_ns": 5}, grpc.StatusCode.INVALID_ARGUMENT, "BAD_INTERVAL"),
        ({"request_id": ""}, grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED"),
        ({"reason": ""}, grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED"),
    ],
)
async def test_a_wrong_order_is_refused_with_reason_and_advice(utility, changes, code, reason):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await utility.OrderCurtailment(order(**changes))
    assert caught.value.code() == code
    assert caught.value.details()
    details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(details).details[0].Unpack(info)
    assert info.reason == reason


async def test_a_negative_page_is_refused(utility):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await utility.ListTrades(pb.ListTradesRequest(zone="tiny", page_size=-1))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_gateway_s_certificate_opens_nothing_here(cloud, gateway):
    channel = cloud.mutual_channel(gateway.tls_pem(), gateway.chain, cloud.listening.utility_port)
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await utility_pb2_grpc.UtilityServiceStub(channel).ListZones(pb.ListZonesRequest())
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


def buf_curl(cloud, credentials, method, body):
    return subprocess.run(
        [
            Path(sys.executable).parent / "buf", "curl", "--protocol", "grpc",
            "--cert", credentials["pem"], "--key", credentials["key"],
            "--cacert", credentials["ca"], "--data", json.dumps(body),
            f"https://127.0.0.1:{cloud.listening.utility_port}/{method}",
        ],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


async def test_an_independent_client_reads_us_by_reflection_alone(cloud, credentials):
    done = await asyncio.to_thread(
        buf_curl, cloud, credentials, f"{SERVICE}/ListFeeders", {"zone": "tiny"}
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["feeders"]) == 5
    health = await asyncio.to_thread(
        buf_curl, cloud, credentials, "grpc.health.v1.Health/Check", {"service": SERVICE}
    )
    assert json.loads(health.stdout) == {"status": "SERVING"}, health.stderr


async def test_an_independent_client_sees_the_typed_error(cloud, credentials):
    done = await asyncio.to_thread(
        buf_curl, cloud, credentials, f"{SERVICE}/ListFeeders", {"zone": "nowhere"}
    )
    assert done.returncode != 0
    assert json.loads(done.stderr)["code"] == "not_found"


async def test_an_idle_stream_that_pings_is_kept(cloud, gateway):
    """The server's ping floor must lie below the client's interval, under its right name."""
    from cloud.gate.transport import CLIENT_PING_FLOOR_MS, OPTIONS

    assert dict(OPTIONS)["grpc.http2.min_ping_interval_without_data_ms"] == CLIENT_PING_FLOOR_MS
    await gateway.connect()
    await gateway.call.write(gateway_pb.ConnectRequest(heartbeat=gateway_pb.Heartbeat(now_ns=1)))
    await gateway.expect("heartbeat")
