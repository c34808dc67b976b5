# cython: language_level=3
"""What both kinds of order book are made of: records, the pool of orders, the map from id to order.

An order is 32 bytes in a pool that is allocated and touched when the books are made; nothing is
allocated while orders come and go. Index 0 of the pool is nobody, so 0 ends every chain.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from ext.tree cimport Net
from ext.wires cimport Flow

cdef extern from * nogil:
    """
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>
    #include <time.h>
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "the records of ext.book are little-endian"
    #endif

    /* Zeroed memory, on huge pages where the system has them; untouched pages cost nothing. */
    static void* gtx_arena(size_t size) {
    #if defined(__linux__)
        const size_t huge = (size_t)2 << 20;
        char* start = (char*)mmap(NULL, size + 2 * huge, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (start == (char*)MAP_FAILED) return NULL;
        char* first = (char*)(((uintptr_t)start + 64 + huge - 1) & ~(uintptr_t)(huge - 1));
        ((char**)first)[-1] = start;
        ((size_t*)first)[-2] = size + 2 * huge;
        madvise(first, size, MADV_HUGEPAGE);
        return first;
    #else
        return calloc(1, size);
    #endif
    }
    static void gtx_arena_free(void* first) {
        if (!first) return;
    #if defined(__linux__)
        munmap(((char**)first)[-1], ((size_t*)first)[-2]);
    #else
        free(first);
    #endif
    }
    /* The empty statement counts as an effect: without it gcc drops calls of a function that
       does nothing but prefetch. */
    #define gtx_prefetch(p) do { __builtin_prefetch((p), 1, 3); __asm__ volatile(""); } while (0)
    #define gtx_likely(x) __builtin_expect(!!(x), 1)
    #define gtx_unlikely(x) __builtin_expect(!!(x), 0)
    #define gtx_ctz(x) __builtin_ctzll(x)
    /* The finest clock there is, in its own unit. Only for measuring. */
    static inline uint64_t gtx_clock(void) {
    #if defined(__x86_64__)
        return __builtin_ia32_rdtsc();
    #elif defined(__aarch64__)
        uint64_t now; __asm__ volatile("mrs %0, cntvct_el0" : "=r"(now)); return now;
    #else
        struct timespec now; clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    #endif
    }

    typedef struct {
        uint64_t order; uint32_t book, tick, quantity, owner; uint16_t node;
        uint8_t version, operation, side, cls, tif, self_trade;
    } GtxCommand;
    typedef struct {
        uint64_t order, other; uint32_t book, tick, quantity; uint8_t kind, reason, side, version;
    } GtxEvent;
    typedef struct {
        uint64_t id; uint32_t next, prev, chain, quantity, level, owner;
    } GtxOrder;
    typedef struct { uint32_t head, tail; } GtxLevel;
    typedef struct { int64_t key; uint32_t parent; uint16_t node; uint8_t rank, spare; } GtxSpot;
    _Static_assert(sizeof(GtxCommand) == 32 && sizeof(GtxEvent) == 32, "records are 32 bytes");
    _Static_assert(sizeof(GtxOrder) == 32 && sizeof(GtxLevel) == 8 && sizeof(GtxSpot) == 16, "");
    static inline GtxEvent* gtx_put(GtxEvent* at, uint64_t order, uint64_t other, uint32_t book,
                                    uint32_t tick, uint32_t quantity, unsigned kind,
                                    unsigned reason, unsigned side) {
        at->order = order; at->other = other; at->book = book; at->tick = tick;
        uint32_t tail = kind | reason << 8 | side << 16 | 1u << 24;
        at->quantity = quantity;
        memcpy(&at->kind, &tail, 4);
        return at + 1;
    }
    /* The last eight bytes of a command as one number: node, version, operation, side, class,
       time in force, self-trade. */
    static inline uint64_t gtx_tail(const GtxCommand* c) {
        uint64_t tail; memcpy(&tail, &c->node, 8); return tail;
    }
    """
    void* gtx_arena(size_t size)
    void gtx_arena_free(void* first)
    void gtx_prefetch(const void* address)
    bint gtx_likely(bint truth)
    bint gtx_unlikely(bint truth)
    int gtx_ctz(uint64_t word)
    uint64_t gtx_clock()

    ctypedef struct Command "GtxCommand":
        uint64_t order
        uint32_t book
        uint32_t tick
        uint32_t quantity
        uint32_t owner
        uint16_t node
        uint8_t version
        uint8_t operation
        uint8_t side
        uint8_t cls
        uint8_t tif
        uint8_t self_trade
    ctypedef struct Event "GtxEvent":
        uint64_t order
        uint64_t other
        uint32_t book
        uint32_t tick
        uint32_t quantity
        uint8_t kind
        uint8_t reason
        uint8_t side
        uint8_t version
    # In a ladder next and prev are the neighbours in the queue, in a heap the two children.
    ctypedef struct Order "GtxOrder":
        uint64_t id
        uint32_t next
        uint32_t prev
        uint32_t chain
        uint32_t quantity
        uint32_t level
        uint32_t owner
    ctypedef struct Level "GtxLevel":
        uint32_t head
        uint32_t tail
    # What an order on a network has besides: its priority and its place in its node's heap.
    ctypedef struct Spot "GtxSpot":
        int64_t key
        uint32_t parent
        uint16_t node
        uint8_t rank
        uint8_t spare
    Event* put "gtx_put"(
        Event* at, uint64_t order, uint64_t other, uint32_t book, uint32_t tick, uint32_t quantity,
        unsigned kind, unsigned reason, unsigned side
    )
    uint64_t gtx_tail(const Command* c)

cdef enum:
    RECORD_VERSION = 1
    NO_NODE = 65_535
    CLASS_BITS = 2
    RANK_BITS = 15  # a constant, because shifts by one are what the ladder does most
    TICKS_MAX = 8192
    # Prices of all books lie near the middle of their bands. Were the strides powers of two, those
    # places would share a few sets of the cache and push each other out.
    LEVEL_SKEW = 72
    LEVEL_STRIDE = 32768 + 72
    WORD_STRIDE = 512 + 9

cdef enum Operation:
    SUBMIT = 0
    CANCEL = 1
    REPLACE = 2

cdef enum TimeInForce:
    GOOD_TILL_GATE = 0
    IMMEDIATE_OR_CANCEL = 1
    FILL_OR_KILL = 2

cdef enum SelfTrade:
    OLDEST = 0
    NEWEST = 1
    BOTH = 2
    DECREMENT = 3

cdef enum Kind:
    TRADE = 1
    RESTED = 2
    FILLED = 3
    CANCELLED = 4
    REDUCED = 5
    REJECTED = 6

cdef enum Reason:
    NONE = 0
    SWEPT = 1
    REMAINDER = 2
    KILLED = 3
    SELF_TRADE = 4
    BAD_BOOK = 16
    BAD_SIDE = 17
    BAD_TICK = 18
    BAD_QUANTITY = 19
    BAD_CLASS = 20
    BAD_NODE = 21
    BAD_TIME_IN_FORCE = 22
    BAD_SELF_TRADE = 23
    DUPLICATE = 24
    UNKNOWN_ORDER = 25
    FULL = 26
    BAD_OPERATION = 27
    BAD_VERSION = 28

cdef struct Place:
    uint64_t book  # its number, or CLOSED, which no 32-bit number equals
    Net* net  # NULL for a book without a network; the rest is for one with
    Flow* flow  # NULL where the rooms alone decide
    int32_t* position  # node to depth-first position, and back
    int32_t* names
    int64_t* keys  # [2][padded] each node's best key
    int64_t* group_keys  # [2][padded / 8] the best of eight nodes
    int64_t* block_keys  # [2][blocks] and of eight groups
    int32_t* block_at
    uint32_t* roots  # [2][padded]
    uint32_t* ends  # [padded] of the chains that a new heap begins as
    int32_t padded
    int32_t blocks
    bint by_node  # orders hang in the nodes' heaps, not in the ladder
    uint32_t orders
    uint64_t stay  # so many orders more before the ladder is tried again
    uint32_t turns  # how often the nodes' heaps were built

cdef struct Engine:
    Order* pool
    Spot* spots
    Level* levels  # [place][side][rank], see level_at
    uint64_t* words  # which levels are occupied
    uint64_t* summary  # which words are
    int32_t* best  # [place][side] best occupied rank, or the number of ranks
    uint32_t* bucket
    Place* places
    uint64_t* ladders  # by place: its book's number if that has no network, else CLOSED
    uint32_t free_head
    uint32_t live
    uint32_t orders_max
    uint32_t bucket_mask
    uint32_t place_mask
    uint32_t ticks
    uint64_t arrivals

cdef inline uint32_t bucket_of(Engine* e, uint64_t order_id) noexcept nogil:
    return <uint32_t>((order_id * <uint64_t>0x9E3779B97F4A7C15) >> 32) & e.bucket_mask

cdef inline uint32_t find(Engine* e, uint64_t order_id) noexcept nogil:
    cdef uint32_t o = e.bucket[bucket_of(e, order_id)]
    while o != 0 and e.pool[o].id != order_id:
        o = e.pool[o].chain
    return o

cdef inline uint32_t* find_link(Engine* e, uint64_t order_id) noexcept nogil:
    # The link that leads to the order, or the 0 at the end of its chain.
    cdef uint32_t* link = e.bucket + bucket_of(e, order_id)
    cdef Order* first = e.pool + link[0]
    link = link if first.id == order_id else &first.chain
    while gtx_unlikely(link[0] != 0 and e.pool[link[0]].id != order_id):
        link = &e.pool[link[0]].chain
    return link

cdef inline void forget(Engine* e, uint32_t o) noexcept nogil:
    cdef uint32_t* link = e.bucket + bucket_of(e, e.pool[o].id)
    link = link if link[0] == o else &e.pool[link[0]].chain
    while gtx_unlikely(link[0] != o):
        link = &e.pool[link[0]].chain
    forget_at(e, link, o)

cdef inline void forget_at(Engine* e, uint32_t* link, uint32_t o) noexcept nogil:
    # Out of the map and back to the pool; the record itself stays readable until it is used again.
    link[0] = e.pool[o].chain
    e.pool[o].next = e.free_head
    e.free_head = o
    e.live -= 1

cdef inline uint32_t recall(Engine* e) noexcept nogil:
    # The order forgotten last, as it was, back in the map.
    cdef uint32_t o = e.free_head
    cdef uint32_t* link = e.bucket + bucket_of(e, e.pool[o].id)
    e.free_head = e.pool[o].next
    e.pool[o].chain = link[0]
    link[0] = o
    e.live += 1
    return o

cdef inline uint32_t mirror(Engine* e, uint32_t side, uint32_t tick) noexcept nogil:
    # Steps from the best price of a side to a tick, or back. Without a branch: sides are random.
    return tick ^ ((side - 1) & (e.ticks - 1))

cdef inline uint32_t tick_of(Engine* e, uint32_t side, uint32_t rank) noexcept nogil:
    return mirror(e, side, rank >> CLASS_BITS)

cdef inline uint32_t side_of(Engine* e, Order* m) noexcept nogil:
    return (m.level >> RANK_BITS) & 1

cdef inline uint32_t rank_of(Engine* e, Order* m) noexcept nogil:
    return m.level & ((<uint32_t>1 << RANK_BITS) - 1)

cdef inline uint32_t place_of(Engine* e, Order* m) noexcept nogil:
    return m.level >> (RANK_BITS + 1)

cdef inline Level* level_at(Engine* e, uint32_t level) noexcept nogil:
    return e.levels + (level + <uint64_t>(level >> RANK_BITS) * LEVEL_SKEW)
