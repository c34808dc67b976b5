"""The proof of a strategy: one battery through a held-out year, knowing only what was known.

Each strategy is asked for the curve of one hour, 75 minutes before it begins, and is given a `Past`
that holds nothing later than that moment: real-time prices of intervals that were over, day-ahead
prices that were published, the state of charge of that moment and its own standing curves. The
battery then follows the curve at each five-minute price and is paid that price; it does only what
its energy allows. Wear is not charged, to be comparable with the published figures. The oracle
plans two days ahead with perfect foresight and keeps the first, day after day.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cloud.commands import CurveSegment
from cloud.vpp.curve import PRICE_FLOOR_MICRO, offer_curve, power_at, stored_worth
from cloud.vpp.history import History
from cloud.vpp.hourly import best_curve, carried, certain
from cloud.vpp.learned import ValueModel
from cloud.vpp.optimum import HOUR_S, MICRO_WH_PER_MWH, Plant, best_plan
from cloud.vpp.spread import Ints, SpreadModel, fit
from cloud.vpp.stochastic import Worth, solve
from cloud.vpp.valued import SPREADS, Told, told_worth

STEP_S = 300
PER_HOUR = HOUR_S // STEP_S
PER_DAY = 24 * PER_HOUR
GATE_STEPS = 15
"""75 minutes."""

AHEAD_HOUR = 13
"""The next day's hourly prices are out by then; made years have one clock."""

MEAN_DAYS = 7
Curve = tuple[CurveSegment, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """What is known at a gate. `real` ends with the last finished step; `ahead` is hourly."""

    step: int
    """Steps since the first day's midnight; the hour begins GATE_STEPS later."""
    real: Ints
    ahead: Ints
    stored_wh: int
    standing: tuple[Curve, ...]
    """The curves of the present hour and the next, whose gates have passed."""


Strategy = Callable[[Past], Curve]


def run(
    plant: Plant, ahead: Ints, real: Ints, days: range, strategy: Strategy
) -> tuple[int, list[int]]:
    """Money in micro-units and the energy after each step. `ahead` is (days, 24), `real`
    (days, 288), micro per MWh.
    """
    flat, hourly = real.reshape(-1), ahead.reshape(-1)
    curves: dict[int, Curve] = {}
    stored = [0] * (days.start * PER_DAY)
    money = 0
    for step in range(days.start * PER_DAY, days.stop * PER_DAY):
        if (step + GATE_STEPS) % PER_HOUR == 0:
            hour = (step + GATE_STEPS) // PER_HOUR
            known_days = step // PER_DAY + 1 + (step % PER_DAY >= AHEAD_HOUR * PER_HOUR)
            standing = tuple(curves.get(hour - back, ()) for back in (2, 1))
            curves[hour] = strategy(
                Past(
                    step,
                    flat[:step],
                    hourly[: known_days * 24],
                    stored[-1] if stored else 0,
                    standing,
                )
            )
        power_w = power_at(curves.get(step // PER_HOUR, ()), int(flat[step]))
        done_wh, after = follow(plant, power_w, stored[-1] if stored else 0)
        money += done_wh * int(flat[step]) // MICRO_WH_PER_MWH
        stored.append(after)
    return money, stored


def follow(plant: Plant, power_w: int, stored_wh: int, step_s: int = STEP_S) -> tuple[int, int]:
    """Energy delivered (negative when drawn) and stored after one step at this power."""
    efficiency = plant.efficiency_per_mille
    if power_w >= 0:
        taken = min(stored_wh, power_w * step_s * 1_000 // (HOUR_S * efficiency))
        return taken * efficiency // 1_000, stored_wh - taken
    put = min(plant.energy_wh - stored_wh, -power_w * step_s * efficiency // (HOUR_S * 1_000))
    return -(put * 1_000 // efficiency), stored_wh + put


def foresight(plant: Plant, real: Ints, days: range) -> int:
    """The oracle: 48 hours of known prices at a time, of which the first 24 are kept."""
    money, stored = 0, 0
    for day in days:
        prices = real[day : day + 2].reshape(-1).tolist()
        plan = best_plan(plant, prices, STEP_S, stored)
        money += sum(plan.money_micro[:PER_DAY])
        stored = plan.stored_wh[PER_DAY - 1]
    return money


def threshold(plant: Plant, low_micro: int, high_micro: int) -> Strategy:
    """Buy below one price, sell above another, whatever the day."""
    curve = (
        CurveSegment(-plant.charge_w, PRICE_FLOOR_MICRO),
        CurveSegment(0, low_micro),
        CurveSegment(plant.discharge_w, high_micro),
    )
    return lambda _: curve


def mean_schedule(plant: Plant) -> Strategy:
    """The best plan for the last seven days' mean of each hour, run at any price."""
    planned: dict[int, list[int]] = {}

    def curve(past: Past) -> Curve:
        day, hour = divmod((past.step + GATE_STEPS) // PER_HOUR, 24)
        if day not in planned:
            mean = _seven_day_mean(past, day).tolist() * 2
            plan = best_plan(plant, mean, HOUR_S, past.stored_wh)
            before = (past.stored_wh, *plan.stored_wh)
            planned[day] = [
                _power(plant, after - start)
                for start, after in zip(before, plan.stored_wh, strict=False)
            ]
        power_w = planned[day][hour]
        if power_w == 0:
            return ()
        return (CurveSegment(power_w, PRICE_FLOOR_MICRO),)

    return curve


def _power(plant: Plant, change_wh: int) -> int:
    if change_wh > 0:
        return -min(plant.charge_w, change_wh * 1_000 // plant.efficiency_per_mille)
    return min(plant.discharge_w, -change_wh * plant.efficiency_per_mille // 1_000)


def _seven_day_mean(past: Past, day: int) -> Ints:
    """Mean real-time price by hour of the last whole days before `day`."""
    whole = min(day, len(past.real) // PER_DAY)
    seen = past.real[max(0, whole - MEAN_DAYS) * PER_DAY : whole * PER_DAY]
    mean: Ints = seen.reshape(-1, 24, PER_HOUR).sum(axis=(0, 2)) // (len(seen) // 24)
    return mean


class Stochastic:
    """The desk's strategy: Markov worth over the day-ahead path, one curve an hour.

    Solved anew when a day's hourly prices come out, and at midnight.
    """

    def __init__(self, plant: Plant, model: SpreadModel, blocks: int = 4) -> None:
        self._plant = plant
        self._model = model
        self._powers = _offered(plant, blocks)
        self._solved: tuple[int, int] = (-1, -1)
        self._worth: Worth | None = None

    def __call__(self, past: Past) -> Curve:
        worth = self._worth_at(past)
        offset = past.step - worth.starts_s // STEP_S
        spread = int(past.real[-1] - past.ahead[(past.step - 1) // PER_HOUR])
        mass = certain(worth, self._model.bin_of(spread), past.stored_wh)
        for ahead in range(GATE_STEPS):
            # The curves of the present hour, then of the next.
            curve = past.standing[(past.step + ahead) // PER_HOUR - past.step // PER_HOUR]
            mass = carried(worth, mass, offset + ahead, curve)
        return best_curve(worth, mass, offset + GATE_STEPS, self._powers)

    def _worth_at(self, past: Past) -> Worth:
        day = past.step // PER_DAY
        known = len(past.ahead) // 24
        if self._worth is None or self._solved != (day, known):
            hourly = past.ahead[day * 24 :]
            path = np.concatenate([hourly, past.ahead[-24:]])[:60]
            self._worth = solve(
                self._plant,
                self._model,
                np.repeat(path, PER_HOUR).tolist(),
                day * PER_DAY * STEP_S,
            )
            self._solved = (day, known)
        return self._worth


class Learned:
    """The learned worth of energy, where it is told; the Markov chain says where the charge will be.

    Asked with the last weeks of the past only, as the desk's pump asks.
    """

    def __init__(
        self, plant: Plant, spread: SpreadModel, value: ValueModel, blocks: int = 4
    ) -> None:
        self._plant = plant
        self._spread = spread
        self._value = value
        self._powers = _offered(plant, blocks)

    def __call__(self, past: Past) -> Curve:
        hour = (past.step + GATE_STEPS) // PER_HOUR
        prices, worth = self._value.table(*_recent(past, hour), SPREADS)
        first = hour * PER_HOUR
        path = [int(past.ahead[step // PER_HOUR]) for step in range(past.step, first + PER_HOUR)]
        expected = told_worth(
            Told(tuple(prices.tolist()), tuple(map(tuple, worth.tolist()))),
            self._plant,
            self._spread,
            path,
            past.step * STEP_S,
        )
        spread = int(past.real[-1] - past.ahead[(past.step - 1) // PER_HOUR])
        mass = certain(expected, self._spread.bin_of(spread), past.stored_wh)
        for ahead in range(GATE_STEPS):
            curve = past.standing[(past.step + ahead) // PER_HOUR - past.step // PER_HOUR]
            mass = carried(expected, mass, ahead, curve)
        return best_curve(expected, mass, GATE_STEPS, self._powers)


RECENT_DAYS = 21


def _recent(past: Past, hour: int) -> tuple[History, int]:
    """The last weeks of the past as a history of their own, and `hour` counted from its start."""
    first_day = max(0, past.step // PER_DAY - RECENT_DAYS)
    real = past.real[first_day * PER_DAY :]
    history = history_of(past.ahead[first_day * 24 :], real, first_day)
    return history, hour - first_day * 24


def history_of(ahead: Ints, real: Ints, first_day: int = 0) -> History:
    """Made or recorded prices, flat and in micro-units, the way they became known."""
    hours = np.arange(len(ahead))
    public_s = (first_day + hours // 24 - 1) * 86_400 + AHEAD_HOUR * HOUR_S
    return History(STEP_S, first_day * 86_400, real / 1e6, ahead / 1e6, public_s)


def _offered(plant: Plant, blocks: int) -> list[int]:
    buys = [-plant.charge_w * block // blocks for block in range(blocks, 0, -1)]
    return [*buys, 0, *(plant.discharge_w * block // blocks for block in range(1, blocks + 1))]


def trained(ahead: Ints, real: Ints) -> SpreadModel:
    """The spread model of earlier years, from their midnight."""
    spread = real.reshape(-1) - np.repeat(ahead.reshape(-1), PER_HOUR)
    return fit(spread, 0, STEP_S)


def plain(plant: Plant) -> Strategy:
    """The plain dynamic programme: worth of energy if the day-ahead path came true, as a curve.

    The energy at the hour's start is what the standing curves leave if that path comes true.
    """

    def curve(past: Past) -> Curve:
        hour = (past.step + GATE_STEPS) // PER_HOUR
        path = np.concatenate([past.ahead[hour:], past.ahead[-24:]])[:36].tolist()
        stored_wh = past.stored_wh
        for step in range(past.step, past.step + GATE_STEPS):
            standing = past.standing[step // PER_HOUR - past.step // PER_HOUR]
            expected = int(past.ahead[step // PER_HOUR])
            stored_wh = follow(plant, power_at(standing, expected), stored_wh)[1]
        sides = plant.energy_wh, plant.charge_w, plant.discharge_w
        worth = stored_worth(path[1:], *sides, plant.wear_micro_per_mwh)
        return offer_curve(worth, stored_wh, *sides, plant.wear_micro_per_mwh)

    return curve


def shares(money: Sequence[int], oracle: int) -> list[float]:
    return [round(one / oracle, 3) for one in money]
