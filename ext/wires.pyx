# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""The AC power flow of one delivery slot, as the order book asks it before every fill.

It decides how much of a fill the wires bear: a trade may not worsen an element beyond its limit or
a voltage beyond its band. Floats decide here, and still every processor decides the same: IEEE 754
fixes +, -, *, / and sqrt to the last bit, and nothing else is used, in an order that the source
fixes (the compiler is told not to fuse or reorder). It fails closed: what is not a number is not
within any limit, and a base without a solution admits nothing.

The method is `ext.sweep`'s, on each area by itself; where homes of an area hang from one phase, it is
`ext.sweep3`'s, and each phase has limits and a band of its own. The trunk sees the sum of the phases. Where the flow refuses a fill, the room of an
edge that is to blame is withheld from the headroom, so that the book looks for others elsewhere
and its work stays bounded. After the next trade of the area the room is given back and may be asked
for again; but where that led to nothing, only after twice as many trades as the last time, up to
`PATIENCE`.
"""

from libc.math cimport sqrt
from libc.stdint cimport int8_t, int32_t, int64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from ext.area cimport LOADING, Area, Reason, loading2, sweep_area, voltage2
from ext.trade cimport (
    FINE, HIGH2, LOW2, PU_PER_WH, Attempt, attempt, blamed, bring, draws, keep, undo, withhold,
)
from ext.area3 cimport hold3
from ext.loops cimport Loops, ONE_BITS, mesh_room, mesh_take
from ext.tree cimport Headroom, Net, Tree, respan, settle, unshut

import struct

PATIENCE = 32
BAND_PU = (0.9, 1.1)
"""EN 50160: +-10 %."""

cdef enum:
    BISECTIONS = 6
    PATIENCE_MAX = 32
    ROUNDS_MAX = 100

cdef double SOLVED = 1e-10
WATT_MAX = 1 << 42

# ---- what a book asks ---------------------------------------------------------------------------

cdef int64_t admit(
    Flow* f, Net* net, int32_t seller, int32_t buyer, int64_t wh
) noexcept nogil:
    """How much of a fill is borne, 0 to `wh`; that much is then part of the flow.

    Where it is less, an edge of the path has no more room than that.
    """
    cdef Attempt t
    cdef Reason reason, last
    cdef Area* a
    cdef int64_t low = 0, high = wh, middle
    cdef int i
    cdef bint up
    cdef int32_t edge
    if seller == buyer:
        return wh
    if f.mesh.count:
        return admit_mesh(f, net, seller, buyer, wh)
    reason.kind = LOADING
    reason.position = -1
    if not f.blind:
        reason = attempt(f, seller, buyer, wh, &t)
        if reason.kind == FINE:
            keep(f, &t)
            return wh
        undo(f, seller, buyer, &t)
        for i in range(BISECTIONS):
            middle = (low + high) >> 1
            if middle == low:
                break
            last = attempt(f, seller, buyer, middle, &t)
            undo(f, seller, buyer, &t)
            if last.kind == FINE:
                low = middle
            else:
                high = middle
                reason = last
    f.refused += 1
    edge = blamed(f, net, seller, buyer, reason, &up)
    a = f.areas + f.area[edge]
    if low > 0:
        a.patience = 1
    elif a.patience < PATIENCE_MAX:
        a.patience *= 2
    withhold(f, net, edge, up, low)
    if low > 0:
        attempt(f, seller, buyer, low, &t)
        keep(f, &t)
    return low

cdef int64_t admit_mesh(
    Flow* f, Net* net, int32_t seller, int32_t buyer, int64_t wh
) noexcept nogil:
    """The same where the network has loops: by the room of their branches."""
    cdef int64_t low = mesh_room(&f.mesh, seller, buyer, wh)
    cdef Area* whole = f.areas
    cdef Reason beside
    cdef bint up
    cdef int32_t edge
    if low < wh:
        f.refused += 1
        beside.kind = LOADING
        beside.position = -1
        edge = blamed(f, net, seller, buyer, beside, &up)
        if low > 0:
            whole.patience = 1
        elif whole.patience < PATIENCE_MAX:
            whole.patience *= 2
        withhold(f, net, edge, up, low)
    if low > 0:
        mesh_take(&f.mesh, seller, buyer, low)
        whole.recent += 1
        f.due |= whole.recent >= whole.patience
    return low

cdef void give_back(Flow* f, Net* net) noexcept nogil:
    """The room withheld in the areas that have waited; whoever wants it is checked again."""
    cdef int32_t k
    cdef bint any_kept = False
    cdef Area* a
    if not f.due:
        return
    f.due = False
    for k in range(f.count):
        a = f.areas + k
        if a.recent < a.patience:
            continue
        a.recent = 0
        if not a.kept:
            continue
        # The whole network is settled for it, so not after each trade but where there is need.
        if not any_kept:
            settle(net, 0)
            any_kept = True
        a.kept = False
        open_up(f, net, a)
    if any_kept:
        settle(net, 0)

cdef void open_up(Flow* f, Net* net, Area* a) noexcept nogil:
    """What is withheld in an area becomes room again."""
    cdef int32_t i, v
    cdef int64_t before
    for i in range(1, a.size):
        v = a.position[i]
        if f.kept_up[v] != 0:
            before = net.up.room[v]
            net.up.room[v] += f.kept_up[v]
            f.kept_up[v] = 0
            if before <= 0 < net.up.room[v]:
                unshut(net, &net.up, v)
                net.opened = True
        if f.kept_down[v] != 0:
            before = net.down.room[v]
            net.down.room[v] += f.kept_down[v]
            f.kept_down[v] = 0
            if before <= 0 < net.down.room[v]:
                unshut(net, &net.down, v)
                net.opened = True

# ---- fill or kill ------------------------------------------------------------------------------

cdef void remember(Flow* f, Net* net) noexcept nogil:
    cdef size_t wide = f.size * sizeof(int64_t)
    settle(net, 0)
    f.shadow_refused = f.refused
    f.shadow_due = f.due
    memcpy(f.shadow, f.arena, f.arena_doubles * sizeof(double))
    memcpy(f.shadow_areas, f.areas, f.count * sizeof(Area))
    memcpy(f.mesh.shadow, f.mesh.flow, f.mesh.count * sizeof(int64_t))
    memcpy(f.shadow_rooms, net.up.room, wide)
    memcpy(f.shadow_rooms + f.size, net.down.room, wide)
    memcpy(f.shadow_rooms + 2 * f.size, f.kept_up, wide)
    memcpy(f.shadow_rooms + 3 * f.size, f.kept_down, wide)

cdef void restore(Flow* f, Net* net) noexcept nogil:
    cdef size_t wide = f.size * sizeof(int64_t)
    f.refused = f.shadow_refused
    f.due = f.shadow_due
    memcpy(f.arena, f.shadow, f.arena_doubles * sizeof(double))
    memcpy(f.areas, f.shadow_areas, f.count * sizeof(Area))
    memcpy(f.mesh.flow, f.mesh.shadow, f.mesh.count * sizeof(int64_t))
    memcpy(net.up.room, f.shadow_rooms, wide)
    memcpy(net.down.room, f.shadow_rooms + f.size, wide)
    memcpy(f.kept_up, f.shadow_rooms + 2 * f.size, wide)
    memcpy(f.kept_down, f.shadow_rooms + 3 * f.size, wide)
    respan(net)

# ---- what never changes ------------------------------------------------------------------------


cdef class Wires:
    """A radial network's impedances, cut into areas below `heads`.

    Columns have one entry a node, as `ext.sweep.Sweep`'s: per unit of 1 MVA and rated voltage, of
    the element above it. `transformers` are the nodes whose element's limit is of apparent power.
    `phases` is 0 where a node is on all three phases alike, else 1 to 3; then `zero` has the columns
    r, x, g, b of the zero sequence, seen from below each transformer, which has to be star and
    earthed there. Raises ValueError for columns that do not fit the tree, for heads one below another
    and for phases in the trunk.
    """

    def __cinit__(
        self, Tree tree not None, heads, r_pu, x_pu, g_pu, b_pu, ratio, transformers,
        zero=None, phases=None,
    ):
        columns = [list(column) for column in (r_pu, x_pu, g_pu, b_pu, ratio)]
        columns += [list(column) for column in zero or ()]
        phases = list(phases or [0] * tree.size)
        if any(len(column) != tree.size for column in (*columns, phases)):
            raise ValueError(f"wires: every column has {tree.size} entries, one a node")
        if any(phases) and (len(columns) != 9 or not set(phases) <= {0, 1, 2, 3}):
            raise ValueError("wires: phases are 0 to 3 and need four columns of zero sequence")
        self.tree = tree
        self.blocks = []
        self.cut(heads)
        members = [[] for _ in range(self.count)]
        for v in range(tree.size):
            members[self.area[<int>v]].append(v)
        for k in range(self.count):
            self.fill(k, members[k], columns, set(transformers))
            self.part(k, members[k], columns, phases)

    cdef void* take(self, size_t size) except NULL:
        block = bytearray(size + 64)
        self.blocks.append(block)
        return <void*>((<size_t><char*>block + 63) & ~<size_t>63)

    cdef int cut(self, heads) except -1:
        """Which area every position belongs to."""
        cdef Tree tree = self.tree
        cdef int32_t n = tree.size, v, head
        self.area = <int32_t*>self.take(n * sizeof(int32_t))
        self.own = <int32_t*>self.take(n * sizeof(int32_t))
        self.r = <double*>self.take(n * sizeof(double))
        places = sorted(tree.place(node) for node in heads)
        self.count = 1 + len(places)
        self.areas = <Area*>self.take(self.count * sizeof(Area))
        for v in range(n):
            self.area[v] = 0
        for k, place in enumerate(places):
            head = place
            if head == 0 or self.area[head]:
                raise ValueError("wires: an area hangs from the root or from another area")
            for v in range(head, tree.end[head]):
                self.area[v] = k + 1
            self.areas[<int>k + 1].joint = tree.parent[head]
        return 0

    cdef int fill(self, int32_t k, list positions, columns, transformers) except -1:
        """One area's own arrays. The trunk holds its first node, another the one above its first."""
        cdef Area* a = self.areas + k
        cdef Tree tree = self.tree
        cdef int32_t first = positions[0], held = 0 if k == 0 else tree.parent[first], i, v
        cdef double square
        members = positions if k == 0 else [held, *positions]
        cdef int32_t n = len(members)
        a.size = n
        self.nodes += n
        a.joint = self.own[held] if k else -1
        a.parent = <int32_t*>self.take(3 * n * sizeof(int32_t))
        a.position = a.parent + n
        a.turns = a.parent + 2 * n
        a.r = <double*>self.take(5 * n * sizeof(double))
        a.x, a.g, a.b, a.base2 = a.r + n, a.r + 2 * n, a.r + 3 * n, a.r + 4 * n
        a.turns_count = 0
        for i in range(n):
            v = members[i]
            node = tree.node[v]
            a.position[i] = v
            if i == 0 and k:
                a.parent[0], a.base2[0] = -1, self.areas[0].base2[a.joint]
                a.r[0] = a.x[0] = a.g[0] = a.b[0] = 0.0
                continue
            self.own[v] = i
            a.parent[i] = -1 if v == 0 else 0 if v == first and k else self.own[tree.parent[v]]
            ratio = columns[4][node]
            square = 1.0 if i == 0 else a.base2[a.parent[i]] * <double>ratio * <double>ratio
            a.base2[i] = square
            a.r[i] = <double>columns[0][node] / square
            a.x[i] = <double>columns[1][node] / square
            a.g[i] = <double>columns[2][node] * square
            a.b[i] = <double>columns[3][node] * square
            self.r[v] = a.r[i]
            if node in transformers:
                a.turns[a.turns_count] = i
                a.turns_count += 1
        return 0

    cdef int part(self, int32_t k, list members, columns, phases) except -1:
        """Three lanes for an area with a node on one phase, and what couples them."""
        cdef Area* a = self.areas + k
        cdef Tree tree = self.tree
        cdef int32_t n = a.size, i
        cdef double square
        a.lanes, a.coupled = 1, False
        if any(phases[tree.node[v]] for v in members):
            if k == 0:
                raise ValueError("wires: the trunk is swept for all phases alike; cut below it")
            a.lanes = 3
            a.phase = <int8_t*>self.take(n)
            a.rm = <double*>self.take(4 * n * sizeof(double))
            a.xm, a.gm, a.bm = a.rm + n, a.rm + 2 * n, a.rm + 3 * n
            for i in range(1, n):
                node = tree.node[a.position[i]]
                square = a.base2[i]
                a.phase[i] = phases[node]
                a.rm[i] = (<double>columns[5][node] / square - a.r[i]) / 3.0
                a.xm[i] = (<double>columns[6][node] / square - a.x[i]) / 3.0
                a.gm[i] = (<double>columns[7][node] * square - a.g[i]) / 3.0
                a.bm[i] = (<double>columns[8][node] * square - a.b[i]) / 3.0
                a.coupled |= a.gm[i] != 0.0 or a.bm[i] != 0.0
        self.lanes += a.lanes * n
        self.widest = max(self.widest, a.lanes * n)
        return 0


# ---- one slot ----------------------------------------------------------------------------------


cdef class SlotFlow:
    """The flow of one slot: the base and every trade that was admitted.

    `p_w` and `q_var` are what every node takes without trades, `limit_va` the rating of the element
    above it. To be given to one book, and not to be shared between threads.

    Where the network has `loops`, no sweep is made: a trade passes as far as the branches of the
    loops have room beside `flow_w`, up to `cap_w` either way; `correct` says how they really are.
    """

    def __cinit__(
        self, Wires wires not None, p_w, q_var, limit_va, double root_voltage_pu,
        Loops loops=None, flow_w=(), cap_w=(),
    ):
        cdef Flow* f = &self.flow
        cdef int64_t n = wires.tree.size, k, i
        cdef int32_t v
        cdef Area* a
        columns = [list(column) for column in (p_w, q_var, limit_va)]
        if any(len(column) != n for column in columns):
            raise ValueError(f"wires: every column has {n} entries, one a node")
        self.wires = wires
        f.size, f.count = <int32_t>n, wires.count
        f.area, f.own, f.r = wires.area, wires.own, wires.r
        f.arena_doubles = 14 * wires.lanes + 2 * wires.count
        self.memory = calloc(
            2 * f.arena_doubles + 2 * wires.nodes + 6 * n + 2 * wires.widest, sizeof(double)
        )
        f.areas = <Area*>calloc(2 * wires.count, sizeof(Area))
        if self.memory == NULL or f.areas == NULL:
            raise MemoryError
        self.carve()
        for k in range(f.count):
            a = f.areas + k
            for i in range(a.size):
                v = wires.tree.node[a.position[i]]
                if a.lanes == 3:
                    hold3(a.size, root_voltage_pu, 0.0, a.vr[0] + i, a.vi[0] + i)
                a.vr[0][i] = root_voltage_pu
                if i or k == 0:
                    self.draw(a, i, <double>columns[0][v] * 1e-6, <double>columns[1][v] * 1e-6)
                    self.rate(v, columns[2][v])
        self.loops = loops
        if loops is None:
            f.blind = not self.solve()
            self.bound()
            return
        if loops.size != n:
            raise ValueError("wires: these loops are of another network")
        f.mesh.factor, f.mesh.count = loops.factor, loops.count
        f.mesh.flow = <int64_t*>calloc(4 * f.mesh.count, sizeof(int64_t))
        if f.mesh.flow == NULL:
            raise MemoryError
        f.mesh.cap = f.mesh.flow + f.mesh.count
        f.mesh.offset = f.mesh.cap + f.mesh.count
        f.mesh.shadow = f.mesh.offset + f.mesh.count
        self.put(f.mesh.flow, flow_w)
        self.put(f.mesh.cap, cap_w)

    cdef int put(self, int64_t* first, values) except -1:
        """Whole W for each branch of the loops."""
        cdef int32_t b
        given = list(values)
        if len(given) != self.flow.mesh.count:
            raise ValueError(f"wires: {len(given)} values for {self.flow.mesh.count} branches")
        if any(abs(value) > WATT_MAX for value in given):
            raise ValueError("wires: more than 4 TW in a branch cannot be meant")
        for b in range(self.flow.mesh.count):
            first[b] = <int64_t>given[b] << ONE_BITS
        return 0

    cdef list numbers(self, const int64_t* first):
        return [first[b] >> ONE_BITS for b in range(self.flow.mesh.count)]

    cdef void draw(self, Area* a, int32_t i, double p, double q) noexcept:
        """What a node takes in the base, where it is connected."""
        cdef int k
        bring(a, i, p)
        if a.lanes == 3 and a.phase[i]:
            a.q[(a.phase[i] - 1) * a.size + i] = 3.0 * q
            return
        for k in range(a.lanes):
            a.q[k * a.size + i] = q

    cdef void carve(self) noexcept:
        cdef Flow* f = &self.flow
        cdef double* at = <double*>self.memory
        cdef Area* a
        cdef int64_t n
        cdef int32_t k
        f.shadow_areas = f.areas + f.count
        memcpy(f.areas, self.wires.areas, f.count * sizeof(Area))
        f.arena = at
        for k in range(f.count):
            a = f.areas + k
            n = a.lanes * a.size
            a.live = a.recent = 0
            a.patience = 1
            a.p, a.q = at, at + n
            a.vr[0], a.vi[0], a.jr[0], a.ji[0] = at + 2 * n, at + 3 * n, at + 4 * n, at + 5 * n
            a.vr[1], a.vi[1], a.jr[1], a.ji[1] = at + 6 * n, at + 7 * n, at + 8 * n, at + 9 * n
            a.limit, a.low, a.high = at + 10 * n, at + 11 * n, at + 12 * n
            a.top = at + 13 * n
            at += 14 * n + 2
        f.shadow = at
        at += f.arena_doubles
        for k in range(f.count):
            f.areas[k].share = at
            at += 2 * f.areas[k].size
        f.kept_up = <int64_t*>at
        f.kept_down = f.kept_up + f.size
        f.shadow_rooms = f.kept_down + f.size
        for k in range(f.count):
            f.areas[k].falls = <double*>(f.shadow_rooms + 4 * f.size)

    def __dealloc__(self):
        free(self.memory)
        free(self.flow.areas)
        free(self.flow.mesh.flow)

    def rate(self, node, limit_va):
        """Another limit for the element above `node`; it holds from the next trade on."""
        cdef int32_t v = self.wires.tree.place(node)
        cdef Area* a = self.flow.areas + self.flow.area[v]
        cdef int32_t i = self.flow.own[v], k, lane, at
        cdef double limit = max(1.0, <double>limit_va) * 1e-6, now
        a.share[i] = 1.0 / (a.base2[i] * limit * limit)
        a.share[a.size + i] = 0.0
        for k in range(a.turns_count):
            if a.turns[k] == i:
                a.share[i] = 0.0
                a.share[a.size + i] = limit * limit
        for lane in range(a.lanes if i else 0):
            at = lane * a.size
            now = loading2(a, a.live, i, at)
            a.limit[at + i] = now if now > 1.0 else 1.0
            for k in range(a.turns_count):
                if a.turns[k] == i:
                    a.top[2 + lane * a.turns_count + k] = a.limit[at + i]

    cdef bint solve(self) noexcept:
        """The base, area by area, until no voltage moves. False where it has no solution."""
        cdef Flow* f = &self.flow
        cdef Area* trunk = f.areas
        cdef Area* a
        cdef int32_t k, i, rounds
        cdef double moved
        for rounds in range(ROUNDS_MAX):
            moved = 0.0
            for k in range(f.count - 1, -1, -1):
                a = f.areas + k
                i = a.joint if k else 0
                sweep_area(a, 1 - a.live, 2, trunk.vr[trunk.live][i], trunk.vi[trunk.live][i])
                for i in range(a.lanes * a.size):
                    moved += abs(a.vr[0][i] - a.vr[1][i]) + abs(a.vi[0][i] - a.vi[1][i])
                a.live = 1 - a.live
                if k:
                    trunk.p[a.joint] += draws(a, a.live, 0) - a.top[0]
                    trunk.q[a.joint] += draws(a, a.live, 1) - a.top[1]
                    a.top[0] = draws(a, a.live, 0)
                    a.top[1] = draws(a, a.live, 1)
            if moved < SOLVED * self.wires.lanes and rounds > 1:
                return True
        return False

    cdef void bound(self) noexcept:
        """Limits as they are, but no stricter than the base: it may stay where it is."""
        cdef Area* a
        cdef int32_t k, i, j, lane, at
        cdef double v
        for k in range(self.flow.count):
            a = self.flow.areas + k
            for lane in range(a.lanes):
                at = lane * a.size
                for i in range(a.size):
                    v = voltage2(a, a.live, i, at)
                    a.low[at + i] = v if v < LOW2 else LOW2
                    a.high[at + i] = v if v > HIGH2 else HIGH2
                    a.limit[at + i] = 1.0
                    if i:
                        v = loading2(a, a.live, i, at)
                        a.limit[at + i] = v if v > 1.0 else 1.0
                for j in range(a.turns_count):
                    a.top[2 + lane * a.turns_count + j] = a.limit[at + a.turns[j]]

    # ---- asked from outside --------------------------------------------------------------------

    def admit(self, Headroom headroom not None, seller_node, buyer_node, wh):
        """How much of a fill the wires bear. That much is taken from the headroom, too.

        Raises ValueError for a headroom of another network, or with less room than that.
        """
        if headroom.tree is not self.wires.tree:
            raise ValueError("wires: this headroom is of another network")
        cdef int32_t seller = headroom.tree.place(seller_node)
        cdef int32_t buyer = headroom.tree.place(buyer_node)
        cdef int64_t amount = headroom._amount(wh)
        if amount > headroom._room(seller, buyer):
            raise ValueError(f"no room for {wh} Wh from node {seller_node} to {buyer_node}")
        amount = admit(&self.flow, &headroom.net, seller, buyer, amount)
        headroom.reserve(seller_node, buyer_node, amount)
        return amount

    def withdraw(self, seller_node, buyer_node, wh):
        """A trade that was admitted did not come about: the flow is solved anew without it.

        What is then beyond a limit may stay there, as in the base. Raises ValueError for amounts
        below 1.
        """
        cdef Flow* f = &self.flow
        cdef int32_t seller = self.wires.tree.place(seller_node)
        cdef int32_t buyer = self.wires.tree.place(buyer_node)
        cdef int64_t amount = wh
        if amount < 1:
            raise ValueError(f"wires: {wh} Wh cannot be withdrawn; an amount is at least 1")
        if f.mesh.count:
            mesh_take(&f.mesh, buyer, seller, amount)
            return
        bring(f.areas + f.area[seller], f.own[seller], <double>amount * PU_PER_WH)
        bring(f.areas + f.area[buyer], f.own[buyer], -(<double>amount * PU_PER_WH))
        f.blind = not self.solve()
        self.bound()

    def correct(self, offset_w, cap_w):
        """How an AC power flow sees the loops: what flows beside the factors' sum, and how much may
        flow either way; in W by branch, in place of what was said before. Holds from the next trade
        on. Raises ValueError.
        """
        cdef Flow* f = &self.flow
        cdef int32_t b
        before = self.numbers(f.mesh.offset)
        self.put(f.mesh.cap, cap_w)
        self.put(f.mesh.offset, offset_w)
        for b in range(f.mesh.count):
            f.mesh.flow[b] += f.mesh.offset[b] - (<int64_t>before[b] << ONE_BITS)

    @property
    def loop_flows_w(self):
        """What flows through each branch of the loops by the factors and the last correction."""
        return self.numbers(self.flow.mesh.flow)

    @property
    def loop_offsets_w(self):
        """What of it the last correction said."""
        return self.numbers(self.flow.mesh.offset)

    @property
    def loop_caps_w(self):
        """How much may flow through each of them, either way."""
        return self.numbers(self.flow.mesh.cap)

    def give_back(self, Headroom headroom not None):
        """Gives room back where it is time to; a book does so after each of its commands."""
        give_back(&self.flow, &headroom.net)

    def give_all_back(self, Headroom headroom not None):
        """Gives all room back at once, because a limit changed. The book must be swept then."""
        cdef int32_t k
        for k in range(self.flow.count):
            self.flow.areas[k].recent = self.flow.areas[k].patience
        self.flow.due = True
        give_back(&self.flow, &headroom.net)

    @property
    def is_blind(self):
        """Whether the base has no solution, so that nothing is admitted."""
        return self.flow.blind

    @property
    def refused(self):
        """How many fills were cut or refused."""
        return self.flow.refused

    def withheld_wh(self, node):
        """(down, up) of the room withheld from the edge above `node`."""
        cdef int32_t v = self.wires.tree.place(node)
        return self.flow.kept_down[v], self.flow.kept_up[v]

    @property
    def voltages_pu(self):
        """Voltage magnitude by node, per unit of rated; of the phases the one farthest from it."""
        return [max(self.phases(v)[0], key=_distance) for v in range(self.flow.size)]

    @property
    def loadings(self):
        """Loading by node of the element above it, 1.0 at its limit: a line's is of current, a
        transformer's of apparent power; the fullest phase's.
        """
        return [max(self.phases(v)[1]) for v in range(self.flow.size)]

    def phases(self, node):
        """Voltages and loadings of a node's phases; one of each where they are taken for equal."""
        cdef int32_t v = self.wires.tree.place(node)
        cdef Area* a = self.flow.areas + self.flow.area[v]
        cdef int32_t i = self.flow.own[v], k
        return (
            tuple([sqrt(voltage2(a, a.live, i, k * a.size)) for k in range(a.lanes)]),
            tuple([
                sqrt(loading2(a, a.live, i, k * a.size)) if v else 0.0 for k in range(a.lanes)
            ]),
        )

    def state(self):
        """Everything that trades changed, as bytes: little-endian doubles, then integers."""
        cdef Flow* f = &self.flow
        cdef Area* a
        cdef int32_t k, number
        parts, whole = [], [f.due | f.blind << 1, f.refused]
        for k in range(f.count):
            a = f.areas + k
            for number in range(10):
                parts.append(_bytes(self.column(a, number), a.lanes * a.size + (2 if number == 9 else 0)))
            whole += [a.recent, a.patience]
        whole = struct.pack(f"<{len(whole)}q", *whole)
        mesh = _bytes(f.mesh.flow, 3 * f.mesh.count) if f.mesh.count else b""
        return b"".join(
            [*parts, whole, _bytes(f.kept_up, f.size), _bytes(f.kept_down, f.size), mesh]
        )

    cdef double* column(self, Area* a, int number) noexcept:
        """The columns of an area's state; the last has two entries more."""
        cdef double* columns[10]
        cdef int s = a.live
        columns[0], columns[1], columns[2], columns[3] = a.p, a.q, a.vr[s], a.vi[s]
        columns[4], columns[5], columns[6], columns[7] = a.jr[s], a.ji[s], a.limit, a.low
        columns[8], columns[9] = a.high, a.top
        return columns[number]

    def restore(self, bytes state not None):
        """An earlier `state()` of the same wires. Raises ValueError."""
        cdef Flow* f = &self.flow
        cdef Area* a
        cdef int32_t k, i, number
        cdef int64_t doubles = 10 * self.wires.lanes + 2 * f.count, at = 0
        cdef int64_t whole = 2 + 2 * f.count + 2 * f.size + 3 * f.mesh.count
        if len(state) != 8 * (doubles + whole):
            raise ValueError(f"wires: {len(state)} bytes are no state of this network")
        values = struct.unpack(f"<{doubles}d{whole}q", state)
        for k in range(f.count):
            a = f.areas + k
            for number in range(10):
                for i in range(a.lanes * a.size + (2 if number == 9 else 0)):
                    self.column(a, number)[i] = values[at]
                    at += 1
        f.due, f.blind, f.refused = values[at] & 1, values[at] >> 1, values[at + 1]
        at += 2
        for k in range(f.count):
            f.areas[k].recent, f.areas[k].patience = values[at], values[at + 1]
            at += 2
        for i in range(f.size):
            f.kept_up[i], f.kept_down[i] = values[at + i], values[at + f.size + i]
            if f.kept_up[i] or f.kept_down[i]:
                f.areas[f.area[i]].kept = True
        at += 2 * f.size
        for i in range(3 * f.mesh.count):
            f.mesh.flow[i] = values[at + i]


def _distance(voltage_pu):
    return abs(voltage_pu - 1.0)


cdef bytes _bytes(void* first, int count):
    """Eight-byte numbers as they lie; `ext.pool` refuses to be compiled for another byte order."""
    return (<char*>first)[: 8 * count]
