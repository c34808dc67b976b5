"""Topology and headroom against a dictionary and a walk."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext.tree import SAME_NODE_WH, Headroom, Tree
from tests.oracle import tree as oracle

#          0
#         / \
#        1   2
#       / \   \
#      3   4   5
PARENT = [-1, 0, 0, 1, 1, 2]


def headroom(down=10, up=10):
    return Headroom(Tree(PARENT), [down] * 6, [up] * 6)


@st.composite
def trees(draw, size_max=150):
    """Any tree, its nodes in any order but the root's."""
    size = draw(st.integers(1, size_max))
    names = [0, *draw(st.permutations(range(1, size)))]
    parent = [-1] * size
    for at in range(1, size):
        parent[names[at]] = names[draw(st.integers(max(0, at - 6), at - 1))]
    return parent


@st.composite
def histories(draw):
    parent = draw(trees())
    size = len(parent)
    node, room = st.integers(0, size - 1), st.integers(-5, 20)
    rooms = st.lists(room, min_size=size, max_size=size)
    step = st.tuples(st.integers(0, 3), node, node, room, room)
    return parent, draw(rooms), draw(rooms), draw(st.lists(step, max_size=40))


@settings(max_examples=120, deadline=None)
@given(histories())
def test_every_history_leaves_the_rooms_and_reaches_of_the_naive_walk(history):
    parent, down, up, steps = history
    fast = Headroom(Tree(parent), down, up)
    slow = oracle.Headroom(oracle.Tree(parent), down, up)
    for kind, a, b, x, y in steps:
        room = slow.room_wh(a, b)
        assert fast.room_wh(a, b) == room
        if kind == 0 and a:
            fast.set_edge(a, x, y)
            slow.set_edge(a, x, y)
        elif kind == 1:
            wh = min(room, abs(x))
            fast.reserve(a, b, wh)
            slow.reserve(a, b, wh)
        elif kind == 2:
            fast.release(a, b, abs(x))
            slow.release(a, b, abs(x))
        elif a != b:
            with pytest.raises(ValueError, match="no room"):
                fast.reserve(a, b, room + 1)
        assert fast.state() == slow.state()
        fast.check()


@settings(deadline=None)
@given(trees())
def test_subtrees_are_intervals_of_the_depth_first_order(parent):
    fast, slow = Tree(parent), oracle.Tree(parent)
    assert fast.parents == parent
    assert sorted(fast.order) == list(range(len(parent)))
    for node in range(len(parent)):
        first, end = fast.interval(node)
        below = {other for other in range(len(parent)) if node in slow.ancestry(other)}
        assert set(fast.order[first:end]) == below


@settings(deadline=None)
@given(trees(), st.data())
def test_the_path_is_the_naive_path(parent, data):
    a, b = (data.draw(st.integers(0, len(parent) - 1)) for _ in range(2))
    assert Tree(parent).path(a, b) == oracle.Tree(parent).path(a, b)


def test_the_least_room_on_the_path_counts_and_only_in_its_direction():
    grid = headroom()
    grid.set_edge(1, down=3, up=7)
    assert grid.room_wh(3, 5) == 7
    assert grid.room_wh(5, 3) == 3
    assert grid.room_wh(3, 4) == 10
    assert grid.room_wh(3, 3) == SAME_NODE_WH


def test_what_one_direction_gives_up_the_other_gains():
    grid = headroom()
    grid.reserve(3, 5, 4)
    assert grid.edge(3) == (14, 6)
    assert grid.edge(1) == (14, 6)
    assert grid.edge(5) == (6, 14)
    assert grid.edge(4) == (10, 10)
    grid.release(3, 5, 4)
    assert grid.state() == headroom().state()


def test_an_edge_past_its_limit_lets_relieving_and_other_flow_pass():
    grid = headroom()
    grid.set_edge(1, down=-5, up=20)
    assert grid.room_wh(5, 3) == 0
    assert grid.room_wh(3, 5) == 10
    assert grid.room_wh(3, 4) == 10
    grid.reserve(3, 5, 10)
    assert grid.edge(1) == (5, 10)
    assert grid.room_wh(5, 3) == 5


def test_a_reservation_beyond_the_room_takes_nothing():
    grid = headroom()
    with pytest.raises(ValueError, match="no room for 11 Wh"):
        grid.reserve(3, 5, 11)
    assert grid.state() == headroom().state()


def test_a_state_comes_back_as_it_was():
    grid, other = headroom(), headroom(1, 2)
    grid.reserve(3, 5, 4)
    other.restore(grid.state())
    assert other.state() == grid.state()
    other.check()


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        ([], "1 to 65535 nodes"),
        ([0], "its parent is -1"),
        ([-1, -1], "parent -1 is no node"),
        ([-1, 2], "parent 2 is no node"),
        ([-1, 2, 1], "2 nodes lie on a cycle"),
        ([-1, 1], "1 nodes lie on a cycle"),
    ],
)
def test_what_is_no_tree_is_refused(parent, message):
    with pytest.raises(ValueError, match=message):
        Tree(parent)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: Headroom(Tree(PARENT), [1] * 5, [1] * 6),
        lambda: Headroom(Tree(PARENT), [1 << 61] * 6, [1] * 6),
        lambda: headroom().room_wh(6, 0),
        lambda: headroom().room_wh(0, -1),
        lambda: headroom().set_edge(0, 1, 1),
        lambda: headroom().set_edge(1, 1 << 61, 1),
        lambda: headroom().reserve(3, 5, -1),
        lambda: headroom().release(3, 5, 1 << 41),
        lambda: headroom().restore(b"short"),
        lambda: headroom().restore(b"\x01" + bytes(95)),
        lambda: Tree(PARENT).interval(6),
    ],
)
def test_values_outside_the_network_are_refused(ask):
    with pytest.raises(ValueError, match=r"node|room|limit|amount|state|root"):
        ask()
