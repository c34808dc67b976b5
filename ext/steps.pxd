# cython: language_level=3
"""One command, and many: what is checked, which book it goes to, where its events are written.

The order of the checks is part of the outcome: it decides which reason a refusal has.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ext.arrange cimport take_out
from ext.ladder cimport cross_ladder, crosses_ladder, rest_in_ladder, unqueue
from ext.nodes cimport enter_on_network, sweep
from ext.pool cimport (
    BAD_BOOK, BAD_CLASS, BAD_NODE, BAD_OPERATION, BAD_QUANTITY, BAD_SELF_TRADE, BAD_SIDE,
    BAD_TICK, BAD_TIME_IN_FORCE, BAD_VERSION, CANCEL, CANCELLED, CLASS_BITS, DUPLICATE, FULL,
    GOOD_TILL_GATE, NONE, RANK_BITS, RECORD_VERSION, REJECTED, REPLACE, RESTED, SUBMIT,
    UNKNOWN_ORDER, Command, Engine, Event, Level, Order, Place, bucket_of, find, find_link,
    forget, forget_at, gtx_clock, gtx_likely, gtx_prefetch, gtx_tail, gtx_unlikely, level_at,
    mirror, place_of, put, rank_of, side_of, tick_of,
)

from ext.wires cimport give_back

cdef extern from * nogil:
    """
    /* What gtx_tail of an unremarkable order and of a cancel looks like, and which bits count:
       version and operation are fixed, the side has one bit, class and self-trade have two, and
       the time in force is 0. */
    #define GTX_PLAIN_MASK 0xFCFFFCFEFFFF0000ull
    #define GTX_PLAIN 0x10000ull
    #define GTX_OPERATION_MASK 0xFFFF0000ull
    #define GTX_PLAIN_CANCEL 0x1010000ull
    """
    const uint64_t PLAIN_MASK "GTX_PLAIN_MASK"
    const uint64_t PLAIN "GTX_PLAIN"
    const uint64_t OPERATION_MASK "GTX_OPERATION_MASK"
    const uint64_t PLAIN_CANCEL "GTX_PLAIN_CANCEL"

cdef enum:
    PART = 4096
    SHALLOW = 16384  # so many orders and their queues stay in a core's own cache

# ---- one command -------------------------------------------------------------------------------

cdef inline int refusal(Engine* e, Command* c) noexcept nogil:
    # Why these terms are none, in a fixed order; NONE if they are.
    cdef Place* p = e.places + (c.book & e.place_mask)
    if p.book != c.book:
        return BAD_BOOK
    if c.side > 1:
        return BAD_SIDE
    if c.tick >= e.ticks:
        return BAD_TICK
    if c.quantity == 0:
        return BAD_QUANTITY
    if c.cls >> CLASS_BITS:
        return BAD_CLASS
    if p.net != NULL and c.node >= p.net.size:
        return BAD_NODE
    if c.tif > 2:
        return BAD_TIME_IN_FORCE
    if c.self_trade > 3:
        return BAD_SELF_TRADE
    return NONE

cdef inline Event* reject(Command* c, Event* ev, int reason) noexcept nogil:
    return put(ev, c.order, 0, c.book, 0, 0, REJECTED, reason, 0)

cdef inline Event* enter(
    Engine* e, Place* p, Command* c, Event* ev, Event* end, uint32_t* link
) noexcept nogil:
    # A checked order into its book; `link` is its bucket in the map.
    if p.net == NULL:
        return cross_ladder(e, c, ev, link)
    ev = enter_on_network(e, p, c, ev, link)
    if p.flow != NULL:
        give_back(p.flow, p.net)
    if p.net.opened:
        ev = sweep(e, p, c.book, ev, end)
    return ev

cdef inline bint is_known(Engine* e, uint64_t order_id, uint32_t* link) noexcept nogil:
    # Whether a bucket is empty cannot be predicted, that it has a second order can: nobody's record
    # is compared like the others.
    cdef uint32_t o = link[0]
    while gtx_likely((o == 0) | (e.pool[o].id != order_id)):
        o = e.pool[o].chain
        if gtx_likely(o == 0):
            return False
    return True

cdef inline Event* submit(Engine* e, Command* c, Event* ev, Event* end) noexcept nogil:
    cdef uint32_t* link = e.bucket + bucket_of(e, c.order)
    cdef int reason = refusal(e, c)
    if reason == NONE and is_known(e, c.order, link):
        reason = DUPLICATE
    if reason == NONE and e.free_head == 0 and c.tif == GOOD_TILL_GATE:
        reason = FULL
    if reason != NONE:
        return reject(c, ev, reason)
    return enter(e, e.places + (c.book & e.place_mask), c, ev, end, link)

cdef inline void remove(Engine* e, Place* p, uint32_t o) noexcept nogil:
    if gtx_likely(p.net == NULL):
        unqueue(e, o)
    else:
        take_out(e, p, o)
    forget(e, o)

cdef inline Event* cancel(Engine* e, Place* p, Command* c, Event* ev) noexcept nogil:
    # Of an open book; `p` is NULL where it is known to be a ladder.
    cdef uint32_t* link = find_link(e, c.order)
    cdef uint32_t o = link[0]
    cdef Order* m = e.pool + o
    if gtx_unlikely(o == 0) or gtx_unlikely(place_of(e, m) != (c.book & e.place_mask)):
        return reject(c, ev, UNKNOWN_ORDER)
    ev = put(
        ev, c.order, 0, c.book, tick_of(e, side_of(e, m), rank_of(e, m)), m.quantity, CANCELLED,
        NONE, side_of(e, m)
    )
    if p == NULL or p.net == NULL:
        unqueue(e, o)
    else:
        take_out(e, p, o)
    forget_at(e, link, o)
    return ev

cdef inline Event* replace(Engine* e, Command* c, Event* ev, Event* end) noexcept nogil:
    # New tick and quantity. All is checked first; the place in the queue is kept only by an order
    # that asks for nothing more.
    cdef Place* p = e.places + (c.book & e.place_mask)
    cdef Command changed = c[0]
    cdef uint32_t o = find(e, c.order)
    cdef Order* m = e.pool + o
    cdef int reason
    changed.side = changed.cls = changed.tif = 0
    changed.node = 0
    reason = refusal(e, &changed)
    if reason == NONE and (o == 0 or place_of(e, m) != (c.book & e.place_mask)):
        reason = UNKNOWN_ORDER
    if reason != NONE:
        return reject(c, ev, reason)
    changed.side = <uint8_t>side_of(e, m)
    if tick_of(e, changed.side, rank_of(e, m)) == c.tick and c.quantity <= m.quantity:
        m.quantity = c.quantity
        return put(ev, c.order, 0, c.book, c.tick, c.quantity, RESTED, NONE, changed.side)
    changed.cls = rank_of(e, m) & 3
    changed.owner = m.owner
    if p.net != NULL:
        changed.node = <uint16_t>e.spots[o].node
    remove(e, p, o)
    # enter_on_network expects the node's name, the spot holds its position.
    if p.net != NULL:
        changed.node = <uint16_t>p.names[changed.node]
    return enter(e, p, &changed, ev, end, e.bucket + bucket_of(e, c.order))

cdef inline Event* step_any(Engine* e, Command* c, Event* ev, Event* end) noexcept nogil:
    if c.version != RECORD_VERSION:
        return reject(c, ev, BAD_VERSION)
    if c.operation == SUBMIT:
        return submit(e, c, ev, end)
    if c.operation == CANCEL:
        if e.places[c.book & e.place_mask].book != c.book:
            return reject(c, ev, BAD_BOOK)
        return cancel(e, e.places + (c.book & e.place_mask), c, ev)
    if c.operation == REPLACE:
        return replace(e, c, ev, end)
    return reject(c, ev, BAD_OPERATION)

cdef inline Event* step(Engine* e, Command* c, Event* ev, Event* end) noexcept nogil:
    # One command. The plain case, a good order till gate closure for a ladder, is told from all
    # others by three comparisons; `step_any` would come to the same.
    cdef uint64_t tail = gtx_tail(c)
    cdef uint32_t* link
    if (tail & PLAIN_MASK) == PLAIN:
        if gtx_likely(
            (e.ladders[c.book & e.place_mask] == c.book) & (c.tick < e.ticks)
            & (c.quantity != 0) & (e.free_head != 0)
        ):
            link = e.bucket + bucket_of(e, c.order)
            if gtx_unlikely(is_known(e, c.order, link)):
                return reject(c, ev, DUPLICATE)
            if crosses_ladder(e, c):
                return cross_ladder(e, c, ev, link)
            return rest_in_ladder(e, c, ev, link, c.quantity)
    elif gtx_likely(
        ((tail & OPERATION_MASK) == PLAIN_CANCEL)
        & (e.ladders[c.book & e.place_mask] == c.book)
    ):
        return cancel(e, NULL, c, ev)
    return step_any(e, c, ev, end)

# ---- many commands -----------------------------------------------------------------------------

cdef struct Batch:
    Event* events  # where to write, up to `end`
    Event* end
    Event* spare  # one command's events when there is not certainly room
    Event* spare_end
    Event* waiting  # what of `spare` is still to be delivered
    Event* waiting_end

cdef inline uint32_t level_of(Engine* e, Command* c) noexcept nogil:
    # Where a command's order would rest. Fields are masked: nobody has checked them yet.
    cdef uint32_t tick = c.tick & (e.ticks - 1)
    cdef uint32_t steps = mirror(e, c.side & 1, tick)
    return (
        ((((c.book & e.place_mask) << 1) | (c.side & 1)) << RANK_BITS)
        + (steps << CLASS_BITS) + (c.cls & 3)
    )

cdef struct Ahead:
    # Of the commands to come, by number modulo 32.
    uint32_t* links[32]  # their buckets
    uint32_t orders[32]  # the order found there, or most likely found there
    Level* levels[32]

cdef inline void look_ahead(Engine* e, Command* c, size_t i, Ahead* ahead) noexcept nogil:
    # Fetch what the commands 20, 14, 9 and 5 places on will need. It must not change anything.
    cdef uint32_t* link = e.bucket + bucket_of(e, c[i + 20].order)
    cdef Level* level
    cdef Order* m
    cdef uint32_t o
    gtx_prefetch(link)
    ahead.links[(i + 20) & 31] = link
    o = ahead.links[(i + 14) & 31][0]
    ahead.orders[(i + 14) & 31] = o
    gtx_prefetch(e.pool + o)
    level = level_at(e, level_of(e, c + i + 14))
    gtx_prefetch(level)
    ahead.levels[(i + 14) & 31] = level
    # Two orders in a bucket are common, three are not.
    o = ahead.orders[(i + 9) & 31]
    m = e.pool + o
    o = o if m.id == c[i + 9].order else m.chain
    ahead.orders[(i + 9) & 31] = o
    gtx_prefetch(e.pool + o)
    gtx_prefetch(e.pool + ahead.levels[(i + 9) & 31].tail)
    m = e.pool + ahead.orders[(i + 5) & 31]
    gtx_prefetch(level_at(e, m.level))
    gtx_prefetch(e.pool + m.next)
    gtx_prefetch(e.pool + m.prev)

cdef inline bint fits(Engine* e, Command* c, Batch* b) noexcept nogil:
    # Whether there is certainly room for all events. On a network a fill either ends one of the two
    # orders or shuts an edge; what an opened edge lets meet nobody can count beforehand.
    cdef Place* p = e.places + (c.book & e.place_mask)
    cdef size_t room = b.end - b.events
    if gtx_likely(p.net == NULL):
        return room > <size_t>e.live + 2 and p.book == c.book
    if p.net.opened or p.flow != NULL:
        return False
    return room > <size_t>e.live + 2 * <size_t>p.net.size + 2

cdef inline bint deliver(Batch* b) noexcept nogil:
    # Copy waiting events while there is room; true when none is left.
    cdef size_t count = b.waiting_end - b.waiting, room = b.end - b.events
    if count > room:
        count = room
    memcpy(b.events, b.waiting, count * sizeof(Event))
    b.events += count
    b.waiting += count
    return b.waiting == b.waiting_end

cdef inline bint step_aside(Engine* e, Command* c, Batch* b) noexcept nogil:
    # One command whose events may not fit: into the spare room, then out as far as they do.
    b.waiting = b.spare
    b.waiting_end = step(e, c, b.spare, b.spare_end)
    return deliver(b)

cdef inline size_t run_part(
    Engine* e, Command* c, size_t count, Batch* b, bint deep
) noexcept nogil:
    cdef size_t i, known = count - 20 if deep and count > 20 else 0
    cdef Ahead ahead
    if deep:
        for i in range(32):
            ahead.links[i] = e.bucket
            ahead.levels[i] = e.levels
            ahead.orders[i] = 0
    for i in range(count):
        if i < known:
            look_ahead(e, c, i, &ahead)
        if gtx_likely(
            (<size_t>(b.end - b.events) > <size_t>e.live + 2)
            & (e.ladders[c[i].book & e.place_mask] == c[i].book)
        ):
            b.events = step(e, c + i, b.events, b.end)
        elif fits(e, c + i, b):
            b.events = step_any(e, c + i, b.events, b.end)
        elif not step_aside(e, c + i, b):
            return i + 1
    return count

cdef inline size_t run(Engine* e, Command* c, size_t count, Batch* b) noexcept nogil:
    # The number of commands done. It stops after the first whose events do not all fit.
    # 
    # Part by part, because whether looking ahead pays depends on how much there is to miss.
    cdef size_t done = 0, part, did
    while done < count:
        part = count - done if count - done < PART else PART
        if e.live > SHALLOW:
            did = run_part(e, c + done, part, b, True)
        else:
            did = run_part(e, c + done, part, b, False)
        done += did
        if did != part or b.waiting != b.waiting_end:
            break
    return done

cdef inline size_t run_timed(
    Engine* e, Command* c, size_t count, Batch* b, uint32_t* times
) noexcept nogil:
    # As `run`, command by command, with the clock read around each.
    cdef size_t i
    cdef uint64_t start
    cdef bint fits
    for i in range(count):
        start = gtx_clock()
        fits = step_aside(e, c + i, b)
        times[i] = <uint32_t>(gtx_clock() - start)
        if not fits:
            return i + 1
    return count
