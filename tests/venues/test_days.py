"""The made day has the shape of a real one, sums exactly, and is the same every time."""

import csv
import io
import json
import zipfile
from datetime import date
from decimal import Decimal

import pytest

from cloud.venues.days import caiso_zip, pjm_json, publication

SPRING, SUMMER, AUTUMN = date(2026, 3, 8), date(2026, 7, 15), date(2026, 11, 1)


def rows(day, market):
    with zipfile.ZipFile(io.BytesIO(caiso_zip(day, market))) as archive:
        (name,) = archive.namelist()
        return list(csv.DictReader(io.StringIO(archive.read(name).decode())))


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (SUMMER, 24), (AUTUMN, 25)])
def test_a_day_has_as_many_hours_as_its_clock(day, hours):
    assert len(rows(day, "DAM")) == hours * 5
    assert len(rows(day, "RTPD")) == hours * 4 * 5
    assert len(json.loads(pjm_json(day, "DA"))["items"]) == hours


def test_the_repeated_hour_is_number_25():
    hours = {row["INTERVALSTARTTIME_GMT"][11:13]: int(row["OPR_HR"]) for row in rows(AUTUMN, "DAM")}
    assert [hours["08"], hours["09"], hours["10"]] == [2, 25, 3]


@pytest.mark.parametrize("market", ["DAM", "RTPD"])
def test_the_parts_of_every_price_sum_to_it_exactly(market):
    column = "MW" if market == "DAM" else "PRC"
    sums, totals = {}, {}
    for row in rows(SUMMER, market):
        key, value = row["INTERVALSTARTTIME_GMT"], Decimal(row[column])
        if row["LMP_TYPE"] == "LMP":
            totals[key] = value
        else:
            sums[key] = sums.get(key, Decimal(0)) + value
    assert sums == totals


def test_noon_is_cheaper_than_the_evening():
    price = {
        int(row["OPR_HR"]): Decimal(row["MW"])
        for row in rows(SUMMER, "DAM")
        if row["LMP_TYPE"] == "LMP"
    }
    assert price[13] < price[4] < price[20]


@pytest.mark.parametrize(
    ("venue", "market"), [("caiso", "DAM"), ("caiso", "RTM"), ("pjm", "DA"), ("pjm", "RT")]
)
def test_the_same_day_is_the_same_bytes_and_another_day_is_not(venue, market):
    assert publication(venue, SUMMER, market) == publication(venue, SUMMER, market)
    assert publication(venue, SUMMER, market) != publication(venue, AUTUMN, market)


def test_an_unknown_venue_is_an_error():
    with pytest.raises(KeyError):
        publication("nowhere", SUMMER, "DAM")
