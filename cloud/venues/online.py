"""A venue over HTTP: its bid gateway and its price reports, in its own paths and formats.

The paths are those that are publicly described; the bid gateways' are unverified, since their
specifications are not public. Signature and client certificate are the endpoint's TLS context and
stay outside. A PJM session that has expired is renewed once per request, never in a loop.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from urllib.parse import urlencode

from cloud.commands import RecordAward, RecordReply
from cloud.facts import BidPrepared
from cloud.feeds.intervals import EASTERN, PACIFIC, to_local, trade_day
from cloud.venues.caiso import CAISO
from cloud.venues.days import CAISO_NODE, PJM_LOCALE, PJM_PNODE
from cloud.venues.paper import PARTICIPANT
from cloud.venues.pjm import PJM
from cloud.venues.regulation import Report, encode_report
from cloud.venues.shell import withdrawn
from cloud.venues.transport import Answer, Endpoint, Transport
from cloud.venues.venue import BadAnswer, Codec, SessionExpired

OASIS_GAP_S = 5.0
OASIS_PATH = "/oasisapi/SingleZip"
SIBR_PATH = "/sibr/bids"
CMRI_PATH = "/cmri/results"
PJM_GATEWAY_PATH = "/marketsgateway/xml/query"
PJM_LOGIN_PATH = "/access/authenticate/pjmauthcert"
TELEMETRY_PATH = "/telemetry"
"""The four-second exchange, which the ISOs run over ICCP or DNP3; a shape of our own."""

JSON = {"Content-Type": "application/json"}
XML = {"Content-Type": "text/xml; charset=utf-8"}
OASIS_REPORTS = {
    "DAM": ("PRC_LMP", "12", "DAM"),
    "RTM": ("PRC_RTPD_LMP", "3", "RTPD"),
    "DAM_AS": ("PRC_AS", "12", "DAM"),
}
PJM_FEEDS = {"DA": "da_hrl_lmps", "RT": "rt_hrl_lmps", "RT_AS": "reserve_market_results"}
RESERVES = frozenset({"DAM_AS", "RT_AS"})
"""Publications that are asked for by area, not by node."""

PJM_ROWS = 50_000
QUERY_RESULTS = b"<QueryRequest><QueryMarketResults/></QueryRequest>"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a participant shows; kept by the operator, outside any log."""

    participant: str = PARTICIPANT
    user: str = ""
    password: str = ""
    subscription_key: str = ""


class CaisoOnline:
    """CAISO: OASIS for prices, a SIBR-shaped gateway for bids, CMRI-shaped results."""

    name = "caiso"

    def __init__(
        self,
        transport: Transport,
        oasis: Endpoint,
        gateway: Endpoint,
        credentials: Credentials,
        node: str = CAISO_NODE,
    ) -> None:
        self._transport = transport
        self._oasis = oasis
        self._gateway = gateway
        self._credentials = credentials
        self._node = node
        self._codec: Codec = CAISO

    async def submit(self, bid: BidPrepared) -> RecordReply:
        body = self._codec.encode_bid(bid, self._credentials.participant)
        answer = await self._transport.post(self._gateway, SIBR_PATH, body, XML)
        return self._codec.decode_reply(bid.bid_id, answer.body)

    async def find(self, bid: BidPrepared) -> RecordReply | None:
        body = self._codec.encode_query(bid.bid_id)
        answer = await self._transport.post(self._gateway, SIBR_PATH, body, XML)
        return _found(self._codec, bid, answer)

    async def cancel(self, bid: BidPrepared) -> bool:
        body = self._codec.encode_cancel(bid.bid_id)
        answer = await self._transport.post(self._gateway, SIBR_PATH, body, XML)
        return withdrawn(self._codec, bid.bid_id, answer.body)

    async def regulate(self, report: Report) -> int:
        body = encode_report(report)
        path = f"{TELEMETRY_PATH}/{self.name}"
        answer = await self._transport.post(self._gateway, path, body, JSON)
        return _signal(self.name, answer.body)

    async def awards(self) -> Sequence[RecordAward]:
        answer = await self._transport.get(self._gateway, CMRI_PATH)
        return self._codec.decode_awards(answer.body)

    async def prices(self, trade_date: date, market: str) -> bytes:
        answer = await self._transport.get(self._oasis, oasis_query(trade_date, market, self._node))
        return answer.body


class PjmOnline:
    """PJM: Data Miner for prices, a Markets-Gateway-shaped query for bids and results."""

    name = "pjm"

    def __init__(
        self,
        transport: Transport,
        miner: Endpoint,
        gateway: Endpoint,
        credentials: Credentials,
        pnode: int = PJM_PNODE,
    ) -> None:
        self._transport = transport
        self._miner = miner
        self._gateway = gateway
        self._credentials = credentials
        self._pnode = pnode
        self._codec: Codec = PJM
        self._session = ""

    async def submit(self, bid: BidPrepared) -> RecordReply:
        body = self._codec.encode_bid(bid, self._credentials.participant)
        return self._codec.decode_reply(bid.bid_id, (await self._query(body)).body)

    async def find(self, bid: BidPrepared) -> RecordReply | None:
        return _found(self._codec, bid, await self._query(self._codec.encode_query(bid.bid_id)))

    async def cancel(self, bid: BidPrepared) -> bool:
        answer = await self._query(self._codec.encode_cancel(bid.bid_id))
        return withdrawn(self._codec, bid.bid_id, answer.body)

    async def regulate(self, report: Report) -> int:
        body = encode_report(report)
        path = f"{TELEMETRY_PATH}/{self.name}"
        answer = await self._transport.post(self._gateway, path, body, JSON)
        return _signal(self.name, answer.body)

    async def awards(self) -> Sequence[RecordAward]:
        return self._codec.decode_awards((await self._query(QUERY_RESULTS)).body)

    async def prices(self, trade_date: date, market: str) -> bytes:
        key = {"Ocp-Apim-Subscription-Key": self._credentials.subscription_key}
        path = miner_query(trade_date, market, self._pnode)
        return (await self._transport.get(self._miner, path, key)).body

    async def _query(self, body: bytes) -> Answer:
        """One gateway request; an expired session is told before anything was done with it."""
        if not self._session:
            await self._log_in()
        try:
            return await self._send(body)
        except SessionExpired:
            await self._log_in()
            return await self._send(body)

    async def _send(self, body: bytes) -> Answer:
        headers: Mapping[str, str] = {**XML, "Cookie": f"pjmauth={self._session}"}
        return await self._transport.post(self._gateway, PJM_GATEWAY_PATH, body, headers)

    async def _log_in(self) -> None:
        headers = {
            "X-OpenAM-Username": self._credentials.user,
            "X-OpenAM-Password": self._credentials.password,
        }
        answer = await self._transport.post(self._gateway, PJM_LOGIN_PATH, b"", headers)
        try:
            self._session = str(json.loads(answer.body)["tokenId"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadAnswer(self.name, "the login gave no tokenId") from error


def _signal(venue: str, body: bytes) -> int:
    """The regulation signal in an answer to telemetry. Raises BadAnswer."""
    try:
        told = json.loads(body)["signal_w"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadAnswer(venue, f"no signal: {body[:200]!r}") from error
    if type(told) is not int:
        raise BadAnswer(venue, f"no signal: {told!r} is no whole number of W")
    return told


def _found(codec: Codec, bid: BidPrepared, answer: Answer) -> RecordReply | None:
    return None if codec.is_unknown(answer.body) else codec.decode_reply(bid.bid_id, answer.body)


def oasis_query(day: date, market: str, node: str) -> str:
    """The SingleZip request for one trade day of DAM or RTM prices, or of reserves (DAM_AS)."""
    report, version, run = OASIS_REPORTS[market]
    span = trade_day(day, PACIFIC)
    start, end = (
        to_local(instant, PACIFIC).astimezone(UTC).strftime("%Y%m%dT%H:%M-0000")
        for instant in (span.start_ns, span.end_ns)
    )
    everywhere = {"anc_type": "ALL", "anc_region": "ALL"}
    return f"{OASIS_PATH}?" + urlencode(
        {
            "queryname": report,
            "market_run_id": run,
            "startdatetime": start,
            "enddatetime": end,
            "version": version,
            "resultformat": 6,
            **(everywhere if market in RESERVES else {"node": node}),
        }
    )


def miner_query(day: date, market: str, pnode: int, first_row: int = 1) -> str:
    """The Data Miner request for one day of DA or RT hourly prices, or of the reserves of the whole
    area (RT_AS); its end is inclusive.
    """
    assert trade_day(day, EASTERN).duration_ns > 0
    text = f"{day.month}-{day.day}-{day.year}"
    return f"/api/v1/{PJM_FEEDS[market]}?" + urlencode(
        {
            "startRow": first_row,
            "rowCount": PJM_ROWS,
            "datetime_beginning_ept": f"{text} 00:00 to {text} 23:59",
            **({"locale": PJM_LOCALE} if market in RESERVES else {"pnode_id": pnode}),
        }
    )
