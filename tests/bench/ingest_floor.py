"""The floor: the same streams, read and receipted as often, and nothing else done.

    python -m tests.bench.ingest_floor DIRECTORY GATEWAYS 1

A bare gRPC server with mutual TLS on the aggregator's own event loop and options. It looks into no
message; it counts them, and so may be burdened with the very bytes that the aggregator gets. What a
batch costs here no gate on this transport can go below, and a slow machine shows here, too.
"""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import grpc

from cloud.gate.authority import CertificateAuthority
from cloud.gate.loops import bound_collections, run_loop
from cloud.gate.transport import CALLS_MAX, OPTIONS
from protos import gateway_pb2 as pb
from protos.ids import device_id
from protos.limits import UNACKNOWLEDGED_BATCHES_MAX
from tests.bench.ingest_site import client_credentials
from tests.bench.ingest_traffic import public_key

SERVICE = "gridtokenx.gateway.v1.GatewayService"
HALF_WINDOW = UNACKNOWLEDGED_BATCHES_MAX // 2
RECEIPT_PAUSE_S = 1.0


async def connect(_requests: Any, context: Any) -> None:
    """One stream: a welcome, then receipts after half a window or a pause."""
    loop = asyncio.get_running_loop()
    read, write = context.read, context.write
    await read()
    await write(pb.ConnectResponse(welcome=pb.Welcome()).SerializeToString())
    count = receipted = 0
    timer: asyncio.TimerHandle | None = None

    async def receipt() -> None:
        nonlocal receipted, timer
        receipted, timer = count, None
        message = pb.ConnectResponse(receipt=pb.Receipt(durable_seq=count))
        await write(message.SerializeToString())

    while await read() is not grpc.aio.EOF:
        count += 1
        if count == 1 or count - receipted >= HALF_WINDOW:
            if timer is not None:
                timer.cancel()
            await receipt()
        elif timer is None:
            timer = loop.call_later(RECEIPT_PAUSE_S, lambda: loop.create_task(receipt()))


async def main() -> None:
    """Serves until it is told to stop."""
    directory, gateways = Path(sys.argv[1]), int(sys.argv[2])
    authority = CertificateAuthority(directory / "ca")
    identity = authority.server_identity(("127.0.0.1", "localhost"))
    credentials = grpc.ssl_server_credentials(
        [(identity.key, identity.chain)], authority.certificate_pem, require_client_auth=True
    )
    server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=CALLS_MAX)
    handlers = {"Connect": grpc.stream_stream_rpc_method_handler(connect)}
    server.add_registered_method_handlers(SERVICE, handlers)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    devices = [device_id(public_key(number)) for number in range(gateways)]
    given = {"port": port, **client_credentials(authority, devices)}
    (directory / "gateways.json").write_text(json.dumps(given))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    bound_collections()
    print("ready", flush=True)
    await stop.wait()
    await server.stop(0.2)


if __name__ == "__main__":
    run_loop(main())
