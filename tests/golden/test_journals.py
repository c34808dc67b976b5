"""Journals are for good: what an older version journaled makes the same leaves and roots today."""

from collections import Counter

import pytest

from cloud.commands import decode_command
from tests.golden.keep import FOLDER, load, replayed

JOURNALS = sorted(FOLDER.glob("*.journal"))


@pytest.mark.parametrize("path", JOURNALS, ids=lambda path: path.stem)
def test_an_old_journal_makes_its_old_leaves(path):
    kept = load(path)
    core, found = replayed(kept)
    assert found.commands == len(kept.records)
    assert not found.lost
    assert (core.bank.log.size, core.bank.log.root()) == (kept.leaves, kept.root)
    assert not any(core.bank.sums().values())


def test_what_is_kept_touches_every_machine():
    kinds = Counter(
        type(decode_command(record[6])).__name__
        for path in JOURNALS
        for record in load(path).records
    )
    for name in (
        "OpenZone", "AppendSealed", "GrantAllowances", "OverrideLimit", "OrderCurtailment",
        "RecordReferee", "SurveyGrid", "RecordState", "ReserveTrades", "SettleSlot", "SealBlock",
        "ObserveFleet", "ObservePrice", "RecordReply", "RecordAward", "RecordLease",
    ):  # fmt: skip
        assert kinds[name], name
