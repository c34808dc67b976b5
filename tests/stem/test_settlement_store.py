"""What is kept for statements that come years later: positions, and what a reserve's calls moved."""

import sqlite3

from msgspec.structs import asdict

from cloud.facts import Awarded, ReserveMetered, ReservePrepared
from cloud.store.settlements import SettlementStore
from tests.venues.bidding import HOUR_NS, NOON, USD, bid

BEFORE = """
CREATE TABLE position (
  bid_id TEXT NOT NULL, starts_ns INTEGER NOT NULL, venue TEXT NOT NULL,
  awarded_wh INTEGER NOT NULL, price_micro INTEGER NOT NULL, delivered_wh INTEGER,
  PRIMARY KEY (bid_id, starts_ns)
) WITHOUT ROWID;
INSERT INTO position VALUES ('old', 1, 'pjm', 100000, 5000000, 90000);
"""


def prepared():
    return ReservePrepared(**asdict(bid("pjm")), reserve="REG", call_s=3_600)


def test_what_a_reserves_calls_moved_is_kept_beside_what_it_is_paid_for(tmp_path):
    store = SettlementStore(tmp_path / "settlements.db")
    name = prepared().bid_id
    metered = ReserveMetered(name, NOON, 100_000, -30_000, -28_000, 900, 450_000)
    for fact in (prepared(), Awarded(name, "pjm", NOON, HOUR_NS, 100_000, 5 * USD), metered):
        store.note(fact)
        store.note(fact)
    (kept,) = store.positions("pjm", NOON, NOON + 1)
    assert (kept.product, kept.awarded_wh, kept.delivered_wh) == ("REG", 100_000, 90_000)
    assert kept.moved_wh == -28_000
    store.close()


def test_a_store_from_before_goes_on_and_its_calls_moved_nothing(tmp_path):
    path = tmp_path / "settlements.db"
    with sqlite3.connect(path) as base:
        base.executescript(BEFORE)
    base.close()
    (kept,) = SettlementStore(path).positions("pjm", 0, 2)
    assert (kept.bid_id, kept.delivered_wh, kept.moved_wh) == ("old", 90_000, 0)
