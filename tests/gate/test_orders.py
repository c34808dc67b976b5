"""Signed orders of grid operators over the real API: believed only by their own bytes."""

import asyncio
import json
import sys
import time

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from cloud.commands import OrderReserve, OverrideLimit, SurveyGrid, decode_command
from cloud.gate.order_client import OrderRefusedError, sign_order, submit_order, write_order
from cloud.remote import register_authority
from protos import utility_pb2 as pb
from protos import utility_pb2_grpc
from protos.clock import MINUTE_NS
from protos.messages import (
    ClockQuality,
    DeviceEntry,
    LeaseReport,
    LeaseReports,
    LeaseState,
    Quantity,
    RegisterEntry,
    RegisterMap,
    Role,
    SweepBatch,
)

FULL_MAP = RegisterMap(
    1,
    (
        DeviceEntry("meter", Role.GRID, "test/meter", 1),
        DeviceEntry("store", Role.BATTERY, "test/battery", 1),
    ),
    (
        RegisterEntry(0, Quantity.POWER_W),
        RegisterEntry(0, Quantity.ENERGY_IMPORT_WH, 0, True),
        RegisterEntry(0, Quantity.ENERGY_EXPORT_WH, 0, True),
        RegisterEntry(0, Quantity.VOLTAGE_MV, 1),
        RegisterEntry(0, Quantity.FREQUENCY_MHZ),
        RegisterEntry(1, Quantity.POWER_W),
        RegisterEntry(1, Quantity.STATE_OF_CHARGE_PER_MILLE),
        RegisterEntry(1, Quantity.CAPACITY_WH),
        RegisterEntry(1, Quantity.POWER_MAX_CHARGE_W),
        RegisterEntry(1, Quantity.POWER_MAX_DISCHARGE_W),
    ),
)


def readings(power_w=3_000, voltage_mv=230_000):
    at_ms = time.time_ns() // 1_000_000
    values = (power_w, 1_000, 0, voltage_mv, 50_000, 0, 800, 10_000, 4_000, 4_000)
    return SweepBatch(
        1, 1, 1, ClockQuality.SYNCHRONISED, ((at_ms,), (at_ms,)), tuple((v,) for v in values)
    )


class Operator:
    """A registered authority with its files, and the API as it sees it."""

    def __init__(self, cloud, name, paths):
        self.name, self.paths = name, paths
        self.key = paths["key"].read_bytes()
        self.channel = cloud.mutual_channel(
            self.key, paths["pem"].read_bytes(), cloud.listening.utility_port
        )
        self.api = utility_pb2_grpc.UtilityServiceStub(self.channel)

    def order(self, action="limit_w", power_w=4_000, **changes):
        order = write_order(self.name, "tiny", 2, action, power_w, "OVERLOAD", 60)
        for key, value in changes.items():
            setattr(order, key, value)
        return order

    async def submit(self, order):
        return (await self.api.SubmitOrder(sign_order(order, self.key))).status


@pytest.fixture
async def register(cloud, tmp_path):
    made = []

    async def register(name, rank=1, area="tiny"):
        url = f"http://127.0.0.1:{cloud.listening.http_port}"
        paths = await asyncio.to_thread(
            register_authority, url, cloud.app.config.state_dir, name, rank, area, tmp_path / name
        )
        made.append(Operator(cloud, name, paths))
        return made[-1]

    yield register
    for operator in made:
        await operator.channel.close()


async def refusal_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(details).details[0].Unpack(info)
    return info.reason


async def test_a_signed_limit_holds_and_its_bytes_are_in_the_journal(cloud, register):
    pea = await register("PEA")
    order = pea.order()
    status = await pea.submit(order)
    assert (status.action, status.ends_ns) == ("LIMIT", order.ends_ns)
    limits = cloud.app.core.zones["tiny"]._markets.limits(order.starts_ns // (15 * MINUTE_NS) + 1)
    assert limits == {2: 4_000}
    kept = [
        command
        for record in cloud.app.reader.read(0)
        if isinstance(command := decode_command(record.body), OverrideLimit)
    ]
    assert [(c.signed, c.reason) for c in kept] == [(order.SerializeToString(), "OVERLOAD")]
    assert pb.AuthorityOrder.FromString(kept[0].signed) == order


async def test_of_contradicting_limits_transmission_holds_and_the_other_is_told(cloud, register):
    pea, egat = await register("PEA"), await register("EGAT", 0, "*")
    mine = pea.order(power_w=9_000)
    await pea.submit(mine)
    held = await egat.submit(egat.order(power_w=3_000))
    assert held.yields_to == ""
    status = (await pea.api.GetOrder(pb.GetOrderRequest(order_id=mine.order_id))).status
    assert (status.yields_to, status.decided_by) == ("EGAT", "rank")
    again = await pea.submit(pea.order(power_w=12_000))
    assert (again.yields_to, again.decided_by) == ("EGAT", "rank")


async def test_the_same_order_acts_once_and_a_changed_one_is_refused(cloud, register):
    pea = await register("PEA")
    order = pea.order()
    first = await pea.submit(order)
    commands = cloud.app.writer.commands
    assert await pea.submit(order) == first
    journaled = [decode_command(r.body) for r in cloud.app.reader.read(commands)]
    assert not [c for c in journaled if isinstance(c, OverrideLimit)]
    order.limit_w = 1
    assert await refusal_of(pea.submit(order)) == "CHANGED_REPLAY"


WRONG = [
    ({"authority": "MEA"}, "NOT_AUTHORISED"),
    ({"zone": "bangkok"}, "WRONG_AREA"),
    ({"reason": 0}, "UNKNOWN_REASON"),
    ({"reason": 99}, "UNKNOWN_REASON"),
    ({"issued_ns": 1}, "EXPIRED"),
    ({"issued_ns": 1 << 62}, "EXPIRED"),
    ({"ends_ns": 1}, "EXPIRED"),
    ({"starts_ns": 1 << 62}, "BAD_INTERVAL"),
    ({"ends_ns": 1 << 62}, "BAD_INTERVAL"),
    ({"element": 0}, "UNKNOWN_ELEMENT"),
    ({"element": 99}, "UNKNOWN_ELEMENT"),
    ({"order_id": ""}, "MALFORMED"),
    ({"order_id": "x" * 65}, "MALFORMED"),
    ({"limit_w": 1 << 60}, "RISK_LIMIT"),
]


async def test_an_order_that_cannot_stand_is_refused_with_its_reason(register):
    pea = await register("PEA")
    for changes, reason in WRONG:
        found = await refusal_of(pea.submit(pea.order(**changes)))
        assert found == reason, changes


async def test_only_the_authoritys_own_key_over_exactly_these_bytes_counts(register):
    pea, mea = await register("PEA"), await register("MEA")
    order = pea.order()
    signed = sign_order(order, pea.key)
    others = sign_order(order, mea.key)
    changed = pb.SubmitOrderRequest(order=signed.order + b"\x08", signature=signed.signature)
    for request in (
        others,
        changed,
        pb.SubmitOrderRequest(order=signed.order),
        pb.SubmitOrderRequest(order=signed.order, signature=b"\x30\x00"),
        pb.SubmitOrderRequest(signature=signed.signature),
    ):
        assert await refusal_of(pea.api.SubmitOrder(request)) == "BAD_SIGNATURE"
    # Another's order under one's own certificate is another's, however well it is signed.
    assert await refusal_of(mea.api.SubmitOrder(others)) == "NOT_AUTHORISED"
    big = pb.SubmitOrderRequest(order=b"x" * 5_000, signature=b"")
    assert await refusal_of(pea.api.SubmitOrder(big)) == "TOO_LARGE"


async def test_an_authority_of_another_area_orders_nothing_here(register):
    mea = await register("MEA", 1, "bangkok")
    assert await refusal_of(mea.submit(mea.order())) == "WRONG_AREA"
    signal = mea.api.SendSignal(pb.SendSignalRequest(zone="tiny", power_w=1))
    assert await refusal_of(signal) == "WRONG_AREA"


async def test_a_reserve_reaches_the_gateway_and_its_confirmation_the_operator(
    cloud, gateway, register
):
    egat = await register("EGAT", 0, "*")
    await gateway.connect()
    await gateway.send(gateway.seal(FULL_MAP))
    await gateway.send(gateway.seal(readings()))
    await gateway.receipted(2)
    order = egat.order("reserve_w", 2_500, element=1)
    status = await egat.submit(order)
    assert (status.gateways, status.asked_w, status.planned_w) == (1, 2_500, 2_500)
    lease = (await gateway.expect("lease")).lease
    assert (lease.power_w, lease.expires_ns) == (2_500, order.ends_ns)
    report = LeaseReport(lease.lease_id, LeaseState.ACTIVE, time.time_ns(), 2_500, 2_500)
    await gateway.send(gateway.seal(LeaseReports((report,))))
    await gateway.receipted(3)
    known = (await egat.api.GetOrder(pb.GetOrderRequest(order_id=order.order_id))).status
    assert known.confirmed == 1
    kept = [decode_command(r.body) for r in cloud.app.reader.read(0)]
    (reserve,) = [c for c in kept if isinstance(c, OrderReserve)]
    assert reserve.signed == order.SerializeToString()


async def test_a_home_that_has_opted_out_is_not_asked(cloud, gateway, register):
    egat = await register("EGAT", 0, "*")
    await gateway.connect()
    await gateway.send(gateway.seal(FULL_MAP))
    await gateway.send(gateway.seal(readings()))
    await gateway.receipted(2)

    async def set_out(*, out):
        body = {"device": gateway.device, "opted_out": out}
        await asyncio.to_thread(cloud.operator.post, "/api/participation", body)

    await set_out(out=True)
    assert (await egat.submit(egat.order("reserve_w", 2_500, element=1))).gateways == 0
    await set_out(out=False)
    assert (await egat.submit(egat.order("reserve_w", 2_500, element=1))).gateways == 1
    with pytest.raises(OSError, match="ever enrolled"):
        await asyncio.to_thread(
            cloud.operator.post, "/api/participation", {"device": "x", "opted_out": True}
        )


async def test_a_signal_and_a_response_reach_the_gateway_too(gateway, register):
    egat = await register("EGAT", 0, "*")
    await gateway.connect()
    await gateway.send(gateway.seal(FULL_MAP))
    await gateway.send(gateway.seal(readings()))
    await gateway.receipted(2)
    answer = await egat.api.SendSignal(pb.SendSignalRequest(zone="tiny", power_w=1_000))
    assert (answer.set_w, answer.gateways) == (1_000, 1)
    lease = (await gateway.expect("lease")).lease
    assert (lease.power_w, lease.reason) == (1_000, "secondary reserve")
    status = await egat.submit(egat.order("reduce_by_w", 2_000, element=1))
    assert (status.action, status.planned_w) == ("RESPONSE", 2_000)
    assert (await gateway.expect("lease")).lease.power_w == 2_000


async def test_what_the_grid_is_like_can_be_read(cloud, gateway, register):
    pea = await register("PEA")
    api, zone = pea.api, "tiny"
    assert await refusal_of(api.GetGridState(pb.GetGridStateRequest(zone=zone))) == "TOO_EARLY"
    await gateway.connect()
    await gateway.send(gateway.seal(FULL_MAP))
    await gateway.send(gateway.seal(readings(voltage_mv=2_000)))
    await gateway.receipted(2)
    await cloud.app.writer.submit(SurveyGrid(zone))
    (outage,) = (await api.ListOutages(pb.ListOutagesRequest(zone=zone))).outages
    assert (outage.element, outage.gasps) == (1, 1)
    await asyncio.sleep(0.01)
    await gateway.send(gateway.seal(readings(voltage_mv=280_000)))
    await gateway.receipted(3)
    await cloud.app.writer.submit(SurveyGrid(zone))
    assert not (await api.ListOutages(pb.ListOutagesRequest(zone=zone))).outages
    (alarm,) = (await api.ListAlarms(pb.ListAlarmsRequest(zone=zone))).alarms
    assert (alarm.subject, alarm.level, alarm.value) == (gateway.device, "CRITICAL_HIGH", 1_218)
    points = (
        await api.ListCongestion(pb.ListCongestionRequest(zone=zone, slots=3, loading_per_mille=1))
    ).points
    assert len({point.slot for point in points}) == 3
    assert all(point.feeder.name for point in points)
    assert (await api.ListEnvelopes(pb.ListEnvelopesRequest(zone=zone))).slot >= 0


async def test_the_command_line_signs_and_submits(cloud, register):
    pea = await register("PEA")
    address = f"127.0.0.1:{cloud.listening.utility_port}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cloud", "order", "PEA", "--address", address, "--directory",
        str(pea.paths["key"].parent), "--zone", "tiny", "--element", "2", "--limit", "5000",
        "--reason", "MAINTENANCE", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    answer = json.loads((await process.communicate())[0])
    assert process.returncode == 0
    assert answer["action"] == "LIMIT"
    wrong = pea.order(element=0)
    with pytest.raises(OrderRefusedError, match="FAILED_PRECONDITION"):
        await asyncio.to_thread(submit_order, address, pea.paths["key"].parent, wrong)


def test_an_order_is_written_only_with_what_there_is():
    with pytest.raises(ValueError, match="is no action"):
        write_order("PEA", "tiny", 1, "explode", 1, "TEST", 1)
    with pytest.raises(ValueError, match="is no reason"):
        write_order("PEA", "tiny", 1, "limit_w", 1, "BECAUSE", 1)
