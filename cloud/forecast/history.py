"""What homes took and made, slot by slot, out of their reports: the history a forecaster is given.

Decides what a hole in it means. Bounded: five weeks of slots, and as many open slots as reports come
late by.
"""

from dataclasses import dataclass, field

from protos.clock import SLOTS_PER_DAY, SLOTS_PER_HOUR

KEPT_SLOTS = SLOTS_PER_DAY * 35

Means = dict[str, tuple[int, int, int]]
"""By gateway: how many reports a slot had of it, and the sums of load and generation in W."""


@dataclass(slots=True)
class SlotHistory:
    """Whole Wh of all homes together; the last of slot `next_slot - 1`."""

    load_wh: list[int] = field(default_factory=list)
    made_wh: list[int] = field(default_factory=list)
    next_slot: int = 0
    _open: dict[int, Means] = field(default_factory=dict)

    def hear(self, slot: int, device: str, load_w: int, made_w: int) -> None:
        """One report. What comes for a slot that is closed already is left out."""
        if slot >= self.next_slot:
            means = self._open.setdefault(slot, {})
            count, load, made = means.get(device, (0, 0, 0))
            means[device] = (count + 1, load + load_w, made + made_w)

    def close(self, before_slot: int) -> None:
        """Slots that are over become history. A hole repeats the slot before it; a hole of more
        than a day begins the history anew.
        """
        for slot in sorted(self._open):
            if slot >= before_slot:
                break
            load, made = _energies(self._open.pop(slot))
            gap = slot - self.next_slot
            if not self.load_wh or gap < 0 or gap > SLOTS_PER_DAY:
                self.load_wh, self.made_wh, gap = [], [], 0
            self.load_wh += [*self.load_wh[-1:] * gap, load]
            self.made_wh += [*self.made_wh[-1:] * gap, made]
            self.next_slot = slot + 1
        del self.load_wh[:-KEPT_SLOTS], self.made_wh[:-KEPT_SLOTS]


def _energies(means: Means) -> tuple[int, int]:
    """Load and generation of one slot in Wh: each gateway's mean power for a quarter hour."""
    load = sum(load_w // count for count, load_w, _ in means.values()) // SLOTS_PER_HOUR
    made = sum(made_w // count for count, _, made_w in means.values()) // SLOTS_PER_HOUR
    return max(0, load), max(0, made)
