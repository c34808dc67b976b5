"""Energy and reserves of one battery together: the linear programme of a day whose prices are known.

A battery's power is one thing and its energy another, and every product asks for both: what is held
back for upward reserve cannot be sold as energy, and whoever offers it must have it stored for as
long as the product may call. Charge, discharge, regulation up and down and spinning reserve are
continuous in each step; the state of charge carries over; a regulation signal moves a known part of
the capacity, which is energy sold or bought at the energy price and wear. The programme goes to
HiGHS as arrays. Its floats live here alone and are rounded once, in `_rounded`, inward: no plan
promises a watt that the battery has not.

Without reserve prices this is the same optimum as `optimum.best_plan`, which needs no solver.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import highspy
import numpy as np
from numpy.typing import NDArray

from cloud.vpp.optimum import HOUR_S, Plant

Floats = NDArray[np.float64]
MEGA = 1_000_000
PER_MILLE = 1_000

CHARGE, DISCHARGE, UP, DOWN, SPIN, STORED = range(6)
"""The variables of a step; a block of this many columns for each."""

KINDS = 6
SOLVE_S_MAX = 10.0
"""A thousand times what a day takes."""


@dataclass(frozen=True, slots=True)
class ReserveRules:
    """How long each product must be able to run, and what part of its capacity a signal moves.

    CAISO asks a storage for an hour of day-ahead regulation and half an hour of spinning reserve;
    a tenth is a cautious reading of how much of regulation is energy. `is_paired` says that
    regulation is bought as one product, as much up as down.
    """

    regulation_s: int = 3_600
    spinning_s: int = 1_800
    moved_per_mille: int = 100
    is_paired: bool = False


@dataclass(frozen=True, slots=True)
class ReservePrices:
    """Micro-units per MW and hour of capacity, one entry a step, None where a step has no price;
    empty where a product is not sold.
    """

    up: Sequence[int | None] = ()
    down: Sequence[int | None] = ()
    spin: Sequence[int | None] = ()


@dataclass(frozen=True, slots=True)
class Budget:
    """What the capacities of some steps may take together: each W for so many seconds, `most_wh` in
    all.
    """

    steps: range
    most_wh: int
    up_s: int = 0
    down_s: int = 0
    spin_s: int = 0


@dataclass(frozen=True, slots=True)
class Room:
    """What is left for reserves by step, in W, beside the battery's own bounds; empty is no limit. In
    the steps that are `still` no energy is traded.
    """

    up_w: Sequence[int] = ()
    down_w: Sequence[int] = ()
    budgets: Sequence[Budget] = ()
    still: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class JointPlan:
    """Whole W by step, energy after each step in Wh, and the programme's money in micro-units."""

    power_w: tuple[int, ...]
    up_w: tuple[int, ...]
    down_w: tuple[int, ...]
    spin_w: tuple[int, ...]
    stored_wh: tuple[int, ...]
    money_micro: int


class NoPlan(Exception):
    """The solver found no optimum; says what it called the outcome."""


Terms = Sequence[tuple[int, float]]
"""A constraint of one step: variable and factor."""


@dataclass(slots=True)
class _Rows:
    """Constraints, each kind for all steps at once: row-wise, with their bounds."""

    steps: int
    columns: list[NDArray[np.int32]] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)
    widths: list[NDArray[np.int32]] = field(default_factory=list)
    lower: list[Floats] = field(default_factory=list)
    upper: list[Floats] = field(default_factory=list)

    def add(self, terms: Terms, lower: float, upper: float | Floats) -> None:
        """The same constraint for every step; `upper` may differ by step."""
        kinds = np.array([kind for kind, _ in terms], np.int32)
        at = np.arange(self.steps, dtype=np.int32)[:, None] * KINDS
        self._put(at + kinds, np.tile([factor for _, factor in terms], (self.steps, 1)))
        self.lower.append(np.full(self.steps, lower))
        self.upper.append(np.full(self.steps, upper))

    def limit(self, budget: Budget) -> None:
        """One constraint over the capacities of several steps."""
        spans = ((UP, budget.up_s), (DOWN, budget.down_s), (SPIN, budget.spin_s))
        kinds = np.array([kind for kind, _ in spans], np.int32)
        hours = np.array([span / HOUR_S for _, span in spans])
        at = np.array(budget.steps, np.int32)[:, None] * KINDS
        self._put((at + kinds).reshape(1, -1), np.tile(hours, (1, len(budget.steps))))
        self.lower.append(np.full(1, -np.inf))
        self.upper.append(np.full(1, budget.most_wh / MEGA))

    def chain(self, terms: Terms, before: int, first: float) -> None:
        """The terms equal variable `before` of the step before; in the first step, `first`."""
        kinds = np.array([kind for kind, _ in terms], np.int32)
        at = np.arange(self.steps, dtype=np.int32)[:, None] * KINDS
        factors = np.tile([factor for _, factor in terms], (self.steps, 1))
        self._put((at + kinds)[:1], factors[:1])
        if self.steps > 1:
            earlier = at[1:] - KINDS + before
            self._put(
                np.hstack([at[1:] + kinds, earlier]),
                np.hstack([factors[1:], np.full((self.steps - 1, 1), -1.0)]),
            )
        bound = np.zeros(self.steps)
        bound[0] = first
        self.lower.append(bound)
        self.upper.append(bound)

    def _put(self, columns: NDArray[np.int32], values: Floats) -> None:
        self.columns.append(columns.ravel())
        self.values.append(values.ravel())
        self.widths.append(np.full(len(columns), columns.shape[1], np.int32))


def joint_plan(
    plant: Plant,
    prices: Sequence[int],
    reserves: ReservePrices,
    step_s: int,
    stored_wh: int = 0,
    rules: ReserveRules | None = None,
    room: Room | None = None,
) -> JointPlan:
    """The plan that earns most over `prices` (micro per MWh a step). Energy left at the end is
    worth nothing. Raises NoPlan, also when it took longer than SOLVE_S_MAX.
    """
    rules = rules or ReserveRules()
    steps = len(prices)
    assert steps > 0, "a plan needs at least one step"
    hours = step_s / HOUR_S
    costs, upper = _columns(plant, prices, reserves, hours, rules)
    rows = _rows(plant, steps, hours, stored_wh, rules, reserves)
    room = room or Room()
    _add_room(rows, room)
    for kind in (CHARGE, DISCHARGE):
        upper[np.array(room.still, np.int32) * KINDS + kind] = 0
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("time_limit", SOLVE_S_MAX)
    solver.passModel(_model(costs, upper, rows))
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise NoPlan(solver.modelStatusToString(solver.getModelStatus()))
    solution = np.array(solver.getSolution().col_value).reshape(steps, KINDS)
    return _rounded(solution, -float(solver.getInfo().objective_function_value))


def _columns(
    plant: Plant,
    prices: Sequence[int],
    reserves: ReservePrices,
    hours: float,
    rules: ReserveRules,
) -> tuple[Floats, Floats]:
    """Cost and upper bound of every variable; power in MW, energy in MWh, money in units."""
    steps = len(prices)
    price = np.array(prices, np.float64) / MEGA
    wear = plant.wear_micro_per_mwh / MEGA
    moved = rules.moved_per_mille / PER_MILLE
    offered = [
        np.array(one, np.float64) / MEGA if len(one) else np.full(steps, -np.inf)
        for one in (reserves.up, reserves.down, reserves.spin)
    ]
    gains = np.zeros((steps, KINDS))
    gains[:, CHARGE] = -price * hours
    gains[:, DISCHARGE] = (price - wear) * hours
    gains[:, UP] = np.where(np.isfinite(offered[0]), offered[0] + moved * (price - wear), 0) * hours
    gains[:, DOWN] = np.where(np.isfinite(offered[1]), offered[1] - moved * price, 0) * hours
    gains[:, SPIN] = np.where(np.isfinite(offered[2]), offered[2], 0) * hours
    upper = np.zeros((steps, KINDS))
    out, into = plant.discharge_w / MEGA, plant.charge_w / MEGA
    upper[:, CHARGE], upper[:, DISCHARGE] = into, out
    for kind, one in zip((UP, DOWN, SPIN), offered, strict=True):
        upper[:, kind] = np.where(np.isfinite(one), out + into, 0)
    upper[:, STORED] = plant.energy_wh / MEGA
    return -gains.ravel(), upper.ravel()


def _rows(
    plant: Plant,
    steps: int,
    hours: float,
    stored_wh: int,
    rules: ReserveRules,
    reserves: ReservePrices,
) -> _Rows:
    """Balance of the store, and what power and energy leave for each product that is sold."""
    rows = _Rows(steps)
    efficiency = plant.efficiency_per_mille / PER_MILLE
    moved = rules.moved_per_mille / PER_MILLE
    out, into = plant.discharge_w / MEGA, plant.charge_w / MEGA
    kept = [(STORED, 1.0), (CHARGE, -efficiency * hours), (DISCHARGE, hours / efficiency)]
    kept += [(UP, moved * hours / efficiency), (DOWN, -moved * hours * efficiency)]
    rows.chain(kept, STORED, stored_wh / MEGA)
    # Both at once would be more than the inverter has, and burn energy at negative prices.
    rows.add([(DISCHARGE, 1 / max(out, 1e-9)), (CHARGE, 1 / max(into, 1e-9))], -np.inf, 1)
    call, spin = rules.regulation_s / HOUR_S, rules.spinning_s / HOUR_S
    net = [(DISCHARGE, 1.0), (CHARGE, -1.0)]
    if reserves.up or reserves.spin:
        rows.add([*net, (UP, 1.0), (SPIN, 1.0)], -np.inf, out)
        needed = [(STORED, 1.0), (UP, -call / efficiency), (SPIN, -spin / efficiency)]
        rows.add(needed, 0, np.inf)
    if reserves.down:
        rows.add([*net, (DOWN, -1.0)], -into, np.inf)
        rows.add([(STORED, 1.0), (DOWN, call * efficiency)], -np.inf, plant.energy_wh / MEGA)
    if rules.is_paired:
        rows.add([(UP, 1.0), (DOWN, -1.0)], 0, 0)
    return rows


def _add_room(rows: _Rows, room: Room) -> None:
    """What others have left of each step, and of several together."""
    if room.up_w:
        rows.add([(UP, 1.0), (SPIN, 1.0)], -np.inf, np.array(room.up_w, np.float64) / MEGA)
    if room.down_w:
        rows.add([(DOWN, 1.0)], -np.inf, np.array(room.down_w, np.float64) / MEGA)
    for budget in room.budgets:
        rows.limit(budget)


def _model(costs: Floats, upper: Floats, rows: _Rows) -> highspy.HighsLp:
    model = highspy.HighsLp()
    lower, upper_rows = np.concatenate(rows.lower), np.concatenate(rows.upper)
    model.num_col_, model.num_row_ = len(costs), len(lower)
    model.col_cost_, model.col_lower_, model.col_upper_ = costs, np.zeros(len(costs)), upper
    model.row_lower_, model.row_upper_ = lower, upper_rows
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.concatenate([[0], np.cumsum(np.concatenate(rows.widths))])
    model.a_matrix_.index_ = np.concatenate(rows.columns)
    model.a_matrix_.value_ = np.concatenate(rows.values)
    return model


def _rounded(solution: Floats, money: float) -> JointPlan:
    """The one rounding of this module: capacities and energy down to whole units, power towards
    zero, money to the nearest micro-unit. A millionth of a watt short of a whole one is that one.
    """
    watts = solution * MEGA
    net = watts[:, DISCHARGE] - watts[:, CHARGE]
    power = np.sign(net) * np.floor(np.abs(net) + 1e-3)
    up, down, spin, stored = (
        np.floor(watts[:, kind] + 1e-3).astype(np.int64) for kind in (UP, DOWN, SPIN, STORED)
    )
    return JointPlan(
        _whole(power), _whole(up), _whole(down), _whole(spin), _whole(stored), round(money * MEGA)
    )


def _whole(values: Floats | NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(int(one) for one in values)
