# cython: language_level=3
"""The book without a network: a ladder of queues, one for every price and class.

A rank counts from the best possible price of its side, four classes to a tick, so lower is better
on both sides and one code path serves buyers and sellers. Two levels of bitmaps find the next
occupied rank.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t

from ext.pool cimport (
    BOTH, CANCELLED, CLASS_BITS, DECREMENT, FILL_OR_KILL, FILLED, GOOD_TILL_GATE,
    KILLED, NEWEST, NONE, RANK_BITS, REDUCED, REMAINDER, RESTED,
    SELF_TRADE, TRADE, WORD_STRIDE, Command, Engine, Event, Level, Order, find, forget, gtx_ctz,
    gtx_likely, gtx_prefetch, gtx_unlikely, level_at, mirror, put, rank_of, recall, tick_of,
)

cdef inline int32_t next_rank(Engine* e, uint32_t s, int32_t rank) noexcept nogil:
    # The lowest occupied rank above `rank` of queue set s, or the number of ranks.
    cdef uint64_t* words = e.words + <uint64_t>s * WORD_STRIDE
    cdef uint64_t* summary = e.summary + (<uint64_t>s << (RANK_BITS - 12))
    cdef uint32_t i = <uint32_t>rank >> 6, j, ends
    cdef uint64_t w = words[i] & ((~<uint64_t>0 << (rank & 63)) << 1)
    if gtx_likely(w != 0):
        return <int32_t>((i << 6) + <uint32_t>gtx_ctz(w))
    j = i >> 6
    w = summary[j] & ((~<uint64_t>0 << (i & 63)) << 1)
    ends = <uint32_t>1 << (RANK_BITS - 12)
    while w == 0:
        j += 1
        if j >= ends:
            return <int32_t>(<uint32_t>1 << RANK_BITS)
        w = summary[j]
    i = (j << 6) + <uint32_t>gtx_ctz(w)
    return <int32_t>((i << 6) + <uint32_t>gtx_ctz(words[i]))

cdef inline void occupy(Engine* e, uint32_t s, uint32_t rank) noexcept nogil:
    e.words[<uint64_t>s * WORD_STRIDE + (rank >> 6)] |= <uint64_t>1 << (rank & 63)
    e.summary[(<uint64_t>s << (RANK_BITS - 12)) + (rank >> 12)] |= (
        <uint64_t>1 << ((rank >> 6) & 63)
    )
    if <int32_t>rank < e.best[s]:
        e.best[s] = <int32_t>rank

cdef inline void vacate(Engine* e, uint32_t s, uint32_t rank) noexcept nogil:
    cdef uint64_t* word = e.words + <uint64_t>s * WORD_STRIDE + (rank >> 6)
    word[0] &= ~(<uint64_t>1 << (rank & 63))
    if word[0] == 0:
        e.summary[(<uint64_t>s << (RANK_BITS - 12)) + (rank >> 12)] &= ~(
            <uint64_t>1 << ((rank >> 6) & 63)
        )
    if <int32_t>rank == e.best[s]:
        e.best[s] = next_rank(e, s, <int32_t>rank)

cdef inline void unqueue(Engine* e, uint32_t o) noexcept nogil:
    cdef Order* m = e.pool + o
    cdef Level* level = level_at(e, m.level)
    cdef uint32_t before = m.prev, after = m.next
    cdef uint32_t* forward = &e.pool[before].next
    cdef uint32_t* backward = &e.pool[after].prev
    # Selected, not branched: where in its queue an order stands cannot be predicted.
    if before == 0:
        forward = &level.head
    if after == 0:
        backward = &level.tail
    forward[0] = after
    backward[0] = before
    if before == 0 and after == 0:
        vacate(e, m.level >> RANK_BITS, rank_of(e, m))

cdef inline void queue_last(Engine* e, uint32_t o) noexcept nogil:
    cdef Order* m = e.pool + o
    cdef Level* level = level_at(e, m.level)
    m.next = 0
    m.prev = level.tail
    if level.tail != 0:
        e.pool[level.tail].next = o
    else:
        level.head = o
        occupy(e, m.level >> RANK_BITS, rank_of(e, m))
    level.tail = o

cdef inline void queue_first(Engine* e, uint32_t o) noexcept nogil:
    cdef Order* m = e.pool + o
    cdef Level* level = level_at(e, m.level)
    m.prev = 0
    m.next = level.head
    if level.head != 0:
        e.pool[level.head].prev = o
    else:
        level.tail = o
        occupy(e, m.level >> RANK_BITS, rank_of(e, m))
    level.head = o

cdef inline Event* kill_in_ladder(
    Engine* e, Command* c, Event* start, Event* ev
) noexcept nogil:
    # Every maker was the first of its queue when it was met, so going backwards restores all.
    cdef uint32_t o
    while ev != start:
        ev -= 1
        o = find(e, ev.order)
        if o != 0:
            e.pool[o].quantity += ev.quantity
        else:
            o = recall(e)
            e.pool[o].quantity = ev.quantity
            queue_first(e, o)
    return put(ev, c.order, 0, c.book, c.tick, c.quantity, CANCELLED, KILLED, c.side)

cdef inline Event* finish_ladder(
    Engine* e, Command* c, Event* start, Event* ev, uint32_t left, uint32_t lost, uint64_t rival,
    bint stopped
) noexcept nogil:
    # What ends without resting: killed, stopped by an own order, filled, or given back.
    if c.tif == FILL_OR_KILL and (left != 0 or lost != 0):
        return kill_in_ladder(e, c, start, ev)
    if stopped:
        return put(ev, c.order, rival, c.book, c.tick, left, CANCELLED, SELF_TRADE, c.side)
    if left == 0:
        return put(ev, c.order, 0, c.book, c.tick, 0, FILLED, NONE, c.side)
    return put(ev, c.order, 0, c.book, c.tick, left, CANCELLED, REMAINDER, c.side)

cdef inline Event* rest_in_ladder(
    Engine* e, Command* c, Event* ev, uint32_t* link, uint32_t left
) noexcept nogil:
    cdef uint32_t own = ((c.book & e.place_mask) << 1) | c.side
    cdef uint32_t o = e.free_head
    cdef Order* m = e.pool + o
    e.free_head = m.next
    e.live += 1
    m.id = c.order
    m.chain = link[0]
    link[0] = o
    m.quantity = left
    m.level = (own << RANK_BITS) + (mirror(e, c.side, c.tick) << CLASS_BITS) + c.cls
    m.owner = c.owner
    queue_last(e, o)
    return put(ev, c.order, 0, c.book, c.tick, left, RESTED, NONE, c.side)

cdef inline Event* cross_ladder(
    Engine* e, Command* c, Event* start, uint32_t* link
) noexcept nogil:
    # The whole of an order that has someone to meet, or that must not rest. Level by level, and
    # in a level from the head, which is written back once.
    cdef Event* ev = start
    cdef uint32_t other = (((c.book & e.place_mask) << 1) | c.side) ^ 1
    cdef int32_t limit = <int32_t>(((e.ticks - mirror(e, c.side, c.tick)) << CLASS_BITS) - 1)
    cdef int32_t rank = e.best[other]
    cdef uint32_t left = c.quantity, lost = 0, owner = c.owner, o, after, fill, tick
    cdef uint64_t rival = 0
    cdef bint stopped = False
    cdef Level* level
    cdef Order* m
    while rank <= limit:
        level = level_at(e, (other << RANK_BITS) + <uint32_t>rank)
        tick = tick_of(e, other & 1, <uint32_t>rank)
        o = level.head
        while True:
            m = e.pool + o
            after = m.next
            gtx_prefetch(e.pool + after)
            fill = m.quantity if m.quantity < left else left
            if gtx_unlikely(m.owner == owner):
                if c.self_trade == NEWEST or c.self_trade == BOTH:
                    stopped = True
                    rival = m.id
                if c.self_trade == NEWEST:
                    break
                if c.self_trade == DECREMENT:
                    ev = put(
                        ev, m.id, c.order, c.book, tick, fill, REDUCED, SELF_TRADE, other & 1
                    )
                    lost += fill
                    left -= fill
                else:
                    fill = m.quantity
                    ev = put(
                        ev, m.id, c.order, c.book, tick, fill, CANCELLED, SELF_TRADE, other & 1
                    )
            else:
                ev = put(ev, m.id, c.order, c.book, tick, fill, TRADE, NONE, other & 1)
                left -= fill
            m.quantity -= fill
            if m.quantity != 0:
                break
            forget(e, o)
            o = after
            if o == 0 or left == 0 or stopped:
                break
        level.head = o
        if o != 0:
            e.pool[o].prev = 0
            break
        level.tail = 0
        vacate(e, other, <uint32_t>rank)
        rank = e.best[other]
        if left == 0 or stopped:
            break
    if left == 0 or stopped or c.tif != GOOD_TILL_GATE:
        return finish_ladder(e, c, start, ev, left, lost, rival, stopped)
    return rest_in_ladder(e, c, ev, link, left)

cdef inline bint crosses_ladder(Engine* e, Command* c) noexcept nogil:
    cdef uint32_t other = (((c.book & e.place_mask) << 1) | c.side) ^ 1
    return e.best[other] < <int32_t>((e.ticks - mirror(e, c.side, c.tick)) << CLASS_BITS)
