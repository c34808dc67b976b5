"""Gateways at the door: enrolment, certificates, and one long stream a device.

The gate checks who speaks, how much and in which order, and hands sealed payloads to the writer
together with the signature check. It decides nothing about readings, offers or leases, and sends a
receipt only for what the writer has made durable.
"""

import asyncio
import logging
from collections import deque
from hashlib import sha256
from typing import Any, NoReturn

import grpc
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError

from cloud.commands import EnrolDevice
from cloud.facts import DeviceEnrolled, EnrolmentRefused
from cloud.gate.authority import BadRequestError, CertificateAuthority
from cloud.gate.downlink import Downlink
from cloud.gate.peers import Peer, advise, device_of
from cloud.gate.stream import Stream
from cloud.gate.switchboard import House, RefusedError
from cloud.writer import Writer
from protos import gateway_pb2 as pb
from protos import gateway_pb2_grpc
from protos.clock import Clock
from protos.ids import DeviceId, device_id
from protos.limits import (
    ENROLMENT_FAILURES_PER_MINUTE_MAX,
    STREAMS_MAX,
)
from protos.messages import Refusal

ENROL_DOMAIN = b"gridtokenx/enrol/v1\x00"
RENEW_DOMAIN = b"gridtokenx/renew/v1\x00"
HELLO_WITHIN_S = 10
MINUTE_S = 60.0
ADDRESSES_MAX = 10_000
UNHEARD_MAX = 1_024
"""Streams that have not yet said hello, of all gateways together."""

DRAIN_RETRY_S = 1
DRAIN_JITTER_S = 4
DRAIN_SLICE = 256
DRAIN_WORD_S = 0.1
"""How long the word to come back later has to reach everybody, and each slice to be gone."""

log = logging.getLogger(__name__)


class EnrolmentGate(gateway_pb2_grpc.EnrolmentServiceServicer):
    """Exchanges one-time tokens for certificates, and a known device's signature for a new one.

    A gateway that was away for longer than its certificate lives asks with an empty token: its
    device key is what identifies it, and that is enrolled and not revoked.
    """

    def __init__(
        self, writer: Writer, authority: CertificateAuthority, gateway_address: str
    ) -> None:
        self.gateway_address = gateway_address
        self._writer = writer
        self._authority = authority
        self._failures = Failures()

    async def Enrol(self, request: pb.EnrolRequest, context: Any) -> pb.EnrolResponse:  # noqa: N802 - named by the treaty
        if self._failures.are_too_many(context.peer()):
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "too many failures; try again in a minute"
            )
        try:
            device = await self._identify(request)
            chain = self._authority.device_chain(request.csr_pem, device)
        except _NotEnrolledError as error:
            self._failures.count(context.peer())
            await _refuse(context, error.code, error.reason)
        except BadRequestError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{error}; make a new request")
        registry = self._writer.core.registry
        site = registry.devices[device].site
        return pb.EnrolResponse(
            device_id=device,
            site_id=site,
            zone=registry.sites[site].zone,
            certificate_chain_pem=chain,
            gateway_address=self.gateway_address,
        )

    async def _identify(self, request: pb.EnrolRequest) -> DeviceId:
        token_sha256 = sha256(request.token.encode()).digest()
        registry = self._writer.core.registry
        if request.token and token_sha256 not in registry.tokens:
            # Before any cryptography, so that guessing costs us a hash.
            raise _NotEnrolledError(grpc.StatusCode.PERMISSION_DENIED, Refusal.BAD_TOKEN)
        signed = ENROL_DOMAIN + request.token.encode() + b"\x00" + request.csr_pem
        if not _is_signed(request.public_key, request.signature, signed):
            raise _NotEnrolledError(grpc.StatusCode.UNAUTHENTICATED, Refusal.BAD_SIGNATURE)
        if not request.token:
            device = device_id(request.public_key)
            if registry.active_key(device) is None:
                known = device in registry.devices
                reason = Refusal.REVOKED_DEVICE if known else Refusal.BAD_TOKEN
                raise _NotEnrolledError(grpc.StatusCode.PERMISSION_DENIED, reason)
            return device
        facts = await self._writer.submit(EnrolDevice(token_sha256, request.public_key))
        enrolled = facts[0]
        if isinstance(enrolled, EnrolmentRefused):
            raise _NotEnrolledError(grpc.StatusCode.PERMISSION_DENIED, Refusal(enrolled.reason))
        assert isinstance(enrolled, DeviceEnrolled)
        return enrolled.device


class _NotEnrolledError(Exception):
    def __init__(self, code: grpc.StatusCode, reason: Refusal) -> None:
        super().__init__(reason.name)
        self.code = code
        self.reason = reason


class Failures:
    """Failed enrolments of the last minute by address, so that one guesser locks out nobody else."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}

    def are_too_many(self, peer: str) -> bool:
        times = self._times.get(_host(peer))
        limit = ENROLMENT_FAILURES_PER_MINUTE_MAX
        return times is not None and len(times) == limit and _now_s() - times[0] < MINUTE_S

    def count(self, peer: str) -> None:
        host = _host(peer)
        while host not in self._times and len(self._times) >= ADDRESSES_MAX:
            del self._times[next(iter(self._times))]
        self._times.setdefault(host, deque(maxlen=ENROLMENT_FAILURES_PER_MINUTE_MAX)).append(
            _now_s()
        )


def _host(peer: str) -> str:
    """A peer is named as ipv4:host:port; the port changes with every attempt."""
    return peer.rpartition(":")[0]


def _now_s() -> float:
    return asyncio.get_running_loop().time()


class GatewayGate:
    """One stream a device; a newer one replaces the older."""

    def __init__(self, house: House, clock: Clock) -> None:
        self.streams: dict[DeviceId, Downlink] = {}
        self._house = house
        self._clock = clock
        self._unheard = 0
        self._is_draining = False

    async def Renew(self, request: pb.RenewRequest, context: Any) -> pb.RenewResponse:  # noqa: N802
        peer, key = await self._identify(context)
        if not _is_signed(key, request.signature, RENEW_DOMAIN + request.csr_pem):
            await _refuse(context, grpc.StatusCode.UNAUTHENTICATED, Refusal.BAD_SIGNATURE)
        try:
            chain = await self._house.renew(DeviceId(peer.name), request.csr_pem)
        except BadRequestError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{error}; make a new request")
        return pb.RenewResponse(certificate_chain_pem=chain)

    async def Connect(self, _requests: Any, context: Any) -> None:  # noqa: N802
        peer, _ = await self._identify(context)
        device = DeviceId(peer.name)
        if len(self.streams) >= STREAMS_MAX or self._unheard >= UNHEARD_MAX:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "this gate is full; try again later"
            )
        hello = await self._hear(context)
        if hello is None:
            return
        if hello.WhichOneof("body") != "hello" or hello.hello.device_id != device:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "the first message is a hello with the certificate's own device id",
            )
        if self._is_draining:
            await context.write(_drain().SerializeToString())
            return
        await self._serve(context, peer, hello.hello)

    async def _serve(self, context: Any, peer: Peer, hello: pb.Hello) -> None:
        """The stream of a gateway that has said who it is, from its welcome to its end."""
        device = DeviceId(peer.name)
        downlink = Downlink(hello.receipt_pause_ms / 1_000)
        try:
            place = await self._house.enter(device, downlink)
        except RefusedError as error:
            await _refuse(context, error.code, error.reason)
        self.streams[device] = downlink
        log.info("gateway %s connected, agent %s", device, hello.agent_version)
        loop = asyncio.get_running_loop()
        expiry = loop.call_later(max(0.0, peer.valid_for_s), downlink.close)
        try:
            await Stream(place, downlink).run(context, self._clock)
        finally:
            expiry.cancel()
            if self.streams.get(device) is downlink:
                del self.streams[device]
            place.leave()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serves the stream as bytes: a message object a batch would cost more than its checks."""
        service = pb.DESCRIPTOR.services_by_name["GatewayService"].full_name
        handlers = {
            "Connect": grpc.stream_stream_rpc_method_handler(self.Connect),
            "Renew": grpc.unary_unary_rpc_method_handler(
                self.Renew, pb.RenewRequest.FromString, pb.RenewResponse.SerializeToString
            ),
        }
        generic = grpc.method_handlers_generic_handler(service, handlers)
        server.add_generic_rpc_handlers((generic,))
        server.add_registered_method_handlers(service, handlers)

    async def drain(self) -> None:
        """Asks every gateway to come back later, takes no new one, and ends the streams."""
        self._is_draining = True
        for downlink in list(self.streams.values()):
            downlink.urgent(_drain())
        await asyncio.sleep(DRAIN_WORD_S)
        for _ in range(-(-STREAMS_MAX // DRAIN_SLICE)):
            if not self.streams:
                return
            for downlink in list(self.streams.values())[:DRAIN_SLICE]:
                downlink.close()
            await asyncio.sleep(DRAIN_WORD_S)

    async def _hear(self, context: Any) -> pb.ConnectRequest | None:
        """The first message of a stream, if it comes in time; None if the stream ends instead."""
        self._unheard += 1
        try:
            message = await asyncio.wait_for(context.read(), HELLO_WITHIN_S)
        except TimeoutError:
            await context.abort(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"no hello within {HELLO_WITHIN_S} s"
            )
        finally:
            self._unheard -= 1
        if message is grpc.aio.EOF:
            return None
        try:
            return pb.ConnectRequest.FromString(message)
        except DecodeError:
            return pb.ConnectRequest()

    async def _identify(self, context: Any) -> tuple[Peer, bytes]:
        peer = device_of(context)
        if peer is None:
            await _refuse(context, grpc.StatusCode.UNAUTHENTICATED, Refusal.UNKNOWN_DEVICE)
        try:
            return peer, await self._house.key_of(DeviceId(peer.name))
        except RefusedError as error:
            await _refuse(context, error.code, error.reason)

    def checkpoint(self, message: bytes) -> None:
        """The newest signed root to everybody, as `checkpoint_message` makes it."""
        for downlink in self.streams.values():
            downlink.checkpoint(message)

    def market(self, message: bytes) -> None:
        """News of a closed gate to everybody, as `market_message` makes it."""
        for downlink in self.streams.values():
            downlink.market(message)


def _drain() -> pb.ConnectResponse:
    return pb.ConnectResponse(drain=pb.Drain(retry_after_s=DRAIN_RETRY_S, jitter_s=DRAIN_JITTER_S))


def _is_signed(public_key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


async def _refuse(context: Any, code: grpc.StatusCode, reason: Refusal) -> NoReturn:
    await context.abort(code, advise(reason))
    raise AssertionError("abort does not return")
