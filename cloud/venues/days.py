"""The day of prices that the project makes itself: a synthetic twin of a sunny spring day.

Same shape as a real publication, byte for byte parseable by the same parser: CAISO's LMP and reserve
reports as CSV in a zip, PJM's hourly LMP and five-minute reserve feeds as JSON. Components sum to the
price exactly. Deterministic in venue, node, market and date, with no randomness but a hash. The
figures are invented.
"""

import csv
import io
import json
import zipfile
from datetime import date, datetime
from decimal import Decimal
from hashlib import blake2b
from zoneinfo import ZoneInfo

from cloud.feeds.intervals import (
    EASTERN,
    HOUR_NS,
    PACIFIC,
    operating_hour_of,
    to_local,
    trade_day,
)
from protos.clock import MINUTE_NS

CAISO_NODE = "TH_SP15_GEN-APND"
PJM_PNODE = 51288
PJM_NAME = "WESTERN HUB"

DUCK = (38, 36, 35, 34, 35, 39, 46, 40, 24, 11, 4, -1, -4, -3, 1, 9, 24, 52, 83, 96, 78, 61, 49, 43)
"""Currency per MWh by local hour: solar noon below zero, the evening ramp on top."""

CAMEL = (
    *(24, 22, 21, 21, 22, 27, 36, 42, 39, 35, 30, 25),
    *(32, 32, 33, 36, 43, 54, 66, 61, 48, 39, 32, 27),
)
PER_UNIT = 100_000
SPIKE_ONE_IN = 97

LMP_COLUMNS = [
    "INTERVALSTARTTIME_GMT",
    "INTERVALENDTIME_GMT",
    "OPR_DT",
    "OPR_HR",
    "OPR_INTERVAL",
    "NODE_ID_XML",
    "NODE_ID",
    "NODE",
    "MARKET_RUN_ID",
    "LMP_TYPE",
    "XML_DATA_ITEM",
    "PNODE_RESMRID",
    "GRP_TYPE",
    "POS",
    "MW",
    "GROUP",
]
RTPD_COLUMNS = [
    "INTERVALSTARTTIME_GMT",
    "INTERVALENDTIME_GMT",
    "OPR_DT",
    "OPR_HR",
    "NODE_ID_XML",
    "NODE_ID",
    "NODE",
    "MARKET_RUN_ID",
    "LMP_TYPE",
    "XML_DATA_ITEM",
    "PNODE_RESMRID",
    "GRP_TYPE",
    "POS",
    "PRC",
    "OPR_INTERVAL",
    "GROUP",
]
AS_COLUMNS = [
    "INTERVALSTARTTIME_GMT",
    "INTERVALENDTIME_GMT",
    "OPR_DT",
    "OPR_HR",
    "OPR_INTERVAL",
    "OPR_TYPE",
    "ANC_TYPE",
    "ANC_REGION",
    "MARKET_RUN_ID",
    "XML_DATA_ITEM",
    "MW",
    "GROUP",
]
AS_REGIONS = {
    "AS_CAISO_EXP": 60,
    "AS_CAISO": 25,
    "AS_SP26_EXP": 10,
    "AS_SP26": 5,
    "AS_NP26_EXP": 3,
    "AS_NP26": 0,
}
"""Which part, in hundredths, of the price south of Path 26 each region adds; the north has its own."""

AS_ITEMS = {
    "SPIN": ("SR", "SP_CLR_PRC"),
    "NON_SPIN": ("NR", "NS_CLR_PRC"),
    "REG_UP": ("RU", "RU_CLR_PRC"),
    "REG_DOWN": ("RD", "RD_CLR_PRC"),
}
PJM_LOCALE = "PJM_RTO"
PJM_SERVICES = {"SPIN": "SR", "PRIMARY": "PR", "REG": "REG"}
RESERVE_SPREAD_CENTS = (800, 2_000)
QUARTER_NS, FIVE_MINUTES_NS = 15 * MINUTE_NS, 5 * MINUTE_NS


def draw(*parts: object, below: int) -> int:
    """A number in [0, below) that looks random and depends on the parts alone."""
    text = "/".join(str(part) for part in parts)
    digest = blake2b(text.encode(), digest_size=8, person=b"gtx/day").digest()
    return int.from_bytes(digest, "big") % below


def components(venue: str, node: str, market: str, start_ns: int, zone: ZoneInfo) -> dict[str, int]:
    """Energy, congestion, loss and greenhouse part of one interval, in 1/100,000 per MWh.

    Real time is the day-ahead price of the hour with a disturbance of its own; one interval in 97
    is a spike.
    """
    local = to_local(start_ns, zone)
    shape = DUCK if venue == "caiso" else CAMEL
    daily = 85 + draw(venue, node, local.date(), below=31)
    hour_ns = start_ns // HOUR_NS * HOUR_NS
    energy = shape[local.hour] * PER_UNIT * daily // 100
    energy += draw(venue, node, "hour", hour_ns, below=2 * PER_UNIT) - PER_UNIT
    if market in {"RTPD", "RT"}:
        energy += draw(venue, node, market, start_ns, below=12 * PER_UNIT) - 6 * PER_UNIT
        if draw(venue, node, market, "spike", start_ns, below=SPIKE_ONE_IN) == 0:
            energy += 180 * PER_UNIT
    congestion = draw(venue, node, market, "mcc", start_ns, below=2 * PER_UNIT) - PER_UNIT
    loss = energy * (draw(venue, node, "mcl", hour_ns, below=40) - 20) // 1_000
    ghg = 2 * PER_UNIT + draw(venue, "ghg", local.date(), below=PER_UNIT)
    return {"energy": energy, "congestion": congestion, "loss": loss, "ghg": ghg}


def decimal(hundred_thousandths: int) -> str:
    return str(Decimal(hundred_thousandths).scaleb(-5).normalize().__format__("f"))


def gmt(instant_ns: int) -> str:
    return to_local(instant_ns, ZoneInfo("UTC")).strftime("%Y-%m-%dT%H:%M:%S-00:00")


def caiso_rows(day: date, market: str, node: str = CAISO_NODE) -> list[dict[str, object]]:
    """The rows of one trade date; market DAM (hourly, price in MW) or RTPD (15 minutes, PRC)."""
    step_ns = HOUR_NS if market == "DAM" else QUARTER_NS
    rows: list[dict[str, object]] = []
    for start_ns in trade_day(day, PACIFIC).steps(step_ns):
        parts = components("caiso", node, market, start_ns, PACIFIC)
        named = {
            "LMP": sum(parts.values()),
            "MCE": parts["energy"],
            "MCC": parts["congestion"],
            "MCL": parts["loss"],
            "MGHG": parts["ghg"],
        }
        quarter = start_ns % HOUR_NS // step_ns + 1 if market != "DAM" else 0
        for position, (kind, value) in enumerate(named.items()):
            row = _caiso_row(start_ns, start_ns + step_ns, market, node, kind, quarter)
            row["POS"] = position
            row["MW" if market == "DAM" else "PRC"] = decimal(value)
            rows.append(row)
    return rows


def _caiso_row(
    start_ns: int, end_ns: int, market: str, node: str, kind: str, quarter: int
) -> dict[str, object]:
    opr_date, opr_hr = operating_hour_of(start_ns)
    return {
        "INTERVALSTARTTIME_GMT": gmt(start_ns),
        "INTERVALENDTIME_GMT": gmt(end_ns),
        "OPR_DT": opr_date.isoformat(),
        "OPR_HR": opr_hr,
        "OPR_INTERVAL": quarter,
        "NODE_ID_XML": node,
        "NODE_ID": node,
        "NODE": node,
        "MARKET_RUN_ID": market,
        "LMP_TYPE": kind,
        "XML_DATA_ITEM": f"LMP_{kind}_PRC" if kind != "LMP" else "LMP_PRC",
        "PNODE_RESMRID": node,
        "GRP_TYPE": "ALL_APNODES",
        "GROUP": 1,
    }


def csv_bytes(columns: list[str], rows: list[dict[str, object]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def zipped(name: str, body: bytes) -> bytes:
    """A zip with one member and a fixed date, so that equal contents are equal bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), body)
    return packed.getvalue()


def caiso_zip(day: date, market: str, node: str = CAISO_NODE) -> bytes:
    """PRC_LMP (DAM) or PRC_RTPD_LMP (RTPD) of one trade date, as OASIS serves it."""
    report, columns = (
        ("PRC_LMP", LMP_COLUMNS) if market == "DAM" else ("PRC_RTPD_LMP", RTPD_COLUMNS)
    )
    name = f"{day:%Y%m%d}_{day:%Y%m%d}_{report}_{market}_v1.csv"
    return zipped(name, csv_bytes(columns, caiso_rows(day, market, node)))


def pjm_json(day: date, market: str, pnode: int = PJM_PNODE, name: str = PJM_NAME) -> bytes:
    """da_hrl_lmps (DA) or rt_hrl_lmps (RT) of one day, as Data Miner serves it."""
    suffix = "da" if market == "DA" else "rt"
    items = []
    for start_ns in trade_day(day, EASTERN).steps(HOUR_NS):
        parts = components("pjm", str(pnode), market, start_ns, EASTERN)
        loss = parts["loss"] + parts["ghg"]
        items.append(
            {
                "datetime_beginning_utc": _naive(start_ns, ZoneInfo("UTC")),
                "datetime_beginning_ept": _naive(start_ns, EASTERN),
                "pnode_id": pnode,
                "pnode_name": name,
                "type": "HUB",
                f"system_energy_price_{suffix}": _number(parts["energy"]),
                f"total_lmp_{suffix}": _number(parts["energy"] + parts["congestion"] + loss),
                f"congestion_price_{suffix}": _number(parts["congestion"]),
                f"marginal_loss_price_{suffix}": _number(loss),
                "row_is_current": True,
                "version_nbr": 1,
            }
        )
    links = [{"rel": "self", "href": f"https://api.pjm.com/api/v1/{suffix}_hrl_lmps?startRow=1"}]
    return json.dumps({"links": links, "items": items, "totalRows": len(items)}).encode()


def reserve_price_micro(venue: str, product: str, starts_ns: int) -> int:
    """The made clearing price of a reserve in an interval, per MW and hour; the figures are invented:
    spinning 1 to 9, regulation 4 to 24.
    """
    cents = draw(
        venue, "reserve", product, starts_ns, below=RESERVE_SPREAD_CENTS[product != "SPIN"]
    )
    return (100 + 300 * (product != "SPIN") + cents) * 10_000


def caiso_reserves(day: date) -> bytes:
    """PRC_AS of one trade date, day ahead, as OASIS serves it, without the mileage that nobody here
    is paid. An hour's price south of Path 26 is the mean of what real time will clear at, but for the
    fifth decimal.
    """
    rows: list[dict[str, object]] = []
    for start_ns in trade_day(day, PACIFIC).steps(HOUR_NS):
        for product, (kind, item) in AS_ITEMS.items():
            quarters = range(start_ns, start_ns + HOUR_NS, QUARTER_NS)
            mean = sum(reserve_price_micro("caiso", product, at) for at in quarters) // 4
            rows += [
                _as_row(start_ns, kind, item, region, mean * part // 1_000)
                for region, part in AS_REGIONS.items()
            ]
    name = f"{day:%Y%m%d}_{day:%Y%m%d}_PRC_AS_DAM_v12.csv"
    return zipped(name, csv_bytes(AS_COLUMNS, rows))


def _as_row(
    start_ns: int, kind: str, item: str, region: str, hundred_thousandths: int
) -> dict[str, object]:
    opr_date, opr_hr = operating_hour_of(start_ns)
    return {
        "INTERVALSTARTTIME_GMT": gmt(start_ns),
        "INTERVALENDTIME_GMT": gmt(start_ns + HOUR_NS),
        "OPR_DT": opr_date.isoformat(),
        "OPR_HR": opr_hr,
        "OPR_INTERVAL": 0,
        "OPR_TYPE": "AS",
        "ANC_TYPE": kind,
        "ANC_REGION": region,
        "MARKET_RUN_ID": "DAM",
        "XML_DATA_ITEM": item,
        "MW": decimal(hundred_thousandths),
        "GROUP": 1,
    }


def pjm_reserves(day: date) -> bytes:
    """reserve_market_results of one day, every five minutes, as Data Miner serves it."""
    items = [
        {
            "datetime_beginning_utc": _naive(start_ns, ZoneInfo("UTC")),
            "datetime_beginning_ept": _naive(start_ns, EASTERN),
            "locale": PJM_LOCALE,
            "service": service,
            **_cleared(product, start_ns // HOUR_NS * HOUR_NS),
        }
        for start_ns in trade_day(day, EASTERN).steps(FIVE_MINUTES_NS)
        for product, service in PJM_SERVICES.items()
    ]
    href = "https://api.pjm.com/api/v1/reserve_market_results?startRow=1"
    links = [{"rel": "self", "href": href}]
    return json.dumps({"links": links, "items": items, "totalRows": len(items)}).encode()


def _cleared(product: str, hour_ns: int) -> dict[str, float | None]:
    """Price and amounts of one service; regulation's price is that of capability and performance."""
    price = reserve_price_micro("pjm", product, hour_ns) // 10
    needed = draw("pjm", "required", product, hour_ns, below=900) + 800
    capability = price * 4 // 5
    return {
        "mcp": _number(price),
        "mcp_capped": _number(price),
        "reg_ccp": _number(capability) if product == "REG" else None,
        "reg_pcp": _number(price - capability) if product == "REG" else None,
        "as_req_mw": needed,
        "total_mw": needed,
    }


def _number(hundred_thousandths: int) -> float:
    """Five decimals of less than ten digits survive a double and its shortest text exactly."""
    return hundred_thousandths / PER_UNIT


def _naive(instant_ns: int, zone: ZoneInfo) -> str:
    local: datetime = to_local(instant_ns, zone)
    return local.replace(tzinfo=None).isoformat()


def publication(venue: str, day: date, market: str) -> bytes:
    """One venue's price file: caiso DAM, RTM or DAM_AS, pjm DA, RT or RT_AS."""
    if venue == "caiso":
        if market == "DAM_AS":
            return caiso_reserves(day)
        return caiso_zip(day, "DAM" if market == "DAM" else "RTPD")
    if venue == "pjm":
        if market == "RT_AS":
            return pjm_reserves(day)
        return pjm_json(day, market)
    raise KeyError(venue)
