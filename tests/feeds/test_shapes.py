"""Shapes that publishers were seen to send: each gives the rows that its reader would expect.

The data here are made up; only the columns, the labels and their order are as published.
"""

import io
import json
import zipfile
from datetime import UTC, date, datetime
from itertools import pairwise

import pytest

from cloud.feeds import caiso, eia, ercot, nyiso, pjm
from cloud.feeds.intervals import (
    CENTRAL,
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


# ---- ERCOT ---------------------------------------------------------------------------------


def api(fields, *data, **more):
    names = [{"name": name} for name in fields.split()]
    return json.dumps({"fields": names, "data": data} | more).encode()


@pytest.mark.parametrize("flag", ["RepeatedHourFlag", "repeatHourFlag", "DSTFlag"])
def test_every_name_of_the_flag_tells_the_repeated_hour(flag):
    lines = (
        ["2026-11-01T01:05:12", False, "HB_WEST", 20.5],
        ["2026-11-01T01:05:12", True, "HB_WEST", 21.5],
    )
    first, second = ercot.parse(api(f"SCEDTimestamp {flag} settlementPoint LMP", *lines)).rows
    assert (first.item, second.item) == ("LMP", "LMP")
    assert second.start_ns - first.start_ns == HOUR_NS
    assert first.start_ns // HOUR_NS == hour_interval(AUTUMN, 2, CENTRAL).start_ns // HOUR_NS


def test_a_page_of_the_api_says_that_there_are_more():
    line = ["2026-07-15", 1, 4, "HB_WEST", "HU", 20.5, False]
    fields = (
        "deliveryDate deliveryHour deliveryInterval settlementPoint settlementPointType "
        "settlementPointPrice DSTFlag"
    )
    page = ercot.parse(api(fields, line, _meta={"totalRecords": 60, "totalPages": 60}))
    assert (page.announced, page.is_whole) == (60, False)


def test_the_system_lambda_is_no_price_of_a_place():
    body = b"SCEDTimeStamp,RepeatedHourFlag,SystemLambda\n07/15/2026 00:05:13,N,20.5\n"
    (row,) = ercot.parse(body).rows
    assert (row.place, row.item) == ("ERCOT", "SystemLambda")


def ercot_xml(*lines):
    data = "".join(
        "<Price>" + "".join(f"<{k}>{v}</{k}>" for k, v in line.items()) + "</Price>"
        for line in lines
    )
    return (
        f'<?xml version="1.0"?><n:Prices xmlns:n="urn:x" xmlns="urn:x">{data}</n:Prices>'.encode()
    )


XML_LINE = {
    "DeliveryDate": "11/01/2026",
    "HourEnding": "02:00",
    "SettlementPoint": "HB_WEST",
    "SettlementPointPrice": "20.5",
    "DSTFlag": "N",
}


def test_ercots_xml_is_its_csv():
    later = XML_LINE | {"DSTFlag": "Y", "SettlementPointPrice": "21.5"}
    body = "\n".join(",".join(one) for one in (XML_LINE, XML_LINE.values(), later.values()))
    as_csv = ercot.parse(zipped(("cdr.1.2.DAMSPNP4190.csv", body)))
    as_xml = ercot.parse(zipped(("cdr.1.2.DAMSPNP4190.xml", ercot_xml(XML_LINE, later))))
    assert as_xml.rows == as_csv.rows
    assert len(as_xml.rows) == 2


def test_xml_that_is_no_report_of_ercots_is_told():
    with pytest.raises(NotData, match="without delivery hours"):
        ercot.parse(b"<rss><channel><title>News</title></channel></rss>")
    with pytest.raises(NotData, match="without delivery hours"):
        ercot.parse(b"<nothing/>")
    with pytest.raises(Malformed, match="has not"):
        ercot.parse(ercot_xml(XML_LINE, XML_LINE | {"Novelty": "1"}))
    with pytest.raises(Malformed):
        ercot.parse(ercot_xml(XML_LINE)[:-4])


def test_a_list_of_documents_is_no_report():
    body = {"ListDocsByRptTypeRes": {"DocumentList": [{"Document": {"DocID": "1"}}]}}
    with pytest.raises(NotData, match="DocID"):
        ercot.parse(json.dumps(body).encode())


@pytest.mark.parametrize("minutes", [5, 60])
def test_a_dashboards_stamps_are_as_far_apart_as_their_intervals_are_long(minutes):
    entries = [
        {"timestamp": f"2026-07-15 0{n * minutes // 60}:{n * minutes % 60:02}:00-0500",
         "hourEnding": 1, "interval": 5 * n, "demand": 100 + n}
        for n in range(3)
    ]  # fmt: skip
    rows = ercot.parse(json.dumps({"data": entries}).encode()).rows
    assert {row.end_ns - row.start_ns for row in rows} == {minutes * MINUTE_NS}
    assert all(after.start_ns == row.end_ns for row, after in pairwise(rows))
    midnight_ns = trade_day(DAY, CENTRAL).start_ns
    assert midnight_ns == (rows[0].start_ns if minutes == 5 else rows[0].end_ns)


def test_lines_of_the_api_may_be_records():
    fields = "deliveryDate hourEnding settlementPoint settlementPointPrice DSTFlag"
    line = ["2026-07-15", "01:00", "HB_WEST", 20.5, False]
    as_list = ercot.parse(api(fields, line)).rows
    assert ercot.parse(api(fields, dict(zip(fields.split(), line, strict=True)))).rows == as_list
    with pytest.raises(Malformed):
        ercot.parse(api(fields, 7))


def test_blanks_after_commas_belong_to_no_name():
    body = f"{TIMES}, NODE, MARKET_RUN_ID, LMP_TYPE, MW\n{SPAN}, A, DAM, LMP, 5.5\n"
    (row,) = caiso.parse(body.encode()).rows
    assert (row.place, row.market, row.item) == ("A", "DAM", "LMP")


# ---- NYISO ---------------------------------------------------------------------------------

NYISO_HEADER = '"Time Stamp","Name","PTID","LBMP ($/MWHr)","Marginal Cost Losses ($/MWHr)","Marginal Cost Congestion ($/MWH{}"\n'


@pytest.mark.parametrize("end", ["", "r)"])
def test_the_header_of_old_price_files_breaks_off_and_means_the_same(end):
    line = '"07/15/2026 00:00","WEST",61752,20.5,1.5,-0.25\n'
    rows = nyiso.parse((NYISO_HEADER.format(end) + line).encode()).rows
    assert [(row.item, row.value_micro) for row in rows] == [
        ("LMP", 20_500_000), ("MCL", 1_500_000), ("MCC", -250_000),
    ]  # fmt: skip


def test_one_run_alone_is_five_minutes_that_end_at_its_label():
    body = NYISO_HEADER.format("r)") + '"07/15/2026 00:05:00","WEST",61752,20.5,1.5,-0.25\n'
    row = nyiso.parse(body.encode()).rows[0]
    assert (row.market, row.end_ns - row.start_ns) == ("RT", 5 * MINUTE_NS)
    assert row.start_ns == trade_day(DAY, EASTERN).start_ns


@pytest.mark.parametrize(("name", "market"), [("damlbmp", "DA"), ("rtlbmp", "RT")])
def test_hourly_prices_of_both_markets_are_told_apart_by_their_file(name, market):
    lines = "".join(
        f'"11/01/2026 {hour:02}:00","WEST",61752,{n},1,0\n' for n, hour in enumerate((0, 1, 1, 2))
    )
    rows = nyiso.parse(zipped((f"20261101{name}_zone.csv", NYISO_HEADER.format("r)") + lines))).rows
    prices = [row for row in rows if row.item == "LMP"]
    assert {row.market for row in rows} == {market}
    start_ns = trade_day(AUTUMN, EASTERN).start_ns
    assert [row.start_ns for row in prices] == [start_ns + n * HOUR_NS for n in range(4)]


@pytest.mark.parametrize(
    ("columns", "line", "report"),
    [
        ("Time Stamp,Time Zone,Fuel Category,Gen MW", "EDT,Hydro,2500", "FUEL_MIX"),
        ("Timestamp,Interface Name,Point ID,Flow (MWH),Positive Limit (MWH)", "A,1,2,3", "FLOWS"),
        (
            "Time Stamp,Time Zone,Limiting Facility,Facility PTID,Contingency,Constraint Cost($)",
            "EDT,A,1,BASE CASE,12.5",
            "CONSTRAINTS",
        ),
        (
            "Time Stamp,Time Zone,Name,PTID,10 Min Spinning Reserve ($/MWHr)",
            "EDT,WEST,1,2.5",
            "RESERVES",
        ),
        ("Time Stamp,Time Zone,Name,PTID,Integrated Load", "EDT,WEST,1,2.5", "LOAD"),
    ],
)
def test_a_file_of_nyiso_is_named_by_what_it_holds(columns, line, report):
    body = f"{columns}\n07/15/2026 00:00:00,{line}\n07/15/2026 01:00:00,{line}\n"
    assert {row.report for row in nyiso.parse(body.encode()).rows} == {report}


def test_a_file_of_words_is_no_silence():
    body = "Time Stamp,Message\n07/15/2026 00:05:00,normal\n07/15/2026 00:10:00,alert\n"
    with pytest.raises(NotData, match="without a number"):
        nyiso.parse(body.encode())


# ---- EIA -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "hour"), [("2026-07-15T05", 1), ("2026-07-15T01-04", 1), ("2026-07-15T02-04:00", 2)]
)
def test_an_hour_of_eia_is_named_by_its_end(label, hour):
    interval = hour_interval(DAY, hour, EASTERN)
    assert eia.period(label) == (interval.start_ns, interval.end_ns)


def test_a_route_downloaded_as_a_table_is_its_json():
    entry = {
        "period": "2026-09-04",
        "duoarea": "R48",
        "series": "NW2",
        "value": "3254",
        "units": "BCF",
    }
    as_json = json.dumps({"response": {"total": 1, "data": [entry]}}).encode()
    as_csv = "\n".join([",".join(entry), ",".join(entry.values())]).encode()
    assert eia.parse(as_csv).rows == eia.parse(as_json).rows


@pytest.mark.parametrize(
    ("head", "label", "period"),
    [
        ("Day", "09/30/2026", "2026-09-30"),
        ("Week of", "09/25/2026", "2026-09-25"),
        ("Month", "Sep 2026", "2026-09"),
        ("Year", "2026", "2026"),
    ],
)
def test_a_series_history_below_its_title_is_read(head, label, period):
    name = "Gas Spot Price Dollars per Million Btu"
    body = (
        f"Gas Spot Price\nhttps://x/y\n12:00:00 GMT\nSource: EIA\n\n{head},{name}\n{label},3.125\n"
    )
    (row,) = eia.parse(body.encode()).rows
    assert (row.item, row.value_micro) == (name, 3_125_000)
    assert (row.start_ns, row.end_ns) == eia.period(period)
    with pytest.raises(Malformed):
        eia.parse(body.replace(label, "soon").encode())


def test_a_table_of_another_kind_is_malformed():
    with pytest.raises(Malformed, match="column period"):
        eia.parse(b"a,b\n1,2\n")


def test_a_key_that_asked_too_often_waits_an_hour():
    error = {"error": {"code": "OVER_RATE_LIMIT", "message": "You have exceeded your rate limit."}}
    with pytest.raises(Throttled) as raised:
        eia.parse(json.dumps(error).encode())
    assert raised.value.retry_s == 3_600
