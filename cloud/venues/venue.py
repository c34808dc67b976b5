"""What a venue is to the rest of the house, and what can go wrong on the way to it.

A venue takes a bid and answers with a reply, reports its awards, and publishes prices. The same
bid may be submitted any number of times: its id is the venue's idempotency key. A rejection is an
answer (`RecordReply` with `accepted` false); only what leaves the outcome unknown is an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Protocol

from cloud.commands import CurveSegment, RecordAward, RecordReply
from cloud.facts import BidPrepared

if TYPE_CHECKING:
    from cloud.venues.regulation import Report


class VenueError(Exception):
    """The venue was not reached or not understood; the bid's fate is unknown until asked again."""

    def __init__(self, venue: str, detail: str) -> None:
        super().__init__(f"{venue}: {detail}")
        self.venue = venue
        self.detail = detail


class SessionExpired(VenueError):
    """The venue wants a new login. PJM says so with HTTP 200 and an HTML page."""


class BadAnswer(VenueError):
    """Bytes that are not this venue's answer."""


class BadBid(ValueError):
    """A message that is no bid of this venue's shape; `text` is in the venue's own words."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


ENERGY = "EN"


@dataclass(frozen=True, slots=True)
class Storage:
    """What a bid says of its battery, and what a venue has registered of it: ramp in W per minute,
    the energy it stays between in Wh, and the energy expected in it at the hour's start (of a
    registered one, nothing).
    """

    ramp_w_per_min: int
    soc_min_wh: int
    soc_max_wh: int
    stored_wh: int = 0


def storage_of(bid: BidPrepared) -> Storage | None:
    """What a bid says of its battery; None for one of an older journal, which said nothing."""
    if bid.ramp_w_per_min == 0:
        return None
    return Storage(bid.ramp_w_per_min, bid.soc_min_wh, bid.soc_max_wh, bid.stored_wh)


@dataclass(frozen=True, slots=True)
class Offer:
    """A bid as the venue reads it off the wire. Power in W, prices in micro-units per MWh."""

    bid_id: str
    participant: str
    node: str
    market: str
    starts_ns: int
    duration_ns: int
    curve: tuple[CurveSegment, ...]
    product: str = ENERGY
    """EN, or a reserve: SPIN, REG_UP, REG_DOWN, REG. Its curve is one step of capacity."""
    storage: Storage | None = None


class Venue(Protocol):
    """One market as the desk's pump sees it."""

    @property
    def name(self) -> str: ...

    async def submit(self, bid: BidPrepared) -> RecordReply:
        """Hands the bid in. Raises VenueError when the outcome is unknown; ask again then."""

    async def find(self, bid: BidPrepared) -> RecordReply | None:
        """What the venue answered to this bid, or None if it never took it. Submits nothing."""

    async def cancel(self, bid: BidPrepared) -> bool:
        """Withdraws a bid; False if the venue no longer lets it go. Raises VenueError."""

    async def awards(self) -> Sequence[RecordAward]:
        """All awards the venue still reports, old ones among them."""

    async def regulate(self, report: "Report") -> int:
        """Sends four seconds' telemetry; the signal of that moment in W. Raises VenueError."""

    async def prices(self, trade_date: date, market: str) -> bytes:
        """The venue's own price publication, for `cloud.feeds` to parse."""


class Codec(Protocol):
    """Both ends of one venue's wire format, as pure functions of bytes."""

    @property
    def venue(self) -> str: ...

    def encode_bid(self, bid: BidPrepared, participant: str) -> bytes: ...
    def decode_bid(self, body: bytes) -> Offer:
        """Raises BadBid in the venue's own words."""

    def encode_accepted(self, bid_id: str, reference: str) -> bytes: ...
    def encode_rejected(self, bid_id: str, code: str, text: str) -> bytes: ...
    def encode_fault(self, text: str) -> bytes: ...
    def decode_reply(self, bid_id: str, body: bytes) -> RecordReply:
        """Raises VenueError for a fault or for bytes that answer another bid."""

    def encode_query(self, bid_id: str) -> bytes: ...
    def decode_query(self, body: bytes) -> str | None:
        """The bid id that is asked for, or None where this is no such question."""

    def encode_cancel(self, bid_id: str) -> bytes: ...
    def decode_cancel(self, body: bytes) -> str | None:
        """The bid id that is withdrawn, or None where this withdraws nothing."""

    def encode_unknown(self, bid_id: str) -> bytes: ...
    def is_unknown(self, body: bytes) -> bool:
        """Whether the venue says that it holds no such bid."""

    def encode_awards(self, awards: Sequence[RecordAward]) -> bytes: ...
    def decode_awards(self, body: bytes) -> list[RecordAward]:
        """Raises VenueError."""
