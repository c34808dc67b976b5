# cython: language_level=3, boundscheck=False, cdivision=True, initializedcheck=False
"""Price-time order books of many delivery slots in one process.

It decides who trades with whom: a better price first, then the class, then arrival, at the resting
order's price, and on a network only what the network lets through. Commands come from records or
arguments that nobody checked, so every field is checked here, and a refused command changes
nothing. There is no clock, no float, no address and no hash order in any outcome: the same commands
give the same events on every machine.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from ext.ladder cimport queue_last
from ext.memory cimport CLOSED, attach, detach, free_engine, make_engine, touch
from ext.nodes cimport rest_on_network, sweep
from ext.pool cimport (
    BAD_BOOK, BAD_CLASS, BAD_NODE, BAD_OPERATION, BAD_QUANTITY, BAD_SELF_TRADE, BAD_SIDE,
    BAD_TICK, BAD_TIME_IN_FORCE, BAD_VERSION, BOTH, CANCEL, CANCELLED, DECREMENT, DUPLICATE,
    FILL_OR_KILL, FILLED, FULL, GOOD_TILL_GATE, IMMEDIATE_OR_CANCEL, KILLED, NEWEST, NO_NODE,
    NONE, OLDEST, RECORD_VERSION, REDUCED, REJECTED, REMAINDER, REPLACE, RESTED, SELF_TRADE,
    SUBMIT, SWEPT, TICKS_MAX, TRADE, UNKNOWN_ORDER, Command, Engine, Event, Order, Place, Spot,
    bucket_of, gtx_arena, gtx_arena_free, gtx_clock, rank_of, side_of, tick_of,
)
from ext.steps cimport Batch, deliver, level_of, remove, run, run_timed, step_any
from ext.tree cimport Headroom
from ext.walk cimport arrival_of, check_pool, check_side, depth_of, queue
from ext.wires cimport SlotFlow

from hashlib import blake2b

from ext.records import BOOK, COMMAND, EVENT, HEADER, MAGIC, ORDER, parse_snapshot

# The names under which Python sees the numbers of `ext/pool.pxd`.
globals().update(
    GOOD_TILL_GATE=GOOD_TILL_GATE, IMMEDIATE_OR_CANCEL=IMMEDIATE_OR_CANCEL,
    FILL_OR_KILL=FILL_OR_KILL, OLDEST=OLDEST, NEWEST=NEWEST, BOTH=BOTH, DECREMENT=DECREMENT,
    TRADE=TRADE, RESTED=RESTED, FILLED=FILLED, CANCELLED=CANCELLED, REDUCED=REDUCED,
    REJECTED=REJECTED, NONE=NONE, SWEPT=SWEPT, REMAINDER=REMAINDER, KILLED=KILLED,
    SELF_TRADE=SELF_TRADE, BAD_BOOK=BAD_BOOK, BAD_SIDE=BAD_SIDE, BAD_TICK=BAD_TICK,
    BAD_QUANTITY=BAD_QUANTITY, BAD_CLASS=BAD_CLASS, BAD_NODE=BAD_NODE,
    BAD_TIME_IN_FORCE=BAD_TIME_IN_FORCE, BAD_SELF_TRADE=BAD_SELF_TRADE, DUPLICATE=DUPLICATE,
    UNKNOWN_ORDER=UNKNOWN_ORDER, FULL=FULL, BAD_OPERATION=BAD_OPERATION, BAD_VERSION=BAD_VERSION,
    SUBMIT=SUBMIT, CANCEL=CANCEL, REPLACE=REPLACE, BUY=0, SELL=1, RECORD_VERSION=RECORD_VERSION,
)

cdef enum:
    NEVER = 0xFFFFFFFF  # the 32-bit number that stands for what does not fit


# ---- the class ---------------------------------------------------------------------------------

cdef inline uint32_t narrow(long long value, uint32_t never) noexcept:
    """A field of a record; what does not fit becomes a value that no check lets pass."""
    return <uint32_t>value if 0 <= value < never else never


def clock():
    """The processor's tick counter, in which `Books.measure` counts."""
    return gtx_clock()


cdef class Books:
    """The order books of many delivery slots.

    `orders_max` orders may rest in all books together and `books_max` books, a power of two, may be
    open at once: books whose numbers agree modulo `books_max` exclude each other, so consecutive
    slots never do. Ticks run from 0 to `ticks` - 1, a power of two from 1,024 to 8,192. All memory
    is taken here, except half a megabyte when a place is opened the first time.

    Methods that change a book answer with a list of events (kind, order, other, tick, quantity,
    reason); a refused command is one event of kind REJECTED.
    """

    cdef Engine engine
    cdef Event* spare
    cdef size_t spare_count
    cdef Batch batch
    cdef dict headrooms
    cdef dict flows
    cdef readonly int books_max

    def __cinit__(self, uint32_t orders_max, uint32_t ticks=4096, uint32_t books_max=256):
        if not 0 < orders_max <= 1 << 28:
            raise ValueError(f"room for {orders_max} orders; it may be 1 to 2^28")
        if not 1024 <= ticks <= TICKS_MAX or ticks & (ticks - 1):
            raise ValueError(f"{ticks} ticks; a power of two from 1024 to {TICKS_MAX}")
        if not 0 < books_max <= 4096 or books_max & (books_max - 1):
            raise ValueError(f"{books_max} books; a power of two up to 4096")
        self.books_max = books_max
        self.headrooms = {}
        self.flows = {}
        self.spare_count = 2 * <size_t>orders_max + 4 * NO_NODE
        self.spare = <Event*>gtx_arena(self.spare_count * sizeof(Event))
        if not make_engine(&self.engine, orders_max, ticks, books_max) or self.spare == NULL:
            raise MemoryError
        memset(self.spare, 0, min(self.spare_count, 1 << 15) * sizeof(Event))

    def __dealloc__(self):
        free_engine(&self.engine, self.books_max)
        gtx_arena_free(self.spare)

    # ---- books ---------------------------------------------------------------------------------

    def open(self, long long book, Headroom headroom=None, SlotFlow flow=None):
        """An empty book. With a flow, its headroom's network is asked before every fill, too.

        Raises ValueError where its place is taken, or the headroom is in use or of another network.
        """
        if not 0 <= book < NEVER:
            raise ValueError(f"{book} is no book number")
        cdef Place* p = self.engine.places + (<uint32_t>book & self.engine.place_mask)
        if p.book != CLOSED:
            raise ValueError(f"book {book} has the place of book {p.book}, which is open")
        if flow is not None and (headroom is None or flow.wires.tree is not headroom.tree):
            raise ValueError("a flow needs the headroom of its own network")
        if headroom is None:
            touch(&self.engine, <uint32_t>book & self.engine.place_mask)
        elif headroom.attached:
            raise ValueError("this headroom already belongs to an open book")
        else:
            if not attach(
                &self.engine, p, &headroom.net, headroom.tree.position, headroom.tree.node
            ):
                raise MemoryError
            headroom.attached = True
            self.headrooms[book] = headroom
            p.flow = NULL
        if flow is not None:
            self.flows[book] = flow
            p.flow = &flow.flow
        p.book = <uint64_t>book
        if headroom is None:
            self.engine.ladders[p - self.engine.places] = p.book

    def close(self, long long book):
        """Remove every order, then the book. Returns [(order, side, tick, remaining)] by priority.

        Raises ValueError where the book is not open.
        """
        cdef Place* p = self._place(book)
        cdef Engine* e = &self.engine
        cdef Order* m
        cdef uint32_t o
        closed = []
        for o in [*queue(e, p, 0), *queue(e, p, 1)]:
            m = e.pool + o
            side = side_of(e, m)
            closed.append((m.id, side, tick_of(e, side, rank_of(e, m)), m.quantity))
            remove(e, p, o)
        if p.net != NULL:
            (<Headroom>self.headrooms.pop(book)).attached = False
            detach(p)
            self.flows.pop(book, None)
        p.book = e.ladders[p - e.places] = CLOSED
        return closed

    cdef Place* _place(self, long long book) except NULL:
        cdef Place* p = self.engine.places + (<uint32_t>book & self.engine.place_mask)
        if book < 0 or p.book != <uint64_t>book:
            raise ValueError(f"book {book} is not open")
        return p

    # ---- one command ---------------------------------------------------------------------------

    def submit(
        self, long long book, uint64_t order_id, long long side, long long tick,
        long long quantity, uint32_t owner, long long node=0, long long cls=3, long long tif=0,
        long long self_trade=0
    ):
        """Match an order and rest, or give back, what is left of it."""
        cdef Command c
        c.order = order_id
        c.book = narrow(book, NEVER)
        c.tick = narrow(tick, NEVER)
        c.quantity = <uint32_t>quantity if 0 < quantity <= NEVER else 0
        c.owner = owner
        c.node = <uint16_t>narrow(node, NO_NODE)
        c.version = RECORD_VERSION
        c.operation = SUBMIT
        c.side = <uint8_t>narrow(side, 255)
        c.cls = <uint8_t>narrow(cls, 255)
        c.tif = <uint8_t>narrow(tif, 255)
        c.self_trade = <uint8_t>narrow(self_trade, 255)
        return self._one(&c)

    def replace(
        self, long long book, uint64_t order_id, long long tick, long long quantity,
        long long self_trade=0
    ):
        """New terms for a resting order; it keeps its time only if it asks for nothing more."""
        cdef Command c
        memset(&c, 0, sizeof(Command))
        c.order = order_id
        c.book = narrow(book, NEVER)
        c.tick = narrow(tick, NEVER)
        c.quantity = <uint32_t>quantity if 0 < quantity <= NEVER else 0
        c.version = RECORD_VERSION
        c.operation = REPLACE
        c.self_trade = <uint8_t>narrow(self_trade, 255)
        return self._one(&c)

    def cancel(self, long long book, uint64_t order_id):
        """Take a resting order out of its book."""
        cdef Command c
        memset(&c, 0, sizeof(Command))
        c.order = order_id
        c.book = narrow(book, NEVER)
        c.version = RECORD_VERSION
        c.operation = CANCEL
        return self._one(&c)

    def resweep(self, long long book):
        """Match what became feasible when a limit rose. Raises ValueError for a closed book."""
        cdef Place* p = self._place(book)
        self._nothing_waits()
        if p.net == NULL:
            return []
        return self._tuples(
            sweep(&self.engine, p, <uint32_t>book, self.spare, self.spare + self.spare_count)
        )

    cdef list _one(self, Command* c):
        self._nothing_waits()
        return self._tuples(step_any(&self.engine, c, self.spare, self.spare + self.spare_count))

    cdef list _tuples(self, Event* end):
        cdef Event* ev = self.spare
        cdef list events = []
        while ev != end:
            events.append((ev.kind, ev.order, ev.other, ev.tick, ev.quantity, ev.reason))
            ev += 1
        return events

    cdef int _nothing_waits(self) except -1:
        if self.batch.waiting != self.batch.waiting_end:
            raise RuntimeError("events of a batch wait: call process until it delivered them")
        return 0

    # ---- many commands -------------------------------------------------------------------------

    def process(self, const uint8_t[::1] commands not None, uint8_t[::1] events not None):
        """Carry out packed COMMAND records and write packed EVENT records.

        Returns (commands consumed, events produced). It stops when `events` is full; what did not
        fit comes first in the next call. Raises ValueError for buffers that are not whole records.
        """
        cdef size_t count = self._prepare(commands, events), done = 0
        cdef Event* start = self.batch.events
        if deliver(&self.batch) and count:
            with nogil:
                done = run(&self.engine, <Command*>&commands[0], count, &self.batch)
        return done, self.batch.events - start

    def measure(
        self, const uint8_t[::1] commands not None, uint8_t[::1] events not None,
        uint32_t[::1] times not None
    ):
        """`process`, with the duration of every command in `times`, in ticks of the processor."""
        cdef size_t count = self._prepare(commands, events), done = 0
        cdef Event* start = self.batch.events
        if <size_t>times.shape[0] < count:
            raise ValueError(f"{count} commands, room for {times.shape[0]} times")
        if deliver(&self.batch) and count:
            with nogil:
                done = run_timed(
                    &self.engine, <Command*>&commands[0], count, &self.batch, &times[0]
                )
        return done, self.batch.events - start

    cdef Py_ssize_t _prepare(
        self, const uint8_t[::1] commands, uint8_t[::1] events
    ) except -1:
        cdef Batch* b = &self.batch
        if commands.shape[0] % 32 or events.shape[0] % 32:
            raise ValueError("buffers of whole 32-byte records, please")
        if (
            (commands.shape[0] and <size_t>&commands[0] & 7)
            or (events.shape[0] and <size_t>&events[0] & 7)
        ):
            raise ValueError("records begin at addresses that are multiples of 8")
        b.events = <Event*>&events[0] if events.shape[0] else self.spare
        b.end = b.events + events.shape[0] // 32
        b.spare = self.spare
        b.spare_end = self.spare + self.spare_count
        return commands.shape[0] // 32

    # ---- views ---------------------------------------------------------------------------------

    @property
    def open_orders(self):
        """How many orders rest, in all books."""
        return self.engine.live

    @property
    def orders_max(self):
        """How many may."""
        return self.engine.orders_max

    @property
    def ticks(self):
        """Prices are ticks below this number."""
        return self.engine.ticks

    @property
    def books(self):
        """The numbers of the open books, ascending."""
        return sorted(
            self.engine.places[i].book
            for i in range(self.books_max)
            if self.engine.places[i].book != CLOSED
        )

    @property
    def orders_nbytes(self):
        """Bytes held for `orders_max` orders: pool, map and, once a network came, heap places."""
        cdef size_t size = (<size_t>self.engine.orders_max + 1) * sizeof(Order)
        size += (<size_t>self.engine.bucket_mask + 1) * sizeof(uint32_t)
        if self.engine.spots != NULL:
            size += (<size_t>self.engine.orders_max + 1) * sizeof(Spot)
        return size

    def best(self, book, side):
        """(tick, quantity) of the best price of a side, or None. Raises ValueError if closed."""
        levels = self.depth(book, side, 1)
        return levels[0][:2] if levels else None

    def depth(self, long long book, int side, Py_ssize_t n):
        """The best n prices: [(tick, quantity, orders)]. Raises ValueError for a closed book."""
        cdef Place* p = self._place(book)
        if side not in (0, 1):
            raise ValueError(f"{side} is no side: 0 buys, 1 sells")
        return depth_of(&self.engine, p, side, n)

    # ---- state ---------------------------------------------------------------------------------

    def snapshot(self):
        """Everything but the headrooms, as bytes that depend on nothing but the resting orders.

        Books stand by number; their orders by priority, or by arrival on a network.
        """
        cdef Place* p
        cdef Engine* e = &self.engine
        self._nothing_waits()
        numbers = self.books
        out = [HEADER.pack(MAGIC, RECORD_VERSION, 0, e.ticks, len(numbers))]
        for number in numbers:
            p = self._place(number)
            orders = [*queue(e, p, 0), *queue(e, p, 1)]
            if p.net != NULL:
                orders.sort(key=self._arrival)
            out.append(BOOK.pack(number, p.net != NULL, len(orders)))
            out.extend([self._record(p, o) for o in orders])
        return b"".join(out)

    def _arrival(self, uint32_t o):
        return arrival_of(&self.engine, o)

    cdef bytes _record(self, Place* p, uint32_t o):
        cdef Engine* e = &self.engine
        cdef Order* m = e.pool + o
        side = side_of(e, m)
        rank = rank_of(e, m)
        node = p.names[e.spots[o].node] if p.net != NULL else 0
        return ORDER.pack(
            m.id, tick_of(e, side, rank), m.quantity, m.owner, node, side, rank & 3
        )

    def state_hash(self):
        """BLAKE2b-256 of the snapshot and of every headroom's and flow's state."""
        digest = blake2b(self.snapshot(), digest_size=32)
        for number in sorted(self.headrooms):
            digest.update(self.headrooms[number].state())
            if number in self.flows:
                digest.update(self.flows[number].state())
        return digest.digest()

    def restore(self, bytes data not None, headrooms=None, flows=None):
        """Replace all books by those of a snapshot. `headrooms` gives, by book number, the room of
        each book that was on a network, and `flows` the flow of each that asked one. Raises
        ValueError, and changes nothing, for bytes that are no snapshot of such books.
        """
        self._nothing_waits()
        books = parse_snapshot(data, self.engine.ticks)
        given = dict(headrooms or {})
        self._admissible(books, given)
        for number in self.books:
            self.close(number)
        for number, gridded, orders in books:
            self.open(number, given[number] if gridded else None, (flows or {}).get(number))
            for order in orders:
                self._put_back(number, order)

    def _admissible(self, list books, dict headrooms):
        if sum(len(orders) for _, _, orders in books) > self.engine.orders_max:
            raise ValueError("snapshot: more orders than there is room for")
        if len({number % self.books_max for number, _, _ in books}) < len(books):
            raise ValueError("snapshot: two books of one place")
        cdef Headroom headroom
        seen = []
        for number, gridded, orders in books:
            if not gridded:
                continue
            headroom = headrooms.get(number)
            if headroom is None:
                raise ValueError(f"snapshot: book {number} needs its headroom")
            ours = any(headroom is other for other in self.headrooms.values())
            if (headroom.attached and not ours) or any(headroom is other for other in seen):
                raise ValueError(f"snapshot: the headroom of book {number} is in use")
            seen.append(headroom)
            if any(order[4] >= headroom.net.size for order in orders):
                raise ValueError(f"snapshot: book {number} has an order outside its network")

    def _put_back(self, uint32_t number, tuple order):
        cdef Engine* e = &self.engine
        cdef Place* p = e.places + (number & e.place_mask)
        cdef Command c
        c.order, c.tick, c.quantity, c.owner, c.node, c.side, c.cls = order
        c.book = number
        cdef uint32_t* link = e.bucket + bucket_of(e, c.order)
        cdef uint32_t o = e.free_head
        cdef Order* m = e.pool + o
        e.free_head = m.next
        e.live += 1
        m.id = c.order
        m.chain = link[0]
        link[0] = o
        m.quantity = c.quantity
        if p.net != NULL:
            rest_on_network(e, p, o, &c, p.position[c.node])
            return
        m.owner = c.owner
        m.level = level_of(e, &c)
        queue_last(e, o)

    def check(self):
        """Walk everything and compare it with what is remembered of it. Raises AssertionError."""
        cdef Py_ssize_t found = 0
        for number in self.books:
            for side in range(2):
                found += check_side(&self.engine, self._place(number), side)
        check_pool(&self.engine, found)
