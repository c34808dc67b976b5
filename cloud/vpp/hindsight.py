"""What stored energy turned out to be worth: the answers that a model of its worth learns.

For each step of the past, what a plant gains until the end of the day after next from each level of
energy: first with the best plan in hindsight, then by following a strategy that knew only its
gates. The second is no longer wiser than anybody was, which makes the model learned from it the
better one (policy iteration: Bertsekas, Dynamic Programming and Optimal Control, vol. II, ch. 2). All days
go side by side through one pass backwards over three days. Floats in currency per MWh and MWh.
"""

from dataclasses import dataclass

import numpy as np

from cloud.vpp.history import Floats
from cloud.vpp.optimum import HOUR_S, Plant

LEVELS = 41
PIECES = 8
"""The worth of energy is told for this many equal parts of the battery."""

DAYS_AHEAD = 3
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class _Move:
    """One step at full power from every level: MWh sold, and where between two levels it ends."""

    sold: Floats
    lower: np.ndarray[tuple[int], np.dtype[np.int64]]
    part: Floats

    def later(self, worth: Floats) -> Floats:
        below: Floats = worth[:, self.lower]
        return below + (worth[:, self.lower + 1] - below) * self.part


def _moves(plant: Plant, step_s: int) -> tuple[_Move, _Move]:
    """Discharging and charging."""
    energy = np.linspace(0.0, plant.energy_wh / 1e6, LEVELS)
    efficiency = plant.efficiency_per_mille / 1e3
    out = np.minimum(energy, plant.discharge_w / 1e6 * step_s / HOUR_S / efficiency)
    into = np.minimum(energy[-1] - energy, plant.charge_w / 1e6 * step_s / HOUR_S * efficiency)
    moves = []
    for after, sold in ((energy - out, out * efficiency), (energy + into, -into / efficiency)):
        scaled = after / energy[-1] * (LEVELS - 1)
        lower = np.clip(scaled.astype(np.int64), 0, LEVELS - 2)
        moves.append(_Move(sold, lower, scaled - lower))
    return moves[0], moves[1]


def worth_in_hindsight(plant: Plant, real: Floats, step_s: int) -> Floats:
    """The worth of each piece after each step, (steps, PIECES), by the best plan.

    In a step of unknown price the plant stands still.
    """
    return _backwards(plant, real, step_s, None)


def worth_followed(plant: Plant, real: Floats, step_s: int, believed: Floats) -> Floats:
    """The same for a plant that follows the worth it believed, (steps, PIECES)."""
    return _backwards(plant, real, step_s, believed)


def worth_of_paths(plant: Plant, paths: Floats, step_s: int, first: int) -> Floats:
    """The worth of each piece after each of the `first` steps of each path, if the path came true,
    (paths, first, PIECES). `paths` is (paths, steps); energy left at their end is worth nothing.
    """
    wear = plant.wear_micro_per_mwh / 1e6
    moves = _moves(plant, step_s)
    worth = np.zeros((len(paths), LEVELS))
    result = np.zeros((len(paths), first, PIECES))
    for step in range(paths.shape[1] - 1, -1, -1):
        if step < first:
            result[:, step] = _pieces(worth, plant)
        worth = _step(worth, paths[:, step], moves, wear, None)
    return result


def earned(plant: Plant, real: Floats, step_s: int, believed: Floats) -> float:
    """What a plant that begins empty earns, less wear, if it follows the worth it believed.

    In each step it gives or takes all it can where that pays, by `believed` (steps, PIECES), else it
    stands still, as it does where the price is unknown. Energy left at the end is worth nothing.
    """
    wear = plant.wear_micro_per_mwh / 1e6
    efficiency = plant.efficiency_per_mille / 1e3
    full = plant.energy_wh / 1e6
    most_out = plant.discharge_w / 1e6 * step_s / HOUR_S / efficiency
    most_in = plant.charge_w / 1e6 * step_s / HOUR_S * efficiency
    edges, worth = np.linspace(0.0, full, LEVELS), _levels(believed, plant)
    stored = money = 0.0
    for at, price in enumerate(real):
        if np.isnan(price):
            continue
        out, into = min(stored, most_out), min(full - stored, most_in)
        ends = (stored, stored - out, stored + into)
        paid = (0.0, (price - wear) * out * efficiency, -price * into / efficiency)
        said = np.array(paid) + np.interp(ends, edges, worth[at])
        best = int(said.argmax())
        stored, money = ends[best], money + paid[best]
    return money


def _backwards(plant: Plant, real: Floats, step_s: int, believed: Floats | None) -> Floats:
    per_day = DAY_S // step_s
    days = -(-len(real) // per_day)
    wear = plant.wear_micro_per_mwh / 1e6
    moves = _moves(plant, step_s)
    result = np.zeros((days * per_day, PIECES))
    worth = np.zeros((days, LEVELS))
    starts = np.arange(days) * per_day
    for step in range(DAYS_AHEAD * per_day - 1, -1, -1):
        at = starts + step
        if step < per_day:
            result[at] = _pieces(worth, plant)
        price = np.where(at < len(real), real[np.minimum(at, len(real) - 1)], np.nan)
        guess = None
        if believed is not None:
            guess = _levels(believed[np.minimum(at, len(real) - 1)], plant)
        worth = _step(worth, price, moves, wear, guess)
    return result[: len(real)]


def _step(
    worth: Floats, price: Floats, moves: tuple[_Move, _Move], wear: float, guess: Floats | None
) -> Floats:
    """One step back. Without a guess the best is done, with one what it says is best."""
    believed = worth if guess is None else guess
    best, after = believed, worth
    for move in moves:
        money = np.where(move.sold > 0, price[:, None] - wear, price[:, None]) * move.sold
        expected = money + move.later(believed)
        better = expected > best  # never where the price is unknown
        after = np.where(better, money + move.later(worth), after)
        best = np.where(better, expected, best)
    return after


def _pieces(worth: Floats, plant: Plant) -> Floats:
    """The slope of the worth in each piece."""
    ends = worth[:, :: (LEVELS - 1) // PIECES]
    slopes: Floats = np.diff(ends, axis=1) / (plant.energy_wh / 1e6 / PIECES)
    return slopes


def _levels(pieces: Floats, plant: Plant) -> Floats:
    """The worth at each level, nought when empty, whose slopes are `pieces`."""
    rise = pieces * (plant.energy_wh / 1e6 / (LEVELS - 1))
    steps = np.repeat(rise, (LEVELS - 1) // PIECES, axis=1)
    return np.concatenate([np.zeros((len(pieces), 1)), np.cumsum(steps, axis=1)], axis=1)
