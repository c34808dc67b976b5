"""The naive order books: one sorted list a side, every rule as one plain loop. Same API as `ext.book`.

It is here to be obviously right, not fast. Rules: a better price first, then the class, then
arrival. A trade happens at the resting order's price. With a headroom, a fill takes no more than
the network lets flow from seller to buyer; whom the network does not let through is passed over.
Afterwards no two resting orders that cross could still trade.
"""

import struct
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

BUY, SELL = 0, 1
GOOD_TILL_GATE, IMMEDIATE_OR_CANCEL, FILL_OR_KILL = 0, 1, 2
OLDEST, NEWEST, BOTH, DECREMENT = 0, 1, 2, 3
TRADE, RESTED, FILLED, CANCELLED, REDUCED, REJECTED = 1, 2, 3, 4, 5, 6
NONE, SWEPT, REMAINDER, KILLED, SELF_TRADE = 0, 1, 2, 3, 4
BAD_BOOK, BAD_SIDE, BAD_TICK, BAD_QUANTITY, BAD_CLASS, BAD_NODE = 16, 17, 18, 19, 20, 21
BAD_TIME_IN_FORCE, BAD_SELF_TRADE, DUPLICATE, UNKNOWN_ORDER, FULL = 22, 23, 24, 25, 26
BAD_OPERATION, BAD_VERSION = 27, 28

QUANTITY_MAX = (1 << 32) - 1
Event = tuple[int, int, int, int, int, int]


@dataclass
class Order:
    """What is still open of an order."""

    order_id: int
    side: int
    tick: int
    quantity: int
    owner: int
    node: int
    cls: int
    arrival: int

    @property
    def priority(self) -> tuple[int, int, int]:
        return (-self.tick if self.side == BUY else self.tick, self.cls, self.arrival)


class Book:
    """The resting orders of one slot, and the network they trade on."""

    def __init__(self, headroom: Any, flow: Any = None) -> None:
        self.headroom = headroom
        self.flow = flow
        self.orders: list[Order] = []

    def side(self, side: int) -> list[Order]:
        return sorted((o for o in self.orders if o.side == side), key=lambda o: o.priority)

    def room(self, one: Order, other: Order) -> int:
        seller, buyer = (one, other) if one.side == SELL else (other, one)
        return self.headroom.room_wh(seller.node, buyer.node) if self.headroom else 1 << 62

    def reserve(self, one: Order, other: Order, quantity: int) -> None:
        seller, buyer = (one, other) if one.side == SELL else (other, one)
        if self.headroom:
            self.headroom.reserve(seller.node, buyer.node, quantity)

    def admitted(self, one: Order, other: Order, quantity: int) -> int:
        """What the power flow, if there is one, lets through of what there is room for."""
        seller, buyer = (one, other) if one.side == SELL else (other, one)
        if self.flow is None:
            return quantity
        admitted: int = self.flow.admit(self.headroom, seller.node, buyer.node, quantity)
        return admitted

    def counterparty(self, order: Order) -> Order | None:
        """The first in priority that crosses and that the network lets through."""
        if order.side == BUY:
            crossing = [o for o in self.orders if o.side == SELL and o.tick <= order.tick]
        else:
            crossing = [o for o in self.orders if o.side == BUY and o.tick >= order.tick]
        for other in sorted(crossing, key=lambda o: o.priority):
            if self.room(order, other) > 0:
                return other
        return None

    def take(self, order: Order, quantity: int) -> None:
        order.quantity -= quantity
        if order.quantity == 0 and order in self.orders:
            self.orders.remove(order)


class Books:
    """All open books. Every method that changes one answers with the events in their order."""

    def __init__(self, orders_max: int, ticks: int = 4096, books_max: int = 256) -> None:
        self.orders_max, self.ticks, self.books_max = orders_max, ticks, books_max
        self.books: dict[int, Book] = {}
        self.arrivals = 0

    def open(self, book: int, headroom: Any = None, flow: Any = None) -> None:
        if not 0 <= book < 1 << 32 or any(
            book % self.books_max == other % self.books_max for other in self.books
        ):
            raise ValueError("no place for this book")
        self.books[book] = Book(headroom, flow)

    def submit(
        self,
        book: int,
        order_id: int,
        side: int,
        tick: int,
        quantity: int,
        owner: int,
        node: int = 0,
        cls: int = 3,
        tif: int = GOOD_TILL_GATE,
        self_trade: int = OLDEST,
    ) -> list[Event]:
        refusal = self._refusal(book, side, tick, quantity, cls, node, tif, self_trade)
        if not refusal and self._find(order_id):
            refusal = DUPLICATE
        if not refusal and tif == GOOD_TILL_GATE and self.open_orders == self.orders_max:
            refusal = FULL
        if refusal:
            return [(REJECTED, order_id, 0, 0, 0, refusal)]
        node = node if self.books[book].headroom else 0
        order = Order(order_id, side, tick, quantity, owner, node, cls, 0)
        return self._enter(self.books[book], order, tif, self_trade)

    def replace(
        self, book: int, order_id: int, tick: int, quantity: int, self_trade: int = OLDEST
    ) -> list[Event]:
        refusal = self._refusal(book, BUY, tick, quantity, 0, 0, GOOD_TILL_GATE, self_trade)
        order = self._find(order_id)
        if not refusal and (order is None or order not in self.books[book].orders):
            refusal = UNKNOWN_ORDER
        if refusal or order is None:
            return [(REJECTED, order_id, 0, 0, 0, refusal)]
        if tick == order.tick and quantity <= order.quantity:
            order.quantity = quantity
            return [(RESTED, order_id, 0, tick, quantity, NONE)]
        self.books[book].orders.remove(order)
        order.tick, order.quantity = tick, quantity
        return self._enter(self.books[book], order, GOOD_TILL_GATE, self_trade)

    def cancel(self, book: int, order_id: int) -> list[Event]:
        order = self._find(order_id)
        if book not in self.books:
            return [(REJECTED, order_id, 0, 0, 0, BAD_BOOK)]
        if order is None or order not in self.books[book].orders:
            return [(REJECTED, order_id, 0, 0, 0, UNKNOWN_ORDER)]
        self.books[book].orders.remove(order)
        return [(CANCELLED, order_id, 0, order.tick, order.quantity, NONE)]

    def close(self, book: int) -> list[tuple[int, int, int, int]]:
        if book not in self.books:
            raise ValueError("not open")
        closed = self.books.pop(book)
        return [(o.order_id, s, o.tick, o.quantity) for s in (BUY, SELL) for o in closed.side(s)]

    def resweep(self, book: int) -> list[Event]:
        if book not in self.books:
            raise ValueError("not open")
        return self._sweep(self.books[book])

    def best(self, book: int, side: int) -> tuple[int, int] | None:
        if book not in self.books:
            raise ValueError("not open")
        orders = [order for order in self.books[book].orders if order.side == side]
        if not orders:
            return None
        tick = (max if side == BUY else min)(order.tick for order in orders)
        return tick, sum(order.quantity for order in orders if order.tick == tick)

    def depth(self, book: int, side: int, n: int) -> list[tuple[int, int, int]]:
        if book not in self.books:
            raise ValueError("not open")
        orders = self.books[book].side(side)
        ticks = list(dict.fromkeys(order.tick for order in orders))[:n]
        at = {tick: [o.quantity for o in orders if o.tick == tick] for tick in ticks}
        return [(tick, sum(at[tick]), len(at[tick])) for tick in ticks]

    def snapshot(self) -> bytes:
        """Open books by number; the orders of each by priority, or by arrival on a network."""
        out = [struct.pack("<4sHHII", b"GTXB", 1, 0, self.ticks, len(self.books))]
        for number, book in sorted(self.books.items()):
            orders = book.side(BUY) + book.side(SELL)
            if book.headroom:
                orders.sort(key=lambda order: order.arrival)
            out.append(struct.pack("<IIQ", number, bool(book.headroom), len(orders)))
            out.extend(
                struct.pack(
                    "<QIIIHBB", o.order_id, o.tick, o.quantity, o.owner, o.node, o.side, o.cls
                )
                for o in orders
            )
        return b"".join(out)

    def restore(self, data: bytes, headrooms: Mapping[int, Any] | None = None) -> None:
        self.books.clear()
        _, _, _, self.ticks, count = struct.unpack_from("<4sHHII", data)
        at = 16
        for _ in range(count):
            number, gridded, orders = struct.unpack_from("<IIQ", data, at)
            at += 16
            self.open(number, (headrooms or {})[number] if gridded else None)
            for _ in range(orders):
                order_id, tick, quantity, owner, node, side, cls = struct.unpack_from(
                    "<QIIIHBB", data, at
                )
                at += 24
                self.arrivals += 1
                self.books[number].orders.append(
                    Order(order_id, side, tick, quantity, owner, node, cls, self.arrivals)
                )

    def state_hash(self) -> bytes:
        digest = blake2b(self.snapshot(), digest_size=32)
        for _, book in sorted(self.books.items()):
            if book.headroom:
                digest.update(book.headroom.state())
        return digest.digest()

    @property
    def open_orders(self) -> int:
        return sum(len(book.orders) for book in self.books.values())

    def _find(self, order_id: int) -> Order | None:
        orders = (order for book in self.books.values() for order in book.orders)
        return next((order for order in orders if order.order_id == order_id), None)

    def _refusal(
        self,
        book: int,
        side: int,
        tick: int,
        quantity: int,
        cls: int,
        node: int,
        tif: int,
        own: int,
    ) -> int:
        grid = self.books[book].headroom if book in self.books else None
        rules = [
            (BAD_BOOK, book in self.books),
            (BAD_SIDE, side in (BUY, SELL)),
            (BAD_TICK, 0 <= tick < self.ticks),
            (BAD_QUANTITY, 0 < quantity <= QUANTITY_MAX),
            (BAD_CLASS, 0 <= cls <= 3),
            (BAD_NODE, not grid or 0 <= node < grid.tree.size),
            (BAD_TIME_IN_FORCE, 0 <= tif <= 2),
            (BAD_SELF_TRADE, 0 <= own <= 3),
        ]
        return next((reason for reason, kept in rules if not kept), NONE)

    def _enter(self, book: Book, order: Order, tif: int, self_trade: int) -> list[Event]:
        """Match, then rest what is left, or give it back."""
        before = [(other, other.quantity) for other in book.orders]
        rooms = book.headroom.state() if book.headroom else b""
        flow = deepcopy(book.flow) if book.flow else None
        wanted = order.quantity
        events, rival = self._match(book, order, self_trade)
        traded = sum(event[4] for event in events if event[0] == TRADE)
        me, tick, left = order.order_id, order.tick, order.quantity
        if tif == FILL_OR_KILL and traded < wanted:
            book.orders = [other for other, _ in before]
            for other, quantity in before:
                other.quantity = quantity
            if book.headroom:
                book.headroom.restore(rooms)
            book.flow = flow
            events = [(CANCELLED, me, 0, tick, wanted, KILLED)]
        elif rival is not None:
            events.append((CANCELLED, me, rival, tick, left, SELF_TRADE))
        elif left == 0:
            events.append((FILLED, me, 0, tick, 0, NONE))
        elif tif == IMMEDIATE_OR_CANCEL:
            events.append((CANCELLED, me, 0, tick, left, REMAINDER))
        else:
            self.arrivals += 1
            order.arrival = self.arrivals
            book.orders.append(order)
            events.append((RESTED, me, 0, tick, left, NONE))
        if book.flow is not None:
            book.flow.give_back(book.headroom)
        return events + self._sweep(book)

    def _match(self, book: Book, order: Order, self_trade: int) -> tuple[list[Event], int | None]:
        """The events, and the own resting order that stopped this one, if any did."""
        events: list[Event] = []
        while order.quantity and (other := book.counterparty(order)):
            ids = (other.order_id, order.order_id, other.tick)
            quantity = min(order.quantity, other.quantity)
            if other.owner != order.owner:
                quantity = min(quantity, book.room(order, other))
                quantity = book.admitted(order, other, quantity)
                if not quantity:
                    continue
                events.append((TRADE, *ids, quantity, NONE))
                book.reserve(order, other, quantity)
            elif self_trade == DECREMENT:
                events.append((REDUCED, *ids, quantity, SELF_TRADE))
            elif self_trade == NEWEST:
                return events, other.order_id
            else:
                events.append((CANCELLED, *ids, other.quantity, SELF_TRADE))
                book.take(other, other.quantity)
                if self_trade == BOTH:
                    return events, other.order_id
                continue
            book.take(other, quantity)
            order.quantity -= quantity
        return events, None

    def _sweep(self, book: Book) -> list[Event]:
        """The first bid that can trade meets its first counterparty, until none can."""
        events: list[Event] = []
        while pair := next(
            ((bid, ask) for bid in book.side(BUY) if (ask := book.counterparty(bid))), None
        ):
            older, younger = sorted(pair, key=lambda order: order.arrival)
            ids = (older.order_id, younger.order_id, older.tick)
            if older.owner == younger.owner:
                events.append((CANCELLED, *ids, older.quantity, SELF_TRADE))
                book.take(older, older.quantity)
                continue
            quantity = min(older.quantity, younger.quantity, book.room(older, younger))
            quantity = book.admitted(older, younger, quantity)
            if not quantity:
                continue
            events.append((TRADE, *ids, quantity, SWEPT))
            book.reserve(older, younger, quantity)
            book.take(older, quantity)
            book.take(younger, quantity)
        return events
