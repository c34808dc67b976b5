"""The wholesale routes of a running aggregator, over a real socket."""

import asyncio
import json
import urllib.error
import urllib.request

import pytest

from cloud.commands import RecordAward
from cloud.facts import Awarded, AwardMetered
from cloud.feeds.intervals import EASTERN, trade_date, trade_day
from cloud.gate.markets_http import PUBLISHED
from cloud.store.prices import Series
from cloud.venues.statements import SettlementDesk
from cloud.vpp.bids import OFFERED
from protos.clock import MINUTE_NS

HOUR_NS = 60 * MINUTE_NS
PJM = OFFERED[1]


def ask(cloud, path, method="GET", body=None, token=True):
    """Status and document."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{cloud.listening.http_port}{path}", body, method=method
    )
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
