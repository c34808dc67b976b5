# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Columns of integers to wire bytes and back, at a nanosecond a value.

The compiled twin of `encode_columns` and `decode_columns` in the treaty's codec: each column is its
first value and then differences, as zigzag varints. It decides which bytes are well formed, in the
same order and with the same words as the twin, and must never accept what the twin refuses: the
bytes come from a stranger. It keeps nothing between calls.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.long cimport PyLong_FromLongLong
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef extern from * nogil:
    """
    #define gtx_add_overflows(a, b, out) __builtin_add_overflow((a), (b), (out))
    #define gtx_sub_overflows(a, b, out) __builtin_sub_overflow((a), (b), (out))
    #define gtx_mul_overflows(a, b, out) __builtin_mul_overflow((a), (b), (out))
    """
    bint gtx_add_overflows(int64_t a, int64_t b, int64_t* out)
    bint gtx_sub_overflows(int64_t a, int64_t b, int64_t* out)
    bint gtx_mul_overflows(int64_t a, int64_t b, int64_t* out)

cdef enum Fault:
    NONE = 0
    SHORT = 1
    LONG = 2
    VALUE_WIDE = 3
    VARINT_WIDE = 4
    VARINT_LONG = 5
    VARINT_CUT = 6

_MESSAGES = {
    SHORT: "columns: fewer values than the header says",
    LONG: "columns: more values than the header says",
    VALUE_WIDE: "columns: a value leaves 64 bits",
    VARINT_WIDE: "columns: a varint leaves 64 bits",
    VARINT_LONG: "columns: a varint is longer than ten bytes",
    VARINT_CUT: "columns: ends inside a varint",
}

cdef enum:
    VARINT_BYTES_MAX = 10

cdef int64_t VALUE_MAX = <int64_t>1 << 62


cdef inline Fault _varint(
    const uint8_t** at, const uint8_t* end, uint64_t* out
) noexcept nogil:
    """One varint, or why there is none. Leading zero groups are legal, as in the twin."""
    cdef const uint8_t* p = at[0]
    cdef uint64_t value, octet
    cdef int groups
    if p == end:
        return SHORT
    value = p[0]
    p += 1
    if value >= 0x80:
        value &= 0x7F
        groups = 1
        while True:
            if p == end:
                return VARINT_CUT
            octet = p[0]
            p += 1
            groups += 1
            if groups == VARINT_BYTES_MAX:
                # Only the lowest bit of the tenth group fits into 64 bits.
                if octet >= 0x80:
                    return VARINT_LONG
                if octet > 1:
                    return VARINT_WIDE
            value |= (octet & 0x7F) << (7 * (groups - 1))
            if octet < 0x80:
                break
    at[0] = p
    out[0] = value
    return NONE


cdef Fault _decode(
    const uint8_t* p, Py_ssize_t size, Py_ssize_t columns, Py_ssize_t sweeps, int64_t* out
) noexcept nogil:
    """All values into `out`, or with `out` NULL only the first fault."""
    cdef const uint8_t* end = p + size
    cdef Py_ssize_t c, t
    cdef uint64_t raw = 0
    cdef int64_t value
    cdef Fault fault
    for c in range(columns):
        value = 0
        for t in range(sweeps):
            fault = _varint(&p, end, &raw)
            if fault != NONE:
                return fault
            if gtx_add_overflows(value, <int64_t>((raw >> 1) ^ (0 - (raw & 1))), &value):
                return VALUE_WIDE
            if out != NULL:
                out[0] = value
                out += 1
    fault = _varint(&p, end, &raw)
    if fault == SHORT:
        return NONE
    return LONG if fault == NONE else fault


cdef class Columns:
    """Decoded columns: a sequence of tuples, each made when it is first asked for.

    Most columns of a batch are kept as evidence and never looked at, so an integer costs eight
    bytes and no object until then.
    """

    cdef int64_t* _values
    cdef Py_ssize_t _first, _count, _sweeps
    cdef list _made
    cdef Columns _owner

    def __dealloc__(self):
        if self._owner is None:
            PyMem_Free(self._values)

    def __len__(self):
        return self._count

    def __getitem__(self, Py_ssize_t index):
        if not 0 <= index < self._count:
            raise IndexError(f"column {index} of {self._count}")
        made = self._made[index]
        if made is None:
            made = self._made[index] = _tuple(
                self._values + (self._first + index) * self._sweeps, self._sweeps, 0, 0, 1
            )
        return made

    def times(
        self, Py_ssize_t devices, int64_t base_ms, int64_t period_ms, int64_t unit_ms, int64_t end_ms
    ):
        """Reply times out of the first columns, and the newest; ValueError unless in (0, end_ms)."""
        cdef Py_ssize_t c, t
        cdef int64_t at, newest = 0
        cdef int64_t* offset = self._values + self._first * self._sweeps
        if not 0 <= devices <= self._count:
            raise IndexError(f"{devices} of {self._count} columns")
        for c in range(devices):
            for t in range(self._sweeps):
                if (
                    gtx_mul_overflows(offset[0], unit_ms, &at)
                    or gtx_add_overflows(at, base_ms + t * period_ms, &at)
                    or not 0 < at < end_ms
                ):
                    raise ValueError("sweeps: a reply time is out of range")
                newest = max(newest, at)
                offset += 1
        offset = self._values + self._first * self._sweeps
        made = tuple([
            _tuple(offset + c * self._sweeps, self._sweeps, base_ms, period_ms, unit_ms)
            for c in range(devices)
        ])
        return made, newest

    def after(self, Py_ssize_t count):
        """The columns behind the first `count`, sharing their memory."""
        if not 0 <= count <= self._count:
            raise IndexError(f"{count} of {self._count} columns")
        cdef Columns rest = Columns.__new__(Columns)
        rest._owner = self if self._owner is None else self._owner
        rest._values = self._values
        rest._first = self._first + count
        rest._count = self._count - count
        rest._sweeps = self._sweeps
        rest._made = [None] * rest._count
        return rest


cdef tuple _tuple(
    const int64_t* at, Py_ssize_t sweeps, int64_t base, int64_t period, int64_t unit
):
    """base + t * period + unit * value for each sweep."""
    cdef Py_ssize_t t
    column = PyTuple_New(sweeps)
    for t in range(sweeps):
        value = PyLong_FromLongLong(base + t * period + unit * at[t])
        Py_INCREF(value)
        PyTuple_SET_ITEM(column, t, value)
    return column


def decode(bytes data not None, Py_ssize_t columns, Py_ssize_t sweeps):
    """`columns` tuples of `sweeps` integers each. Raises ValueError like the treaty's twin."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef const uint8_t* raw = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef Fault fault
    if columns < 0:
        columns = 0
    if sweeps < 0:
        sweeps = 0
    # Every value takes a byte at least: more values than bytes are never worth any memory.
    if sweeps and columns > size // sweeps:
        raise ValueError(_MESSAGES[_decode(raw, size, columns, sweeps, NULL)])
    cdef Columns result = Columns.__new__(Columns)
    result._values = <int64_t*>PyMem_Malloc((columns * sweeps + 1) * sizeof(int64_t))
    if result._values == NULL:
        raise MemoryError
    with nogil:
        fault = _decode(raw, size, columns, sweeps, result._values)
    if fault != NONE:
        raise ValueError(_MESSAGES[fault])
    result._count = columns
    result._sweeps = sweeps
    result._made = [None] * columns
    return result


def decode_into(
    const uint8_t[::1] data not None, Py_ssize_t columns, Py_ssize_t sweeps,
    int64_t[::1] out not None
):
    """The values column-major into `out`, without an object a value. Raises ValueError.

    `out` is any writable buffer of 64-bit integers with room for columns * sweeps of them; after a
    ValueError its contents mean nothing.
    """
    cdef const uint8_t* raw = &data[0] if data.shape[0] else NULL
    cdef Fault fault
    if columns < 0:
        columns = 0
    if sweeps < 0:
        sweeps = 0
    if sweeps and columns > out.shape[0] // sweeps:
        raise ValueError(f"columns: {columns} x {sweeps} values, room for {out.shape[0]}")
    with nogil:
        fault = _decode(raw, data.shape[0], columns, sweeps, &out[0] if out.shape[0] else NULL)
    if fault != NONE:
        raise ValueError(_MESSAGES[fault])


def encode(columns):
    """Wire bytes of an iterable of sequences of integers within 2^62 either way.

    Raises ValueError for a value beyond that, or OverflowError beyond 64 bits, and ValueError for a
    difference that no reader would take.
    """
    cdef Py_ssize_t room = 256, used = 0
    cdef int64_t value, last, delta
    cdef uint64_t number
    cdef uint8_t* grown
    cdef uint8_t* out = <uint8_t*>PyMem_Malloc(room)
    if out == NULL:
        raise MemoryError
    try:
        for column in columns:
            last = 0
            for item in column:
                value = item
                if not -VALUE_MAX <= value <= VALUE_MAX:
                    raise ValueError(f"a value of {value} is beyond 62 bits and cannot be sent")
                if gtx_sub_overflows(value, last, &delta):
                    raise ValueError("columns: a difference leaves 64 bits")
                last = value
                if used + VARINT_BYTES_MAX > room:
                    grown = <uint8_t*>PyMem_Realloc(out, 2 * room)
                    if grown == NULL:
                        raise MemoryError
                    out = grown
                    room *= 2
                number = (<uint64_t>delta << 1) ^ <uint64_t>(delta >> 63)
                while number > 0x7F:
                    out[used] = <uint8_t>(number | 0x80)
                    used += 1
                    number >>= 7
                out[used] = <uint8_t>number
                used += 1
        return PyBytes_FromStringAndSize(<char*>out, used)
    finally:
        PyMem_Free(out)
