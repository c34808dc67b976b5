"""The clearing against cheapest paths on small networks, and its own proof on large ones."""

from array import array
from random import Random

import pytest

from ext.auction import clear
from ext.tree import Headroom, Tree
from tests.oracle.auction import best, certify

BUY, SELL = 0, 1
OPEN = 1 << 40


def cleared(parents, down, up, orders, classes=None, ticks=1_024):
    headroom = Headroom(Tree(parents), down, up)
    columns = list(zip(*orders, strict=True)) or [[], [], [], []]
    return clear(
        headroom,
        ticks,
        array("i", columns[0]),
        array("B", columns[1]),
        array("i", columns[2]),
        array("q", columns[3]),
        array("B", classes or [3] * len(orders)),
    )


def random_case(draw, nodes, count, ticks, room):
    parents = [-1, *(draw.randrange(max(0, n - 4), n) for n in range(1, nodes))]
    down = [0, *(draw.randint(-2, room) for _ in range(1, nodes))]
    up = [0, *(draw.randint(-2, room) for _ in range(1, nodes))]
    orders = [
        (draw.randrange(nodes), draw.randrange(2), draw.randrange(ticks), draw.randint(1, 9))
        for _ in range(count)
    ]
    return parents, down, up, orders


def test_trades_are_the_best_that_cheapest_paths_find():
    draw = Random(1)
    for _ in range(600):
        case = random_case(
            draw, draw.randint(1, 9), draw.randint(0, 14), draw.choice((3, 20)), draw.randint(0, 12)
        )
        trades, prices = cleared(*case)
        welfare, volume = best(*case)
        assert certify(*case, trades, prices) == welfare
        assert sum(trade[2] for trade in trades) == volume


@pytest.mark.parametrize("room", [3, 60, 5_000])
def test_prices_prove_the_trades_best_on_a_network_of_hundreds(room):
    case = random_case(Random(room), 700, 6_000, 1_000, room)
    trades, prices = cleared(*case)
    assert trades
    assert certify(*case, trades, prices) > 0


def test_no_two_trades_cross_an_edge_in_opposite_directions():
    draw = Random(5)
    for _ in range(100):
        case = random_case(draw, 12, 40, 20, 30)
        parents, orders = case[0], case[3]
        tree = Tree(parents)
        ways = {}
        for seller, buyer, _ in cleared(*case)[0]:
            climbed, descended = tree.path(orders[seller][0], orders[buyer][0])
            for way, edges in enumerate((climbed, descended)):
                for edge in edges:
                    assert ways.setdefault(edge, way) == way


def test_without_congestion_everybody_has_one_price_between_the_last_two_orders():
    orders = [(1, SELL, 10, 5), (2, BUY, 30, 5), (1, SELL, 40, 5)]
    trades, prices = cleared([-1, 0, 0], [0, OPEN, OPEN], [0, OPEN, OPEN], orders)
    assert trades == [(0, 1, 5)]
    assert len(set(prices)) == 1
    assert 10 <= prices[0] <= 30


def test_a_full_edge_parts_the_price_and_both_sides_pay_their_own():
    orders = [(1, SELL, 10, 9), (2, BUY, 30, 9)]
    trades, prices = cleared([-1, 0, 0], [0, OPEN, 4], [0, OPEN, OPEN], orders)
    assert trades == [(0, 1, 4)]
    assert (prices[1], prices[2]) == (10, 30)


def test_two_trades_that_only_relieve_each_other_are_both_made():
    # Neither pair could trade alone: each fills the edge that the other empties.
    parents = [-1, 0, 0, 1, 2]
    down, up = [0, 0, OPEN, OPEN, OPEN], [0, OPEN, 0, OPEN, OPEN]
    parents, down, up = [-1, 0, 0], [0, 0, 0], [0, 0, 0]
    orders = [(1, SELL, 10, 5), (1, BUY, 20, 5), (2, SELL, 10, 5), (2, BUY, 20, 5)]
    trades, _ = cleared(parents, down, up, orders)
    assert sorted(trades) == [(0, 1, 5), (2, 3, 5)]


def test_an_edge_past_its_limit_is_relieved_but_never_loaded():
    orders = [(0, SELL, 10, 9), (1, BUY, 30, 9), (1, SELL, 12, 2)]
    trades, _ = cleared([-1, 0], [0, -100], [0, OPEN], orders)
    assert trades == [(2, 1, 2)]


def test_of_equal_prices_the_class_comes_first_and_then_who_came_first():
    orders = [(0, SELL, 10, 3), (0, SELL, 10, 3), (0, SELL, 10, 3), (0, BUY, 10, 5)]
    trades, _ = cleared([-1], [0], [0], orders, classes=[3, 3, 2, 3])
    assert {seller: wh for seller, _, wh in trades} == {2: 3, 0: 2}
    orders = [(0, BUY, 10, 3), (0, BUY, 10, 3), (0, BUY, 10, 3), (0, SELL, 10, 5)]
    trades, _ = cleared([-1], [0], [0], orders, classes=[3, 3, 2, 3])
    assert {buyer: wh for _, buyer, wh in trades} == {2: 3, 0: 2}


def test_the_order_of_nodes_does_not_matter():
    draw = Random(9)
    parents, down, up, orders = random_case(draw, 30, 100, 50, 20)
    trades, prices = cleared(parents, down, up, orders)
    name = list(range(1, 30))
    draw.shuffle(name)
    name = [0, *name]
    moved = [[0] * 30 for _ in range(3)]
    for node in range(30):
        moved[0][name[node]] = name[parents[node]] if node else -1
        moved[1][name[node]], moved[2][name[node]] = down[node], up[node]
    again = [(name[node], *rest) for node, *rest in orders]
    other, others = cleared(*moved, again)
    assert [others[name[node]] for node in range(30)] == prices
    assert sum(t[2] for t in other) == sum(t[2] for t in trades)


def test_no_orders_are_no_trades():
    assert cleared([-1, 0], [0, 5], [0, 5], []) == ([], [511, 511])


@pytest.mark.parametrize(
    "order",
    [(2, 0, 5, 1), (-1, 0, 5, 1), (0, 2, 5, 1), (0, 0, 1_024, 1), (0, 0, -1, 1), (0, 0, 5, 0)],
)
def test_what_is_no_order_is_refused(order):
    with pytest.raises(ValueError, match="order 0"):
        cleared([-1, 0], [0, 5], [0, 5], [order])


def test_columns_of_different_lengths_and_unknown_classes_are_refused():
    headroom = Headroom(Tree([-1]), [0], [0])
    one, side, amount = array("i", [0]), array("B", [0]), array("q", [1])
    with pytest.raises(ValueError, match="every column"):
        clear(headroom, 8, one, side, one, array("q", [1, 1]), side)
    with pytest.raises(ValueError, match="order 0"):
        clear(headroom, 8, one, side, one, amount, array("B", [4]))
    with pytest.raises(ValueError, match="ticks"):
        clear(headroom, 0, one, side, one, amount, side)
