"""Gates in processes of their own: real processes, real mutual TLS, and one of them killed."""

import asyncio
import os
import signal
import time
from contextlib import suppress

import grpc
import pytest

from cloud.app import App
from cloud.commands import RevokeDevice
from cloud.gate.gateways import RENEW_DOMAIN
from cloud.gate.links import hold_port
from protos import gateway_pb2 as pb
from protos import gateway_pb2_grpc
from protos.clock import SystemClock
from protos.messages import Offer, OfferBatch, Refusal, Side
from protos.seal import GENESIS, Sealed
from tests.gate.conftest import MAP, Cloud, configured
from tests.gate.test_traps import eventually

PROCESSES = 2
HOMES = 8


@pytest.fixture
async def cloud(tmp_path):
    app = App(configured(tmp_path, gate_processes=PROCESSES), SystemClock())
    listening = await app.start()
    yield Cloud(app, listening)
    await app.stop()


async def crowd(cloud, count=HOMES):
    """So many gateways, connected; the kernel deals them to the processes."""
    homes = [
        await cloud.gateway(seed=n, site=f"home-{n}", node=1 + n % 4) for n in range(1, count + 1)
    ]
    for home in homes:
        await home.connect()
    return homes


async def both_serve(cloud):
    """Gateways until each process has at least one."""
    homes = await crowd(cloud, 2)
    for number in range(3, 40):
        if all(gate.gateways for gate in cloud.app.gates.gates.values()):
            return homes
        homes.append(await cloud.gateway(seed=number, site=f"home-{number}", node=1))
        await homes[-1].connect()
    raise AssertionError("the kernel dealt forty gateways to one process")


async def close_all(homes):
    await asyncio.gather(*(home.close() for home in homes))


async def test_readings_pass_through_and_are_receipted_when_durable(cloud):
    (home,) = await crowd(cloud, 1)
    for sealed in [home.seal(MAP), *(home.seal(home.readings()) for _ in range(200))]:
        await home.send(sealed)
        if sealed.seq % 50 == 0:
            await home.receipted(sealed.seq - 40)
    await home.receipted(201)
    assert cloud.app.core.zones["tiny"].durable(home.device) == (201, home.previous)
    assert cloud.app.views.totals.readings == 600
    await home.close()


async def test_what_is_wrong_is_refused_as_by_the_aggregator_itself(cloud):
    (home,) = await crowd(cloud, 1)
    honest = home.seal(MAP)
    for wrong, reason in (
        (Sealed(1, GENESIS, honest.payload, bytes(64)), Refusal.BAD_SIGNATURE),
        (Sealed(5, GENESIS, honest.payload, honest.signature), Refusal.SEQUENCE_GAP),
        (Sealed(1, b"short", honest.payload, honest.signature), Refusal.MALFORMED),
    ):
        await home.send(wrong)
        refusal = (await home.expect("refusal")).refusal
        assert (refusal.refused.reason, refusal.expected_seq) == (reason, 1)
    await home.send(honest)
    await home.send(home.seal(b"not a payload"))
    refusal = (await home.expect("refusal")).refusal
    assert (refusal.seq, refusal.refused.reason) == (2, Refusal.MALFORMED)
    await home.receipted(2)
    await home.close()


async def test_everybody_hears_a_root_whichever_process_serves_them(cloud):
    homes = await both_serve(cloud)
    cloud.app.switchboard.tell_checkpoint(1, 1, b"root")
    await asyncio.gather(*(home.expect("checkpoint") for home in homes))
    await close_all(homes)


def offer(side, price, number=1, slot=None):
    slot = slot or int(time.time()) // 900 + 8
    return OfferBatch((Offer(number, slot, side, 100, price),))


async def test_homes_of_two_processes_trade_and_each_hears_of_it(cloud):
    homes = await both_serve(cloud)
    seats = cloud.app.switchboard.seats
    seller = homes[0]
    buyer = next(h for h in homes if seats[h.device]._gate is not seats[seller.device]._gate)
    slot = int(time.time()) // 900 + 8
    await seller.send(seller.seal(offer(Side.SELL, 3_000_000, slot=slot)))
    (rested,) = (await seller.expect("offers")).offers.outcomes
    assert rested.state == pb.OFFER_STATE_RESTED
    await buyer.send(buyer.seal(offer(Side.BUY, 4_000_000, slot=slot)))
    for home in (seller, buyer):
        (filled,) = (await home.expect("offers")).offers.outcomes
        assert (filled.state, filled.energy_wh) == (pb.OFFER_STATE_FILLED, 100)
    assert not cloud.app.switchboard.seats[seller.device].untold
    await close_all(homes)


async def test_a_newer_stream_replaces_an_older_one_in_another_process(cloud):
    homes = await both_serve(cloud)
    home, seats = homes[0], cloud.app.switchboard.seats
    first = seats[home.device]._gate
    for _ in range(40):
        older, channel = home.call, home.channel
        await home.connect()
        assert await older.read() is grpc.aio.EOF
        await channel.close()
        if seats[home.device]._gate is not first:
            break
    assert seats[home.device]._gate is not first
    await home.send(home.seal(MAP))
    await home.receipted(1)
    await close_all(homes)


async def test_who_is_revoked_is_cut_off_and_not_let_in_again(cloud):
    (home,) = await crowd(cloud, 1)
    await cloud.app.writer.submit(RevokeDevice(home.device, "stolen"))
    assert await asyncio.wait_for(home.call.read(), 5) is grpc.aio.EOF
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await home.connect()
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert "REVOKED_DEVICE" in refused.value.details()
    await home.close()


async def test_a_certificate_is_renewed_by_a_process_that_has_not_the_authoritys_key(cloud):
    (home,) = await crowd(cloud, 1)
    stub = gateway_pb2_grpc.GatewayServiceStub(home.channel)
    csr = home.csr()
    signature = home.sign(RENEW_DOMAIN + csr)
    answer = await stub.Renew(pb.RenewRequest(csr_pem=csr, signature=signature))
    assert answer.certificate_chain_pem.startswith(b"-----BEGIN CERTIFICATE")
    for request, code in (
        (pb.RenewRequest(csr_pem=csr, signature=bytes(64)), grpc.StatusCode.UNAUTHENTICATED),
        (pb.RenewRequest(csr_pem=b"x", signature=home.sign(RENEW_DOMAIN + b"x")),
         grpc.StatusCode.INVALID_ARGUMENT),
    ):  # fmt: skip
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Renew(request)
        assert refused.value.code() == code
    await home.close()


class Sender:
    """A gateway that goes on sending whatever becomes of its gate, as the agent does: after a
    broken stream it comes back and goes on behind what is durable.
    """

    def __init__(self, home, count):
        self.home = home
        self.sealed = [home.seal(MAP), *(home.seal(home.readings()) for _ in range(count - 1))]
        self.reconnects = -1

    async def run(self):
        deadline = time.monotonic() + 30
        durable = 0
        while durable < len(self.sealed):
            assert time.monotonic() < deadline, f"{durable} of {len(self.sealed)} got through"
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, AssertionError):
                welcome = await self.home.connect()
                self.reconnects += 1
                durable = welcome.durable_seq
                for sealed in self.sealed[durable:]:
                    await self.home.send(sealed)
                    while sealed.seq - durable >= 32:
                        durable = (await self.home.expect("receipt")).receipt.durable_seq
                    await asyncio.sleep(0.002)
                while durable < len(self.sealed):
                    durable = (await self.home.expect("receipt")).receipt.durable_seq
            await self.home.close()


async def test_a_killed_gate_loses_nothing_doubles_nothing_and_is_started_again(cloud):
    homes = [await cloud.gateway(seed=n, site=f"home-{n}", node=1) for n in range(1, HOMES + 1)]
    senders = [Sender(home, 300) for home in homes]
    running = asyncio.gather(*(sender.run() for sender in senders))
    await eventually(lambda: len(cloud.app.switchboard.seats) == HOMES)
    killed = []
    for _ in range(2):
        await asyncio.sleep(0.3)
        index = max(cloud.app.gates.gates, key=lambda i: cloud.app.gates.gates[i].gateways)
        process = cloud.app.gates.processes[index]
        os.kill(process.pid, signal.SIGKILL)
        killed.append(process.pid)
        await eventually(
            lambda index=index, pid=process.pid: (
                index in cloud.app.gates.gates and cloud.app.gates.processes[index].pid != pid
            )
        )
    await running
    assert sum(sender.reconnects for sender in senders) > 0
    await cloud.app.writer.settle()
    zone = cloud.app.core.zones["tiny"]
    assert [zone.durable(h.device) for h in homes] == [(300, h.previous) for h in homes]
    # Three readings an envelope but for the map: each was counted once.
    assert cloud.app.views.totals.readings == HOMES * 299 * 3
    assert not {one.pid for one in cloud.app.gates.processes.values()} & set(killed)


async def test_an_outcome_that_a_gate_had_not_written_when_it_died_is_told_by_the_next(cloud):
    homes = await both_serve(cloud)
    seats, gates = cloud.app.switchboard.seats, cloud.app.gates
    seller = homes[0]
    buyer = next(h for h in homes if seats[h.device]._gate is not seats[seller.device]._gate)
    slot = int(time.time()) // 900 + 8
    await seller.send(seller.seal(offer(Side.SELL, 3_000_000, slot=slot)))
    await seller.expect("offers")
    await eventually(lambda: not seats[seller.device].untold)
    index = next(i for i, gate in gates.gates.items() if gate is seats[seller.device]._gate)
    stopped = gates.processes[index]
    os.kill(stopped.pid, signal.SIGSTOP)
    await buyer.send(buyer.seal(offer(Side.BUY, 4_000_000, slot=slot)))
    await buyer.expect("offers")
    assert len(seats[seller.device].untold) == 1
    os.kill(stopped.pid, signal.SIGKILL)
    await eventually(lambda: gates.processes[index].pid != stopped.pid)
    await seller.close()
    await seller.connect()
    (filled,) = (await seller.expect("offers")).offers.outcomes
    assert (filled.number, filled.state) == (1, pb.OFFER_STATE_FILLED)
    await eventually(lambda: not seats[seller.device].untold)
    await close_all(homes)


async def test_two_aggregators_with_gate_processes_never_share_a_port(cloud, tmp_path):
    port = cloud.listening.gateway_port
    for processes in (1, PROCESSES):
        config = configured(tmp_path / f"{processes}", gateway_port=port, gate_processes=processes)
        second = App(config, SystemClock())
        with pytest.raises(OSError, match="another aggregator"):
            await second.start()
        await second.writer.stop()
    with pytest.raises(OSError, match="another aggregator"):
        hold_port("127.0.0.1", port)
    # The first one has not noticed.
    (home,) = await crowd(cloud, 1)
    await home.close()


async def test_a_port_that_one_aggregator_serves_itself_is_not_taken_by_gates(tmp_path):
    first = App(configured(tmp_path / "first"), SystemClock())
    listening = await first.start()
    config = configured(
        tmp_path / "second", gateway_port=listening.gateway_port, gate_processes=PROCESSES
    )
    second = App(config, SystemClock())
    with pytest.raises(OSError, match="another aggregator"):
        await second.start()
    await second.writer.stop()
    await first.stop()


async def test_at_the_end_everybody_is_asked_to_come_back_and_no_process_stays(tmp_path):
    app = App(configured(tmp_path, gate_processes=PROCESSES), SystemClock())
    cloud = Cloud(app, await app.start())
    homes = await both_serve(cloud)
    processes = list(app.gates.processes.values())
    stopping = asyncio.create_task(app.stop())
    for home in homes:
        assert (await home.expect("drain")).drain.retry_after_s > 0
        assert await home.call.read() is grpc.aio.EOF
    await stopping
    assert [process.returncode for process in processes] == [0] * PROCESSES
    # The port is free again at once.
    port, held = hold_port("127.0.0.1", cloud.listening.gateway_port)
    assert port == cloud.listening.gateway_port
    for one in held:
        one.close()
    await close_all(homes)
