"""The forecast of congestion: homes that are heard, in place of the profiles' word for them."""

import pytest

from cloud.commands import AdmitGateway, OpenZone, ZoneRules
from cloud.congestion_pump import CongestionPump
from cloud.facts import Telemetry
from cloud.forecast.history import SlotHistory
from cloud.forecast.sky import Place
from cloud.gate.grid_state import congestion_of
from protos.clock import SLOTS_PER_DAY, slot_at, slot_start_ns
from tests.market.scene import NETWORK, TRANSFORMER, device
from tests.stem.conftest import START_NS

NOW = slot_at(START_NS)
HOMES = {"home-2": 2, "home-5": 5}
EVENING = range(72, 84)


def load_w(slot):
    """A household: quiet but for three hours of its evening."""
    return 30_000 if slot % SLOTS_PER_DAY in EVENING else 500


def heard(name, slot, load, made=0):
    rest = (load - made, made, 0, load, 0, 0, 0, 0)
    return Telemetry("tiny", device(name), name, slot_start_ns(slot), *rest)


@pytest.fixture
async def pump(stem):
    await stem.writer.submit(OpenZone("tiny", NETWORK.sha256, NOW, ZoneRules()))
    for name, node in HOMES.items():
        await stem.writer.submit(AdmitGateway("tiny", device(name), name, node))
    return CongestionPump(stem.writer, stem.clock, {"tiny": Place(13.7, 100.5)})


def learn(pump, days):
    for slot in range(NOW - days * SLOTS_PER_DAY, NOW):
        pump.listen([heard(name, slot, load_w(slot)) for name in HOMES], 0)
    pump.close(NOW)
    pump.forecast()


def through(flows, element):
    return next(flow.power_w for flow in flows if flow.element == element)


async def test_an_evening_that_homes_repeat_is_foreseen_and_a_quiet_night_too(stem, pump):
    zone = stem.writer.core.zones["tiny"]
    learn(pump, days=24)
    for slot in range(NOW + 1, NOW + SLOTS_PER_DAY):
        others = sum(w for n, w in enumerate(zone.network.node_w(slot)) if n not in (2, 5))
        expected = 2 * load_w(slot) + others
        found = through(pump.flows(zone, slot), TRANSFORMER)
        near_an_edge = load_w(slot - 1) != load_w(slot) or load_w(slot + 1) != load_w(slot)
        assert near_an_edge or abs(found - expected) < 6_000, slot % SLOTS_PER_DAY
    # What the profiles say of these homes is 20 kW all day.
    assert {through(zone.element_flows(slot), TRANSFORMER) for slot in (NOW, NOW + 50)} == {20_000}


async def test_the_operator_reads_the_expected_evening_as_congestion(stem, pump):
    zone = stem.writer.core.zones["tiny"]
    learn(pump, days=24)
    answer = await congestion_of(zone, NOW, SLOTS_PER_DAY, 550, pump.flows)
    slots = {point.slot % SLOTS_PER_DAY for point in answer.points if point.feeder.element == 1}
    assert set(list(EVENING)[2:-2]) <= slots <= {*EVENING, 71, 84, 70, 85}
    naive = await congestion_of(zone, NOW, SLOTS_PER_DAY, 550, lambda z, s: z.element_flows(s))
    assert not [point for point in naive.points if point.feeder.element == 1]


async def test_with_less_than_a_day_heard_the_profiles_stand(stem, pump):
    zone = stem.writer.core.zones["tiny"]
    pump.listen([heard("home-2", NOW - 1, 9_000)], 0)
    pump.close(NOW)
    pump.forecast()
    assert pump.flows(zone, NOW + 1) == zone.element_flows(NOW + 1)


def test_a_history_fills_holes_and_begins_anew_after_a_day_of_silence():
    history = SlotHistory()
    history.hear(10, "a", 4_000, 400)
    history.hear(10, "a", 8_000, 400)
    history.hear(13, "a", 2_000, 0)
    history.close(14)
    assert history.load_wh == [1_500, 1_500, 1_500, 500]
    assert history.made_wh == [100, 100, 100, 0]
    history.hear(12, "a", 1, 1)
    history.hear(200, "a", 1_000, 0)
    history.close(300)
    assert history.load_wh == [250]
    assert history.next_slot == 201
