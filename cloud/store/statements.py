"""An account's statements, found among the leaves of the log.

Decides nothing. Reads the journal's file beside the writer and never changes it; what it returns is
what a receipt proves, with the leaf's position.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloud.facts import Statement, decode_fact, encode_fact

_HEAD = encode_fact(Statement("", 0, 0, *([""] + [0] * 10)))[:2]  # type: ignore[arg-type]
"""How every statement's leaf begins: the array's length and the fact's tag."""


def statements(
    path: Path, accounts: Sequence[str], first_slot: int, last_slot: int
) -> Iterator[tuple[int, Statement]]:
    """(leaf position, statement) of these account names with first <= slot <= last, as logged."""
    if not path.exists():
        raise FileNotFoundError(f"no journal at {path}; name the aggregator's --state-dir")
    wanted = {*accounts}
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        for position, body in db.execute(
            "select position, body from leaf where substr(body, 1, ?) = ? order by position",
            (len(_HEAD), _HEAD),
        ):
            fact = decode_fact(body)
            assert isinstance(fact, Statement), f"leaf {position} begins like a statement"
            if fact.account in wanted and first_slot <= fact.slot <= last_slot:
                yield position, fact
    finally:
        db.close()
