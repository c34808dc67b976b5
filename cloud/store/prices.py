"""Prices in two times: when an interval is, and when its price was known.

A publication is taken whole or not at all: every price must be the sum of its parts. A value that
is the same as the newest known one adds nothing; another one is a new version beside the old, so
that a question as of any moment gets the answer that stood then. Each fetch is kept with the hash
of its bytes and with what was expected beside what came. Age is judged by what the newest row is
about, never by when it was fetched. Values are integer millionths of their unit.
"""

import gzip
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cloud.feeds.intervals import Interval
from cloud.feeds.quality import TOTAL, Coverage, coverage, identity
from cloud.feeds.rows import Malformed, Row
from protos.clock import MINUTE_NS

CHANGE_MAX_PER_MILLE = 50
SMALL_MICRO = 1_000_000
"""Changes of less than a unit of currency are noise, however large their share of a price."""

AGE_MAX_NS = 15 * MINUTE_NS

SCHEMA = """
CREATE TABLE IF NOT EXISTS price (
  source TEXT NOT NULL, market TEXT NOT NULL, place TEXT NOT NULL, item TEXT NOT NULL,
  start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
  version INTEGER NOT NULL, seen_ns INTEGER NOT NULL, value_micro INTEGER NOT NULL,
  PRIMARY KEY (source, market, place, item, start_ns, version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fetch (
  id INTEGER PRIMARY KEY, source TEXT NOT NULL, subject TEXT NOT NULL, at_ns INTEGER NOT NULL,
  sha256 TEXT NOT NULL, expected INTEGER NOT NULL, received INTEGER NOT NULL,
  strangers INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS archive (sha256 TEXT PRIMARY KEY, packed BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of prices."""

    source: str
    market: str
    place: str
    item: str = TOTAL


@dataclass(frozen=True, slots=True)
class Known:
    """One interval's value as it stood."""

    start_ns: int
    end_ns: int
    value_micro: int
    version: int
    seen_ns: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a fetch brought: intervals expected and received, new values and corrections."""

    expected: int
    received: int
    strangers: int
    fresh: int
    corrected: int

    @property
    def is_complete(self) -> bool:
        return self.expected == self.received and not self.strangers


@dataclass(frozen=True, slots=True)
class Alert:
    """Something a trader wants to know. `key` names the cause, so that it is one alarm."""

    key: str
    message: str


class PriceStore:
    """The bitemporal store in one SQLite file. Not safe to share between threads."""

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        """Raises FileNotFoundError where there is no store to read only."""
        if read_only:
            if not Path(path).is_file():
                raise FileNotFoundError(
                    f"{path}: there is no price store here; name an aggregator's state_dir, or bring"
                    " prices with gridtokenx prices"
                )
            where = f"{Path(path).absolute().as_uri()}?mode=ro"
            self._base = sqlite3.connect(where, isolation_level=None, uri=True)
            return
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.executescript(SCHEMA)

    def close(self) -> None:
        self._base.close()

    def take(
        self,
        series: Series,
        rows: Sequence[Row],
        span: Interval,
        step_ns: int,
        body: bytes,
        at_ns: int,
    ) -> Receipt:
        """Stores one publication's rows, its bytes, and how whole it was.

        `span` and `step_ns` say what was asked for. Raises Malformed where prices are not the sum
        of their parts; the bytes are kept then too, and nothing else.
        """
        mine = [
            row
            for row in rows
            if (row.source, row.market, row.place, row.item)
            == (series.source, series.market, series.place, series.item)
        ]
        covered = coverage(mine, span, step_ns)
        received = covered.expected - len(covered.missing)
        wrong = identity(rows) if any(row.item == TOTAL for row in rows) else []
        fresh = corrected = 0
        with self._base:
            self._base.execute("BEGIN IMMEDIATE")
            kept = 0 if wrong else received
            self._note_fetch(series, body, at_ns, covered, kept)
            if not wrong:
                fresh, corrected = self._put(rows, at_ns)
        if wrong:
            raise Malformed(series.source, f"{len(wrong)} prices are not the sum of their parts")
        return Receipt(covered.expected, received, len(covered.strangers), fresh, corrected)

    def _note_fetch(
        self, series: Series, body: bytes, at_ns: int, covered: Coverage, received: int
    ) -> None:
        """The bytes of a publication, once, and what came of asking for it."""
        digest = sha256(body).hexdigest()
        self._base.execute(
            "INSERT OR IGNORE INTO archive VALUES (?, ?)", (digest, gzip.compress(body, mtime=0))
        )
        self._base.execute(
            "INSERT INTO fetch (source, subject, at_ns, sha256, expected, received, strangers)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                series.source,
                f"{series.market}/{series.place}",
                at_ns,
                digest,
                covered.expected,
                received,
                len(covered.strangers),
            ),
        )

    def _put(self, rows: Iterable[Row], at_ns: int) -> tuple[int, int]:
        fresh = corrected = 0
        for row in rows:
            key = (row.source, row.market, row.place, row.item, row.start_ns)
            newest = self._base.execute(
                "SELECT version, value_micro, end_ns FROM price WHERE source=? AND market=? AND"
                " place=? AND item=? AND start_ns=? ORDER BY version DESC LIMIT 1",
                key,
            ).fetchone()
            if newest is not None and newest[1:] == (row.value_micro, row.end_ns):
                continue
            version = 1 if newest is None else newest[0] + 1
            self._base.execute(
                "INSERT INTO price VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*key, row.end_ns, version, at_ns, row.value_micro),
            )
            fresh, corrected = fresh + (version == 1), corrected + (version > 1)
        return fresh, corrected

    def as_of(self, series: Series, span: Interval, known_ns: int) -> list[Known]:
        """The values of the intervals that start in `span`, as they stood at `known_ns`."""
        found = self._base.execute(
            "SELECT start_ns, end_ns, value_micro, MAX(version), seen_ns FROM price"
            " WHERE source=? AND market=? AND place=? AND item=? AND start_ns>=? AND start_ns<?"
            " AND seen_ns<=? GROUP BY start_ns ORDER BY start_ns",
            (*_key(series), span.start_ns, span.end_ns, known_ns),
        )
        return [Known(*row) for row in found]

    def latest(self, series: Series, span: Interval) -> list[Known]:
        """The newest values of the intervals that start in `span`."""
        return self.as_of(series, span, 2**63 - 1)

    def missing(self, series: Series, span: Interval, step_ns: int) -> list[int]:
        """The starts of the intervals of `span` of which nothing is known."""
        held = {known.start_ns for known in self.latest(series, span)}
        return [start for start in span.steps(step_ns) if start not in held]

    def age_ns(self, series: Series, at_ns: int) -> int | None:
        """How long ago the newest interval ended; None if there is none."""
        (newest,) = self._base.execute(
            "SELECT MAX(end_ns) FROM price WHERE source=? AND market=? AND place=? AND item=?",
            _key(series),
        ).fetchone()
        return None if newest is None else at_ns - int(newest)

    def archived(self, digest: str) -> bytes | None:
        """The bytes of a publication by their SHA-256."""
        row = self._base.execute("SELECT packed FROM archive WHERE sha256=?", (digest,)).fetchone()
        return None if row is None else gzip.decompress(row[0])

    def fetches(self, source: str) -> list[tuple[int, str, str, int, int]]:
        """Every fetch of a source: time, subject, hash, expected and received intervals."""
        return list(
            self._base.execute(
                "SELECT at_ns, subject, sha256, expected, received FROM fetch WHERE source=?"
                " ORDER BY id",
                (source,),
            )
        )


def _key(series: Series) -> tuple[str, str, str, str]:
    return series.source, series.market, series.place, series.item


def alerts(series: Series, known: Sequence[Known], age_ns: int | None) -> list[Alert]:
    """What is worth an alarm: old data, and the newest price's change on the one before.

    `known` is in order of start. A price within SMALL_MICRO of the one before is quiet.
    """
    name = f"{series.source}/{series.market}/{series.place}"
    found = []
    if age_ns is None or age_ns > AGE_MAX_NS:
        text = "no price yet" if age_ns is None else f"newest price {age_ns // MINUTE_NS} min old"
        found.append(Alert(f"stale/{name}", f"{name}: {text}"))
    if len(known) >= 2:
        before, after = known[-2].value_micro, known[-1].value_micro
        change = abs(after - before)
        if change > SMALL_MICRO and change * 1_000 > CHANGE_MAX_PER_MILLE * abs(before):
            text = f"{before / 1_000_000:.2f} to {after / 1_000_000:.2f} per MWh"
            found.append(Alert(f"price/{name}", f"{name}: {text}"))
    return found
