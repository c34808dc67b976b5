"""The wholesale routes of a running aggregator, over a real socket."""

import asyncio
import json
import urllib.error
import urllib.request

import grpc
import pytest

from cloud.commands import HaltDesk, ObserveFleet, RecordAward
from cloud.facts import Awarded, AwardMetered
from cloud.feeds.intervals import EASTERN, trade_date, trade_day
from cloud.gate.markets_http import PUBLISHED
from cloud.remote import register_authority
from cloud.store.prices import Series
from cloud.venues.statements import SettlementDesk
from cloud.vpp.bids import OFFERED
from protos import vpp_pb2 as pb
from protos import vpp_pb2_grpc
from protos.clock import MINUTE_NS
from tests.vpp.fleet import battery

HOUR_NS = 60 * MINUTE_NS
PJM = OFFERED[1]


def ask(cloud, path, method="GET", body=None, token=True):
    """Status and document."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{cloud.listening.http_port}{path}", body, method=method
    )
    if method == "PUT" or (body or b"")[:1] == b"{":
        request.add_header("Content-Type", "application/json")
    if token:
        secret = (cloud.app.config.state_dir / "operator.token").read_text()
        request.add_header("Authorization", f"Bearer {secret}")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


async def asked(cloud, *arguments, **named):
    return await asyncio.to_thread(ask, cloud, *arguments, **named)


async def priced(cloud):
    """Waits until the first publications are stored; today's PJM prices by start."""
    now_ns = cloud.app.clock.now_ns()
    span = trade_day(trade_date(now_ns, EASTERN), EASTERN)
    series = Series("pjm", PUBLISHED[PJM.market], PJM.node)
    for _ in range(100):
        found = cloud.app.market_stores.prices.latest(series, span)
        if found:
            return {one.start_ns: one.value_micro for one in found}
        await asyncio.sleep(0.05)
    raise AssertionError("no price came")


async def test_markets_prices_and_forecast_are_open_to_read(cloud):
    await priced(cloud)
    status, markets = await asked(cloud, "/api/markets", token=False)
    assert status == 200
    assert [one["iso"] for one in markets] == ["caiso", "pjm"]
    for one in markets:
        assert 0 < one["next_gate_ns"] - cloud.app.clock.now_ns() <= HOUR_NS
        status, prices = await asked(cloud, f"/api/markets/{one['iso']}/prices", token=False)
        assert status == 200
        assert len(prices["prices"]) > 0
        assert all(row["version"] == 1 for row in prices["prices"])
    status, forecast = await asked(cloud, "/api/forecast?iso=caiso&hours=24")
    assert (status, len(forecast["price_micro_per_mwh"])) == (200, 24)


@pytest.mark.parametrize(
    ("path", "method", "expected"),
    [
        ("/api/markets/ercot/prices", "GET", 404),
        ("/api/markets/pjm/prices?market=DAM2", "GET", 404),
        ("/api/forecast?iso=nowhere", "GET", 404),
        ("/api/forecast?iso=pjm&hours=99", "GET", 422),
        ("/api/bids/none", "GET", 404),
        ("/api/bids/none", "DELETE", 404),
        ("/api/settlements/pjm/2026-01-01", "GET", 404),
        ("/api/settlements/pjm/tomorrow", "GET", 422),
        ("/api/settlements/reconcile", "POST", 422),
    ],
)
async def test_what_is_not_there_or_not_meant_is_told(cloud, path, method, expected):
    status, answer = await asked(cloud, path, method, b"<x/>" if method == "POST" else None)
    assert status == expected
    assert answer["detail"]


@pytest.mark.parametrize(
    ("path", "method"), [("/api/bids/any", "DELETE"), ("/api/settlements/reconcile", "POST")]
)
async def test_withdrawing_and_reconciling_need_the_operators_token(cloud, path, method):
    status, _ = await asked(cloud, path, method, token=False)
    assert status == 401


async def test_a_statement_is_reconciled_to_the_cent_and_its_error_disputed(cloud):
    prices = await priced(cloud)
    starts = sorted(prices)[3]
    day = trade_date(starts, EASTERN).isoformat()
    stores = cloud.app.market_stores
    stores.settlements.note(Awarded("bid", "pjm", starts, HOUR_NS, 100_000, prices[starts]))
    stores.settlements.note(AwardMetered("bid", 100_000, 98_765, 0, starts))
    venue = SettlementDesk("pjm", day)
    venue.awards["bid", starts] = RecordAward("bid", starts, HOUR_NS, 100_000, prices[starts])
    venue.meters_wh["bid", starts] = 98_765
    venue.imbalance_prices[starts] = prices[starts]
    status, account = await asked(cloud, "/api/settlements/reconcile", "POST", venue.publish())
    assert status == 200
    assert account["difference_cents"] == 0
    assert account["disputes"] == []
    venue.meters_wh["bid", starts] = 90_000
    status, account = await asked(cloud, "/api/settlements/reconcile", "POST", venue.publish())
    assert account["versions"] == [1, 2]
    (dispute,) = account["disputes"]
    assert (dispute["since_version"], dispute["starts_ns"]) == (2, starts)
    assert dispute["cents"] == account["difference_cents"] != 0
    assert (await asked(cloud, f"/api/settlements/pjm/{day}"))[1] == account
    assert (await asked(cloud, "/api/settlements"))[1] == [{"iso": "pjm", "day": day, "version": 2}]
    venue.version = 1
    venue.meters_wh["bid", starts] = 1
    changed = await asked(cloud, "/api/settlements/reconcile", "POST", venue.publish())
    assert changed[0] == 409


# ---- risk, news, gRPC ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/api/markets/ercot/prices", "caiso, pjm"),
        ("/api/markets/pjm/prices?market=DAM2", "ask for RT or DA"),
        ("/api/markets/pjm/prices?from_ns=5&to_ns=4", "to_ns must lie after from_ns"),
        ("/api/markets/pjm/prices?from_ns=1&to_ns=9999999999999999", "31 days"),
        ("/api/bids?state=lost", "one of draft"),
        ("/api/bids/none", "/api/bids lists them"),
        ("/api/settlements/pjm/2026-01-01", "/api/settlements/reconcile"),
    ],
)
async def test_a_wrong_request_is_told_what_to_do(cloud, path, says):
    status, answer = await asked(cloud, path)
    assert status in {404, 422}
    assert says in answer["detail"]


async def test_the_kill_switch_and_the_days_limits_are_turned_by_the_operator_alone(cloud):
    body = json.dumps({"is_halted": True, "reason": "drill"}).encode()
    assert (await asked(cloud, "/api/risk/halt", "PUT", body, token=False))[0] == 401
    status, risk = await asked(cloud, "/api/risk/halt", "PUT", body)
    assert (status, risk["is_halted"]) == (200, True)
    assert (await asked(cloud, "/api/risk"))[1] == risk
    day = json.dumps({"deviation_max_wh": 5, "loss_max_micro": 7, "soc_min_per_mille": 200})
    status, risk = await asked(cloud, "/api/risk/day", "PUT", day.encode())
    assert (risk["deviation_max_wh"], risk["soc_min_per_mille"]) == (5, 200)
    wrong = json.dumps({"deviation_max_wh": 5, "loss_max_micro": 7, "soc_max_per_mille": 0})
    status, answer = await asked(cloud, "/api/risk/day", "PUT", wrong.encode())
    assert status == 422
    assert "soc_min < soc_max" in answer["detail"]


async def test_the_interface_description_names_every_route_and_its_answer(cloud):
    _, described = await asked(cloud, "/openapi.json")
    paths = described["paths"]
    for path in (
        "/api/markets",
        "/api/markets/{iso}/prices",
        "/api/forecast",
        "/api/bids",
        "/api/bids/{bid_id}",
        "/api/settlements",
        "/api/settlements/{iso}/{day}",
        "/api/settlements/reconcile",
        "/api/risk",
    ):
        for method, told in paths[path].items():
            schema = told["responses"]["200"]["content"]["application/json"]["schema"]
            assert schema, (path, method)
            assert told["summary"]
    assert "price_micro_per_mwh" in described["components"]["schemas"]["Price"]["properties"]


async def test_news_reaches_a_listener_as_it_happens(cloud):
    await priced(cloud)

    def first_halt():
        url = f"http://127.0.0.1:{cloud.listening.http_port}/api/markets/stream"
        with urllib.request.urlopen(url, timeout=20) as stream:
            for line in stream:
                if line.startswith(b"event: DeskHalted"):
                    return json.loads(next(stream).removeprefix(b"data: "))
        return None

    listening = asyncio.create_task(asyncio.to_thread(first_halt))
    for number in range(40):
        await cloud.app.writer.submit(HaltDesk(number % 2 == 0, "drill"))
        await asyncio.sleep(0.1)
        if listening.done():
            break
    assert (await listening)["reason"] == "drill"


@pytest.fixture
async def channel(cloud, tmp_path):
    made = await asyncio.to_thread(
        register_authority,
        f"http://127.0.0.1:{cloud.listening.http_port}",
        cloud.app.config.state_dir,
        "DESK",
        1,
        "tiny",
        tmp_path / "authority",
    )
    port = cloud.listening.utility_port
    channel = cloud.mutual_channel(made["key"].read_bytes(), made["pem"].read_bytes(), port)
    yield channel
    await channel.close()


@pytest.fixture
def vpp(channel):
    return vpp_pb2_grpc.VppServiceStub(channel)


def operator_of(cloud):
    secret = (cloud.app.config.state_dir / "operator.token").read_text()
    return (("authorization", f"Bearer {secret}"),)


async def test_grpc_says_what_rest_says(cloud, vpp):
    await priced(cloud)
    _, rest = await asked(cloud, "/api/markets")
    markets = (await vpp.ListMarkets(pb.ListMarketsRequest())).markets
    assert [(one.iso, one.node, one.next_gate_ns) for one in markets] == [
        (one["iso"], one["node"], one["next_gate_ns"]) for one in rest
    ]
    _, rest = await asked(cloud, "/api/markets/caiso/prices")
    answer = await vpp.ListPrices(pb.ListPricesRequest(iso="caiso"))
    assert [(p.starts_ns, p.price_micro_per_mwh) for p in answer.prices] == [
        (one["starts_ns"], one["price_micro_per_mwh"]) for one in rest["prices"]
    ]
    hours = (await vpp.GetForecast(pb.GetForecastRequest(iso="pjm", hours=5))).hours
    assert len(hours) == 5
    assert (await vpp.GetRisk(pb.GetRiskRequest())).risk.power_max_w == 500_000
    assert list((await vpp.ListBids(pb.ListBidsRequest())).bids) == []


async def test_grpc_reconciles_and_halts_for_the_operator_alone(cloud, vpp):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await vpp.HaltDesk(pb.HaltDeskRequest(is_halted=True, reason="x"))
    assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "authorization: Bearer" in raised.value.details()
    token = operator_of(cloud)
    answer = await vpp.HaltDesk(pb.HaltDeskRequest(is_halted=True, reason="x"), metadata=token)
    assert answer.risk.is_halted
    venue = SettlementDesk("pjm", "2026-07-15")
    body = venue.publish()
    settled = await vpp.Reconcile(pb.ReconcileRequest(statement=body), metadata=token)
    assert (settled.settlement.difference_cents, list(settled.settlement.versions)) == (0, [1])
    asked_for = pb.GetSettlementRequest(iso="pjm", day="2026-07-15")
    assert (await vpp.GetSettlement(asked_for)).settlement == settled.settlement
    for call, request, code in (
        (vpp.Reconcile, pb.ReconcileRequest(statement=b"<x/>"), "INVALID_ARGUMENT"),
        (vpp.WithdrawBid, pb.WithdrawBidRequest(bid_id="no"), "NOT_FOUND"),
        (vpp.GetSettlement, pb.GetSettlementRequest(iso="pjm", day="soon"), "INVALID_ARGUMENT"),
        (vpp.ListPrices, pb.ListPricesRequest(iso="mars"), "NOT_FOUND"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(request, metadata=token)
        assert raised.value.code().name == code
        assert raised.value.details()


async def test_grpc_streams_the_news(cloud, vpp):
    stream = vpp.WatchMarkets(pb.WatchMarketsRequest(kinds=["DeskHalted"]))

    async def turn():
        for number in range(100):
            await cloud.app.writer.submit(HaltDesk(number % 2 == 0, "drill"))
            await asyncio.sleep(0.05)

    turning = asyncio.create_task(turn())
    news = await asyncio.wait_for(stream.read(), 15)
    turning.cancel()
    assert news.kind == "DeskHalted"
    assert json.loads(news.body_json)["reason"] == "drill"
    stream.cancel()


async def test_a_day_ahead_offer_is_the_operators_and_keeps_the_venues_gate(cloud):
    now_ns = cloud.app.clock.now_ns()
    starts_ns = (now_ns // HOUR_NS + 60) * HOUR_NS
    points = [(-150_000, -150_000_000), (0, 20_000_000), (150_000, 90_000_000)]
    curve = [{"power_w": w, "price_micro_per_mwh": price} for w, price in points]
    wide = [*curve[:2], curve[2] | {"power_w": 253_000}]
    offer = {"iso": "caiso", "starts_ns": starts_ns, "curve": curve}

    def posted(change, token=True):
        body = json.dumps(offer | change).encode()
        return asked(cloud, "/api/bids/ahead", "POST", body, token=token)

    assert (await posted({}, token=False))[0] == 401
    status, answer = await posted({})
    assert status == 409
    assert "NO_BATTERY: no battery was heard" in answer["detail"]
    for number in range(20):
        await cloud.app.writer.submit(battery(number))
    status, bid = await posted({})
    assert (status, bid["market"]) == (200, "DAM")
    assert 14 * HOUR_NS <= starts_ns - bid["gate_ns"] <= 38 * HOUR_NS
    for change, expected, says in (
        ({}, 409, "DUPLICATE_NUMBER"),
        ({"starts_ns": now_ns // HOUR_NS * HOUR_NS + HOUR_NS}, 409, "GATE_CLOSED"),
        ({"starts_ns": starts_ns + 1}, 422, "whole UTC hour"),
        ({"iso": "mars"}, 404, "caiso, pjm"),
        ({"starts_ns": starts_ns + HOUR_NS, "curve": curve[::-1]}, 409, "MALFORMED"),
        ({"starts_ns": starts_ns + 2 * HOUR_NS, "curve": wide}, 409, "NOT_STORED"),
        ({"curve": curve[:1]}, 422, ""),
    ):
        status, answer = await posted(change)
        assert status == expected
        assert says in str(answer["detail"])
    for _ in range(100):
        _, found = await asked(cloud, f"/api/bids/{bid['bid_id']}")
        if found["state"] == "accepted":
            break
        await asyncio.sleep(0.05)
    assert found["state"] == "accepted"
    halt = json.dumps({"is_halted": True, "reason": "drill"}).encode()
    assert (await asked(cloud, "/api/risk/halt", "PUT", halt, token=True))[0] == 200
    for _ in range(100):
        _, found = await asked(cloud, f"/api/bids/{bid['bid_id']}")
        if found["state"] == "cancelled":
            break
        await asyncio.sleep(0.05)
    assert found["state"] == "cancelled", "the kill switch withdraws what stands"


WRONG_OFFERS = [
    ({}, 409, "FAILED_PRECONDITION", "NO_RESERVE"),
    ({"product": "REG_UP"}, 409, "FAILED_PRECONDITION", "pjm buys REG, SPIN"),
    ({"starts_ns": "past"}, 409, "FAILED_PRECONDITION", "GATE_CLOSED"),
    ({"iso": "mars"}, 404, "NOT_FOUND", "caiso, pjm"),
    ({"capacity_w": 0}, 422, "INVALID_ARGUMENT", "capacity_w: 1 or more"),
    ({"capacity_w": 1 << 40}, 422, "INVALID_ARGUMENT", "capacity_w: 1 or more"),
    ({"starts_ns": -1}, 422, "INVALID_ARGUMENT", "starts_ns: 1 or more"),
    ({"price_micro_per_mw_h": -1}, 422, "INVALID_ARGUMENT", "price_micro_per_mw_h: 0 or more"),
    ({"price_micro_per_mw_h": 300_000_000}, 409, "FAILED_PRECONDITION", "BAD_PRICE"),
]


def reserve_offer(cloud, **changes):
    hour_ns = cloud.app.clock.now_ns() // HOUR_NS * HOUR_NS
    offer = {"iso": "pjm", "product": "REG", "starts_ns": hour_ns + 4 * HOUR_NS}
    offer |= {"capacity_w": 100_000, "price_micro_per_mw_h": 0} | changes
    return offer | ({"starts_ns": hour_ns + HOUR_NS} if offer["starts_ns"] == "past" else {})


async def test_grpc_refuses_a_reserve_offer_in_the_words_of_rest(cloud, vpp):
    operator = operator_of(cloud)
    request = pb.OfferReserveRequest(**reserve_offer(cloud))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await vpp.OfferReserve(request)
    assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
    body = json.dumps(reserve_offer(cloud)).encode()
    assert (await asked(cloud, "/api/bids/reserve", "POST", body, token=False))[0] == 401
    for change, status, code, says in WRONG_OFFERS:
        offer = reserve_offer(cloud, **change)
        body = json.dumps(offer).encode()
        rest_status, rest = await asked(cloud, "/api/bids/reserve", "POST", body)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await vpp.OfferReserve(pb.OfferReserveRequest(**offer), metadata=operator)
        assert (rest_status, raised.value.code().name) == (status, code)
        assert raised.value.details() == rest["detail"]
        assert says in rest["detail"]


async def test_a_reserve_offer_over_grpc_is_the_bid_that_rest_shows(cloud, vpp):
    for number in range(40):
        home = (f"{number:032x}", "tiny", 500, 20_000, 10_000, 10_000, 0, f"home-{number}")
        await cloud.app.writer.submit(ObserveFleet(*home))
    offer = reserve_offer(cloud, price_micro_per_mw_h=2_000_000)
    request = pb.OfferReserveRequest(**offer)
    made = (await vpp.OfferReserve(request, metadata=operator_of(cloud))).bid
    assert [(one.power_w, one.price_micro_per_mwh) for one in made.curve][1:] == [
        (100_000, 2_000_000)
    ]
    assert (made.iso, made.starts_ns) == ("pjm", offer["starts_ns"])
    _, rest = await asked(cloud, f"/api/bids/{made.bid_id}")
    assert (rest["iso"], rest["gate_ns"]) == ("pjm", made.gate_ns)
    again = json.dumps(offer | {"starts_ns": offer["starts_ns"] + HOUR_NS}).encode()
    assert (await asked(cloud, "/api/bids/reserve", "POST", again))[0] == 200
    halted = pb.HaltDeskRequest(is_halted=True, reason="drill")
    await vpp.HaltDesk(halted, metadata=operator_of(cloud))
    late = pb.OfferReserveRequest(**offer | {"starts_ns": offer["starts_ns"] + 2 * HOUR_NS})
    with pytest.raises(grpc.aio.AioRpcError, match="RISK_LIMIT"):
        await vpp.OfferReserve(late, metadata=operator_of(cloud))


async def test_a_client_that_knows_no_reserves_is_answered_as_before(cloud, channel):
    """Its bytes are written by hand here: paths, numbers and wire types as they were."""
    service = "/gridtokenx.vpp.v1.VppService/"
    answer = await channel.unary_unary(service + "GetRisk")(b"")
    assert pb.GetRiskResponse.FromString(answer).risk.power_max_w == 500_000
    withdraw, operator = channel.unary_unary(service + "WithdrawBid"), operator_of(cloud)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await withdraw(b"\x0a\x02no\x10\x01", metadata=operator)
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND
