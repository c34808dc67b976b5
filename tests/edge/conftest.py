"""A gate of one's own, a certificate authority, and devices that answer from memory.

The gate follows protos/gateway.proto and protos/seal.py's text with its own code, so that an error
in the agent's sealing is not hidden by the same error here.
"""

import asyncio
import dataclasses
import datetime as dt
import hashlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from edge.agent import Agent
from edge.config import AgentSection, CloudSection, Config, OutboxSection, SamplingSection
from edge.devices.device import DeviceError, DeviceSpec, Point, Sample, SetpointLimits
from edge.enrol import enrol
from protos import gateway_pb2, gateway_pb2_grpc
from protos.clock import Clock, SystemClock
from protos.codec import decode_payload
from protos.messages import DeviceEntry, LeaseReports, Quantity, Role

TOKEN = "seven-lemons"
ZONES = bytes(32)


class Authority:
    """Signs the gate's certificate and the gateways'."""

    def __init__(self, directory: Path) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        builder = self._builder(self.name, self.key.public_key(), 3600 * 24)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        self.pem = builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)
        self.path = directory / "ca.pem"
        self.path.write_bytes(self.pem)

    def _builder(self, subject, public_key, life_s, age_s=60):
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(seconds=age_s))
            .not_valid_after(now + dt.timedelta(seconds=life_s))
        )

    def server_identity(self) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        builder = self._builder(name, key.public_key(), 3600)
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        certificate = builder.add_extension(names, False).sign(self.key, hashes.SHA256())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem, certificate.public_bytes(Encoding.PEM)

    def issue(self, csr_pem: bytes, life_s: float, age_s: float) -> bytes:
        csr = x509.load_pem_x509_csr(csr_pem)
        assert csr.is_signature_valid
        certificate = self._builder(csr.subject, csr.public_key(), life_s, age_s).sign(
            self.key, hashes.SHA256()
        )
        return certificate.public_bytes(Encoding.PEM) + self.pem


def signed(device: str, seq: int, previous: bytes, payload: bytes) -> bytes:
    head = b"gridtokenx/seal/v1\x00" + bytes.fromhex(device)
    return head + struct.pack(">Q", seq) + previous + payload


@dataclass
class Chain:
    """What the cloud's disk holds of one device."""

    public_key: bytes
    seq: int = 0
    link: bytes = ZONES
    payloads: list[bytes] = field(default_factory=list)


class Gate(gateway_pb2_grpc.GatewayServiceServicer, gateway_pb2_grpc.EnrolmentServiceServicer):
    """The cloud's side of the treaty. The attributes are levers for tests."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.chains: dict[str, Chain] = {}
        self.log: list[tuple] = []
        self.lie_seq: int | None = None
        self.lie_link: bytes | None = None
        self.forget: set[int] = set()
        self.refuse: dict[int, gateway_pb2.BatchRefusal] = {}
        self.withhold_receipts = False
        self.down: asyncio.Queue = asyncio.Queue()
        self.writing = asyncio.Lock()
        self.band = (10_000, 1_000_000, 5_000_000, 300)
        self.life_s, self.age_s = 3600.0, 60.0
        self.streams = self.renew_after_streams = 0
        self.hang_up_after: int | None = None
        self.calls: list = []
        self.now_ns: Callable[[], int] = lambda: 0

    # ---- enrolment

    async def Enrol(self, request, context):  # noqa: N802
        self.log.append(("enrol", request.token))
        message = b"\0".join((b"gridtokenx/enrol/v1", request.token.encode(), request.csr_pem))
        device = hashlib.blake2b(
            request.public_key, digest_size=16, person=b"gtx/device"
        ).hexdigest()
        if request.token != TOKEN and not (request.token == "" and device in self.chains):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "BAD_TOKEN: ask for a new one")
        Ed25519PublicKey.from_public_bytes(request.public_key).verify(request.signature, message)
        self.chains.setdefault(device, Chain(request.public_key))
        chain = self.authority.issue(request.csr_pem, self.life_s, self.age_s)
        return gateway_pb2.EnrolResponse(
            device_id=device,
            site_id="home-1",
            zone="z1",
            certificate_chain_pem=chain,
            gateway_address=self.address,
        )

    async def Renew(self, request, context):  # noqa: N802
        names = context.auth_context()["x509_common_name"]
        device = names[0].decode()
        while self.streams < self.renew_after_streams:
            await asyncio.sleep(0.005)
        self.log.append(("renew", device))
        key = Ed25519PublicKey.from_public_bytes(self.chains[device].public_key)
        key.verify(request.signature, b"gridtokenx/renew/v1\0" + request.csr_pem)
        chain = self.authority.issue(request.csr_pem, 3600, 60)
        return gateway_pb2.RenewResponse(certificate_chain_pem=chain)

    # ---- the stream

    async def Connect(self, request_iterator, context):  # noqa: N802
        hello = await context.read()
        assert hello.WhichOneof("body") == "hello"
        device = hello.hello.device_id
        assert context.auth_context()["x509_common_name"][0].decode() == device
        self.log.append(("hello", device, hello.hello.boot_id))
        self.streams += 1
        chain = self.chains[device]
        tick, low, high, closure = self.band
        welcome = gateway_pb2.Welcome(
            durable_seq=chain.seq if self.lie_seq is None else self.lie_seq,
            durable_link=chain.link if self.lie_link is None else self.lie_link,
            now_ns=self.now_ns(),
            zone="z1",
            tick_micro_per_kwh=tick,
            price_min_micro_per_kwh=low,
            price_max_micro_per_kwh=high,
            gate_closure_s=closure,
        )
        await self._write(context, gateway_pb2.ConnectResponse(welcome=welcome))
        pump = asyncio.create_task(self._push(context))
        try:
            taken = 0
            while (message := await context.read()) is not grpc.aio.EOF:
                if message.WhichOneof("body") == "sealed":
                    await self._take(device, chain, message.sealed, context)
                    taken += 1
                    if self.hang_up_after is not None and taken >= self.hang_up_after:
                        await context.abort(grpc.StatusCode.UNAVAILABLE, "hung up")
                elif message.WhichOneof("body") == "heartbeat":
                    await self._write(
                        context,
                        gateway_pb2.ConnectResponse(heartbeat=gateway_pb2.Heartbeat(now_ns=1)),
                    )
        finally:
            pump.cancel()

    async def _write(self, context, message) -> None:
        """One at a time: the library ends a stream that two tasks write to at once."""
        async with self.writing:
            await context.write(message)

    async def _push(self, context) -> None:
        while True:
            await self._write(context, await self.down.get())

    async def _take(self, device, chain, sealed, context) -> None:
        self.log.append(("sealed", sealed.seq))
        if sealed.seq in self.forget:
            self.forget.discard(sealed.seq)
            return
        if sealed.seq in self.refuse:
            refusal = self.refuse.pop(sealed.seq)
            await self._write(context, gateway_pb2.ConnectResponse(refusal=refusal))
            if refusal.expected_seq <= sealed.seq:
                return
        if sealed.seq <= chain.seq:
            self.log.append(("replay", sealed.seq))
            return
        if sealed.seq != chain.seq + 1:
            refusal = gateway_pb2.BatchRefusal(seq=sealed.seq, expected_seq=chain.seq + 1)
            refusal.refused.reason = 4
            refusal.refused.name = "SEQUENCE_GAP"
            await self._write(context, gateway_pb2.ConnectResponse(refusal=refusal))
            return
        assert sealed.previous == chain.link, "the chain is broken"
        message = signed(device, sealed.seq, sealed.previous, sealed.payload)
        try:
            Ed25519PublicKey.from_public_bytes(chain.public_key).verify(sealed.signature, message)
        except InvalidSignature:
            self.log.append(("bad signature", sealed.seq))
            raise
        chain.seq, chain.link = sealed.seq, hashlib.sha256(message).digest()
        chain.payloads.append(sealed.payload)
        if not self.withhold_receipts:
            receipt = gateway_pb2.Receipt(durable_seq=chain.seq)
            await self._write(context, gateway_pb2.ConnectResponse(receipt=receipt))

    # ---- life

    async def start(self, port: int = 0) -> None:
        self.server = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 5000),
            )
        )
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server(self, self.server)
        identity = self.authority.server_identity()
        credentials = grpc.ssl_server_credentials(
            [identity], root_certificates=self.authority.pem, require_client_auth=True
        )
        self.port = self.server.add_secure_port(f"127.0.0.1:{port}", credentials)
        self.address = f"127.0.0.1:{self.port}"
        await self.server.start()
        self.enrolment = grpc.aio.server()
        gateway_pb2_grpc.add_EnrolmentServiceServicer_to_server(self, self.enrolment)
        port = self.enrolment.add_secure_port(
            "127.0.0.1:0", grpc.ssl_server_credentials([identity])
        )
        self.enrolment_address = f"127.0.0.1:{port}"
        await self.enrolment.start()

    async def stop(self) -> None:
        await self.server.stop(0)
        await self.enrolment.stop(0)


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def gate(authority) -> AsyncIterator[Gate]:
    gate = Gate(authority)
    await gate.start()
    yield gate
    await gate.stop()


class MemoryDevice:
    """A device behind the port, whose registers are a dictionary in this process."""

    def __init__(self, spec: DeviceSpec, clock: Clock, registers: dict[Quantity, int | None]):
        self.spec = spec
        self.clock = clock
        self.registers = registers
        self.billing = {Quantity.ENERGY_IMPORT_WH, Quantity.ENERGY_EXPORT_WH}
        self.limits: SetpointLimits | None = None
        self.failing = False
        self.hangs = False
        self.orders: list[tuple] = []
        self.opened = 0

    @property
    def entry(self) -> DeviceEntry:
        return DeviceEntry(self.spec.name, self.spec.role, self.spec.profile, 1, "serial-1")

    @property
    def points(self) -> tuple[Point, ...]:
        return tuple(Point(quantity, 0, quantity in self.billing) for quantity in self.registers)

    async def read(self) -> Sample:
        await self._wire()
        return Sample(
            self.clock.now_ns(), self.clock.monotonic_ns(), tuple(self.registers.values())
        )

    async def _wire(self) -> None:
        if self.hangs:
            await asyncio.sleep(3600)
        if self.failing:
            raise DeviceError(self.spec.name, "no answer", "check the wire")

    async def set_power(self, power_w: int, ttl_s: int) -> None:
        await self._wire()
        self.orders.append(("power", power_w, ttl_s))

    async def set_export_limit(self, limit_w: int, ttl_s: int) -> None:
        await self._wire()
        self.orders.append(("limit", limit_w, ttl_s))

    async def set_charge_limit(self, limit_w: int, ttl_s: int) -> None:
        await self._wire()
        self.orders.append(("charge", limit_w, ttl_s))

    async def restore_default(self) -> None:
        await self._wire()
        self.orders.append(("restore",))

    async def close(self) -> None:
        return


def meter_spec(name: str = "meter", role: Role = Role.GRID) -> DeviceSpec:
    return DeviceSpec(name, role, "test/meter", "tcp", "127.0.0.1:1")


async def eventually(condition: Callable[[], object], limit_s: float = 20.0) -> None:
    """Waits until the condition holds; fails when it does not in time."""
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.005)


def grid_registers() -> dict[Quantity, int | None]:
    return {
        Quantity.POWER_W: 1500,
        Quantity.ENERGY_IMPORT_WH: 1_000_000,
        Quantity.ENERGY_EXPORT_WH: 5_000,
        Quantity.VOLTAGE_MV: 230_000,
    }


class Site:
    """One gateway's directory, devices and configuration, and its agent while it runs."""

    def __init__(self, directory: Path, gate: Gate, clock: Clock) -> None:
        self.directory, self.gate, self.clock = directory, gate, clock
        self.meter = MemoryDevice(meter_spec(), clock, grid_registers())
        self.devices = {"meter": self.meter}
        self.agent: Agent | None = None
        self.task: asyncio.Task | None = None
        self.stop = asyncio.Event()
        self.config = Config(
            AgentSection(directory, "home"),
            CloudSection(gate.authority.path, server_name="localhost"),
            SamplingSection(period_s=0.05, sweeps_per_batch=3, read_timeout_s=0.3),
            OutboxSection(size_mb=4, ballast_mb=0),
        )

    def change(self, **sections) -> None:
        self.config = dataclasses.replace(self.config, **sections)

    def add_battery(self, **registers: int) -> MemoryDevice:
        values = {
            Quantity.POWER_W: 0,
            Quantity.STATE_OF_CHARGE_PER_MILLE: 600,
            Quantity.CAPACITY_WH: 10_000,
        }
        battery = MemoryDevice(meter_spec("battery", Role.BATTERY), self.clock, values)
        battery.limits = SetpointLimits(3000, 4000, 5000)
        self.devices["battery"] = battery
        return battery

    async def enrol(self) -> None:
        await enrol(
            self.directory,
            TOKEN,
            self.gate.enrolment_address,
            self.gate.authority.path,
            "localhost",
        )

    async def open_device(self, spec: DeviceSpec) -> MemoryDevice:
        device = self.devices[spec.name]
        device.opened += 1
        await device._wire()
        return device

    async def start(self) -> Agent:
        specs = tuple(device.spec for device in self.devices.values())
        self.stop = asyncio.Event()
        self.change(devices=specs)
        self.agent = await Agent.open(self.config, self.clock, self.open_device)
        self.task = asyncio.create_task(self.agent.run(self.stop))
        return self.agent

    async def end(self) -> None:
        self.stop.set()
        if self.task is not None:
            task, self.task = self.task, None
            await task

    @property
    def chain(self) -> Chain:
        return next(iter(self.gate.chains.values()))

    def records(self, kind: type) -> list:
        decoded = [decode_payload(payload) for payload in self.chain.payloads]
        return [record for record in decoded if isinstance(record, kind)]

    def lease_states(self) -> list[tuple[str, str]]:
        return [
            (report.lease_id, report.state.name)
            for record in self.records(LeaseReports)
            for report in record.reports
        ]


@pytest.fixture
async def site(tmp_path, gate) -> AsyncIterator[Site]:
    site = Site(tmp_path / "state", gate, SystemClock())
    gate.now_ns = site.clock.now_ns
    await site.enrol()
    yield site
    if site.task is not None:
        site.stop.set()
        site.task.cancel()
        await asyncio.gather(site.task, return_exceptions=True)


@pytest.fixture
def peers() -> SimpleNamespace:
    """What tests use of this file, which cannot be imported by name."""
    return SimpleNamespace(
        eventually=eventually,
        MemoryDevice=MemoryDevice,
        meter_spec=meter_spec,
        Gate=Gate,
        Site=Site,
    )
