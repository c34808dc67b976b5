"""Whether a learned worth of energy would have earned more than none: the test before it is used.

A model that never saw the last weeks is followed through them, and so is the plain programme, which
believes that the reference prices known at each gate come true. Both do, step by step, what their
worth says pays. The shares are of what perfect foresight would have earned.
"""

from dataclasses import dataclass, replace

import numpy as np

from cloud.vpp.hindsight import PIECES, earned, worth_in_hindsight, worth_of_paths
from cloud.vpp.history import Floats, History, Ints, known_at_gates, paths_at_gates
from cloud.vpp.learned import DAYS_MIN, TooShort, ValueModel, learn
from cloud.vpp.optimum import Plant
from protos.units import PER_MILLE

TRIAL_DAYS = 28
TRIED_DAYS_MIN = DAYS_MIN + TRIAL_DAYS
DAY_H = 24


@dataclass(frozen=True, slots=True)
class Trial:
    """Per mille of what perfect foresight earned over the trial's days; 0 where it earned nothing."""

    learned_share_per_mille: int
    plain_share_per_mille: int

    @property
    def is_passed(self) -> bool:
        return self.learned_share_per_mille > max(0, self.plain_share_per_mille)


def tried(plant: Plant, history: History, lead_s: int) -> Trial:
    """Learns without the last TRIAL_DAYS whole days and follows them. Raises TooShort, NoLightgbm."""
    days = history.hours // DAY_H
    if days < TRIED_DAYS_MIN:
        raise TooShort(
            f"{days} days of prices; the worth of energy is learned from {TRIED_DAYS_MIN} on, of"
            f" which the last {TRIAL_DAYS} try it"
        )
    hours = np.arange((days - TRIAL_DAYS) * DAY_H, days * DAY_H)
    before = int(hours[0]) * history.per_hour
    model = learn(plant, replace(history, real=history.real[:before]), lead_s)
    real = history.real[before : days * DAY_H * history.per_hour]
    learned, plain, foresight = (
        earned(plant, real, history.step_s, believed)
        for believed in (
            _learned(model, history, hours),
            _plain(plant, history, hours, lead_s),
            worth_in_hindsight(plant, real, history.step_s),
        )
    )
    if foresight <= 0:
        return Trial(0, 0)
    return Trial(_share(learned, foresight), _share(plain, foresight))


def known_days(history: History) -> int:
    """How many days of real-time prices there are, gaps left out."""
    steps = history.per_hour * DAY_H
    return int(np.count_nonzero(~np.isnan(history.real))) // steps


def _learned(model: ValueModel, history: History, hours: Ints) -> Floats:
    return model.worth(history, known_at_gates(history, hours, model.lead_s), hours)


def _plain(plant: Plant, history: History, hours: Ints, lead_s: int) -> Floats:
    """What the reference path of each hour's gate made energy worth in that hour."""
    per_hour = history.per_hour
    paths = np.repeat(paths_at_gates(history, hours, lead_s), per_hour, axis=1)
    return worth_of_paths(plant, paths, history.step_s, per_hour).reshape(-1, PIECES)


def _share(money: float, foresight: float) -> int:
    """The one rounding of a trial's money."""
    return round(PER_MILLE * money / foresight)
