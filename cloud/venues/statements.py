"""The simulator's settlement desk: statements of a trade day, in versions, as XML.

It settles with decimals from its own awards, the meter data that was sent in and its own prices,
so that a shadow settlement in integers has something independent to agree with. Each correction of
a price or a meter is taken into the next version. The shape follows what is public of ISO
statements (ERCOT's): operating day, version, charge codes, intervals. Pure.
"""

from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
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
HOURS = Decimal(60 * MINUTE_NS)


@dataclass(slots=True)
class SettlementDesk:
    """One venue's settlement of one trade day."""

    venue: str
    day: str
    awards: dict[tuple[str, int], RecordAward] = field(default_factory=dict)
    meters_wh: dict[tuple[str, int], int] = field(default_factory=dict)
    award_prices: dict[int, int] = field(default_factory=dict)
    imbalance_prices: dict[int, int] = field(default_factory=dict)
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
        stray = Decimal(self.imbalance_prices[award.starts_ns]) / 1_000_000
        if self.venue != "caiso":
            return [("BALANCING_ENERGY", metered, stray)]
        price = Decimal(self.award_prices[award.starts_ns]) / 1_000_000
        return [("6460", awarded, price), ("6475", metered - awarded, stray)]


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
