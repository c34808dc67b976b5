"""The pumps beside the grid on a real journal: rules, surveys, the referee's remedy, the estimate."""

import asyncio
import json

import pytest

from cloud.commands import (
    AdmitGateway,
    AdvanceZone,
    AppendSealed,
    CheckLoops,
    Deposit,
    GrantAllowance,
    GridRules,
    OpenAccount,
    OpenZone,
    SurveyGrid,
    ZoneRules,
)
from cloud.facts import (
    EnvelopesSet,
    GateClosed,
    GridRulesSet,
    LeaseIssued,
    LoopsChecked,
    Posted,
    Redispatched,
    RefereeRecorded,
    StateEstimated,
    Traded,
    ZoneRefused,
)
from cloud.grid.data import read_shipped
from cloud.grid.network import load_network
from cloud.grid.referee import Referee
from cloud.gridwork import TRADES_PER_CHECK, GridWork
from protos.clock import MINUTE_NS, SLOT_NS, slot_at, slot_start_ns
from protos.codec import encode_payload
from protos.messages import Offer, OfferBatch, Side, SweepBatch
from protos.seal import GENESIS, Sealed, link
from tests.grid.test_meshed import ringed
from tests.market.scene import METER_MAP, NETWORK, device
from tests.stem.conftest import START_NS, HandClock, Stem

ZONE = "tiny"
SLOT = slot_at(START_NS) + 2
PRICE = 3_000_000


class Street:
    """Homes that seal, on a stem."""

    def __init__(self, stem):
        self.stem = stem
        self.chains = {}

    async def open(self):
        await self.submit(OpenZone(ZONE, self.stem.network.sha256, slot_at(START_NS), ZoneRules()))
        for node in (2, 3, 4, 5):
            name = f"home-{node}"
            await self.submit(AdmitGateway(ZONE, device(name), name, node))
            await self.submit(GrantAllowance(ZONE, name, 10**12))
            self.chains[name] = (0, GENESIS)
            await self.send(name, METER_MAP)

    async def submit(self, command):
        return await self.stem.writer.submit(command)

    async def send(self, name, payload):
        seq, previous = self.chains[name]
        data = encode_payload(payload)
        sealed = Sealed(seq + 1, previous, data, bytes(64))
        self.chains[name] = (seq + 1, link(device(name), sealed))
        return await self.submit(
            AppendSealed(ZONE, device(name), seq + 1, previous, data, bytes(64))
        )

    async def offer(self, name, side, energy_wh):
        offer = Offer(self.chains[name][0], SLOT, side, energy_wh, PRICE)
        return await self.send(name, OfferBatch((offer,)))

    async def read(self, name, power_w):
        at_ms = self.stem.clock.ns // 1_000_000
        values = ((0,), (0,), (power_w,))
        return await self.send(name, SweepBatch(1, 1, 1, 1, ((at_ms,),), values))


@pytest.fixture
async def street(stem):
    street = Street(stem)
    await street.open()
    return street


def thinner(factor, ends):
    """The same network, but the lines to these nodes carry less: the market does not know it."""
    document = json.loads(read_shipped("tiny")[0])
    for row in document["data"]["line"]:
        row["i_n"] *= factor if row["to_node"] in ends else 1
    return load_network(json.dumps(document).encode())


def of(facts, kind):
    return [fact for fact in facts if isinstance(fact, kind)]


async def trade_to_the_gate(street, work):
    await street.offer("home-3", Side.SELL, 8_000)
    await street.offer("home-5", Side.BUY, 8_000)
    assert of(street.stem.facts, Traded)
    street.stem.clock.ns = slot_start_ns(SLOT) - 4 * MINUTE_NS
    street.stem.writer.listen(work.listen)
    await street.submit(AdvanceZone(ZONE))


async def judged(street, work):
    """Lets the referee's pump say its word on what waits."""
    task = asyncio.create_task(work.referee())
    async with asyncio.timeout(20):
        while len(of(street.stem.facts, RefereeRecorded)) < len(of(street.stem.facts, GateClosed)):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_where_the_referee_agrees_nothing_is_taken_back(street):
    work = GridWork(street.stem.writer, street.stem.clock, {ZONE: NETWORK}, GridRules())
    await trade_to_the_gate(street, work)
    await judged(street, work)
    assert of(street.stem.facts, RefereeRecorded)
    assert not of(street.stem.facts, Redispatched)
    work.close()


async def test_where_the_referee_disagrees_homes_are_cut_and_both_figures_are_facts(street):
    work = GridWork(street.stem.writer, street.stem.clock, {ZONE: thinner(0.2, {3})}, GridRules())
    await trade_to_the_gate(street, work)
    await judged(street, work)
    (fact,) = of(street.stem.facts, Redispatched)
    assert fact.slot == SLOT
    assert fact.before_per_mille > 1_000 >= fact.after_per_mille
    assert {home.account for home in fact.homes} <= {"home-3"}
    leases = of(street.stem.facts, LeaseIssued)
    assert {lease.device for lease in leases} == {home.device for home in fact.homes}
    assert all(lease.expires_ns == slot_start_ns(SLOT) + SLOT_NS for lease in leases)
    work.close()


async def test_who_is_cut_is_paid_by_the_operator_and_a_replay_pays_nobody_again(street):
    stem = street.stem
    for name in street.chains:
        await street.submit(OpenAccount(name, "prosumer", ZONE))
        await street.submit(Deposit(f"first-{name}", name, 10**12))
    work = GridWork(stem.writer, stem.clock, {ZONE: thinner(0.2, {3})}, GridRules())
    await trade_to_the_gate(street, work)
    await judged(street, work)
    work.close()
    (fact,) = of(stem.facts, Redispatched)
    paid = [posted for posted in of(stem.facts, Posted) if posted.code == "re-dispatch"]
    assert [posted.amount for posted in paid] == [home.compensation_micro for home in fact.homes]
    assert {posted.debit for posted in paid} == {f"@utility/{ZONE}"}
    assert sum(posted.amount for posted in paid) > 0
    bank = stem.writer.core.bank
    assert set(bank.sums().values()) == {0}
    before, balance = stem.writer.core.state_hash(), bank.balances(paid[0].credit)
    await stem.crash()
    await stem.start()
    assert stem.writer.core.state_hash() == before
    assert stem.writer.core.bank.balances(paid[0].credit) == balance


async def test_the_rules_of_the_configuration_are_journaled_once(street):
    rules = GridRules(voltage_high=1_060)
    work = GridWork(street.stem.writer, street.stem.clock, {ZONE: NETWORK}, rules)
    await work.open()
    await work.open()
    assert of(street.stem.facts, GridRulesSet) == [GridRulesSet(ZONE, rules)]
    work.close()


async def test_surveys_and_estimates_come_by_themselves_and_survive_a_crash(street):
    stem = street.stem
    work = GridWork(stem.writer, stem.clock, {ZONE: NETWORK}, GridRules())
    for name in street.chains:
        await street.read(name, -2_000)
    stem.clock.ns = slot_start_ns(SLOT) - 4 * MINUTE_NS
    for name in street.chains:
        await street.read(name, -2_000)
    pumps = [asyncio.create_task(pump()) for pump in (work.surveys, work.estimates)]
    async with asyncio.timeout(20):
        while not (of(stem.facts, EnvelopesSet) and of(stem.facts, StateEstimated)):
            await asyncio.sleep(0.02)
    for pump in pumps:
        pump.cancel()
    await asyncio.gather(*pumps, return_exceptions=True)
    work.close()
    state = of(stem.facts, StateEstimated)[0]
    assert (state.converged, state.measured, state.assumed) == (True, 4, 2)
    assert state.flows
    before = stem.writer.core.state_hash()
    await stem.crash()
    await stem.start()
    assert stem.writer.core.state_hash() == before
    assert of(stem.facts, StateEstimated)[0] == state
    await stem.writer.submit(SurveyGrid(ZONE))


async def test_a_zone_with_a_loop_is_corrected_by_the_power_flow_while_it_trades(tmp_path):
    """Homes trade across the ring until nothing passes. Every eighth trade the pump asks
    power-grid-model, and its answer is a command like any other: a replay needs no solver.
    """
    stem = Stem(tmp_path / "journal.db", HandClock(), network=load_network(ringed()))
    await stem.start()
    street = Street(stem)
    await street.open()
    for name in street.chains:
        await street.submit(OpenAccount(name, "prosumer", ZONE))
        await street.submit(Deposit(f"first-{name}", name, 10**12))
    work = GridWork(stem.writer, stem.clock, {ZONE: stem.network}, GridRules())
    stem.writer.listen(work.listen, GateClosed, Traded)
    pump = asyncio.create_task(work.loops())
    for _ in range(40):
        await street.offer("home-2", Side.SELL, 900)
        await street.offer("home-5", Side.BUY, 900)
        await asyncio.sleep(0.02)
    assert of(stem.facts, LoopsChecked)
    # What is left of eight is asked for with the next survey.
    await street.offer("home-5", Side.SELL, 100)
    await street.offer("home-2", Side.BUY, 100)
    survey = asyncio.create_task(work.surveys())
    async with asyncio.timeout(20):
        while of(stem.facts, LoopsChecked)[-1].trades < len(of(stem.facts, Traded)):
            await asyncio.sleep(0.02)
    for task in (pump, survey):
        task.cancel()
    await asyncio.gather(pump, survey, return_exceptions=True)
    work.close()
    zone = stem.writer.core.zones[ZONE]
    checks = of(stem.facts, LoopsChecked)
    assert checks[0].converged
    assert checks[0].trades == TRADES_PER_CHECK or checks[0].worst_loading_per_mille > 800
    assert of(stem.facts, Traded)
    injections = zone.injections_w(SLOT)
    assert 0 < injections[2] < 40 * 900 * 4
    verdict = Referee(stem.network).check(SLOT, injections)
    assert 900 < verdict.worst_loading_per_mille <= 1_002
    before = stem.writer.core.state_hash()
    await stem.crash()
    await stem.start()
    assert stem.writer.core.state_hash() == before
    assert of(stem.facts, LoopsChecked) == checks
    await stem.writer.stop()


async def test_a_check_of_loops_that_does_not_fit_is_refused(street):
    facts = await street.submit(CheckLoops(ZONE, SLOT, 0, (0,), (0,), True, 0, 0, 0))
    assert of(facts, ZoneRefused)
