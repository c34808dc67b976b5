"""Gateways at the door: one long stream a device, and new certificates.

The gate checks who speaks, how much and in which order, and hands sealed payloads on. It decides
nothing about readings, offers or leases, and sends a receipt only for what the writer has made
durable. It knows the machines only through its `House`, so it may run in a process of its own.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from cloud.gate.authority import BadRequestError
from cloud.gate.downlink import Downlink
from cloud.gate.house import House, RefusedError
from cloud.gate.peers import Peer, device_of, is_signed, refuse
from cloud.gate.stream import Stream
from protos import gateway_pb2 as pb
from protos.clock import Clock
from protos.ids import DeviceId
from protos.limits import (
    STREAMS_MAX,
)
from protos.messages import Refusal

RENEW_DOMAIN = b"gridtokenx/renew/v1\x00"
HELLO_WITHIN_S = 10
UNHEARD_MAX = 1_024
"""Streams that have not yet said hello, of all gateways together."""

DRAIN_RETRY_S = 1
DRAIN_JITTER_S = 4
DRAIN_SLICE = 256
DRAIN_WORD_S = 0.1
"""How long the word to come back later has to reach everybody, and each slice to be gone."""

ROOTS_TO_ALL_MAX = 256
ROOT_TURNS = 5
"""With more streams than that each hears every fifth root: telling five thousand gateways of every
one would take a third of a core, and they keep the newest only.
"""

ROOT_SLICE = 64
ROOT_SLICE_S = 0.01
"""So many at once, and then others have a turn: nobody waits for a root, somebody may for a trade."""

log = logging.getLogger(__name__)


class GatewayGate:
    """One stream a device; a newer one replaces the older."""

    def __init__(self, house: House, clock: Clock) -> None:
        self.streams: dict[DeviceId, Downlink] = {}
        self._house = house
        self._clock = clock
        self._unheard = 0
        self._entered = 0
        self._roots = 0
        self._is_draining = False

    async def Renew(self, request: pb.RenewRequest, context: Any) -> pb.RenewResponse:  # noqa: N802
        peer, key = await self._identify(context)
        if not is_signed(key, request.signature, RENEW_DOMAIN + request.csr_pem):
            await refuse(context, grpc.StatusCode.UNAUTHENTICATED, Refusal.BAD_SIGNATURE)
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
        downlink = Downlink(hello.receipt_pause_ms / 1_000, turn=self._entered % ROOT_TURNS)
        self._entered += 1
        try:
            place = await self._house.enter(device, downlink)
        except RefusedError as error:
            await refuse(context, grpc.StatusCode.UNAVAILABLE, error.reason)
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
            await refuse(context, grpc.StatusCode.UNAUTHENTICATED, Refusal.UNKNOWN_DEVICE)
        try:
            return peer, await self._house.key_of(DeviceId(peer.name))
        except RefusedError as error:
            await refuse(context, grpc.StatusCode.PERMISSION_DENIED, error.reason)

    def checkpoint(self, message: bytes) -> None:
        """The newest signed root, as `checkpoint_message` makes it, to everybody or by turns."""
        self._roots += 1
        turn = self._roots % ROOT_TURNS
        to_all = len(self.streams) <= ROOTS_TO_ALL_MAX
        told = [one for one in self.streams.values() if to_all or one.turn == turn]
        loop = asyncio.get_running_loop()
        for number, first in enumerate(range(0, len(told), ROOT_SLICE)):
            some = told[first : first + ROOT_SLICE]
            loop.call_later(number * ROOT_SLICE_S, _tell_root, some, message)

    def market(self, message: bytes) -> None:
        """News of a closed gate to everybody, as `market_message` makes it."""
        for downlink in self.streams.values():
            downlink.market(message)


def _tell_root(downlinks: Sequence[Downlink], message: bytes) -> None:
    for downlink in downlinks:
        downlink.checkpoint(message)


def _drain() -> pb.ConnectResponse:
    return pb.ConnectResponse(drain=pb.Drain(retry_after_s=DRAIN_RETRY_S, jitter_s=DRAIN_JITTER_S))
