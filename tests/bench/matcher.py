"""How fast the order books match, as rows with targets.

Three synthetic order flows, drawn by splitmix64 so that they are the same on every machine:
`w1` is one book (60 % passive orders, 30 % cancels of live orders, 10 % marketable orders), `w96` the
same over 96 books, `wdeep` a million passive orders first and then a million of (48/42/10 %), of which
only the second million is timed. The baseline is the fastest matcher in plain Python that we know how
to write, on the same commands in the same run. A result whose trades differ from the baseline's is
an error, not a row.
"""

import heapq
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ext import book as kernel
from ext.book import Books
from ext.tree import Headroom, Tree

Row = dict[str, Any]
SEED = 20251121
MASK = (1 << 64) - 1
COMMANDS = np.dtype(
    [("order", "<u8"), ("book", "<u4"), ("tick", "<u4"), ("quantity", "<u4"), ("owner", "<u4")]
    + [("node", "<u2")]
    + [(name, "u1") for name in ("version", "operation", "side", "cls", "tif", "self_trade")]
)
EVENTS = np.dtype(
    [("order", "<u8"), ("other", "<u8"), ("book", "<u4"), ("tick", "<u4"), ("quantity", "<u4")]
    + [(name, "u1") for name in ("kind", "reason", "side", "version")]
)


# ---- the flows ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flow:
    """The shape of a workload."""

    books: int = 1
    prefill: int = 0
    ticks: int = 4096
    nodes: int = 1

    @property
    def floor(self) -> int:
        """The price of tick 0; prices move around 10,000."""
        return 10_000 - self.ticks // 2


FLOWS = {
    "w1": Flow(),
    "w96": Flow(books=96),
    "wdeep": Flow(prefill=1_000_000, ticks=8192),
}


@dataclass(frozen=True)
class Workload:
    """Commands as packed records, how many of them are warm-up, and what they must lead to."""

    flow: Flow
    commands: NDArray[Any]
    prefill: int
    trades: int
    volume: int
    hash: int


def splitmix(count: int) -> NDArray[np.uint64]:
    """The first draws of splitmix64."""
    with np.errstate(over="ignore"):
        steps = np.arange(1, count + 1, dtype=np.uint64)
        return scramble(np.uint64(SEED) + steps * np.uint64(0x9E3779B97F4A7C15))


def scramble(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of splitmix64: a permutation of 64-bit numbers."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Draws:
    """Random numbers as the flows take them."""

    def __init__(self, count: int) -> None:
        self._next: Callable[[], int] = iter(splitmix(count).tolist()).__next__

    def below(self, n: int) -> int:
        return (self._next() * n) >> 64

    def geometric(self, keep: float) -> int:
        unit = ((self._next() >> 11) + 0.5) / 9007199254740992.0
        return min(2_000, int(math.log(unit) / math.log(keep)))


class HeapBooks:
    """The baseline: a heap of [price, arrival, id, quantity] a side and a dictionary of the live.

    A cancelled order stays in its heap with quantity 0 until it surfaces.
    """

    def __init__(self, books: int) -> None:
        self.sides: list[list[list[int]]] = [[] for _ in range(2 * books)]
        self.live: dict[int, list[int]] = {}
        self.trades: list[tuple[int, int, int, int]] = []
        self.arrivals = 0

    def add(self, book: int, side: int, order_id: int, price: int, quantity: int) -> None:
        theirs = self.sides[2 * book + 1 - side]
        live = self.live
        # Bids are kept with negative prices, so that every heap gives its best first.
        own, limit = (price, -price) if side else (-price, price)
        while quantity and theirs and theirs[0][0] <= limit:
            best = theirs[0]
            fill = best[3] if best[3] < quantity else quantity
            if fill:
                self.trades.append((best[2], order_id, -best[0] if side else best[0], fill))
                quantity -= fill
                best[3] -= fill
            if not best[3]:
                heapq.heappop(theirs)
                live.pop(best[2], None)
        if quantity:
            self.arrivals += 1
            entry = [own, self.arrivals, order_id, quantity]
            live[order_id] = entry
            heapq.heappush(self.sides[2 * book + side], entry)

    def cancel(self, order_id: int) -> None:
        entry = self.live.pop(order_id, None)
        if entry is not None:
            entry[3] = 0


def steps(flow: Flow, ops: int, books: HeapBooks) -> Iterator[tuple[int, ...]]:
    """(operation, book, side, order, price, quantity, node) in turn, played into `books`."""
    draws = Draws(9 * ops + flow.books * (ops // 50 + 2))
    below = draws.below
    ids = scramble(np.arange(ops + 2, dtype=np.uint64)) | np.uint64(1)
    names: list[int] = ids.tolist()
    middle = [10_000] * flow.books
    placed: dict[int, tuple[int, int, int]] = {}
    live: list[int] = []
    serial = 0
    for i in range(ops):
        book = below(flow.books) if flow.books > 1 else 0
        if i % 100 == 0:
            for k in range(flow.books):
                if flow.books == 1 or below(4) == 0:
                    middle[k] = min(12_000, max(8_000, middle[k] + (1 if below(2) else -1)))
        dice = below(100)
        if flow.prefill:
            dice = 0 if i < flow.prefill else 70 if 48 <= dice < 90 else dice
        if 60 <= dice < 90:
            order_id = draw_live(live, books.live, below)
            if order_id:
                book, side, price = placed[order_id]
                books.cancel(order_id)
                yield kernel.CANCEL, book, side, order_id, price, 0, 0
                continue
        serial += 1
        order_id = names[serial]
        below(5_000)
        node, side = below(flow.nodes), below(2)
        if dice >= 90:
            price = middle[book] - 20 if side else middle[book] + 20
            quantity = 1 + below(200)
        else:
            away = 1 + draws.geometric(0.995 if flow.prefill else 0.9)
            price = middle[book] + away if side else middle[book] - away
            quantity = 1 + below(100)
        placed[order_id] = (book, side, price)
        books.add(book, side, order_id, price, quantity)
        if order_id in books.live:
            live.append(order_id)
        yield kernel.SUBMIT, book, side, order_id, price, quantity, node


def draw_live(live: list[int], known: dict[int, list[int]], below: Callable[[int], int]) -> int:
    """A uniformly drawn order that still rests, taken from the list; 0 if none does."""
    while live:
        k = below(len(live))
        order_id = live[k]
        live[k] = live[-1]
        live.pop()
        if order_id in known:
            return order_id
    return 0


def make_workload(flow: Flow, ops: int) -> Workload:
    """`ops` commands, after the flow's warm-up if it has one."""
    books = HeapBooks(flow.books)
    rows = np.array(list(steps(flow, ops + flow.prefill, books)), dtype=np.uint64)
    commands = np.zeros(len(rows), dtype=COMMANDS)
    commands["version"] = kernel.RECORD_VERSION
    commands["operation"], commands["book"], commands["side"] = rows[:, 0], rows[:, 1], rows[:, 2]
    commands["order"], commands["quantity"], commands["node"] = rows[:, 3], rows[:, 5], rows[:, 6]
    commands["tick"] = rows[:, 4] - np.uint64(flow.floor)
    commands["cls"] = 3
    # Every order has an owner of its own: self-trade is checked, but never found.
    commands["owner"] = np.arange(len(rows))
    trades = np.array(books.trades, dtype=np.uint64).reshape(-1, 4)
    return Workload(
        flow,
        commands,
        flow.prefill,
        len(trades),
        int(trades[:, 3].sum()),
        trade_hash(*trades.T),
    )


def trade_hash(
    maker: NDArray[np.uint64],
    taker: NDArray[np.uint64],
    price: NDArray[np.uint64],
    quantity: NDArray[np.uint64],
) -> int:
    """FNV-1a over one mixed word a trade: it depends on every field and on the order."""
    with np.errstate(over="ignore"):
        words = maker * np.uint64(0x9E3779B97F4A7C15)
        words ^= (taker + np.uint64(0x7F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
        words ^= price * np.uint64(0x94D049BB133111EB) ^ quantity
    digest = 1469598103934665603
    for word in words.tolist():
        digest = ((digest ^ word) * 1099511628211) & MASK
    return digest


# ---- runs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """One pass over a workload."""

    ns: float  # an operation
    trades: int
    volume: int
    hash: int


def fresh_books(work: Workload, orders_max: int = 1 << 20) -> Books:
    import os
    books = Books(int(os.environ.get("OM", orders_max)), work.flow.ticks, 128)
    for number in range(work.flow.books):
        books.open(number)
    return books


def room_for_events(work: Workload) -> NDArray[np.uint8]:
    """Zeroed, and touched: the first write to a page is not the matcher's cost."""
    room = np.empty(32 * (len(work.commands) + 2 * work.trades + (1 << 20) + 8), dtype=np.uint8)
    room.fill(0)
    return room


def play(work: Workload, events: NDArray[np.uint8]) -> Outcome:
    """All commands through one `process` call after the warm-up, full events."""
    books, data = fresh_books(work), work.commands.view(np.uint8)
    start, used = 0, 0
    if work.prefill:
        start, used = books.process(data[: 32 * work.prefill], events)
    begin = perf_counter_ns()
    done, made = books.process(data[32 * start :], events[32 * used :])
    spent = perf_counter_ns() - begin
    if start + done != len(work.commands):
        raise RuntimeError(f"only {start + done} of {len(work.commands)} commands were done")
    found = events[: 32 * (used + made)].view(EVENTS)
    found = found[found["kind"] == kernel.TRADE]
    prices = found["tick"].astype(np.uint64) + np.uint64(work.flow.floor)
    digest = trade_hash(found["order"], found["other"], prices, found["quantity"].astype(np.uint64))
    volume = int(found["quantity"].sum(dtype=np.uint64))
    outcome = Outcome(spent / done, len(found), volume, digest)
    if (outcome.trades, outcome.volume, outcome.hash) != (work.trades, work.volume, work.hash):
        raise RuntimeError(f"the kernel's trades {outcome} are not the baseline's {work.hash:016x}")
    return outcome


def play_baseline(work: Workload) -> float:
    """ns an operation of the plain Python matcher."""
    names = ("operation", "book", "side", "order", "tick", "quantity")
    rows = list(zip(*(work.commands[name].tolist() for name in names), strict=True))
    books = HeapBooks(work.flow.books)
    add, cancel, spent = books.add, books.cancel, 0
    for part, timed in ((rows[: work.prefill], False), (rows[work.prefill :], True)):
        begin = perf_counter_ns()
        for operation, book, side, order_id, tick, quantity in part:
            if operation:
                cancel(order_id)
            else:
                add(book, side, order_id, tick, quantity)
        spent = perf_counter_ns() - begin if timed else 0
    return spent / max(1, len(rows) - work.prefill)
