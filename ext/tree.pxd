# cython: language_level=3
"""The network as the order book sees it: C structs and the inline walks over them.

Positions are depth-first numbers, so a subtree is the interval [v, end[v]). `up` and `down` hold
the room left on the edge above a position, towards the root and towards the customers. An edge
without room is shut in that direction; `*_low` and `*_high` hold, for every position, the subtree
that energy moving up (or arriving down) there can span without crossing a shut edge. They change
only where an edge shuts or opens, and only inside its subtree.

Most edges have room for far more than a trade. Their books are kept late: a trade only notes what it
brings to its two nodes, and `settle` carries that up the tree before it could matter. Until then
every such edge, called wide, still has at least `slack - spent`. Only tight edges are walked.
"""

from libc.stdint cimport int32_t, int64_t

cdef enum:
    BLOCK_BITS = 6
    BLOCK = 64

cdef struct Reach:
    # One direction of flow.
    int64_t* room  # on the edge above each position
    int32_t* low  # the reachable subtree, as an interval
    int32_t* high
    int32_t* block_low_min  # bounds over blocks of 64 positions
    int32_t* block_low_max
    int32_t* block_high_min
    int32_t* block_high_max

cdef struct Net:
    int32_t size
    int32_t blocks
    int32_t* parent
    int32_t* end
    Reach up
    Reach down
    int32_t* tight  # the nearest tight edge at or above each position; -1 where there is none
    int64_t* pending  # what came to each position and no wide edge was charged with yet
    int64_t slack  # the least room of a wide edge after the last settlement
    int64_t spent  # all that was traded since
    int64_t threshold  # an edge with less room than this is tight
    int64_t fills  # trades since the last settlement
    int32_t shuts  # how many directions of edges are shut
    bint opened  # from outside: two orders that the network parted may be able to meet

cdef void bound_blocks(Net* net, Reach* reach, int32_t start, int32_t end) noexcept nogil
cdef void shut(Net* net, Reach* reach, int32_t v) noexcept nogil
cdef void unshut(Net* net, Reach* reach, int32_t v) noexcept nogil
cdef void settle(Net* net, int64_t wanted) noexcept nogil
cdef void respan(Net* net) noexcept nogil

cdef inline bint reachable(Net* net, int32_t seller, int32_t buyer) noexcept nogil:
    return (
        net.up.low[seller] <= buyer < net.up.high[seller]
        and net.down.low[buyer] <= seller < net.down.high[buyer]
    )

cdef inline int64_t room_between(
    Net* net, int32_t seller, int32_t buyer, int64_t wanted
) noexcept nogil:
    # Up until the buyer is below, then from the buyer up to there: two loops, because a branch that
    # takes turns between both sides cannot be predicted.
    cdef int32_t meeting, v
    if net.slack - net.spent <= wanted:
        settle(net, wanted)
    meeting = net.tight[seller]
    while meeting >= 0 and not (meeting <= buyer < net.end[meeting]):
        if net.up.room[meeting] < wanted:
            wanted = net.up.room[meeting]
        meeting = net.tight[net.parent[meeting]]
    v = net.tight[buyer]
    while v != meeting:
        if net.down.room[v] < wanted:
            wanted = net.down.room[v]
        v = net.tight[net.parent[v]]
    return wanted if wanted > 0 else 0

cdef inline void move_edge(
    Net* net, Reach* less, Reach* more, int32_t v, int64_t wh
) noexcept nogil:
    cdef int64_t left = less.room[v], gained = more.room[v]
    less.room[v] = left - wh
    more.room[v] = gained + wh
    if left > 0 and left <= wh:
        shut(net, less, v)
    if gained <= 0 and gained > -wh:
        unshut(net, more, v)

cdef inline void reserve_between(
    Net* net, int32_t seller, int32_t buyer, int64_t wh
) noexcept nogil:
    # `wh` > 0. What one direction loses the other gains: their sum never changes.
    cdef int32_t meeting, v
    if net.slack - net.spent <= wh:
        settle(net, wh)
    net.spent += wh
    net.fills += 1
    net.pending[seller] -= wh
    net.pending[buyer] += wh
    meeting = net.tight[seller]
    while meeting >= 0 and not (meeting <= buyer < net.end[meeting]):
        move_edge(net, &net.up, &net.down, meeting, wh)
        meeting = net.tight[net.parent[meeting]]
    v = net.tight[buyer]
    while v != meeting:
        move_edge(net, &net.down, &net.up, v, wh)
        v = net.tight[net.parent[v]]

cdef class Tree:
    cdef readonly int size
    cdef int32_t* position  # node -> depth-first position
    cdef int32_t* node  # and back
    cdef int32_t* parent  # by position; -1 at the root
    cdef int32_t* end

    cdef int32_t place(self, object node) except -1

cdef class Headroom:
    cdef Net net
    cdef readonly Tree tree
    cdef void* arena
    cdef bint attached  # to an open book

    cdef void refresh(self) noexcept
    cdef void charge(self) noexcept nogil
    cdef void _carve(self, Reach* reach, int32_t* at, int size, int blocks) noexcept
    cdef void _set_room(self, Reach* reach, int32_t v, int64_t room) noexcept
    cdef int64_t _room(self, int32_t seller, int32_t buyer) noexcept
    cdef int64_t _amount(self, object wh) except -1
