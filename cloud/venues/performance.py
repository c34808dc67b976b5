"""How well the fleet followed what it was told: the telemetry of four seconds and its score.

PJM asks for the resource's power every four seconds and scores regulation by three numbers between
0 and 1 whose mean is the performance (Manual 12, performance score): how well power correlates with
the signal at the best delay of up to five minutes, how short that delay is, and how far power
strays from the signal on average. Power is integer W; scores are per mille, rounded once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

from protos.clock import SECOND_NS
from protos.ids import DeviceId
from protos.units import PER_MILLE

SAMPLE_NS = 4 * SECOND_NS
DELAY_SAMPLES_MAX = 75
"""Five minutes."""

FRESH_NS = 60 * SECOND_NS
"""A gateway that was silent for longer is not in the sum but in its quality."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The fleet's power at a moment, and which part of it was heard of lately."""

    at_ns: int
    power_w: int
    heard_per_mille: int


class FleetTelemetry:
    """Newest power by gateway, summed every four seconds."""

    def __init__(self) -> None:
        self._power: dict[DeviceId, tuple[int, int]] = {}
        self._sampled_ns = 0

    def observe(self, device: DeviceId, at_ns: int, power_w: int) -> None:
        """A measurement; one older than what is known changes nothing."""
        if at_ns >= self._power.get(device, (0, 0))[0]:
            self._power[device] = (at_ns, power_w)

    def sample(self, at_ns: int) -> Sample | None:
        """The sample of this moment, if four seconds have passed since the last one."""
        due_ns = at_ns // SAMPLE_NS * SAMPLE_NS
        if due_ns <= self._sampled_ns:
            return None
        self._sampled_ns = due_ns
        heard = [power for seen, power in self._power.values() if due_ns - seen <= FRESH_NS]
        whole = max(1, len(self._power))
        return Sample(due_ns, sum(heard), len(heard) * PER_MILLE // whole)

    def powers_w(self) -> Mapping[DeviceId, int]:
        return {device: power for device, (_, power) in self._power.items()}


@dataclass(frozen=True, slots=True)
class Score:
    """Per mille each; `performance` is their mean."""

    accuracy: int
    delay: int
    precision: int

    @property
    def performance(self) -> int:
        return (self.accuracy + self.delay + self.precision) // 3


def score(signal_w: Sequence[int], power_w: Sequence[int]) -> Score:
    """The score of equally many samples, one each four seconds. Raises ValueError.

    A signal that never moves has no correlation: then accuracy and delay are full where power is
    as still, and nothing where it is not.
    """
    if len(signal_w) != len(power_w) or len(signal_w) <= DELAY_SAMPLES_MAX:
        raise ValueError(
            f"{len(signal_w)} samples of signal and {len(power_w)} of power; give equally many, "
            f"more than {DELAY_SAMPLES_MAX}"
        )
    strayed = sum(abs(power - told) for told, power in zip(signal_w, power_w, strict=True))
    told_sum = sum(map(abs, signal_w))
    precision = PER_MILLE if strayed == 0 else max(0, PER_MILLE - _ratio(strayed, told_sum))
    if len(set(signal_w)) == 1:
        still = PER_MILLE if len(set(power_w)) == 1 else 0
        return Score(still, still, precision)
    count = len(signal_w) - DELAY_SAMPLES_MAX
    best, at = -1, DELAY_SAMPLES_MAX
    for delay in range(DELAY_SAMPLES_MAX + 1):
        found = correlation(signal_w[:count], power_w[delay : delay + count])
        if found > best:
            best, at = found, delay
    quick = (DELAY_SAMPLES_MAX - at) * PER_MILLE // DELAY_SAMPLES_MAX if best > 0 else 0
    return Score(max(0, best), quick, precision)


def correlation(left: Sequence[int], right: Sequence[int]) -> int:
    """Pearson's correlation per mille, towards zero; 0 where either side stands still."""
    count = len(left)
    sum_left, sum_right = sum(left), sum(right)
    both = count * sum(a * b for a, b in zip(left, right, strict=True)) - sum_left * sum_right
    spread_left = count * sum(a * a for a in left) - sum_left * sum_left
    spread_right = count * sum(b * b for b in right) - sum_right * sum_right
    if spread_left == 0 or spread_right == 0:
        return 0
    size = _ratio(abs(both), max(1, isqrt(spread_left * spread_right)))
    return min(PER_MILLE, size) if both > 0 else -min(PER_MILLE, size)


def _ratio(part: int, whole: int) -> int:
    return part * PER_MILLE // whole if whole else PER_MILLE
