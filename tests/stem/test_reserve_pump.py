"""The pump of reserve offers on a real journal: once a day, resumed after a crash, within the limits."""

import asyncio
from datetime import date

import pytest

from cloud.commands import (
    HaltDesk,
    ObserveFleet,
    OfferReserve,
    OpenDesk,
    RecordCancellation,
    StateStorage,
    decode_command,
)
from cloud.facts import ReservePrepared
from cloud.feeds.prices import ahead_gate_ns, observations, schedule
from cloud.reserve_pump import LAST_CALL_NS, PLAN_NS, ReservePump
from cloud.venues.days import publication
from protos.clock import MINUTE_NS, SECOND_NS
from tests.venues.bidding import HOUR_NS, USD, utc_ns
from tests.vpp.fleet import device

TOMORROW = date(2026, 6, 16)
CLOSE = {"pjm": utc_ns(2026, 6, 15, 15), "caiso": utc_ns(2026, 6, 15, 17)}
BOTH = ("caiso", "pjm")


@pytest.fixture
def alarms():
    return []


@pytest.fixture
async def desk(stem):
    """An open desk that was told the prices of three days when they were known."""
    stem.clock.ns = CLOSE["pjm"] - 30 * MINUTE_NS
    await open_desk(stem)
    await tell_prices(stem, range(13, 17))
    return stem.writer.core.desk


async def open_desk(stem, exposure_usd=10_000):
    await stem.writer.submit(OpenDesk(500_000, exposure_usd * USD, 100_000))
    await stem.writer.submit(StateStorage(is_on=True))
    await heard(stem)


async def heard(stem):
    for number in range(6):
        home = (device(number), "tiny", 600, 400_000, 60_000, 60_000, 0, f"home-{number}")
        await stem.writer.submit(ObserveFleet(*home))


async def tell_prices(stem, days):
    made = [("caiso", one) for one in ("DAM", "DAM_AS")] + [("pjm", one) for one in ("DA", "RT_AS")]
    bodies = [
        (venue, publication(venue, date(2026, 6, day), market))
        for venue, market in made
        for day in days
    ]
    known = [
        due.command
        for venue, body in bodies
        for due in schedule(observations(venue, body))
        if due.at_ns <= stem.clock.ns
    ]
    await asyncio.gather(*map(stem.writer.submit, known))


def pump_of(stem, alarms=None):
    told = None if alarms is None else lambda *what: alarms.append(what)
    return ReservePump(stem.writer.core.desk, stem.clock, stem.writer.submit, told)


def offered(stem):
    return [
        command
        for record in stem.writer._journal.read()
        if isinstance(command := decode_command(record.body), OfferReserve)
    ]


def prepared(stem):
    return [one.prepared for one in stem.writer.core.desk.bids()]


async def test_tomorrows_own_hours_are_offered_before_each_venues_close(stem, desk, alarms):
    pump = pump_of(stem, alarms)
    await pump.tick()
    assert {one.venue for one in prepared(stem)} == {"pjm"}
    stem.clock.ns = CLOSE["caiso"] - 10 * MINUTE_NS
    await heard(stem)
    await pump.tick()
    assert {one.venue for one in prepared(stem)} == {"pjm", "caiso"}
    assert alarms == []
    for one in prepared(stem):
        assert isinstance(one, ReservePrepared)
        hours = (one.starts_ns - ahead_gate_ns(one.venue, one.starts_ns)) // HOUR_NS
        assert 13 <= hours <= 37
        assert one.starts_ns // HOUR_NS % 2 == BOTH.index(one.venue), "its own hours alone"
        assert 100_000 <= one.curve[-1].power_w <= 360_000


async def test_a_day_is_planned_once_however_often_it_is_asked(stem, desk):
    pump = pump_of(stem)
    for _ in range(5):
        await pump.tick()
        stem.clock.ns += MINUTE_NS
    first = offered(stem)
    assert len(first) == len({(one.venue, one.product, one.starts_ns) for one in first}) > 2
    await pump_of(stem).tick()
    keys = [(one.venue, one.product, one.starts_ns) for one in offered(stem)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("dies_after", [1, 2, 3])
async def test_after_a_crash_no_hour_is_offered_twice_and_the_rest_still_is(stem, desk, dies_after):
    """The process dies between two offers; another one replays the journal and goes on."""

    async def dying(command):
        if len(offered(stem)) == dies_after:
            raise ConnectionAbortedError
        return await stem.writer.submit(command)

    with pytest.raises(ConnectionAbortedError):
        await ReservePump(desk, stem.clock, dying).tick()
    before = offered(stem)
    await stem.crash()
    await stem.start()
    assert len(prepared(stem)) == len(before) == dies_after
    await pump_of(stem).tick()
    after = offered(stem)
    assert after[:dies_after] == before
    keys = [(one.venue, one.product, one.starts_ns) for one in after]
    assert len(keys) == len(set(keys)) > dies_after


async def test_what_the_operator_took_back_is_not_offered_again(stem, desk):
    await pump_of(stem).tick()
    (first, *_), count = prepared(stem), len(offered(stem))
    await stem.writer.submit(RecordCancellation(first.bid_id, False))
    await pump_of(stem).tick()
    again = [(one.product, one.starts_ns) for one in offered(stem)[count:]]
    assert (first.product, first.starts_ns) not in again


async def test_under_the_kill_switch_nothing_is_planned_and_the_close_says_so(stem, desk, alarms):
    await stem.writer.submit(HaltDesk(True, "drill"))
    pump = pump_of(stem, alarms)
    await pump.tick()
    assert (offered(stem), alarms) == ([], [])
    stem.clock.ns = CLOSE["pjm"] - LAST_CALL_NS + SECOND_NS
    await pump.tick()
    await pump.tick()
    ((key, _, _, source, text),) = alarms
    assert (key, source) == (f"reserves/pjm/{TOMORROW}", "pjm")
    assert "RISK_LIMIT" in text
    assert offered(stem) == []


async def test_a_kill_switch_that_is_turned_back_before_the_close_costs_no_day(stem, desk):
    await stem.writer.submit(HaltDesk(True, "drill"))
    pump = pump_of(stem)
    await pump.tick()
    await stem.writer.submit(HaltDesk(False, "over"))
    await pump.tick()
    assert offered(stem)


async def test_the_kill_switch_stops_offers_that_are_planned_already(stem, desk, alarms):
    async def turned(command):
        await stem.writer.submit(HaltDesk(True, "drill"))
        return await stem.writer.submit(command)

    told = ReservePump(desk, stem.clock, turned, lambda *what: alarms.append(what))
    await told.tick()
    assert prepared(stem) == []
    assert "RISK_LIMIT" in alarms[0][-1]


async def test_offers_stay_within_the_days_exposure(stem):
    stem.clock.ns = CLOSE["pjm"] - 30 * MINUTE_NS
    await open_desk(stem, exposure_usd=500)
    await tell_prices(stem, range(13, 17))
    await pump_of(stem).tick()
    by_day = {}
    for one in prepared(stem):
        day = one.starts_ns // (24 * HOUR_NS)
        by_day[day] = by_day.get(day, 0) + one.curve[-1].power_w
    assert 0 < max(by_day.values()) <= 250_000, "so much can be bought back for 500 at 2,000 a MWh"


@pytest.mark.parametrize("early_ns", [PLAN_NS + SECOND_NS, LAST_CALL_NS - SECOND_NS, -HOUR_NS])
async def test_outside_its_time_nothing_is_planned_and_nothing_alarms(stem, desk, alarms, early_ns):
    stem.clock.ns = CLOSE["pjm"] - early_ns
    await heard(stem)
    await pump_of(stem, alarms).tick()
    assert [one for one in offered(stem) if one.venue == "pjm"] == []
    assert alarms == []


async def test_without_any_reserve_price_nothing_is_offered_until_one_is_known(stem, alarms):
    stem.clock.ns = CLOSE["pjm"] - 30 * MINUTE_NS
    await open_desk(stem)
    pump = pump_of(stem, alarms)
    await pump.tick()
    assert offered(stem) == []
    await tell_prices(stem, range(13, 16))
    await pump.tick()
    assert offered(stem)
    assert alarms == []


async def test_the_same_pump_plans_the_next_day_too(stem, desk):
    pump = pump_of(stem)
    await pump.tick()
    stem.clock.ns += 24 * HOUR_NS
    await heard(stem)
    await pump.tick()
    days = {one.starts_ns // (24 * HOUR_NS) for one in offered(stem)}
    assert days >= {utc_ns(2026, 6, day) // (24 * HOUR_NS) for day in (16, 17)}
