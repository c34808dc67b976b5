"""The pump of the homes' forecast: what the fleet used and made, as whole Wh a slot, forward.

Sums the gateways' telemetry by slot, asks the forecaster at the beginning of each, and hands the
desk the unfavourable bounds: a home's load high and its sun low draw on its battery, the other way
round they fill it. Off unless the operator says that the batteries serve their homes first.
"""

import asyncio
from collections.abc import Sequence

from cloud.commands import ForecastHomes
from cloud.facts import Fact, Telemetry
from cloud.forecast.port import HORIZON_MAX, Forecaster
from cloud.forecast.ridge import RidgeForecaster
from cloud.writer import Writer
from protos.clock import Clock, slot_at

SLOTS_AN_HOUR = 4
KEPT_SLOTS = 96 * 35
POLL_S = 60.0

Means = dict[str, tuple[int, int, int]]
"""By gateway: how many reports a slot had of it, and the sums of load and generation in W."""


class HomesPump:
    """`listen` is a fact listener of the writer; `run` the pump."""

    def __init__(self, writer: Writer, clock: Clock, forecaster: Forecaster | None = None) -> None:
        self._writer = writer
        self._clock = clock
        self._forecaster = forecaster or RidgeForecaster()
        self._open: dict[int, Means] = {}
        self._load: list[int] = []
        self._made: list[int] = []
        self._next_slot = 0

    def listen(self, facts: Sequence[Fact], _at_ns: int) -> None:
        for fact in facts:
            if isinstance(fact, Telemetry):
                slot = self._open.setdefault(slot_at(fact.at_ns), {})
                count, load_w, made_w = slot.get(fact.device, (0, 0, 0))
                slot[fact.device] = (count + 1, load_w + fact.load_w, made_w + fact.pv_w)

    def close(self, before_slot: int) -> None:
        """Slots that are over become history. A hole repeats the slot before it; a hole of more
        than a day begins the history anew.
        """
        for slot in sorted(self._open):
            if slot >= before_slot:
                break
            means = self._open.pop(slot)
            load, made = _energies(means)
            gap = slot - self._next_slot
            if not self._load or gap < 0 or gap > 96:
                self._load, self._made, gap = [], [], 0
            self._load += [*self._load[-1:] * gap, load]
            self._made += [*self._made[-1:] * gap, made]
            self._next_slot = slot + 1
        del self._load[:-KEPT_SLOTS], self._made[:-KEPT_SLOTS]

    def forecast(self) -> ForecastHomes | None:
        """What the homes will take and give, or None without a history."""
        if not self._load:
            return None
        horizon = min(HORIZON_MAX, 96)
        load = self._forecaster.forecast(self._load, self._next_slot, horizon)
        made = self._forecaster.forecast(self._made, self._next_slot, horizon)
        drawn = [
            max(0, most - least) for most, least in zip(load.high_wh, made.low_wh, strict=True)
        ]
        charged = [
            max(0, most - least) for most, least in zip(made.high_wh, load.low_wh, strict=True)
        ]
        return ForecastHomes(self._next_slot, tuple(drawn), tuple(charged))

    async def run(self) -> None:
        """A forecast at each slot's beginning, made off the event loop."""
        done = -1
        while True:
            slot = slot_at(self._clock.now_ns())
            if slot != done:
                done = slot
                self.close(slot)
                command = await asyncio.to_thread(self.forecast)
                if command is not None:
                    await self._writer.submit(command)
            await self._clock.sleep(POLL_S)


def _energies(means: Means) -> tuple[int, int]:
    """Load and generation of one slot in Wh: each gateway's mean power for a quarter hour."""
    load = sum(load_w // count for count, load_w, _ in means.values()) // SLOTS_AN_HOUR
    made = sum(made_w // count for count, _, made_w in means.values()) // SLOTS_AN_HOUR
    return max(0, load), max(0, made)
