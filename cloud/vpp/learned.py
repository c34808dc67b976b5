"""The worth of stored energy as a learned function of what is known at the gate and of the price.

Boosted trees (LightGBM) are shown, for steps of the past, what was known at the hour's gate, the
price of the step, and what each piece of the battery's energy turned out to be worth after it; see
`hindsight`. Asked for an hour to come, the model gives that worth at each of a list of prices: the
hour's bid follows from it. After Baker, Zheng and Xu, "Transferable Energy Storage Bidder", who
learn worth from hindsight alone; here the price of delivery is an input, and a second round learns
from what the first round's strategy would have earned.

Floats are rounded once, in `ValueModel.table`. Nothing here decides: the desk takes the table as a
command.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloud.vpp.hindsight import PIECES, worth_followed, worth_in_hindsight
from cloud.vpp.history import Floats, History, Ints, Known, known_at_gates
from cloud.vpp.optimum import HOUR_S, Plant
from cloud.vpp.valued import WORTH_MAX_MICRO

DAYS_MIN = 60
"""Of less history than this nothing is learned."""

DAYS_MAX = 1_100
ROUNDS = 2
EACH_S = 1_800
"""One step in so much time is shown, at random: neighbours say the same."""

WORTH_MIN, WORTH_MAX = -5.0, 25.0
"""Units of the usual price beyond which a worth is cut off before it is learned."""

CHUNK_STEPS = 8_640
"""So many steps are asked at a time: they need some 50 MB."""

SEED = 1
ONE_THREAD = {"num_threads": 1}
"""Threads that wait for one another by spinning stand still where cores are shared."""

TREES: dict[str, object] = {
    "objective": "regression",
    "learning_rate": 0.05,
    "num_leaves": 63,
    "min_child_samples": 100,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "feature_fraction": 0.5,
    "lambda_l2": 10.0,
    "seed": SEED,
    **ONE_THREAD,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
TREE_COUNT = 250


class TooShort(ValueError):
    """The history has not enough days to learn from; says how many there are."""


class NoLightgbm(RuntimeError):
    """The package that grows the trees is not installed; says which extra brings it."""


def _lightgbm() -> Any:
    try:
        import lightgbm
    except (ImportError, OSError) as error:
        raise NoLightgbm(
            f"learning the worth of energy needs lightgbm: pip install 'gridtokenx[learned]' ({error})"
        ) from None
    return lightgbm


@dataclass(frozen=True, slots=True)
class ValueModel:
    """Trees for one node and one shape of plant."""

    trees: Any
    plant: Plant
    step_s: int
    lead_s: int

    def table(self, history: History, hour: int, spreads: Sequence[float]) -> tuple[Ints, Ints]:
        """Worth after a step of `hour` at prices `spreads` away from its reference, in units.

        Micro-units per MWh: the prices, (spreads,), and the worth of each piece, (spreads, PIECES),
        falling from the first.
        """
        known = known_at_gates(history, np.array([hour]), self.lead_s)
        prices = known.reference[0] + np.asarray(spreads, dtype=np.float64) * known.unit[0]
        rows = _rows(known, np.zeros(len(prices), np.int64), prices, np.full(len(prices), 0.5))
        worth = _falling(self.trees.predict(rows, **ONE_THREAD), len(prices)) * known.unit[0]
        return _micro(prices), np.clip(_micro(worth), -WORTH_MAX_MICRO, WORTH_MAX_MICRO)

    def worth(self, history: History, known: Known, hours: Ints) -> Floats:
        """Worth after each step of `hours` at the price it had, (steps, PIECES), in currency.

        `known` is what was known at their gates.
        """
        per_hour = history.per_hour
        at = (hours[:, None] * per_hour + np.arange(per_hour)).reshape(-1)
        places = np.repeat(np.arange(len(hours)), per_hour)
        within = (at % per_hour + 0.5) / per_hour
        said = []
        for start in range(0, len(at), CHUNK_STEPS):
            chunk = slice(start, start + CHUNK_STEPS)
            rows = _rows(known, places[chunk], history.real[at[chunk]], within[chunk])
            said.append(_falling(self.trees.predict(rows, **ONE_THREAD), len(rows) // PIECES))
        return np.concatenate(said) * known.unit[places][:, None]

    def dumped(self) -> str:
        plant = self.plant
        head = [plant.energy_wh, plant.charge_w, plant.discharge_w, plant.wear_micro_per_mwh]
        return json.dumps(
            {
                "plant": [*head, plant.efficiency_per_mille],
                "step_s": self.step_s,
                "lead_s": self.lead_s,
                "trees": self.trees.model_to_string(),
            }
        )


def loaded(text: str) -> ValueModel:
    """The model that `dumped` wrote. Raises ValueError for anything else."""
    lightgbm = _lightgbm()
    try:
        held = json.loads(text)
        trees = lightgbm.Booster(model_str=str(held["trees"]))
        return ValueModel(trees, Plant(*held["plant"]), held["step_s"], held["lead_s"])
    except (KeyError, TypeError, json.JSONDecodeError, lightgbm.basic.LightGBMError) as error:
        raise ValueError(f"not a model of the worth of energy: {error}") from None


def learn(plant: Plant, history: History, lead_s: int) -> ValueModel:
    """Trees grown on the last DAYS_MAX days of `history`. Raises TooShort, NoLightgbm."""
    lightgbm = _lightgbm()
    days = history.hours // 24
    if days < DAYS_MIN:
        raise TooShort(f"{days} days of prices; the worth of energy is learned from {DAYS_MIN} on")
    # The last two days do not yet show what energy was worth, the first week has no week before it.
    first = max(7, days - DAYS_MAX)
    hours = np.arange(first * 24, (days - 2) * 24)
    known = known_at_gates(history, hours, lead_s)
    worth = worth_in_hindsight(plant, history.real, history.step_s)
    model = ValueModel(
        _grown(lightgbm, history, known, hours, worth), plant, history.step_s, lead_s
    )
    for _ in range(1, ROUNDS):
        believed = np.zeros((len(history.real), PIECES))
        shown = slice(int(hours[0]) * history.per_hour, (int(hours[-1]) + 1) * history.per_hour)
        believed[shown] = model.worth(history, known, hours)
        worth = worth_followed(plant, history.real, history.step_s, believed)
        trees = _grown(lightgbm, history, known, hours, worth)
        model = ValueModel(trees, plant, history.step_s, lead_s)
    return model


def _grown(lightgbm: Any, history: History, known: Known, hours: Ints, worth: Floats) -> Any:
    per_hour = history.per_hour
    shown = min(per_hour, HOUR_S // EACH_S)
    draw = np.random.Generator(np.random.Philox(key=SEED))
    places = np.repeat(np.arange(len(hours)), shown)
    within = draw.integers(0, per_hour, len(places))
    at = hours[places] * per_hour + within
    real = history.real[at]
    usable = ~np.isnan(real)
    places, within, at, real = places[usable], within[usable], at[usable], real[usable]
    rows = _rows(known, places, real, (within + 0.5) / per_hour)
    answers = np.clip(worth[at] / known.unit[places][:, None], WORTH_MIN, WORTH_MAX).reshape(-1)
    return lightgbm.train(TREES, lightgbm.Dataset(rows, answers), num_boost_round=TREE_COUNT)


def _rows(known: Known, places: Ints, prices: Floats, within: Floats) -> Floats:
    """One row for each price and piece: what was known, the price, its spread, where in the hour."""
    unit = known.unit[places]
    base = np.column_stack(
        [known.numbers[places], prices / unit, (prices - known.reference[places]) / unit, within]
    )
    pieces = np.tile(np.arange(PIECES, dtype=np.float64), len(places))
    return np.column_stack([np.repeat(base, PIECES, axis=0), pieces])


def _falling(said: Floats, count: int) -> Floats:
    """No piece is worth more than the one below it."""
    falling: Floats = np.minimum.accumulate(np.reshape(said, (count, PIECES)), axis=1)
    return falling


def _micro(amounts: Floats) -> Ints:
    """Currency to micro-units: the one rounding."""
    return np.rint(amounts * 1e6).astype(np.int64)
