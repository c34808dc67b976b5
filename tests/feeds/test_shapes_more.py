"""Shapes of ERCOT, NYISO and EIA that were seen; `test_shapes` has those of CAISO and PJM."""

import json
from datetime import date
from itertools import pairwise

import pytest

from cloud.feeds import eia, ercot, nyiso
from cloud.feeds.intervals import (
    CENTRAL,
    EASTERN,
    HOUR_NS,
    hour_interval,
    trade_day,
)
from cloud.feeds.rows import Malformed, NotData, Throttled
from protos.clock import MINUTE_NS
from tests.feeds.test_shapes import zipped

DAY = date(2026, 7, 15)
AUTUMN = date(2026, 11, 1)


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
