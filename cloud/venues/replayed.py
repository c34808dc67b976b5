"""A recorded OASIS price file as the prices of any day: its hours, at the node that is traded.

For a demonstration on real prices: the file's first node and its first day are taken, each interval
by its local hour and minute, and published again for the day that is asked for in OASIS's own
columns. An hour that the recorded day does not have takes the hour before it. A market without a
file has its made day. Only prices whose parts add up are taken.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from cloud.feeds import caiso
from cloud.feeds.intervals import PACIFIC, operating_hour_of, to_local, trade_date, trade_day
from cloud.feeds.quality import TOTAL, identity
from cloud.feeds.rows import FeedError, Row
from cloud.venues.days import (
    CAISO_NODE,
    LMP_COLUMNS,
    csv_bytes,
    gmt,
    publication,
    zipped,
)
from cloud.venues.shell import Publication

RUNS = {"DAM": "DAM", "RTPD": "RTM", "RTD": "RTM", "HASP": "RTM"}
"""A file's market run as the desk's market."""

Minute = tuple[int, int]
"""Local hour and minute."""


class UnusableRecording(ValueError):
    """The file cannot stand in for a day; says why."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}; give an OASIS PRC_LMP or PRC_RTPD_LMP file")


class Recorded:
    """One file's day: values by item and local minute."""

    def __init__(self, rows: Sequence[Row]) -> None:
        place = rows[0].place
        day = min(trade_date(row.start_ns, PACIFIC) for row in rows if row.place == place)
        mine = [
            row for row in rows if row.place == place and trade_date(row.start_ns, PACIFIC) == day
        ]
        self.step_ns = mine[0].end_ns - mine[0].start_ns
        self.run = mine[0].market
        self._values: dict[Minute, dict[str, int]] = {}
        for row in mine:
            local = to_local(row.start_ns, PACIFIC)
            self._values.setdefault((local.hour, local.minute), {})[row.item] = row.value_micro

    def published(self, day: date) -> bytes:
        """The day's file, as OASIS serves it."""
        rows: list[dict[str, object]] = []
        minutes = sorted(self._values)
        for start_ns in trade_day(day, PACIFIC).steps(self.step_ns):
            local = to_local(start_ns, PACIFIC)
            before = [one for one in minutes if one <= (local.hour, local.minute)]
            values = self._values[before[-1] if before else minutes[0]]
            rows += [self._row(start_ns, item, value) for item, value in values.items()]
        return zipped(f"{day:%Y%m%d}_{self.run}.csv", csv_bytes(LMP_COLUMNS, rows))

    def _row(self, start_ns: int, item: str, value_micro: int) -> dict[str, object]:
        opr_date, opr_hr = operating_hour_of(start_ns)
        sign = "-" if value_micro < 0 else ""
        whole, part = divmod(abs(value_micro), 1_000_000)
        return {
            "INTERVALSTARTTIME_GMT": gmt(start_ns),
            "INTERVALENDTIME_GMT": gmt(start_ns + self.step_ns),
            "OPR_DT": opr_date.isoformat(),
            "OPR_HR": opr_hr,
            "OPR_INTERVAL": 0,
            "NODE_ID_XML": CAISO_NODE,
            "NODE_ID": CAISO_NODE,
            "NODE": CAISO_NODE,
            "MARKET_RUN_ID": self.run,
            "LMP_TYPE": item,
            "XML_DATA_ITEM": f"LMP_{item}_PRC",
            "PNODE_RESMRID": CAISO_NODE,
            "GRP_TYPE": "ALL_APNODES",
            "POS": 0,
            "MW": f"{sign}{whole}.{part:06d}",
            "GROUP": 1,
        }


def replayed(paths: Sequence[Path]) -> Publication:
    """A publication in which these files stand for their markets. Raises UnusableRecording."""
    files: dict[str, Recorded] = {}
    for path in paths:
        try:
            rows = caiso.parse(path.read_bytes()).rows
        except (OSError, FeedError) as error:
            raise UnusableRecording(path, str(error)) from error
        if not any(row.item == TOTAL for row in rows) or identity(rows):
            raise UnusableRecording(
                path, "its prices are not there with all their parts (LMP, MCE, MCC, MCL)"
            )
        market = RUNS.get(rows[0].market)
        if market is None:
            raise UnusableRecording(path, f"market run {rows[0].market!r} is not traded here")
        files[market] = Recorded(rows)

    def published(venue: str, day: date, market: str) -> bytes:
        found = files.get(market) if venue == "caiso" else None
        return publication(venue, day, market) if found is None else found.published(day)

    return published
