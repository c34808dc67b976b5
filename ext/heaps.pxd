# cython: language_level=3
"""The heap of orders at every node of a network, and the best of each node in an array.

It decides who is the first that an order may trade with, never among orders but among nodes: whether
seller j reaches buyer i is two interval tests, and blocks of 64 nodes that are all in, or all out,
cost one comparison, and inside a block groups of eight. The heaps are leftist, threaded through the
orders themselves: logarithmic in the worst case, and nothing is allocated.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint8_t

from ext.pool cimport Engine, Order, Place, Spot, side_of
from ext.tree cimport BLOCK_BITS, Reach

cdef enum:
    ARRIVAL_BITS = 44  # the low part of a key; above it stand class and price

cdef extern from * nogil:
    """
    #define GTX_NOBODY INT64_MAX
    """
    const int64_t NOBODY "GTX_NOBODY"

# ---- one node's heap ---------------------------------------------------------------------------

cdef inline uint32_t meld(Engine* e, uint32_t a, uint32_t b) noexcept nogil:
    # Down both right spines, which are logarithmic, then up again to mend the ranks.
    cdef uint32_t top = 0, tail = 0, swap
    cdef Order* m
    while a != 0 and b != 0:
        if e.spots[b].key < e.spots[a].key:
            swap = a
            a = b
            b = swap
        if tail == 0:
            top = a
        else:
            e.pool[tail].prev = a
        e.spots[a].parent = tail
        tail = a
        a = e.pool[a].prev
    if a == 0:
        a = b
    if tail == 0:
        if a != 0:
            e.spots[a].parent = 0
        return a
    e.pool[tail].prev = a
    if a != 0:
        e.spots[a].parent = tail
    while tail != 0:
        lean(e, tail)
        tail = e.spots[tail].parent
    return top

cdef inline bint lean(Engine* e, uint32_t o) noexcept nogil:
    # The deeper child to the left; true when the rank changed.
    cdef Order* m = e.pool + o
    cdef uint32_t swap
    cdef uint8_t rank
    if e.spots[m.next].rank < e.spots[m.prev].rank:
        swap = m.next
        m.next = m.prev
        m.prev = swap
    rank = e.spots[m.prev].rank + 1
    if rank == e.spots[o].rank:
        return False
    e.spots[o].rank = rank
    return True

# ---- the best of the nodes ---------------------------------------------------------------------

cdef inline int64_t least_of_eight(int64_t* keys) noexcept nogil:
    cdef int64_t a = keys[0] if keys[0] < keys[1] else keys[1]
    cdef int64_t b = keys[2] if keys[2] < keys[3] else keys[3]
    cdef int64_t c = keys[4] if keys[4] < keys[5] else keys[5]
    cdef int64_t d = keys[6] if keys[6] < keys[7] else keys[7]
    a = a if a < b else b
    c = c if c < d else d
    return a if a < c else c

cdef inline void locate(Place* p, uint32_t side, int32_t block) noexcept nogil:
    # Which node the best of a block belongs to.
    cdef int64_t key = p.block_keys[side * p.blocks + block]
    cdef int64_t* groups = p.group_keys + ((side * p.padded) >> 3) + (block << 3)
    cdef int64_t* keys = p.keys + side * p.padded + (block << BLOCK_BITS)
    cdef int32_t g = 0, j = 0
    while g < 7 and groups[g] != key:
        g += 1
    while j < 7 and keys[(g << 3) + j] != key:
        j += 1
    p.block_at[side * p.blocks + block] = (block << BLOCK_BITS) + (g << 3) + j

cdef inline void set_root(
    Engine* e, Place* p, uint32_t side, int32_t node, uint32_t root
) noexcept nogil:
    cdef int32_t block = node >> BLOCK_BITS
    cdef int64_t key = e.spots[root].key if root != 0 else NOBODY
    cdef int64_t* keys = p.keys + side * p.padded
    cdef int64_t* groups = p.group_keys + ((side * p.padded) >> 3)
    cdef int64_t* best = p.block_keys + side * p.blocks + block
    cdef int64_t before = keys[node], least
    p.roots[side * p.padded + node] = root
    if key == before:
        return
    keys[node] = key
    if key < before:
        if key < groups[node >> 3]:
            groups[node >> 3] = key
            if key < best[0]:
                best[0] = key
                p.block_at[side * p.blocks + block] = node
        return
    if before != groups[node >> 3]:
        return
    groups[node >> 3] = least_of_eight(keys + (node & ~7))
    if before != best[0]:
        return
    best[0] = least_of_eight(groups + (block << 3))
    locate(p, side, block)

cdef inline void hang(Engine* e, Place* p, uint32_t o) noexcept nogil:
    # Into its node's heap, by the key it has.
    cdef Spot* spot = e.spots + o
    cdef uint32_t side = side_of(e, e.pool + o)
    e.pool[o].next = 0
    e.pool[o].prev = 0
    spot.parent = 0
    spot.rank = 1
    set_root(e, p, side, spot.node, meld(e, p.roots[side * p.padded + spot.node], o))

cdef inline void unhang(Engine* e, Place* p, uint32_t o) noexcept nogil:
    cdef Spot* spot = e.spots + o
    cdef uint32_t side = side_of(e, e.pool + o), above = spot.parent
    cdef uint32_t below = meld(e, e.pool[o].next, e.pool[o].prev)
    if above == 0:
        set_root(e, p, side, spot.node, below)
        return
    if below != 0:
        e.spots[below].parent = above
    if e.pool[above].next == o:
        e.pool[above].next = below
    else:
        e.pool[above].prev = below
    while above != 0 and lean(e, above):
        above = e.spots[above].parent

cdef inline int32_t counterparty(
    Place* p, uint32_t side, int32_t x, int64_t bound
) noexcept nogil:
    # The node of `side` whose best order is first below `bound` among those that trade with x.
    cdef Reach* theirs = &p.net.up if side else &p.net.down
    cdef Reach* mine = &p.net.down if side else &p.net.up
    cdef int32_t low = mine.low[x], high = mine.high[x], found = -1
    cdef int32_t b, g, j, first, last
    cdef int64_t* keys = p.keys + side * p.padded
    cdef int64_t* groups = p.group_keys + ((side * p.padded) >> 3)
    cdef int64_t* block_keys = p.block_keys + side * p.blocks
    cdef int64_t best = bound
    # Mostly the best of all is feasible. Selected, not branched: which block has it is random.
    for b in range(low >> BLOCK_BITS, ((high - 1) >> BLOCK_BITS) + 1):
        found = b if block_keys[b] < best else found
        best = block_keys[b] if block_keys[b] < best else best
    if found < 0:
        return -1
    j = p.block_at[side * p.blocks + found]
    if low <= j < high and theirs.low[j] <= x < theirs.high[j]:
        return j
    found = -1
    for b in range(low >> BLOCK_BITS, ((high - 1) >> BLOCK_BITS) + 1):
        if block_keys[b] >= bound:
            continue
        if x < theirs.block_low_min[b] or x >= theirs.block_high_max[b]:
            continue
        j = p.block_at[side * p.blocks + b]
        if low <= j < high and theirs.low[j] <= x < theirs.high[j]:
            bound = block_keys[b]
            found = j
            continue
        for g in range(b << 3, (b + 1) << 3):
            if groups[g] >= bound:
                continue
            first = g << 3 if g << 3 > low else low
            last = (g + 1) << 3 if (g + 1) << 3 < high else high
            for j in range(first, last):
                if keys[j] < bound and theirs.low[j] <= x < theirs.high[j]:
                    bound = keys[j]
                    found = j
    return found
