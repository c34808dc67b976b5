"""Wrong requests to the wholesale routes: each gets a 4xx that says what to do, and nothing changes."""

import json

import pytest

from protos.clock import MINUTE_NS
from tests.gate.test_markets import asked

HOUR_NS = 60 * MINUTE_NS
POINTS = [(-150_000, -150_000_000), (150_000, 90_000_000)]
CURVE = [{"power_w": w, "price_micro_per_mwh": price} for w, price in POINTS]

STATEMENT = (
    "<Statement><Venue>{venue}</Venue><OperatingDay>{day}</OperatingDay>"
    "<StatementVersion>{version}</StatementVersion>{lines}</Statement>"
)
LINE = (
    '<Line code="BALANCING_ENERGY" bid="x" start="{start}"><Quantity>1</Quantity>'
    "<Price>2</Price><CurrentDollars>{dollars}</CurrentDollars></Line>"
)
WRONG_STATEMENTS = [
    ({"venue": "ercot"}, "there are caiso, pjm"),
    ({"day": "20260528"}, "write it as 2026-05-28"),
    ({"day": "2026-W05-1"}, "write it as 2026-05-28"),
    ({"day": "0001-01-01"}, "write it as 2026-05-28"),
    ({"day": "9999-12-31"}, "write it as 2026-05-28"),
    ({"day": "2026-02-30"}, "not a statement"),
    ({"version": "0"}, "between 1 and"),
    ({"version": "-1"}, "StatementVersion"),
    ({"version": "9" * 30}, "StatementVersion"),
    ({"version": "one"}, "StatementVersion"),
    ({"lines": LINE.format(start="soon", dollars="2.00")}, "start of a line"),
    ({"lines": LINE.format(start="9" * 30, dollars="2.00")}, "start of a line"),
    ({"lines": LINE.format(start=10**18, dollars="2.001")}, "cents"),
    ({"lines": LINE.format(start=10**18, dollars="90000000000.00") * 2}, "check their unit"),
]


async def test_a_wrong_statement_is_told_and_nothing_of_it_is_kept(cloud):
    for change, says in WRONG_STATEMENTS:
        told = {"venue": "pjm", "day": "2026-05-28", "version": "1", "lines": ""} | change
        body = STATEMENT.format(**told).encode()
        status, answer = await asked(cloud, "/api/settlements/reconcile", "POST", body)
        assert (status, says in answer["detail"]) == (422, True), (change, answer)
        assert (await asked(cloud, "/api/settlements"))[1] == [], change


async def test_no_time_however_large_is_an_error_of_ours(cloud):
    huge = "9" * 30
    for query in (
        f"from_ns={huge}",
        f"as_of_ns={huge}",
        "from_ns=-1",
        f"from_ns={1 << 62}",
        "to_ns=5",
    ):
        status, answer = await asked(cloud, f"/api/markets/caiso/prices?{query}")
        assert (status, "ns since 1970 UTC" in answer["detail"]) == (422, True), query


IMPOSSIBLE_HOURS = [
    (HOUR_NS, 409, "this hour has begun"),
    (7, 422, "whole UTC hour"),
    (((1 << 62) - 1) // HOUR_NS * HOUR_NS, 409, "within the next 3 days"),
]


@pytest.mark.parametrize(
    ("path", "terms"),
    [
        ("/api/bids/ahead", {"curve": CURVE}),
        (
            "/api/bids/reserve",
            {"product": "SPIN", "capacity_w": 100_000, "price_micro_per_mw_h": 1},
        ),
    ],
)
async def test_an_order_for_an_impossible_hour_says_which_are_possible(cloud, path, terms):
    for starts_ns, expected, says in IMPOSSIBLE_HOURS:
        body = json.dumps({"iso": "caiso", "starts_ns": starts_ns} | terms).encode()
        status, answer = await asked(cloud, path, "POST", body)
        assert (status, says in answer["detail"]) == (expected, True), (starts_ns, answer)


async def test_a_turned_kill_switch_is_named_where_an_order_is_refused(cloud):
    turn = json.dumps({"is_halted": True, "reason": "drill"}).encode()
    assert (await asked(cloud, "/api/risk/halt", "PUT", turn))[0] == 200
    starts_ns = (cloud.app.clock.now_ns() // HOUR_NS + 60) * HOUR_NS
    body = json.dumps({"iso": "pjm", "starts_ns": starts_ns, "curve": CURVE}).encode()
    status, answer = await asked(cloud, "/api/bids/ahead", "POST", body)
    assert (status, "kill switch is on" in answer["detail"]) == (409, True)


async def test_what_cannot_be_written_back_is_refused_all_the_same(cloud):
    for path, body, where in (
        ("/api/risk/day", b'{"deviation_max_wh": NaN, "loss_max_micro": 0}', "deviation_max_wh"),
        ("/api/risk/halt", b'{"is_halted": 1, "reason": "\\ud83d"}', "reason"),
        ("/api/risk/halt", b'{"is_halted": 1, "reason": "   "}', "reason"),
    ):
        status, answer = await asked(cloud, path, "PUT", body)
        assert (status, where in str(answer["detail"])) == (422, True), (body, answer)
        assert not (await asked(cloud, "/api/risk"))[1]["is_halted"]
