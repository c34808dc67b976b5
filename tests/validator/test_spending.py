"""Many spend the same money over real sockets while the aggregator is killed: nothing is spent twice.

GRIDTOKENX_SPENDERS=64 and GRIDTOKENX_SPENDING_KILLS=20 make it the long run, or as a program:
python -m tests.validator.spending DIRECTORY 64 20.
"""

import os
import sqlite3

import msgspec
import pytest

from tests.oracle.history import History
from tests.validator.spending import run

SPENDERS = int(os.environ.get("GRIDTOKENX_SPENDERS", "8"))
KILLS = int(os.environ.get("GRIDTOKENX_SPENDING_KILLS", "1"))


@pytest.fixture(scope="module")
def spent(tmp_path_factory):
    import asyncio

    directory = tmp_path_factory.mktemp("spending")
    return directory, *asyncio.run(run(directory, SPENDERS, KILLS))


def test_no_money_is_spent_twice_by_gateways_and_operator_with_kills_in_between(spent):
    _, history, figures = spent
    assert history.anomalies == []
    assert figures["status"] == 0
    assert figures["kills"] == KILLS
    assert figures["trades"] > 0
    assert figures["transfers"] > 0
    assert sum(history.balance.values()) == 0


@pytest.mark.parametrize(
    ("tag", "change", "anomaly"),
    [
        (33, lambda leaf: [*leaf[:3], leaf[3] * 2, *leaf[4:]], "was answered 2 times"),
        (17, lambda leaf: None, "was answered and never made"),
        (33, lambda leaf: None, "was answered 0 times"),
        (180, lambda leaf: [*leaf[:3], leaf[3] + 1, *leaf[4:]], "a batch says"),
        (180, lambda leaf: [*leaf[:4], bytes(32), *leaf[5:]], "no journaled batch"),
        (32, lambda leaf: [*leaf[:5], leaf[5] // 1000 or 1, *leaf[6:]], "and owes"),
    ],
    ids=["doubled", "phantom", "lost", "miscounted", "forged", "unpaid"],
)
def test_the_checker_sees_what_is_planted(spent, tmp_path, tag, change, anomaly):
    directory, history, _ = spent
    path = tmp_path / "journal.db"
    source = sqlite3.connect(directory / "state" / "journal.db")
    copy = sqlite3.connect(path)
    source.backup(copy)
    rows = copy.execute("select position, body from leaf").fetchall()
    for position, body in rows:
        leaf = msgspec.msgpack.decode(body)
        if leaf[0] == tag and (tag != 32 or leaf[3] == "anna"):
            planted = change(leaf)
            if planted is None:
                copy.execute("delete from leaf where position=?", (position,))
            else:
                octets = msgspec.msgpack.encode(planted)
                copy.execute("update leaf set body=? where position=?", (octets, position))
            break
    copy.commit()
    found = History(path, history.names).anomalies
    source.close()
    copy.close()
    assert any(anomaly in text for text in found), found
