"""The venue's side of regulation: the signal it sends every four seconds, and how it was followed.

The signal of an award wanders inside its capacity and depends on the award and the moment alone, so
that a run can be repeated. The resource reports its power with every request and gets the signal of
that moment back. The performance is the venue's own reckoning from what it was sent: a sample that
never came is a resource standing still. ISOs use ICCP or DNP3 for this; the shape here is our own.
"""

import json
from dataclasses import dataclass, field

from cloud.commands import RecordAward
from cloud.venues.days import draw
from cloud.venues.performance import SAMPLE_NS, score
from cloud.venues.venue import BadBid, Offer
from protos.clock import MINUTE_NS

KNOT_NS = MINUTE_NS
"""The signal runs straight between points drawn for every minute."""

PER_MILLE = 1_000
KEPT_MAX = 200_000
"""Samples that are kept, oldest forgotten first: nine days of one award at a time."""


@dataclass(frozen=True, slots=True)
class Report:
    """The response of one award's resource at a moment: power above its base point, and which part
    of the fleet was heard of lately.
    """

    bid_id: str
    at_ns: int
    power_w: int
    heard_per_mille: int


def encode_report(report: Report) -> bytes:
    return json.dumps(
        {
            "bid_id": report.bid_id,
            "at_ns": report.at_ns,
            "power_w": report.power_w,
            "heard_per_mille": report.heard_per_mille,
        }
    ).encode()


def decode_report(body: bytes) -> Report:
    """Raises BadBid for anything but a report of whole numbers."""
    try:
        found = json.loads(body)
        numbers = [found[name] for name in ("at_ns", "power_w", "heard_per_mille")]
        bid_id = found["bid_id"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadBid(f"no telemetry: {error}") from error
    if not isinstance(bid_id, str) or any(type(one) is not int for one in numbers):
        raise BadBid("no telemetry: a bid and three whole numbers")
    return Report(bid_id, *numbers)


def signal_w(bid_id: str, product: str, capacity_w: int, at_ns: int) -> int:
    """The signal in W, discharge positive: both ways for REG, one way for REG_UP and REG_DOWN."""
    knot, rest = divmod(at_ns, KNOT_NS)
    low, high = (draw(bid_id, "signal", one, below=2 * PER_MILLE + 1) for one in (knot, knot + 1))
    position = low + (high - low) * rest // KNOT_NS - PER_MILLE
    if product == "REG":
        return capacity_w * position // PER_MILLE
    one_way = capacity_w * abs(position) // PER_MILLE
    return one_way if product == "REG_UP" else -one_way


@dataclass(slots=True)
class RegulationDesk:
    """Signals and samples of one venue, by bid and moment."""

    samples: dict[tuple[str, int], int] = field(default_factory=dict)

    def take(self, report: Report, offer: Offer) -> int:
        """Keeps a sample, on its four seconds, and answers with the signal of that moment."""
        at_ns = report.at_ns // SAMPLE_NS * SAMPLE_NS
        self.samples[report.bid_id, at_ns] = report.power_w
        while len(self.samples) > KEPT_MAX:
            del self.samples[next(iter(self.samples))]
        return signal_w(report.bid_id, offer.product, offer.curve[-1].power_w, at_ns)

    def performance(self, award: RecordAward, offer: Offer) -> int:
        """Per mille; 0 where nothing was heard at all."""
        ends_ns = award.starts_ns + award.duration_ns
        moments = range(award.starts_ns, ends_ns, SAMPLE_NS)
        if not any((award.bid_id, at_ns) in self.samples for at_ns in moments):
            return 0
        told = [
            signal_w(award.bid_id, offer.product, offer.curve[-1].power_w, at_ns)
            for at_ns in moments
        ]
        given = [self.samples.get((award.bid_id, at_ns), 0) for at_ns in moments]
        return score(told, given).performance
