"""Shadow settlement: what a statement should say, line by line to the cent, and what to dispute.

A statement is a series of versions, never a row: prices are corrected and meters read again for
years. Each version is held against lines made here from the awards, the meters and the prices as
they are published at that time. Energy times price stays exact until the one rounding of a line,
half a cent away from zero. A day-ahead award is paid its own price whatever is delivered, and what
strays from it is bought or sold at the real-time price. A reserve is paid its capacity, regulation
by its performance, and the energy that its calls moved is real-time energy. Charge codes: CAISO 6011
(day-ahead energy), 6460 (fifteen-minute instructed energy), 6470 (instructed energy of the real-time
dispatch, as of reserves), 6475 (uninstructed, at the five-minute price), 6170, 6570 and 6670
(real-time spinning and regulation up and down; the numbers of reserves are common knowledge that no
public text was found for); PJM's lines have no public number.
Never changes a line that a venue sent.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from cloud.commands import Statement, StatementLine
from protos.ids import DeviceId
from protos.units import PER_MILLE, largest_remainder

INSTRUCTED = "6460"
DISPATCHED = "6470"
UNINSTRUCTED = "6475"
BALANCING = "BALANCING_ENERGY"
AHEAD = {"caiso": "6011", "pjm": "DAY_AHEAD_ENERGY"}
RESERVES = {
    ("caiso", "SPIN"): "6170",
    ("caiso", "REG_UP"): "6570",
    ("caiso", "REG_DOWN"): "6670",
    ("pjm", "SPIN"): "SYNCHRONIZED_RESERVE",
    ("pjm", "REG"): "REGULATION",
}
ENERGY = "EN"
MICRO_WH_PER_CENT = 10_000_000_000
"""Wh times micro-units per MWh in a cent."""

Key = tuple[str, str, int]
"""Charge code, bid and start of a line: what makes it the same line in every version."""


@dataclass(frozen=True, slots=True)
class Position:
    """One award and what was delivered for it. Negative energy was bought. Of a reserve, `awarded_wh`
    is capacity over its time, `delivered_wh` the part of it that is paid, and `moved_wh` the energy
    that its calls brought out (or, negative, in).

    `price_micro` is the award's own, which day-ahead energy and reserves are settled at.
    """

    bid_id: str
    starts_ns: int
    awarded_wh: int
    delivered_wh: int
    product: str = ENERGY
    is_ahead: bool = False
    price_micro: int = 0
    moved_wh: int = 0


@dataclass(frozen=True, slots=True)
class SettlementPrices:
    """Micro-units per MWh by interval: of the award, and of what strays from it."""

    award: Mapping[int, int]
    imbalance: Mapping[int, int]


class Reason(Enum):
    """Why a line is disputed; the first that holds."""

    MISSING = "the statement has no such line"
    UNEXPECTED = "we have no such line"
    QUANTITY = "the quantity differs"
    PRICE = "the price differs"
    AMOUNT = "quantity times price is not the amount"


@dataclass(frozen=True, slots=True)
class Difference:
    """One line on which statement and shadow disagree; `cents` is statement less shadow."""

    key: Key
    reason: Reason
    cents: int


@dataclass(frozen=True, slots=True)
class Dispute:
    """A difference that some version had. It is closed by the version that agrees."""

    difference: Difference
    opened_version: int
    closed_version: int | None = None


def line_cents(energy_wh: int, price_micro_per_mwh: int) -> int:
    """The money of a line in cents, halves away from zero."""
    product = energy_wh * price_micro_per_mwh
    cents = (2 * abs(product) + MICRO_WH_PER_CENT) // (2 * MICRO_WH_PER_CENT)
    return cents if product >= 0 else -cents


def shadow(
    venue: str, positions: Iterable[Position], prices: SettlementPrices
) -> tuple[StatementLine, ...]:
    """The lines a correct statement has, in order. Raises KeyError where a price is not known."""
    lines = [
        StatementLine(
            code, one.bid_id, one.starts_ns, energy_wh, price, line_cents(energy_wh, price)
        )
        for one in positions
        for code, energy_wh, price in _parts(venue, one, prices)
    ]
    return tuple(sorted(lines, key=key_of))


def _parts(venue: str, one: Position, prices: SettlementPrices) -> list[tuple[str, int, int]]:
    """Charge code, quantity and price of each line of a position."""
    if one.product != ENERGY:
        held = (RESERVES[venue, one.product], one.delivered_wh, one.price_micro)
        if not one.moved_wh:
            return [held]
        code = DISPATCHED if venue == "caiso" else BALANCING
        return [held, (code, one.moved_wh, prices.imbalance[one.starts_ns])]
    stray_wh, stray = one.delivered_wh - one.awarded_wh, prices.imbalance[one.starts_ns]
    if one.is_ahead:
        strays = UNINSTRUCTED if venue == "caiso" else BALANCING
        ahead = (AHEAD[venue], one.awarded_wh, one.price_micro)
        return [ahead, (strays, stray_wh, stray)]
    if venue != "caiso":
        return [(BALANCING, one.delivered_wh, stray)]
    instructed = (INSTRUCTED, one.awarded_wh, prices.award[one.starts_ns])
    return [instructed, (UNINSTRUCTED, stray_wh, stray)]


def key_of(line: StatementLine) -> Key:
    return line.charge_code, line.bid_id, line.starts_ns


def differences(
    expected: Sequence[StatementLine], stated: Sequence[StatementLine]
) -> list[Difference]:
    """Every line on which the two disagree, by key. A line stated twice is unexpected once."""
    ours = {key_of(line): line for line in expected}
    theirs: dict[Key, StatementLine] = {}
    found = []
    for line in stated:
        key = key_of(line)
        if key in theirs or key not in ours:
            found.append(Difference(key, Reason.UNEXPECTED, line.amount_cents))
        theirs.setdefault(key, line)
    for key, our in ours.items():
        their = theirs.get(key)
        reason = Reason.MISSING if their is None else _reason(our, their)
        if reason is not None:
            stated_cents = 0 if their is None else their.amount_cents
            found.append(Difference(key, reason, stated_cents - our.amount_cents))
    return sorted(found, key=lambda one: (one.key, one.reason.name))


def _reason(our: StatementLine, their: StatementLine) -> Reason | None:
    if our.quantity_wh != their.quantity_wh:
        return Reason.QUANTITY
    if our.price_micro_per_mwh != their.price_micro_per_mwh:
        return Reason.PRICE
    return Reason.AMOUNT if our.amount_cents != their.amount_cents else None


class DayAccount:
    """One venue's trade day: its statement versions and the disputes they opened and closed."""

    def __init__(self, venue: str, day: str) -> None:
        self.venue = venue
        self.day = day
        self._versions: dict[int, Statement] = {}
        self._disputes: dict[tuple[Key, Reason], Dispute] = {}

    def receive(self, statement: Statement, expected: Sequence[StatementLine]) -> list[Difference]:
        """Takes a version and compares it with what it should say now.

        A version that was received before changes nothing. Raises ValueError for another day's
        statement, and for a version whose contents changed: a venue numbers its reruns.
        """
        if (statement.venue, statement.day) != (self.venue, self.day):
            raise ValueError(f"a statement of {statement.venue} for {statement.day}")
        known = self._versions.get(statement.version)
        if known is not None and known != statement:
            raise ValueError(f"version {statement.version} came with other contents")
        found = differences(expected, statement.lines)
        if known is not None:
            return found
        self._versions[statement.version] = statement
        if statement.version == max(self._versions):
            self._update(found, statement.version)
        return found

    @property
    def newest(self) -> Statement | None:
        return self._versions[max(self._versions)] if self._versions else None

    @property
    def disputes(self) -> list[Dispute]:
        """All that were ever opened, by line."""
        ordered = sorted(self._disputes, key=lambda key: (key[0], key[1].name))
        return [self._disputes[key] for key in ordered]

    @property
    def open_disputes(self) -> list[Dispute]:
        return [one for one in self.disputes if one.closed_version is None]

    def between(self, earlier: int, later: int) -> list[Difference]:
        """What changed from one version to another; `cents` is later less earlier."""
        return differences(self._versions[earlier].lines, self._versions[later].lines)

    def _update(self, found: Iterable[Difference], version: int) -> None:
        current = {(one.key, one.reason): one for one in found}
        for key, dispute in list(self._disputes.items()):
            if key not in current and dispute.closed_version is None:
                closed = Dispute(dispute.difference, dispute.opened_version, version)
                self._disputes[key] = closed
        for key, one in current.items():
            standing = self._disputes.get(key)
            is_open = standing is not None and standing.closed_version is None
            opened = standing.opened_version if standing is not None and is_open else version
            self._disputes[key] = Dispute(one, opened)


def owner_shares(
    amount_micro: int, owners_per_mille: int, delivered_wh: Mapping[DeviceId, int]
) -> dict[DeviceId, int]:
    """The homes' part of a settled amount, by what each delivered; parts sum to the whole part.

    A loss is shared in the same way. Without any delivery there is nothing to share by.
    """
    devices = sorted(device for device, energy in delivered_wh.items() if energy > 0)
    if not devices:
        return {}
    whole = abs(amount_micro) * owners_per_mille // PER_MILLE
    parts = largest_remainder(whole, [delivered_wh[device] for device in devices])
    sign = 1 if amount_micro >= 0 else -1
    return {device: sign * part for device, part in zip(devices, parts, strict=True)}
