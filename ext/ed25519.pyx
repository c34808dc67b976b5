# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Ed25519 signatures of known keys, checked many at a time.

The aggregator hears the same keys again and again. So a key is opened once, into odd multiples of
-A, -2^64 A, -2^128 A and -2^192 A; a check then needs 64 doublings instead of 253, and all checks
of one call share one inversion.

Decides exactly what RFC 8032's check without the cofactor decides, as OpenSSL does: s < L, and the
bytes of sB - hA equal the bytes of R. Nothing is randomised and no equations are added up, so a
check does not depend on its neighbours, and a signature made to pass one kind of check and not the
other has nothing to work on. A key is taken only in its canonical form. Only for checking: nothing
here is secret, and time depends on the input. It keeps nothing between calls but opened keys.
"""

from hashlib import sha512

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int8_t, uint8_t, uint64_t
from libc.string cimport memcmp, memset

cdef extern from * nogil:
    """
    typedef unsigned __int128 gtx_uint128;
    #define GTX_LOW_51 0x7FFFFFFFFFFFFULL
    """
    ctypedef unsigned long long uint128 "gtx_uint128"
    const uint64_t LOW_51 "GTX_LOW_51"

cdef enum:
    PARTS = 4
    PART_BITS = 64
    KEY_WIDTH = 5
    KEY_ODDS = 8
    BASE_WIDTH = 8
    BASE_ODDS = 64

PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, PRIME) % PRIME
_ROOT_OF_MINUS_ONE = pow(2, (PRIME - 1) // 4, PRIME)

# ---- the field of 2^255 - 19, five limbs of 51 bits ---------------------------------------------
#
# A product's limbs are below 2^51 + 2^13. Sums and differences are not carried; the comments of
# their users show that no factor reaches 2^54, up to which a product cannot overflow 128 bits.

ctypedef struct Field:
    uint64_t v[5]


cdef inline void add(Field* out, const Field* a, const Field* b) noexcept nogil:
    cdef int i
    for i in range(5):
        out.v[i] = a.v[i] + b.v[i]


cdef inline void subtract(Field* out, const Field* a, const Field* b) noexcept nogil:
    """a - b + 2p, for b a product."""
    cdef int i
    out.v[0] = a.v[0] + 0xFFFFFFFFFFFDAULL - b.v[0]
    for i in range(1, 5):
        out.v[i] = a.v[i] + 0xFFFFFFFFFFFFEULL - b.v[i]


cdef inline void subtract_sum(Field* out, const Field* a, const Field* b) noexcept nogil:
    """a - b + 4p, for b a sum or difference of two products."""
    cdef int i
    out.v[0] = a.v[0] + 0x1FFFFFFFFFFFB4ULL - b.v[0]
    for i in range(1, 5):
        out.v[i] = a.v[i] + 0x1FFFFFFFFFFFFCULL - b.v[i]


cdef inline void _carry(
    Field* out, uint128 r0, uint128 r1, uint128 r2, uint128 r3, uint128 r4
) noexcept nogil:
    """Limbs of up to 115 bits back to 51; what leaves the top comes in below, times 19."""
    cdef uint64_t c
    r1 += <uint64_t>(r0 >> 51)
    r2 += <uint64_t>(r1 >> 51)
    r3 += <uint64_t>(r2 >> 51)
    r4 += <uint64_t>(r3 >> 51)
    c = (<uint64_t>r0 & LOW_51) + 19 * <uint64_t>(r4 >> 51)
    out.v[0] = c & LOW_51
    out.v[1] = (<uint64_t>r1 & LOW_51) + (c >> 51)
    out.v[2] = <uint64_t>r2 & LOW_51
    out.v[3] = <uint64_t>r3 & LOW_51
    out.v[4] = <uint64_t>r4 & LOW_51


cdef inline void multiply(Field* out, const Field* a, const Field* b) noexcept nogil:
    cdef uint64_t a0 = a.v[0], a1 = a.v[1], a2 = a.v[2], a3 = a.v[3], a4 = a.v[4]
    cdef uint64_t b0 = b.v[0], b1 = b.v[1], b2 = b.v[2], b3 = b.v[3], b4 = b.v[4]
    cdef uint64_t w1 = 19 * b1, w2 = 19 * b2, w3 = 19 * b3, w4 = 19 * b4
    _carry(
        out,
        <uint128>a0 * b0 + <uint128>a1 * w4 + <uint128>a2 * w3 + <uint128>a3 * w2 + <uint128>a4 * w1,
        <uint128>a0 * b1 + <uint128>a1 * b0 + <uint128>a2 * w4 + <uint128>a3 * w3 + <uint128>a4 * w2,
        <uint128>a0 * b2 + <uint128>a1 * b1 + <uint128>a2 * b0 + <uint128>a3 * w4 + <uint128>a4 * w3,
        <uint128>a0 * b3 + <uint128>a1 * b2 + <uint128>a2 * b1 + <uint128>a3 * b0 + <uint128>a4 * w4,
        <uint128>a0 * b4 + <uint128>a1 * b3 + <uint128>a2 * b2 + <uint128>a3 * b1 + <uint128>a4 * b0,
    )


cdef inline void square(Field* out, const Field* a) noexcept nogil:
    cdef uint64_t a0 = a.v[0], a1 = a.v[1], a2 = a.v[2], a3 = a.v[3], a4 = a.v[4]
    cdef uint64_t d0 = 2 * a0, d1 = 2 * a1, w3 = 19 * a3, w4 = 19 * a4
    _carry(
        out,
        <uint128>a0 * a0 + <uint128>d1 * w4 + <uint128>(2 * a2) * w3,
        <uint128>d0 * a1 + <uint128>(2 * a2) * w4 + <uint128>a3 * w3,
        <uint128>d0 * a2 + <uint128>a1 * a1 + <uint128>(2 * a3) * w4,
        <uint128>d0 * a3 + <uint128>d1 * a2 + <uint128>a4 * w4,
        <uint128>d0 * a4 + <uint128>d1 * a3 + <uint128>a2 * a2,
    )


cdef void _square_times(Field* out, const Field* a, int times) noexcept nogil:
    square(out, a)
    for _ in range(times - 1):
        square(out, out)


cdef void _powers(Field* all_ones, Field* eleven, const Field* a) noexcept nogil:
    """a^(2^250 - 1) and a^11, from which both exponents below are short ways."""
    cdef Field two, nine, e5, e10, e20, e40, e50, e100, e200, t
    square(&two, a)
    _square_times(&t, &two, 2)
    multiply(&nine, &t, a)
    multiply(eleven, &nine, &two)
    square(&t, eleven)
    multiply(&e5, &t, &nine)  # 2^5 - 1
    _square_times(&t, &e5, 5)
    multiply(&e10, &t, &e5)
    _square_times(&t, &e10, 10)
    multiply(&e20, &t, &e10)
    _square_times(&t, &e20, 20)
    multiply(&e40, &t, &e20)
    _square_times(&t, &e40, 10)
    multiply(&e50, &t, &e10)
    _square_times(&t, &e50, 50)
    multiply(&e100, &t, &e50)
    _square_times(&t, &e100, 100)
    multiply(&e200, &t, &e100)
    _square_times(&t, &e200, 50)
    multiply(all_ones, &t, &e50)


cdef void invert(Field* out, const Field* a) noexcept nogil:
    """a^(p - 2); 2^255 - 21 = (2^250 - 1) 2^5 + 11."""
    cdef Field ones, eleven
    _powers(&ones, &eleven, a)
    _square_times(&ones, &ones, 5)
    multiply(out, &ones, &eleven)


cdef void to_bytes(uint8_t* out, const Field* a) noexcept nogil:
    """The one form below p, 32 bytes, little-endian."""
    cdef Field t = a[0]
    cdef uint64_t c
    cdef int i, turn
    for turn in range(2):
        for i in range(4):
            t.v[i + 1] += t.v[i] >> 51
            t.v[i] &= LOW_51
        t.v[0] += 19 * (t.v[4] >> 51)
        t.v[4] &= LOW_51
    # Now below 2^255 + 19: one p too many where adding 19 reaches 2^255.
    c = (t.v[0] + 19) >> 51
    for i in range(1, 5):
        c = (t.v[i] + c) >> 51
    t.v[0] += 19 * c
    for i in range(4):
        t.v[i + 1] += t.v[i] >> 51
        t.v[i] &= LOW_51
    t.v[4] &= LOW_51
    cdef uint64_t words[4]
    words[0] = t.v[0] | t.v[1] << 51
    words[1] = t.v[1] >> 13 | t.v[2] << 38
    words[2] = t.v[2] >> 26 | t.v[3] << 25
    words[3] = t.v[3] >> 39 | t.v[4] << 12
    for i in range(32):
        out[i] = <uint8_t>(words[i // 8] >> 8 * (i % 8))


cdef void _from_number(Field* out, object number):
    for i in range(5):
        out.v[i] = number >> 51 * i & (1 << 51) - 1


# ---- the curve -x^2 + y^2 = 1 + d x^2 y^2, formulas complete for all its points ------------------
#
# Hisil, Wong, Carter, Dawson: Twisted Edwards Curves Revisited (2008), section 3 and 4.

ctypedef struct Point:
    Field x  # X/Z, Y/Z, and T = XY/Z
    Field y
    Field z
    Field t

ctypedef struct Affine:
    Field plus  # y + x, y - x, 2dxy
    Field minus
    Field twist


cdef Field TWICE_D


cdef inline void _finish(
    Point* out, const Field* e, const Field* f, const Field* g, const Field* h, bint with_t
) noexcept nogil:
    multiply(&out.x, e, f)
    multiply(&out.y, g, h)
    multiply(&out.z, f, g)
    if with_t:
        multiply(&out.t, e, h)


cdef inline void double(Point* out, const Point* p, bint with_t) noexcept nogil:
    cdef Field xx, yy, zz, s, e, f, g, h
    square(&xx, &p.x)
    square(&yy, &p.y)
    square(&zz, &p.z)
    add(&s, &p.x, &p.y)
    square(&s, &s)
    add(&h, &yy, &xx)  # below 2^52.1
    subtract_sum(&e, &s, &h)  # 2^53.4
    subtract(&g, &yy, &xx)  # 2^52.6
    add(&zz, &zz, &zz)
    subtract_sum(&f, &zz, &g)  # 2^53.6
    _finish(out, &e, &f, &g, &h, with_t)


cdef inline void add_affine(
    Point* out, const Point* p, const Affine* q, bint negated, bint with_t
) noexcept nogil:
    """p + q, or p - q. Needs p's T."""
    cdef Field a, b, c, d, e, f, g, h
    subtract(&a, &p.y, &p.x)  # 2^52.6
    add(&b, &p.y, &p.x)
    multiply(&a, &a, &q.plus if negated else &q.minus)
    multiply(&b, &b, &q.minus if negated else &q.plus)
    multiply(&c, &p.t, &q.twist)
    add(&d, &p.z, &p.z)
    subtract(&e, &b, &a)
    add(&h, &b, &a)
    if negated:
        add(&f, &d, &c)
        subtract(&g, &d, &c)  # 2^53.1
    else:
        subtract(&f, &d, &c)
        add(&g, &d, &c)
    _finish(out, &e, &f, &g, &h, with_t)


cdef void add_points(Point* out, const Point* p, const Point* q) noexcept nogil:
    cdef Field a, b, c, d, e, f, g, h, t
    subtract(&a, &p.y, &p.x)
    subtract(&t, &q.y, &q.x)
    multiply(&a, &a, &t)
    add(&b, &p.y, &p.x)
    add(&t, &q.y, &q.x)
    multiply(&b, &b, &t)
    multiply(&c, &p.t, &TWICE_D)
    multiply(&c, &c, &q.t)
    multiply(&d, &p.z, &q.z)
    add(&d, &d, &d)
    subtract(&e, &b, &a)
    subtract(&f, &d, &c)
    add(&g, &d, &c)
    add(&h, &b, &a)
    _finish(out, &e, &f, &g, &h, True)


cdef void _invert_all(Field* values, Field* room, Py_ssize_t count) noexcept nogil:
    """Each value by its inverse, at the price of one inversion; none is zero. `room` for as many."""
    cdef Field whole, t
    cdef Py_ssize_t i
    room[0] = values[0]
    for i in range(1, count):
        multiply(&room[i], &room[i - 1], &values[i])
    invert(&whole, &room[count - 1])
    for i in range(count - 1, 0, -1):
        multiply(&t, &whole, &room[i - 1])
        multiply(&whole, &whole, &values[i])
        values[i] = t
    values[0] = whole


cdef int _tabulate(Affine* out, const Point* first, int odds) except -1:
    """For each part, 1, 3, 5 ... times 2^(64 part) P."""
    cdef Py_ssize_t count = PARTS * odds, part, i
    cdef Point start = first[0], twice
    cdef Field x, y
    cdef Point* points = <Point*>PyMem_Malloc(count * sizeof(Point))
    cdef Field* zs = <Field*>PyMem_Malloc(2 * count * sizeof(Field))
    if points == NULL or zs == NULL:
        PyMem_Free(points)
        PyMem_Free(zs)
        raise MemoryError
    with nogil:
        for part in range(PARTS):
            points[part * odds] = start
            double(&twice, &start, True)
            for i in range(part * odds + 1, (part + 1) * odds):
                add_points(&points[i], &points[i - 1], &twice)
            for i in range(PART_BITS):
                double(&start, &start, True)
        for i in range(count):
            zs[i] = points[i].z
        _invert_all(zs, zs + count, count)
        for i in range(count):
            multiply(&x, &points[i].x, &zs[i])
            multiply(&y, &points[i].y, &zs[i])
            subtract(&out[i].minus, &y, &x)
            add(&out[i].plus, &y, &x)
            multiply(&out[i].twist, &x, &y)
            multiply(&out[i].twist, &out[i].twist, &TWICE_D)
    PyMem_Free(points)
    PyMem_Free(zs)
    return 0


# ---- scalars -------------------------------------------------------------------------------------

ctypedef struct Digits:
    int8_t at[PARTS][PART_BITS + 1]


cdef void _slide(Digits* out, const uint8_t* scalar, int width) noexcept nogil:
    """Each 64 bits of a little-endian scalar in odd digits below 2^(width - 1) either way."""
    cdef uint128 rest
    cdef int part, i, digit
    memset(out, 0, sizeof(Digits))
    for part in range(PARTS):
        rest = 0
        for i in range(7, -1, -1):
            rest = rest << 8 | scalar[8 * part + i]
        i = 0
        while rest:
            if rest & 1:
                digit = <int>(rest & ((1 << width) - 1))
                if digit >= 1 << (width - 1):
                    digit -= 1 << width
                    rest += <uint64_t>(-digit)
                else:
                    rest -= <uint64_t>digit
                out.at[part][i] = <int8_t>digit
            rest >>= 1
            i += 1


cdef Affine BASE[PARTS * BASE_ODDS]


cdef inline int _add_digits(
    Point* sum, const Digits* digits, const Affine* table, int odds, int i, int left
) noexcept nogil:
    """Adds what stands at place `i`; T is needed as long as anything is left to add."""
    cdef int part, digit, odd
    for part in range(PARTS):
        digit = digits.at[part][i]
        if digit:
            left -= 1
            odd = -digit if digit < 0 else digit
            add_affine(sum, sum, &table[part * odds + odd // 2], digit < 0, left > 0)
    return left


cdef void _combine(
    Point* sum, const Digits* s, const Digits* h, const Affine* key
) noexcept nogil:
    """sB - hA, by one run of doublings for all eight tables."""
    cdef int i, part, left
    memset(sum, 0, sizeof(Point))
    sum.y.v[0] = sum.z.v[0] = 1
    for i in range(PART_BITS, -1, -1):
        left = 0
        for part in range(PARTS):
            left += (s.at[part][i] != 0) + (h.at[part][i] != 0)
        double(sum, sum, left > 0)
        left = _add_digits(sum, s, BASE, BASE_ODDS, i, left)
        _add_digits(sum, h, key, KEY_ODDS, i, left)


# ---- what is called ------------------------------------------------------------------------------


cdef class Key:
    """A public key, opened: 4 KB. Raises ValueError for bytes that are no canonical point."""

    cdef readonly bytes public
    cdef Affine table[PARTS * KEY_ODDS]

    def __cinit__(self, bytes public not None):
        self.public = public
        x, y = _decompress(public)
        cdef Point negated
        _point(&negated, PRIME - x if x else 0, y)
        _tabulate(self.table, &negated, KEY_ODDS)


cdef struct Check:
    Digits s
    Digits h
    Point sum
    const Affine* key
    const uint8_t* r
    bint valid


def are_valid(list keys not None, list signatures not None, list messages not None):
    """Whether each signature is its key's over its message; three lists of equal length.

    Releases the lock of the interpreter for all but the hashes. A signature has 64 bytes; any other
    length is not valid.
    """
    cdef Py_ssize_t count = len(keys), i, n = 0
    if len(signatures) != count or len(messages) != count:
        raise ValueError("one key and one signature a message")
    cdef Check* checks = <Check*>PyMem_Malloc((count + 1) * sizeof(Check))
    cdef Field* room = <Field*>PyMem_Malloc((2 * count + 1) * sizeof(Field))
    cdef bytes signature
    cdef Key key
    try:
        if checks == NULL or room == NULL:
            raise MemoryError
        for i in range(count):
            key, signature = keys[i], signatures[i]
            _prepare(&checks[i], key, signature, messages[i])
        with nogil:
            for i in range(count):
                if checks[i].valid:
                    _combine(&checks[i].sum, &checks[i].s, &checks[i].h, checks[i].key)
                    room[n] = checks[i].sum.z
                    n += 1
            if n:
                _invert_all(room, room + n, n)
            n = 0
            for i in range(count):
                if checks[i].valid:
                    checks[i].valid = _is_point(&checks[i].sum, &room[n], checks[i].r)
                    n += 1
        return [bool(checks[i].valid) for i in range(count)]
    finally:
        PyMem_Free(checks)
        PyMem_Free(room)


cdef int _prepare(Check* check, Key key, bytes signature, bytes message) except -1:
    """Digits of s and of h = SHA-512(R | A | message) mod L. The lists keep what is pointed at."""
    check.valid = len(signature) == 64
    if not check.valid:
        return 0
    s = signature[32:]
    check.valid = int.from_bytes(s, "little") < ORDER
    if not check.valid:
        return 0
    r = signature[:32]
    digest = sha512(r + key.public + message).digest()
    h = (int.from_bytes(digest, "little") % ORDER).to_bytes(32, "little")
    _slide(&check.s, <const uint8_t*><char*>s, BASE_WIDTH)
    _slide(&check.h, <const uint8_t*><char*>h, KEY_WIDTH)
    check.key = key.table
    check.r = <const uint8_t*><char*>signature
    return 0


cdef bint _is_point(const Point* p, const Field* inverse_z, const uint8_t* encoded) noexcept nogil:
    cdef Field x, y
    cdef uint8_t mine[32]
    cdef uint8_t sign[32]
    multiply(&x, &p.x, inverse_z)
    multiply(&y, &p.y, inverse_z)
    to_bytes(sign, &x)
    to_bytes(mine, &y)
    mine[31] |= (sign[0] & 1) << 7
    return memcmp(mine, encoded, 32) == 0


def _decompress(bytes public):
    """RFC 8032 section 5.1.3, all refusals included."""
    if len(public) != 32:
        raise ValueError("an Ed25519 public key has 32 bytes")
    number = int.from_bytes(public, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if y >= PRIME:
        raise ValueError("this Ed25519 public key is not in canonical form")
    u, v = (y * y - 1) % PRIME, (_D * y * y + 1) % PRIME
    x = u * v**3 * pow(u * v**7, (PRIME - 5) // 8, PRIME) % PRIME
    if (v * x * x - u) % PRIME:
        x = x * _ROOT_OF_MINUS_ONE % PRIME
    if (v * x * x - u) % PRIME or (x == 0 and sign):
        raise ValueError("this Ed25519 public key is no point of the curve")
    return (PRIME - x if x & 1 != sign else x), y


cdef void _point(Point* out, object x, object y):
    _from_number(&out.x, x)
    _from_number(&out.y, y)
    _from_number(&out.z, 1)
    _from_number(&out.t, x * y % PRIME)


cdef void _begin():
    cdef Point base
    _from_number(&TWICE_D, 2 * _D % PRIME)
    x, y = _decompress((4 * pow(5, -1, PRIME) % PRIME).to_bytes(32, "little"))
    _point(&base, x, y)
    _tabulate(BASE, &base, BASE_ODDS)


_begin()
