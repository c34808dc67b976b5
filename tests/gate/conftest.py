"""A whole aggregator on free ports, and a gateway that speaks to it over real TLS."""

import asyncio
import datetime as dt
from dataclasses import dataclass, field, replace

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from cloud.app import App
from cloud.config import CloudConfig, ZoneConfig
from cloud.gate.enrolment import ENROL_DOMAIN
from cloud.remote import Operator
from protos import gateway_pb2 as pb
from protos import gateway_pb2_grpc
from protos.clock import SystemClock
from protos.codec import encode_payload
from protos.ids import device_id
from protos.messages import (
    ClockQuality,
    DeviceEntry,
    Quantity,
    RegisterEntry,
    RegisterMap,
    Role,
    SweepBatch,
)
from protos.seal import GENESIS, Sealed, link, seal

ANSWER_WITHIN_S = 5
REGISTERS = (
    RegisterEntry(0, Quantity.POWER_W),
    RegisterEntry(0, Quantity.ENERGY_IMPORT_WH, 0, True),
    RegisterEntry(0, Quantity.ENERGY_EXPORT_WH, 0, True),
)
MAP = RegisterMap(1, (DeviceEntry("meter", Role.GRID, "eastron/sdm630", 1),), REGISTERS)


@dataclass
class Cloud:
    """A running aggregator and how to reach it."""

    app: App
    listening: object

    @property
    def operator(self):
        return Operator(f"http://127.0.0.1:{self.listening.http_port}", self.app.config.state_dir)

    async def token(self, site="home-1", node=1):
        body = {"site": site, "zone": "tiny", "node": node, "account": site}
        answer = await asyncio.to_thread(self.operator.post, "/api/sites", body)
        return answer["token"]

    def roots(self):
        return self.app.authority.certificate_pem

    def open_channel(self):
        credentials = grpc.ssl_channel_credentials(self.roots())
        return grpc.aio.secure_channel(f"127.0.0.1:{self.listening.enrolment_port}", credentials)

    def mutual_channel(self, key, chain, port):
        credentials = grpc.ssl_channel_credentials(self.roots(), key, chain)
        # As the agent does: a probe of the bandwidth would let 4 MiB gather at a reader that stops.
        options = (("grpc.http2.bdp_probe", 0),)
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)

    async def gateway(self, seed=1, site="home-1", node=1):
        gateway = Gateway(self, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))
        await gateway.enrol(await self.token(site, node))
        await self.app.writer.settle()
        return gateway


@dataclass
class Gateway:
    """An independent client: its own keys, its own chain, no code of the agent."""

    cloud: Cloud
    key: Ed25519PrivateKey
    tls: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    chain: bytes = b""
    seq: int = 0
    previous: bytes = GENESIS
    call: object = None
    channel: object = None

    @property
    def public(self):
        return self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def device(self):
        return device_id(self.public)

    def sign(self, message):
        return self.key.sign(message)

    def csr(self):
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anything")])
        request = x509.CertificateSigningRequestBuilder().subject_name(name)
        return request.sign(self.tls, hashes.SHA256()).public_bytes(Encoding.PEM)

    def tls_pem(self):
        return self.tls.private_bytes(
            Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    async def enrol(self, token, **changes):
        csr = self.csr()
        request = pb.EnrolRequest(
            token=token,
            public_key=self.public,
            csr_pem=csr,
            signature=self.sign(ENROL_DOMAIN + token.encode() + b"\x00" + csr),
        )
        for name, value in changes.items():
            setattr(request, name, value)
        async with self.cloud.open_channel() as channel:
            answer = await gateway_pb2_grpc.EnrolmentServiceStub(channel).Enrol(request)
        self.chain = answer.certificate_chain_pem
        return answer

    async def connect(self, device=None, receipt_pause_ms=0):
        port = self.cloud.listening.gateway_port
        self.channel = self.cloud.mutual_channel(self.tls_pem(), self.chain, port)
        self.call = gateway_pb2_grpc.GatewayServiceStub(self.channel).Connect()
        hello = pb.Hello(
            device_id=device or self.device,
            agent_version="test",
            boot_id=1,
            receipt_pause_ms=receipt_pause_ms,
        )
        await self.call.write(pb.ConnectRequest(hello=hello))
        return (await self.expect("welcome")).welcome

    async def close(self):
        if self.channel is not None:
            self.call.cancel()
            await self.channel.close()

    def seal(self, payload):
        """The next envelope of this gateway's chain."""
        data = payload if isinstance(payload, bytes) else encode_payload(payload)
        sealed = seal(self, self.seq + 1, self.previous, data)
        self.seq, self.previous = sealed.seq, link(self.device, sealed)
        return sealed

    async def send(self, sealed: Sealed):
        await self.call.write(
            pb.ConnectRequest(
                sealed=pb.SealedPayload(
                    seq=sealed.seq,
                    previous=sealed.previous,
                    payload=sealed.payload,
                    signature=sealed.signature,
                )
            )
        )

    async def expect(self, kind):
        """The next message of this kind; others that come first are passed over."""
        async with asyncio.timeout(ANSWER_WITHIN_S):
            while True:
                message = await self.call.read()
                assert message is not grpc.aio.EOF, f"the stream ended before a {kind}"
                if message.WhichOneof("body") == kind:
                    return message

    async def receipted(self, seq):
        while (await self.expect("receipt")).receipt.durable_seq < seq:
            pass

    def readings(self, at_ms=None, import_wh=1000, power_w=500):
        at_ms = at_ms or int(dt.datetime.now(dt.UTC).timestamp() * 1000)
        return SweepBatch(
            1, 1, 1, ClockQuality.SYNCHRONISED, ((at_ms,),), ((power_w,), (import_wh,), (0,))
        )


def configured(directory, **changes):
    """An aggregator of one small zone on free ports."""
    plain = CloudConfig(
        state_dir=directory / "state",
        http_port=0,
        gateway_port=0,
        enrolment_port=0,
        utility_port=0,
        opening_deposit_micro=1_000_000_000,
        zones=(ZoneConfig(name="tiny", network="tiny"),),
    )
    return replace(plain, **changes)


@pytest.fixture
async def cloud(tmp_path):
    app = App(configured(tmp_path), SystemClock())
    listening = await app.start()
    yield Cloud(app, listening)
    await app.stop()


@pytest.fixture
async def gateway(cloud):
    gateway = await cloud.gateway()
    yield gateway
    await gateway.close()
