# cython: language_level=3, boundscheck=False, wraparound=False
"""The loops of a network, as a slot's flow needs them: a factor for each node and branch."""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from ext.tree cimport Tree

PARTS = 1 << ONE_BITS
"""Factors are in these parts of what a node draws."""

cdef enum:
    FACTOR_MAX = 4 << ONE_BITS


cdef class Loops:
    """`factors` has a row for each node and in it a whole number for each branch.

    Raises ValueError for rows that do not fit, and for factors beyond four.
    """

    def __cinit__(self, Tree tree not None, factors):
        cdef int64_t at
        rows = [list(row) for row in factors]
        self.size = tree.size
        self.count = len(rows[0]) if rows else 0
        if len(rows) != tree.size or any(len(row) != self.count for row in rows):
            raise ValueError(f"loops: {tree.size} rows of one length are needed, one a node")
        if any(abs(value) > FACTOR_MAX for row in rows for value in row):
            raise ValueError("loops: a factor of more than four can not be meant")
        self.factor = <int64_t*>malloc(max(1, self.size * self.count) * sizeof(int64_t))
        if self.factor == NULL:
            raise MemoryError
        for node, row in enumerate(rows):
            at = <int64_t>tree.place(node) * self.count
            for value in row:
                self.factor[at] = value
                at += 1

    def __dealloc__(self):
        free(self.factor)
