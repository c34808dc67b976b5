"""The pump of prices: energy and reserves of both venues, journaled when the world may know them."""

import asyncio
from contextlib import suppress
from datetime import date

from cloud.commands import ObservePrice, decode_command
from cloud.feeds.intervals import PACIFIC, trade_day
from cloud.pumps import MarketStores, Wholesale
from cloud.store.prices import Series
from protos.clock import MINUTE_NS
from tests.stem.conftest import START_NS

HOUR_NS = 60 * MINUTE_NS


async def test_reserve_prices_reach_the_desk_with_the_energys_and_are_kept(stem, tmp_path):
    stores = MarketStores(tmp_path)
    pump = asyncio.create_task(Wholesale(stem.writer, stem.clock, stores).prices())
    while stem.clock.now_ns() < START_NS + 3 * HOUR_NS:
        await asyncio.sleep(0)
        assert not pump.done()
    pump.cancel()
    with suppress(asyncio.CancelledError):
        await pump
    commands = [decode_command(record.body) for record in stem.writer._journal.read()]
    seen = {}
    for one in commands:
        if isinstance(one, ObservePrice):
            seen.setdefault((one.venue, one.node, one.market), []).append(one.starts_ns)
    assert set(seen) == {
        *(("caiso", "TH_SP15_GEN-APND", one) for one in ("DAM", "RTM")),
        *(("caiso", "AS_SP26", f"DAM_AS_{one}") for one in ("SPIN", "REG_UP", "REG_DOWN")),
        *(("pjm", "51288", one) for one in ("DA", "RT")),
        *(("pjm", "PJM_RTO", f"RT_AS_{one}") for one in ("SPIN", "REG")),
    }
    assert max(seen["pjm", "PJM_RTO", "RT_AS_REG"]) < stem.clock.now_ns(), "known afterwards"
    assert len(seen["pjm", "PJM_RTO", "RT_AS_REG"]) == len(seen["pjm", "PJM_RTO", "RT_AS_SPIN"])
    span = trade_day(date(2026, 6, 15), PACIFIC)
    kept = stores.prices.latest(Series("caiso", "DAM", "AS_CAISO_EXP", "SR"), span)
    assert len(kept) == 24
    assert {(seen, got) for _, _, _, seen, got in stores.prices.fetches("pjm")} == {
        (24, 24),
        (288, 288),
    }
    stores.close()
