"""The simulator's settlement desk: statements of a trade day, in versions, as XML.

It settles with decimals from its own awards, the meter data that was sent in and its own prices,
so that a shadow settlement in integers has something independent to agree with. Each correction of
a price or a meter is taken into the next version. The shape follows what is public of ISO
statements (ERCOT's): operating day, version, charge codes, intervals. Pure.
"""

from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from xml.etree import ElementTree as ET

from cloud.commands import RecordAward, Statement, StatementLine
from cloud.venues.venue import BadAnswer, BadBid
from cloud.venues.wire import (
    NotXml,
    add,
    child_text,
    decimal_text,
    millionths,
    parse_xml,
    to_bytes,
)
from protos.clock import MINUTE_NS

CENT = Decimal("0.01")
WATT_HOUR = Decimal("0.000001")
AHEAD_NAMES = ("DAY_AHEAD_ENERGY", "BALANCING_ENERGY")
RESERVE_NAMES = {
    "caiso": {"SPIN": "6170", "REG_UP": "6570", "REG_DOWN": "6670"},
    "pjm": {"SPIN": "SYNCHRONIZED_RESERVE", "REG": "REGULATION"},
}
CALLED_NAMES = {"caiso": "6470", "pjm": "BALANCING_ENERGY"}
HOURS = Decimal(60 * MINUTE_NS)


@dataclass(slots=True)
class SettlementDesk:
    """One venue's settlement of one trade day."""

    venue: str
    day: str
    awards: dict[tuple[str, int], RecordAward] = field(default_factory=dict)
    meters_wh: dict[tuple[str, int], int] = field(default_factory=dict)
    """By award; of a reserve what its calls moved."""
    award_prices: dict[int, int] = field(default_factory=dict)
    imbalance_prices: dict[int, int] = field(default_factory=dict)
    ahead: set[str] = field(default_factory=set)
    """Bids of the day-ahead market."""
    reserves: dict[str, str] = field(default_factory=dict)
    """Bids of reserve capacity, and of what product."""
    performance: dict[tuple[str, int], int] = field(default_factory=dict)
    """Of regulation, per mille by award."""
    version: int = 0

    def publish(self) -> bytes:
        """The next version of the statement."""
        self.version += 1
        root = ET.Element("Statement")
        add(root, "Venue", self.venue)
        add(root, "OperatingDay", self.day)
        add(root, "StatementVersion", str(self.version))
        for key in sorted(self.awards):
            for code, energy_mwh, price in self._parts(self.awards[key]):
                amount = (energy_mwh * price).quantize(CENT, ROUND_HALF_UP)
                line = add(root, "Line", code=code, bid=key[0], start=str(key[1]))
                add(line, "Quantity", f"{energy_mwh:f}")
                add(line, "Price", f"{price:f}")
                add(line, "CurrentDollars", f"{amount:f}")
        return to_bytes(root)

    def _parts(self, award: RecordAward) -> list[tuple[str, Decimal, Decimal]]:
        key = (award.bid_id, award.starts_ns)
        # MW for part of an hour, in whole Wh as meters count them.
        awarded = Decimal(award.power_w) * Decimal(award.duration_ns) / HOURS / 1_000_000
        awarded = awarded.quantize(Decimal("0.000001"), ROUND_HALF_UP)
        metered = Decimal(self.meters_wh.get(key, 0)) / 1_000_000
        own = Decimal(award.price_micro_per_mwh) / 1_000_000
        if award.bid_id in self.reserves:
            held = self._capacity(award, awarded, own)
            return [held, self._called(award, metered)] if metered else [held]
        stray = Decimal(self.imbalance_prices[award.starts_ns]) / 1_000_000
        if award.bid_id in self.ahead:
            names = ("6011", "6475") if self.venue == "caiso" else AHEAD_NAMES
            return [(names[0], awarded, own), (names[1], metered - awarded, stray)]
        if self.venue != "caiso":
            return [("BALANCING_ENERGY", metered, stray)]
        price = Decimal(self.award_prices[award.starts_ns]) / 1_000_000
        return [("6460", awarded, price), ("6475", metered - awarded, stray)]

    def _called(self, award: RecordAward, metered: Decimal) -> tuple[str, Decimal, Decimal]:
        """The line of what a reserve's calls moved: energy, at the real-time price."""
        code = CALLED_NAMES[self.venue]
        return code, metered, Decimal(self.imbalance_prices[award.starts_ns]) / 1_000_000

    def _capacity(
        self, award: RecordAward, held: Decimal, price: Decimal
    ) -> tuple[str, Decimal, Decimal]:
        """A reserve's line: capacity over its time, regulation in proportion to its performance, in
        whole Wh rounded down.
        """
        product = self.reserves[award.bid_id]
        if product != "SPIN":
            score = Decimal(self.performance.get((award.bid_id, award.starts_ns), 0)) / 1_000
            held = (held * score).quantize(WATT_HOUR, ROUND_DOWN)
        return RESERVE_NAMES[self.venue][product], held, price


def parse_statement(body: bytes) -> Statement:
    """A statement's lines as exact integers. Raises BadAnswer."""
    try:
        return _statement(parse_xml(body))
    except (NotXml, BadBid, ValueError) as error:
        raise BadAnswer("statement", str(error)) from error


def _statement(root: ET.Element) -> Statement:
    if root.tag != "Statement":
        raise BadBid(f"{root.tag} is not a statement")
    lines = [_line(element) for element in root.iterfind("Line")]
    return Statement(
        child_text(root, "Venue"),
        child_text(root, "OperatingDay"),
        int(child_text(root, "StatementVersion")),
        tuple(sorted(lines, key=lambda one: (one.charge_code, one.bid_id, one.starts_ns))),
    )


def _line(element: ET.Element) -> StatementLine:
    micro = millionths(child_text(element, "CurrentDollars"))
    cents, rest = divmod(micro, 10_000)
    if rest:
        raise BadBid(f"{decimal_text(micro)} is no amount in cents")
    return StatementLine(
        element.get("code", ""),
        element.get("bid", ""),
        int(element.get("start", "")),
        millionths(child_text(element, "Quantity")),
        millionths(child_text(element, "Price")),
        cents,
    )
