"""Order flows for measuring the matcher, the same on every machine.

Drawn by splitmix64: `w1` is one book (60 % passive orders, 30 % cancels of live orders, 10 %
marketable orders), `w96` the same over 96 books, `wdeep` a million passive orders first and then
48/42/10 %. While a flow is drawn, a plain Python matcher plays it, because cancels name live
orders; its trades are what every other matcher must reproduce, and its speed is the baseline.
"""

import gc
import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ext import book as kernel

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
STEPS = np.dtype(
    {
        "names": ("operation", "book", "side", "order", "price", "quantity", "node"),
        "formats": ("u1", "<u4", "u1", "<u8", "<i4", "<u4", "<u2"),
    }
)


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


class PlainBooks:
    """The baseline: per side a heap of prices and, per price, a queue of [id, quantity].

    A cancelled order stays in its queue with quantity 0 until it surfaces.
    """

    def __init__(self, books: int) -> None:
        self.heaps: list[list[int]] = [[] for _ in range(2 * books)]
        self.queues: list[dict[int, deque[list[int]]]] = [{} for _ in range(2 * books)]
        self.live: dict[int, list[int]] = {}
        self.trades: list[tuple[int, int, int, int]] = []

    def add(self, book: int, side: int, order_id: int, price: int, quantity: int) -> None:
        other = 2 * book + 1 - side
        heap, queues = self.heaps[other], self.queues[other]
        # Bids are kept with negative prices, so that every heap gives its best first.
        own, limit = (price, -price) if side else (-price, price)
        while quantity and heap and heap[0] <= limit:
            best = heap[0]
            queue = queues[best]
            quantity = self._take(queue, abs(best), order_id, quantity)
            if not queue:
                heapq.heappop(heap)
                del queues[best]
        if not quantity:
            return
        own_queues = self.queues[other ^ 1]
        entry = self.live[order_id] = [order_id, quantity]
        if own in own_queues:
            own_queues[own].append(entry)
        else:
            own_queues[own] = deque((entry,))
            heapq.heappush(self.heaps[other ^ 1], own)

    def _take(self, queue: deque[list[int]], price: int, order_id: int, quantity: int) -> int:
        while queue and quantity:
            best = queue[0]
            fill = best[1]
            if fill > quantity:
                self.trades.append((best[0], order_id, price, quantity))
                best[1] = fill - quantity
                return 0
            queue.popleft()
            if fill:
                self.trades.append((best[0], order_id, price, fill))
                quantity -= fill
                del self.live[best[0]]
        return quantity

    def cancel(self, order_id: int) -> None:
        entry = self.live.pop(order_id, None)
        if entry is not None:
            entry[1] = 0


@contextmanager
def no_collection() -> Iterator[None]:
    """Without Python's garbage collector, which has nothing to find among plain integers."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def steps(flow: Flow, ops: int, books: PlainBooks) -> Iterator[tuple[int, ...]]:
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
    books = PlainBooks(flow.books)
    with no_collection():
        rows = np.fromiter(steps(flow, ops + flow.prefill, books), dtype=STEPS)
    commands = np.zeros(len(rows), dtype=COMMANDS)
    for name in ("operation", "book", "side", "order", "quantity", "node"):
        commands[name] = rows[name]
    commands["tick"] = rows["price"] - flow.floor
    commands["version"], commands["cls"] = kernel.RECORD_VERSION, 3
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
