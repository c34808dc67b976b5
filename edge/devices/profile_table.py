"""A table of a profile file, read key by key so that a misspelt key is refused, not ignored.

It decides types and presence, nothing of what the values mean.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches


class BadProfile(ValueError):
    """A profile file that cannot be used. `problem` names the place, `advice` what to do."""

    def __init__(self, profile: str, problem: str, advice: str) -> None:
        super().__init__(f"profile {profile}: {problem}; {advice}")
        self.profile = profile
        self.problem = problem
        self.advice = advice


class Table:
    """A TOML table. Every accessor notes its key; `done` refuses keys that nobody asked for."""

    def __init__(self, profile: str, place: str, content: Mapping[str, object] | None) -> None:
        self._profile = profile
        self._place = place
        self._content = content or {}
        self._known: set[str] = set()
        self.given = content is not None

    def bad(self, key: str, problem: str) -> BadProfile:
        """The complaint about a key, with its place."""
        return BadProfile(self._profile, f"{self._place}{key} {problem}", "correct the file")

    def _take(self, key: str, default: object = None) -> object:
        self._known.add(key)
        value = self._content.get(key, default)
        if value is None:
            raise self.bad(key, "is missing")
        return value

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._content)

    def integer(self, key: str, default: int | None = None) -> int:
        value = self._take(key, default)
        if type(value) is not int:
            raise self.bad(key, f"is {value!r}, no whole number")
        return value

    def maybe_integer(self, key: str) -> int | None:
        self._known.add(key)
        return self.integer(key) if key in self._content else None

    def boolean(self, key: str) -> bool:
        value = self._take(key, default=False)
        if type(value) is not bool:
            raise self.bad(key, f"is {value!r}, neither true nor false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self._take(key, default)
        if not isinstance(value, str):
            raise self.bad(key, f"is {value!r}, no text")
        return value

    def choice(self, key: str, among: Sequence[str], default: str | None = None) -> str:
        value = self.text(key, default)
        if value not in among:
            near = get_close_matches(value, among, 1)
            raise self.bad(key, f"is {value!r}; did you mean {near[0] if near else among[0]!r}?")
        return value

    def choices(self, key: str, among: Sequence[str]) -> tuple[str, ...]:
        """A list of some of these words."""
        words = self.texts(key)
        for word in words:
            Table(self._profile, self._place, {key: word}).choice(key, among)
        return words

    def words(self, key: str) -> tuple[int, ...]:
        """A list of register contents."""
        values = self.integers(key)
        if any(not 0 <= value <= 0xFFFF for value in values):
            raise self.bad(key, "holds a number that no register can")
        return values

    def scalars(self, key: str) -> tuple[str | int, ...]:
        value = self._take(key)
        items = value if isinstance(value, list) else [value]
        return tuple(item if isinstance(item, int) else str(item) for item in items)

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        value = self._take(key, default)
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise self.bad(key, "is no list of texts")
        return tuple(value)

    def integers(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        value = self._take(key, default)
        if not isinstance(value, list | tuple) or not all(type(v) is int for v in value):
            raise self.bad(key, "is no list of whole numbers")
        return tuple(value)

    def ranges(self, key: str) -> tuple[tuple[int, int], ...]:
        """Pairs [first, last] of addresses as half-open ranges."""
        value = self._take(key, [])
        if not isinstance(value, list):
            raise self.bad(key, "is no list of pairs")
        pairs = [Table(self._profile, f"{self._place}{key}.", {"pair": pair}) for pair in value]
        ends = [pair.integers("pair") for pair in pairs]
        if any(len(end) != 2 or end[0] > end[1] for end in ends):
            raise self.bad(key, "is no list of pairs [first, last]")
        return tuple((end[0], end[1] + 1) for end in ends)

    def numbers(self) -> dict[str, int | None]:
        """The whole table as numbers by name; "none" stands for not available."""
        return {
            key: None if self._content[key] == "none" else self.integer(key)
            for key in self._content
        }

    def table(self, key: str) -> "Table":
        self._known.add(key)
        value = self._content.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.bad(key, "is no table")
        return Table(self._profile, f"{self._place}{key}.", value)

    def rows(self, key: str) -> list["Table"]:
        self._known.add(key)
        value = self._content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            raise self.bad(key, "is no list of tables")
        return [
            Table(self._profile, f"{self._place}{key}[{row.get('id', i)}].", row)
            for i, row in enumerate(value)
        ]

    def done(self) -> None:
        """Refuses keys that no accessor asked for, with the nearest that is known."""
        for key in self._content:
            if key not in self._known:
                near = get_close_matches(key, sorted(self._known), 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise self.bad(key, f"is unknown{hint}")
