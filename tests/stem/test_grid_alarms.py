"""The grid's facts on the operator's list: they rise once, with a priority, and are over by a fact."""

import pytest

from cloud.facts import (
    BidCancelled,
    BidPrepared,
    BidSettled,
    BidSubmitted,
    CurveSegment,
    OutageChanged,
    OverrideContested,
    QualityAlarm,
    Redispatched,
    StateEstimated,
)
from cloud.store.views import Views

NOW = 1_780_000_000_000_000_000


def outage(*, is_out):
    return OutageChanged("rural", 621, is_out, 4, 1, NOW)


def quality(level, value=49_100):
    return QualityAlarm("rural", "frequency", level, value, NOW)


def state(*, converged):
    return StateEstimated("rural", 1, converged, 12, 100, 998, 1_093, (), ())


@pytest.mark.parametrize(
    ("begins", "ends", "priority", "words"),
    [
        (outage(is_out=True), outage(is_out=False), 1, "4 homes silent, 1 without voltage"),
        (quality(1), quality(0, 50_000), 2, "frequency 49.100 Hz"),
        (quality(3), quality(0, 50_000), 1, "frequency 49.100 Hz"),
        (state(converged=False), state(converged=True), 1, "unknown"),
    ],
)
def test_an_alarm_of_the_grid_rises_once_and_is_over_when_the_grid_is_well(
    begins, ends, priority, words
):
    views = Views()
    views.update([begins, begins], NOW)
    (alarm,) = views.alarms.values()
    assert (alarm.priority, alarm.count) == (priority, 2)
    assert words in alarm.message
    views.update([ends], NOW)
    assert not views.alarms


def test_both_figures_of_a_redispatch_and_both_limits_of_a_contest_are_shown():
    views = Views()
    views.update(
        [
            Redispatched("rural", 7, 621, True, 1_120, 990, ()),
            OverrideContested("rural", 621, "EGAT", 3_000, "PEA", 9_000, "rank"),
        ],
        NOW,
    )
    redispatch, contest = views.alarms.values()
    assert "from 112.0 to 99.0 %" in redispatch.message
    assert "EGAT holds 3000 W, PEA yields 9000 W by rank" in contest.message


def test_a_bid_shows_where_it_stands_and_in_the_end_what_the_statement_pays():
    views = Views()
    curve = (CurveSegment(100_000, 40_000_000),)
    states = []
    for fact in (
        BidPrepared("b", "pjm", "node", "RT", NOW, 3_600, NOW, curve),
        BidSubmitted("b"),
        BidSettled("b", 2, 1_250_000, 1_250_000),
        BidCancelled("b", False),
    ):
        views.update([fact], NOW)
        states.append(views.bids["b"].state)
    assert states == ["prepared", "submitted", "settled", "cancelled"]
    assert views.bids["b"].revenue_micro == 1_250_000
