"""Whatever bytes come, a parser gives a page or one of its own errors."""

import gzip
import io
import json
import zipfile
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.feeds import caiso, eia, ercot, nyiso, pjm
from cloud.feeds.prices import observations
from cloud.feeds.rows import FeedError, Malformed, NotData, Page
from cloud.venues.days import LMP_COLUMNS, caiso_rows, caiso_zip, csv_bytes, pjm_json, zipped

DAY = date(2026, 7, 15)
ERCOT = (
    b"DeliveryDate,HourEnding,SettlementPoint,SettlementPointPrice,DSTFlag\n"
    b"07/15/2026,01:00,HB_NORTH,20.5,N\n07/15/2026,02:00,HB_NORTH,21.5,N\n"
)
NYISO = (
    b'"Time Stamp","Time Zone","Name","PTID","Load"\n'
    b'"11/01/2026 01:00:00","EDT","WEST",1,8\n"11/01/2026 02:00:00","EST","WEST",1,9\n'
)
EIA = json.dumps(
    {"response": {"total": "1", "data": [{"period": "2026-09-04", "value": "3", "series": "S"}]}}
).encode()
DASHBOARD = b'{"currentDay":{"data":[{"systemLoad":1.5,"timestamp":"2026-07-15 01:00:00-0500"}]}}'
XML = (
    b"<R><REPORT_HEADER><REPORT>SLD_FCST</REPORT></REPORT_HEADER><REPORT_DATA>"
    b"<DATA_ITEM>A</DATA_ITEM><INTERVAL_START_GMT>2026-07-15T07:00:00-00:00</INTERVAL_START_GMT>"
    b"<INTERVAL_END_GMT>2026-07-15T08:00:00-00:00</INTERVAL_END_GMT><VALUE>5</VALUE>"
    b"</REPORT_DATA></R>"
)
GOOD = [
    (caiso.parse, csv_bytes(LMP_COLUMNS, caiso_rows(DAY, "DAM")[:10])),
    (caiso.parse, caiso_zip(DAY, "DAM")),
    (caiso.parse, XML),
    (pjm.parse, pjm_json(DAY, "DA")),
    (ercot.parse, ERCOT),
    (ercot.parse, DASHBOARD),
    (nyiso.parse, NYISO),
    (eia.parse, EIA),
]
SNIPPETS = [b"", b"\x00", b"\xff", b",", b'"', b"\n", b"1e9", b"NaN", b"-", b"9" * 50, b"<", b"}"]


def is_page_or_feed_error(parser, body):
    try:
        return isinstance(parser(body), Page)
    except FeedError as error:
        return bool(error.source and error.detail)


@pytest.mark.parametrize(("parser", "body"), GOOD)
def test_the_undamaged_body_has_rows(parser, body):
    assert parser(body).rows


@pytest.mark.parametrize(("parser", "body"), GOOD)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_body_is_a_page_or_a_feed_error(parser, body, data):
    start = data.draw(st.integers(0, len(body)))
    length = data.draw(st.integers(0, 12))
    put = data.draw(st.sampled_from(SNIPPETS) | st.binary(max_size=6))
    damaged = body[:start] + put + body[start + length :]
    assert is_page_or_feed_error(parser, damaged)


@pytest.mark.parametrize(
    "parser",
    [caiso.parse, pjm.parse, ercot.parse, nyiso.parse, eia.parse],
    ids=lambda p: p.__module__,
)
@settings(max_examples=60, deadline=None)
@given(body=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_at_all_are_a_page_or_a_feed_error(parser, body):
    assert is_page_or_feed_error(parser, body)


PARSERS = [caiso.parse, pjm.parse, ercot.parse, nyiso.parse, eia.parse]
HTML = [
    b"\xef\xbb\xbf<!DOCTYPE html><html><body>Down for maintenance</body></html>",
    b'<?xml version="1.0"?>\n<!-- proxy --><html xmlns="http://www.w3.org/1999/xhtml"></html>',
    b"<h1>Instantaneous Load</h1><table></table>",
    b"  \r\n<HTML><HEAD><TITLE>503 Service Unavailable</TITLE>",
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>",
]


@pytest.mark.parametrize("parser", PARSERS, ids=lambda p: p.__module__)
@pytest.mark.parametrize("body", HTML)
@pytest.mark.parametrize("wrap", [bytes, gzip.compress, lambda b: zipped("a.csv", b)])
def test_a_web_page_is_not_data_however_it_is_wrapped(parser, body, wrap):
    with pytest.raises(NotData):
        parser(wrap(body))


@pytest.mark.parametrize("parser", PARSERS, ids=lambda p: p.__module__)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n \r\n",
        b"PK\x05\x06" + bytes(18),
        b"PK\x03\x04",
        gzip.compress(b""),
        gzip.compress(b"x" * 100)[:20],
        b"{}",
        b"[]",
        b"null",
        b'"text"',
        b'{"message": "Unauthorized"}',
        b'{"items": [], "totalRows": 0}',
        b"upstream connect error or disconnect/reset before headers",
        b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
        b"\x89PNG\r\n\x1a\n" + bytes(20),
        b"%PDF-1.7",
    ],
    ids=range(16),
)
def test_what_holds_no_rows_is_a_feed_error_and_never_an_empty_page(parser, body):
    with pytest.raises(FeedError):
        parser(body)


@pytest.mark.parametrize(("parser", "body"), GOOD)
@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.99])
def test_a_zip_or_gzip_that_was_cut_off_is_malformed(parser, body, cut):
    inner = body if not body.startswith(b"PK") else b"a,b\n1,2\n"
    for whole in (zipped("a.csv", inner), gzip.compress(inner)):
        with pytest.raises(FeedError):
            parser(whole[: int(len(whole) * cut * 0.6)] or b"PK\x03\x04")


@pytest.mark.parametrize(("parser", "body"), GOOD)
def test_marks_line_ends_and_wrappings_change_nothing(parser, body):
    rows = parser(body).rows
    wrapped = [gzip.compress(body), zipped("x.y.csv", body)]
    if not body.startswith(b"PK"):
        wrapped += [b"\xef\xbb\xbf" + body, body.decode().encode("utf-16")]
        if b"," in body and body[:1] not in b"{[<":
            wrapped.append(body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    for one in wrapped:
        assert [(r.place, r.item, r.start_ns, r.value_micro) for r in parser(one).rows] == [
            (r.place, r.item, r.start_ns, r.value_micro) for r in rows
        ]


def test_all_files_of_a_zip_of_eia_pages_are_read():
    second = EIA.replace(b"2026-09-04", b"2026-09-11")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("1.json", EIA)
        archive.writestr("2.json", second)
    assert len(eia.parse(packed.getvalue()).rows) == 2


def test_a_cell_without_an_end_is_malformed():
    with pytest.raises(Malformed):
        caiso.parse(csv_bytes(LMP_COLUMNS, []) + b'"' + b"x" * 200_000)


@given(at=st.integers(0, 23), item=st.sampled_from(["LMP", "MCE", "MCC", "MCL", "MGHG"]))
@settings(max_examples=30, deadline=None)
def test_no_single_wrong_digit_of_a_price_reaches_the_desk(at, item):
    rows = caiso_rows(DAY, "DAM")
    row = [one for one in rows if one["LMP_TYPE"] == item][at]
    row["MW"] = f"{float(str(row['MW'])) + 0.01:.5f}"
    with pytest.raises(Malformed):
        observations("caiso", csv_bytes(LMP_COLUMNS, rows))
