# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""The exact clearing of one slot's orders on a radial network: who trades how much, at what prices.

It decides the trades of greatest welfare that the room of every edge allows, all at once, and one
price a node. It must never take an edge past its room; an edge that is past it already is only ever
relieved. Integers throughout: the result is the same on every machine.

The rule. A subtree offers its parent a rising supply curve: its own asks and bids as steps, in
priority order, and its children's curves. A bid counts as supply once the price has passed it. What
the edge above cannot carry is clipped: the dearest steps beyond the room up are never delivered,
the cheapest short of the room down always are. At the root supply is zero. Prices go back down: a
node has its parent's unless a clip of its own binds, then the price of the last step clipped. These
are the duals of the linear programme (welfare, energy conserved, rooms), so surplus and congestion
rent add up to the optimum. With two mergeable heaps a subtree it is O((orders + nodes) log orders).
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free

from ext.tree cimport Headroom, Net

TICKS_MAX = 1 << 15
CLASSES = 4
QUANTITY_MAX = (1 << 32) - 1
ORDERS_MAX = 1 << 24

cdef enum:
    SELL = 1
    LANES = 8  # what stands at one tick: asks by class, then bids by class turned round
    NOTHING = 0

cdef struct Work:
    # Steps are numbered from 1 in priority order, so that a step's number is its key.
    int32_t orders
    int32_t* step_of
    int32_t* order_of
    int32_t* next_at  # the next step of the same node
    int32_t* child[2]  # pairing heaps: [0] the cheapest first, [1] the dearest first
    int32_t* sibling[2]
    int64_t* left  # of a step: what no clip has decided yet
    int64_t* delivered
    int32_t* first_at  # of a position: its own steps
    int32_t* root[2]
    int32_t* floor_step  # the last step clipped from below, or 0
    int32_t* ceiling_step  # the last step clipped from above, or 0
    int64_t* base  # of a subtree: its net supply when no undecided step is delivered
    int64_t* total  # when all are
    # Queues of order numbers, by position and side, for pairing.
    int32_t* head[2]
    int32_t* tail[2]
    int32_t* next_in


cdef inline int32_t meld(
    int32_t* child, int32_t* sibling, int32_t a, int32_t b, bint dearest
) noexcept nogil:
    if a == NOTHING:
        return b
    if b == NOTHING:
        return a
    if (a < b) == dearest:
        a, b = b, a
    sibling[b] = child[a]
    child[a] = b
    return a


cdef int32_t without_top(
    int32_t* child, int32_t* sibling, int32_t top, bint dearest
) noexcept nogil:
    """The heap that is left: children melded in pairs, then the pairs from the last."""
    cdef int32_t a, b, rest = child[top], pairs = NOTHING, heap = NOTHING
    while rest != NOTHING:
        a = rest
        b = sibling[a]
        rest = sibling[b] if b != NOTHING else NOTHING
        sibling[a] = NOTHING
        if b != NOTHING:
            sibling[b] = NOTHING
        a = meld(child, sibling, a, b, dearest)
        sibling[a] = pairs
        pairs = a
    while pairs != NOTHING:
        a = pairs
        pairs = sibling[a]
        sibling[a] = NOTHING
        heap = meld(child, sibling, heap, a, dearest)
    return heap


cdef inline int32_t top_of(Work* w, int32_t v, int end) noexcept nogil:
    """The cheapest (0) or dearest (1) undecided step of a subtree. What the other heap has used up
    is dropped on the way.
    """
    cdef int32_t top = w.root[end][v]
    while top != NOTHING and w.left[top] == 0:
        top = without_top(w.child[end], w.sibling[end], top, end)
    w.root[end][v] = top
    return top


cdef void clip(Work* w, int32_t v, int64_t down, int64_t up) noexcept nogil:
    """Decides every step that the room above position `v` leaves no choice about."""
    cdef int32_t step
    cdef int64_t amount
    while w.base[v] < -down:
        step = top_of(w, v, 0)
        amount = min(w.left[step], -down - w.base[v])
        w.left[step] -= amount
        w.delivered[step] += amount
        w.base[v] += amount
        w.floor_step[v] = step
    while w.total[v] > up:
        step = top_of(w, v, 1)
        amount = min(w.left[step], w.total[v] - up)
        w.left[step] -= amount
        w.total[v] -= amount
        w.ceiling_step[v] = step


cdef void gather(Work* w, Net* net, const uint8_t* sides) noexcept nogil:
    """All curves from the leaves to the root."""
    cdef int32_t v, step, above
    cdef int end
    for v in range(net.size - 1, -1, -1):
        step = w.first_at[v]
        while step != NOTHING:
            if sides[w.order_of[step]] == SELL:
                w.total[v] += w.left[step]
            else:
                w.base[v] -= w.left[step]
            for end in range(2):
                w.root[end][v] = meld(w.child[end], w.sibling[end], w.root[end][v], step, end)
            step = w.next_at[step]
        if v == 0:
            return
        clip(w, v, max(0, net.down.room[v]), max(0, net.up.room[v]))
        above = net.parent[v]
        w.base[above] += w.base[v]
        w.total[above] += w.total[v]
        for end in range(2):
            w.root[end][above] = meld(
                w.child[end], w.sibling[end], w.root[end][above], w.root[end][v], end
            )


cdef void balance(Work* w, int32_t* last, int32_t* following) noexcept nogil:
    """The undecided steps in order until the root's supply is zero, and those next to the end."""
    cdef int32_t step
    cdef int64_t amount
    last[0] = following[0] = NOTHING
    for step in range(1, w.orders + 1):
        if w.left[step] == 0:
            continue
        if w.base[0] < 0:
            amount = min(w.left[step], -w.base[0])
            w.left[step] -= amount
            w.delivered[step] += amount
            w.base[0] += amount
            last[0] = step
        if w.left[step] > 0:
            following[0] = step
            return


cdef inline void append(Work* w, int side, int32_t v, int32_t head, int32_t tail) noexcept nogil:
    if w.head[side][v] < 0:
        w.head[side][v] = head
    else:
        w.next_in[w.tail[side][v]] = head
    w.tail[side][v] = tail


cdef int32_t pair_up(
    Work* w, Net* net, int64_t* amount, int32_t* sellers, int32_t* buyers, int64_t* filled
) noexcept nogil:
    """Sellers and buyers met at the lowest node above both: no two flows cross on an edge."""
    cdef int32_t v, seller, buyer, count = 0
    cdef int side
    for v in range(net.size - 1, -1, -1):
        seller, buyer = w.head[1][v], w.head[0][v]
        while seller >= 0 and buyer >= 0:
            sellers[count], buyers[count] = seller, buyer
            filled[count] = min(amount[seller], amount[buyer])
            amount[seller] -= filled[count]
            amount[buyer] -= filled[count]
            count += 1
            if amount[seller] == 0:
                seller = w.next_in[seller]
            if amount[buyer] == 0:
                buyer = w.next_in[buyer]
        w.head[1][v], w.head[0][v] = seller, buyer
        if v > 0:
            for side in range(2):
                if w.head[side][v] >= 0:
                    append(w, side, net.parent[v], w.head[side][v], w.tail[side][v])
    return count


cdef class Arena:
    """One block of memory for one clearing, and what stands in it."""

    cdef void* block
    cdef Work w
    cdef int64_t* amount
    cdef int64_t* filled
    cdef int32_t* sellers
    cdef int32_t* buyers
    cdef int32_t* price

    def __cinit__(self, int32_t orders, int32_t nodes):
        cdef size_t steps = <size_t>orders + 1, places = <size_t>nodes
        cdef int end
        self.block = calloc(
            (4 * steps + 2 * places) * sizeof(int64_t)
            + (10 * steps + 10 * places) * sizeof(int32_t), 1
        )
        if self.block == NULL:
            raise MemoryError
        self.w.orders = orders
        cdef int64_t* wide = <int64_t*>self.block
        self.w.left, self.w.delivered = wide, wide + steps
        self.amount, self.filled = wide + 2 * steps, wide + 3 * steps
        self.w.base, self.w.total = wide + 4 * steps, wide + 4 * steps + places
        cdef int32_t* at = <int32_t*>(wide + 4 * steps + 2 * places)
        self.w.step_of, self.w.order_of = at, at + steps
        self.w.next_at, self.w.next_in = at + 2 * steps, at + 3 * steps
        self.sellers, self.buyers = at + 4 * steps, at + 5 * steps
        at += 6 * steps
        for end in range(2):
            self.w.child[end], self.w.sibling[end] = at, at + steps
            at += 2 * steps
        self.w.first_at, self.price = at, at + places
        self.w.floor_step, self.w.ceiling_step = at + 2 * places, at + 3 * places
        at += 4 * places
        for end in range(2):
            self.w.root[end], self.w.head[end], self.w.tail[end] = at, at + places, at + 2 * places
            at += 3 * places

    def __dealloc__(self):
        free(self.block)


def clear(
    Headroom headroom not None, int ticks, const int32_t[::1] nodes not None,
    const uint8_t[::1] sides not None, const int32_t[::1] order_ticks not None,
    const int64_t[::1] quantities_wh not None, const uint8_t[::1] classes not None,
):
    """Clears orders that stand in order of arrival; nothing of the headroom is taken.

    Returns the trades as (seller's order, buyer's order, Wh) and the price of every node in ticks.
    Raises ValueError for columns that are no orders.
    """
    cdef int32_t count = _checked(
        headroom, ticks, nodes, sides, order_ticks, quantities_wh, classes
    )
    cdef Arena arena = Arena(count, headroom.net.size)
    cdef int32_t last, following, trades
    if count == 0:
        return [], [ticks - 1 >> 1] * headroom.net.size
    _sort(arena, ticks, sides, order_ticks, classes)
    cdef Work* w = &arena.w
    cdef int32_t i, v
    for i in range(w.orders, 0, -1):
        v = headroom.tree.position[nodes[w.order_of[i]]]
        w.left[i] = quantities_wh[w.order_of[i]]
        w.next_at[i] = w.first_at[v]
        w.first_at[v] = i
    with nogil:
        headroom.charge()
        gather(w, &headroom.net, &sides[0])
        balance(w, &last, &following)
    _price(arena, &headroom.net, ticks, order_ticks, last, following)
    _queue(arena, headroom, nodes, sides, quantities_wh)
    with nogil:
        trades = pair_up(
            w, &headroom.net, arena.amount, arena.sellers, arena.buyers, arena.filled
        )
    made = [(arena.sellers[i], arena.buyers[i], arena.filled[i]) for i in range(trades)]
    prices = [arena.price[headroom.tree.position[v]] for v in range(headroom.net.size)]
    return made, prices


cdef int32_t _checked(
    Headroom headroom, int ticks, const int32_t[::1] nodes, const uint8_t[::1] sides,
    const int32_t[::1] order_ticks, const int64_t[::1] quantities_wh, const uint8_t[::1] classes
) except -1:
    cdef Py_ssize_t count = nodes.shape[0], i
    if not 0 < ticks <= TICKS_MAX or count > ORDERS_MAX:
        raise ValueError(f"auction: {ticks} ticks, {count} orders")
    if not (
        sides.shape[0] == order_ticks.shape[0] == quantities_wh.shape[0] == classes.shape[0]
        == count
    ):
        raise ValueError("auction: every column has one entry an order")
    for i in range(count):
        if not (
            0 <= nodes[i] < headroom.net.size and sides[i] <= SELL
            and 0 <= order_ticks[i] < ticks and 0 < quantities_wh[i] <= QUANTITY_MAX
            and classes[i] < CLASSES
        ):
            raise ValueError(f"auction: order {i} is none")
    return <int32_t>count


cdef int _sort(
    Arena arena, int ticks, const uint8_t[::1] sides, const int32_t[::1] order_ticks,
    const uint8_t[::1] classes
) except -1:
    """Numbers the steps: by tick, asks before bids so that equals trade, then by priority. Asks
    that come first are delivered first; bids that come first are given up last.
    """
    cdef Work* w = &arena.w
    cdef size_t lanes = <size_t>ticks * LANES
    cdef int32_t* places = <int32_t*>calloc(lanes + 1, sizeof(int32_t))
    cdef size_t lane
    cdef int32_t i, step
    if places == NULL:
        raise MemoryError
    for i in range(w.orders):
        places[lane_of(sides[i], order_ticks[i], classes[i]) + 1] += 1
    for lane in range(lanes):
        places[lane + 1] += places[lane]
    for i in range(w.orders):
        lane = lane_of(sides[i], order_ticks[i], classes[i])
        if sides[i] == SELL:
            step = places[lane] + 1
            places[lane] += 1
        else:
            # From the far end of the lane: `places` of the next lane stays where this one ends.
            continue
        w.step_of[i] = step
        w.order_of[step] = i
    for i in range(w.orders - 1, -1, -1):
        if sides[i] != SELL:
            lane = lane_of(sides[i], order_ticks[i], classes[i])
            step = places[lane] + 1
            places[lane] += 1
            w.step_of[i] = step
            w.order_of[step] = i
    free(places)
    return 0


cdef inline size_t lane_of(uint8_t side, int32_t tick, uint8_t cls) noexcept nogil:
    return <size_t>tick * LANES + (cls if side == SELL else LANES - 1 - cls)


cdef void _price(
    Arena arena, Net* net, int ticks, const int32_t[::1] order_ticks, int32_t last,
    int32_t following
) noexcept:
    """The root's price is midway between the last step delivered and the next one."""
    cdef Work* w = &arena.w
    cdef int32_t* price = arena.price
    cdef int32_t low = order_ticks[w.order_of[last]] if last else 0
    cdef int32_t high = order_ticks[w.order_of[following]] if following else ticks - 1
    cdef int32_t v
    price[0] = low + ((high - low) >> 1)
    for v in range(1, net.size):
        price[v] = price[net.parent[v]]
        if w.floor_step[v]:
            price[v] = max(price[v], order_ticks[w.order_of[w.floor_step[v]]])
        if w.ceiling_step[v]:
            price[v] = min(price[v], order_ticks[w.order_of[w.ceiling_step[v]]])


cdef void _queue(
    Arena arena, Headroom headroom, const int32_t[::1] nodes, const uint8_t[::1] sides,
    const int64_t[::1] quantities_wh
) noexcept:
    """What every order trades, in queues by node and side, in order of arrival."""
    cdef Work* w = &arena.w
    cdef int32_t i, v
    cdef int side
    for v in range(headroom.net.size):
        w.head[0][v] = w.head[1][v] = -1
    for i in range(w.orders):
        side = sides[i]
        arena.amount[i] = w.delivered[w.step_of[i]]
        if side != SELL:
            arena.amount[i] = quantities_wh[i] - arena.amount[i]
        w.next_in[i] = -1
        if arena.amount[i] > 0:
            append(w, side, headroom.tree.position[nodes[i]], i, i)
