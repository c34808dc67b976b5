# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The one message that comes thousands of times a second, opened without an object a field.

Reads a ConnectRequest that holds a SealedPayload exactly as every protobuf writer writes it: fields
in order, each once, none left out. It decides nothing about anything else: for any other bytes,
valid or not, the answer is None, and protobuf itself is asked.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    SEALED_FIELD = 0x12
    SEQ = 0x08
    PREVIOUS = 0x12
    PAYLOAD = 0x1A
    SIGNATURE = 0x22


cdef inline bint _varint(const uint8_t** at, const uint8_t* end, uint64_t* out) noexcept nogil:
    """A varint of at most nine bytes: 63 bits."""
    cdef int shift = 0
    out[0] = 0
    while at[0] < end and shift < 63:
        out[0] |= <uint64_t>(at[0][0] & 0x7F) << shift
        at[0] += 1
        if at[0][-1] < 0x80:
            return True
        shift += 7
    return False


cdef inline bint _field(
    const uint8_t** at, const uint8_t* end, uint8_t tag, const uint8_t** found, uint64_t* size
) noexcept nogil:
    """The bytes of one field, or False where there is another one or none."""
    if at[0] >= end or at[0][0] != tag:
        return False
    at[0] += 1
    if not _varint(at, end, size) or size[0] == 0 or size[0] > <uint64_t>(end - at[0]):
        return False
    found[0] = at[0]
    at[0] += size[0]
    return True


def open_sealed(bytes message not None):
    """(seq, previous, payload, signature) of a sealed payload, or None for anything else."""
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(message)
    cdef const uint8_t* end = at + PyBytes_GET_SIZE(message)
    cdef const uint8_t* inner
    cdef const uint8_t* previous
    cdef const uint8_t* payload
    cdef const uint8_t* signature
    cdef uint64_t size, seq, previous_size, payload_size, signature_size
    if not _field(&at, end, SEALED_FIELD, &inner, &size) or at != end:
        return None
    at = inner
    if at == end or at[0] != SEQ:
        return None
    at += 1
    if not (
        _varint(&at, end, &seq)
        and _field(&at, end, PREVIOUS, &previous, &previous_size)
        and _field(&at, end, PAYLOAD, &payload, &payload_size)
        and _field(&at, end, SIGNATURE, &signature, &signature_size)
        and at == end
    ):
        return None
    return (
        seq,
        PyBytes_FromStringAndSize(<const char*>previous, previous_size),
        PyBytes_FromStringAndSize(<const char*>payload, payload_size),
        PyBytes_FromStringAndSize(<const char*>signature, signature_size),
    )
