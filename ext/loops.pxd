# cython: language_level=3, cdivision=True
"""What a trade may bring through the branches of a network's loops. Integers only.

Where current can choose its way, a trade moves every branch of the loops by a share: the difference
of two factors, in parts of 2**20 of what is drawn at a node. Flows are kept in the same parts, so
that nothing is rounded and what is taken back leaves no trace.
"""

from libc.stdint cimport int32_t, int64_t

cdef enum:
    ONE_BITS = 20
    SLOTS_PER_HOUR = 4

cdef struct Mesh:
    int32_t count  # branches; 0 where a network has no loop
    int64_t* factor  # by position, then branch
    int64_t* flow  # W in parts of 2**20, positive from the first end to the second
    int64_t* cap  # what it may come to either way, likewise
    int64_t* offset  # of the flow: what a power flow saw beside the factors
    int64_t* shadow  # flows as they were before a fill-or-kill

cdef inline int64_t mesh_room(Mesh* m, int32_t seller, int32_t buyer, int64_t wh) noexcept nogil:
    """How much of a trade passes. What is over already blocks only what loads it further."""
    cdef int64_t* out = m.factor + <int64_t>seller * m.count
    cdef int64_t* into = m.factor + <int64_t>buyer * m.count
    cdef int64_t share, left
    cdef int32_t b
    for b in range(m.count):
        share = into[b] - out[b]
        if share == 0:
            continue
        left = m.cap[b] - m.flow[b] if share > 0 else m.cap[b] + m.flow[b]
        if share < 0:
            share = -share
        if left < wh * SLOTS_PER_HOUR * share:
            wh = left // (SLOTS_PER_HOUR * share) if left > 0 else 0
    return wh

cdef inline void mesh_take(Mesh* m, int32_t seller, int32_t buyer, int64_t wh) noexcept nogil:
    cdef int64_t* out = m.factor + <int64_t>seller * m.count
    cdef int64_t* into = m.factor + <int64_t>buyer * m.count
    cdef int32_t b
    for b in range(m.count):
        m.flow[b] += (into[b] - out[b]) * SLOTS_PER_HOUR * wh

cdef class Loops:
    cdef readonly int count
    cdef readonly int size
    cdef int64_t* factor
