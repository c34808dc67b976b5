"""An aggregator plans tomorrow's reserves by itself where it is told to, and nowhere else."""

import asyncio
import time

import pytest

from cloud.app import App
from cloud.commands import ObserveFleet
from cloud.config import DeskConfig
from protos.clock import MINUTE_NS, ScaledClock
from tests.gate.conftest import configured
from tests.venues.bidding import utc_ns
from tests.vpp.fleet import device

CLOSE = utc_ns(2026, 7, 14, 17)
SPEED = 60.0


async def running(tmp_path, *, plans):
    config = configured(tmp_path, desk=DeskConfig(plan_reserves=plans))
    clock = ScaledClock(SPEED, time.time_ns(), CLOSE - 50 * MINUTE_NS)
    app = App(config, clock)
    await app.start()
    return app


async def reserves_of(app, wanted):
    """The reserve bids once they satisfy `wanted`, while the fleet goes on telling its state."""
    found = []
    while app.clock.now_ns() < CLOSE:
        for number in range(6):
            home = (device(number), "tiny", 600, 400_000, 60_000, 60_000, 0, f"home-{number}")
            await app.writer.submit(ObserveFleet(*home))
        found = [one for one in app.core.desk.bids() if one.prepared.product != "EN"]
        if found and all(map(wanted, found)):
            break
        await asyncio.sleep(0.2)
    return found


async def test_tomorrows_reserves_are_offered_and_accepted_at_the_venue(tmp_path):
    app = await running(tmp_path, plans=True)
    try:
        found = await reserves_of(app, lambda bid: bid.answer is not None)
        assert len(found) >= 2
        for bid in found:
            assert bid.prepared.venue == "caiso", "the other venue had closed"
            assert bid.answer[0]
            assert bid.prepared.starts_ns >= CLOSE + 14 * 60 * MINUTE_NS
    finally:
        await app.stop()


@pytest.mark.parametrize("plans", [True, False])
async def test_the_pump_runs_only_where_the_configuration_asks_for_it(tmp_path, plans):
    app = await running(tmp_path, plans=plans)
    try:
        assert ("reserves" in {task.get_name() for task in app._pumps}) is plans
    finally:
        await app.stop()
