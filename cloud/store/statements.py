"""An account's statements, found among the leaves of the log.

Decides nothing. Reads the journal's file beside the writer and never changes it; what it returns is
what a receipt proves, with the leaf's position.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from cloud.commands import ZoneRules
from cloud.facts import Statement, ZoneOpened, decode_fact, encode_fact

_QUERY = "select position, body from leaf where substr(body, 1, ?) = ? order by position"
_HEAD = encode_fact(Statement("", 0, 0, *([""] + [0] * 10)))[:2]  # type: ignore[arg-type]
"""How every statement's leaf begins: the array's length and the fact's tag."""
_OPENED = encode_fact(ZoneOpened("", b"", 0, ZoneRules()))[:2]


def zone_rules(path: Path) -> dict[str, ZoneRules]:
    """The rules of every zone, as the log has them."""
    with closing(_open(path)) as db:
        found = [decode_fact(body) for _, body in db.execute(_QUERY, (len(_OPENED), _OPENED))]
    return {fact.zone: fact.rules for fact in found if isinstance(fact, ZoneOpened)}


def statements(
    path: Path, accounts: Sequence[str], first_slot: int, last_slot: int
) -> Iterator[tuple[int, Statement]]:
    """(leaf position, statement) of these account names with first <= slot <= last, as logged."""
    wanted = {*accounts}
    with closing(_open(path)) as db:
        for position, body in db.execute(_QUERY, (len(_HEAD), _HEAD)):
            fact = decode_fact(body)
            assert isinstance(fact, Statement), f"leaf {position} begins like a statement"
            if fact.account in wanted and first_slot <= fact.slot <= last_slot:
                yield position, fact


def _open(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise FileNotFoundError(f"no journal at {path}; name the aggregator's --state-dir")
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True)
