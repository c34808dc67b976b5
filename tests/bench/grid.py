"""The grid room's figures: AC sweep against power-grid-model, referee, headroom, loading.

Ratios are between runs on the same machine in the same minute; absolute times depend on both.
"""

import random
from array import array

import numpy as np

from cloud.grid.data import read_shipped
from cloud.grid.network import Network, load_network, quarter_of_year
from cloud.grid.planning import sweep_of
from cloud.grid.referee import Referee
from ext.sweep import Sweep
from ext.tree import Headroom, Tree
from tests.bench import grid_power, grid_studies, grid_work
from tests.bench.grid_rows import Row, row, seconds

NOON = 1_780_056_000 // 900
"""29 May 2026, 12:00 UTC."""

LOW_VOLTAGE_NODES = 128
WARM_TRADES = 20_000
PATHS = 20_000


def rows() -> list[Row]:
    """All rows of this room; some seconds of one core."""
    data, profiles = read_shipped("rural")
    network = load_network(data, profiles)
    sweep, referee = sweep_of(network), Referee(network)
    return [
        *_accuracy(network, sweep, referee),
        *_speed(network, sweep, referee),
        *_reading(data, profiles, network),
        *_paths(network),
        *_tree_against_ac(network, referee),
        *grid_power.rows(network, sweep, referee),
        *grid_studies.rows(network),
        *grid_work.rows(network),
    ]


def _powers(network: Network, slot: int) -> tuple[list[float], list[float]]:
    quarter = quarter_of_year(slot)
    active = network.baseline.node_w(quarter).astype(float).tolist()
    return active, network.baseline.node_var(quarter).astype(float).tolist()


def _accuracy(network: Network, sweep: Sweep, referee: Referee) -> list[Row]:
    draw, worst = random.Random(1), 0.0
    for _ in range(300):
        active, reactive = _powers(network, NOON + draw.randrange(35_000))
        active = [w + draw.gauss(0, 1_000) for w in active]
        assert sweep.solve(active, reactive, 1e-10)
        solved = referee.voltages_pu(np.array(active), np.array(reactive))
        worst = max(worst, float(np.abs(np.array(sweep.voltages_pu()) - solved).max()))
    note = "5,479 nodes, 300 random states, greatest difference at any node"
    return [
        row("sweep against power-grid-model", worst, "pu", 1e-6, "power-grid-model 1e-10", note)
    ]


def _speed(network: Network, sweep: Sweep, referee: Referee) -> list[Row]:
    return [*_solves(network, sweep, referee), *_checks(network, sweep, referee)]


def _solves(network: Network, sweep: Sweep, referee: Referee) -> list[Row]:
    found = []
    for slot, when, target in ((NOON + 28, "an evening", 0.16), (NOON, "a sunny noon", 0.25)):
        active, reactive = _powers(network, slot)
        powers = np.array(active), np.array(reactive)
        sweep.load(active, reactive)

        def cold() -> None:
            sweep.reset()
            assert sweep.settle(1e-8)

        own = seconds(cold, 50)
        theirs = seconds(lambda powers=powers: referee.voltages_pu(*powers), 20)
        found.append(
            row(
                f"AC solve of 5,479 nodes, cold to 1e-8, {when}",
                own * 1e3,
                "ms",
                target,
                f"power-grid-model {theirs * 1e3:.2f} ms, {theirs / own:.0f} times as long",
            )
        )
    return found


def _checks(network: Network, sweep: Sweep, referee: Referee) -> list[Row]:
    verdict = seconds(lambda: referee.check(NOON, {}), 20)
    group = max(network.home_groups, key=lambda g: network.end[g.transformer] - g.transformer)
    size = network.end[group.transformer] - group.transformer
    draw = random.Random(2)
    sellers = array("i", draw.choices(group.nodes, k=WARM_TRADES))
    buyers = array("i", draw.choices(group.nodes, k=WARM_TRADES))
    warm = seconds(lambda: sweep.trades(sellers, buyers, 0.0, 3, group.transformer), 5)
    return [
        row(
            "AC check of a trade, three warm sweeps",
            warm / WARM_TRADES * 1e6,
            "us",
            1.5,
            "prototype 1.46 us at 129 nodes",
            f"low-voltage grid of {size} nodes",
        ),
        row("referee's verdict on a slot", verdict * 1e3, "ms", 20.0, "none", "with the base flow"),
    ]


def _reading(data: bytes, profiles: bytes | None, network: Network) -> list[Row]:
    load = seconds(lambda: load_network(data, profiles), 3)
    room = seconds(lambda: network.headroom_wh(NOON, {}), 20)
    return [
        row("load the shipped network and its year", load, "s", 0.3, "demo's start 5 s"),
        row("headroom of all elements of a slot", room * 1e3, "ms", 1.0, "none"),
    ]


def _paths(network: Network) -> list[Row]:
    headroom = Headroom(Tree(network.parent), *network.headroom_wh(NOON, {}))
    draw = random.Random(3)
    pairs = list(
        zip(
            draw.choices(network.home_nodes, k=PATHS),
            draw.choices(network.home_nodes, k=PATHS),
            strict=True,
        )
    )
    room = headroom.room_wh

    def ask() -> None:
        for seller, buyer in pairs:
            room(seller, buyer)

    one = seconds(ask) / PATHS
    note = "called from Python; the match asks without the call"
    return [row("path headroom of a pair", one * 1e9, "ns", 1_000.0, "66 ns inside a loop", note)]


def _tree_against_ac(network: Network, referee: Referee) -> list[Row]:
    """Fills the grid with random trades by headroom alone, then asks the referee."""
    draw, slots = random.Random(4), 12
    tree = Tree(network.parent)
    loading, low, high = 0, 1_000, 1_000
    for i in range(slots):
        slot = NOON + 48 + i * 96 * 29
        injections = _filled(network, Headroom(tree, *network.headroom_wh(slot, {})), draw, i % 3)
        result = referee.check(slot, injections)
        loading = max(loading, result.worst_loading_per_mille)
        high = max(high, result.voltage_max_per_mille)
        low = min(low, result.voltage_min_per_mille)
    note = f"{slots} nights filled to the brim by headroom alone: out, in, and home to home"
    return [
        row("worst AC loading after trading", loading, "per mille", 1_000, "1,110 by limits", note),
        row("highest AC voltage after trading", high, "per mille", 1_100, "1,174 by limits", note),
        row("lowest AC voltage after trading", low, "per mille", 900, "893 by limits", note, "max"),
    ]


def _filled(network: Network, headroom: Headroom, draw: random.Random, way: int) -> dict[int, int]:
    injections = dict.fromkeys(range(network.size), 0)
    for _ in range(5_000):
        seller, buyer = draw.sample(network.home_nodes, 2)
        seller, buyer = (0 if way == 1 else seller), (0 if way == 2 else buyer)
        energy = min(draw.randrange(500, 12_000), headroom.room_wh(seller, buyer))
        if energy > 0:
            headroom.reserve(seller, buyer, energy)
            injections[seller] += 4 * energy
            injections[buyer] -= 4 * energy
    return injections
