"""Traps of gRPC for Python that show only with time, processes and many streams."""

import ast
import asyncio
import sys
import threading
from itertools import pairwise
from pathlib import Path

import grpc
import pytest

from cloud.app import App
from cloud.gate import gateways, transport
from cloud.gate.downlink import checkpoint_message
from cloud.signatures import Together
from protos import gateway_pb2 as pb
from protos import gateway_pb2_grpc
from protos.clock import SystemClock
from tests.gate.conftest import MAP, Cloud, configured

ROOT = Path(__file__).parents[2]
SOURCES = [path for room in ("cloud", "edge") for path in (ROOT / room).rglob("*.py")]
NOTE_BYTES = 1_024
STALLED_NOTES_MAX = 6_000
SILENT_S = 0.5
HEARTBEATS = 4_000
GROWTH_KIB_MAX = 4_096


# ---- who stops reading ---------------------------------------------------------------------------


async def absorbed_bytes(cloud, gateway, options):
    """How much is written to a gateway that reads its welcome and then nothing."""
    credentials = grpc.ssl_channel_credentials(cloud.roots(), gateway.tls_pem(), gateway.chain)
    address = f"127.0.0.1:{cloud.listening.gateway_port}"
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        call = gateway_pb2_grpc.GatewayServiceStub(channel).Connect()
        await call.write(pb.ConnectRequest(hello=pb.Hello(device_id=gateway.device)))
        await call.read()
        downlink = cloud.app.gateways.streams[gateway.device]
        message = checkpoint_message(bytes(NOTE_BYTES))
        loop = asyncio.get_running_loop()
        taken, last_s = 0, loop.time()
        while taken < STALLED_NOTES_MAX and loop.time() - last_s < SILENT_S:
            if downlink._market is None:
                taken, last_s = taken + 1, loop.time()
                downlink.market(message)
            await asyncio.sleep(0)
        call.cancel()
        return taken * NOTE_BYTES


async def test_a_reader_that_stops_pins_a_tenth_of_what_grpc_would_let_it(cloud):
    """The probe of the bandwidth opens the window of its own accord; it is the receiver's option."""
    plain = await absorbed_bytes(cloud, await cloud.gateway(1, "home-1"), ())
    ours = await absorbed_bytes(
        cloud, await cloud.gateway(2, "home-2"), (("grpc.http2.bdp_probe", 0),)
    )
    assert ours <= 512 * 1024
    assert plain > 4 * ours
    assert dict(transport.OPTIONS)["grpc.http2.bdp_probe"] == 0


# ---- the end -------------------------------------------------------------------------------------


async def test_streams_are_ended_in_slices_not_all_at_once(cloud, monkeypatch):
    """All at once would be a storm of reconnects; and `server.stop` would wait for every stream."""
    monkeypatch.setattr(gateways, "DRAIN_SLICE", 2)
    homes = [await cloud.gateway(seed=n, site=f"home-{n}", node=1) for n in range(1, 7)]
    for home in homes:
        await home.connect()
    loop = asyncio.get_running_loop()

    async def ended_at(home):
        await home.expect("drain")
        assert await home.call.read() is grpc.aio.EOF
        return loop.time()

    ends = asyncio.gather(*(ended_at(home) for home in homes))
    await cloud.app.gateways.drain()
    times = sorted(await ends)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert sum(gap > gateways.DRAIN_WORD_S / 2 for gap in gaps) == 2
    for home in homes:
        await home.close()


# ---- processes, threads and loops ----------------------------------------------------------------

FORKING = {
    ("os", "fork"), ("os", "forkpty"), ("multiprocessing", "Process"), ("multiprocessing", "Pool"),
    ("futures", "ProcessPoolExecutor"),
}  # fmt: skip


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_of_ours_forks(path):
    """A fork with live gRPC threads hangs or crashes; other processes are started anew."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in FORKING, f"line {node.lineno}"
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [alias.name for alias in node.names]
            module = getattr(node, "module", None)
            assert "multiprocessing" not in (module, *names), f"line {node.lineno}"
            assert "ProcessPoolExecutor" not in names, f"line {node.lineno}"


async def test_one_event_loop_a_process(cloud, gateway):
    """Two loops on gRPC's one poller raise BlockingIOError at random."""
    await gateway.connect()
    await gateway.send(gateway.seal(MAP))
    await gateway.receipted(1)
    looping = [
        thread for thread, frame in sys._current_frames().items() if "run_forever" in _calls(frame)
    ]
    assert looping == [threading.main_thread().ident]


def _calls(frame):
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back


# ---- what a long stream costs --------------------------------------------------------------------


def resident_kib(process):
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def test_a_long_stream_keeps_nothing_of_what_has_passed(tmp_path):
    """Interceptors of streams did: what passed stayed until the stream's end."""
    app = App(configured(tmp_path, gate_processes=2), SystemClock())
    cloud = Cloud(app, await app.start())
    try:
        gateway = await cloud.gateway()
        await gateway.connect()
        gate = app.switchboard.seats[gateway.device]._gate
        await heartbeats(gateway, HEARTBEATS)
        before = resident_kib(gate._process.pid)
        await heartbeats(gateway, 3 * HEARTBEATS)
        assert resident_kib(gate._process.pid) - before < GROWTH_KIB_MAX
        await gateway.close()
    finally:
        await app.stop()


async def heartbeats(gateway, count):
    """So many there and back, a few hundred in flight."""
    beat = pb.ConnectRequest(heartbeat=pb.Heartbeat(now_ns=1))
    for first in range(0, count, 200):
        for _ in range(min(200, count - first)):
            await gateway.call.write(beat)
        for _ in range(min(200, count - first)):
            await gateway.expect("heartbeat")


async def test_a_key_is_opened_once_a_stream_not_once_a_message(tmp_path):
    class Counting(Together):
        opened = 0

        def open(self, public):
            self.opened += 1
            return super().open(public)

    app = App(configured(tmp_path), SystemClock())
    app.writer.checker = checker = Counting()
    cloud = Cloud(app, await app.start())
    try:
        gateway = await cloud.gateway()
        await gateway.connect()
        for payload in [MAP, *(gateway.readings() for _ in range(50))]:
            await gateway.send(gateway.seal(payload))
        await gateway.receipted(51)
        assert checker.opened == 1
        await gateway.close()
    finally:
        await app.stop()
