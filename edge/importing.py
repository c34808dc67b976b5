"""A limit on what the home draws from the grid: what it leaves to its cars and its batteries.

Reckons from what everything else in the home takes now, so that the answer does not depend on what
the cars and batteries themselves do because of it. Cars yield first; what is then still too much the
batteries give. Without the meter's word nothing else is known to be drawn, and batteries give
nothing. Must never ask a battery to charge.
"""

from dataclasses import dataclass, field

from edge.leases import Measured, known

STEP_W = 100
"""Cars are not told of less; a meter's last digits are no order."""


def others_w(measured: Measured) -> int | None:
    """What the home takes from the grid beside its cars and batteries; None where no meter says."""
    if measured.import_w is None:
        return None
    grid_w = measured.import_w - known(measured.export_w)
    return grid_w + known(measured.battery_w) - known(measured.draw_w)


def cars_room_w(limit_w: int, measured: Measured) -> int:
    """What all chargers together may draw under the limit, in whole steps."""
    room_w = limit_w - known(others_w(measured))
    return max(0, room_w // STEP_W * STEP_W)


@dataclass(slots=True)
class ImportGuard:
    """Whether the batteries help to keep the limit. Once they do, they do until the limit ends or
    even charging with all they can would keep it: a battery let go too early would draw again.
    """

    helps: bool = field(default=False)

    def least_battery_w(self, limit_w: int, measured: Measured, charge_max_w: int) -> int | None:
        """What the batteries must at least give (negative: may at most charge with); None where
        they are free.
        """
        others = others_w(measured)
        if others is None:
            return None
        least_w = others + known(measured.draw_w) - limit_w
        if least_w <= -charge_max_w:
            self.helps = False
        elif known(measured.import_w) > limit_w:
            self.helps = True
        return least_w if self.helps else None
