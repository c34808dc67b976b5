"""The bytes of commands, events and snapshots of the order books, little-endian.

It decides which bytes are a snapshot, and must never let a field pass that the books could not have
written: a restored book trusts what it is given.
"""

import struct

COMMAND = struct.Struct("<QIIIIHBBBBBB")
"""order, book, tick, quantity, owner, node, version, operation, side, class, tif, self-trade."""

EVENT = struct.Struct("<QQIIIBBBB")
"""order, other, book, tick, quantity, kind, reason, side of `order`, version."""

MAGIC, VERSION = b"GTXB", 1
HEADER = struct.Struct("<4sHHII")
"""Magic, version, 0, ticks, books."""

BOOK = struct.Struct("<IIQ")
"""Number, whether on a network, orders."""

ORDER = struct.Struct("<QIIIHBB")
"""Id, tick, quantity, owner, node, side, class."""

NODE_MAX = 65_534

Order = tuple[int, int, int, int, int, int, int]
Book = tuple[int, bool, list[Order]]


def parse_snapshot(data: bytes, ticks: int) -> list[Book]:
    """The books of a snapshot, every field checked. Raises ValueError."""
    try:
        books, end = _books(data, ticks)
    except struct.error:
        raise ValueError("snapshot: cut short") from None
    ids = {order[0] for _, _, orders in books for order in orders}
    if end != len(data) or len(ids) != sum(len(orders) for _, _, orders in books):
        raise ValueError("snapshot: bytes left over, or an order twice")
    return books


def _books(data: bytes, ticks: int) -> tuple[list[Book], int]:
    magic, version, spare, its_ticks, count = HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION or spare:
        raise ValueError("snapshot: not made by this version")
    if its_ticks != ticks:
        raise ValueError(f"snapshot: {its_ticks} ticks, these books have {ticks}")
    books: list[Book] = []
    at = HEADER.size
    for _ in range(count):
        number, networked, length = BOOK.unpack_from(data, at)
        at += BOOK.size
        if networked > 1 or number == 0xFFFFFFFF or length * ORDER.size > len(data):
            raise ValueError("snapshot: a book that cannot be")
        orders: list[Order] = [ORDER.unpack_from(data, at + i * ORDER.size) for i in range(length)]
        at += length * ORDER.size
        _check_orders(orders, ticks, networked=bool(networked))
        books.append((number, bool(networked), orders))
    return books, at


def _check_orders(orders: list[Order], ticks: int, *, networked: bool) -> None:
    for _, tick, quantity, _, node, side, cls in orders:
        if tick >= ticks or not quantity or side > 1 or cls > 3 or node > NODE_MAX:
            raise ValueError("snapshot: an order that cannot be")
        if node and not networked:
            raise ValueError("snapshot: a node without a network")
    bid = max((order[1] for order in orders if order[5] == 0), default=-1)
    ask = min((order[1] for order in orders if order[5] == 1), default=ticks)
    if bid >= ask and not networked:
        raise ValueError("snapshot: a crossed book")
