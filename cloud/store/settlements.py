"""What was sold and delivered, and what the venues say they pay for it, kept for years.

A position is one award with its meter; a statement is kept as the bytes that came, by version.
Nothing here is ever deleted: reruns come years later.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from cloud.facts import Awarded, AwardMetered, BidPrepared, Fact, ReserveMetered
from protos.units import PER_MILLE, energy_wh

SCHEMA = """
CREATE TABLE IF NOT EXISTS position (
  bid_id TEXT NOT NULL, starts_ns INTEGER NOT NULL, venue TEXT NOT NULL,
  awarded_wh INTEGER NOT NULL, price_micro INTEGER NOT NULL, delivered_wh INTEGER,
  PRIMARY KEY (bid_id, starts_ns)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS position_by_time ON position (venue, starts_ns);
CREATE TABLE IF NOT EXISTS sold (
  bid_id TEXT PRIMARY KEY, market TEXT NOT NULL, product TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS moved (
  bid_id TEXT NOT NULL, starts_ns INTEGER NOT NULL, energy_wh INTEGER NOT NULL,
  PRIMARY KEY (bid_id, starts_ns)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS statement (
  venue TEXT NOT NULL, day TEXT NOT NULL, version INTEGER NOT NULL, body BLOB NOT NULL,
  received_ns INTEGER NOT NULL, PRIMARY KEY (venue, day, version)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class KeptPosition:
    """One award; `delivered_wh` is None until it is metered."""

    bid_id: str
    starts_ns: int
    venue: str
    awarded_wh: int
    price_micro: int
    delivered_wh: int | None
    """Of a reserve, the capacity that is paid."""
    market: str
    """Empty where the bid was made before markets were kept: real time, then."""
    product: str
    moved_wh: int
    """What the calls of a reserve brought out; 0 where it was metered before this was kept."""


class SettlementStore:
    """Positions and statements in one SQLite file. Not safe to share between threads."""

    def __init__(self, path: Path | str) -> None:
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.executescript(SCHEMA)

    def close(self) -> None:
        self._base.close()

    def note(self, fact: Fact) -> None:
        """Keeps an award or its meter; the same fact again changes nothing."""
        match fact:
            case BidPrepared():
                self._base.execute(
                    "INSERT OR IGNORE INTO sold VALUES (?, ?, ?)",
                    (fact.bid_id, fact.market, fact.product),
                )
            case Awarded():
                self._base.execute(
                    "INSERT OR IGNORE INTO position VALUES (?, ?, ?, ?, ?, NULL)",
                    (
                        fact.bid_id,
                        fact.starts_ns,
                        fact.venue,
                        energy_wh(fact.power_w, fact.duration_ns),
                        fact.price_micro_per_mwh,
                    ),
                )
            case AwardMetered():
                self._base.execute(
                    "UPDATE position SET delivered_wh=? WHERE bid_id=? AND starts_ns=?",
                    (fact.delivered_wh, fact.bid_id, fact.starts_ns),
                )

            case ReserveMetered():
                paid_wh = fact.capacity_wh * fact.performance_per_mille // PER_MILLE
                self._base.execute(
                    "UPDATE position SET delivered_wh=? WHERE bid_id=? AND starts_ns=?",
                    (paid_wh, fact.bid_id, fact.starts_ns),
                )
                self._base.execute(
                    "INSERT OR IGNORE INTO moved VALUES (?, ?, ?)",
                    (fact.bid_id, fact.starts_ns, fact.delivered_wh),
                )

    def positions(self, venue: str, from_ns: int, to_ns: int) -> list[KeptPosition]:
        """The awards of a venue whose intervals start in [from_ns, to_ns), by bid and start."""
        found = self._base.execute(
            "SELECT bid_id, starts_ns, venue, awarded_wh, price_micro, delivered_wh,"
            " COALESCE(market, ''), COALESCE(product, 'EN'), COALESCE(energy_wh, 0)"
            " FROM position LEFT JOIN sold USING (bid_id)"
            " LEFT JOIN moved USING (bid_id, starts_ns)"
            " WHERE venue=? AND starts_ns>=? AND starts_ns<? ORDER BY bid_id, starts_ns",
            (venue, from_ns, to_ns),
        )
        return [KeptPosition(*row) for row in found]

    def keep_statement(
        self, venue: str, day: str, version: int, body: bytes, received_ns: int
    ) -> bool:
        """Keeps a version's bytes. False if that version was here before, whatever it held."""
        done = self._base.execute(
            "INSERT OR IGNORE INTO statement VALUES (?, ?, ?, ?, ?)",
            (venue, day, version, body, received_ns),
        )
        return done.rowcount == 1

    def statements(self, venue: str, day: str) -> list[bytes]:
        """All versions of a day in order."""
        found = self._base.execute(
            "SELECT body FROM statement WHERE venue=? AND day=? ORDER BY version", (venue, day)
        )
        return [row[0] for row in found]

    def days(self) -> list[tuple[str, str, int]]:
        """Venue, day and newest version of every day that has a statement."""
        return list(
            self._base.execute(
                "SELECT venue, day, MAX(version) FROM statement GROUP BY venue, day"
                " ORDER BY day, venue"
            )
        )
