"""The exact best schedule of one battery when every price is known: oracle and day-ahead plan.

The worth of stored energy is a concave, piecewise linear function of the energy. One step back in
time adds two pieces to it, the step's sale and its purchase, and cuts off what no longer fits; so
the worth is a list of pieces sorted by slope and the whole optimum is two insertions a step. This
equals the linear programme (with charge + discharge <= power) and needs no solver. Integers
throughout: Wh, W and micro-units of currency per MWh. Never used on prices that are not yet known,
other than as a forecast.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import neg

from cloud.vpp.curve import EFFICIENCY_PER_MILLE

HOUR_S = 3_600
MICRO_WH_PER_MWH = 1_000_000


@dataclass(frozen=True, slots=True)
class Plant:
    """One battery, or a fleet taken as one. Power at the terminals, energy inside."""

    energy_wh: int
    charge_w: int
    discharge_w: int
    wear_micro_per_mwh: int = 0
    efficiency_per_mille: int = EFFICIENCY_PER_MILLE

    def filled_wh(self, step_s: int) -> int:
        """What one step of full charging adds."""
        return self.charge_w * step_s * self.efficiency_per_mille // (HOUR_S * 1_000)

    def drained_wh(self, step_s: int) -> int:
        """What one step of full discharging takes out, rounded up."""
        return -(-self.discharge_w * step_s * 1_000 // (HOUR_S * self.efficiency_per_mille))

    def price_in(self, price_micro: int) -> int:
        """Cost of a stored MWh when a MWh costs `price_micro`."""
        return price_micro * 1_000 // self.efficiency_per_mille

    def price_out(self, price_micro: int) -> int:
        """Worth of a stored MWh that is sold at `price_micro`."""
        return (price_micro - self.wear_micro_per_mwh) * self.efficiency_per_mille // 1_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Stored energy after each step, money of each step in micro-units (wear counted as cost)."""

    stored_wh: tuple[int, ...]
    money_micro: tuple[int, ...]


class _Pieces:
    """A concave function on [0, energy]: slopes falling, each over a length in Wh."""

    def __init__(self, energy_wh: int) -> None:
        self.slopes = [0]
        self.lengths = [energy_wh]

    def add(self, slope: int, length: int) -> None:
        at = bisect_right(self.slopes, -slope, key=neg)
        self.slopes.insert(at, slope)
        self.lengths.insert(at, length)

    def cut(self, front: int, back: int) -> None:
        """Drops so much domain at both ends."""
        while front and front >= self.lengths[0]:
            front -= self.lengths[0]
            del self.slopes[0], self.lengths[0]
        self.lengths[0] -= front
        while back and back >= self.lengths[-1]:
            back -= self.lengths[-1]
            del self.slopes[-1], self.lengths[-1]
        self.lengths[-1] -= back


def _step_slopes(plant: Plant, price: int, filled: int, drained: int) -> tuple[int, int]:
    """What a stored MWh costs to get and brings to give; one mean where a price below zero would
    make doing both pay.
    """
    cost, gain = plant.price_in(price), plant.price_out(price)
    if cost >= gain:
        return cost, gain
    mean = (cost * filled + gain * drained) // max(1, filled + drained)
    return mean, mean


def best_plan(plant: Plant, prices: Sequence[int], step_s: int, stored_wh: int = 0) -> Plan:
    """The schedule that earns most over `prices` (micro per MWh a step) from `stored_wh`.

    Energy left at the end is worth nothing.
    """
    filled, drained = plant.filled_wh(step_s), plant.drained_wh(step_s)
    pieces = _Pieces(plant.energy_wh)
    later: list[tuple[list[int], list[int]]] = []
    for price in reversed(prices):
        later.append((pieces.slopes.copy(), pieces.lengths.copy()))
        cost, gain = _step_slopes(plant, price, filled, drained)
        pieces.add(cost, filled)
        pieces.add(gain, drained)
        pieces.cut(filled, drained)
    stored, money = [], []
    for price in prices:
        slopes, lengths = later.pop()
        cost, gain = _step_slopes(plant, price, filled, drained)
        target = _target(slopes, lengths, stored_wh, cost, gain)
        target = max(stored_wh - drained, min(stored_wh + filled, target))
        money.append(_money(plant, price, (filled, drained), target - stored_wh))
        stored_wh = target
        stored.append(target)
    return Plan(tuple(stored), tuple(money))


def _target(slopes: list[int], lengths: list[int], stored: int, cost: int, gain: int) -> int:
    """The energy one would hold after the step if power had no limit."""
    worth_buying = worth_keeping = 0
    for slope, length in zip(slopes, lengths, strict=True):
        if slope > cost:
            worth_buying += length
        if slope < gain:
            break
        worth_keeping += length
    return max(worth_buying, min(stored, worth_keeping))


def _money(plant: Plant, price: int, step: tuple[int, int], change_wh: int) -> int:
    cost, gain = plant.price_in(price), plant.price_out(price)
    if cost >= gain:
        slope = cost if change_wh > 0 else gain
        return -change_wh * slope // MICRO_WH_PER_MWH
    filled, drained = step
    most, least = -filled * cost, drained * gain
    span = max(1, filled + drained)
    return (least + (most - least) * (change_wh + drained) // span) // MICRO_WH_PER_MWH
