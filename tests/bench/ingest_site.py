"""The measured side: a whole aggregator with gateways that are already enrolled.

    python -m tests.bench.ingest_site DIRECTORY GATEWAYS GATE_PROCESSES

Writes what the load needs to DIRECTORY/gateways.json, prints one line when it listens, sends one
news of 1 KB to every stream at each SIGUSR1, and ends at SIGTERM.
"""

import asyncio
import json
import signal
import sys
import time
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.app import App
from cloud.commands import CreateSite, Deposit, EnrolDevice, IssueToken
from cloud.config import CloudConfig, ZoneConfig
from cloud.gate.authority import CertificateAuthority
from cloud.gate.downlink import checkpoint_message
from cloud.gate.loops import bound_collections, run_loop
from protos.clock import SystemClock
from protos.ids import device_id
from tests.bench.ingest_load import NEWS_BYTES, NEWS_PREFIX
from tests.bench.ingest_traffic import public_key

ZONE = "rural"
DEPOSIT_MICRO = 10**13


async def main() -> None:
    """Serves until it is told to stop."""
    directory, gateways = Path(sys.argv[1]), int(sys.argv[2])
    config = CloudConfig(
        state_dir=directory / "state",
        http_port=0,
        gateway_port=0,
        enrolment_port=0,
        utility_port=0,
        gate_processes=int(sys.argv[3]),
        zones=(ZoneConfig(ZONE, "rural"),),
    )
    app = App(config, SystemClock())
    listening = await app.start()
    devices = await enrol_all(app, gateways)
    (directory / "gateways.json").write_text(
        json.dumps({"port": listening.gateway_port, **client_credentials(app.authority, devices)})
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, push, app)
    bound_collections()
    print("ready", flush=True)
    await stop.wait()
    await app.stop()


def push(app: App) -> None:
    """1 KB to everybody, with the time at which it was said.

    On the market's lane: the next root would take the place of a root that still waits.
    """
    text = NEWS_PREFIX + b"%d " % time.monotonic_ns()
    app.switchboard.tell_market(checkpoint_message(text.ljust(NEWS_BYTES, b".")))


async def enrol_all(app: App, count: int) -> list[str]:
    """Sites, accounts with money, and devices, spread over the network's nodes."""
    nodes = app.networks[ZONE].size
    writer = app.writer
    devices = []
    for number in range(count):
        name, token = f"home-{number}", sha256(b"%d" % number).digest()
        key = public_key(number)
        devices.append(device_id(key))
        for command in (
            CreateSite(name, ZONE, 1 + number % (nodes - 1), name),
            IssueToken(token, name),
            EnrolDevice(token, key),
        ):
            writer.hand_over(command)
    await writer.settle()
    for number in range(count):
        writer.hand_over(Deposit(f"opening-{number}", f"home-{number}", DEPOSIT_MICRO))
    await writer.settle()
    return devices


def client_credentials(authority: CertificateAuthority, devices: list[str]) -> dict[str, object]:
    """One TLS key for all of them, and a certificate each."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "roots": authority.certificate_pem.decode(),
        "key": pem.decode(),
        "chains": [authority.device_chain(csr, device).decode() for device in devices],
    }


if __name__ == "__main__":
    run_loop(main())
