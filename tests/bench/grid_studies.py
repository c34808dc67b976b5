"""Whole studies of the grid: an auction, a year of power flows, three-phase checks, envelopes."""

from array import array
from time import perf_counter

import highspy
import numpy as np

from cloud.grid.envelope import envelopes
from cloud.grid.network import Network
from cloud.grid.planning import sweep_of
from ext.auction import clear
from ext.sweep import Sweep
from ext.sweep3 import Sweep3
from ext.tree import Headroom, Tree
from protos.clock import SLOTS_PER_HOUR
from tests.bench.grid_rows import Row, row, seconds
from tests.oracle.auction import certify

NOON = 1_780_056_000 // 900
ORDERS = 100_000
TICKS = 8_192
YEAR_STEPS = 35_136
SAMPLE_STEPS = 480
"""Of the great network, five days; scaled to the year."""


def rows(network: Network) -> list[Row]:
    return [
        *_auction(network),
        *_years(network),
        *_three_phases(network),
        *_envelopes(network),
    ]


def _auction(network: Network) -> list[Row]:
    """Sellers and buyers by neighbourhood, so that a third of the elements' rooms bind."""
    draw = np.random.default_rng(5)
    node = draw.choice(np.array(network.home_nodes), ORDERS).astype(np.int32)
    selling = 0.5 - 0.4 * np.sign(np.sin(node / network.size * 2 * np.pi * 60))
    side = (draw.random(ORDERS) < selling).astype(np.uint8)
    bids, asks = draw.normal(2_600, 600, ORDERS), draw.normal(2_000, 600, ORDERS)
    tick = np.where(side == 0, bids, asks).clip(0, TICKS - 1).astype(np.int32)
    energy_wh = draw.integers(100, 1_000, ORDERS)
    headroom = Headroom(Tree(network.parent), *network.headroom_wh(NOON, {}))
    columns = node, side, tick, energy_wh, np.full(ORDERS, 3, np.uint8)
    best = seconds(lambda: clear(headroom, TICKS, *columns), 7)
    trades, prices = clear(headroom, TICKS, *columns)
    orders = list(zip(*(c.tolist() for c in (node, side, tick, energy_wh)), strict=True))
    welfare = certify(network.parent, headroom.down, headroom.up, orders, trades, prices)
    note = f"{len(trades)} trades, {len(set(prices))} prices, proved best by their duals"
    name = f"auction of 100,000 orders on {network.size} nodes"
    began = perf_counter()
    theirs, same = _by_highs(network, headroom, node, side, tick, energy_wh, prices)
    base = f"HiGHS {perf_counter() - began:.1f} s in this run"
    apart = abs(welfare - theirs) / theirs
    words = f"what our prices are worth as its dual; {same:.1%} of nodes have its very price"
    return [
        row(name, best * 1e3, "ms", 50.0, base, note),
        row("auction's prices against HiGHS, relative", apart, "", 1e-9, "", words),
    ]


def _by_highs(
    network: Network,
    headroom: Headroom,
    node: np.ndarray[tuple[int], np.dtype[np.int32]],
    side: np.ndarray[tuple[int], np.dtype[np.uint8]],
    tick: np.ndarray[tuple[int], np.dtype[np.int32]],
    energy_wh: np.ndarray[tuple[int], np.dtype[np.int64]],
    prices: list[int],
) -> tuple[float, float]:
    """The same auction as a linear programme: its optimum, and at how many nodes the duals of the
    balances are our prices (elsewhere they are not unique).
    """
    count, size = len(node), network.size
    elements = np.arange(1, size)
    programme = highspy.HighsLp()
    programme.num_col_, programme.num_row_ = count + size - 1, size
    sign = np.where(side == 1, 1.0, -1.0)
    down, up = (np.maximum(0, np.array(room[1:], float)) for room in (headroom.down, headroom.up))
    programme.col_cost_ = np.concatenate([sign * tick, np.zeros(size - 1)])
    programme.col_lower_ = np.concatenate([np.zeros(count), -up])
    programme.col_upper_ = np.concatenate([energy_wh.astype(float), down])
    programme.row_lower_ = programme.row_upper_ = np.zeros(size)
    programme.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    ends = np.stack([elements, np.array(network.parent)[1:]], axis=1).ravel()
    programme.a_matrix_.start_ = np.concatenate(
        [np.arange(count), count + 2 * np.arange(size)]
    ).astype(np.int32)
    programme.a_matrix_.index_ = np.concatenate([node, ends]).astype(np.int32)
    programme.a_matrix_.value_ = np.concatenate([sign, np.tile([1.0, -1.0], size - 1)])
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.passModel(programme)
    solver.run()
    assert solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    duals = np.array(solver.getSolution().row_dual)
    same = float((np.abs(duals - np.array(prices)) < 1e-6).mean())
    return -solver.getInfo().objective_function_value, same


def _years(network: Network) -> list[Row]:
    part = range(15_000, 15_000 + SAMPLE_STEPS)
    limits = np.array(network.limit_w, float)
    p, q = _states(network, part, slice(None))
    whole = sweep_of(network)
    taken = seconds(lambda: whole.steps(p, q, limits), 3) / SAMPLE_STEPS * YEAR_STEPS
    found = [
        row(
            f"year of {network.size} nodes",
            taken,
            "s",
            5.0,
            "prototype 4.8 s, power-grid-model 58 s",
            f"{SAMPLE_STEPS} steps of summer, scaled to {YEAR_STEPS}",
        )
    ]
    first, end = _low_voltage(network)
    small = _part(network, first, end)
    p, q = _states(network, range(YEAR_STEPS), slice(first - 1, end))
    p[:, 0] = q[:, 0] = 0
    taken = seconds(lambda: small.steps(p, q, limits[first - 1 : end]), 3)
    note = f"{YEAR_STEPS} steps, voltages and loadings of each"
    base = "prototype 0.13 s, power-grid-model 2.2 s"
    return [*found, row(f"year of {end - first + 1} nodes", taken, "s", 0.15, base, note)]


def _states(
    network: Network, quarters: range, nodes: slice
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float64]], ...]:
    base = network.baseline
    return (
        np.array([base.node_w(quarter)[nodes] for quarter in quarters], float),
        np.array([base.node_var(quarter)[nodes] for quarter in quarters], float),
    )


def _low_voltage(network: Network) -> tuple[int, int]:
    """The largest low-voltage grid, its transformer's element first."""
    group = max(network.home_groups, key=lambda g: network.end[g.transformer] - g.transformer)
    return group.transformer, network.end[group.transformer]


def _parents(network: Network, first: int, end: int) -> list[int]:
    """Of a subtree under a root of its own."""
    return [-1, 0, *(network.parent[node] - first + 1 for node in range(first + 1, end))]


def _part(network: Network, first: int, end: int) -> Sweep:
    wires = network.electric
    columns = (wires.r_pu, wires.x_pu, wires.g_pu, wires.b_pu, wires.ratio)
    cut = [[0.0, *column[first:end]] for column in columns]
    cut[4][0] = 1.0
    return Sweep(_parents(network, first, end), *cut, wires.root_voltage_pu)


def _three_phases(network: Network) -> list[Row]:
    first, end = _low_voltage(network)
    wires, size = network.electric, end - first + 1
    z1 = [0j, *map(complex, wires.r_pu[first:end], wires.x_pu[first:end])]
    y1 = [0j, *map(complex, wires.g_pu[first:end], wires.b_pu[first:end])]
    z0 = [0j, z1[1], *(4 * z for z in z1[2:])]
    ratio, clock = [1.0, *wires.ratio[first:end]], [0, 11, *[0] * (size - 2)]
    parents = _parents(network, first, end)
    sweep = Sweep3(parents, z1, z0, y1, y1, ratio, clock, wires.root_voltage_pu)
    draw = np.random.default_rng(7)
    p = draw.normal(100, 300, 3 * size)
    sweep.load(p, np.zeros(3 * size))

    def cold() -> None:
        sweep.reset()
        assert sweep.settle(1e-8)

    solved = seconds(cold, 200)
    count = 3_000
    warm = seconds(lambda: sweep.sweeps(count), 5) / count * 3
    note = f"low-voltage grid of {size} nodes, delta-star, random phases"
    theirs = "power-grid-model asymmetric 127 us"
    return [
        row("three-phase check of a trade, three warm sweeps", warm * 1e6, "us", 5.0, "4.5", note),
        row("three-phase solve, cold to 1e-8", solved * 1e6, "us", 15.0, theirs, note),
    ]


def _envelopes(network: Network) -> list[Row]:
    rooms = network.headroom_wh(NOON, {})
    room_w = tuple(array("q", [wh * SLOTS_PER_HOUR for wh in room]) for room in rooms)
    homes = network.home_nodes
    first, end = _low_voltage(network)
    few = [node for node in homes if first <= node < end]
    taken = seconds(lambda: envelopes(network, few, (room_w[0], room_w[1]), {}), 5)
    note = f"{len(few)} homes of one grid, on all {network.size} nodes"
    return [row("operating envelopes of a slot", taken * 1e3, "ms", 5.0, "none", note)]
