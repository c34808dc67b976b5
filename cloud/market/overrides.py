"""Which of the authorities' limits holds where they contradict each other.

Decides by rank first (transmission above distribution), then by area (who is named for this zone
above who is not), then by time (the later order). One authority's later order replaces its own
earlier one. An order that yields is kept: it holds again for slots that the stronger one no longer
covers. Must never let an order hold for a slot that starts at or after its end.
"""

from dataclasses import dataclass

from protos.clock import slot_start_ns


@dataclass(frozen=True, slots=True)
class Override:
    """An authority's other limit for an element, in W, for slots that start from `starts_ns` on and
    before `until_ns`.

    A lower rank is stronger. `number` counts the orders of the zone.
    """

    limit_w: int
    until_ns: int
    authority: str
    rank: int
    is_own_area: bool
    number: int
    starts_ns: int = 0

    @property
    def precedence(self) -> tuple[int, bool, int]:
        """What sorts the stronger order first."""
        return self.rank, not self.is_own_area, -self.number


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two orders for one element at one time, and what decided between them."""

    stronger: Override
    weaker: Override

    @property
    def decided_by(self) -> str:
        if self.stronger.rank != self.weaker.rank:
            return "rank"
        return "area" if self.stronger.is_own_area != self.weaker.is_own_area else "time"


class Overrides:
    """The standing orders of one zone, by element, the stronger first."""

    def __init__(self) -> None:
        self.ordered = 0
        self._standing: dict[int, list[Override]] = {}

    def order(
        self,
        element: int,
        limit_w: int,
        until_ns: int,
        authority: str,
        rank: int,
        *,
        own: bool,
        starts_ns: int = 0,
    ) -> list[Conflict]:
        """Takes an order. Returns the conflicts with other authorities' orders, stronger first."""
        self.ordered += 1
        new = Override(limit_w, until_ns, authority, rank, own, self.ordered, starts_ns)
        others = [o for o in self._standing.get(element, ()) if o.authority != authority]
        self._standing[element] = sorted([*others, new], key=lambda o: o.precedence)
        return [
            Conflict(*sorted((new, other), key=lambda o: o.precedence))
            for other in others
            if other.limit_w != limit_w
            and other.starts_ns < until_ns
            and starts_ns < other.until_ns
        ]

    def limits(self, slot: int) -> dict[int, int]:
        """The overridden limits that hold in a slot, in W by element."""
        starts_ns = slot_start_ns(slot)
        held = {}
        for element, standing in sorted(self._standing.items()):
            for override in standing:
                if override.starts_ns <= starts_ns < override.until_ns:
                    held[element] = override.limit_w
                    break
        return held

    def expire(self, now_ns: int) -> None:
        """Forgets orders that no slot to come can see."""
        for element, standing in list(self._standing.items()):
            left = [override for override in standing if override.until_ns > now_ns]
            if left:
                self._standing[element] = left
            else:
                del self._standing[element]

    def state(self) -> object:
        return [
            (
                element,
                [
                    (*o.precedence, o.authority, o.limit_w, o.starts_ns, o.until_ns)
                    for o in standing
                ],
            )
            for element, standing in sorted(self._standing.items())
        ]
