# cython: language_level=3
"""The AC power flow of one delivery slot, as the order book asks it before every fill.

A network is cut into areas: the trunk, and the low-voltage grids that hang from it. A trade moves
the power of two nodes; only their areas and the trunk between them are swept, each from the
voltages that the last accepted trade left, so that the work is the same for every trade.
"""

from libc.stdint cimport int8_t, int32_t, int64_t

from ext.area cimport Area
from ext.loops cimport Loops, Mesh
from ext.tree cimport Net, Tree

cdef struct Flow:
    Area* areas  # the trunk first
    int32_t count
    int32_t size  # positions
    int32_t* area  # of each position
    int32_t* own  # and its number there
    double* r  # of each position's edge, for choosing between edges
    int64_t* kept_up  # room withheld from the edge above each position, Wh
    int64_t* kept_down
    double* arena  # all that changes, one piece
    int64_t arena_doubles
    double* shadow  # the same as it was before a fill-or-kill,
    Area* shadow_areas  # and which state was live,
    int64_t* shadow_rooms  # and both rooms and what was withheld
    int64_t shadow_refused
    bint shadow_due
    Mesh mesh  # where the network has loops, it decides in place of the areas
    bint blind  # the base has no solution: nothing may be added to it
    bint due  # an area has waited long enough
    int64_t refused

cdef int64_t admit(Flow* f, Net* net, int32_t seller, int32_t buyer, int64_t wh) noexcept nogil
cdef void give_back(Flow* f, Net* net) noexcept nogil
cdef void remember(Flow* f, Net* net) noexcept nogil
cdef void restore(Flow* f, Net* net) noexcept nogil

cdef class Wires:
    cdef readonly Tree tree
    cdef Area* areas  # with what never changes
    cdef int32_t count
    cdef int64_t nodes  # of all areas, the held ones counted twice
    cdef int64_t lanes  # the same, once for each phase that is swept
    cdef int64_t widest  # the most of one area
    cdef int32_t* area
    cdef int32_t* own
    cdef double* r
    cdef list blocks
    cdef void* take(self, size_t size) except NULL
    cdef int cut(self, heads) except -1
    cdef int fill(self, int32_t k, list positions, columns, transformers) except -1
    cdef int part(self, int32_t k, list members, columns, phases) except -1

cdef class SlotFlow:
    cdef Flow flow
    cdef readonly Wires wires
    cdef readonly Loops loops
    cdef void* memory
    cdef list numbers(self, const int64_t* first)
    cdef int put(self, int64_t* first, values) except -1
    cdef void carve(self) noexcept
    cdef void draw(self, Area* a, int32_t i, double p, double q) noexcept
    cdef bint solve(self) noexcept
    cdef double* column(self, Area* a, int number) noexcept
    cdef void bound(self) noexcept
