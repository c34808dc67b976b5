"""An account's statements, found among the leaves of the log.

Decides nothing. Reads the journal's file beside the writer and never changes it; what it returns is
what a receipt proves, with the leaf's position.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from cloud.commands import ZoneRules
from cloud.facts import Fact, Statement, ZoneOpened, decode_fact, fact_heads

F = TypeVar("F", bound=Fact)


def zone_rules(path: Path) -> dict[str, ZoneRules]:
    """The rules of every zone, as the log has them."""
    with closing(_open(path)) as db:
        return {fact.zone: fact.rules for _, fact in _leaves(db, ZoneOpened)}


def statements(
    path: Path, accounts: Sequence[str], first_slot: int, last_slot: int
) -> Iterator[tuple[int, Statement]]:
    """(leaf position, statement) of these account names with first <= slot <= last, as logged."""
    wanted = {*accounts}
    with closing(_open(path)) as db:
        for position, fact in _leaves(db, Statement):
            if fact.account in wanted and first_slot <= fact.slot <= last_slot:
                yield position, fact


def _leaves(db: sqlite3.Connection, kind: type[F]) -> Iterator[tuple[int, F]]:
    """All leaves of a kind, found by their first bytes, with their positions."""
    heads = fact_heads(kind)
    begins = " or ".join(f"substr(body, 1, {len(head)}) = ?" for head in heads)
    query = f"select position, body from leaf where {begins} order by position"  # noqa: S608 - lengths only
    for position, body in db.execute(query, heads):
        fact = decode_fact(body)
        assert isinstance(fact, kind), f"leaf {position} begins like a {kind.__name__}"
        yield position, fact


def _open(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise FileNotFoundError(f"no journal at {path}; name the aggregator's --state-dir")
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True)
