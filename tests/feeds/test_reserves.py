"""Prices of reserve capacity: from the ISOs' own columns to the names that the desk knows."""

import io
import json
from datetime import date
from zipfile import ZipFile

import pytest

from cloud.feeds import pjm
from cloud.feeds.intervals import HOUR_NS
from cloud.feeds.prices import observations, schedule
from cloud.feeds.rows import Malformed, NoData
from cloud.venues.days import publication, reserve_price_micro
from protos.clock import MINUTE_NS
from tests.venues.bidding import utc_ns

DAY = date(2026, 7, 15)
TIMES = "2026-07-15T07:00:00-00:00,2026-07-15T08:00:00-00:00"
COLUMNS = (
    "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,OPR_DT,OPR_HR,OPR_INTERVAL,OPR_TYPE,ANC_TYPE,"
    "ANC_REGION,MARKET_RUN_ID,XML_DATA_ITEM,MW,GROUP"
)
PARTS = {"AS_CAISO_EXP": "1.5", "AS_CAISO": "0.25", "AS_SP26_EXP": "0", "AS_SP26": "0.00001"}


def oasis(parts, kind="SR", run="DAM"):
    lines = [
        f"{TIMES},2026-07-15,1,0,AS,{kind},{region},{run},SP_CLR_PRC,{price},1"
        for region, price in parts.items()
    ]
    return "\n".join([COLUMNS, *lines]).encode()


def miner(*items, feed="reserve_market_results"):
    links = [{"rel": "self", "href": f"https://x/api/v1/{feed}?startRow=1"}]
    return json.dumps({"links": links, "items": items, "totalRows": len(items)}).encode()


def cleared(service, price, **changes):
    begins = {"datetime_beginning_utc": "2026-07-15T04:05:00", "locale": "PJM_RTO"}
    return begins | {"service": service, "mcp": price, "as_req_mw": 800} | changes


def test_a_resource_is_paid_the_sum_over_the_regions_it_lies_in():
    (found,) = observations("caiso", oasis(PARTS | {"AS_NP26": "9", "AS_NP26_EXP": "9"}))
    assert (found.node, found.market) == ("AS_SP26", "DAM_AS_SPIN")
    assert found.price_micro_per_mwh == 1_750_010
    assert (found.starts_ns, found.duration_ns) == (utc_ns(2026, 7, 15, 7), HOUR_NS)


def test_real_time_reserves_have_a_name_of_their_own_and_others_none():
    (found,) = observations("caiso", oasis(PARTS, "RU", "RTM"))
    assert found.market == "RTM_AS_REG_UP"
    with pytest.raises(NoData):
        observations("caiso", oasis(PARTS, "RMU"))


@pytest.mark.parametrize("gone", list(PARTS))
def test_a_sum_that_lacks_a_region_is_no_price(gone):
    parts = {region: price for region, price in PARTS.items() if region != gone}
    with pytest.raises(Malformed, match=f"lacks {gone}"):
        observations("caiso", oasis(parts))


def test_pjm_has_one_price_by_area_and_service():
    items = [cleared("SR", 3.5), cleared("REG", 20.25, reg_ccp=16, reg_pcp=4.25)]
    others = [cleared("PR", 1.5), cleared("SR", 9, locale="MAD")]
    found = observations("pjm", miner(*items, *others))
    assert [(one.node, one.market, one.price_micro_per_mwh) for one in found] == [
        ("PJM_RTO", "RT_AS_REG", 20_250_000),
        ("PJM_RTO", "RT_AS_SPIN", 3_500_000),
    ]
    assert {one.duration_ns for one in found} == {5 * MINUTE_NS}
    (ahead,) = observations("pjm", miner(cleared("SR", 2), feed="da_reserve_market_results"))
    assert (ahead.market, ahead.duration_ns) == ("DA_AS_SPIN", HOUR_NS)


def test_pjms_results_were_hourly_until_september_2022():
    old = cleared("SR", 3.5, datetime_beginning_utc="2022-09-01T03:00:00")
    new = cleared("SR", 3.5, datetime_beginning_utc="2022-09-01T04:00:00")
    for item, step_ns in ((old, HOUR_NS), (new, 5 * MINUTE_NS)):
        row = pjm.parse(miner(item)).rows[0]
        assert row.end_ns - row.start_ns == step_ns


@pytest.mark.parametrize("day", [DAY, date(2026, 11, 1), date(2026, 3, 8)])
@pytest.mark.parametrize(
    ("venue", "market", "products"),
    [("caiso", "DAM_AS", {"SPIN", "REG_UP", "REG_DOWN"}), ("pjm", "RT_AS", {"SPIN", "REG"})],
)
def test_a_made_day_says_what_the_exchange_clears_at(day, venue, market, products):
    found = observations(venue, publication(venue, day, market))
    assert {one.market for one in found} == {f"{market}_{product}" for product in products}
    for product in products:
        mine = [one for one in found if one.market == f"{market}_{product}"]
        hours = {"3-8": 23, "11-1": 25}.get(f"{day.month}-{day.day}", 24)
        assert sum(one.duration_ns for one in mine) == hours * HOUR_NS
        for one in mine:
            hour_ns = one.starts_ns // HOUR_NS * HOUR_NS
            quarters = range(hour_ns, hour_ns + HOUR_NS, 15 * MINUTE_NS)
            clears = [reserve_price_micro(venue, product, at) for at in quarters]
            expected = sum(clears) // 4 if venue == "caiso" else clears[0]
            assert abs(one.price_micro_per_mwh - expected) <= 60


def test_nobody_knows_a_reserve_price_before_the_world_does():
    ahead = schedule(observations("caiso", publication("caiso", DAY, "DAM_AS")))
    assert {due.at_ns for due in ahead} == {utc_ns(2026, 7, 14, 20)}
    for due in schedule(observations("pjm", publication("pjm", DAY, "RT_AS"))):
        assert due.at_ns == due.command.starts_ns + 5 * MINUTE_NS


def test_a_made_report_has_oasiss_own_columns():
    with ZipFile(io.BytesIO(publication("caiso", DAY, "DAM_AS"))) as archive:
        (name,) = archive.namelist()
        text = archive.read(name).decode()
    assert name == "20260715_20260715_PRC_AS_DAM_v12.csv"
    assert text.splitlines()[0] == COLUMNS
