"""The order books rule by rule."""

import random

import pytest

from ext import book as kernel
from ext.book import BUY, SELL, Books
from ext.tree import Headroom, Tree

TICK = 500


def books(room=16, number=0, headroom=None):
    made = Books(room, 1024, 8)
    made.open(number, headroom)
    return made


def chain(down, up):
    """A line of three nodes: 0 - 1 - 2."""
    return Headroom(Tree([-1, 0, 1]), down, up)


def kinds(events):
    return [event[0] for event in events]


# ---- priority and price ------------------------------------------------------------------------


def test_a_better_price_goes_first_then_the_class_then_arrival():
    book = books()
    for order_id, tick, cls in [(1, 501, 0), (2, 500, 3), (3, 500, 2), (4, 500, 3)]:
        book.submit(0, order_id, SELL, tick, 1, owner=order_id, cls=cls)
    events = book.submit(0, 9, BUY, 510, 4, owner=9)
    assert [event[1] for event in events if event[0] == kernel.TRADE] == [3, 2, 4, 1]


@pytest.mark.parametrize(("maker", "taker"), [(BUY, SELL), (SELL, BUY)])
def test_a_trade_happens_at_the_resting_price(maker, taker):
    book = books()
    book.submit(0, 1, maker, TICK, 5, owner=1)
    limit = TICK + 9 if taker == BUY else TICK - 9
    assert book.submit(0, 2, taker, limit, 3, owner=2) == [
        (kernel.TRADE, 1, 2, TICK, 3, kernel.NONE),
        (kernel.FILLED, 2, 0, limit, 0, kernel.NONE),
    ]
    assert book.best(0, maker) == (TICK, 2)


def test_what_is_left_rests_and_an_immediate_order_gives_it_back():
    book = books()
    book.submit(0, 1, SELL, TICK, 5, owner=1)
    last = book.submit(0, 2, BUY, TICK, 7, owner=2, tif=kernel.IMMEDIATE_OR_CANCEL)[-1]
    assert last == (kernel.CANCELLED, 2, 0, TICK, 2, kernel.REMAINDER)
    assert book.open_orders == 0
    assert book.submit(0, 3, BUY, TICK, 7, owner=3)[-1][0] == kernel.RESTED


def test_fill_or_kill_fills_wholly_or_leaves_not_a_trace():
    book = books()
    for order_id in range(1, 5):
        book.submit(0, order_id, SELL, TICK + order_id, 5, owner=order_id)
    before = book.snapshot()
    assert book.submit(0, 9, BUY, TICK + 9, 21, owner=9, tif=kernel.FILL_OR_KILL) == [
        (kernel.CANCELLED, 9, 0, TICK + 9, 21, kernel.KILLED)
    ]
    assert book.snapshot() == before
    book.check()
    events = book.submit(0, 9, BUY, TICK + 9, 20, owner=9, tif=kernel.FILL_OR_KILL)
    assert kinds(events) == [kernel.TRADE] * 4 + [kernel.FILLED]


# ---- own orders --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "expected", "resting"),
    [
        (
            kernel.OLDEST,
            [(kernel.CANCELLED, 1, 9, TICK, 5), (kernel.TRADE, 2, 9, TICK, 5), (kernel.RESTED, 9)],
            [(9, BUY, TICK, 3)],
        ),
        (kernel.NEWEST, [(kernel.CANCELLED, 9, 1, TICK, 8)], [(1, SELL, TICK, 5)]),
        (
            kernel.BOTH,
            [(kernel.CANCELLED, 1, 9, TICK, 5), (kernel.CANCELLED, 9, 1, TICK, 8)],
            [],
        ),
        (
            kernel.DECREMENT,
            [(kernel.REDUCED, 1, 9, TICK, 5), (kernel.TRADE, 2, 9, TICK, 3), (kernel.FILLED, 9)],
            [(2, SELL, TICK, 2)],
        ),
    ],
)
def test_nobody_trades_with_himself(mode, expected, resting):
    book = books()
    book.submit(0, 1, SELL, TICK, 5, owner=7)
    if mode in (kernel.OLDEST, kernel.DECREMENT):
        book.submit(0, 2, SELL, TICK, 5, owner=8)
    events = book.submit(0, 9, BUY, TICK, 8, owner=7, self_trade=mode)
    assert [event[: len(want)] for event, want in zip(events, expected, strict=True)] == expected
    assert book.close(0) == resting


def test_an_own_order_that_is_not_reached_is_left_alone():
    book = books()
    book.submit(0, 1, SELL, TICK, 5, owner=8)
    book.submit(0, 2, SELL, TICK + 1, 5, owner=7)
    book.submit(0, 9, BUY, TICK + 1, 5, owner=7)
    assert book.close(0) == [(2, SELL, TICK + 1, 5)]


# ---- replacing and refusing --------------------------------------------------------------------


def replaced(tick, quantity):
    book = books()
    for order_id in (1, 2):
        book.submit(0, order_id, SELL, TICK, 5, owner=order_id)
    book.replace(0, 1, tick, quantity)
    return [event[1] for event in book.submit(0, 9, BUY, 600, 20, owner=9) if event[0] == 1]


def test_only_an_order_that_asks_for_less_keeps_its_time():
    assert replaced(TICK, 4) == [1, 2]
    assert replaced(TICK, 5) == [1, 2]
    assert replaced(TICK, 6) == [2, 1]
    assert replaced(TICK + 1, 4) == [2, 1]


def test_a_replaced_order_that_crosses_trades_at_the_others_price():
    book = books()
    book.submit(0, 1, SELL, TICK, 5, owner=1)
    book.submit(0, 2, BUY, TICK - 5, 5, owner=2)
    assert book.replace(0, 2, TICK + 5, 5)[0] == (kernel.TRADE, 1, 2, TICK, 5, kernel.NONE)


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"book": 1}, kernel.BAD_BOOK),
        ({"book": -1}, kernel.BAD_BOOK),
        ({"book": 8}, kernel.BAD_BOOK),
        ({"book": (1 << 32) - 1}, kernel.BAD_BOOK),
        ({"side": 2}, kernel.BAD_SIDE),
        ({"side": -1}, kernel.BAD_SIDE),
        ({"tick": 1024}, kernel.BAD_TICK),
        ({"tick": -1}, kernel.BAD_TICK),
        ({"quantity": 0}, kernel.BAD_QUANTITY),
        ({"quantity": -5}, kernel.BAD_QUANTITY),
        ({"quantity": 1 << 32}, kernel.BAD_QUANTITY),
        ({"cls": 4}, kernel.BAD_CLASS),
        ({"node": 3}, kernel.BAD_NODE),
        ({"node": 1 << 16}, kernel.BAD_NODE),
        ({"tif": 3}, kernel.BAD_TIME_IN_FORCE),
        ({"self_trade": 4}, kernel.BAD_SELF_TRADE),
        ({"self_trade": 256}, kernel.BAD_SELF_TRADE),
        ({"order_id": 1}, kernel.DUPLICATE),
    ],
)
def test_a_command_with_an_impossible_field_is_refused_and_changes_nothing(terms, reason):
    book = books(headroom=chain([9] * 3, [9] * 3))
    book.submit(0, 1, SELL, TICK, 5, owner=1, node=1)
    before = book.snapshot()
    plain = {"book": 0, "order_id": 2, "side": BUY, "tick": TICK, "quantity": 5, "owner": 2}
    (event,) = book.submit(**(plain | {"node": 2} | terms))
    assert (event[0], event[5]) == (kernel.REJECTED, reason)
    assert book.snapshot() == before


def test_a_refused_replacement_leaves_the_order_where_it_was():
    book = books()
    book.submit(0, 1, SELL, TICK, 5, owner=1)
    before = book.snapshot()
    for order_id, tick, quantity in [(2, TICK, 5), (1, 1024, 5), (1, TICK, 0), (1, -1, 5)]:
        assert book.replace(0, order_id, tick, quantity)[0][0] == kernel.REJECTED
    assert book.snapshot() == before


def test_an_order_is_only_cancelled_in_its_own_book():
    book = books()
    book.open(1)
    book.submit(0, 1, SELL, TICK, 5, owner=1)
    assert book.cancel(1, 1)[0][5] == kernel.UNKNOWN_ORDER
    assert book.cancel(2, 1)[0][5] == kernel.BAD_BOOK
    assert book.cancel(0, 1) == [(kernel.CANCELLED, 1, 0, TICK, 5, kernel.NONE)]
    assert book.cancel(0, 1)[0][5] == kernel.UNKNOWN_ORDER


def test_a_full_pool_refuses_what_would_rest_and_still_trades_the_rest():
    book = books(room=2)
    book.submit(0, 1, SELL, TICK, 5, owner=1)
    book.submit(0, 2, SELL, TICK + 9, 5, owner=2)
    assert book.submit(0, 3, BUY, 100, 5, owner=3)[0][5] == kernel.FULL
    events = book.submit(0, 3, BUY, TICK, 9, owner=3, tif=kernel.IMMEDIATE_OR_CANCEL)
    assert kinds(events) == [kernel.TRADE, kernel.CANCELLED]
    assert book.replace(0, 2, TICK + 8, 50)[0][0] == kernel.RESTED
    book.check()


# ---- the network -------------------------------------------------------------------------------


def test_a_fill_takes_what_the_network_lets_through_and_goes_on_behind():
    grid = chain(down=[0, 100, 4], up=[0, 100, 100])
    book = books(headroom=grid)
    book.submit(0, 1, SELL, TICK, 10, owner=1, node=0)
    book.submit(0, 2, SELL, TICK + 1, 10, owner=2, node=2)
    events = book.submit(0, 3, BUY, TICK + 1, 10, owner=3, node=2)
    assert [event[1:5] for event in events] == [
        (1, 3, TICK, 4),
        (2, 3, TICK + 1, 6),
        (3, 0, TICK + 1, 0),
    ]
    assert grid.edge(2) == (0, 104)


def test_a_crossed_pair_that_the_network_parts_rests_until_the_limit_rises():
    grid = chain(down=[0, 100, 0], up=[0, 100, 100])
    book = books(headroom=grid)
    book.submit(0, 1, SELL, TICK, 10, owner=1, node=0)
    assert kinds(book.submit(0, 2, BUY, TICK + 5, 10, owner=2, node=2)) == [kernel.RESTED]
    assert book.resweep(0) == []
    grid.set_edge(2, down=7, up=100)
    assert book.resweep(0) == [(kernel.TRADE, 1, 2, TICK, 7, kernel.SWEPT)]
    assert book.resweep(0) == []


def test_room_given_back_is_used_by_the_next_command_of_the_book():
    grid = chain(down=[0, 100, 10], up=[0, 100, 100])
    book = books(headroom=grid)
    grid.reserve(0, 2, 10)
    book.submit(0, 1, SELL, TICK, 10, owner=1, node=0)
    book.submit(0, 2, BUY, TICK + 5, 10, owner=2, node=2)
    grid.release(0, 2, 4)
    assert book.submit(0, 3, BUY, 1, 1, owner=3, node=0) == [
        (kernel.RESTED, 3, 0, 1, 1, kernel.NONE),
        (kernel.TRADE, 1, 2, TICK, 4, kernel.SWEPT),
    ]


def test_trading_alone_leaves_no_crossed_pair_that_could_trade():
    draw = random.Random(11)
    parent = [-1, *(draw.randint(max(0, i - 4), i - 1) for i in range(1, 60))]
    rooms = [[draw.choice([0, 1, 5, 30, 500]) for _ in parent] for _ in range(2)]
    grid = Headroom(Tree(parent), *rooms)
    book, resting = books(room=200, headroom=grid), {}
    for order_id in range(1, 1_500):
        side, tick, node = draw.randint(0, 1), draw.randint(490, 510), draw.randrange(60)
        events = book.submit(0, order_id, side, tick, draw.randint(1, 40), order_id, node)
        resting[order_id] = (side, tick, node)
        assert all(event[5] != kernel.SWEPT for event in events)
        if order_id % 50 == 0:
            left = {order[0]: resting[order[0]] for order in book.close(0)}
            bids = [(tick, node) for side, tick, node in left.values() if side == BUY]
            asks = [(tick, node) for side, tick, node in left.values() if side == SELL]
            pairs = [(a, b) for bid, b in bids for ask, a in asks if bid >= ask]
            assert all(grid.room_wh(seller, buyer) == 0 for seller, buyer in pairs)
            book.open(0, grid)


def test_an_older_order_makes_the_price_when_two_resting_ones_meet():
    for first, second in ((SELL, BUY), (BUY, SELL)):
        grid = chain(down=[0, 100, 0], up=[0, 100, 0])
        book = books(headroom=grid)
        ticks = {SELL: TICK, BUY: TICK + 5}
        book.submit(0, 1, first, ticks[first], 10, owner=1, node=0)
        book.submit(0, 2, second, ticks[second], 10, owner=2, node=2)
        grid.set_edge(2, down=50, up=50)
        assert book.resweep(0) == [(kernel.TRADE, 1, 2, ticks[first], 10, kernel.SWEPT)]


def test_fill_or_kill_gives_the_room_back():
    grid = chain(down=[0, 100, 8], up=[0, 100, 100])
    book = books(headroom=grid)
    book.submit(0, 1, SELL, TICK, 5, owner=1, node=0)
    book.submit(0, 2, SELL, TICK, 5, owner=2, node=1)
    before = book.state_hash()
    events = book.submit(0, 3, BUY, TICK, 10, owner=3, node=2, tif=kernel.FILL_OR_KILL)
    assert events == [(kernel.CANCELLED, 3, 0, TICK, 10, kernel.KILLED)]
    assert book.state_hash() == before
    grid.check()
    book.check()


def test_a_headroom_belongs_to_one_open_book():
    grid = chain([0, 1, 1], [0, 1, 1])
    book = books(headroom=grid)
    with pytest.raises(ValueError, match="already belongs"):
        book.open(1, grid)
    book.close(0)
    book.open(1, grid)


# ---- books -------------------------------------------------------------------------------------


def test_books_do_not_see_each_others_orders():
    book = books()
    book.open(1)
    book.submit(0, 1, SELL, TICK, 5, owner=1)
    assert kinds(book.submit(1, 2, BUY, TICK, 5, owner=2)) == [kernel.RESTED]
    assert book.books == [0, 1]


def test_a_place_is_free_again_when_its_book_is_closed():
    book = books(number=3)
    with pytest.raises(ValueError, match="has the place of book 3"):
        book.open(11)
    book.submit(3, 1, SELL, TICK, 5, owner=1)
    assert book.close(3) == [(1, SELL, TICK, 5)]
    book.open(11)
    assert book.depth(11, SELL, 9) == []
    assert book.submit(3, 1, SELL, TICK, 5, owner=1)[0][5] == kernel.BAD_BOOK
    book.check()


@pytest.mark.parametrize("ask", ["close", "resweep"])
def test_a_book_that_is_not_open_cannot_be_asked(ask):
    for number in (1, -1, 1 << 40):
        with pytest.raises(ValueError, match="is not open"):
            getattr(books(), ask)(number)


@pytest.mark.parametrize(
    "arguments", [(0,), (1 << 29,), (9, 1000), (9, 512), (9, 16384), (9, 1024, 3), (9, 1024, 0)]
)
def test_sizes_that_cannot_be_are_refused(arguments):
    with pytest.raises(ValueError, match=r"room|ticks|books"):
        Books(*arguments)
