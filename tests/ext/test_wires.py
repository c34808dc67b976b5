"""The power flow of a slot: against a naive twin bit by bit, and what it does to a book."""

import hashlib
import random
import struct

import pytest

from ext import book as kernel
from ext.book import BUY, SELL, Books
from ext.sweep import Sweep
from ext.tree import Headroom, Tree
from ext.wires import SlotFlow, Wires
from tests.oracle import book as oracle_book
from tests.oracle import tree as oracle_tree
from tests.oracle import wires as oracle

#  0 - 1 - 2 - 3        the trunk, with two low-voltage grids below 4 and 9
#      4 - 5 - 6 - 7    (from node 1; 8 hangs at 5)
#      9 - 10 - 11      (from node 2)
PARENT = [-1, 0, 1, 2, 1, 4, 5, 6, 5, 2, 9, 10]
HEADS = [4, 9]
ROOM = 10**6


def preorder(parent):
    """The same tree with its nodes renumbered depth first, as networks have them."""
    order = Tree(parent).order
    new = {node: i for i, node in enumerate(order)}
    return [-1 if parent[n] < 0 else new[parent[n]] for n in order], new


PARENTS, NEW = preorder(PARENT)
SIZE = len(PARENTS)
TRANSFORMERS = [NEW[head] for head in HEADS]


def columns():
    """Cables of some tens of ohms per kilometre, transformers of 4 %, a tap of 2.5 %."""
    draw = random.Random(4)
    r = [draw.uniform(0.1, 0.4) for _ in range(SIZE)]
    x = [draw.uniform(0.05, 0.2) for _ in range(SIZE)]
    g, b = [1e-5] * SIZE, [draw.uniform(0, 1e-3) for _ in range(SIZE)]
    ratio = [1.025 if node in TRANSFORMERS else 1.0 for node in range(SIZE)]
    return r, x, g, b, ratio


def three_phases():
    """Homes on a, on b, on c and on all three; cables with three times the impedance to earth."""
    r, x, g, b, _ = columns()
    zero = [
        [value if node in TRANSFORMERS else 3 * value for node, value in enumerate(column)]
        for column in (r, x)
    ]
    phases = [0] * SIZE
    for node, phase in ((5, 1), (6, 2), (7, 3), (8, 1), (10, 2)):
        phases[NEW[node]] = phase
    return [*zero, g, [0.6 * value for value in b]], phases


def flows(p_w=None, limit_va=150_000.0, three=()):
    """The compiled flow and the naive one, each with a headroom of its own."""
    p_w = p_w or [0.0, *(3_000.0 + 250 * node for node in range(1, SIZE))]
    terms = p_w, [w / 4 for w in p_w], [limit_va] * SIZE, 1.01
    made = []
    for tree_of, wires, flow, headroom in (
        (Tree, Wires, SlotFlow, Headroom),
        (oracle_tree.Tree, oracle.Wires, oracle.SlotFlow, oracle_tree.Headroom),
    ):
        tree = tree_of(PARENTS)
        cut = wires(tree, TRANSFORMERS, *columns(), TRANSFORMERS, *three)
        made.append((flow(cut, *terms), headroom(tree, [ROOM] * SIZE, [ROOM] * SIZE)))
    return made


def bits(flow):
    values = [value for node in range(SIZE) for column in flow.phases(node) for value in column]
    return struct.pack(f"<{len(values)}d", *values).hex()


def test_the_base_is_solved_as_by_the_sweep_over_the_whole_network():
    (flow, _), _ = flows()
    p_w = [0.0, *(3_000.0 + 250 * node for node in range(1, SIZE))]
    whole = Sweep(PARENTS, *columns(), 1.01)
    assert whole.solve(p_w, [w / 4 for w in p_w], 1e-12)
    assert flow.voltages_pu == pytest.approx(list(whole.voltages_pu()), abs=1e-9)
    assert not flow.is_blind


@pytest.mark.parametrize("three", [(), three_phases()], ids=["balanced", "three-phase"])
def test_every_trade_leaves_the_bits_of_the_naive_flow(three):
    (fast, room), (slow, slow_room) = flows(three=three)
    draw, cut = random.Random(1), 0
    for _ in range(400):
        seller, buyer = draw.sample(range(SIZE), 2)
        wh = min(draw.randrange(1, 9_000), room.room_wh(seller, buyer))
        if not wh:
            continue
        admitted = fast.admit(room, seller, buyer, wh)
        assert admitted == slow.admit(slow_room, seller, buyer, wh)
        slow_room.reserve(seller, buyer, admitted)
        cut += admitted < wh
        fast.give_back(room)
        slow.give_back(slow_room)
        assert room.state() == slow_room.state()
        assert bits(fast) == bits(slow)
    assert cut > 30
    assert fast.refused == slow.refused
    room.check()


def test_a_long_run_ends_in_the_same_bits_on_every_processor():
    (flow, room), _ = flows()
    draw = random.Random(8)
    for _ in range(20_000):
        seller, buyer = draw.sample(range(SIZE), 2)
        flow.admit(room, seller, buyer, min(draw.randrange(1, 9_000), room.room_wh(seller, buyer)))
        flow.give_back(room)
    assert hashlib.sha256(flow.state() + room.state()).hexdigest() == GOLDEN
    assert [value.hex() for value in flow.voltages_pu[1:3]] == GOLDEN_VOLTAGES


GOLDEN = "d385189b9703663ad720123cb8be53db9cdd732798416e02360ee5e926f7b1f5"
GOLDEN_UNBALANCED = "94c919080ee19f15fff71cda8014140c85ee13333f44efec7106a3c052997bce"
GOLDEN_VOLTAGES = ["0x1.071676cdefda2p+0", "0x1.00f63fe7bcff3p+0"]
"""For every processor. Another value means that a compiler was let loose on floats."""


def test_three_phases_have_other_voltages_than_their_mean():
    (flow, _), _ = flows(three=three_phases())
    (balanced, _), _ = flows()
    voltages, loadings = flow.phases(NEW[7])
    assert len(voltages) == 3
    assert max(voltages) - min(voltages) > 0.005
    assert max(loadings) > 2 * balanced.loadings[NEW[7]]
    assert sum(voltages) / 3 == pytest.approx(balanced.voltages_pu[NEW[7]], abs=1e-3)
    assert len(flow.phases(NEW[3])[0]) == 1


def test_a_long_unbalanced_run_ends_in_the_same_bits_and_can_be_restored():
    (flow, room), _ = flows(three=three_phases(), limit_va=60_000.0)
    (other, other_room), _ = flows(three=three_phases(), limit_va=60_000.0)
    draw = random.Random(8)
    for count in range(10_000):
        seller, buyer = draw.sample(range(SIZE), 2)
        wh = min(draw.randrange(1, 9_000), room.room_wh(seller, buyer))
        flow.admit(room, seller, buyer, wh)
        flow.give_back(room)
        if count == 5_000:
            other.restore(flow.state())
            other_room.restore(room.state())
        elif count > 5_000:
            other.admit(other_room, seller, buyer, wh)
            other.give_back(other_room)
    assert other.state() == flow.state()
    assert flow.refused > 500
    assert hashlib.sha256(flow.state() + room.state()).hexdigest() == GOLDEN_UNBALANCED


def test_one_phase_is_full_while_the_mean_of_the_phases_is_not():
    (balanced, room), _ = flows()
    (unbalanced, other_room), _ = flows(three=three_phases())
    assert balanced.admit(room, 0, NEW[7], 20_000) == 20_000
    assert 0 < unbalanced.admit(other_room, 0, NEW[7], 20_000) < 5_000


def test_nothing_that_is_admitted_passes_a_limit_or_worsens_what_is_beyond_it():
    (flow, room), _ = flows(p_w=[0.0, *[9_000.0] * (SIZE - 1)], limit_va=60_000.0)
    before = flow.loadings, flow.voltages_pu
    assert max(before[0]) > 1.2
    draw = random.Random(3)
    for _ in range(500):
        seller, buyer = draw.sample(range(SIZE), 2)
        flow.admit(room, seller, buyer, min(draw.randrange(1, 9_000), room.room_wh(seller, buyer)))
    for now, then in zip(flow.loadings, before[0], strict=True):
        assert now <= max(1.0, then) * 1.0006
    for now, then in zip(flow.voltages_pu, before[1], strict=True):
        assert min(0.9, then) - 1.1e-4 <= now <= max(1.1, then) + 1.1e-4
    assert flow.refused


@pytest.mark.parametrize("three", [(), three_phases()], ids=["balanced", "three-phase"])
def test_a_base_without_a_solution_admits_nothing_but_at_one_node(three):
    for load in (5e7, float("nan"), float("inf")):
        (flow, room), _ = flows(p_w=[0.0, *[load] * (SIZE - 1)], three=three)
        assert flow.is_blind
        assert flow.admit(room, 3, 5, 100) == 0
        assert flow.admit(room, 3, 3, 100) == 100


def test_a_refused_direction_has_no_room_until_trades_went_on():
    (flow, room), _ = flows(limit_va=30_000.0)
    seller, buyer = NEW[7], NEW[11]
    admitted = flow.admit(room, seller, buyer, 30_000)
    assert 0 < admitted < 30_000
    assert room.room_wh(seller, buyer) == 0
    flow.give_back(room)
    assert room.room_wh(seller, buyer) > 0
    assert flow.admit(room, seller, buyer, 100) < 100


def test_a_lower_limit_holds_from_the_next_trade_on():
    (flow, room), _ = flows()
    leaf = NEW[7]
    assert flow.admit(room, 0, leaf, 1_000) == 1_000
    flow.rate(leaf, 1)
    assert flow.admit(room, 0, leaf, 1_000) < 50
    assert flow.admit(room, leaf, 0, 100) == 100


def test_a_restored_flow_goes_on_with_the_same_bits():
    (flow, room), _ = flows()
    (other, other_room), _ = flows()
    draw = random.Random(5)
    for count in range(300):
        seller, buyer = draw.sample(range(SIZE), 2)
        wh = min(draw.randrange(1, 9_000), room.room_wh(seller, buyer))
        if count % 50 == 10:
            (other, other_room), _ = flows()
            other.restore(flow.state())
            other_room.restore(room.state())
        admitted = flow.admit(room, seller, buyer, wh)
        flow.give_back(room)
        if count >= 10:
            assert other.admit(other_room, seller, buyer, wh) == admitted
            other.give_back(other_room)
            assert other.state() == flow.state()
    with pytest.raises(ValueError, match="no state of this network"):
        flow.restore(b"12345678")


def test_wires_that_do_not_fit_are_refused():
    tree = Tree(PARENTS)
    with pytest.raises(ValueError, match="every column has"):
        Wires(tree, [], [0.1], *columns()[1:], [])
    with pytest.raises(ValueError, match="hangs from the root or from another area"):
        Wires(tree, [NEW[4], NEW[5]], *columns(), [])
    with pytest.raises(ValueError, match="hangs from the root"):
        Wires(tree, [0], *columns(), [])
    zero, phases = three_phases()
    with pytest.raises(ValueError, match="four columns of zero sequence"):
        Wires(tree, TRANSFORMERS, *columns(), TRANSFORMERS, zero[:2], phases)
    with pytest.raises(ValueError, match="cut below it"):
        Wires(tree, TRANSFORMERS[:1], *columns(), TRANSFORMERS, zero, phases)
    (flow, _), _ = flows()
    foreign = Headroom(Tree(PARENTS), [1] * SIZE, [1] * SIZE)
    with pytest.raises(ValueError, match="of another network"):
        flow.admit(foreign, 1, 2, 1)
    with pytest.raises(ValueError, match="its own network"):
        Books(16, 1024, 8).open(0, foreign, flow)


# ---- in a book ---------------------------------------------------------------------------------


def twin_books(**terms):
    (fast_flow, room), (slow_flow, slow_room) = flows(**terms)
    fast, slow = Books(400, 1024, 8), oracle_book.Books(400, 1024, 8)
    fast.open(0, room, fast_flow)
    slow.open(0, slow_room, slow_flow)
    return fast, slow, (fast_flow, room), (slow_flow, slow_room)


@pytest.mark.parametrize("seed", range(4))
def test_a_book_with_a_flow_has_the_events_and_the_bits_of_the_oracle(seed):
    three = three_phases() if seed == 3 else ()
    fast, slow, (flow, room), _ = twin_books(limit_va=60_000.0, three=three)
    draw, seen = random.Random(seed), set()
    for order_id in range(1, 700):
        dice = draw.random()
        if dice < 0.85:
            name, terms = (
                "submit",
                (
                    *(0, order_id, draw.randint(0, 1), draw.randint(490, 510)),
                    *(draw.randint(1, 6_000), draw.randint(1, 9), draw.randrange(SIZE)),
                    *(draw.randint(0, 3), draw.choice([0, 0, 0, 1, 2]), draw.randint(0, 3)),
                ),
            )
        elif dice < 0.93:
            name, terms = "cancel", (0, draw.randrange(order_id))
        else:
            terms = (0, draw.randrange(order_id), draw.randint(490, 510), draw.randint(1, 6_000))
            name = "replace"
        events = getattr(fast, name)(*terms)
        assert events == getattr(slow, name)(*terms), (name, terms)
        seen.update((event[0], event[5]) for event in events)
        assert fast.snapshot() == slow.snapshot()
        assert room.state() == slow.books[0].headroom.state()
        if order_id % 20 == 0:
            assert bits(flow) == bits(slow.books[0].flow)
            fast.check()
            room.check()
    assert flow.refused > 20
    assert (kernel.CANCELLED, kernel.KILLED) in seen


def test_fill_or_kill_leaves_no_trace_in_the_flow():
    fast, _, (flow, room), _ = twin_books(limit_va=30_000.0)
    for order_id in range(1, 6):
        fast.submit(0, order_id, SELL, 500, 4_000, owner=order_id, node=NEW[7])
    before = fast.state_hash()
    events = fast.submit(0, 9, BUY, 500, 20_000, owner=9, node=NEW[11], tif=kernel.FILL_OR_KILL)
    assert events == [(kernel.CANCELLED, 9, 0, 500, 20_000, kernel.KILLED)]
    assert fast.state_hash() == before
    assert not flow.refused or room.room_wh(NEW[7], NEW[11]) > 0


def test_a_flow_is_part_of_the_books_state():
    fast, _, (flow, room), _ = twin_books()
    before = fast.state_hash()
    flow.admit(room, NEW[7], NEW[11], 10)
    room.release(NEW[7], NEW[11], 10)
    assert fast.state_hash() != before


@pytest.mark.parametrize("three", [(), three_phases()], ids=["balanced", "three-phase"])
def test_a_withdrawn_trade_leaves_the_flow_as_it_was(three):
    (flow, headroom), _ = flows(three=three)
    before = flow.voltages_pu, flow.loadings
    seller, buyer = NEW[7], NEW[11]
    assert flow.admit(headroom, seller, buyer, 2_000) == 2_000
    assert flow.voltages_pu != before[0]
    flow.withdraw(seller, buyer, 2_000)
    for was, now in zip(before, (flow.voltages_pu, flow.loadings), strict=True):
        assert now == pytest.approx(was, abs=1e-9)
    assert flow.admit(headroom, seller, buyer, 2_000) == 2_000
    with pytest.raises(ValueError, match="at least 1"):
        flow.withdraw(seller, buyer, 0)
