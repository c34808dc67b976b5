"""Products beside the prices, as their publishers shape them: rows, and never silence when cut."""

import gzip
import json
from datetime import date

import pytest

from cloud.feeds import caiso, caiso_texts, eia, ercot, nyiso, pjm
from cloud.feeds.intervals import EASTERN, HOUR_NS, PACIFIC, hour_interval, operating_hour
from cloud.feeds.rows import FeedError, Malformed, NotData, Page, RequestRefused, Throttled
from protos.clock import MINUTE_NS

SPAN = "2026-07-15T07:00:00-00:00,2026-07-15T08:00:00-00:00"
TIMES = "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT"
RESERVES = (
    f"{TIMES},OPR_DT,OPR_HR,OPR_INTERVAL,ANC_TYPE,ANC_REGION,MARKET_RUN_ID,XML_DATA_ITEM,POS,MW,GROUP\n"
    f"{SPAN},2026-07-15,1,0,SR,AS_CAISO,DAM,SP_CLR_PRC,1,3.5,1\n"
    f"{SPAN},2026-07-15,1,0,RU,AS_CAISO,DAM,RU_CLR_PRC,2,7.25,1\n"
)
RESULTS = (
    f"{TIMES},OPR_DT,OPR_HR,ANC_TYPE,ANC_REGION,RESULT_TYPE,MARKET_RUN_ID,MW\n"
    f"{SPAN},2026-07-15,1,SR,AS_CAISO,PROC_MW,DAM,800\n"
    f"{SPAN},2026-07-15,1,SR,AS_CAISO,SELF_MW,DAM,120\n"
)
GAS = f"{TIMES},OPR_DT,OPR_HR,FUEL_REGION_ID,PRC,GROUP\n{SPAN},2026-07-15,1,FRPGE2GHG,4.10233,1\n"
CARBON = f"{TIMES},OPR_DT,OPR_HR,GHG_PRC_IDX,GROUP\n{SPAN},2026-07-15,1,29.15,1\n"
REQUIREMENTS = (
    f"OPR_DT,{TIMES},ANC_REGION,SURPRISE_MW,REASON\n"
    f"2026-07-15,{SPAN},AS_CAISO,17.5,normal\n2026-07-15,{SPAN},AS_NP26,,high\n"
)
BIDS = (
    "STARTTIME,TIMEINTERVALSTART_GMT,TIMEINTERVALEND_GMT,MARKET_RUN_ID,RESOURCE_TYPE,"
    "SCHEDULINGCOORDINATOR_SEQ,RESOURCEBID_SEQ,MARKETPRODUCTTYPE,SELFSCHEDMW,SCH_BID_XAXISDATA,"
    "SCH_BID_Y1AXISDATA,SCH_BID_CURVETYPE,MINEOHSTATEOFCHARGE,MAXEOHSTATEOFCHARGE\n"
    f"x,{SPAN},DAM,GENERATOR,7,100123,EN,,-10,12.5,BIDPRICE,,\n"
    f"x,{SPAN},DAM,GENERATOR,7,100123,EN,,10,80,BIDPRICE,,\n"
    f"x,{SPAN},DAM,GENERATOR,7,100123,EN,5,,,,2,40\n"
)
OUTLOOK = "Time,Solar,Wind\n00:00,0,1500\n01:30,-3,1501\n01:30,-2,1502\n02:00,,1503\n"
PJM_ITEM = {"datetime_beginning_utc": "2026-07-15T04:00:00", "locale": "PJM_RTO"}
RESERVE = PJM_ITEM | {"service": "REG", "mcp": 20.5, "reg_ccp": None, "as_req_mw": 800}
SYNCH = PJM_ITEM | {"service": "SR", "mcp": 3.5, "reg_ccp": None, "as_req_mw": 1700}
LOAD = {
    "evaluated_at_datetime_utc": "2026-07-15T03:15:00",
    "forecast_datetime_beginning_utc": "2026-07-15T04:00:00",
    "forecast_datetime_ending_utc": "2026-07-15T05:00:00",
    "forecast_area": "RTO_COMBINED",
    "forecast_load_mw": 91000,
}
FUEL = {"datetime_beginning_utc": "2026-07-15T04:00:00", "fuel_type": "Gas", "mw": 30000.5}
PJM_CSV = (
    "datetime_beginning_utc,datetime_beginning_ept,pnode_id,pnode_name,total_lmp_rt,row_is_current\n"
    "7/15/2026 4:00:00 AM,7/15/2026 12:00:00 AM,1,A,20.5,True\n"
    "7/15/2026 4:05:00 AM,7/15/2026 12:05:00 AM,1,A,21.5,True\n"
)
CAPACITY = (
    "DeliveryDate,HourEnding,AncillaryType,MCPC,DSTFlag\n"
    "07/15/2026,01:00,REGUP,4.5,N\n07/15/2026,01:00,RRS,3.25,N\n"
)
DISPATCH = (
    "SCEDTimestamp,RepeatedHourFlag,SettlementPoint,LMP\n"
    "07/15/2026 00:05:13,N,HB_NORTH,20.5\n07/15/2026 00:10:12,N,HB_NORTH,21.5\n"
)
MODELS = (
    "DeliveryDate,HourEnding,Coast,SystemTotal,Model,InUseFlag,DSTFlag\n"
    "07/15/2026,1:00,10000.5,60000.25,E3,N,N\n07/15/2026,1:00,10001.5,60001.25,A6,Y,N\n"
)
NATIVE = "Hour Ending,COAST,ERCOT\n11/01/2026 02:00,9000,40000\n11/01/2026 02:00 DST,8900,39000\n"
API = json.dumps(
    {
        "fields": [
            {"name": n} for n in ("deliveryDate", "hourEnding", "busName", "LMP", "DSTFlag")
        ],
        "data": [["2026-07-15", "01:00", "BUS_A", 20.5, False]],
    }
)
MIX = json.dumps(
    {
        "data": {
            "2026-07-15": {
                "2026-07-15 00:04:55-0500": {"Wind": {"gen": 9000.5}, "Solar": {"gen": 0}},
                "2026-07-15 00:09:55-0500": {"Wind": {"gen": 9001.5}, "Solar": {"gen": 1}},
            }
        }
    }
)
RESERVE_PRICES = (
    '"Time Stamp","Time Zone","Name","PTID","10 Min Spinning Reserve ($/MWHr)","NYCA Regulation Capacity ($/MWHr)"\n'
    '"07/15/2026 00:00","EDT","WEST",61752,2.5,8.5\n"07/15/2026 01:00","EDT","WEST",61752,2.75,8.25\n'
)
FUEL_MIX = (
    "Time Stamp,Time Zone,Fuel Category,Gen MW\n"
    "07/15/2026 00:05:00,EDT,Hydro,2500\n07/15/2026 00:10:00,EDT,Hydro,2501\n"
)
AHEAD = (
    '"Time Stamp","Name","PTID","LBMP ($/MWHr)","Marginal Cost Losses ($/MWHr)","Marginal Cost Congestion ($/MWHr)"\n'
    '"07/15/2026 00:00","WEST",61752,20.5,1.5,-0.25\n"07/15/2026 01:00","WEST",61752,21.5,1.5,-0.25\n'
)
FIRST_VERSION = '{"series":[{"series_id":"NG.RNGWHHD.D","units":"$/MMBtu","data":[["20260904",3.11],["20260903",null]]}]}'
RETAIL = json.dumps(
    {"response": {"total": "1", "data": [{"period": "2026-07", "stateid": "CA", "price": "30.1",
     "price-units": "cents/kWh", "sales": 9, "sales-units": "MWh"}]}}
)  # fmt: skip


def miner(*items, feed="x"):
    links = [{"rel": "self", "href": f"https://x/api/v1/{feed}?startRow=1"}]
    return json.dumps({"links": links, "items": items, "totalRows": str(len(items))})


PRODUCTS = [
    ("caiso", RESERVES, {("AS_CAISO", "SR"): 3_500_000, ("AS_CAISO", "RU"): 7_250_000}),
    ("caiso", RESULTS, {("AS_CAISO", "SR/PROC_MW"): 800 * 10**6, ("AS_CAISO", "SR/SELF_MW"): 120 * 10**6}),
    ("caiso", GAS, {("FRPGE2GHG", "PRC"): 4_102_330}),
    ("caiso", CARBON, {("", "GHG_PRC_IDX"): 29_150_000}),
    ("caiso", REQUIREMENTS, {("AS_CAISO", "normal/SURPRISE_MW"): 17_500_000}),
    ("caiso", BIDS, {
        ("100123", "EN/1/MW"): -10 * 10**6, ("100123", "EN/1/PRICE"): 12_500_000,
        ("100123", "EN/2/MW"): 10 * 10**6, ("100123", "EN/2/PRICE"): 80 * 10**6,
        ("100123", "EN/SELFSCHED"): 5 * 10**6, ("100123", "EN/SOC_MIN"): 2 * 10**6,
        ("100123", "EN/SOC_MAX"): 40 * 10**6,
    }),
    ("pjm", miner(RESERVE, SYNCH, feed="reserve_market_results"), {
        ("PJM_RTO", "REG/mcp"): 20_500_000, ("PJM_RTO", "REG/as_req_mw"): 800 * 10**6,
        ("PJM_RTO", "SR/mcp"): 3_500_000, ("PJM_RTO", "SR/as_req_mw"): 1_700 * 10**6,
    }),
    ("pjm", miner(LOAD), {("RTO_COMBINED", "forecast_load_mw"): 91_000 * 10**6}),
    ("pjm", miner(FUEL, FUEL | {"datetime_beginning_utc": "2026-07-15T05:00:00"}),
     {("PJM", "Gas/mw"): 30_000_500_000}),
    ("pjm", PJM_CSV, {("1", "LMP"): 21_500_000}),
    ("pjm", json.dumps([LOAD]), {("RTO_COMBINED", "forecast_load_mw"): 91_000 * 10**6}),
    ("ercot", CAPACITY, {("ERCOT", "REGUP/MCPC"): 4_500_000, ("ERCOT", "RRS/MCPC"): 3_250_000}),
    ("ercot", DISPATCH, {("HB_NORTH", "LMP"): 21_500_000}),
    ("ercot", MODELS, {
        ("ERCOT", "E3/N/Coast"): 10_000_500_000, ("ERCOT", "E3/N/SystemTotal"): 60_000_250_000,
        ("ERCOT", "A6/Y/Coast"): 10_001_500_000, ("ERCOT", "A6/Y/SystemTotal"): 60_001_250_000,
    }),
    ("ercot", NATIVE, {("ERCOT", "COAST"): 8_900 * 10**6, ("ERCOT", "ERCOT"): 39_000 * 10**6}),
    ("ercot", API, {("BUS_A", "LMP"): 20_500_000}),
    ("ercot", MIX, {("ERCOT", "Wind/gen"): 9_001_500_000, ("ERCOT", "Solar/gen"): 1_000_000}),
    ("nyiso", RESERVE_PRICES, {
        ("WEST", "10 MIN SPINNING RESERVE ($/MWHR)"): 2_750_000,
        ("WEST", "NYCA REGULATION CAPACITY ($/MWHR)"): 8_250_000,
    }),
    ("nyiso", FUEL_MIX, {("NYISO", "Hydro/GEN MW"): 2_501 * 10**6}),
    ("nyiso", AHEAD, {("WEST", "LMP"): 21_500_000, ("WEST", "MCL"): 1_500_000, ("WEST", "MCC"): -250_000}),
    ("eia", FIRST_VERSION, {("US", "NG.RNGWHHD.D"): 3_110_000}),
    ("eia", RETAIL, {("CA", "price"): 30_100_000, ("CA", "sales"): 9_000_000}),
]  # fmt: skip
PARSERS = {"caiso": caiso, "pjm": pjm, "ercot": ercot, "nyiso": nyiso, "eia": eia}


def newest(page: Page) -> dict[tuple[str, str], int]:
    return {
        (row.place, row.item): row.value_micro
        for row in sorted(page.rows, key=lambda r: r.start_ns)
    }


@pytest.mark.parametrize(("source", "body", "expected"), PRODUCTS)
def test_a_product_beside_the_prices_gives_its_rows(source, body, expected):
    assert newest(PARSERS[source].parse(body.encode())) == expected


@pytest.mark.parametrize(("source", "body", "expected"), PRODUCTS)
@pytest.mark.parametrize("dressed", [
    lambda body: b"\xef\xbb\xbf" + body,
    lambda body: body.replace(b"\n", b"\r\n"),
    lambda body: body.decode().encode("utf-16"),
    gzip.compress,
], ids=["marked", "windows", "utf-16", "gzip"])  # fmt: skip
def test_how_a_file_is_dressed_changes_nothing(source, body, expected, dressed):
    assert newest(PARSERS[source].parse(dressed(body.encode()))) == expected


@pytest.mark.parametrize(("source", "body", "expected"), PRODUCTS)
def test_a_file_cut_anywhere_gives_no_other_rows_or_a_typed_error(source, body, expected):
    """Cut in the last digits a number is another number; everything before it must stand."""
    whole = body.encode()
    wrong = []
    for end in range(len(whole)):
        try:
            page = PARSERS[source].parse(whole[:end])
        except FeedError:
            continue
        if not page.rows and not page.absent:
            wrong.append(end)
    assert wrong == []


def reordered(body: str) -> str:
    lines = [line.split(",") for line in body.splitlines()]
    return "\n".join(",".join(line[::-1]) for line in lines) + "\n"


@pytest.mark.parametrize("body", [RESERVES, GAS, CARBON, BIDS])
def test_the_order_of_columns_changes_nothing(body):
    plain, turned = (newest(caiso.parse(one.encode())) for one in (body, reordered(body)))
    assert plain == turned


@pytest.mark.parametrize("body", [CAPACITY, DISPATCH])
def test_a_new_column_of_numbers_changes_no_price(body):
    lines = body.splitlines()
    wider = "\n".join([lines[0] + ",Novelty", *(f"{line},{n}" for n, line in enumerate(lines[1:]))])
    assert newest(ercot.parse(wider.encode())) == newest(ercot.parse(body.encode()))


def test_a_new_column_changes_no_lmp_and_two_values_of_one_price_stay_an_error():
    header = f"{TIMES},NODE,MARKET_RUN_ID,LMP_TYPE,BAA,MW\n"
    page = caiso.parse(f"{header}{SPAN},N,DAM,LMP,CISO,5\n{SPAN},N,DAM,MCE,CISO,5\n".encode())
    assert {row.item for row in page.rows} == {"LMP", "MCE"}
    with pytest.raises(Malformed, match="two values"):
        caiso.parse(f"{header}{SPAN},N,DAM,LMP,CISO,5\n{SPAN},N,DAM,LMP,CISO,6\n".encode())


def test_two_forecasts_of_one_hour_stand_beside_each_other_by_when_they_were_made():
    later = LOAD | {"evaluated_at_datetime_utc": "2026-07-15T03:30:00", "forecast_load_mw": 92000}
    rows = pjm.parse(miner(LOAD, later).encode()).rows
    assert [row.value_micro for row in rows] == [91_000 * 10**6, 92_000 * 10**6]
    assert rows[1].issued_ns - rows[0].issued_ns == 15 * MINUTE_NS


def test_an_unknown_feed_takes_its_step_from_its_stamps():
    at = [{"datetime_beginning_utc": f"2026-07-15T04:{m:02}:00", "mw": m} for m in (0, 15, 30)]
    rows = pjm.parse(miner(*at, feed="novel").encode()).rows
    assert {row.end_ns - row.start_ns for row in rows} == {15 * MINUTE_NS}


def test_eastern_stamps_alone_are_told_apart_in_the_doubled_hour():
    at = [{"datetime_beginning_ept": f"2026-11-01T{h}:00:00", "mw": 1} for h in ("01", "01", "02")]
    starts = [row.start_ns for row in pjm.parse(miner(*at, feed="x_hrl").encode()).rows]
    assert starts == [
        hour_interval(date(2026, 11, 1), 2, EASTERN).start_ns,
        hour_interval(date(2026, 11, 1), 2, EASTERN, repeated=True).start_ns,
        hour_interval(date(2026, 11, 1), 3, EASTERN).start_ns,
    ]


def test_an_hourly_price_file_is_labelled_by_its_start():
    page = nyiso.parse(AHEAD.encode())
    assert page.rows[0].start_ns == hour_interval(date(2026, 7, 15), 1, EASTERN).start_ns
    assert page.rows[0].market == "DA"


def test_the_outlook_needs_its_day_and_knows_the_doubled_hour():
    with pytest.raises(Malformed):
        caiso.parse(OUTLOOK.encode())
    page = caiso_texts.outlook(OUTLOOK.encode(), date(2026, 11, 1))
    assert (len(page.rows), page.absent) == (7, 1)
    starts = sorted({row.start_ns for row in page.rows})
    assert starts[2] - starts[1] == HOUR_NS
    assert starts[3] == operating_hour(date(2026, 11, 1), 3).start_ns
    assert PACIFIC.key == "America/Los_Angeles"


@pytest.mark.parametrize(
    ("source", "body", "error"),
    [
        (
            "pjm",
            '{"statusCode":401,"message":"Access denied due to missing subscription key."}',
            RequestRefused,
        ),
        ("pjm", '{"statusCode":429,"message":"Rate limit is exceeded."}', Throttled),
        (
            "ercot",
            '{"statusCode":429,"message":"Rate limit is exceeded. Try again in 17 seconds."}',
            Throttled,
        ),
        ("ercot", '{"error":"invalid_grant","error_description":"expired"}', RequestRefused),
        ("eia", '{"error":{"code":"API_KEY_MISSING","message":"No api_key"}}', RequestRefused),
        ("eia", '{"data":{"error":"invalid series_id"}}', RequestRefused),
        ("caiso", '<rss version="2.0"><channel><title>News</title></channel></rss>', NotData),
        ("caiso", "<html><head><title>Maintenance</title></head></html>", NotData),
        ("ercot", "<!DOCTYPE html><html></html>", NotData),
        ("caiso", BIDS.replace("TIMEINTERVALSTART_GMT", "NEVER"), Malformed),
    ],
)
def test_what_comes_instead_of_data_has_its_typed_error(source, body, error):
    with pytest.raises(error):
        PARSERS[source].parse(body.encode())


def test_a_throttle_says_how_long_to_wait():
    with pytest.raises(Throttled) as raised:
        ercot.parse(b'{"message":"Rate limit is exceeded. Try again in 17 seconds."}')
    assert raised.value.retry_s == 17


def test_in_xml_the_kind_of_renewable_tells_two_rows_apart():
    def entry(kind, value):
        return (
            f"<REPORT_DATA><DATA_ITEM>RENEW_FCST_DA_MW</DATA_ITEM><RENEWABLE_TYPE>{kind}"
            "</RENEWABLE_TYPE><TRADING_HUB>NP15</TRADING_HUB>"
            "<INTERVAL_START_GMT>2026-07-15T07:00:00-00:00</INTERVAL_START_GMT>"
            f"<INTERVAL_END_GMT>2026-07-15T08:00:00-00:00</INTERVAL_END_GMT><VALUE>{value}</VALUE>"
            "</REPORT_DATA>"
        )

    body = f"<OASISReport>{entry('Solar', 5)}{entry('Wind', 7)}</OASISReport>"
    expected = {("NP15", "Solar"): 5_000_000, ("NP15", "Wind"): 7_000_000}
    assert newest(caiso.parse(body.encode())) == expected
