"""One aggregator as a process: starts the app, says where it listens, ends it in order.

On SIGTERM or SIGINT it lets the gateways go, applies what is queued and prints one last line with
the state's hash. If the writer or a pump fails it ends with status 1; whoever supervises it starts
it again, and it comes back by replay.
"""

import asyncio
import contextlib
import json
import logging
import signal
import sys
from typing import Any

from cloud.app import App
from cloud.config import CloudConfig
from cloud.gate.loops import bound_collections, run_loop
from cloud.gate.summary import summary
from protos.clock import clock_from_environment

CLOSING_FILE = "closing.json"


def run_service(config: CloudConfig, *, as_json: bool) -> int:
    """Runs until it is told to stop. Returns the exit status."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    return run_loop(_serve(config, as_json=as_json))


async def _serve(config: CloudConfig, *, as_json: bool) -> int:
    app = App(config, clock_from_environment())
    (config.state_dir / CLOSING_FILE).unlink(missing_ok=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listening = await app.start()
    bound_collections()
    ports = {
        "http": listening.http_port,
        "gateways": listening.gateway_port,
        "enrolment": listening.enrolment_port,
        "utility": listening.utility_port,
    }
    if as_json:
        print(json.dumps({"ready": True, "ports": ports}), flush=True)
    else:
        print(f"console  http://{config.host}:{listening.http_port}", flush=True)
        print(f"gateways {config.host}:{listening.gateway_port} (mTLS gRPC)", flush=True)
    failing = asyncio.create_task(app.failed())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((failing, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if failing.done():
        problem = failing.result()
        print(f"gridtokenx: stopped by a failure: {problem!r}", file=sys.stderr, flush=True)
        return 1
    failing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await failing
    await app.stop()
    _write_closing(config, app)
    return 0


def _write_closing(config: CloudConfig, app: App) -> None:
    """The figures of the run and the hash of its last state, for the demo and for auditors."""
    closing: dict[str, Any] = summary(app.writer, app.views)
    closing["state_hash"] = app.core.state_hash().hex()
    (config.state_dir / CLOSING_FILE).write_text(json.dumps(closing), encoding="ascii")
