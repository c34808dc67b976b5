"""Where each gateway sits, and what it is told: the machines' side of every gate.

A gate speaks TLS and gRPC; it may run in this process (`cloud.gate.gateways`) or in one of its own
(`cloud.gate.links`). Here is all that it needs of the machines: keys, chain positions, rules, and
the facts that gateways hear of. Decides who may take a seat and that a device has one at a time.
It must never let a checked envelope pass the writer by, nor lose an outcome that nobody was told.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from cloud.commands import AppendSealed
from cloud.facts import (
    BatchRefused,
    DeviceRevoked,
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
from cloud.gate.authority import CertificateAuthority
from cloud.gate.downlink import checkpoint_message, lease_message, market_message
from cloud.gate.glimpses import Glimpses, Shown
from cloud.gate.house import Hall, Landed, RefusedError, Seat
from cloud.gate.news import OfferBacklog, lease_order, market_news, outcome_of
from cloud.market.zone import Zone
from cloud.signatures import Signed
from cloud.writer import ForgedError, Writer, WriterStoppedError
from protos import gateway_pb2 as pb
from protos.clock import Clock
from protos.ids import DeviceId
from protos.messages import Refusal
from protos.seal import Sealed, signed_bytes

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

READINGS = 2 << 3 | 2
"""The tag of Payload.sweeps, with which readings begin. It decides about nothing but a wait."""


class Switchboard:
    """The house itself, for gates in this process and for the links to others."""

    def __init__(
        self,
        writer: Writer,
        authority: CertificateAuthority,
        clock: Clock,
        shown: Shown = lambda _device, _snapshot: None,
    ) -> None:
        """`shown` hears what gateways show ahead of their backlog."""
        self.seats: dict[DeviceId, Seat] = {}
        self.halls: list[Hall] = []
        self.writer = writer
        self._authority = authority
        self._clock = clock
        self._shown = shown
        self._backlog = OfferBacklog()
        writer.listen(self._on_facts, *TOLD)
        writer.listen_checkpoints(self.tell_checkpoint)

    async def key_of(self, device: DeviceId) -> bytes:
        registry = self.writer.core.registry
        key = registry.active_key(device)
        if key is None:
            known = device in registry.devices
            reason = Refusal.REVOKED_DEVICE if known else Refusal.UNKNOWN_DEVICE
            raise RefusedError(reason)
        return key

    async def renew(self, device: DeviceId, csr_pem: bytes) -> bytes:
        return self._authority.device_chain(csr_pem, device)

    async def enter(self, device: DeviceId, seat: Any) -> "LocalPlace":
        place, welcome = self.seat(device, seat, is_checked=False)
        seat.begin(welcome, *self.waiting(device))
        return place

    def seat(self, device: DeviceId, seat: Seat, *, is_checked: bool) -> tuple["LocalPlace", bytes]:
        """A place and its welcome. Raises RefusedError. What is `is_checked` comes from a gate that
        has checked the signatures itself.
        """
        zone = self._zone_of(device)
        if zone is None:
            raise RefusedError(Refusal.UNKNOWN_DEVICE)
        previous = self.seats.get(device)
        if previous is not None:
            previous.close()
        self.seats[device] = seat
        place = LocalPlace(self, device, zone, seat, is_checked=is_checked)
        return place, self._welcome(device, zone)

    def waiting(self, device: DeviceId) -> tuple[list[bytes], list[bytes]]:
        """Leases that still run, and the outcomes that nobody was told; these are taken."""
        leases = self._backlog.leases(device, self._clock.now_ns())
        return leases, self._backlog.take_outcomes(device)

    def leave(self, device: DeviceId, seat: Seat) -> None:
        """A stream has ended. What it was not told the device's next one will be."""
        if self.seats.get(device) is seat:
            del self.seats[device]
        for outcome in seat.untold:
            self._tell_outcome(device, outcome)

    def tell_checkpoint(self, _number: int, _size: int, note: bytes) -> None:
        message = checkpoint_message(note)
        for hall in self.halls:
            hall.checkpoint(message)

    def tell_market(self, message: bytes) -> None:
        """News of a closed gate to everybody, as `market_message` makes it."""
        for hall in self.halls:
            hall.market(message)

    def glimpses(self, device: DeviceId, zone: Zone, key: Any) -> Glimpses:
        """`key` was opened by the writer's checker."""
        return Glimpses(device, key, self.writer.checker, zone, self._clock, self._shown)

    def open_key(self, device: DeviceId) -> Any:
        return self.writer.checker.open(self.writer.core.registry.devices[device].public_key)

    def _zone_of(self, device: DeviceId) -> Zone | None:
        core = self.writer.core
        enrolled = core.registry.devices.get(device)
        zone = core.zones.get(core.registry.sites[enrolled.site].zone) if enrolled else None
        return zone if zone is not None and zone.knows(device) else None

    def _welcome(self, device: DeviceId, zone: Zone) -> bytes:
        seq, link = zone.durable(device)
        rules = zone.rules
        return pb.ConnectResponse(
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
        ).SerializeToString()

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
                        self._tell_outcome(device, outcome.SerializeToString())
                case LeaseIssued(device=device):
                    message = lease_message(lease_order(fact))
                    self._backlog.keep_lease(device, fact.expires_ns, message, at_ns)
                    if device in self.seats:
                        self.seats[device].lease(message)
                case GateClosed():
                    self.tell_market(market_message(market_news(fact)))
                case DeviceRevoked(device=device) if device in self.seats:
                    self.seats[device].close()

    def _tell_outcome(self, device: DeviceId, outcome: bytes) -> None:
        seat = self.seats.get(device)
        if seat is None:
            self._backlog.keep_outcome(device, outcome)
        else:
            seat.outcome(outcome)


class LocalPlace:
    """A gateway's way to the writer of this process."""

    def __init__(
        self, board: Switchboard, device: DeviceId, zone: Zone, seat: Seat, *, is_checked: bool
    ) -> None:
        self.durable_seq = zone.durable(device)[0]
        self._board = board
        self._writer = board.writer
        self._device = device
        self._zone = zone
        self._seat = seat
        self._key = None if is_checked else board.open_key(device)
        self._glimpses: Glimpses | None = None

    @property
    def is_full(self) -> bool:
        return self._writer.is_full

    async def wait_for_room(self) -> None:
        await self._writer.wait_for_room()

    def hand_over(self, sealed: Sealed, landed: Landed) -> None:
        device, (seq, previous, payload, signature) = self._device, sealed
        command = AppendSealed(self._zone.name, device, seq, previous, payload, signature)
        signed = None
        if self._key is not None:
            signed = Signed(self._key, signature, signed_bytes(device, seq, previous, payload))
        try:
            self._writer.hand_over(
                command,
                partial(self._answered, seq, landed),
                signed,
                is_patient=payload[0] == READINGS,
            )
        except WriterStoppedError:
            self._seat.close()

    def glimpse(self, sealed: Sealed, now_s: float) -> None:
        if self._glimpses is None:
            # Few gateways have a backlog, and an opened key is no small thing.
            key = self._key or self._board.open_key(self._device)
            self._glimpses = self._board.glimpses(self._device, self._zone, key)
        self._glimpses.take(sealed, now_s)

    def leave(self) -> None:
        self._board.leave(self._device, self._seat)

    def _answered(self, seq: int, landed: Landed, outcome: list[Fact] | Exception) -> None:
        durable_seq = self._zone.durable(self._device)[0]
        if isinstance(outcome, ForgedError):
            landed(seq, durable_seq, Refusal.BAD_SIGNATURE)
        elif isinstance(outcome, Exception):
            self._seat.close()
        else:
            landed(seq, durable_seq, _refusal(outcome))


def _refusal(facts: Sequence[Fact]) -> Refusal | None:
    for fact in facts:
        if type(fact) is BatchRefused:
            return Refusal(fact.reason)
    return None
