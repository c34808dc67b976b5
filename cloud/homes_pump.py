"""The pump of the homes' forecast: what the fleet used and made, as whole Wh a slot, forward.

Sums the gateways' telemetry by slot, asks the forecaster at the beginning of each, and hands the
desk the unfavourable bounds: a home's load high and its sun low draw on its battery, the other way
round they fill it. Off unless the operator says that the batteries serve their homes first.
"""

import asyncio
from collections.abc import Sequence

from cloud.commands import ForecastHomes
from cloud.facts import Fact, Telemetry
from cloud.forecast.history import SlotHistory
from cloud.forecast.port import HORIZON_MAX, Forecaster
from cloud.forecast.ridge import RidgeForecaster
from cloud.writer import Writer
from protos.clock import Clock, slot_at

POLL_S = 60.0


class HomesPump:
    """`listen` is a fact listener of the writer; `run` the pump."""

    def __init__(self, writer: Writer, clock: Clock, forecaster: Forecaster | None = None) -> None:
        self._writer = writer
        self._clock = clock
        self._forecaster = forecaster or RidgeForecaster()
        self.history = SlotHistory()

    def listen(self, facts: Sequence[Fact], _at_ns: int) -> None:
        for fact in facts:
            if isinstance(fact, Telemetry):
                slot = slot_at(fact.at_ns)
                self.history.hear(slot, fact.device, fact.load_w, fact.pv_w)

    def forecast(self) -> ForecastHomes | None:
        """What the homes will take and give, or None without a history."""
        history = self.history
        if not history.load_wh:
            return None
        horizon = min(HORIZON_MAX, 96)
        load = self._forecaster.forecast(history.load_wh, history.next_slot, horizon)
        made = self._forecaster.forecast(history.made_wh, history.next_slot, horizon)
        drawn = [
            max(0, most - least) for most, least in zip(load.high_wh, made.low_wh, strict=True)
        ]
        charged = [
            max(0, most - least) for most, least in zip(made.high_wh, load.low_wh, strict=True)
        ]
        return ForecastHomes(history.next_slot, tuple(drawn), tuple(charged))

    async def run(self) -> None:
        """A forecast at each slot's beginning, made off the event loop."""
        done = -1
        while True:
            slot = slot_at(self._clock.now_ns())
            if slot != done:
                done = slot
                self.history.close(slot)
                command = await asyncio.to_thread(self.forecast)
                if command is not None:
                    await self._writer.submit(command)
            await self._clock.sleep(POLL_S)
