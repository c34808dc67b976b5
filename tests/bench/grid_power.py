"""The power flow that has the last word in a match: its cost, its reach, and what it lets through.

The yardstick for volume is the exact flow of the whole network, solved anew for every trade, with
the same rule and the same bisection.
"""

import random
from array import array
from dataclasses import replace

import numpy as np

from cloud.grid.network import ElementKind, Network, quarter_of_year
from cloud.grid.referee import Referee
from cloud.market.physics import loose_rooms_wh, slot_flow, wires_of
from ext import book as kernel
from ext.book import Books
from ext.sweep import Sweep
from ext.tree import Headroom, Tree
from ext.wires import Wires
from protos.units import PER_MILLE
from tests.bench.grid_rows import Row, row, seconds
from tests.bench.matcher_flows import COMMANDS

NOON = 1_780_056_000 // 900
TRADES = 4_000
SLOTS, CANDIDATES = 9, 120
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


def rows(network: Network, sweep: Sweep, referee: Referee) -> list[Row]:
    tree = Tree(network.parent)
    wires = wires_of(network, tree)
    return [*_costs(network, tree, wires), *_stress(network, tree, wires, sweep, referee)]


def _costs(network: Network, tree: Tree, wires: Wires) -> list[Row]:
    group = max(network.home_groups, key=lambda g: network.end[g.transformer] - g.transformer)
    size = network.end[group.transformer] - group.transformer + 1
    near = _trade_us(network, tree, wires, group.nodes)
    far = _trade_us(network, tree, wires, network.home_nodes)
    phased = _on_phases(network)
    unbalanced = wires_of(phased, tree, three_phase=True)
    three = _trade_us(phased, tree, unbalanced, group.nodes)
    made = seconds(lambda: slot_flow(network, wires, NOON, {}), 3)
    note = "in the book: sweeps, verdict, bounds; less the same trades without it"
    name = "AC check of a fill in the book"
    return [
        row(f"{name}, one grid", near, "us", 1.5, "33.5 before", f"{size} nodes; {note}"),
        row(f"{name}, one grid, three-phase", three, "us", 5.0, "", f"{size} nodes; {note}"),
        row(f"{name}, two grids and the trunk", far, "us", 5.0, "", note),
        row("power flow of a slot made", made * 1e3, "ms", 20.0, "", f"{network.size} nodes"),
    ]


def _on_phases(network: Network) -> Network:
    """The same network, a home in four on all three phases, the others on one; cables with four
    times the resistance and three times the reactance through earth.
    """
    electric, draw = network.electric, random.Random(7)
    phases = array("q", [0] * network.size)
    for node in network.home_nodes:
        phases[node] = draw.randrange(4)
    turns = [kind is ElementKind.TRANSFORMER for kind in network.kinds]
    r, x = (
        array("d", [z if turn else times * z for z, turn in zip(column, turns, strict=True)])
        for column, times in ((electric.r_pu, 4), (electric.x_pu, 3))
    )
    zero = r, x, electric.g_pu, array("d", [0.6 * b for b in electric.b_pu])
    return replace(network, electric=replace(electric, phases=phases, zero=zero))


def _trade_us(network: Network, tree: Tree, wires: Wires, nodes: tuple[int, ...]) -> float:
    """Of one fill of 1 Wh between random nodes."""
    draw = random.Random(6)
    commands = np.zeros(2 * TRADES, dtype=COMMANDS)
    commands["order"] = commands["owner"] = np.arange(1, 2 * TRADES + 1)
    commands["side"][::2], commands["tick"], commands["quantity"] = kernel.SELL, 500, 1
    commands["version"], commands["cls"] = kernel.RECORD_VERSION, 3
    pairs = [draw.sample(nodes, 2) for _ in range(TRADES)]
    commands["node"] = np.array(pairs).ravel()
    data = commands.view(np.uint8)
    events = np.zeros(32 * 8 * TRADES, np.uint8)
    best = []
    for is_asked in (True, False):
        spent = []
        for _ in range(5):
            flow = slot_flow(network, wires, NOON, {}) if is_asked else None
            room = Headroom(tree, *loose_rooms_wh(network, NOON, {}))
            books = Books(1 << 12, 1024, 2)
            books.open(0, room, flow)

            def all_of_them(books: Books = books) -> None:
                assert books.process(data.data, events.data)[0] == 2 * TRADES

            spent.append(seconds(all_of_them, 1))
        best.append(min(spent))
    return (best[0] - best[1]) / TRADES * 1e6


class Exact:
    """The whole network solved for every trade. Loadings as the referee defines them."""

    def __init__(self, network: Network, sweep: Sweep, p: Floats, q: Floats) -> None:
        self.sweep, self.p, self.q = sweep, p, q
        self.above = np.maximum(np.array(network.parent), 0)
        self.ratio = np.array(network.electric.ratio)
        self.limit = np.array(network.limit_w, float)
        self.turns = np.array([kind is ElementKind.TRANSFORMER for kind in network.kinds])
        voltage, loading = self.solved(p)
        self.bounds = np.maximum(1, loading), np.minimum(0.9, voltage), np.maximum(1.1, voltage)

    def solved(self, p: Floats) -> tuple[Floats, Floats]:
        assert self.sweep.solve(p.tolist(), self.q.tolist(), 1e-9)
        voltage = np.array(self.sweep.voltages_pu())
        power = np.hypot(*np.array([self.sweep.flow_va(i) for i in range(len(p))]).T)
        current = power / (voltage[self.above] * self.ratio)
        carried = np.where(self.turns, np.maximum(power, current * voltage), current)
        loading = carried / self.limit
        loading[0] = 0.0
        return voltage, loading

    def admit(self, seller: int, buyer: int, wh: int) -> int:
        low, high, tried = 0, wh, wh
        while tried > low:
            p = self.p.copy()
            p[seller] -= 4 * tried
            p[buyer] += 4 * tried
            voltage, loading = self.solved(p)
            most, least, highest = self.bounds
            fine = (loading <= most * 1.0005).all() and (voltage >= least * 0.9999).all()
            if fine and (voltage <= highest * 1.0001).all():
                low, kept = tried, (p, voltage, loading)
            else:
                high = tried
            if low == wh or high - low < max(2, wh >> 6):
                break
            tried = (low + high) // 2
        if low:
            self.p, voltage, loading = kept
            most, least, highest = self.bounds
            self.bounds = (
                np.maximum(1, np.minimum(most, loading)),
                np.minimum(0.9, np.maximum(least, voltage)),
                np.maximum(1.1, np.minimum(highest, voltage)),
            )
        return low


def _stress(
    network: Network, tree: Tree, wires: Wires, sweep: Sweep, referee: Referee
) -> list[Row]:
    """Slots around the clock and the year, offered far more than a few grids bear."""
    draw, worst, violated = random.Random(5), 0, 0
    ours_wh = exact_wh = 0
    for i in range(SLOTS):
        slot = NOON + 48 + i * 96 * 29 + i % 4 * 12
        quarter = quarter_of_year(slot)
        exact = Exact(
            network,
            sweep,
            network.baseline.node_w(quarter).astype(float),
            network.baseline.node_var(quarter).astype(float),
        )
        flow = slot_flow(network, wires, slot, {})
        room = Headroom(tree, *loose_rooms_wh(network, slot, {}))
        injections = dict.fromkeys(range(network.size), 0)
        for seller, buyer, wanted in _candidates(network, draw, i % 3):
            exact_wh += exact.admit(seller, buyer, wanted)
            wh = min(wanted, room.room_wh(seller, buyer))
            wh = flow.admit(room, seller, buyer, wh) if wh else 0
            flow.give_back(room)
            ours_wh += wh
            injections[seller] += 4 * wh
            injections[buyer] -= 4 * wh
        over = _over(referee, slot, injections)
        worst, violated = max(worst, over), violated + (over > 2.5)
    note = f"{SLOTS} slots of {CANDIDATES} candidate trades in four feeders: out, in, among them"
    name = "volume against an exact flow per trade"
    return [
        row("stress slots over by more than 0.25 points", violated, "slots", 0, "25-38 %", note),
        row("worst of a stress slot by power-grid-model", worst, "per mille", 2.5, "", note),
        row(name, ours_wh / exact_wh, "x", 0.999, "", note, "max"),
    ]


def _candidates(network: Network, draw: random.Random, way: int) -> list[tuple[int, int, int]]:
    homes = [node for group in draw.sample(network.home_groups, 4) for node in group.nodes]
    found = []
    for _ in range(CANDIDATES):
        seller, buyer = draw.sample(homes, 2)
        outward = draw.random() < 0.8
        if outward and way == 1:
            seller = 0
        elif outward and way == 2:
            buyer = 0
        found.append((seller, buyer, draw.randrange(500, 12_000)))
    return found


def _over(referee: Referee, slot: int, injections: dict[int, int]) -> int:
    """How far a limit or the band is passed beyond the base, per mille of rated."""
    base, now = referee.check(slot, {}), referee.check(slot, injections)
    return max(
        now.worst_loading_per_mille - max(PER_MILLE, base.worst_loading_per_mille),
        now.voltage_max_per_mille - max(1_100, base.voltage_max_per_mille),
        min(900, base.voltage_min_per_mille) - now.voltage_min_per_mille,
        0,
    )
