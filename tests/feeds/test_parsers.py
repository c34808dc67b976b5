"""Every publication gives exact rows or a typed error; nothing is dropped in silence."""

import io
import json
import zipfile
from datetime import date, timedelta

import pytest

from cloud.feeds import caiso, eia, ercot, nyiso, pjm
from cloud.feeds.intervals import EASTERN, HOUR_NS, PACIFIC, to_local, trade_day
from cloud.feeds.quality import identity
from cloud.feeds.rows import (
    EmptyBody,
    FeedError,
    Malformed,
    NoData,
    NotData,
    RequestRefused,
    Throttled,
    micro,
)
from cloud.venues.days import caiso_zip, pjm_json
from protos.clock import MINUTE_NS

DAY = date(2026, 7, 15)
AUTUMN, SPRING = date(2026, 11, 1), date(2026, 3, 8)
THROTTLE = (
    b"<html><body><p>CAISO Acceptable Use Policy Violation. "
    b"Please retry your request after 5 seconds.</p></body></html>"
)
LOAD_HEADER = (
    "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,LOAD_TYPE,OPR_DT,OPR_HR,OPR_INTERVAL,"
    "MARKET_RUN_ID,TAC_AREA_NAME,LABEL,XML_DATA_ITEM,POS,MW,EXECUTION_TYPE,GROUP\n"
)
LOAD_LINE = (
    "2026-07-15T07:00:00-00:00,2026-07-15T08:00:00-00:00,0,2026-07-15,1,0,ACTUAL,CA ISO-TAC,"
    "Load,SYS_FCST_ACT_MW,7,{},ACTUAL,49\n"
)


def oasis_xml(*entries, error=""):
    data = "".join(
        "<REPORT_DATA>" + "".join(f"<{k}>{v}</{k}>" for k, v in entry.items()) + "</REPORT_DATA>"
        for entry in entries
    )
    report = (
        "<REPORT_ITEM><REPORT_HEADER><REPORT>SLD_FCST</REPORT><MKT_TYPE>DAM</MKT_TYPE>"
        f"</REPORT_HEADER>{data}</REPORT_ITEM>"
        if entries
        else ""
    )
    return (
        '<?xml version="1.0"?><m:OASISReport xmlns:m="urn:x" xmlns="urn:x">'
        f"<m:MessagePayload><RTO>{report}{error}</RTO></m:MessagePayload></m:OASISReport>"
    ).encode()


ENTRY = {
    "DATA_ITEM": "SYS_FCST_DA_MW",
    "RESOURCE_NAME": "CA ISO-TAC",
    "INTERVAL_START_GMT": "2026-07-15T07:00:00-00:00",
    "INTERVAL_END_GMT": "2026-07-15T08:00:00-00:00",
    "VALUE": "25123.25",
}


def zipped(body, name="a.csv"):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, body)
    return packed.getvalue()


# ---- numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("40.49724", 40_497_240),
        ("-0.00001", -10),
        ("0", 0),
        ("1E2", 100_000_000),
        ("13005.493749755861875", 13_005_493_750),
        ("0.0000005", 0),
        ("0.0000015", 2),
        (" 7 ", 7_000_000),
    ],
)
def test_a_decimal_becomes_the_nearest_micro(text, value):
    assert micro(text) == value


@pytest.mark.parametrize(
    "text", ["", "abc", "NaN", "Infinity", "1e12", "-1000000000000", "9" * 41, "1,5", "--"]
)
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        micro(text)


# ---- CAISO ---------------------------------------------------------------------------------


@pytest.mark.parametrize("day", [SPRING, DAY, AUTUMN])
@pytest.mark.parametrize(("market", "step"), [("DAM", HOUR_NS), ("RTPD", 15 * MINUTE_NS)])
def test_a_days_prices_come_with_all_their_parts(day, market, step):
    page = caiso.parse(caiso_zip(day, market))
    starts = {row.start_ns for row in page.rows}
    assert starts == set(trade_day(day, PACIFIC).steps(step))
    assert {row.item for row in page.rows} == {"LMP", "MCE", "MCC", "MCL", "MGHG"}
    assert identity(page.rows, 0) == []
    assert page.is_whole


def test_the_zips_csv_may_come_without_its_zip():
    body = caiso_zip(DAY, "DAM")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        plain = archive.read(archive.namelist()[0])
    assert caiso.parse(plain).rows == caiso.parse(body).rows


def test_a_load_forecast_is_in_watts():
    (row,) = caiso.parse((LOAD_HEADER + LOAD_LINE.format("20536.5")).encode()).rows
    assert (row.place, row.item, row.report) == ("CA ISO-TAC", "SYS_FCST_ACT_MW", "SLD_FCST")
    assert row.value_micro == 20_536_500_000


def test_csv_and_xml_of_one_report_hold_the_same_value():
    (row,) = caiso.parse(zipped(oasis_xml(ENTRY), "a.xml")).rows
    assert (row.market, row.place, row.item) == ("DAM", "CA ISO-TAC", "SYS_FCST_DA_MW")
    assert row.value_micro == 25_123_250_000


def test_an_empty_cell_is_counted_and_an_exception_text_is_an_error():
    page = caiso.parse((LOAD_HEADER + LOAD_LINE.format("")).encode())
    assert (page.rows, page.absent) == ([], 1)
    text = "The supplied DateTime represents an invalid time"
    with pytest.raises(Malformed) as raised:
        caiso.parse((LOAD_HEADER + LOAD_LINE.format(text)).encode())
    assert raised.value.line == 2


def test_a_repeated_boundary_row_is_one_row_and_a_contradiction_is_an_error():
    line = LOAD_LINE.format("7")
    assert len(caiso.parse((LOAD_HEADER + line + line).encode()).rows) == 1
    with pytest.raises(Malformed, match="two values"):
        caiso.parse((LOAD_HEADER + line + LOAD_LINE.format("8")).encode())


def test_no_data_is_told_from_other_refusals():
    error = "<ERROR><ERR_CODE>{}</ERR_CODE><ERR_DESC>words</ERR_DESC></ERROR>"
    with pytest.raises(NoData):
        caiso.parse(zipped(oasis_xml(error=error.format(1000)), "INVALID_REQUEST.xml"))
    with pytest.raises(RequestRefused) as raised:
        caiso.parse(oasis_xml(error=error.format(1004)))
    assert raised.value.code == "1004"
    assert not isinstance(raised.value, NoData)


def test_the_throttle_page_is_known_by_its_words():
    with pytest.raises(Throttled) as raised:
        caiso.parse(THROTTLE)
    assert raised.value.retry_s == 5


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", EmptyBody),
        (b" \n", EmptyBody),
        (zipped(b""), EmptyBody),
        (b"PK\x05\x06" + bytes(18), EmptyBody),
        (b"<html>login</html>", NotData),
        (b"a,b,c\n1,2,3\n", Malformed),
        (LOAD_HEADER.encode(), NoData),
        ((LOAD_HEADER + "1,2\n").encode(), Malformed),
        ((LOAD_HEADER + LOAD_LINE.format(1).replace("07:00", "soon")).encode(), Malformed),
        ((LOAD_HEADER + LOAD_LINE.format(1).replace("T08", "T06")).encode(), Malformed),
        ((LOAD_HEADER + LOAD_LINE.format(1).replace("2026-07", "9999-07")).encode(), Malformed),
        (b'<?xml version="1.0" encoding="UTF-99"?><a/>', Malformed),
        ((LOAD_HEADER + LOAD_LINE.format(1).replace("-00:00,", ",")).encode(), Malformed),
        (b"\xff\xfe\xff", Malformed),
        (b"<a><b></a>", Malformed),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', Malformed),
        (oasis_xml(ENTRY | {"VALUE": "?"}), Malformed),
        (oasis_xml(), NoData),
    ],
)
def test_what_caiso_never_publishes_has_its_typed_error(body, error):
    with pytest.raises(error):
        caiso.parse(body)


WATCH = (
    "03/08/26\t\tHourly Breakdown of Renewable Resources (MW)\t\t\n"
    "\tHour\t\tWIND TOTAL\tSOLAR PV\t\n"
    "\t1\t\t100\t0\n\t2\t\t90\t0\n"
    '\t3\t\t"The supplied DateTime represents an invalid time.\nParameter name: dateTime"\t0\n'
    "\t4\t\t80\t0\n\nsecond table\n"
)


def test_the_spring_days_exception_text_is_an_absent_hour():
    page = caiso.parse_renewables_watch(WATCH.encode())
    assert (len(page.rows), page.absent) == (6, 2)
    assert page.rows[4].start_ns - page.rows[2].start_ns == HOUR_NS


@pytest.mark.parametrize(
    "change", [("\t3\t", "\t5\t"), ("\t80\t0", "\t80"), ("Hourly", "Daily"), ("03/08/26", "soon")]
)
def test_a_broken_renewables_text_is_malformed(change):
    with pytest.raises(Malformed):
        caiso.parse_renewables_watch(WATCH.replace(*change).encode())


# ---- zips ----------------------------------------------------------------------------------


def test_a_zip_with_a_broken_directory_is_read_from_the_front():
    body = caiso_zip(DAY, "DAM")
    cut = body[: body.index(b"PK\x01\x02")]
    assert caiso.parse(cut).rows == caiso.parse(body).rows
    assert caiso.parse(cut + b"PK\x01\x02garbage").rows == caiso.parse(body).rows


def test_a_streamed_zip_with_a_broken_directory_is_read_too():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, *_):
            raise OSError

        def tell(self):
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", LOAD_HEADER + LOAD_LINE.format(5))
        archive.writestr("b.csv", LOAD_HEADER + LOAD_LINE.format(6).replace("CA ISO", "PGE"))
    body = pipe.getvalue()
    cut = body[: body.index(b"PK\x01\x02")]
    assert len(caiso.parse(cut).rows) == 2


@pytest.mark.parametrize("keep", [10, 40, 200])
def test_a_zip_that_breaks_off_is_malformed(keep):
    with pytest.raises(Malformed):
        caiso.parse(caiso_zip(DAY, "DAM")[:keep])


def test_a_flipped_bit_in_a_zip_is_never_a_value():
    body = bytearray(caiso_zip(DAY, "DAM"))
    for at in range(80, len(body) - 200, 97):
        body[at] ^= 0x10
        with pytest.raises(FeedError):
            caiso.parse(bytes(body))
        body[at] ^= 0x10


def test_a_zip_bomb_is_refused_before_it_unpacks(monkeypatch):
    from cloud.feeds import archive

    monkeypatch.setattr(archive, "UNPACKED_BYTES_MAX", 1_000)
    with pytest.raises(Malformed):
        caiso.parse(zipped(b"0" * 100_000))
    body = zipped(b"0" * 100_000)
    with pytest.raises(Malformed):
        caiso.parse(body[: body.index(b"PK\x01\x02")])


# ---- PJM -----------------------------------------------------------------------------------


@pytest.mark.parametrize("day", [SPRING, DAY, AUTUMN])
@pytest.mark.parametrize("market", ["DA", "RT"])
def test_pjm_prices_come_with_their_parts(day, market):
    page = pjm.parse(pjm_json(day, market))
    prices = [row for row in page.rows if row.item == "LMP"]
    assert [row.start_ns for row in prices] == list(trade_day(day, EASTERN).steps(HOUR_NS))
    assert {row.market for row in page.rows} == {market}
    assert {row.place for row in page.rows} == {"51288"}
    assert identity(page.rows, 0) == []
    assert page.is_whole


def pjm_page(*items, feed="da_hrl_lmps", **changes):
    links = [{"rel": "self", "href": f"https://x/api/v1/{feed}?startRow=1"}]
    return json.dumps({"links": links, "items": items, "totalRows": len(items)} | changes).encode()


ITEM = {"datetime_beginning_utc": "2026-07-15T04:00:00", "pnode_id": 1, "total_lmp_da": 25.5}


def test_a_page_that_is_not_the_last_says_where_the_rest_is():
    links = [
        {"rel": "next", "href": "https://x/2"},
        {"rel": "self", "href": "https://x/da_hrl_lmps"},
    ]
    page = pjm.parse(pjm_page(ITEM, totalRows=2, links=links))
    assert (page.following, page.announced, page.is_whole) == ("https://x/2", 2, False)


def test_null_columns_and_superseded_rows_are_counted_as_absent():
    page = pjm.parse(
        pjm_page(ITEM | {"congestion_price_da": None}, ITEM | {"row_is_current": False})
    )
    assert (len(page.rows), page.absent, page.entries) == (1, 2, 2)


def test_a_feed_with_its_own_ends_needs_no_known_step():
    item = {
        "datetime_beginning_utc": "2026-07-15T04:00:00",
        "datetime_ending_utc": "2026-07-15T04:05:00",
        "solar_forecast_mwh": 0.1,
    }
    (row,) = pjm.parse(pjm_page(item, feed="five_min_solar_power_forecast")).rows
    assert (row.end_ns - row.start_ns, row.value_micro) == (5 * MINUTE_NS, 100_000)


def test_a_decimal_in_json_is_not_bent_by_a_float():
    body = pjm_page(ITEM).replace(b"25.5", b"25.123456")
    assert pjm.parse(body).rows[0].value_micro == 25_123_456


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", EmptyBody),
        (b"{", Malformed),
        (b"[]", Malformed),
        (b"{}", Malformed),
        (b'{"items": 3}', Malformed),
        (pjm_page(), NoData),
        (pjm_page(7), Malformed),
        (pjm_page({k.replace("_da", "_x"): v for k, v in ITEM.items()}, feed="novel"), Malformed),
        (pjm_page({"total_lmp_da": 1}), Malformed),
        (pjm_page(ITEM | {"datetime_beginning_utc": 5}), Malformed),
        (pjm_page(ITEM | {"datetime_ending_utc": "2026-07-15T03:00:00"}), Malformed),
        (pjm_page(ITEM | {"total_lmp_da": {"x": 1}}), Malformed),
        (pjm_page(ITEM).replace(b"25.5", b"1e99"), Malformed),
        (b'{"messages": []}', NotData),
        (b"<!DOCTYPE html><html>sign in</html>", NotData),
        (b'{"errors":[{"field":"Filters","message":"A datetime is missing."}]}', RequestRefused),
        (b'{"errors":{}}', RequestRefused),
    ],
)
def test_what_pjm_says_instead_of_rows_has_its_typed_error(body, error):
    with pytest.raises(error):
        pjm.parse(body)


def test_notices_are_read_apart():
    body = b'{"messages":[{"userMessageId":5,"subject":"Reserve"}]}'
    assert pjm.parse_notices(body) == [(5, "Reserve")]
    for bad in (b'{"messages":[{}]}', b"[]", b'{"messages":3}'):
        with pytest.raises(Malformed):
            pjm.parse_notices(bad)


# ---- ERCOT ---------------------------------------------------------------------------------


def test_ercots_repeated_hour_follows_its_flag():
    body = (
        "DeliveryDate,HourEnding,SettlementPoint,SettlementPointPrice,DSTFlag   \n"
        "11/01/2026,02:00,HB_NORTH,20.5,N\n"
        "11/01/2026,02:00,HB_NORTH,21.5,Y\n"
        "11/01/2026,03:00,HB_NORTH,22.5,N\n"
    )
    rows = ercot.parse(zipped(body, "cdr.1.2.3.DAMSPNP4190.csv")).rows
    assert [row.start_ns - rows[0].start_ns for row in rows] == [0, HOUR_NS, 2 * HOUR_NS]
    assert (rows[0].report, rows[0].place, rows[0].item) == ("DAMSPNP4190", "HB_NORTH", "LMP")


def test_a_wide_report_is_a_row_for_each_column():
    body = "DELIVERY_DATE,HOUR_ENDING,GEN,HSL,DSTFlag\n07/15/2026,14,1.5,,N\n"
    page = ercot.parse(body.encode())
    assert [(row.item, row.value_micro) for row in page.rows] == [("GEN", 1_500_000)]
    assert page.absent == 1


def test_a_quarter_hour_is_told_by_its_number():
    header = "DeliveryDate,DeliveryHour,DeliveryInterval,SettlementPointName,SettlementPointType,"
    body = header + "SettlementPointPrice,DSTFlag\n07/15/2026,14,3,HB_WEST,HU,9.9,N\n"
    (row,) = ercot.parse(body.encode()).rows
    assert row.start_ns % HOUR_NS == 30 * MINUTE_NS
    assert row.end_ns - row.start_ns == 15 * MINUTE_NS


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("03/08/2026,03:00,A,1,N", Malformed),
        ("07/15/2026,02:00,A,1,Y", Malformed),
        ("07/15/2026,25:00,A,1,N", Malformed),
        ("2026-07-15,01:00,A,1,N", Malformed),
        ("07/15/2026,01:00,A,x,N", Malformed),
        ("07/15/2026,01:00,A", Malformed),
        ("", NoData),
    ],
)
def test_an_impossible_ercot_line_is_an_error(line, error):
    header = "DeliveryDate,HourEnding,SettlementPoint,SettlementPointPrice,DSTFlag\n"
    with pytest.raises(error):
        ercot.parse((header + line + "\n").encode())


def test_the_dashboard_is_hours_that_end_at_their_stamp():
    entry = {
        "hourEnding": 1,
        "dstFlag": "N",
        "systemLoad": 42015.44,
        "dayAheadHsl": None,
        "timestamp": "2026-07-15 01:00:00-0500",
        "epoch": 1,
    }
    page = ercot.parse(json.dumps({"currentDay": {"data": [entry]}}).encode())
    assert [(row.item, row.value_micro) for row in page.rows] == [("systemLoad", 42_015_440_000)]
    assert to_local(page.rows[0].end_ns, EASTERN).hour == 2
    assert page.absent == 1
    for bad in (b'{"a":1}', b"[1]"):
        with pytest.raises(NotData):
            ercot.parse(bad)
    with pytest.raises(Malformed):
        ercot.parse(b'{"currentDay":{"data":[{"systemLoad":1}]}}')


# ---- NYISO ---------------------------------------------------------------------------------

PRICE_HEADER = (
    '"Time Stamp","Name","PTID","LBMP ($/MWHr)","Marginal Cost Losses ($/MWHr)",'
    '"Marginal Cost Congestion ($/MWHr)"\n'
)


def nyiso_day(day, step_ns=5 * MINUTE_NS):
    lines = []
    span = trade_day(day, EASTERN)
    for start_ns in span.steps(step_ns):
        stamp = to_local(start_ns + step_ns, EASTERN).strftime("%m/%d/%Y %H:%M:%S")
        lines += [f'"{stamp}","{zone}",1,20.5,1.5,-0.25\n' for zone in ("N.Y.C.", "WEST")]
    return PRICE_HEADER + "".join(lines)


@pytest.mark.parametrize("day", [SPRING, DAY, AUTUMN])
def test_every_five_minutes_of_a_nyiso_day_find_their_place(day):
    rows = [r for r in nyiso.parse(nyiso_day(day).encode()).rows if r.item == "LMP"]
    for zone in ("N.Y.C.", "WEST"):
        starts = [row.start_ns for row in rows if row.place == zone]
        assert starts == list(trade_day(day, EASTERN).steps(5 * MINUTE_NS))


def test_a_nyiso_file_may_begin_with_an_empty_line():
    body = ("\n" + nyiso_day(DAY)).encode()
    assert nyiso.parse(body).rows == nyiso.parse(nyiso_day(DAY).encode()).rows


def test_day_ahead_labels_are_starts():
    body = PRICE_HEADER + "".join(
        f'"07/15/2026 {hour:02}:00","WEST",1,20,1,0\n' for hour in range(24)
    )
    rows = nyiso.parse(body.encode(), "DA").rows
    assert rows[0].start_ns == trade_day(DAY, EASTERN).start_ns


def test_a_load_file_with_a_zone_column_needs_no_order():
    lines = [
        '"11/01/2026 01:00:00","EST","WEST",1,7\n',
        '"11/01/2026 01:00:00","EDT","WEST",1,8\n',
        '"11/01/2026 02:00:00","EST","WEST",1,9\n',
    ]
    body = '"Time Stamp","Time Zone","Name","PTID","Load"\n' + "".join(lines)
    rows = nyiso.parse(body.encode()).rows
    assert [row.value_micro for row in sorted(rows, key=lambda r: r.start_ns)] == [
        *(8_000_000, 7_000_000, 9_000_000)
    ]


def test_a_wide_forecast_is_a_row_for_each_zone():
    body = '"Time Stamp","West","NYISO"\n"07/15/2026 00:00",1,2\n"07/15/2026 01:00",3,\n'
    page = nyiso.parse(body.encode())
    assert [(row.place, row.value_micro) for row in page.rows] == [
        ("West", 1_000_000),
        ("NYISO", 2_000_000),
        ("West", 3_000_000),
    ]
    assert page.absent == 1


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (PRICE_HEADER, NoData),
        ("a,b\n", Malformed),
        ('"Time Stamp","Name","PTID","Load"\n"07/15/2026 00:05:00","WEST",1,2\n', Malformed),
        (PRICE_HEADER + '"03/08/2026 02:30:00","WEST",1,2,3,4\n', Malformed),
        (PRICE_HEADER + '"soon","WEST",1,2,3,4\n', Malformed),
        (PRICE_HEADER + '"07/15/2026 00:05:00","WEST"\n', Malformed),
        (nyiso_day(DAY).replace("20.5", "n/a", 1), Malformed),
        ("", EmptyBody),
    ],
)
def test_a_broken_nyiso_file_has_its_typed_error(body, error):
    with pytest.raises(error):
        nyiso.parse(body.encode())


# ---- EIA -----------------------------------------------------------------------------------


def eia_page(*data, total: object = None):
    return json.dumps({"response": {"total": total, "data": data}}).encode()


STOCK = {
    "period": "2026-09-04",
    "duoarea": "R48",
    "series": "NW2_EPG0_SWO_R48_BCF",
    "value": "3254",
    "units": "BCF",
}


@pytest.mark.parametrize("total", [1, "1", None])
def test_a_value_is_a_string_and_a_total_either(total):
    page = eia.parse(eia_page(STOCK, total=total))
    assert page.is_whole
    assert (page.rows[0].place, page.rows[0].value_micro) == ("R48", 3_254_000_000)


def test_a_null_value_is_absent_and_a_short_page_not_whole():
    page = eia.parse(eia_page(STOCK | {"value": None}, STOCK, total=9))
    assert (len(page.rows), page.absent, page.is_whole) == (1, 1, False)


@pytest.mark.parametrize(
    ("label", "length"),
    [
        ("2026-09-04", timedelta(days=1)),
        ("2026-02", timedelta(days=28)),
        ("2026-12", timedelta(days=31)),
        ("2028", timedelta(days=366)),
        ("2026-09-04T05", timedelta(hours=1)),
    ],
)
def test_a_period_is_as_long_as_its_label_says(label, length):
    start, end = eia.period(label)
    assert end - start == length // timedelta(microseconds=1) * 1_000


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":"Series ID is not valid.","code":404}', RequestRefused),
        (b'{"response":{}}', Malformed),
        (b"[]", Malformed),
        (b"x", Malformed),
        (eia_page(), NoData),
        (eia_page(3), Malformed),
        (eia_page(STOCK | {"value": "w"}), Malformed),
        (eia_page(STOCK | {"period": "someday"}), Malformed),
        (eia_page({"value": "1"}), Malformed),
    ],
)
def test_what_eia_says_instead_of_rows_has_its_typed_error(body, error):
    with pytest.raises(error):
        eia.parse(body)
