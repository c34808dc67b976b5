# cython: language_level=3
"""The order books read from end to end, for views, snapshots and checks: slow, and changing nothing.

It decides in which order resting orders are told: by priority, as the matcher would meet them.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t

from ext.heaps cimport ARRIVAL_BITS, NOBODY
from ext.ladder cimport next_rank
from ext.pool cimport (
    CLASS_BITS, RANK_BITS, Engine, Order, Place, find, level_at, place_of, rank_of, side_of,
    tick_of,
)
from ext.tree cimport BLOCK_BITS

cdef enum:
    KEY_TICK_SHIFT = ARRIVAL_BITS + CLASS_BITS

cdef inline list queue(Engine* e, Place* p, int side, Py_ssize_t prices=-1):
    """Pool indices of a side by priority; with `prices`, at least those of the first few."""
    if p.net != NULL and p.by_node:
        return heaps(e, p, side, prices)
    cdef uint32_t s = <uint32_t>(2 * (p - e.places) + side), o
    cdef int32_t rank = e.best[s], last = -1
    cdef list found = []
    while rank < <int32_t>(1 << RANK_BITS):
        if rank >> CLASS_BITS != last:
            last = rank >> CLASS_BITS
            if prices == 0:
                break
            prices -= 1
        o = level_at(e, (s << RANK_BITS) + <uint32_t>rank).head
        while o != 0:
            found.append(o)
            o = e.pool[o].next
        rank = next_rank(e, s, rank)
    return found

cdef inline list heaps(Engine* e, Place* p, int side, Py_ssize_t prices):
    cdef int64_t bound = NOBODY
    cdef int32_t v
    cdef uint32_t o
    if prices == 1:
        # A heap is not entered below an order that is worse than the best price.
        for v in range(p.blocks):
            bound = min(bound, p.block_keys[side * p.blocks + v])
        if bound != NOBODY:
            bound |= (<int64_t>1 << KEY_TICK_SHIFT) - 1
    cdef list found = [], waiting = []
    for v in range(p.padded):
        o = p.roots[side * p.padded + v]
        if o != 0:
            waiting.append(o)
    while waiting:
        o = waiting.pop()
        if e.spots[o].key <= bound:
            found.append((e.spots[o].key, o))
            for child in (e.pool[o].next, e.pool[o].prev):
                if child:
                    waiting.append(child)
    return [pair[1] for pair in sorted(found)]

cdef inline list depth_of(Engine* e, Place* p, int side, Py_ssize_t n):
    """The best n prices: [(tick, quantity, orders)]."""
    cdef uint32_t o, tick
    cdef list levels = []
    for o in queue(e, p, side, n):
        tick = tick_of(e, side, rank_of(e, e.pool + o))
        if not levels or levels[-1][0] != tick:
            if len(levels) == n:
                break
            levels.append([tick, 0, 0])
        levels[-1][1] += e.pool[o].quantity
        levels[-1][2] += 1
    return [tuple(level) for level in levels]

cdef inline int64_t arrival_of(Engine* e, uint32_t o) noexcept:
    """Only on a network, which remembers it."""
    return e.spots[o].key & ((<int64_t>1 << ARRIVAL_BITS) - 1)

# ---- checks ------------------------------------------------------------------------------------

cdef inline Py_ssize_t check_side(Engine* e, Place* p, int side) except -1:
    """How many orders it holds. Raises AssertionError where what is remembered of them differs."""
    cdef uint32_t o
    cdef list orders = queue(e, p, side)
    for o in orders:
        assert e.pool[o].quantity > 0 and find(e, e.pool[o].id) == o, p.book
        assert side_of(e, e.pool + o) == side, p.book
        assert place_of(e, e.pool + o) == p - e.places, p.book
    if p.net != NULL and p.by_node:
        check_nodes(e, p, side)
    return len(orders)

cdef inline int check_nodes(Engine* e, Place* p, int side) except -1:
    cdef int64_t* keys = p.keys + side * p.padded
    cdef int64_t least
    cdef int32_t b, v
    cdef uint32_t root
    for v in range(p.padded):
        root = p.roots[side * p.padded + v]
        assert keys[v] == (e.spots[root].key if root else NOBODY), v
        assert root == 0 or (e.spots[root].node == v and e.spots[root].parent == 0), v
    for b in range(p.blocks):
        least = NOBODY
        for v in range(b << BLOCK_BITS, (b + 1) << BLOCK_BITS):
            least = min(least, keys[v])
        assert p.block_keys[side * p.blocks + b] == least, b
        assert least == NOBODY or keys[p.block_at[side * p.blocks + b]] == least, b
    return 0

cdef inline int check_pool(Engine* e, Py_ssize_t found) except -1:
    """So many orders were found in the books; with the free ones that is all of the pool."""
    cdef uint32_t o = e.free_head
    assert found == e.live, (found, e.live)
    while o != 0:
        found += 1
        o = e.pool[o].next
    assert found == e.orders_max, (found, e.orders_max)
    return 0
