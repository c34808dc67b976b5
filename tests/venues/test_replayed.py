"""A recorded OASIS file as the prices of another day."""

from datetime import date

import pytest

from cloud.feeds import caiso
from cloud.feeds.intervals import HOUR_NS, PACIFIC, to_local, trade_day
from cloud.feeds.prices import observations
from cloud.feeds.quality import coverage, identity
from cloud.venues.days import CAISO_NODE, LMP_COLUMNS, caiso_rows, csv_bytes, publication
from cloud.venues.replayed import UnusableRecording, replayed

RECORDED = date(2024, 12, 30)


@pytest.fixture
def recording(tmp_path):
    """A day-ahead file of another node and day, plain CSV."""
    path = tmp_path / "PRC_LMP_DAM.csv"
    path.write_bytes(csv_bytes(LMP_COLUMNS, caiso_rows(RECORDED, "DAM", "2C559_1_B1")))
    return path


@pytest.mark.parametrize("day", [date(2026, 7, 15), date(2026, 3, 8), date(2026, 11, 1)])
def test_its_hours_are_published_again_for_the_day_that_is_asked_for(recording, day):
    body = replayed([recording])("caiso", day, "DAM")
    rows = caiso.parse(body).rows
    assert identity(rows) == []
    prices = [row for row in rows if row.item == "LMP"]
    assert {row.place for row in prices} == {CAISO_NODE}
    assert coverage(prices, trade_day(day, PACIFIC), HOUR_NS).is_complete
    known = {
        to_local(row.start_ns, PACIFIC).hour: row.value_micro
        for row in caiso.parse(recording.read_bytes()).rows
        if row.item == "LMP"
    }
    for row in prices:
        assert row.value_micro == known[to_local(row.start_ns, PACIFIC).hour]
    assert {one.market for one in observations("caiso", body)} == {"DAM"}


def test_a_market_without_a_file_has_its_made_day(recording):
    day = date(2026, 7, 15)
    given = replayed([recording])
    assert given("caiso", day, "RTM") == publication("caiso", day, "RTM")
    assert given("pjm", day, "DA") == publication("pjm", day, "DA")


@pytest.mark.parametrize("body", [b"", b"a,b\n1,2\n", b"<html></html>"])
def test_a_file_that_is_no_price_file_is_refused_with_what_to_give(tmp_path, body):
    path = tmp_path / "x.csv"
    path.write_bytes(body)
    with pytest.raises(UnusableRecording, match="give an OASIS PRC_LMP"):
        replayed([path])
    with pytest.raises(UnusableRecording):
        replayed([tmp_path / "missing.csv"])


def test_prices_that_do_not_add_up_are_not_replayed(recording):
    recording.write_bytes(recording.read_bytes().replace(b",LMP,", b",MCE,", 1))
    with pytest.raises(UnusableRecording):
        replayed([recording])
