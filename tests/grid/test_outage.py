"""Outages told from silence, and told apart from lost connections."""

from cloud.grid.outage import SILENT_NS, TOGETHER_NS, Heard, Outage, Verdict, outages
from cloud.grid.shipped import network_named

NETWORK = network_named("tiny")
"""0 - 1 - 2 - 3 and 1 - 4 - 5."""

NOW = 10 * SILENT_NS
GONE = NOW - SILENT_NS - 1


def test_a_subtree_that_falls_silent_together_has_lost_its_element():
    heard = [Heard(2, GONE), Heard(3, GONE - 5), Heard(4, NOW), Heard(5, NOW)]
    assert outages(NETWORK, heard, NOW) == (Verdict.OUTAGES, [Outage(2, 2, 0, GONE)])


def test_one_silent_home_is_no_outage():
    heard = [Heard(2, NOW), Heard(3, GONE), Heard(4, NOW), Heard(5, NOW)]
    assert outages(NETWORK, heard, NOW) == (Verdict.CLEAR, [])


def test_a_last_gasp_makes_one_home_enough_and_counts_at_once():
    heard = [Heard(2, NOW), Heard(3, NOW, gasped=True), Heard(4, NOW)]
    assert outages(NETWORK, heard, NOW) == (Verdict.OUTAGES, [Outage(3, 1, 1, NOW)])


def test_homes_that_went_at_different_times_are_no_outage():
    heard = [Heard(2, GONE), Heard(3, GONE - TOGETHER_NS - 1), Heard(4, NOW)]
    assert outages(NETWORK, heard, NOW) == (Verdict.CLEAR, [])


def test_who_is_heard_below_an_element_acquits_it():
    heard = [Heard(2, GONE), Heard(3, NOW), Heard(4, GONE), Heard(5, GONE)]
    assert outages(NETWORK, heard, NOW) == (Verdict.OUTAGES, [Outage(4, 2, 0, GONE)])


def test_when_nobody_is_heard_the_fault_is_here():
    heard = [Heard(node, GONE) for node in (2, 3, 4, 5)]
    assert outages(NETWORK, heard, NOW) == (Verdict.DEAF, [])
    gasps = [Heard(node, GONE, gasped=True) for node in (2, 3, 4, 5)]
    assert outages(NETWORK, gasps, NOW) == (Verdict.OUTAGES, [Outage(1, 4, 4, GONE)])


def test_two_failures_at_once_are_two_outages():
    silent = [Heard(node, GONE) for node in (2, 3, 4, 5)]
    verdict, found = outages(NETWORK, [*silent, Heard(1, NOW)], NOW)
    assert verdict is Verdict.OUTAGES
    assert [outage.element for outage in found] == [2, 4]


def test_everybody_heard_is_clear():
    assert outages(NETWORK, [], NOW) == (Verdict.CLEAR, [])
    assert outages(NETWORK, [Heard(2, NOW)], NOW) == (Verdict.CLEAR, [])
