# cython: language_level=3
"""Trading on a network: an order in a ladder while nothing is in the way, else among the nodes.

An order walks the ladder past those whom the network parts from it, but not past many: then the
book is arranged by node (`ext.arrange`). That costs a step for each resting order, which placing it
has paid for. What is traded with whom is the same either way, and work per order does not grow with
how many orders the network shuts out.
"""

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t

from ext.arrange cimport arrange_by_node, put_back, put_in, rearrange, take_out
from ext.heaps cimport ARRIVAL_BITS, NOBODY, counterparty
from ext.ladder cimport next_rank
from ext.pool cimport (
    BOTH, CANCELLED, CLASS_BITS, DECREMENT, FILLED, FILL_OR_KILL, GOOD_TILL_GATE, KILLED,
    NEWEST, NONE, RANK_BITS, REDUCED, REMAINDER, RESTED, SELF_TRADE, SWEPT, TRADE, Command,
    Engine, Event, Order, Place, find, forget, gtx_prefetch, gtx_unlikely, level_at, mirror,
    put, rank_of, recall, side_of, tick_of,
)
from ext.tree cimport BLOCK_BITS, reachable, reserve_between, room_between
from ext.wires cimport admit, remember, restore

cdef enum:
    PATIENCE = 24  # so many orders are passed over before the book is arranged by node

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
