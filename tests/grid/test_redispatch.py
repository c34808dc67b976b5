"""What is taken back of a slot where the independent power flow finds a limit broken."""

import pytest

from cloud.grid.redispatch import Candidate, disagrees, remedy
from cloud.grid.referee import UNSOLVED, Referee, RefereeResult
from cloud.grid.shipped import network_named

SLOT = 1_960_000
NETWORK = network_named("tiny")
GOOD = RefereeResult(True, 1, 400, 960, 1_010)


@pytest.fixture(scope="module")
def referee():
    return Referee(NETWORK)


def homes(powers):
    return [Candidate(f"home-{node}", node, max(0, w), max(0, -w)) for node, w in powers.items()]


def test_a_slot_within_its_limits_is_left_alone(referee):
    assert remedy(referee, NETWORK, SLOT, {3: 1_000, 5: -1_000}, homes({3: 1_000})) is None


@pytest.mark.parametrize("size", [40_000, 55_000, 70_000])
def test_too_much_feed_in_is_cut_to_the_limit_and_no_further_than_needed(referee, size):
    injections = {3: size, 2: size // 4}
    found = remedy(referee, NETWORK, SLOT, injections, homes(injections))
    assert found is not None
    assert found.exporting
    assert disagrees(found.before, referee.check(SLOT, {}))
    assert not disagrees(found.after, referee.check(SLOT, {}))
    cut = dict(found.cuts)
    assert 0 < sum(cut.values()) < sum(injections.values())
    # Fair: who feeds in little gives up nothing before who feeds in much.
    assert cut["home-3"] >= cut.get("home-2", 0)
    after = {node: w - cut.get(f"home-{node}", 0) for node, w in injections.items()}
    assert referee.check(SLOT, after) == found.after


def test_too_much_draw_is_met_by_what_the_batteries_below_can_give(referee):
    injections = {3: -45_000}
    found = remedy(referee, NETWORK, SLOT, injections, homes(injections))
    assert found is not None
    assert not found.exporting
    assert found.cuts[0][0] == "home-3"
    assert found.cuts[0][1] < 0
    assert found.after.worst_loading_per_mille < found.before.worst_loading_per_mille


def test_both_ends_of_a_trade_are_relieved_in_turn(referee):
    injections = {3: 60_000, 5: -60_000}
    found = remedy(referee, NETWORK, SLOT, injections, homes(injections))
    cuts = dict(found.cuts)
    assert cuts["home-3"] > 0 > cuts["home-5"]
    assert not disagrees(found.after, referee.check(SLOT, {}))


def test_where_nobody_below_can_help_nothing_is_cut(referee):
    assert remedy(referee, NETWORK, SLOT, {3: 60_000}, homes({5: 60_000})) is None
    assert remedy(referee, NETWORK, SLOT, {3: 60_000}, []) is None


def test_what_was_bad_before_any_trade_is_no_disagreement():
    base = RefereeResult(True, 1, 1_200, 880, 1_000)
    assert not disagrees(base, base)
    assert disagrees(RefereeResult(True, 1, 1_201, 880, 1_000), base)
    assert disagrees(UNSOLVED, base)
    assert disagrees(UNSOLVED, UNSOLVED)
    assert not disagrees(GOOD, GOOD)


class Stubborn:
    """A referee that finds everything as bad as before."""

    def check(self, slot, injections_w):
        return GOOD if not injections_w else UNSOLVED


def test_a_cut_that_makes_nothing_better_is_not_made():
    assert remedy(Stubborn(), NETWORK, SLOT, {3: 60_000}, homes({3: 60_000})) is None
