# cython: language_level=3
"""The book on a network: a heap of orders at every node, and the best of each node in an array.

Work per order must not grow with how many orders the network shuts out. The best feasible
counterparty is therefore never searched among orders but among nodes: whether seller j reaches
buyer i is two interval tests, and blocks of 64 nodes that are all in, or all out, cost one
comparison, and inside a block groups of eight. The heaps are leftist, threaded through the orders
themselves: logarithmic in the worst case, and nothing is allocated.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from ext.pool cimport (
    CANCELLED, CLASS_BITS, DECREMENT, FILL_OR_KILL, FILLED, GOOD_TILL_GATE, KILLED, NEWEST, NONE,
    BOTH, RANK_BITS, REDUCED, REMAINDER, RESTED, SELF_TRADE, SWEPT, TRADE, Command, Engine, Event,
    Order, Place, Spot, find, forget, gtx_unlikely, mirror, put, rank_of, recall, side_of, tick_of,
)
from ext.tree cimport BLOCK, BLOCK_BITS, Net, Reach, reserve_between, room_between

cdef enum:
    ARRIVAL_BITS = 44

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

# ---- trading -----------------------------------------------------------------------------------

cdef inline void drop(Engine* e, Place* p, uint32_t o) noexcept nogil:
    unhang(e, p, o)
    forget(e, o)

cdef inline Event* kill_on_network(
    Engine* e, Place* p, Command* c, int32_t x, Event* start, Event* ev
) noexcept nogil:
    # Backwards, so that what was forgotten last is recalled first.
    cdef uint32_t o
    cdef int32_t y
    while ev != start:
        ev -= 1
        o = find(e, ev.order)
        if o != 0:
            e.pool[o].quantity += ev.quantity
        else:
            o = recall(e)
            e.pool[o].quantity = ev.quantity
            hang(e, p, o)
        y = e.spots[o].node
        if ev.kind == TRADE and c.side:
            reserve_between(p.net, y, x, ev.quantity)
        elif ev.kind == TRADE:
            reserve_between(p.net, x, y, ev.quantity)
    return put(ev, c.order, 0, c.book, c.tick, c.quantity, CANCELLED, KILLED, c.side)

cdef inline Event* enter_on_network(
    Engine* e, Place* p, Command* c, Event* start, uint32_t* link
) noexcept nogil:
    # As in the ladder, but the counterparty is the first that the network lets through.
    cdef Event* ev = start
    cdef uint32_t other = c.side ^ 1
    cdef uint32_t steps = mirror(e, c.side, c.tick)
    cdef int64_t bound = <int64_t>((e.ticks - steps) << CLASS_BITS) << ARRIVAL_BITS
    cdef uint32_t left = c.quantity, lost = 0, o, fill, tick
    cdef uint64_t rival = 0
    cdef bint stopped = False
    cdef int32_t x = p.position[c.node], y
    cdef Order* m
    while left != 0:
        y = counterparty(p, other, x, bound)
        if y < 0:
            break
        o = p.roots[other * p.padded + y]
        m = e.pool + o
        tick = tick_of(e, other, rank_of(e, m))
        fill = m.quantity if m.quantity < left else left
        if gtx_unlikely(m.owner == c.owner):
            if c.self_trade == NEWEST or c.self_trade == BOTH:
                stopped = True
                rival = m.id
            if c.self_trade == NEWEST:
                break
            if c.self_trade == DECREMENT:
                ev = put(ev, m.id, c.order, c.book, tick, fill, REDUCED, SELF_TRADE, other)
                lost += fill
                left -= fill
            else:
                fill = m.quantity
                ev = put(ev, m.id, c.order, c.book, tick, fill, CANCELLED, SELF_TRADE, other)
        else:
            if c.side:
                fill = <uint32_t>room_between(p.net, x, y, fill)
                reserve_between(p.net, x, y, fill)
            else:
                fill = <uint32_t>room_between(p.net, y, x, fill)
                reserve_between(p.net, y, x, fill)
            ev = put(ev, m.id, c.order, c.book, tick, fill, TRADE, NONE, other)
            left -= fill
        m.quantity -= fill
        if m.quantity == 0:
            drop(e, p, o)
        if stopped:
            break
    if gtx_unlikely(c.tif == FILL_OR_KILL) and (left != 0 or lost != 0):
        return kill_on_network(e, p, c, x, start, ev)
    if gtx_unlikely(stopped):
        return put(ev, c.order, rival, c.book, c.tick, left, CANCELLED, SELF_TRADE, c.side)
    if left == 0:
        return put(ev, c.order, 0, c.book, c.tick, 0, FILLED, NONE, c.side)
    if gtx_unlikely(c.tif != GOOD_TILL_GATE):
        return put(ev, c.order, 0, c.book, c.tick, left, CANCELLED, REMAINDER, c.side)
    o = e.free_head
    m = e.pool + o
    e.free_head = m.next
    e.live += 1
    m.id = c.order
    m.chain = link[0]
    link[0] = o
    m.quantity = left
    rest_on_network(e, p, o, c, x)
    return put(ev, c.order, 0, c.book, c.tick, left, RESTED, NONE, c.side)

cdef inline void rest_on_network(
    Engine* e, Place* p, uint32_t o, Command* c, int32_t x
) noexcept nogil:
    cdef uint32_t steps = mirror(e, c.side, c.tick)
    cdef uint32_t rank = (steps << CLASS_BITS) + c.cls
    e.arrivals += 1
    e.pool[o].level = (
        ((((c.book & e.place_mask) << 1) | c.side) << RANK_BITS) + rank
    )
    e.pool[o].owner = c.owner
    e.spots[o].key = (<int64_t>rank << ARRIVAL_BITS) | <int64_t>e.arrivals
    e.spots[o].node = <uint16_t>x
    hang(e, p, o)

# ---- after an edge opened ----------------------------------------------------------------------
#
# Trading alone never needs this, although every trade opens its counterflow. Say the trade j -> i
# opens an edge for j' -> i', two resting orders that cross. In a tree, what j' -> i and j -> i' use
# lies on those two paths, so both were open before the trade. If j was the newcomer, it met i
# before i', so i bids at least as much as i', and j' and i, both resting, crossed and could have
# traded; if i was, then likewise j and i'. But no such pair rests. Only a limit or a reservation
# that changes from outside parts with this. The oracle looks for such pairs after every command.

cdef inline int32_t first_bidder(
    Engine* e, Place* p, int32_t* seller
) noexcept nogil:
    # The node of the first bid in priority that can trade, and its counterparty's; or -1.
    cdef int64_t best_ask = NOBODY, first = NOBODY, bound, key
    cdef int32_t b, j, y, found = -1
    cdef uint32_t steps
    for b in range(p.blocks):
        if p.block_keys[p.blocks + b] < best_ask:
            best_ask = p.block_keys[p.blocks + b]
    if best_ask == NOBODY:
        return -1
    steps = <uint32_t>(best_ask >> (ARRIVAL_BITS + CLASS_BITS))
    first = <int64_t>((e.ticks - steps) << CLASS_BITS) << ARRIVAL_BITS
    for b in range(p.blocks):
        if p.block_keys[b] >= first:
            continue
        for j in range(b << BLOCK_BITS, (b + 1) << BLOCK_BITS):
            key = p.keys[j]
            if key >= first:
                continue
            steps = <uint32_t>(key >> (ARRIVAL_BITS + CLASS_BITS))
            bound = <int64_t>((e.ticks - steps) << CLASS_BITS) << ARRIVAL_BITS
            y = counterparty(p, 1, j, bound)
            if y >= 0:
                first = key
                found = j
                seller[0] = y
    return found

cdef inline Event* sweep(
    Engine* e, Place* p, uint32_t book, Event* ev, Event* end
) noexcept nogil:
    # The first bid that can trade meets its first counterparty, until none can. The older order
    # makes the price. Stops early only when the events fill their room; the rest then waits.
    cdef int64_t seniority = (<int64_t>1 << ARRIVAL_BITS) - 1
    cdef int32_t x, y = 0
    cdef uint32_t bid, ask, older, younger, fill, tick, side
    cdef Order* m
    while ev != end:
        x = first_bidder(e, p, &y)
        if x < 0:
            p.net.opened = False
            return ev
        bid = p.roots[x]
        ask = p.roots[p.padded + y]
        older = bid
        younger = ask
        if (e.spots[ask].key & seniority) < (e.spots[bid].key & seniority):
            older = ask
            younger = bid
        m = e.pool + older
        side = side_of(e, m)
        tick = tick_of(e, side, rank_of(e, m))
        if m.owner == e.pool[younger].owner:
            ev = put(
                ev, m.id, e.pool[younger].id, book, tick, m.quantity, CANCELLED, SELF_TRADE, side
            )
            drop(e, p, older)
            continue
        fill = m.quantity
        if e.pool[younger].quantity < fill:
            fill = e.pool[younger].quantity
        fill = <uint32_t>room_between(p.net, y, x, fill)
        reserve_between(p.net, y, x, fill)
        ev = put(ev, m.id, e.pool[younger].id, book, tick, fill, TRADE, SWEPT, side)
        m.quantity -= fill
        e.pool[younger].quantity -= fill
        if m.quantity == 0:
            drop(e, p, older)
        if e.pool[younger].quantity == 0:
            drop(e, p, younger)
    return ev
