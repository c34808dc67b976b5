# cython: language_level=3
"""The memory of the order books: taken when they are made or opened, touched before it is needed.

It decides how much there is and where a place begins; what is written there others decide.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from ext.heaps cimport NOBODY
from ext.pool cimport (
    CLASS_BITS, LEVEL_STRIDE, RANK_BITS, WORD_STRIDE, Engine, Event, Level, Order, Place, Spot,
    gtx_arena, gtx_arena_free, level_at,
)
from ext.tree cimport BLOCK_BITS, Net

cdef extern from * nogil:
    """
    #define GTX_CLOSED ((uint64_t)1 << 63)
    """
    const uint64_t CLOSED "GTX_CLOSED"  # the number of no book

cdef inline bint make_engine(
    Engine* e, uint32_t orders_max, uint32_t ticks, uint32_t books_max
) noexcept:
    """Everything but what networks need; false where there is no such memory."""
    cdef uint32_t buckets = 2, i
    cdef size_t sides = 2 * <size_t>books_max
    while buckets < orders_max:
        buckets *= 2
    e.bucket_mask = buckets - 1
    e.ticks = ticks
    e.orders_max = orders_max
    e.place_mask = books_max - 1
    e.pool = <Order*>gtx_arena((<size_t>orders_max + 1) * sizeof(Order))
    e.bucket = <uint32_t*>gtx_arena(buckets * sizeof(uint32_t))
    e.levels = <Level*>gtx_arena(sides * LEVEL_STRIDE * sizeof(Level))
    e.words = <uint64_t*>gtx_arena(sides * WORD_STRIDE * sizeof(uint64_t))
    e.summary = <uint64_t*>gtx_arena(sides << (RANK_BITS - 9))
    e.best = <int32_t*>calloc(2 * books_max, sizeof(int32_t))
    e.places = <Place*>calloc(books_max, sizeof(Place))
    e.ladders = <uint64_t*>calloc(books_max, sizeof(uint64_t))
    if (
        e.pool == NULL or e.bucket == NULL or e.levels == NULL or e.words == NULL
        or e.summary == NULL or e.best == NULL or e.places == NULL or e.ladders == NULL
    ):
        return False
    for i in range(books_max):
        e.places[i].book = e.ladders[i] = CLOSED
        e.best[2 * i] = e.best[2 * i + 1] = 1 << RANK_BITS
    for i in range(orders_max):
        e.pool[i + 1].next = i + 2 if i + 1 < orders_max else 0
    e.free_head = 1
    memset(e.bucket, 0, buckets * sizeof(uint32_t))
    return True

cdef inline void free_engine(Engine* e, int books_max) noexcept:
    cdef int i
    if e.places != NULL:
        for i in range(books_max):
            free(e.places[i].keys)
    gtx_arena_free(e.pool)
    gtx_arena_free(e.spots)
    gtx_arena_free(e.bucket)
    gtx_arena_free(e.levels)
    gtx_arena_free(e.words)
    gtx_arena_free(e.summary)
    free(e.best)
    free(e.places)
    free(e.ladders)

cdef inline void touch(Engine* e, uint32_t place) noexcept:
    """Bring a ladder's memory in before the first order needs it. It is zero already."""
    cdef uint32_t first, side
    for side in range(2):
        first = (2 * place + side) << RANK_BITS
        memset(level_at(e, first), 0, (<size_t>e.ticks << CLASS_BITS) * sizeof(Level))
        memset(
            e.words + <size_t>(first >> RANK_BITS) * WORD_STRIDE, 0,
            <size_t>e.ticks << CLASS_BITS >> 3
        )

cdef inline bint attach(
    Engine* e, Place* p, Net* net, int32_t* position, int32_t* names
) noexcept:
    """Let a place's orders stand on a network; false where there is no memory for it."""
    cdef int32_t blocks = net.blocks, padded = blocks << BLOCK_BITS, i
    cdef size_t spots = (<size_t>e.orders_max + 1) * sizeof(Spot)
    if e.spots == NULL:
        e.spots = <Spot*>gtx_arena(spots)
        if e.spots == NULL:
            return False
        memset(e.spots, 0, spots)
    touch(e, <uint32_t>(p - e.places))
    p.keys = <int64_t*>calloc(2 * (padded * 15 + blocks * 12), 1)
    if p.keys == NULL:
        return False
    p.group_keys = p.keys + 2 * padded
    p.block_keys = p.group_keys + 2 * padded // 8
    p.block_at = <int32_t*>(p.block_keys + 2 * blocks)
    p.roots = <uint32_t*>(p.block_at + 2 * blocks)
    p.ends = p.roots + 2 * padded
    p.by_node = False
    p.orders = p.turns = 0
    p.stay = 0
    for i in range(2 * padded):
        p.keys[i] = NOBODY
    for i in range(2 * padded // 8):
        p.group_keys[i] = NOBODY
    for i in range(2 * blocks):
        p.block_keys[i] = NOBODY
    p.padded = padded
    p.blocks = blocks
    p.position = position
    p.names = names
    p.net = net
    return True

cdef inline void detach(Place* p) noexcept:
    free(p.keys)
    p.keys = NULL
    p.net = NULL
    p.flow = NULL
