# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A radial network's topology and the room left on it in one delivery slot.

It decides how much energy can still flow from one node to another, and must never let a
reservation take an edge past its limit. An edge that is already past its limit (a forecast says
so) shuts that direction only: flow that relieves it, and flow elsewhere, passes.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int32_t, int64_t

import struct

NODES_MAX = 65_535
ROOM_MAX_WH = 1 << 60
AMOUNT_MAX_WH = 1 << 40
SAME_NODE_WH = 1 << 62

cdef enum:
    THRESHOLD_WH = 4096  # at first; it grows where settlements come too often


cdef void bound_blocks(Net* net, Reach* reach, int32_t start, int32_t end) noexcept nogil:
    """Bounds of the intervals in every block that [start, end) touches."""
    cdef int32_t b, v, first, last, low_min, low_max, high_min, high_max
    for b in range(start >> BLOCK_BITS, ((end - 1) >> BLOCK_BITS) + 1):
        first = b << BLOCK_BITS
        last = min(first + BLOCK, net.size)
        low_min = high_min = net.size
        low_max = high_max = 0
        for v in range(first, last):
            low_min = min(low_min, reach.low[v])
            low_max = max(low_max, reach.low[v])
            high_min = min(high_min, reach.high[v])
            high_max = max(high_max, reach.high[v])
        reach.block_low_min[b] = low_min
        reach.block_low_max[b] = low_max
        reach.block_high_min[b] = high_min
        reach.block_high_max[b] = high_max


cdef void shut(Net* net, Reach* reach, int32_t v) noexcept nogil:
    """Whoever reached past the edge above `v` now stops at `v`."""
    cdef int32_t u, end = net.end[v]
    cdef int32_t low, high
    # Both stores always, so that the compiler can do several positions at a time.
    for u in range(v, end):
        low = reach.low[u]
        high = reach.high[u]
        reach.high[u] = end if low < v else high
        reach.low[u] = v if low < v else low
    net.shuts += 1
    bound_blocks(net, reach, v, end)


cdef void unshut(Net* net, Reach* reach, int32_t v) noexcept nogil:
    """Whoever stopped at `v` now reaches as far as the node above it."""
    cdef int32_t u, end = net.end[v]
    cdef int32_t above_low = reach.low[net.parent[v]], above_high = reach.high[net.parent[v]]
    cdef int32_t low, high
    for u in range(v, end):
        low = reach.low[u]
        high = reach.high[u]
        reach.high[u] = above_high if low == v else high
        reach.low[u] = above_low if low == v else low
    net.shuts -= 1
    bound_blocks(net, reach, v, end)


cdef void settle(Net* net, int64_t wanted) noexcept nogil:
    """Charge the wide edges with what is pending, then tell tight from wide anew.

    Afterwards every wide edge has room for more than twice `wanted`. It costs a walk over all
    edges, so that tight is the more, the sooner the next walk would come.
    """
    cdef int32_t v
    cdef int64_t least, moved
    for v in range(net.size - 1, 0, -1):
        moved = net.pending[v]
        if moved != 0:
            net.pending[v] = 0
            net.pending[net.parent[v]] += moved
            if net.tight[v] != v:
                net.down.room[v] -= moved
                net.up.room[v] += moved
    net.pending[0] = 0
    if wanted > 0 and net.spent > 0 and net.fills * 4 < net.size:
        net.threshold *= 2 if net.threshold < <int64_t>1 << 60 else 1
    elif net.fills > 8 * <int64_t>net.size and net.threshold > THRESHOLD_WH:
        net.threshold //= 2
    if net.threshold <= 2 * wanted:
        net.threshold = 2 * wanted + 1
    net.slack = <int64_t>1 << 62
    net.tight[0] = -1
    for v in range(1, net.size):
        least = net.up.room[v] if net.up.room[v] < net.down.room[v] else net.down.room[v]
        if least < net.threshold:
            net.tight[v] = v
        else:
            net.tight[v] = net.tight[net.parent[v]]
            net.slack = least if least < net.slack else net.slack
    net.spent = net.fills = 0


cdef void span_reach(Net* net, Reach* reach) noexcept nogil:
    """All intervals from the rooms alone. Parents come before their children."""
    cdef int32_t v
    for v in range(net.size):
        if v == 0 or reach.room[v] <= 0:
            reach.low[v] = v
            reach.high[v] = net.end[v]
        else:
            reach.low[v] = reach.low[net.parent[v]]
            reach.high[v] = reach.high[net.parent[v]]
        if v > 0 and reach.room[v] <= 0:
            net.shuts += 1
    bound_blocks(net, reach, 0, net.size)


cdef void respan(Net* net) noexcept nogil:
    """Everything that follows from the rooms, which are what they really are."""
    cdef int32_t v
    net.shuts = 0
    span_reach(net, &net.up)
    span_reach(net, &net.down)
    net.spent = net.fills = 0
    for v in range(net.size):
        net.pending[v] = 0
    settle(net, 0)


cdef class Tree:
    """The topology of a radial network: `parent[node]`, with node 0 the root and parent[0] -1.

    Nodes may come in any order. Raises ValueError unless they are one tree of at most 65,535 nodes.
    """

    def __cinit__(self, parent):
        cdef list parents = [int(above) for above in parent]
        cdef int size = len(parents)
        if not 0 < size <= NODES_MAX:
            raise ValueError(f"a network has 1 to {NODES_MAX} nodes, this one {size}")
        if parents[0] != -1:
            raise ValueError("node 0 is the root: its parent is -1")
        cdef list children = [[] for _ in range(size)]
        for node in range(1, size):
            above = parents[node]
            if not 0 <= above < size:
                raise ValueError(f"node {node}: its parent {above} is no node")
            children[above].append(node)
        self.size = size
        self.position = <int32_t*>PyMem_Calloc(4 * size, sizeof(int32_t))
        if self.position == NULL:
            raise MemoryError
        self.node = self.position + size
        self.parent = self.node + size
        self.end = self.parent + size
        self._number(parents, children)

    def _number(self, list parents, list children):
        """Depth-first, the smaller child first. A cycle is what the walk never reaches."""
        cdef int32_t at = 0, v
        cdef list waiting = [0]
        while waiting:
            node = waiting.pop()
            self.position[<int>node] = at
            self.node[at] = node
            self.parent[at] = self.position[<int>parents[node]] if at else -1
            self.end[at] = at + 1
            at += 1
            waiting.extend(reversed(children[node]))
        if at != self.size:
            raise ValueError(f"{self.size - at} nodes lie on a cycle and never reach the root")
        for v in range(at - 1, 0, -1):
            if self.end[v] > self.end[self.parent[v]]:
                self.end[self.parent[v]] = self.end[v]

    def __dealloc__(self):
        PyMem_Free(self.position)

    def __len__(self):
        return self.size

    cdef int32_t place(self, object node) except -1:
        cdef long long number = node
        if not 0 <= number < self.size:
            raise ValueError(f"{node} is no node of this network of {self.size}")
        return self.position[number]

    @property
    def parents(self):
        """The parent of every node, -1 for the root."""
        return [
            self.node[self.parent[self.position[v]]] if v else -1 for v in range(self.size)
        ]

    @property
    def order(self):
        """The nodes depth first: every subtree stands together."""
        return [self.node[v] for v in range(self.size)]

    def interval(self, node):
        """The subtree of `node` as a half-open interval of `order`."""
        cdef int32_t v = self.place(node)
        return v, self.end[v]

    def path(self, seller, buyer):
        """The edges between two nodes, each by its lower node: those climbed, those descended."""
        cdef int32_t a = self.place(seller), b = self.place(buyer)
        climbed, descended = [], []
        while a != b:
            if a > b:
                climbed.append(self.node[a])
                a = self.parent[a]
            else:
                descended.append(self.node[b])
                b = self.parent[b]
        return climbed, descended[::-1]


cdef class Headroom:
    """The Wh that can still flow over the edge above each node, `down_wh` towards the customers and
    `up_wh` towards the root, in one delivery slot. The root has no edge; its entries stay 0.

    Raises ValueError for a wrong length or a room beyond 2^60 Wh either way.
    """

    def __cinit__(self, Tree tree not None, down_wh, up_wh):
        cdef int size = tree.size, blocks = (size + BLOCK - 1) >> BLOCK_BITS
        cdef size_t wide = 3 * size * sizeof(int64_t)
        cdef size_t narrow = (5 * size + 8 * blocks) * sizeof(int32_t)
        self.arena = PyMem_Calloc(1, wide + narrow)
        if self.arena == NULL:
            raise MemoryError
        self.tree = tree
        cdef Net* net = &self.net
        cdef int32_t* at = <int32_t*>(<char*>self.arena + wide)
        net.size = size
        net.blocks = blocks
        net.parent = tree.parent
        net.end = tree.end
        net.opened = False
        net.up.room = <int64_t*>self.arena
        net.down.room = net.up.room + size
        net.pending = net.down.room + size
        net.tight = at
        at += size
        net.threshold = THRESHOLD_WH
        for reach in range(2):
            self._carve(&net.down if reach else &net.up, at, size, blocks)
            at += 2 * size + 4 * blocks
        self._fill(down_wh, up_wh)

    cdef void _carve(self, Reach* reach, int32_t* at, int size, int blocks) noexcept:
        reach.low = at
        reach.high = at + size
        at += 2 * size
        reach.block_low_min = at
        reach.block_low_max = at + blocks
        reach.block_high_min = at + 2 * blocks
        reach.block_high_max = at + 3 * blocks

    def _fill(self, down_wh, up_wh):
        down, up = list(down_wh), list(up_wh)
        if len(down) != self.net.size or len(up) != self.net.size:
            raise ValueError(
                f"{self.net.size} nodes, but {len(down)} rooms down and {len(up)} up"
            )
        for room in (*down, *up):
            if not -ROOM_MAX_WH <= room <= ROOM_MAX_WH:
                raise ValueError(f"a room of {room} Wh; the limit is 2^60 either way")
        for node in range(1, self.net.size):
            self.net.down.room[self.tree.position[<int>node]] = down[node]
            self.net.up.room[self.tree.position[<int>node]] = up[node]
        self.refresh()

    cdef void refresh(self) noexcept:
        respan(&self.net)
        self.net.opened = True

    cdef void charge(self) noexcept nogil:
        """All edges at what they really have."""
        if self.net.spent:
            settle(&self.net, 0)

    def __dealloc__(self):
        PyMem_Free(self.arena)

    def room_wh(self, seller_node, buyer_node):
        """The most that can still flow from seller to buyer; 2^62 at one and the same node."""
        cdef int32_t seller = self.tree.place(seller_node), buyer = self.tree.place(buyer_node)
        return self._room(seller, buyer)

    cdef int64_t _room(self, int32_t seller, int32_t buyer) noexcept:
        """Of every edge between two positions. Only what is asked from outside needs it."""
        cdef Net* net = &self.net
        cdef int64_t room = SAME_NODE_WH
        self.charge()
        while not (seller <= buyer < net.end[seller]):
            room = min(room, net.up.room[seller])
            seller = net.parent[seller]
        while buyer != seller:
            room = min(room, net.down.room[buyer])
            buyer = net.parent[buyer]
        return max(room, 0)

    def reserve(self, seller_node, buyer_node, wh):
        """Take `wh` of the path. Raises ValueError, and takes nothing, where there is less room."""
        cdef int32_t seller = self.tree.place(seller_node), buyer = self.tree.place(buyer_node)
        cdef int64_t amount = self._amount(wh)
        if amount > self._room(seller, buyer):
            raise ValueError(f"no room for {wh} Wh from node {seller_node} to {buyer_node}")
        if amount:
            reserve_between(&self.net, seller, buyer, amount)
            self.net.opened = True

    def release(self, seller_node, buyer_node, wh):
        """Give back what a reservation took. It may leave counterflows beyond what is left."""
        cdef int32_t seller = self.tree.place(seller_node), buyer = self.tree.place(buyer_node)
        cdef int64_t amount = self._amount(wh)
        if amount:
            reserve_between(&self.net, buyer, seller, amount)
            self.net.opened = True

    cdef int64_t _amount(self, object wh) except -1:
        if not 0 <= wh <= AMOUNT_MAX_WH:
            raise ValueError(f"{wh} Wh; an amount is 0 to 2^40")
        return wh

    def set_edge(self, node, down, up):
        """New rooms, in Wh, for the edge above `node`. Raises ValueError for the root.

        A book on this headroom must be swept again after a room was raised.
        """
        cdef int32_t v = self.tree.place(node)
        if v == 0:
            raise ValueError("there is no edge above the root")
        for room in (down, up):
            if not -ROOM_MAX_WH <= room <= ROOM_MAX_WH:
                raise ValueError(f"a room of {room} Wh; the limit is 2^60 either way")
        self.charge()
        self._set_room(&self.net.down, v, down)
        self._set_room(&self.net.up, v, up)

    cdef void _set_room(self, Reach* reach, int32_t v, int64_t room) noexcept:
        cdef int64_t before = reach.room[v]
        reach.room[v] = room
        if room < self.net.slack:
            self.net.slack = room  # so that the next trade settles first
        if before > 0 and room <= 0:
            shut(&self.net, reach, v)
        elif before <= 0 and room > 0:
            unshut(&self.net, reach, v)
            self.net.opened = True

    def edge(self, node):
        """(down, up) of the edge above `node`, in Wh."""
        cdef int32_t v = self.tree.place(node)
        self.charge()
        return self.net.down.room[v], self.net.up.room[v]

    def is_shut(self, node, bint up):
        """Whether nothing more can flow over the edge above `node`, up or down."""
        cdef int32_t v = self.tree.place(node)
        return v > 0 and (self.net.up.low[v] if up else self.net.down.low[v]) == v

    @property
    def down(self):
        """Room towards the customers by node, in Wh."""
        self.charge()
        return [self.net.down.room[self.tree.position[v]] for v in range(self.net.size)]

    @property
    def up(self):
        """Room towards the root by node, in Wh."""
        self.charge()
        return [self.net.up.room[self.tree.position[v]] for v in range(self.net.size)]

    def state(self):
        """All rooms as bytes: down by node, then up by node, little-endian 64-bit."""
        return struct.pack(f"<{2 * self.net.size}q", *self.down, *self.up)

    def restore(self, bytes state not None):
        """The rooms of an earlier `state()` of the same network. Raises ValueError."""
        cdef int size = self.net.size
        if len(state) != 16 * size:
            raise ValueError(f"{len(state)} bytes are no state of {size} nodes")
        rooms = struct.unpack(f"<{2 * size}q", state)
        if rooms[0] or rooms[size]:
            raise ValueError("the root has no edge, but this state has room above it")
        self._fill(rooms[:size], rooms[size:])

    def check(self):
        """Compare every interval with one made afresh. Raises AssertionError; for tests."""
        cdef Headroom fresh = Headroom(self.tree, self.down, self.up)
        assert self.net.shuts == fresh.net.shuts, (self.net.shuts, fresh.net.shuts)
        cdef int32_t v
        for v in range(self.net.size):
            assert self.net.up.low[v] == fresh.net.up.low[v], v
            assert self.net.up.high[v] == fresh.net.up.high[v], v
            assert self.net.down.low[v] == fresh.net.down.low[v], v
            assert self.net.down.high[v] == fresh.net.down.high[v], v
        for v in range(self.net.blocks):
            assert self.net.up.block_low_min[v] == fresh.net.up.block_low_min[v], v
            assert self.net.up.block_high_max[v] == fresh.net.up.block_high_max[v], v
            assert self.net.down.block_low_max[v] == fresh.net.down.block_low_max[v], v
            assert self.net.down.block_high_min[v] == fresh.net.down.block_high_min[v], v
