# cython: language_level=3
"""The book on a network: a ladder while nothing is in the way, else a heap of orders at every node
and the best of each node in an array.

An order walks the ladder past those whom the network parts from it, but not past many: then the
book is arranged by node. That costs a step for each resting order, which placing it has paid for;
back to the ladder it goes after more orders than rest, and later each time. What is traded with
whom is the same either way.

Work per order must not grow with how many orders the network shuts out. The best feasible
counterparty is therefore never searched among orders but among nodes: whether seller j reaches
buyer i is two interval tests, and blocks of 64 nodes that are all in, or all out, cost one
comparison, and inside a block groups of eight. The heaps are leftist, threaded through the orders
themselves: logarithmic in the worst case, and nothing is allocated.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memset

from ext.ladder cimport next_rank, queue_last, unqueue
from ext.pool cimport (
    CANCELLED, CLASS_BITS, DECREMENT, FILL_OR_KILL, FILLED, GOOD_TILL_GATE, KILLED, NEWEST, NONE,
    BOTH, RANK_BITS, REDUCED, REMAINDER, RESTED, SELF_TRADE, SWEPT, TRADE, WORD_STRIDE, Command,
    Engine, Event, Level, Order, Place, Spot, find, forget, gtx_prefetch, gtx_unlikely, level_at,
    mirror, put, rank_of, recall, side_of, tick_of,
)
from ext.tree cimport BLOCK, BLOCK_BITS, Net, Reach, reachable, reserve_between, room_between
from ext.wires cimport admit, remember, restore

cdef enum:
    ARRIVAL_BITS = 44
    PATIENCE = 24  # so many orders are passed over before the book is arranged by node
    CROWD = 16_384  # with an edge shut, more orders than this do not wait for that
    TURNS_MAX = 12

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

# ---- from the ladder to the nodes, and back ----------------------------------------------------

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

# ---- trading -----------------------------------------------------------------------------------

cdef struct Taker:
    Event* ev
    uint32_t left
    uint32_t lost
    uint64_t rival  # the own order that stopped this one
    bint stopped

cdef inline void drop(Engine* e, Place* p, uint32_t o) noexcept nogil:
    take_out(e, p, o)
    forget(e, o)

cdef inline uint32_t flow_between(
    Place* p, int32_t seller, int32_t buyer, uint32_t wanted
) noexcept nogil:
    # What the network lets through, taken of it. 0 only where the power flow refuses; then it has
    # shut an edge between the two.
    cdef int64_t fill = room_between(p.net, seller, buyer, wanted)
    if p.flow != NULL:
        fill = admit(p.flow, p.net, seller, buyer, fill)
    if fill > 0:
        reserve_between(p.net, seller, buyer, fill)
    return <uint32_t>fill

cdef inline void meet(
    Engine* e, Place* p, Command* c, int32_t x, uint32_t o, Taker* t
) noexcept nogil:
    # The order meets one that it can reach, at node `y`.
    cdef Order* m = e.pool + o
    cdef uint32_t other = c.side ^ 1
    cdef uint32_t tick = tick_of(e, other, rank_of(e, m))
    cdef uint32_t fill = m.quantity if m.quantity < t.left else t.left
    cdef int32_t y = e.spots[o].node
    if gtx_unlikely(m.owner == c.owner):
        if c.self_trade == NEWEST or c.self_trade == BOTH:
            t.stopped = True
            t.rival = m.id
        if c.self_trade == NEWEST:
            return
        if c.self_trade == DECREMENT:
            t.ev = put(t.ev, m.id, c.order, c.book, tick, fill, REDUCED, SELF_TRADE, other)
            t.lost += fill
            t.left -= fill
        else:
            fill = m.quantity
            t.ev = put(t.ev, m.id, c.order, c.book, tick, fill, CANCELLED, SELF_TRADE, other)
    else:
        fill = flow_between(p, x, y, fill) if c.side else flow_between(p, y, x, fill)
        if gtx_unlikely(fill == 0):
            return
        t.ev = put(t.ev, m.id, c.order, c.book, tick, fill, TRADE, NONE, other)
        t.left -= fill
    m.quantity -= fill
    if m.quantity == 0:
        drop(e, p, o)

cdef inline bint walk_ladder(
    Engine* e, Place* p, Command* c, int32_t x, Taker* t
) noexcept nogil:
    # From the best price on, past those who are out of reach; false when they are too many.
    #
    # Whoever was passed over stays out of reach: a trade makes room only for flow away from x.
    cdef uint32_t other = (((c.book & e.place_mask) << 1) | c.side) ^ 1
    cdef int32_t limit = <int32_t>(((e.ticks - mirror(e, c.side, c.tick)) << CLASS_BITS) - 1)
    cdef int32_t rank = e.best[other], y, passed = 0
    cdef uint32_t o, after
    cdef bint reached
    while rank <= limit:
        o = level_at(e, (other << RANK_BITS) + <uint32_t>rank).head
        while o != 0:
            after = e.pool[o].next
            gtx_prefetch(e.pool + after)
            gtx_prefetch(e.spots + after)
            y = e.spots[o].node
            reached = reachable(p.net, x, y) if c.side else reachable(p.net, y, x)
            if reached:
                meet(e, p, c, x, o, t)
                if t.left == 0 or t.stopped:
                    return True
            else:
                passed += 1
                if passed > PATIENCE:
                    return False
            o = after
        rank = next_rank(e, other, rank)
    return True

cdef inline void walk_nodes(Engine* e, Place* p, Command* c, int32_t x, Taker* t) noexcept nogil:
    cdef uint32_t other = c.side ^ 1
    cdef uint32_t steps = mirror(e, c.side, c.tick)
    cdef int64_t bound = <int64_t>((e.ticks - steps) << CLASS_BITS) << ARRIVAL_BITS
    cdef int32_t y
    while t.left != 0 and not t.stopped:
        y = counterparty(p, other, x, bound)
        if y < 0:
            return
        meet(e, p, c, x, p.roots[other * p.padded + y], t)

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
            put_back(e, p, o)
        y = e.spots[o].node
        if ev.kind == TRADE and p.flow == NULL:
            reserve_between(p.net, y if c.side else x, x if c.side else y, ev.quantity)
    if p.flow != NULL:
        restore(p.flow, p.net)
    return put(ev, c.order, 0, c.book, c.tick, c.quantity, CANCELLED, KILLED, c.side)

cdef inline Event* enter_on_network(
    Engine* e, Place* p, Command* c, Event* start, uint32_t* link
) noexcept nogil:
    # As in the ladder, but the counterparty is the first that the network lets through.
    cdef int32_t x = p.position[c.node]
    cdef uint32_t o
    cdef Order* m
    cdef Taker t
    t.ev = start
    t.left = c.quantity
    t.lost = 0
    t.rival = 0
    t.stopped = False
    rearrange(e, p)
    if gtx_unlikely(c.tif == FILL_OR_KILL) and p.flow != NULL:
        remember(p.flow, p.net)
    if not p.by_node and gtx_unlikely(not walk_ladder(e, p, c, x, &t)):
        arrange_by_node(e, p)
    if p.by_node:
        walk_nodes(e, p, c, x, &t)
    if gtx_unlikely(c.tif == FILL_OR_KILL) and (t.left != 0 or t.lost != 0):
        return kill_on_network(e, p, c, x, start, t.ev)
    if gtx_unlikely(t.stopped):
        return put(t.ev, c.order, t.rival, c.book, c.tick, t.left, CANCELLED, SELF_TRADE, c.side)
    if t.left == 0:
        return put(t.ev, c.order, 0, c.book, c.tick, 0, FILLED, NONE, c.side)
    if gtx_unlikely(c.tif != GOOD_TILL_GATE):
        return put(t.ev, c.order, 0, c.book, c.tick, t.left, CANCELLED, REMAINDER, c.side)
    o = e.free_head
    m = e.pool + o
    e.free_head = m.next
    e.live += 1
    m.id = c.order
    m.chain = link[0]
    link[0] = o
    m.quantity = t.left
    rest_on_network(e, p, o, c, x)
    return put(t.ev, c.order, 0, c.book, c.tick, t.left, RESTED, NONE, c.side)

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
    put_in(e, p, o)

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
    cdef int64_t best_ask = NOBODY, first, bound, key
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

cdef inline bint is_crossed(Engine* e, Place* p) noexcept nogil:
    # Of a ladder: whether its best bid is at least its best ask.
    cdef uint32_t s = <uint32_t>(2 * (p - e.places))
    cdef int32_t bid = e.best[s], ask = e.best[s + 1]
    if bid == <int32_t>(1 << RANK_BITS) or ask == <int32_t>(1 << RANK_BITS):
        return False
    return tick_of(e, 0, <uint32_t>bid) >= tick_of(e, 1, <uint32_t>ask)

cdef inline Event* sweep(
    Engine* e, Place* p, uint32_t book, Event* ev, Event* end
) noexcept nogil:
    # The first bid that can trade meets its first counterparty, until none can. The older order
    # makes the price. Stops early only when the events fill their room; the rest then waits.
    cdef int64_t seniority = (<int64_t>1 << ARRIVAL_BITS) - 1
    cdef int32_t x, y = 0
    cdef uint32_t bid, ask, older, younger, fill, tick, side
    cdef Order* m
    if not p.by_node:
        if not is_crossed(e, p):
            p.net.opened = False
            return ev
        arrange_by_node(e, p)
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
        fill = flow_between(p, y, x, fill)
        if fill == 0:
            continue
        ev = put(ev, m.id, e.pool[younger].id, book, tick, fill, TRADE, SWEPT, side)
        m.quantity -= fill
        e.pool[younger].quantity -= fill
        if m.quantity == 0:
            drop(e, p, older)
        if e.pool[younger].quantity == 0:
            drop(e, p, younger)
    return ev
