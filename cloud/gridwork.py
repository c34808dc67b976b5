"""The pumps beside the zones' grids: surveys, the referee with its remedy, the state estimator.

They wait and solve, which a machine may not, and hand the outcome back as commands of whole numbers.
Solvers run in a thread of their own, so that no power flow holds up a receipt. What a crash cut off
is not repeated: the next survey, estimate or gate comes soon.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from cloud.commands import (
    CheckLoops,
    GridRules,
    HomeCut,
    RecordReferee,
    RecordState,
    Redispatch,
    SetGridRules,
    SurveyGrid,
)
from cloud.facts import Fact, GateClosed, Traded
from cloud.grid.estimator import Estimator, Measured, State
from cloud.grid.meshed import LoopReferee
from cloud.grid.network import Network
from cloud.grid.redispatch import remedy
from cloud.grid.referee import Referee
from cloud.market.zone import Zone
from cloud.writer import Writer
from protos.clock import Clock, slot_at
from protos.units import PER_MILLE, round_measured

SURVEY_S = 15
ESTIMATE_S = 60
PAUSE_S_MIN = 0.2
"""In the machine's own seconds, however fast a demo's clock runs."""

ESTIMATE_PAUSE_S_MIN = 10.0
FLOWS_REPORTED = 10
TRADES_PER_CHECK = 8
NEAR_PER_MILLE = 850
"""In a network with loops a slot is checked after so many trades, after each one that leaves a branch
so full, and with every survey.
"""

T = TypeVar("T")

log = logging.getLogger(__name__)


class GridWork:
    """All zones'. `listen` is a fact listener of the writer."""

    def __init__(
        self, writer: Writer, clock: Clock, networks: Mapping[str, Network], rules: GridRules
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._networks = networks
        self._rules = rules
        self._closed: asyncio.Queue[GateClosed] = asyncio.Queue(maxsize=1_024)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grid")
        # Of open slots only, so there are no more than slots ahead.
        self._unchecked: Counter[tuple[str, int]] = Counter()
        self._check_loops = asyncio.Event()

    def listen(self, facts: Sequence[Fact], _at_ns: int) -> None:
        for fact in facts:
            if isinstance(fact, Traded) and self._networks[fact.zone].loops is not None:
                self._unchecked[fact.zone, fact.slot] += 1
                fullest = self._zones[fact.zone].loop_fullness_per_mille(fact.slot)
                if (
                    self._unchecked[fact.zone, fact.slot] >= TRADES_PER_CHECK
                    or fullest >= NEAR_PER_MILLE
                ):
                    self._check_loops.set()
            elif isinstance(fact, GateClosed):
                self._unchecked.pop((fact.zone, fact.slot), None)
                if self._closed.full():
                    log.warning("the referee is behind; slot %d goes unchecked", fact.slot)
                else:
                    self._closed.put_nowait(fact)

    async def open(self) -> None:
        """The rules of the configuration, where a zone has others."""
        for name, zone in self._zones.items():
            if zone.grid.watch.rules != self._rules:
                await self._writer.submit(SetGridRules(name, self._rules))

    async def surveys(self) -> None:
        while True:
            for name in self._zones:
                await self._writer.submit(SurveyGrid(name))
            if self._unchecked:
                self._check_loops.set()
            await self._pause(SURVEY_S, PAUSE_S_MIN)

    async def referee(self) -> None:
        """Every closed slot is checked by an independent AC power flow; what it finds broken is
        taken back as far as that helps.
        """
        referees: dict[str, Referee] = {}
        while True:
            closed = await self._closed.get()
            if closed.zone not in referees:
                # Not before it is needed: the solver's library takes longer to start than we do.
                three_phase = self._zones[closed.zone].rules.three_phase
                referees[closed.zone] = Referee(
                    self._networks[closed.zone], three_phase=three_phase
                )
            await self._judge(referees[closed.zone], closed)

    async def loops(self) -> None:
        """In networks with loops the traded slots are solved again and again while they trade."""
        referees: dict[str, LoopReferee] = {}
        while True:
            await self._check_loops.wait()
            self._check_loops.clear()
            for name, slot in list(self._unchecked):
                del self._unchecked[name, slot]
                if name not in referees:
                    referees[name] = LoopReferee(self._networks[name])
                zone = self._zones[name]
                trades = zone.trades(slot)
                state = await self._solve(referees[name].check, slot, zone.injections_w(slot))
                seen = state.verdict
                await self._writer.submit(
                    CheckLoops(
                        name,
                        slot,
                        trades,
                        state.offset_w,
                        state.cap_w,
                        seen.converged,
                        seen.worst_loading_per_mille,
                        seen.voltage_min_per_mille,
                        seen.voltage_max_per_mille,
                    )
                )

    async def estimates(self) -> None:
        """The state of each grid from telemetry, again and again."""
        estimators: dict[str, Estimator] = {}
        while True:
            for name, zone in self._zones.items():
                slot = slot_at(self._clock.now_ns())
                measured = measured_homes(zone, self._clock.now_ns())
                if measured:
                    if name not in estimators:
                        estimators[name] = Estimator(self._networks[name])
                    state = await self._solve(
                        estimators[name].estimate, slot, measured, zone.injections_w(slot)
                    )
                    await self._writer.submit(to_command(name, state))
            await self._pause(ESTIMATE_S, ESTIMATE_PAUSE_S_MIN)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def _zones(self) -> Mapping[str, Zone]:
        return self._writer.core.zones

    async def _judge(self, referee: Referee, closed: GateClosed) -> None:
        zone = self._zones[closed.zone]
        injections = zone.injections_w(closed.slot)
        result = await self._solve(referee.check, closed.slot, injections)
        await self._writer.submit(
            RecordReferee(
                closed.zone,
                closed.slot,
                result.converged,
                result.worst_element,
                result.worst_loading_per_mille,
                result.voltage_min_per_mille,
                result.voltage_max_per_mille,
            )
        )
        if not closed.trades:
            return
        candidates = zone.grid.candidates(closed.slot)
        found = await self._solve(
            remedy, referee, zone.network, closed.slot, injections, candidates
        )
        if found is not None:
            await self._writer.submit(
                Redispatch(
                    closed.zone,
                    closed.slot,
                    found.element,
                    found.exporting,
                    found.before.worst_loading_per_mille,
                    found.after.worst_loading_per_mille,
                    tuple(HomeCut(device, power_w) for device, power_w in found.cuts),
                )
            )

    async def _solve(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    async def _pause(self, seconds: int, least_s: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._clock.sleep(seconds)
        await asyncio.sleep(max(0.0, least_s - (loop.time() - began)))


def measured_homes(zone: Zone, now_ns: int) -> list[Measured]:
    """What the homes that are heard say of themselves."""
    return [
        Measured(
            gateway.device,
            gateway.node,
            gateway.snapshot.grid_w,
            gateway.snapshot.voltage_low_mv,
            gateway.snapshot.voltage_high_mv,
        )
        for gateway in zone.grid.present(now_ns)
        if gateway.snapshot.at_ns
    ]


def to_command(zone: str, state: State) -> RecordState:
    """The state as it is journaled: whole numbers, and the elements that are nearest to full."""
    if not state.converged:
        return RecordState(
            zone, state.slot, False, state.measured, state.assumed, 0, 0, (), state.rejected
        )
    full = np.argsort(-state.loading, kind="stable")[:FLOWS_REPORTED]
    return RecordState(
        zone,
        state.slot,
        True,
        state.measured,
        state.assumed,
        round_measured(float(state.voltage_pu.min()), PER_MILLE),
        round_measured(float(state.voltage_pu.max()), PER_MILLE),
        tuple(
            (
                int(element),
                round_measured(float(state.flow_w[element])),
                round_measured(float(state.loading[element])),
            )
            for element in full
            if element
        ),
        state.rejected,
    )
