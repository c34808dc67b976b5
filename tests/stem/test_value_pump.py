"""From a store of prices to a bid: learning and asking in real processes, a real writer and desk."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from cloud import learning
from cloud.commands import (
    AdvanceDesk,
    HaltDesk,
    ObservePrice,
    OpenDesk,
    StateStorage,
    ValueEnergy,
)
from cloud.facts import BidAnswered, BidPrepared, EnergyValued
from cloud.feeds.intervals import Interval
from cloud.pumps import MarketStores, Wholesale
from cloud.store.prices import PriceStore, Series
from cloud.value_pump import ValuePump
from cloud.venues.years import PLACES
from cloud.vpp.capability import HOUR_NS
from cloud.vpp.desk import BID_WINDOW_NS
from cloud.vpp.history import known_at_gates
from cloud.vpp.learned import TooShort
from cloud.vpp.prices import DAY_NS
from protos.clock import MINUTE_NS
from tests.stem.conftest import HandClock, Stem
from tests.vpp.fleet import USD, battery
from tests.vpp.made_store import CAISO, MIDNIGHT, fill

NOW = MIDNIGHT + DAY_NS
HOUR = NOW + 2 * HOUR_NS
"""An even hour, so CAISO's; its worth is told from `NOW` on."""

DAYS = 88
PASSES = 2
"""A seed of made prices on which the learned worth earns more than the plain programme."""


class Alarms(list):
    def __call__(self, key, priority, at_ns, source, text):
        self.append((key, text))


async def open_desk(stem, halted=False):
    """A desk with a fleet and the day-ahead prices that the store has, as feeds would bring them."""
    stem.clock.ns = NOW
    await stem.writer.submit(OpenDesk(500_000, 10_000 * USD, 100_000))
    await stem.writer.submit(StateStorage(is_on=True))
    await fleet(stem)
    store = PriceStore(stem.path.with_name("prices.db"))
    series = Series("caiso", "DAM", CAISO.node)
    for known in store.latest(series, Interval(NOW - DAY_NS, NOW + DAY_NS)):
        price = ObservePrice("caiso", CAISO.node, "DAM", known.start_ns, HOUR_NS, known.value_micro)
        await stem.writer.submit(price)
    store.close()
    if halted:
        await stem.writer.submit(HaltDesk(True, "drill"))


async def fleet(stem):
    for number in range(20):
        await stem.writer.submit(battery(number, soc=500))


def pump_of(stem, alarms=None):
    return ValuePump(stem.writer, stem.clock, stem.path.parent, alarms)


def model_of(directory):
    return learning.model_path(directory, CAISO)


def told(stem):
    return [fact for fact in stem.facts if isinstance(fact, EnergyValued)]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A directory with a store and the model that the pump's own process learned from it."""
    directory = tmp_path_factory.mktemp("learned")
    fill(directory, DAYS, place=PLACES[0], seed=PASSES)
    alarms = Alarms()

    async def learn():
        stem = Stem(directory / "journal.db", HandClock())
        await stem.start()
        await open_desk(stem)
        await pump_of(stem, alarms).learn()
        await stem.writer.stop()

    asyncio.run(learn())
    (directory / "journal.db").unlink()
    return directory, alarms


@pytest.fixture
async def trading(tmp_path, learned):
    """A stem beside a copy of the learned directory, its desk open."""
    shutil.copytree(learned[0], tmp_path / "state")
    stem = Stem(tmp_path / "state" / "journal.db", HandClock())
    await stem.start()
    await open_desk(stem)
    yield stem
    if stem.writer.problem is None and not stem.writer._stopping:
        await stem.writer.stop()


async def bid_for_hour(stem):
    stem.clock.ns = HOUR - CAISO.gate_lead_ns - BID_WINDOW_NS
    await fleet(stem)
    facts = await stem.writer.submit(AdvanceDesk())
    (bid,) = [fact for fact in facts if isinstance(fact, BidPrepared)]
    assert bid.starts_ns == HOUR
    return bid


# ---- the way it goes -----------------------------------------------------------------------


def test_a_model_is_kept_that_earned_more_and_a_venue_without_prices_alarms_nobody(learned):
    directory, alarms = learned
    head = learning.read_head(model_of(directory))
    assert head.learned_share_per_mille > head.plain_share_per_mille > 0
    assert (head.days, head.made_ns) == (DAYS, NOW)
    assert head.lead_s == (75 + 30 + 15) * 60
    assert alarms == []  # the other venue has no prices yet, which alarms nobody


async def test_the_hours_bid_is_made_by_the_told_worth_and_the_exchange_takes_it(trading, tmp_path):
    pump = pump_of(trading)
    await pump.tell()
    (valued,) = told(trading)
    assert (valued.venue, valued.starts_ns) == ("caiso", HOUR)
    learned_bid = await bid_for_hour(trading)

    plain = Stem(tmp_path / "plain.db", HandClock())
    shutil.copy(trading.path.with_name("prices.db"), tmp_path / "prices.db")
    await plain.start()
    await open_desk(plain)
    plain_bid = await bid_for_hour(plain)
    await plain.writer.stop()
    assert learned_bid.curve != plain_bid.curve
    assert learned_bid.starts_ns == plain_bid.starts_ns

    stores = MarketStores(tmp_path)
    wholesale = Wholesale(trading.writer, trading.clock, stores)
    wholesale.listen([learned_bid], trading.clock.ns)
    submitting = asyncio.create_task(wholesale.bids())
    for _ in range(2_000):
        await asyncio.sleep(0.001)
        if answers := [fact for fact in trading.facts if isinstance(fact, BidAnswered)]:
            break
    submitting.cancel()
    with suppress(asyncio.CancelledError):
        await submitting
    stores.close()
    assert [answer.accepted for answer in answers] == [True]


async def test_a_restart_within_the_window_tells_nothing_again_and_the_replay_is_equal(trading):
    await pump_of(trading).tell()
    before = trading.writer.core.state_hash()
    await trading.crash()
    await trading.start()
    assert trading.writer.core.state_hash() == before
    commands = trading.writer.commands
    trading.clock.ns += 5 * MINUTE_NS
    await pump_of(trading).tell()
    assert trading.writer.commands == commands
    bid = await bid_for_hour(trading)
    after = trading.writer.core.state_hash()
    await trading.crash()
    await trading.start()
    assert trading.writer.core.state_hash() == after
    (kept,) = trading.writer.core.desk.bids()
    assert kept.prepared == bid


async def test_nothing_is_told_before_it_is_known_or_after_the_last_call(trading):
    pump = pump_of(trading)
    trading.clock.ns = NOW - MINUTE_NS
    await pump.tell()
    trading.clock.ns = HOUR - CAISO.gate_lead_ns - MINUTE_NS
    await pump.tell()
    assert told(trading) == []


async def test_what_is_published_after_the_lead_changes_no_table(trading):
    directory = trading.path.parent
    early = learning.table_of(directory, CAISO, HOUR, NOW)
    store = PriceStore(directory / "prices.db")
    store._base.execute(
        "INSERT INTO price SELECT source, market, place, item, start_ns + ?, end_ns + ?, version,"
        " seen_ns, value_micro * 50 FROM price WHERE market = 'RTPD' AND start_ns >= ?",
        (HOUR_NS, HOUR_NS, NOW - HOUR_NS),
    )
    store.close()
    assert learning.table_of(directory, CAISO, HOUR, NOW + 60 * MINUTE_NS) == early


def test_a_day_ahead_price_is_public_on_the_eve_and_gaps_stay_gaps(learned, tmp_path):
    path = shutil.copy(learned[0] / "prices.db", tmp_path)
    store = PriceStore(path)
    gap_ns = NOW - 5 * DAY_NS
    store._base.execute("DELETE FROM price WHERE market = 'RTPD' AND start_ns = ?", (gap_ns,))
    history = learning.history_of(store, CAISO, NOW, 30)
    store.close()
    assert history.starts_s * 10**9 == NOW - 30 * DAY_NS
    assert (history.step_s, history.hours) == (900, 30 * 24)
    (missing,) = np.flatnonzero(np.isnan(history.real))
    assert missing * CAISO.step_ns == gap_ns - (NOW - 30 * DAY_NS)
    # 13:00 in California on the eve of the local day: 20:00 UTC in summer.
    at_noon = 10 * 24 + 12
    hour_s = history.starts_s + at_noon * 3_600
    assert hour_s - history.public_s[at_noon] == 16 * 3_600


# ---- what does not go ----------------------------------------------------------------------


async def test_under_the_kill_switch_nothing_is_told(trading):
    await trading.writer.submit(HaltDesk(True, "drill"))
    commands = trading.writer.commands
    await pump_of(trading).tell()
    assert trading.writer.commands == commands


async def test_a_desk_that_is_not_open_learns_and_is_told_nothing(tmp_path):
    fill(tmp_path, 2)
    stem = Stem(tmp_path / "journal.db", HandClock(NOW))
    await stem.start()
    alarms = Alarms()
    pump = pump_of(stem, alarms)
    await pump.learn()
    await pump.tell()
    assert (alarms, stem.writer.commands) == ([], 0)
    await stem.writer.stop()


async def test_a_damaged_model_is_said_once_removed_and_learned_anew_within_the_hour(trading):
    path = model_of(trading.path.parent)
    octets = bytearray(path.read_bytes())
    octets[-5_000] ^= 1
    path.write_bytes(octets)
    alarms = Alarms()
    pump = pump_of(trading, alarms)
    await pump.tell()
    assert told(trading) == []
    assert not path.exists()
    ((_, text),) = alarms
    assert "its content is damaged" in text
    plant = trading.writer.core.desk.plant(NOW)
    assert await pump._is_due(CAISO, plant, NOW + HOUR_NS)


async def test_a_model_of_another_plant_or_an_old_one_is_due(trading):
    pump = pump_of(trading)
    plant = trading.writer.core.desk.plant(NOW)
    assert (plant.energy_wh, plant.charge_w, plant.discharge_w) == (252_000, 160_000, 160_000)
    assert not await pump._is_due(CAISO, plant, NOW + DAY_NS - 1)
    assert await pump._is_due(CAISO, plant, NOW + DAY_NS)
    path = model_of(trading.path.parent)
    text = path.read_bytes()
    path.write_bytes(text.replace(b'"energy_wh":252000', b'"energy_wh":330000', 1))
    assert not await pump._is_due(CAISO, plant, NOW)
    path.write_bytes(text.replace(b'"energy_wh":252000', b'"energy_wh":340000', 1))
    assert await pump._is_due(CAISO, plant, NOW)


async def test_without_the_package_the_extra_is_named_once_and_the_desk_bids(
    trading, tmp_path, monkeypatch, caplog
):
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "lightgbm.py").write_text("raise ImportError('no such package here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "without"))
    model_of(trading.path.parent).unlink()
    caplog.set_level("INFO", "cloud.value_pump")
    alarms = Alarms()
    pump = pump_of(trading, alarms)
    await pump.learn()
    await pump.tell()
    await bid_for_hour(trading)
    trading.clock.ns += DAY_NS
    await fleet(trading)
    await pump.learn()
    texts = [text for text in caplog.messages if text.startswith("caiso: bids by")]
    assert alarms == []
    assert len(texts) == 1
    assert "pip install 'gridtokenx[learned]'" in texts[0]


async def test_a_learning_that_takes_too_long_is_killed_and_said(trading):
    model_of(trading.path.parent).unlink()
    alarms = Alarms()
    pump = pump_of(trading, alarms)
    pump.learn_limit_s = 0.2
    await pump.learn()
    assert "killed: learn took longer" in dict(alarms)["worth/caiso"]
    assert not model_of(trading.path.parent).exists()
    # Nobody holds the lock any more.
    answer = subprocess.run(
        [sys.executable, "-m", "cloud.learning", "learn", "--directory", trading.path.parent,
         "--venue", "pjm", "--now-ns", str(NOW), "--energy-wh", "1", "--charge-w", "1",
         "--discharge-w", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == learning.TOO_SHORT


def children():
    """The processes that this one has started, with their command lines."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the process in /proc")
async def test_a_learning_that_somebody_kills_is_said_and_harms_nothing(trading):
    model_of(trading.path.parent).unlink()
    alarms = Alarms()
    pump = pump_of(trading, alarms)
    learning_ = asyncio.create_task(pump.learn())
    while not (pids := [pid for pid, words in children().items() if b"caiso" in words]):
        await asyncio.sleep(0.01)
    os.kill(pids[0], signal.SIGKILL)
    await learning_
    assert "the learning ended with status -9" in dict(alarms)["worth/caiso"]
    await pump.tell()
    await bid_for_hour(trading)


async def test_the_pump_ends_with_its_processes(trading):
    model_of(trading.path.parent).unlink()
    running = asyncio.create_task(pump_of(trading).run())
    while not [pid for pid, words in children().items() if b"cloud.learning" in words]:
        await asyncio.sleep(0.01)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert not [pid for pid, words in children().items() if b"cloud.learning" in words]


async def test_a_worth_that_would_have_earned_less_is_not_kept(tmp_path, caplog):
    caplog.set_level("INFO", "cloud.value_pump")
    fill(tmp_path, DAYS, come_true=True)
    model_of(tmp_path).write_text("an old one\n")
    stem = Stem(tmp_path / "journal.db", HandClock())
    await stem.start()
    await open_desk(stem)
    alarms = Alarms()
    await pump_of(stem, alarms).learn()
    await stem.writer.stop()
    text = next(text for text in caplog.messages if text.startswith("caiso: bids by"))
    assert alarms == []
    assert "per mille of foresight, the plain programme" in text
    assert text.endswith("it is not used")
    assert not model_of(tmp_path).exists()


def test_too_few_days_are_counted_without_their_gaps(tmp_path):
    fill(tmp_path, 88)
    store = PriceStore(tmp_path / "prices.db")
    store._base.execute(
        "DELETE FROM price WHERE market = 'RTPD' AND start_ns BETWEEN ? AND ?",
        (NOW - 40 * DAY_NS, NOW - 39 * DAY_NS),
    )
    store.close()
    plant = learning.Plant(252_000, 160_000, 160_000)
    with pytest.raises(TooShort, match=r"86 days of caiso's prices.* from 88 on"):
        learning.learn_to_file(tmp_path, CAISO, plant, NOW)


def test_the_last_weeks_say_the_same_as_all_the_past(learned):
    store = PriceStore(learned[0] / "prices.db", read_only=True)
    starts = HOUR // HOUR_NS * 3_600
    lead_s = learning.lead_ns(CAISO) // 10**9
    numbers = []
    for days in (learning.RECENT_DAYS, DAYS):
        history = learning.history_of(store, CAISO, NOW, days)
        hour = np.array([(starts - history.starts_s) // 3_600])
        found = known_at_gates(history, hour, lead_s)
        numbers.append(np.concatenate([found.numbers[0], found.reference, found.unit]))
    store.close()
    assert np.allclose(*numbers, rtol=1e-9, atol=1e-9, equal_nan=True)
    assert np.isfinite(numbers[0]).mean() > 0.95


def test_a_table_is_what_the_command_takes(learned):
    table = learning.table_of(learned[0], CAISO, HOUR, NOW)
    command = ValueEnergy("caiso", CAISO.node, HOUR, table.prices_micro, table.worth_micro)
    assert all(type(price) is int for price in command.prices_micro)
    assert len({len(row) for row in command.worth_micro}) == 1
