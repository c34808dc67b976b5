"""How far real time strays from the reference path: a Markov chain over bins of the spread.

A spread is real-time price less reference price of the same step. Its bins are quantiles of what
was seen, denser in the tails; moves between bins and the mean spread of each bin are counted for
each two-hour block of the UTC day and drawn towards the whole day's where a block has seen little.
All is integer: probabilities are parts of ONE, prices micro-units per MWh, so that every machine
finds the same. Never looks at a step that is not in the arrays it is given.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

ONE_BITS = 16
ONE = 1 << ONE_BITS
BLOCKS = 12
BLOCK_HOURS = 2
SHRINK = 20
"""A block's own counts weigh as much as the day's once it has seen this many moves from a bin."""

TAIL_PER_MILLE = (2, 6, 12, 25, 45, 70)
BODY_PER_MILLE = (110, 160, 220, 290, 360, 430, 500, 570, 640, 710, 780, 840, 890)
QUANTILES = (*TAIL_PER_MILLE, *BODY_PER_MILLE, *(1_000 - q for q in reversed(TAIL_PER_MILLE)))

USD_MICRO = 1_000_000
PRIOR_EDGES = tuple(usd * USD_MICRO for usd in (-40, -20, -10, -5, -2, 2, 5, 10, 20, 40, 80, 160))
PRIOR_CENTRES = tuple(
    usd * USD_MICRO for usd in (-60, -28, -14, -7, -3, 0, 3, 7, 14, 28, 56, 110, 260)
)
PRIOR_PARTS = (6, 14, 40, 90, 190, 320, 190, 80, 35, 15, 9, 6, 5)
"""Before anything was seen: mostly near the reference, now and then far above it."""

PRIOR_KEEP_PER_MILLE = 600


@dataclass(frozen=True, slots=True)
class SpreadModel:
    """`centres` is (BLOCKS, bins) micro per MWh, `moves` (BLOCKS, bins, bins) rows summing to ONE.

    A block's moves lead from a step in it to the next step.
    """

    step_s: int
    edges: tuple[int, ...]
    centres: Ints
    moves: Ints

    @property
    def bins(self) -> int:
        return len(self.edges) + 1

    def bin_of(self, spread_micro: int) -> int:
        return bisect_right(self.edges, spread_micro)


def block_of(starts_s: int) -> int:
    """The two-hour block of the UTC day that a step begins in."""
    return starts_s // 3_600 % 24 // BLOCK_HOURS


def prior(step_s: int) -> SpreadModel:
    """The model of a market of which nothing has been seen."""
    base = _shares(np.array([PRIOR_PARTS], dtype=np.int64))[0]
    bins = len(PRIOR_PARTS)
    moves = base[None, :] * (1_000 - PRIOR_KEEP_PER_MILLE) // 1_000 + np.zeros(
        (bins, 1), dtype=np.int64
    )
    moves[np.arange(bins), np.arange(bins)] += ONE - moves.sum(axis=1)
    centres = np.array(PRIOR_CENTRES, dtype=np.int64)
    return SpreadModel(
        step_s, PRIOR_EDGES, np.tile(centres, (BLOCKS, 1)), np.tile(moves, (BLOCKS, 1, 1))
    )


def fit(spreads: Sequence[int] | Ints, starts_s: int, step_s: int) -> SpreadModel:
    """The chain of consecutive spreads, the first of which begins at `starts_s`.

    Raises ValueError for fewer than two days of steps: take `prior` then.
    """
    seen = np.asarray(spreads, dtype=np.int64)
    if len(seen) * step_s < 2 * 86_400:
        raise ValueError(f"{len(seen)} spreads of {step_s} s are less than two days")
    ordered = np.sort(seen)
    edges = tuple(sorted({int(ordered[len(seen) * q // 1_000]) for q in QUANTILES}))
    bins = len(edges) + 1
    at = np.searchsorted(np.array(edges), seen, side="right")
    blocks = (starts_s + step_s * np.arange(len(seen))) // 3_600 % 24 // BLOCK_HOURS
    counts = np.zeros((BLOCKS, bins, bins), dtype=np.int64)
    np.add.at(counts, (blocks[:-1], at[:-1], at[1:]), 1)
    whole = _shares(counts.sum(axis=0) * 1_000 + 1)
    moves = np.stack([_shares(one * ONE + SHRINK * whole) for one in counts])
    return SpreadModel(step_s, edges, _centres(seen, at, blocks, bins), moves)


def _shares(weights: Ints) -> Ints:
    """Rows of weights as whole parts of ONE; what rounding leaves goes to each row's largest."""
    parts: Ints = weights * ONE // weights.sum(axis=-1, keepdims=True)
    rows = np.arange(len(parts))
    parts[rows, np.argmax(parts, axis=-1)] += ONE - parts.sum(axis=-1)
    return parts


def _centres(seen: Ints, at: Ints, blocks: Ints, bins: int) -> Ints:
    """Mean spread by block and bin, drawn towards the bin's mean over the day."""
    totals = np.zeros((BLOCKS, bins), dtype=np.int64)
    counts = np.zeros((BLOCKS, bins), dtype=np.int64)
    np.add.at(totals, (blocks, at), seen)
    np.add.at(counts, (blocks, at), 1)
    whole = totals.sum(axis=0) // np.maximum(1, counts.sum(axis=0))
    drawn: Ints = (totals + SHRINK * whole) // (counts + SHRINK)
    return drawn
