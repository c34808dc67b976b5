"""Each kind of seeded damage is found, and a clean day raises no alarm."""

from datetime import date

import msgspec
import pytest

from cloud.feeds import caiso, pjm
from cloud.feeds.intervals import EASTERN, HOUR_NS, PACIFIC, trade_day
from cloud.feeds.quality import age_ns, coverage, identity, outside
from cloud.venues.days import caiso_zip, pjm_json

DAYS = [date(2026, 3, 8), date(2026, 7, 15), date(2026, 11, 1)]


def prices(day=DAYS[1]):
    return caiso.parse(caiso_zip(day, "DAM")).rows


def series(rows, item="LMP"):
    return [row for row in rows if row.item == item]


@pytest.mark.parametrize("day", DAYS)
def test_a_clean_day_raises_no_alarm(day):
    for rows, zone in (
        (prices(day), PACIFIC),
        (pjm.parse(pjm_json(day, "DA")).rows, EASTERN),
    ):
        assert identity(rows) == []
        covered = coverage(series(rows), trade_day(day, zone), HOUR_NS)
        assert covered.is_complete
        assert outside(series(rows), -150_000_000, 2_000_000_000) == []


def test_a_day_without_a_greenhouse_part_sums_as_well():
    rows = []
    greenhouse = {row.start_ns: row.value_micro for row in series(prices(), "MGHG")}
    for row in prices():
        if row.item == "LMP":
            less = row.value_micro - greenhouse[row.start_ns]
            rows.append(msgspec.structs.replace(row, value_micro=less))
        elif row.item != "MGHG":
            rows.append(row)
    assert identity(rows) == []


def test_mixed_components_are_found():
    names = {"LMP": "MCC", "MCC": "LMP"}
    rows = [msgspec.structs.replace(row, item=names.get(row.item, row.item)) for row in prices()]
    assert len(identity(rows)) == 24


def test_a_swapped_sign_is_found():
    first = series(prices(), "MCE")[20]
    rows = [
        msgspec.structs.replace(row, value_micro=-row.value_micro) if row == first else row
        for row in prices()
    ]
    assert [found.start_ns for found in identity(rows)] == [first.start_ns]


@pytest.mark.parametrize("item", ["LMP", "MCE"])
def test_a_price_without_its_total_or_its_energy_is_found(item):
    lost = series(prices(), item)[5]
    found = identity([row for row in prices() if row != lost])
    assert [one.start_ns for one in found] == [lost.start_ns]
    assert found[0].difference_micro is None


def test_a_dropped_hour_and_a_lost_chunk_are_found():
    rows, span = series(prices()), trade_day(DAYS[1], PACIFIC)
    assert coverage(rows[:5] + rows[6:], span, HOUR_NS).missing == (rows[5].start_ns,)
    assert len(coverage(rows[9:], span, HOUR_NS).missing) == 9
    assert len(coverage([], span, HOUR_NS).missing) == 24


def test_hours_shifted_by_a_wrong_clock_are_found():
    shifted = [
        msgspec.structs.replace(row, start_ns=row.start_ns + HOUR_NS, end_ns=row.end_ns + HOUR_NS)
        for row in series(prices())
    ]
    covered = coverage(shifted, trade_day(DAYS[1], PACIFIC), HOUR_NS)
    assert (len(covered.missing), len(covered.strangers)) == (1, 1)


def test_rows_of_another_length_do_not_count():
    span = trade_day(DAYS[1], PACIFIC)
    assert len(coverage(series(prices()), span, HOUR_NS // 4).missing) == 96


def test_age_is_that_of_the_newest_interval():
    rows = prices()
    assert age_ns(rows, trade_day(DAYS[1], PACIFIC).end_ns + 5) == 5
    with pytest.raises(ValueError, match=r"."):
        age_ns([], 0)


def test_a_value_no_price_has_is_found():
    rows = series(prices())
    assert len(outside(rows, 0, 10**9)) == len([row for row in rows if row.value_micro < 0]) > 0
