"""A publication becomes the desk's commands, whole or not at all, and none before its time."""

import io
from datetime import date
from zipfile import ZipFile

import pytest

from cloud.feeds.intervals import HOUR_NS
from cloud.feeds.prices import observations, schedule
from cloud.feeds.rows import Malformed, NoData
from cloud.venues.days import caiso_zip, publication
from cloud.vpp.bids import OFFERED
from protos.clock import SECOND_NS
from tests.venues.bidding import utc_ns

DAY = date(2026, 7, 15)


@pytest.mark.parametrize("product", OFFERED, ids=lambda product: product.venue)
def test_a_made_day_is_known_by_the_desks_own_names(product):
    for market, count in ((product.ahead, 24), (product.market, None)):
        found = observations(product.venue, publication(product.venue, DAY, market))
        assert {(one.venue, one.node, one.market) for one in found} == {
            (product.venue, product.node, market)
        }
        assert sum(one.duration_ns for one in found) == 24 * HOUR_NS
        assert count in {None, len(found)}


def test_prices_come_in_the_order_of_their_starts():
    found = observations("caiso", caiso_zip(DAY, "DAM"))
    assert [one.starts_ns for one in found] == sorted(one.starts_ns for one in found)


def test_one_bad_price_refuses_the_whole_publication():
    with ZipFile(io.BytesIO(caiso_zip(DAY, "DAM"))) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    line = next(line for line in text.splitlines() if ",MCE," in line)
    value = line.split(",")[14]
    with pytest.raises(Malformed, match="1 prices"):
        observations("caiso", text.replace(line, line.replace(value, "9" + value)).encode())


def test_a_report_without_prices_is_no_data():
    body = (
        "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,TAC_AREA_NAME,MW\n"
        "2026-07-15T07:00:00-00:00,2026-07-15T08:00:00-00:00,X,5\n"
    )
    with pytest.raises(NoData):
        observations("caiso", body.encode())


def test_tomorrows_newspaper_is_not_read_today():
    ahead = schedule(observations("caiso", publication("caiso", DAY, "DAM")))
    assert {due.at_ns for due in ahead} == {utc_ns(2026, 7, 14, 20)}
    now = schedule(observations("caiso", publication("caiso", DAY, "RTM")))
    assert all(due.command.starts_ns - due.at_ns == 1350 * SECOND_NS for due in now)
