"""How fast the order books match, as rows with targets.

The flows and the baseline, a plain Python matcher on the same commands in the same run, are in
`matcher_flows`. A run whose trades differ from the baseline's is an error, not a row. Times are the
best of several rounds, ratios the median of the rounds' ratios.
"""

from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ext import book as kernel
from ext.book import Books
from ext.tree import Headroom, Tree
from tests.bench import matcher_peers as peers
from tests.bench import matcher_proofs as proofs
from tests.bench.matcher_flows import (
    COMMANDS,
    EVENTS,
    FLOWS,
    Flow,
    PlainBooks,
    Workload,
    make_workload,
    no_collection,
    trade_hash,
)
from tests.ext import campaign

Row = dict[str, Any]
Bytes = NDArray[np.uint8]
ROUNDS = 7
NODES = 1_001
"""A network of 1,000 edges: two transformers, five feeders each, laterals."""


@dataclass(frozen=True)
class Outcome:
    """One pass over a workload."""

    ns: float  # an operation
    trades: int
    volume: int
    hash: int


# ---- books without a network -------------------------------------------------------------------


def fresh_books(work: Workload) -> Books:
    books = Books(1 << 20 if work.prefill else 1 << 16, work.flow.ticks, 128)
    for number in range(work.flow.books):
        books.open(number)
    return books


def room_for_events(work: Workload) -> Bytes:
    """Zeroed, and touched: the first write to a page is not the matcher's cost."""
    room = np.empty(32 * (len(work.commands) + 2 * work.trades + (1 << 20) + 8), dtype=np.uint8)
    room.fill(0)
    return room


def play(work: Workload, events: Bytes, books: Books | None = None) -> Outcome:
    """All commands through one `process` call after the warm-up, full events."""
    books, data = books or fresh_books(work), work.commands.view(np.uint8)
    start, used = 0, 0
    if work.prefill:
        start, used = books.process(data[: 32 * work.prefill].data, events.data)
    begin = perf_counter_ns()
    done, made = books.process(data[32 * start :].data, events[32 * used :].data)
    spent = perf_counter_ns() - begin
    if start + done != len(work.commands):
        raise RuntimeError(f"only {start + done} of {len(work.commands)} commands were done")
    return Outcome(spent / done, *trades_of(events[: 32 * (used + made)], work.flow))


def trades_of(events: Bytes, flow: Flow) -> tuple[int, int, int]:
    """How many, how much, and the hash over them."""
    found = events.view(EVENTS)
    found = found[found["kind"] == kernel.TRADE]
    prices = found["tick"].astype(np.uint64) + np.uint64(flow.floor)
    quantities = found["quantity"].astype(np.uint64)
    digest = trade_hash(found["order"], found["other"], prices, quantities)
    return len(found), int(quantities.sum()), digest


def play_checked(work: Workload, events: Bytes) -> Outcome:
    outcome = play(work, events)
    if (outcome.trades, outcome.volume, outcome.hash) != (work.trades, work.volume, work.hash):
        raise RuntimeError(f"the kernel's trades {outcome} are not the baseline's {work.hash:016x}")
    return outcome


def play_baseline(work: Workload) -> float:
    """ns an operation of the plain Python matcher."""
    names = ("operation", "book", "side", "order", "tick", "quantity")
    rows = list(zip(*(work.commands[name].tolist() for name in names), strict=True))
    books, spent = PlainBooks(work.flow.books), 0
    for part in (rows[: work.prefill], rows[work.prefill :]):
        with no_collection():
            begin = perf_counter_ns()
            replay(books, part)
            spent = perf_counter_ns() - begin
    return spent / (len(rows) - work.prefill)


def replay(books: PlainBooks, rows: list[tuple[int, ...]]) -> None:
    add, cancel = books.add, books.cancel
    for operation, book, side, order_id, tick, quantity in rows:
        if operation:
            cancel(order_id)
        else:
            add(book, side, order_id, tick, quantity)


def latencies(books: Books, data: Bytes, events: Bytes) -> NDArray[np.float64]:
    """ns of every command, by the processor's own clock, which ticks in steps of about 10 ns."""
    times = np.zeros(len(data) // 32, dtype=np.uint32)
    books.measure(data.data, events.data, times.data)
    start, begin = kernel.clock(), perf_counter_ns()
    while perf_counter_ns() - begin < 30_000_000:
        pass
    ticks_per_ns = (kernel.clock() - start) / (perf_counter_ns() - begin)
    return np.sort(times / ticks_per_ns)


def run(workload: str, ops: int) -> dict[str, Any]:
    """One checked pass, for the command line."""
    work = make_workload(FLOWS[workload], ops)
    outcome = play_checked(work, room_for_events(work))
    return {
        "ops_s": round(1e9 / outcome.ns),
        "trades": outcome.trades,
        "volume": outcome.volume,
        "hash": f"{outcome.hash:016x}",
    }


# ---- books on a network ------------------------------------------------------------------------


def network() -> Tree:
    """The same laterals every time."""
    draw = np.random.RandomState(7)
    parent = [-1, 0, 0]
    feeders: dict[tuple[int, int], list[int]] = {}
    for node in range(3, NODES):
        feeder = (1 + node % 2, node // 2 % 5)
        line = feeders.setdefault(feeder, [feeder[0]])
        parent.append(line[-1 - draw.randint(min(8, len(line)))])
        line.append(node)
    return Tree(parent)


def headroom(tree: Tree, name: str) -> Headroom:
    """`open` never binds, in `islands` one transformer is shut, in `binding` limits fill up."""
    open_wh = 1 << 40
    down = [open_wh] * NODES
    if name == "islands":
        down[1] = -open_wh
    if name == "binding":
        draw = np.random.RandomState(3)
        below = np.maximum(1, np.bincount(tree.parents[1:], minlength=NODES))
        down = (draw.randint(2_000, 20_000, size=NODES) * below).tolist()
    return Headroom(tree, down, down)


def grid_books(grid: Headroom | None, room: int = 1 << 16) -> Books:
    books = Books(room)
    books.open(0, grid)
    return books


def grid_rows(work: Workload) -> list[Row]:
    """The flow of one book with a random node an order, on a network of 1,000 edges."""
    events, data, tree = room_for_events(work), work.commands.view(np.uint8), network()
    plain = min(play(work, events).ns for _ in range(ROUNDS))
    made = []
    for name, target in (("open", 3.0), ("islands", 5.0), ("binding", 5.0)):
        ns = min(play(work, events, grid_books(headroom(tree, name))).ns for _ in range(ROUNDS))
        note = f"1,000 edges; without a network {plain:.1f} ns"
        made.append(row(f"grid {name}", ns, "ns/op", None, "min", note))
        made.append(row(f"grid {name} vs free", ns / plain, "x", target, "min", note, plain))
    tail = min(
        float(latencies(grid_books(headroom(tree, "binding")), data, events)[-len(data) // 32_000])
        for _ in range(ROUNDS)
    )
    made.append(row("grid binding p99.9", tail, "ns", 2_000, "min", "in the kernel"))
    return made


def in_front(shut_out: int, orders: int = 20_000) -> float:
    """ns an order when `shut_out` cheaper asks stand behind a transformer that cannot export."""
    tree = network()
    grid = Headroom(tree, [1 << 40] * NODES, [0 if n == 1 else 1 << 40 for n in range(NODES)])
    first, end = tree.interval(1)
    behind = tree.order[first:end]
    outside = sorted(set(range(NODES)) - set(behind))
    draw = np.random.RandomState(9)
    books = grid_books(grid, max(1 << 12, shut_out + 4_096))
    wall = fill(
        shut_out, kernel.SELL, draw.randint(500, 1_000, shut_out), draw.choice(behind, shut_out), 1
    )
    flow = fill(
        orders, kernel.SELL, np.full(orders, 2_000), draw.choice(outside, orders), shut_out + 1
    )
    flow["side"][1::2], flow["tick"][1::2] = kernel.BUY, 2_100
    events = np.zeros(32 * (3 * max(orders, shut_out) + 8), dtype=np.uint8)
    books.process(wall.view(np.uint8).data, events.data)
    begin = perf_counter_ns()
    done, made = books.process(flow.view(np.uint8).data, events.data)
    spent = perf_counter_ns() - begin
    if trades_of(events[: 32 * made], Flow())[0] != orders // 2 or done != orders:
        raise RuntimeError("every buyer outside should have met the one seller outside")
    return spent / orders


def fill(count: int, side: int, ticks: Any, nodes: Any, first_id: int) -> NDArray[Any]:
    """Orders of one unit."""
    commands = np.zeros(count, dtype=COMMANDS)
    commands["order"] = commands["owner"] = np.arange(first_id, first_id + count)
    commands["side"], commands["tick"], commands["node"] = side, ticks, nodes
    commands["quantity"], commands["version"], commands["cls"] = 1, kernel.RECORD_VERSION, 3
    return commands


# ---- rows --------------------------------------------------------------------------------------


def row(
    name: str,
    value: float | None,
    unit: str,
    target: float | None,
    direction: str,
    note: str = "",
    baseline: float | None = None,
) -> Row:
    met = (
        None
        if target is None or value is None
        else value <= target
        if direction == "min"
        else value >= target
    )
    return {
        "name": name,
        "value": None if value is None else round(value, 2),
        "unit": unit,
        "target": target,
        "direction": direction,
        "ok": met,
        "baseline": None if baseline is None else round(baseline, 2),
        "note": note,
    }


def flow_rows(name: str, target: float) -> list[Row]:
    """One flow against the baseline."""
    work = make_workload(FLOWS[name], 1_000_000)
    events = room_for_events(work)
    floor = 25 if name == "w1" else None
    ours, theirs = [], []
    for number in range(ROUNDS):
        ours.append(play_checked(work, events).ns)
        if number % 3 == 0:
            theirs.append(play_baseline(work))
    note = f"{work.trades} trades equal to the baseline's; median {median(ours):.1f}"
    made = [
        row(name, min(ours), "ns/op", target, "min", note, min(theirs)),
        row(
            f"{name} vs Python",
            median(theirs) / median(ours),
            "x",
            floor,
            "max",
            "heaps of prices, queues, one dictionary",
        ),
    ]
    if name == "w1":
        data = work.commands.view(np.uint8)
        tail = min(
            float(latencies(fresh_books(work), data, events)[-len(work.commands) // 1_000])
            for _ in range(ROUNDS)
        )
        made.append(row("w1 p99.9", tail, "ns", 250, "min", "in the kernel, look-ahead off"))
        small = replace(work, commands=work.commands[:300_000])
        made += grid_rows(scattered(small))
    return made


def scattered(work: Workload) -> Workload:
    """The same orders, each at a node drawn evenly."""
    commands = work.commands.copy()
    commands["node"] = np.random.RandomState(5).randint(1, NODES, len(commands))
    return replace(work, commands=commands)


def submit_row() -> Row:
    """One order at a time from Python: what the zone pays."""
    books, count = grid_books(None), 20_000
    begin = perf_counter_ns()
    for order_id in range(count):
        books.submit(0, order_id, order_id & 1, 2_000 + order_id % 7, 5, order_id)
    return row("submit() from Python", (perf_counter_ns() - begin) / count, "ns", None, "min")


def peer_rows() -> list[Row]:
    """Other matchers that a package brings, as ratios on the same commands."""
    work = peers.workload()
    events = room_for_events(work)
    made = []
    for peer, version in peers.VERSIONS.items():
        name = f"w1 vs {peer}"
        try:
            theirs = peers.play_peer(peer, work)
        except peers.Missing as missing:
            made.append(row(name, None, "x", None, "max", str(missing)))
            continue
        ours = median(play_checked(work, events).ns for _ in range(ROUNDS))
        note = f"{version}, first {peers.OPERATIONS} commands; {work.trades} trades, all equal"
        made.append(row(name, theirs / ours, "x", None, "max", note, theirs))
    return made


def proof_rows() -> list[Row]:
    """What was compared; a difference is an error there."""
    commands, note = proofs.compared()
    snapshots = proofs.restored(make_workload(FLOWS["w96"], proofs.SPAN), fresh_books)
    same = "the same events and state hash from each snapshot on"
    return [
        row("commands equal to the oracle", commands, "", campaign.CHUNK, "max", note),
        row("snapshots and the rest", snapshots, "", proofs.MIDPOINTS - 1, "max", same),
    ]


def rows() -> list[Row]:
    """All rows; about two minutes."""
    made = []
    for name, target in (("w1", 18), ("w96", 24), ("wdeep", 40)):
        made += flow_rows(name, target)
    room = 1 << 20
    held = Books(room).orders_nbytes / room
    made.append(row("bytes a resting order", held, "B", 40, "min", "pool and id map, full"))
    few, many = (min(in_front(count) for _ in range(3)) for count in (0, 100_000))
    note = "one shut transformer, 1,000 edges; baseline: none in front"
    made.append(row("100,000 shut out in front", many, "ns/order", 300, "min", note, few))
    made.append(submit_row())
    return made + proof_rows() + peer_rows()


if __name__ == "__main__":
    for line in rows():
        print(line)
