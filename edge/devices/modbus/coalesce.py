"""Which registers to read together: the plan with the least time on the line.

Pure. A block costs a fixed overhead and a price a word, so a gap is read along when it costs less
than another question: up to the break-even of the measured turnaround. A block is never longer
than the device allows, and never touches registers that the device refuses.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edge.devices.modbus.timing import char_s, frame_gap_s

FRAME_CHARS = 13
"""Request of 8 characters, and 5 of the answer besides its words."""


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """Registers [start, start + count) of one table, asked for in one question."""

    start: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count


class Unplannable(ValueError):
    """A value that no allowed question can read: it is too long or lies across a refusal."""


def overhead_words(baud: int, turnaround_s: float) -> float:
    """What a question costs beyond its words, in words: the break-even gap on a serial line.

    At 9600 baud: 10.0 at no turnaround, 18.7 at 20 ms, 53.6 at 100 ms.
    """
    char = char_s(baud)
    fixed_s = FRAME_CHARS * char + 2 * frame_gap_s(baud) + turnaround_s
    return fixed_s / (2 * char)


def plan(
    spans: Sequence[tuple[int, int]],
    overhead: float,
    max_words: int = 125,
    forbidden: Collection[tuple[int, int]] = (),
    cuts: Collection[int] = (),
) -> list[Block]:
    """Blocks that cover all spans [start, end) at the least total of `overhead` + words each.

    `forbidden` are ranges [start, end) that no block may touch; `cuts` are addresses that no block
    may straddle, learnt from refusals. Raises Unplannable where a span alone breaks a rule.
    """
    ordered = sorted(set(spans))
    best: list[tuple[float, int]] = [(0.0, 0)]
    for last in range(1, len(ordered) + 1):
        options: list[tuple[float, int]] = []
        end = 0
        for first in range(last, 0, -1):
            end = max(end, ordered[first - 1][1])
            start = ordered[first - 1][0]
            if end - start > max_words or _refused(start, end, forbidden, cuts):
                break
            options.append((best[first - 1][0] + overhead + end - start, first - 1))
        if not options:
            raise Unplannable(f"no question can read {ordered[last - 1]} within the rules")
        best.append(min(options))
    return _blocks(ordered, best)


def _refused(
    start: int, end: int, forbidden: Collection[tuple[int, int]], cuts: Collection[int]
) -> bool:
    return any(start < high and low < end for low, high in forbidden) or any(
        start < cut < end for cut in cuts
    )


def _blocks(ordered: list[tuple[int, int]], best: list[tuple[float, int]]) -> list[Block]:
    blocks: list[Block] = []
    last = len(ordered)
    while last:
        first = best[last][1]
        start = ordered[first][0]
        blocks.append(Block(start, max(end for _, end in ordered[first:last]) - start))
        last = first
    return blocks[::-1]


def learn_cut(block: Block, spans: Sequence[tuple[int, int]]) -> int | None:
    """Where to split a block that the device refused: at its widest gap, else between the middle
    values. None when it holds one value only: then that value does not exist.
    """
    inside = sorted(span for span in set(spans) if block.start <= span[0] and span[1] <= block.end)
    gaps: list[tuple[int, int]] = []
    end = inside[0][1]
    for start, stop in inside[1:]:
        if start >= end:
            gaps.append((start - end, start))
        end = max(end, stop)
    if not gaps:
        return None
    widest, cut = max(gaps)
    return cut if widest else gaps[len(gaps) // 2][1]
