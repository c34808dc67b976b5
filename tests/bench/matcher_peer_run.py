"""One pass of a peer over the rows of a file. Runs in the peer's own environment.

`python matcher_peer_run.py PEER COMMANDS TRADES`: commands are records of (operation, side, order,
tick, quantity); the trades go to a file as (maker, taker, tick, quantity), and the ns an operation
are printed. It needs nothing but the peer and the standard library.
"""

import gc
import struct
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

COMMAND = struct.Struct("<BBQII")
TRADE = struct.Struct("<QQII")
Rows = list[tuple[int, int, int, int, int]]
Trades = list[tuple[int, int, int, int]]


def light_matching_engine(rows: Rows) -> tuple[int, Trades]:
    """It numbers orders itself, and says of each price first what the taker got altogether."""
    from lightmatchingengine.lightmatchingengine import LightMatchingEngine, Side

    engine = LightMatchingEngine()
    theirs: dict[int, int] = {}
    answers: list[tuple[int, int, list[Any]]] = []
    begin = perf_counter_ns()
    for cancels, side, order_id, tick, quantity in rows:
        if cancels:
            engine.cancel_order(theirs[order_id], "slot")
            continue
        order, trades = engine.add_order("slot", tick, quantity, Side.SELL if side else Side.BUY)
        theirs[order_id] = order.order_id
        if trades:
            answers.append((order_id, order.order_id, trades))
    spent = perf_counter_ns() - begin
    ours = {number: order_id for order_id, number in theirs.items()}
    return spent, [
        (ours[trade.order_id], taker, trade.trade_price, trade.trade_qty)
        for taker, number, trades in answers
        for trade in trades
        if trade.order_id != number
    ]


def order_book(rows: Rows) -> tuple[int, Trades]:
    """It keeps prices in order and matches nothing; a queue of [id, quantity] stands at each."""
    from order_book import SortedDict

    sides = SortedDict(ordering="DESC"), SortedDict(ordering="ASC")
    live: dict[int, list[int]] = {}
    trades: Trades = []
    begin = perf_counter_ns()
    for cancels, side, order_id, tick, quantity in rows:
        if cancels:
            live.pop(order_id)[1] = 0
            continue
        left, other = quantity, sides[1 - side]
        while left and len(other):
            best, queue = other.index(0)
            if (best < tick) if side else (best > tick):
                break
            left = take(queue, live, trades, order_id, best, left)
            if not queue:
                del other[best]
        if left:
            entry = live[order_id] = [order_id, left]
            if tick in sides[side]:
                sides[side][tick].append(entry)
            else:
                sides[side][tick] = deque((entry,))
    return perf_counter_ns() - begin, trades


def take(
    queue: deque[list[int]],
    live: dict[int, list[int]],
    trades: Trades,
    taker: int,
    tick: int,
    left: int,
) -> int:
    while queue and left:
        maker, open_quantity = queue[0]
        fill = min(open_quantity, left)
        if fill:
            trades.append((maker, taker, tick, fill))
        if fill < open_quantity:
            queue[0][1] -= fill
            return 0
        left -= fill
        queue.popleft()
        live.pop(maker, None)
    return left


PEERS: dict[str, Callable[[Rows], tuple[int, Trades]]] = {
    "lightmatchingengine": light_matching_engine,
    "order-book": order_book,
}


def main(peer: str, commands: Path, trades: Path) -> None:
    rows: Rows = list(COMMAND.iter_unpack(commands.read_bytes()))
    gc.disable()
    spent, found = PEERS[peer](rows)
    trades.write_bytes(b"".join(TRADE.pack(*trade) for trade in found))
    print(spent / len(rows))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
