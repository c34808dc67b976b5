"""A told worth of stored energy in the desk's own arithmetic.

The worth of each piece of the battery comes as a table over prices of the delivery hour, found
outside the machine (see `learned`), in whole micro-units. Here it takes the place of the worth that
the stochastic programme would find; everything after it, from where the charge will be to the
rising curve, is the same. Integers throughout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

import numpy as np

from cloud.commands import ValueEnergy
from cloud.facts import DeskRefused, EnergyValued, Fact
from cloud.vpp.capability import HOUR_NS
from cloud.vpp.optimum import HOUR_S, MICRO_WH_PER_MWH, Plant
from cloud.vpp.spread import Ints, SpreadModel, block_of
from cloud.vpp.stochastic import LEVELS, PRICE_MAX_MICRO, Worth, levels
from protos.messages import Refusal

WORTH_MAX_MICRO = 1_000_000_000
"""With prices up to twice as much, products stay inside 64 bits."""

PRICES_MAX = 64
PIECES_MAX = 32

BELOW = (-8.0, -4.0, -2.5, -1.6, -1.1, -0.8, -0.6, -0.45, -0.32, -0.22, -0.14, -0.07)
ABOVE = (0.07, 0.14, 0.22, 0.32, 0.45, 0.6, 0.8, 1.1, 1.6, 2.3, 3.2, 4.5, 6.5, 10.0, 16.0)
SPREADS = (*BELOW, 0.0, *ABOVE)
"""How far from its reference a price is asked about, in units of the usual price."""


@dataclass(frozen=True, slots=True)
class Told:
    """`prices_micro` rise; `worth_micro` has a row for each, whose pieces fall."""

    prices_micro: tuple[int, ...]
    worth_micro: tuple[tuple[int, ...], ...]

    @property
    def is_sound(self) -> bool:
        """Whether the desk can reckon with it."""
        prices, rows = self.prices_micro, self.worth_micro
        if not 2 <= len(prices) <= PRICES_MAX or len(rows) != len(prices):
            return False
        if any(lower >= upper for lower, upper in pairwise(prices)):
            return False
        if max(map(abs, prices)) > PRICE_MAX_MICRO or not 1 <= len(rows[0]) <= PIECES_MAX:
            return False
        return all(
            len(row) == len(rows[0])
            and max(map(abs, row)) <= WORTH_MAX_MICRO
            and all(first >= second for first, second in pairwise(row))
            for row in rows
        )


def told_worth(
    told: Told, plant: Plant, model: SpreadModel, path: Sequence[int], starts_s: int
) -> Worth:
    """Worth over the steps of `path`, reference prices from `starts_s`, of which the last hour is
    the one told of. Before it stands no worth, only the prices that the charge will meet.
    """
    steps = len(path)
    blocks = [block_of(starts_s + step * model.step_s) for step in range(steps)]
    prices = np.asarray(path, dtype=np.int64)[:, None] + model.centres[blocks]
    prices = np.clip(prices, -PRICE_MAX_MICRO, PRICE_MAX_MICRO)
    expected = np.zeros((steps, model.bins, LEVELS), dtype=np.int64)
    for step in range(steps - HOUR_S // model.step_s, steps):
        expected[step] = _by_level(_at_prices(told, prices[step]), plant)
    return Worth(plant, model, starts_s, expected, prices)


def _at_prices(told: Told, prices: Ints) -> Ints:
    """Worth by piece at each of `prices`: straight between those told, level beyond them."""
    known = np.array(told.prices_micro, dtype=np.int64)
    worth = np.array(told.worth_micro, dtype=np.int64)
    inside = np.clip(prices, known[0], known[-1])
    upper = np.clip(np.searchsorted(known, inside, side="right"), 1, len(known) - 1)
    below, above = known[upper - 1], known[upper]
    share, width = (inside - below)[:, None], (above - below)[:, None]
    rise = worth[upper] - worth[upper - 1]
    between: Ints = worth[upper - 1] + rise * share // width
    return between


def _by_level(pieces: Ints, plant: Plant) -> Ints:
    """Micro-units that the energy of each level is worth, (prices, LEVELS), nought when empty."""
    count = pieces.shape[1]
    edges = plant.energy_wh * np.arange(count + 1, dtype=np.int64) // count
    held = np.clip(levels(plant)[:, None], edges[:-1], edges[1:]) - edges[:-1]
    worth: Ints = pieces @ held.T // MICRO_WH_PER_MWH
    return worth


HOURS_AHEAD_MAX = 48


class ToldWorths:
    """What the desk was told, by venue, node and hour."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str, int], Told] = {}

    def take(self, command: ValueEnergy, at_ns: int) -> list[Fact]:
        """Keeps it for the hour's bid. Refuses what cannot be reckoned with, and hours that run or
        are too far away.
        """
        where = venue, _, starts_ns = command.venue, command.node, command.starts_ns
        told = Told(command.prices_micro, command.worth_micro)
        if not told.is_sound:
            return [DeskRefused(f"worth/{venue}/{starts_ns}", Refusal.BAD_PRICE)]
        too_far = starts_ns > at_ns + HOURS_AHEAD_MAX * HOUR_NS
        if starts_ns % HOUR_NS or starts_ns <= at_ns or too_far:
            return [DeskRefused(f"worth/{venue}/{starts_ns}", Refusal.BAD_INTERVAL)]
        if self._told.get(where) == told:
            return []
        self._told[where] = told
        lowest = min(row[-1] for row in told.worth_micro)
        return [EnergyValued(*where, lowest, max(row[0] for row in told.worth_micro))]

    def of(self, venue: str, node: str, starts_ns: int) -> Told | None:
        return self._told.get((venue, node, starts_ns))

    def forget_before(self, instant_ns: int) -> None:
        self._told = {key: told for key, told in self._told.items() if key[2] >= instant_ns}

    def state(self) -> list[object]:
        """Nothing where nothing was told, as in journals from before there was a `ValueEnergy`."""
        return [
            [*where, told.prices_micro, told.worth_micro]
            for where, told in sorted(self._told.items(), key=itemgetter(0))
        ]
