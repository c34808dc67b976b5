"""Gateways at the door: enrolment, certificates, and one long stream a device.

The gate checks who speaks, how much and in which order, and hands sealed payloads to the writer
together with the signature check. It decides nothing about readings, offers or leases, and sends a
receipt only for what the writer has made durable.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NoReturn

import grpc
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError

from cloud.commands import EnrolDevice
from cloud.facts import (
    DeviceEnrolled,
    DeviceRevoked,
    EnrolmentRefused,
    Fact,
    GateClosed,
    LeaseIssued,
    OfferCancelled,
    OfferReduced,
    OfferRefused,
    OfferRested,
    Traded,
    TradeVoided,
)
from cloud.gate.authority import BadRequestError, CertificateAuthority
from cloud.gate.downlink import Downlink, checkpoint_message, market_message
from cloud.gate.glimpses import Glimpses, Shown
from cloud.gate.news import OfferBacklog, lease_order, market_news, outcome_of
from cloud.gate.peers import advise, device_of
from cloud.gate.stream import Stream
from cloud.market.zone import Zone
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

TOLD = (
    OfferRested,
    Traded,
    TradeVoided,
    OfferCancelled,
    OfferReduced,
    OfferRefused,
    LeaseIssued,
    GateClosed,
    DeviceRevoked,
)
"""The facts that gateways hear of."""

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

    def __init__(
        self,
        writer: Writer,
        authority: CertificateAuthority,
        clock: Clock,
        shown: Shown = lambda _device, _snapshot: None,
    ) -> None:
        """`shown` hears what gateways show ahead of their backlog."""
        self.streams: dict[DeviceId, Downlink] = {}
        self._shown = shown
        self._writer = writer
        self._authority = authority
        self._clock = clock
        self._backlog = OfferBacklog()
        self._unheard = 0
        self._is_draining = False
        writer.listen(self._on_facts, *TOLD)
        writer.listen_checkpoints(self.tell_checkpoint)

    async def Renew(self, request: pb.RenewRequest, context: Any) -> pb.RenewResponse:  # noqa: N802
        device, key, _ = await self._identify(context)
        if not _is_signed(key, request.signature, RENEW_DOMAIN + request.csr_pem):
            await _refuse(context, grpc.StatusCode.UNAUTHENTICATED, Refusal.BAD_SIGNATURE)
        try:
            chain = self._authority.device_chain(request.csr_pem, device)
        except BadRequestError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{error}; make a new request")
        return pb.RenewResponse(certificate_chain_pem=chain)

    async def Connect(self, _requests: Any, context: Any) -> None:  # noqa: N802
        device, key, valid_for_s = await self._identify(context)
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
        zone = self._zone_of(device)
        if zone is None:
            await _refuse(context, grpc.StatusCode.UNAVAILABLE, Refusal.UNKNOWN_DEVICE)
        downlink = self._open(device, zone, hello.hello.receipt_pause_ms / 1_000)
        log.info("gateway %s connected, agent %s", device, hello.hello.agent_version)
        expiry = asyncio.get_running_loop().call_later(max(0.0, valid_for_s), downlink.close)
        checker = self._writer.checker
        opened = checker.open(key)
        glimpses = Glimpses(device, opened, checker, zone, self._clock, self._shown)
        stream = Stream(device, opened, zone, downlink, self._writer, glimpses)
        try:
            await stream.run(context, self._clock)
        finally:
            expiry.cancel()
            if self.streams.get(device) is downlink:
                del self.streams[device]

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

    async def _identify(self, context: Any) -> tuple[DeviceId, bytes, float]:
        peer = device_of(context)
        if peer is None:
            await _refuse(context, grpc.StatusCode.UNAUTHENTICATED, Refusal.UNKNOWN_DEVICE)
        device = DeviceId(peer.name)
        key = self._writer.core.registry.active_key(device)
        if key is None:
            known = device in self._writer.core.registry.devices
            reason = Refusal.REVOKED_DEVICE if known else Refusal.UNKNOWN_DEVICE
            await _refuse(context, grpc.StatusCode.PERMISSION_DENIED, reason)
        return device, key, peer.valid_for_s

    def _zone_of(self, device: DeviceId) -> Zone | None:
        registry = self._writer.core.registry
        zone = self._writer.core.zones.get(registry.sites[registry.devices[device].site].zone)
        return zone if zone is not None and zone.knows(device) else None

    def _open(self, device: DeviceId, zone: Zone, receipt_pause_s: float) -> Downlink:
        previous = self.streams.get(device)
        if previous is not None:
            previous.close()
        downlink = self.streams[device] = Downlink(receipt_pause_s)
        seq, link = zone.durable(device)
        rules = zone.rules
        downlink.urgent(
            pb.ConnectResponse(
                welcome=pb.Welcome(
                    durable_seq=seq,
                    durable_link=link,
                    now_ns=self._clock.now_ns(),
                    zone=zone.name,
                    tick_micro_per_kwh=rules.tick_micro_per_kwh,
                    price_min_micro_per_kwh=rules.fallback_export_micro_per_kwh,
                    price_max_micro_per_kwh=rules.fallback_import_micro_per_kwh,
                    gate_closure_s=rules.gate_closure_s,
                )
            )
        )
        for order in self._backlog.leases(device, self._clock.now_ns()):
            downlink.lease(order)
        for outcome in self._backlog.take_outcomes(device):
            downlink.outcome(outcome)
        return downlink

    def _on_facts(self, facts: Sequence[Fact], at_ns: int) -> None:
        for fact in facts:
            match fact:
                case (
                    OfferRested()
                    | Traded()
                    | TradeVoided()
                    | OfferCancelled()
                    | OfferReduced()
                    | OfferRefused()
                ):
                    for device, outcome in outcome_of(fact):
                        self._tell_outcome(device, outcome)
                case LeaseIssued(device=device):
                    order = lease_order(fact)
                    self._backlog.keep_lease(device, order, at_ns)
                    if device in self.streams:
                        self.streams[device].lease(order)
                case GateClosed():
                    message = market_message(market_news(fact))
                    for downlink in self.streams.values():
                        downlink.market(message)
                case DeviceRevoked(device=device) if device in self.streams:
                    self.streams[device].close()

    def _tell_outcome(self, device: DeviceId, outcome: pb.OfferOutcome) -> None:
        downlink = self.streams.get(device)
        if downlink is None:
            self._backlog.keep_outcome(device, outcome)
        else:
            downlink.outcome(outcome)

    def tell_checkpoint(self, _number: int, _size: int, note: bytes) -> None:
        message = checkpoint_message(note)
        for downlink in self.streams.values():
            downlink.checkpoint(message)


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
