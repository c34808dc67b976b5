"""Active power against frequency: what a home adds or takes back when the grid's frequency leaves
its band, decided at the home itself, without the cloud.

Pure, in whole numbers. It must never act on a frequency that was not measured just now, and never
ask for more than the share of the rating that the owner allowed.

Formula: EN 50549-1:2019, 4.6 (LFSM-O and LFSM-U) and IEEE 1547-2018, 6.5.2.7: the change of power,
as a part of the rating, is what the frequency lies outside the dead band, as a part of the nominal,
divided by the droop. The defaults are those of EN 50549-1 (200 mHz, 5 %); IEEE 1547-2018 has 36 mHz
and 5 % at 60 Hz. Neither is a grid connection's own setting: that is the operator's.
"""

from dataclasses import dataclass

from edge.leases import Measured, known
from protos.clock import SECOND_NS

NOMINALS_MHZ = (50_000, 60_000)
STEP_PER_MILLE = 10
"""Responses move in hundredths of the rating: noise of the meter moves no battery."""

RELEASE_NS = 30 * SECOND_NS
"""So long the frequency must be back inside its band before the home is left to itself."""


@dataclass(frozen=True, slots=True)
class Droop:
    """The owner's or grid operator's settings; disabled unless somebody asks for it."""

    enabled: bool = False
    nominal_mhz: int = 50_000
    deadband_mhz: int = 200
    droop_per_mille: int = 50
    share_max_per_mille: int = 1_000


def exact_per_mille(droop: Droop, frequency_mhz: int) -> int:
    """The change of power in per mille of the rating, towards zero, within the allowed share:
    positive where the frequency is low and more must be produced.
    """
    deviation = droop.nominal_mhz - frequency_mhz
    beyond = abs(deviation) - droop.deadband_mhz
    if beyond <= 0:
        return 0
    share = beyond * 1_000_000 // (droop.nominal_mhz * droop.droop_per_mille)
    share = min(share, droop.share_max_per_mille)
    return share if deviation > 0 else -share


def response_per_mille(droop: Droop, frequency_mhz: int, before: int = 0) -> int:
    """The same in whole steps towards zero. `before` is what is done already: it stays while the
    exact response is less than a step away from it.
    """
    exact = exact_per_mille(droop, frequency_mhz)
    if before and exact and abs(exact - before) < STEP_PER_MILLE:
        return before
    stepped = abs(exact) - abs(exact) % STEP_PER_MILLE
    return stepped if exact >= 0 else -stepped


class FrequencyDroop:
    """Whether the home is responding, and from where. It begins outside the band with what the
    devices did just then, and ends after the frequency has been back for a while.
    """

    def __init__(self, droop: Droop) -> None:
        self._droop = droop
        self.share_per_mille = 0
        self.battery_w = 0
        self.production_w: int | None = None
        self.is_active = False
        self._inside_ns: int | None = None

    def update(self, at_ns: int, measured: Measured) -> None:
        """Takes a measurement; one without a frequency ends the response at once."""
        frequency = measured.frequency_mhz
        if not self._droop.enabled or frequency is None:
            self._end()
            return
        self.share_per_mille = response_per_mille(self._droop, frequency, self.share_per_mille)
        if abs(self._droop.nominal_mhz - frequency) > self._droop.deadband_mhz:
            self._inside_ns = None
            # A response too small for a whole step does not take a device in hand.
            if not self.is_active and self.share_per_mille:
                self.is_active = True
                self.battery_w = known(measured.battery_w)
                self.production_w = measured.production_w
            return
        self._inside_ns = at_ns if self._inside_ns is None else self._inside_ns
        # A clock that was set back must not keep it for ever.
        if not 0 <= at_ns - self._inside_ns < RELEASE_NS:
            self._end()

    def _end(self) -> None:
        self.is_active, self._inside_ns, self.share_per_mille = False, None, 0

    def change_w(self, rating_w: int) -> int:
        """What devices of this rating are to add (positive) or take back."""
        share = self.share_per_mille
        change_w = rating_w * abs(share) // 1_000
        return change_w if share >= 0 else -change_w
