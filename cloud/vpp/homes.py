"""What the homes will do with their own batteries before an hour that is bid for.

A battery serves its home first: an evening's load empties it, a noon's sun fills it. The forecast
comes as a command, in whole Wh a slot with the unfavourable bounds, so that what is promised to a
market is there after the home has had its part. Without a forecast nothing is assumed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from protos.clock import slot_at

SLOTS_MAX = 192
"""Two days ahead."""

ENERGY_WH_MAX = 1 << 40


@dataclass(frozen=True, slots=True)
class HomeForecast:
    """Wh by slot from `start_slot`: taken from the fleet's batteries, and put into them."""

    start_slot: int = 0
    drawn_wh: tuple[int, ...] = ()
    charged_wh: tuple[int, ...] = ()

    def between(self, from_ns: int, to_ns: int) -> tuple[int, int]:
        """Drawn and charged energy of the slots that begin in [from, to), whole slots."""
        first = max(0, slot_at(from_ns) + 1 - self.start_slot)
        last = max(first, slot_at(to_ns) - self.start_slot)
        return sum(self.drawn_wh[first:last]), sum(self.charged_wh[first:last])

    def state(self) -> object:
        return [self.start_slot, list(self.drawn_wh), list(self.charged_wh)]


def are_sound(drawn_wh: Sequence[int], charged_wh: Sequence[int]) -> bool:
    return (
        len(drawn_wh) == len(charged_wh) <= SLOTS_MAX
        and min(*drawn_wh, *charged_wh, 0) >= 0
        and max(*drawn_wh, *charged_wh, 0) <= ENERGY_WH_MAX
    )
