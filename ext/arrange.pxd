# cython: language_level=3
"""Where the orders of a book on a network stand: in the ladder, or in the heaps of their nodes.

It decides when the book is arranged anew: by node as soon as too many orders stand where the network
lets nothing through, by price again after more orders than rest, and later each time. Both
arrangements hold the same orders with the same priority.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memset

from ext.heaps cimport NOBODY, hang, least_of_eight, locate, unhang
from ext.ladder cimport next_rank, queue_last, unqueue
from ext.pool cimport RANK_BITS, WORD_STRIDE, Engine, Level, Place, gtx_unlikely, level_at

cdef enum:
    CROWD = 16_384  # with an edge shut, more orders than this do not wait for that
    TURNS_MAX = 12

cdef inline void arrange_by_node(Engine* e, Place* p) noexcept nogil:
    # The best first: each node's orders become a chain of left children, which is a leftist heap.
    cdef uint32_t side, s, o, after
    cdef int32_t rank, b, v
    cdef uint32_t* roots
    cdef Level* level
    for side in range(2):
        s = <uint32_t>(2 * (p - e.places)) + side
        roots = p.roots + side * p.padded
        rank = e.best[s]
        while rank < <int32_t>(1 << RANK_BITS):
            level = level_at(e, (s << RANK_BITS) + <uint32_t>rank)
            o = level.head
            level.head = level.tail = 0
            while o != 0:
                after = e.pool[o].next
                v = e.spots[o].node
                e.pool[o].next = e.pool[o].prev = 0
                e.spots[o].rank = 1
                e.spots[o].parent = 0
                if roots[v] == 0:
                    roots[v] = o
                else:
                    e.pool[p.ends[v]].next = o
                    e.spots[o].parent = p.ends[v]
                p.ends[v] = o
                o = after
            rank = next_rank(e, s, rank)
        e.best[s] = 1 << RANK_BITS
        memset(e.words + <uint64_t>s * WORD_STRIDE, 0, 1 << (RANK_BITS - 3))
        memset(e.summary + (<uint64_t>s << (RANK_BITS - 12)), 0, 1 << (RANK_BITS - 9))
        for v in range(p.padded):
            p.keys[side * p.padded + v] = e.spots[roots[v]].key if roots[v] != 0 else NOBODY
        for b in range(p.padded >> 3):
            p.group_keys[(side * p.padded >> 3) + b] = (
                least_of_eight(p.keys + side * p.padded + (b << 3))
            )
        for b in range(p.blocks):
            p.block_keys[side * p.blocks + b] = (
                least_of_eight(p.group_keys + (side * p.padded >> 3) + (b << 3))
            )
            locate(p, side, b)
    p.by_node = True
    p.turns += 1 if p.turns < TURNS_MAX else 0
    p.stay = (64 + 2 * <uint64_t>p.orders) << (p.turns - 1)

cdef inline int by_key(const void* a, const void* b) noexcept nogil:
    cdef int64_t one = (<int64_t*>a)[0], other = (<int64_t*>b)[0]
    return (one > other) - (one < other)

cdef inline void arrange_by_price(Engine* e, Place* p) noexcept nogil:
    # Without memory for the sorting the book stays as it is.
    cdef int64_t* found = <int64_t*>malloc(2 * sizeof(int64_t) * (<size_t>p.orders + 1))
    cdef uint32_t count = 0, o, i
    cdef int32_t v
    if found == NULL:
        return
    for v in range(2 * p.padded):
        o = p.roots[v]
        p.roots[v] = 0
        if o != 0:
            found[2 * count + 1] = o
            count += 1
    i = 0
    # Breadth first: what is found is also what is still to be opened.
    while i < count:
        o = <uint32_t>found[2 * i + 1]
        found[2 * i] = e.spots[o].key
        if e.pool[o].next != 0:
            found[2 * count + 1] = e.pool[o].next
            count += 1
        if e.pool[o].prev != 0:
            found[2 * count + 1] = e.pool[o].prev
            count += 1
        i += 1
    qsort(found, count, 2 * sizeof(int64_t), by_key)
    for i in range(count):
        queue_last(e, <uint32_t>found[2 * i + 1])
    free(found)
    p.by_node = False

cdef inline bint is_crowded(Place* p) noexcept nogil:
    return p.orders > CROWD and p.net.shuts > 0

cdef inline void rearrange(Engine* e, Place* p) noexcept nogil:
    # Before an order comes in.
    if not p.by_node:
        if gtx_unlikely(is_crowded(p)):
            arrange_by_node(e, p)
    elif p.stay > 0:
        p.stay -= 1
    elif not is_crowded(p):
        arrange_by_price(e, p)

cdef inline void take_out(Engine* e, Place* p, uint32_t o) noexcept nogil:
    # Of wherever the order stands; the map still knows it.
    p.orders -= 1
    if p.by_node:
        unhang(e, p, o)
    else:
        unqueue(e, o)

cdef inline void put_in(Engine* e, Place* p, uint32_t o) noexcept nogil:
    # The last of its price, or by its key where it comes back.
    p.orders += 1
    if p.by_node:
        hang(e, p, o)
    else:
        queue_last(e, o)

cdef inline void put_back(Engine* e, Place* p, uint32_t o) noexcept nogil:
    # Where its key belongs. Before it stand only those who were passed over.
    cdef Level* level
    cdef uint32_t before
    if p.by_node:
        put_in(e, p, o)
        return
    level = level_at(e, e.pool[o].level)
    if level.head == 0 or e.spots[level.tail].key < e.spots[o].key:
        put_in(e, p, o)
        return
    p.orders += 1
    if e.spots[o].key < e.spots[level.head].key:
        e.pool[o].prev = 0
        e.pool[o].next = level.head
        e.pool[level.head].prev = o
        level.head = o
        return
    before = level.head
    while e.spots[e.pool[before].next].key < e.spots[o].key:
        before = e.pool[before].next
    e.pool[o].prev = before
    e.pool[o].next = e.pool[before].next
    e.pool[e.pool[before].next].prev = o
    e.pool[before].next = o
