"""Tables whose columns nobody has listed: which cells are measurements and which only say of what.

A publisher adds columns, renames their case and reorders them without notice. A column that a
parser knows by name keeps its meaning; of the others those that hold numbers wherever they hold
anything are values, and the rest are labels. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec

from cloud.feeds.rows import micro

NOTHING = frozenset({"", "null", "none", "nan", "na", "n/a", "-", "--", "n.a."})
"""What publishers write where there is no value, in small letters."""


@lru_cache(maxsize=1_024)
def normal(name: str) -> str:
    """A column's name without case, blanks and punctuation: HOUR_ENDING is Hour Ending."""
    return "".join(letter for letter in name if letter.isalnum()).lower()


def index_of(header: Sequence[str], names: Iterable[str]) -> int:
    """Where the first of these columns stands, by its normal name; -1 where none does."""
    held = {normal(name): index for index, name in reversed(list(enumerate(header)))}
    return next((held[key] for name in names if (key := normal(name)) in held), -1)


def is_nothing(cell: str) -> bool:
    return cell.strip().lower() in NOTHING


def is_number(cell: str) -> bool:
    try:
        micro(cell.strip())
    except ValueError:
        return False
    return True


def value_columns(
    header: Sequence[str], lines: Sequence[Sequence[str]], known: Iterable[int]
) -> list[int]:
    """The columns, beside the known ones, that hold numbers where they hold anything.

    One that is empty throughout is among them: its cells are absent values.
    """
    taken = set(known)
    found = []
    for index in range(len(header)):
        if index in taken or not header[index].strip():
            continue
        cells = [line[index] for line in lines if index < len(line) and not is_nothing(line[index])]
        if not lines or sum(map(is_number, cells)) * 2 >= len(cells) + bool(cells):
            found.append(index)
    return found


def label_columns(
    header: Sequence[str], lines: Sequence[Sequence[str]], known: Iterable[int]
) -> list[int]:
    """The columns, beside the known ones, that differ between lines and hold words."""
    taken = set(known)
    found = []
    for index in range(len(header)):
        if index in taken:
            continue
        cells = {line[index] for line in lines if index < len(line)}
        if len(cells) > 1 and not any(is_number(cell) for cell in cells):
            found.append(index)
    return found


def word(value: object) -> str:
    """A name as text, whatever kind of value carries it."""
    return "" if value is None else str(value).strip()


def flat(record: Mapping[str, object]) -> dict[str, object]:
    """A JSON record whose values are single ones; lists and records in it are left out."""
    return {k: v for k, v in record.items() if not isinstance(v, list | dict | msgspec.Raw)}
