"""A few worlds each time, and proof that the checks would see what they are there to see.

`python -m tests.sim` runs as many worlds as one likes, for as long as one likes.
"""

import os

import pytest

from cloud.core import Core
from cloud.facts import BatchAccepted, SlotSettled, Traded
from cloud.store.journal import SqliteJournal, TamperedJournalError
from tests.sim.checks import BrokenPromiseError
from tests.sim.world import Faults, World

SEEDS = range(int(os.environ.get("GRIDTOKENX_SIM_SEEDS", "4")))
HOURS = 3
SEED = 1
RESTLESS = Faults(line_up_s=900, line_down_s=20, crash_every_s=900, disk_per_mille=5)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_holds_in_a_world_where_anything_may_fail(seed, tmp_path):
    outcome = World(seed, tmp_path / "journal.db").run(HOURS)
    assert outcome.counts["BatchAccepted"] > 100
    assert outcome.counts["SlotSettled"] > HOURS


def test_homes_trade_and_the_aggregator_dies_somewhere_in_these_worlds(tmp_path):
    outcome = World(SEED, tmp_path / "journal.db", faults=RESTLESS).run(HOURS)
    assert outcome.crashes
    assert outcome.counts["Traded"]


def test_the_same_seed_gives_the_same_world(tmp_path):
    first = World(SEED, tmp_path / "first.db", faults=RESTLESS).run(HOURS)
    second = World(SEED, tmp_path / "second.db", faults=RESTLESS).run(HOURS)
    assert first == second


class ForgetfulJournal(SqliteJournal):
    """Says that everything is on the disk, and leaves out the last record of larger commits."""

    def append(self, records):
        super().append(records[:-1] if len(records) > 2 else records)


class WastefulCore(Core):
    """Loses a watt-hour in every settlement."""

    def step(self, command, at_ns):
        facts = super().step(command, at_ns)
        for place, fact in enumerate(facts):
            if isinstance(fact, SlotSettled):
                fields = {name: getattr(fact, name) for name in fact.__struct_fields__}
                facts[place] = SlotSettled(**fields | {"conservation_error_wh": 1})
        return facts


class StutteringCore(Core):
    """Says of every envelope twice that it was taken."""

    def step(self, command, at_ns):
        facts = super().step(command, at_ns)
        return [twice for fact in facts for twice in [fact] * (1 + isinstance(fact, BatchAccepted))]


class GreedyCore(Core):
    """Trades above the zone's band."""

    def step(self, command, at_ns):
        facts = super().step(command, at_ns)
        for place, fact in enumerate(facts):
            if isinstance(fact, Traded):
                fields = {name: getattr(fact, name) for name in fact.__struct_fields__}
                facts[place] = Traded(**fields | {"price_micro_per_kwh": 10**8})
        return facts


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"core": WastefulCore}, "lost 1 Wh"),
        ({"core": StutteringCore}, "taken twice"),
        ({"core": GreedyCore}, "out of the band"),
        ({"journal": ForgetfulJournal}, "journal"),
    ],
)
def test_a_planted_bug_is_seen(broken, words, tmp_path):
    with pytest.raises((BrokenPromiseError, TamperedJournalError), match=words):
        World(SEED, tmp_path / "journal.db", faults=RESTLESS, **broken).run(HOURS)
