"""What each gateway has sent: its sequence, its hash chain and the register maps it named.

Decides whether an envelope is the next one of its gateway's chain, and whether its content may be
used. The gate has checked the signature; this module checks sequence, link and content.

An authentic envelope that is next in its chain is kept as evidence and the sequence advances even
if its content is refused (malformed, future-dated, too old, unknown map). Otherwise one bad payload
would sit at the head of the gateway's outbox for ever. It then changes nothing else.
"""

from dataclasses import dataclass, field
from hashlib import sha256

from cloud.commands import AppendSealed
from cloud.metering.columns import MapPlan
from cloud.metering.reports import Home
from cloud.metering.telemetry import Snapshot, newest_ms
from protos.clock import SECOND_NS
from protos.codec import ColumnDecoder, Malformed, decode_payload
from protos.ids import AccountId, DeviceId
from protos.limits import CLOCK_AHEAD_NS_MAX, READING_AGE_NS_MAX
from protos.messages import Payload, Refusal, SweepBatch
from protos.seal import GENESIS, signed_bytes

MAPS_KEPT_MAX = 16
"""Register maps remembered per gateway; the oldest is forgotten when a new one comes."""

HABIT_NS_MAX = 15 * 60 * SECOND_NS
"""A longer silence is an absence, no habit."""

_NS_PER_MS = SECOND_NS // 1_000


@dataclass(slots=True)
class Gateway:
    """One home's gateway. `index` counts admissions and is its name inside the zone."""

    index: int
    device: DeviceId
    account: AccountId
    node: int
    home: Home
    expelled: bool = False
    seq: int = 0
    link: bytes = GENESIS
    maps: dict[int, MapPlan] = field(default_factory=dict)
    snapshot: Snapshot = field(default_factory=Snapshot)
    offer_number: int = 0
    produces: bool = False
    heard_ns: int = 0
    gap_ns: int = 0
    calls: int = 0
    """How often it was asked for reserve or demand response."""

    opted_out: bool = False

    def hear(self, now_ns: int) -> None:
        """Remembers the longest silence of late: it fades by a quarter with every batch."""
        if self.heard_ns:
            gap_ns = min(now_ns - self.heard_ns, HABIT_NS_MAX)
            self.gap_ns = max(gap_ns, self.gap_ns - self.gap_ns // 4)
        self.heard_ns = now_ns

    def take(self, seq: int, link_bytes: bytes) -> None:
        """The envelope is durable evidence from here on."""
        self.seq, self.link = seq, link_bytes

    def learn(self, map_id: int, plan: MapPlan) -> None:
        """A map the gateway will use; a later one under the same id replaces it."""
        self.maps.pop(map_id, None)
        if len(self.maps) >= MAPS_KEPT_MAX:
            del self.maps[next(iter(self.maps))]
        self.maps[map_id] = plan
        self.home.awaited = plan.is_metered
        self.produces = plan.produces

    def state(self) -> object:
        """Without the home, which the slot reports own."""
        return (
            self.device,
            self.account,
            self.node,
            self.expelled,
            self.seq,
            self.link,
            [(map_id, plan.state()) for map_id, plan in self.maps.items()],
            self.snapshot.state(),
            self.offer_number,
            self.produces,
            self.heard_ns,
            self.gap_ns,
            self.calls,
            self.opted_out,
        )


def refuse_position(gateway: Gateway | None, envelope: AppendSealed) -> Refusal | None:
    """Why an envelope is not the next of its chain. Such an envelope leaves no trace at all."""
    if gateway is None:
        return Refusal.UNKNOWN_DEVICE
    if gateway.expelled:
        return Refusal.REVOKED_DEVICE
    if envelope.seq > gateway.seq + 1:
        return Refusal.SEQUENCE_GAP
    if envelope.seq <= gateway.seq:
        # The newest one is checked whole: another content under a used number is a fork.
        forked = envelope.seq == gateway.seq > 0 and link_of(envelope) != gateway.link
        return Refusal.FORKED_CHAIN if forked else Refusal.REPLAYED
    if envelope.previous != gateway.link:
        return Refusal.FORKED_CHAIN
    return None


def link_of(envelope: AppendSealed) -> bytes:
    """The name of the envelope, which the next one must carry."""
    signed = signed_bytes(envelope.device, envelope.seq, envelope.previous, envelope.payload)
    return sha256(signed).digest()


def open_payload(data: bytes, columns: ColumnDecoder) -> Payload | Refusal:
    """The record inside an envelope, or why there is none."""
    try:
        return decode_payload(data, columns)
    except Malformed:
        return Refusal.MALFORMED


def refuse_batch(gateway: Gateway, batch: SweepBatch, at_ns: int, now_ns: int) -> Refusal | None:
    """Why a batch of readings may not be used, by its map and its newest reading's time.

    `at_ns` is the journal's clock and `now_ns` the furthest it has ever been: a clock that is put
    right, in either direction, must not cost readings that were made while it was wrong.
    """
    plan = gateway.maps.get(batch.map_id)
    if plan is None:
        return Refusal.UNKNOWN_MAP
    if len(batch.times_ms) != plan.devices or len(batch.values) != plan.registers:
        return Refusal.MALFORMED
    newest_ns = newest_ms(batch) * _NS_PER_MS
    if newest_ns > now_ns + CLOCK_AHEAD_NS_MAX:
        return Refusal.FUTURE_DATED
    if newest_ns < at_ns - READING_AGE_NS_MAX:
        return Refusal.TOO_OLD
    return None
