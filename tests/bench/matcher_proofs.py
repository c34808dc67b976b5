"""What must be the same, as rows: the kernel and the naive oracle, a snapshot and what went before it.

A difference is an error here, not a row: the counts below are of what was compared.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ext.book import Books
from tests.bench.matcher_flows import Workload
from tests.ext import campaign

LONG_RUN = Path(__file__).with_name("book_campaign.json")
MIDPOINTS, SPAN = 40, 20_000


def compared() -> tuple[int, str]:
    """Commands of one chunk of the differential run, and what its long run gave."""
    long = json.loads(LONG_RUN.read_text("utf-8"))
    note = f"long run: {long['mismatches']} in {long['commands']} commands, see {LONG_RUN.name}"
    return int(campaign.chunk(seed=77)["commands"]), note


def restored(work: Workload, fresh: Any) -> int:
    """Snapshots from which the rest of the commands came to the same events and the same hash."""
    data = work.commands[:SPAN].view(np.uint8)
    whole: Books = fresh(work)
    events = play(whole, data)
    runner: Books = fresh(work)
    step = len(data) // MIDPOINTS
    for at in range(step, len(data), step):
        play(runner, data[at - step : at])
        other: Books = fresh(work)
        other.restore(runner.snapshot())
        rest = play(other, data[at:])
        if other.state_hash() != whole.state_hash() or not events.endswith(rest):
            raise RuntimeError(f"a snapshot after {at // 32} commands went on differently")
    return len(range(step, len(data), step))


def play(books: Books, data: NDArray[np.uint8]) -> bytes:
    """The events of all commands."""
    room = np.zeros(4 * len(data) + (1 << 20), dtype=np.uint8)
    done, made = books.process(data.data, room.data)
    if 32 * done != len(data):
        raise RuntimeError("not all commands were done")
    return room[: 32 * made].tobytes()
