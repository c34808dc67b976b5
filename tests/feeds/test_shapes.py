"""Shapes that publishers were seen to send: each gives the rows that its reader would expect.

The data here are made up; only the columns, the labels and their order are as published.
"""

import io
import json
import zipfile
from datetime import UTC, date, datetime

import pytest

from cloud.feeds import caiso, ercot, pjm
from cloud.feeds.intervals import (
    EASTERN,
    HOUR_NS,
    PACIFIC,
    hour_interval,
    operating_hour,
    trade_day,
)
from cloud.feeds.prices import observations
from cloud.feeds.quality import identity
from cloud.feeds.rows import MILLION, Malformed, NotData, Throttled
from cloud.venues.days import caiso_zip
from protos.clock import MINUTE_NS

DAY = date(2026, 7, 15)
AUTUMN = date(2026, 11, 1)
SPAN = "2026-07-15T07:00:00-00:00,2026-07-15T08:00:00-00:00"
TIMES = "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT"
XML_TYPES = {
    "LMP": "LMP_PRC",
    "MCE": "LMP_ENE_PRC",
    "MCC": "LMP_CONG_PRC",
    "MCL": "LMP_LOSS_PRC",
    "MGHG": "LMP_GHG_PRC",
}


def zipped(*files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files:
            archive.writestr(name, body)
    return packed.getvalue()


def stamp(instant_ns):
    return datetime.fromtimestamp(instant_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S-00:00")


# ---- CAISO ---------------------------------------------------------------------------------


def price_xml(rows):
    """The price rows of a day as OASIS's XML has them: by data item alone."""
    data = "".join(
        f"<REPORT_DATA><DATA_ITEM>{XML_TYPES[row.item]}</DATA_ITEM>"
        f"<RESOURCE_NAME>{row.place}</RESOURCE_NAME><OPR_DATE>2026-07-15</OPR_DATE>"
        f"<INTERVAL_START_GMT>{stamp(row.start_ns)}</INTERVAL_START_GMT>"
        f"<INTERVAL_END_GMT>{stamp(row.end_ns)}</INTERVAL_END_GMT>"
        f"<VALUE>{row.value_micro / MILLION:.6f}</VALUE></REPORT_DATA>"
        for row in rows
    )
    return (
        '<?xml version="1.0"?><OASISReport xmlns="urn:x"><MessagePayload><RTO><REPORT_ITEM>'
        "<REPORT_HEADER><REPORT>PRC_LMP</REPORT><MKT_TYPE>DAM</MKT_TYPE></REPORT_HEADER>"
        f"{data}</REPORT_ITEM></RTO></MessagePayload></OASISReport>"
    ).encode()


def test_xml_and_csv_of_one_day_are_the_same_prices_for_the_desk():
    as_csv = caiso_zip(DAY, "DAM")
    as_xml = zipped(("20260715_PRC_LMP.xml", price_xml(caiso.parse(as_csv).rows)))
    assert observations("caiso", as_xml) == observations("caiso", as_csv)


def test_reserve_prices_in_xml_have_the_names_of_the_csv():
    line = f"{SPAN},2026-07-15,1,0,A,SR,AS_CAISO,DAM,SP_CLR_PRC,3.5,1\n"
    header = f"{TIMES},OPR_DT,OPR_HR,OPR_INTERVAL,OPR_TYPE,ANC_TYPE,ANC_REGION,MARKET_RUN_ID,XML_DATA_ITEM,MW,GROUP\n"
    (as_csv,) = caiso.parse((header + line).encode()).rows
    start, end = SPAN.split(",")
    body = (
        "<OASISReport><REPORT_ITEM><REPORT_HEADER><REPORT>PRC_AS</REPORT><MKT_TYPE>DAM</MKT_TYPE>"
        "</REPORT_HEADER><REPORT_DATA><DATA_ITEM>SP_CLR_PRC</DATA_ITEM><RESOURCE_NAME>AS_CAISO"
        f"</RESOURCE_NAME><INTERVAL_START_GMT>{start}</INTERVAL_START_GMT><INTERVAL_END_GMT>{end}"
        "</INTERVAL_END_GMT><VALUE>3.5</VALUE></REPORT_DATA></REPORT_ITEM></OASISReport>"
    )
    (as_xml,) = caiso.parse(body.encode()).rows
    assert (as_xml.market, as_xml.place, as_xml.item) == ("DAM", "AS_CAISO", "SR")
    assert (as_xml.item, as_xml.value_micro) == (as_csv.item, as_csv.value_micro)


def test_the_zone_of_a_schedule_is_its_place():
    header = (
        f"{TIMES},SLRS_TYPE,OPR_DT,OPR_HR,OPR_INTERVAL,MARKET_RUN_ID,TAC_ZONE_NAME,SCHEDULE,"
        "XML_DATA_ITEM,POS,MW,GROUP\n"
    )
    lines = [
        f"{SPAN},ALL,2026-07-15,1,0,DAM,Caiso_Totals,Load,ISO_TOT_LOAD_MW,1,25000.5,1\n",
        f"{SPAN},ALL,2026-07-15,1,0,DAM,TAC_NORTH,Load,ISO_TOT_LOAD_MW,1,9000,2\n",
    ]
    rows = caiso.parse((header + "".join(lines)).encode()).rows
    assert {row.place: row.item for row in rows} == {
        "Caiso_Totals": "ISO_TOT_LOAD_MW",
        "TAC_NORTH": "ISO_TOT_LOAD_MW",
    }


@pytest.mark.parametrize("code", ["1003", "1010", "1015"])
def test_a_busy_oasis_asks_for_patience_and_is_no_refusal(code):
    error = f"<OASISReport><ERROR><ERR_CODE>{code}</ERR_CODE><ERR_DESC>later</ERR_DESC></ERROR></OASISReport>"
    with pytest.raises(Throttled) as raised:
        caiso.parse(zipped(("INVALID_REQUEST.xml", error)))
    assert raised.value.retry_s == 60


BID_HEADER = (
    "STARTTIME,STOPTIME,STARTTIME_GMT,STOPTIME_GMT,STARTDATE,MARKET_RUN_ID,RESOURCE_TYPE,"
    "SCHEDULINGCOORDINATOR_SEQ,RESOURCEBID_SEQ,TIMEINTERVALSTART,TIMEINTERVALEND,"
    "TIMEINTERVALSTART_GMT,TIMEINTERVALEND_GMT,PRODUCTBID_DESC,MARKETPRODUCTTYPE,SELFSCHEDMW,"
    "SCH_BID_TIMEINTERVALSTART_GMT,SCH_BID_TIMEINTERVALSTOP_GMT,SCH_BID_XAXISDATA,"
    "SCH_BID_Y1AXISDATA,SCH_BID_CURVETYPE,MINEOHSTATEOFCHARGE,MAXEOHSTATEOFCHARGE\n"
)


def test_a_public_bid_has_its_hour_where_its_line_tells_it():
    lines = [
        f",,,,x,DAM,GENERATOR,9,111,,,,,,EN,,{SPAN},80,55.5,BIDPRICE,,\n",
        f",,,,x,DAM,GENERATOR,9,111,,,,,,EN,,{SPAN},40,30.25,BIDPRICE,,\n",
        f",,,,x,DAM,GENERATOR,9,222,,,{SPAN},,EN,17.5,,,,,,,\n",
        f",,,,x,DAM,GENERATOR,9,222,,,{SPAN},TOR,EN,2.5,,,,,,,\n",
    ]
    page = caiso.parse((BID_HEADER + "".join(lines)).encode())
    told = {(row.place, row.item): row.value_micro for row in page.rows}
    assert told == {
        ("111", "EN/1/MW"): 40 * MILLION,
        ("111", "EN/1/PRICE"): 30_250_000,
        ("111", "EN/2/MW"): 80 * MILLION,
        ("111", "EN/2/PRICE"): 55_500_000,
        ("222", "EN/SELFSCHED"): 17_500_000,
        ("222", "EN/SELFSCHED/TOR"): 2_500_000,
    }
    assert {row.start_ns for row in page.rows} == {operating_hour(DAY, 1).start_ns}
    timeless = lines[0].replace(SPAN, ",")
    with pytest.raises(Malformed, match="GMT times"):
        caiso.parse((BID_HEADER + timeless).encode())


CORRECTIONS = (
    "TRADE_DATE,HOUR_ENDING,INTERVAL,MARKET,AFFECTED_AREA,CORRECTION_METHOD,CORRECTION_COUNT,"
    "ENERGY_TYPECODE,CORRECTION_REASON,REPORT_GENERATED\n"
)


def test_corrections_are_counts_by_hour():
    lines = [
        "2026-11-01,25,1,RTD,NORTH,Recalculated,3,LMP,late meter,2026-11-05\n",
        "2026-11-01,25,1,RTD,NORTH,Recalculated,4,LMP,wrong limit,2026-11-05\n",
        "2026-11-01,,,DAM,,,0,,No records found for report.,2026-11-05\n",
    ]
    page = caiso.parse((CORRECTIONS + "".join(lines)).encode())
    (row,) = page.rows
    assert (row.market, row.place, row.item) == ("RTD", "NORTH", "LMP/Recalculated/1")
    assert (row.value_micro, page.absent) == (7 * MILLION, 1)
    assert row.start_ns == operating_hour(AUTUMN, 25).start_ns
    whole = "2026-07-15,,,DAM,NORTH,Recalculated,2,LMP,why,2026-07-20\n"
    (row,) = caiso.parse((CORRECTIONS + whole).encode()).rows
    assert row.end_ns - row.start_ns == trade_day(DAY, PACIFIC).duration_ns


@pytest.mark.parametrize("change", [("2026-11-01", "soon"), (",25,", ",26,"), (",3,", ",x,")])
def test_a_broken_correction_is_malformed(change):
    line = "2026-11-01,25,1,RTD,NORTH,Recalculated,3,LMP,late meter,2026-11-05\n"
    with pytest.raises(Malformed):
        caiso.parse((CORRECTIONS + line.replace(*change)).encode())


def test_a_month_of_quarter_hours_comes_in_one_zip():
    line = "DeliveryDate,HourEnding,SettlementPoint,SettlementPointPrice,DSTFlag\n07/15/2026,{:02}:00,{},1,N\n"
    files = [(f"{n}.A.csv", line.format(n % 24 + 1, f"P{n // 24}")) for n in range(2_976)]
    assert len(ercot.parse(zipped(*files)).rows) == 2_976


# ---- PJM -----------------------------------------------------------------------------------


def feed(name, *items):
    links = [{"rel": "self", "href": f"https://x/api/v1/{name}?startRow=1"}]
    return json.dumps({"links": links, "items": items, "totalRows": len(items)}).encode()


PRICE = {
    "datetime_beginning_utc": "2026-07-15T04:05:00",
    "pnode_id": 1,
    "system_energy_price_rt": 20.0,
    "total_lmp_rt": 21.0,
    "congestion_price_rt": 0.5,
    "marginal_loss_price_rt": 0.5,
    "row_is_current": True,
}
HOURLY = {"datetime_beginning_utc": "2026-07-15T04:00:00", "mw": 5}


@pytest.mark.parametrize(
    ("name", "item", "minutes"),
    [
        ("rt_fivemin_hrl_lmps", PRICE, 5),
        ("rt_unverified_fivemin_lmps", PRICE, 5),
        ("ancillary_services_fivemin_hrl", HOURLY, 5),
        ("inst_load", HOURLY, 5),
        ("rt_hrl_lmps", PRICE, 60),
        ("rt_da_monthly_lmps", PRICE, 60),
        ("gen_by_fuel", HOURLY, 60),
        ("reg_market_results", HOURLY, 60),
    ],
)
def test_an_interval_of_a_feed_is_as_long_as_the_feed_says(name, item, minutes):
    for row in pjm.parse(feed(name, item)).rows:
        assert row.end_ns - row.start_ns == minutes * MINUTE_NS


def test_a_price_of_five_minutes_sums_for_the_desk():
    assert identity(pjm.parse(feed("rt_fivemin_hrl_lmps", PRICE)).rows) == []


def test_day_ahead_prices_are_hours_even_where_nothing_names_the_feed():
    item = {"datetime_beginning_utc": "2026-07-15T04:00:00", "pnode_id": 1, "total_lmp_da": 25.5}
    (row,) = pjm.parse(json.dumps([item]).encode()).rows
    assert row.end_ns - row.start_ns == HOUR_NS
    with pytest.raises(Malformed, match="one time alone"):
        pjm.parse(json.dumps([PRICE]).encode())


def test_a_service_has_its_price_and_its_ratio_apart():
    at = {"datetime_beginning_utc": "2026-07-15T04:00:00", "ancillary_service": "RTO Regulation"}
    items = at | {"unit": "Price", "value": 3.25}, at | {"unit": "Ratio", "value": 1.5}
    rows = pjm.parse(feed("ancillary_services", *items)).rows
    assert {row.item: row.value_micro for row in rows} == {
        "RTO Regulation/Price": 3_250_000,
        "RTO Regulation/Ratio": 1_500_000,
    }


def test_a_number_in_quotes_is_a_number():
    (row,) = pjm.parse(feed("rt_hrl_lmps", HOURLY | {"mw": "55.25"})).rows
    assert row.value_micro == 55_250_000


def test_nodes_that_have_only_a_name_are_places():
    at = {"datetime_beginning_utc": "2026-07-15T04:00:00", "type": "HUB"}
    items = at | {"name": "A", "five_min_rtlmp": 20.5}, at | {"name": "B", "five_min_rtlmp": 21.5}
    rows = pjm.parse(feed("rt_unverified_fivemin_lmps", *items)).rows
    assert [(row.place, row.value_micro) for row in rows] == [("A", 20_500_000), ("B", 21_500_000)]


def test_two_approvals_of_one_case_stand_beside_each_other():
    at = {"datetime_beginning_utc": "2026-07-15T04:00:00", "pnode_id": 1}
    first = at | {"case_approval_datetime_utc": "2026-07-15T03:40:00", "itsced_lmp": 20.5}
    later = at | {"case_approval_datetime_utc": "2026-07-15T03:50:00", "itsced_lmp": 21.5}
    rows = pjm.parse(feed("five_min_itsced_lmps", first, later)).rows
    assert rows[1].issued_ns - rows[0].issued_ns == 10 * MINUTE_NS


@pytest.mark.parametrize("as_csv", [False, True])
def test_a_column_of_words_that_nobody_listed_tells_two_values_apart(as_csv):
    at = {"datetime_beginning_utc": "2026-07-15T04:00:00", "mw": 5}
    items = at | {"novelty": "inner"}, at | {"novelty": "outer", "mw": 6}
    lines = [
        ",".join(map(str, one)) for one in (at | {"novelty": ""}, *(i.values() for i in items))
    ]
    hour = "\n2026-07-15T05:00:00,7,inner\n"
    body = ("\n".join(lines) + hour).encode() if as_csv else feed("gen_by_fuel", *items)
    rows = pjm.parse(body).rows
    assert {row.item: row.value_micro for row in rows[:2]} == {
        "inner/mw": 5 * MILLION,
        "outer/mw": 6 * MILLION,
    }
    with pytest.raises(Malformed, match="two values"):
        pjm.parse(feed("gen_by_fuel", at, at | {"mw": 6}))


@pytest.mark.parametrize("label", ["7/15/2026 4:00:00 AM", "07/15/2026 04:00:00", "7/15/2026 4:00"])
def test_a_spreadsheet_writes_the_same_hour_otherwise(label):
    body = f"datetime_beginning_utc,pnode_id,total_lmp_da\n{label},1,20.5\n"
    (row,) = pjm.parse(body.encode()).rows
    assert row.start_ns == hour_interval(DAY, 1, EASTERN).start_ns


def test_tool_notices_in_xml_are_no_feed():
    with pytest.raises(NotData, match="json or csv"):
        pjm.parse(
            b'<?xml version="1.0"?><m:messageList xmlns:m="urn:x"><messages/></m:messageList>'
        )


def test_blanks_after_commas_belong_to_no_name():
    body = f"{TIMES}, NODE, MARKET_RUN_ID, LMP_TYPE, MW\n{SPAN}, A, DAM, LMP, 5.5\n"
    (row,) = caiso.parse(body.encode()).rows
    assert (row.place, row.market, row.item) == ("A", "DAM", "LMP")
