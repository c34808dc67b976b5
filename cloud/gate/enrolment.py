"""Enrolment: a one-time token, or a known device's own signature, for a certificate.

The gate decides that a request is signed by the key it names; who may be enrolled the registry
decides. It must never spend cryptography on a guess, nor see a private key.
"""

import asyncio
from collections import deque
from hashlib import sha256
from typing import Any

import grpc

from cloud.commands import EnrolDevice
from cloud.facts import DeviceEnrolled, EnrolmentRefused
from cloud.gate.authority import BadRequestError, CertificateAuthority
from cloud.gate.peers import is_signed, refuse
from cloud.writer import Writer
from protos import gateway_pb2 as pb
from protos import gateway_pb2_grpc
from protos.ids import DeviceId, device_id
from protos.limits import ENROLMENT_FAILURES_PER_MINUTE_MAX
from protos.messages import Refusal

ENROL_DOMAIN = b"gridtokenx/enrol/v1\x00"
MINUTE_S = 60.0
ADDRESSES_MAX = 10_000


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
            await refuse(context, error.code, error.reason)
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
        if not is_signed(request.public_key, request.signature, signed):
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
