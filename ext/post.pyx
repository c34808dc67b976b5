# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A batch of ledger transfers on flat columns: bytes in, numbers out.

The same decisions, in the same order, as `post_in_python` of `cloud/ledger/transfers.py`; a test
compares every column. Balances live in the caller's int64 arrays and are changed in place; ids and
reservations are the caller's dicts.
"""

import sys

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

if sys.byteorder != "little":
    raise ImportError("records are read in place, which needs a little-endian processor")

MALFORMED, TOO_LARGE, BAD_PRICE = 7, 8, 21
UNKNOWN_ACCOUNT, WRONG_ASSET, INSUFFICIENT_FUNDS = 40, 41, 42
CHANGED_REPLAY, OVER_POSTED, BAD_INTERVAL = 43, 44, 53

cdef enum:
    _MALFORMED = 7
    _TOO_LARGE = 8
    _BAD_PRICE = 21
    _UNKNOWN_ACCOUNT = 40
    _WRONG_ASSET = 41
    _INSUFFICIENT_FUNDS = 42
    _CHANGED_REPLAY = 43
    _OVER_POSTED = 44
    _BAD_INTERVAL = 53
    LINKED = 1
    PENDING = 2
    POST = 4
    VOID = 8
    ID = 16
    SIZE = 56
    ASSETS = 6
    MONEY = 1
    CLAIM = 5
    TIMEOUT_S_MAX = 3456000
    PENDINGS_MAX = 1000000

cdef int64_t AMOUNT_MAX = 0x7FFFFFFFFFFFFFFF

cdef packed struct Record:
    unsigned char id[16]
    unsigned char pending_id[16]
    int64_t amount
    uint32_t debit
    uint32_t credit
    uint32_t timeout_s
    uint16_t code
    unsigned char asset
    unsigned char flags

cdef struct Undo:
    int64_t *column
    Py_ssize_t row
    int64_t amount

cdef unsigned char NOTHING[16]
NOTHING[:] = [0] * 16


cdef class Batch:
    """One call's work, and what the group in hand can be undone by."""

    cdef int64_t *floor
    cdef int64_t *debits_pending
    cdef int64_t *debits_posted
    cdef int64_t *credits_pending
    cdef int64_t *credits_posted
    cdef unsigned char *holds
    cdef unsigned char *usable
    cdef Py_ssize_t accounts
    cdef dict held, known
    cdef list elsewhere, refused, made, ids, taken, given
    cdef int64_t now_s
    cdef Py_ssize_t posted, undos, rows
    cdef Undo *undo
    cdef Py_ssize_t *row

    def __cinit__(self, Py_ssize_t records):
        self.undo = <Undo *>malloc((records + 1) * 4 * sizeof(Undo))
        self.row = <Py_ssize_t *>malloc((records + 1) * 2 * sizeof(Py_ssize_t))
        if self.undo == NULL or self.row == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.undo)
        free(self.row)

    cdef int add(self, int64_t *paid, int64_t *received, Py_ssize_t debit, Py_ssize_t credit,
                 int64_t amount) noexcept:
        if paid[debit] > AMOUNT_MAX - amount or received[credit] > AMOUNT_MAX - amount:
            return _BAD_PRICE
        self.change(paid, debit, amount)
        self.change(received, credit, amount)
        return 0

    cdef void change(self, int64_t *column, Py_ssize_t row, int64_t amount) noexcept:
        column[row] += amount
        self.undo[self.undos] = Undo(column, row, amount)
        self.undos += 1

    cdef int begin(self, bytes name, Record *r, Py_ssize_t debit, Py_ssize_t credit,
                   bint is_pending) except -1:
        cdef int refusal
        if r.amount <= 0 or memcmp(r.pending_id, NOTHING, ID):
            return _MALFORMED
        if not is_pending:
            if r.timeout_s:
                return _MALFORMED
            return self.add(self.debits_posted, self.credits_posted, debit, credit, r.amount)
        if not 0 < r.timeout_s <= TIMEOUT_S_MAX:
            return _BAD_INTERVAL
        if len(self.held) >= PENDINGS_MAX:
            return _TOO_LARGE
        if name in self.held:
            return _CHANGED_REPLAY
        refusal = self.add(self.debits_pending, self.credits_pending, debit, credit, r.amount)
        if refusal == 0:
            self.held[name] = (debit, credit, r.amount, self.now_s + r.timeout_s)
            self.given.append(name)
        return refusal

    cdef int end(self, Record *r, Py_ssize_t debit, Py_ssize_t credit, bint is_void) except -1:
        cdef int refusal
        cdef int64_t reserved
        if r.timeout_s or (r.amount != 0 if is_void else r.amount <= 0):
            return _MALFORMED
        pending_id = PyBytes_FromStringAndSize(<char *>r.pending_id, ID)
        held = self.held.get(pending_id)
        if held is None:
            return _OVER_POSTED
        if debit != <Py_ssize_t>held[0] or credit != <Py_ssize_t>held[1]:
            return _WRONG_ASSET
        reserved = held[2]
        if r.amount > reserved:
            return _OVER_POSTED
        if r.amount:
            refusal = self.add(self.debits_posted, self.credits_posted, debit, credit, r.amount)
            if refusal:
                return refusal
        self.change(self.debits_pending, debit, -reserved)
        self.change(self.credits_pending, credit, -reserved)
        del self.held[pending_id]
        self.taken.append((pending_id, held))
        return 0

    cdef bint is_done(self, bytes name, bytes rest) except -1:
        if self.known.get(name) == rest:
            return True
        for ids in self.elsewhere:
            if (<dict>ids).get(name) == rest:
                return True
        return False

    cdef int do(self, bytes name, bytes rest, Record *r) except -1:
        cdef int refusal
        cdef unsigned char kind = r.flags & ~LINKED
        cdef Py_ssize_t debit, credit
        if (memcmp(r.id, NOTHING, ID) == 0 or r.debit == r.credit
                or (kind != 0 and kind != PENDING and kind != POST and kind != VOID)):
            return _MALFORMED
        if name in self.known:
            return _CHANGED_REPLAY
        for ids in self.elsewhere:
            if name in ids:
                return _CHANGED_REPLAY
        if r.asset >= CLAIM:
            return _WRONG_ASSET
        if not (r.debit < self.accounts and r.credit < self.accounts
                and self.usable[r.debit] and self.usable[r.credit]):
            return _UNKNOWN_ACCOUNT
        debit = <Py_ssize_t>r.debit * ASSETS + r.asset
        credit = <Py_ssize_t>r.credit * ASSETS + r.asset
        if not (self.holds[debit] and self.holds[credit]):
            return _WRONG_ASSET
        if kind == POST or kind == VOID:
            refusal = self.end(r, debit, credit, kind == VOID)
        else:
            refusal = self.begin(name, r, debit, credit, kind == PENDING)
        if refusal == 0:
            self.known[name] = rest
            self.ids.append(name)
            self.row[self.rows] = debit
            self.row[self.rows + 1] = credit
            self.rows += 2
        return refusal

    cdef int unsound(self) noexcept:
        """No sum here can leave 64 bits: every column is within [0, AMOUNT_MAX]."""
        cdef Py_ssize_t n, row
        for n in range(self.rows):
            row = self.row[n]
            if (self.debits_posted[row] > AMOUNT_MAX - self.debits_pending[row]
                    or self.credits_posted[row] > AMOUNT_MAX - self.credits_pending[row]):
                return _BAD_PRICE
        for n in range(self.rows):
            row = self.row[n]
            if (self.floor[row] != -AMOUNT_MAX - 1
                    and self.credits_posted[row] - self.debits_posted[row]
                    < self.floor[row] + self.debits_pending[row]):
                return _INSUFFICIENT_FUNDS
        return 0

    cdef int group(self, const char *data, Py_ssize_t first, Py_ssize_t last, bint is_open) except -1:
        """Whether it happened."""
        cdef Py_ssize_t n, repeated = 0
        cdef int refusal = _MALFORMED if is_open else 0
        cdef const char *at
        cdef Record record
        self.undos = self.rows = 0
        self.ids, self.taken, self.given = [], [], []
        for n in range(first, last):
            if refusal:
                break
            at = data + n * SIZE
            memcpy(&record, at, SIZE)
            name = PyBytes_FromStringAndSize(at, ID)
            rest = PyBytes_FromStringAndSize(at + ID, SIZE - ID)
            if self.is_done(name, rest):
                repeated += 1
            else:
                refusal = self.do(name, rest, &record)
        if refusal == 0 and 0 < repeated < last - first:
            refusal = _CHANGED_REPLAY
        if refusal == 0:
            refusal = self.unsound()
        if refusal == 0:
            self.posted += last - first - repeated
            self.made += self.given
        else:
            self.take_back()
            for n in range(first, last):
                self.refused.append((n, refusal))
        return refusal == 0

    cdef void take_back(self) except *:
        cdef Py_ssize_t n
        for n in range(self.undos - 1, -1, -1):
            self.undo[n].column[self.undo[n].row] -= self.undo[n].amount
        for name in self.ids:
            del self.known[name]
        for name, held in self.taken:
            self.held[name] = held
        for name in self.given:
            self.held.pop(name, None)


cdef void *octets(column) except NULL:
    """Where an array's numbers lie. Good as long as nobody appends to it, as nobody does here."""
    cdef Py_buffer view
    PyObject_GetBuffer(column, &view, PyBUF_WRITABLE)
    cdef void *at = view.buf
    PyBuffer_Release(&view)
    return at


cdef int64_t *numbers(column) except NULL:
    return <int64_t *>octets(column)


def post(bytes body, columns, usable, dict held, dict known, elsewhere, now_s):
    """(posted, refused, reserved, touched); see `cloud/ledger/transfers.py`.

    Raises ValueError for a body that is no whole number of records or columns that do not fit.
    """
    cdef Py_ssize_t count = len(body) // SIZE, first = 0, last, row
    cdef const char *data = PyBytes_AS_STRING(body)
    if len(body) % SIZE:
        raise ValueError("a batch is a whole number of 56-byte records")
    names = ("floor", "debits_pending", "debits_posted", "credits_pending", "credits_posted", "holds")
    if any(len(getattr(columns, name)) != len(usable) * ASSETS for name in names):
        raise ValueError("the columns differ in length")
    if not len(usable):
        raise ValueError("there are no accounts")
    cdef Batch batch = Batch(count)
    batch.floor = numbers(columns.floor)
    batch.debits_pending = numbers(columns.debits_pending)
    batch.debits_posted = numbers(columns.debits_posted)
    batch.credits_pending = numbers(columns.credits_pending)
    batch.credits_posted = numbers(columns.credits_posted)
    batch.holds = <unsigned char *>octets(columns.holds)
    batch.usable = <unsigned char *>octets(usable)
    batch.accounts = len(usable)
    batch.held, batch.known, batch.elsewhere = held, known, list(elsewhere)
    batch.refused, batch.made, batch.now_s = [], [], now_s
    touched = {}
    while first < count:
        last = first
        while last < count and data[last * SIZE + SIZE - 1] & LINKED:
            last += 1
        if batch.group(data, first, min(last + 1, count), last == count):
            for row in range(batch.rows):
                if batch.row[row] % ASSETS == MONEY:
                    touched[batch.row[row] // ASSETS] = None
        first = last + 1
    reserved = [(held[name][3], name) for name in batch.made if name in held]
    return batch.posted, batch.refused, reserved, list(touched)


def changed_money(columns, list numbers_, known):
    """(numbers, balances) of those accounts whose money is another than `known` has, which is then
    brought up to date. Raises ValueError where there are not enough accounts.
    """
    cdef Py_ssize_t number, row, count = len(known)
    cdef int64_t *paid = numbers(columns.debits_posted)
    cdef int64_t *received = numbers(columns.credits_posted)
    cdef int64_t *before
    cdef int64_t balance
    if len(columns.floor) != count * ASSETS:
        raise ValueError("the columns and what is known differ in length")
    changed, balances = [], []
    if not count:
        return changed, balances
    before = numbers(known)
    for number in numbers_:
        if not 0 <= number < count:
            raise ValueError(f"there is no account {number}")
        row = number * ASSETS + MONEY
        balance = received[row] - paid[row]
        if balance != before[number]:
            before[number] = balance
            changed.append(number)
            balances.append(balance)
    return changed, balances


def unsound_row(columns):
    """The first row that is under its floor; -1 for none."""
    cdef Py_ssize_t row, count = len(columns.floor)
    if not count:
        return -1
    cdef int64_t *floor = numbers(columns.floor)
    cdef int64_t *pending = numbers(columns.debits_pending)
    cdef int64_t *paid = numbers(columns.debits_posted)
    cdef int64_t *received = numbers(columns.credits_posted)
    for row in range(count):
        if floor[row] != -AMOUNT_MAX - 1 and received[row] - paid[row] < floor[row] + pending[row]:
            return row
    return -1
