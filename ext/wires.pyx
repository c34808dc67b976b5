# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""The AC power flow of one delivery slot, as the order book asks it before every fill.

It decides how much of a fill the wires bear: a trade may not worsen an element beyond its limit or
a voltage beyond its band. Floats decide here, and still every processor decides the same: IEEE 754
fixes +, -, *, / and sqrt to the last bit, and nothing else is used, in an order that the source
fixes (the compiler is told not to fuse or reorder). It fails closed: what is not a number is not
within any limit, and a base without a solution admits nothing.

The method is `ext.sweep`'s, on each area by itself. Where the flow refuses a fill, the room of an
edge that is to blame is withheld from the headroom, so that the book looks for others elsewhere
and its work stays bounded; after `RECENT` more trades of an area its room is given back, and asked
for again.
"""

from libc.math cimport sqrt
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from ext.tree cimport Headroom, Net, Tree, respan, settle, shut, unshut

import struct

cdef extern from *:
    """
    static void gtx_area_currents(
        int n, const double *restrict g, const double *restrict b, const double *restrict p,
        const double *restrict q, const double *restrict vr, const double *restrict vi,
        double *restrict jr, double *restrict ji)
    {
        jr[0] = ji[0] = 0.0;
        for (int i = 1; i < n; i++) {
            double w = 1.0 / (vr[i] * vr[i] + vi[i] * vi[i]);
            double conductance = p[i] * w + g[i];
            double susceptance = q[i] * w - b[i];
            jr[i] = conductance * vr[i] + susceptance * vi[i];
            ji[i] = conductance * vi[i] - susceptance * vr[i];
        }
    }

    static void gtx_area_backward(
        int n, const int *restrict parent, double *restrict jr, double *restrict ji)
    {
        double cr = 0.0, ci = 0.0;
        for (int i = n - 1; i > 0; i--) {
            double sr = jr[i] + cr, si = ji[i] + ci;
            jr[i] = sr;
            ji[i] = si;
            if (parent[i] == i - 1) {
                cr = sr;
                ci = si;
            } else {
                jr[parent[i]] += sr;
                ji[parent[i]] += si;
                cr = ci = 0.0;
            }
        }
        jr[0] += cr;
        ji[0] += ci;
    }

    static void gtx_area_forward(
        int n, const int *restrict parent, const double *restrict r, const double *restrict x,
        const double *restrict jr, const double *restrict ji, double *restrict vr,
        double *restrict vi)
    {
        double ar = vr[0], ai = vi[0];
        for (int i = 1; i < n; i++) {
            if (parent[i] != i - 1) {
                ar = vr[parent[i]];
                ai = vi[parent[i]];
            }
            ar = ar - (r[i] * jr[i] - x[i] * ji[i]);
            ai = ai - (r[i] * ji[i] + x[i] * jr[i]);
            vr[i] = ar;
            vi[i] = ai;
        }
    }

    /* How many of the nodes and lines are where they may not be. A comparison with a NaN is false. */
    static int gtx_area_breaches(
        int n, const double *restrict base2, const double *restrict share,
        const double *restrict limit, const double *restrict low, const double *restrict high,
        const double *restrict vr, const double *restrict vi, const double *restrict jr,
        const double *restrict ji, double less, double more)
    {
        int fine = 0;
        for (int i = 1; i < n; i++) {
            double v = base2[i] * (vr[i] * vr[i] + vi[i] * vi[i]);
            double f = share[i] * (jr[i] * jr[i] + ji[i] * ji[i]);
            fine += (f * less <= limit[i]) & (v * more >= low[i]) & (v * (2.0 - more) <= high[i]);
        }
        return n - 1 - fine;
    }

    /* What was beyond its limit may come nearer to it, and then must not go back. */
    static void gtx_area_ratchet(
        int n, const double *restrict base2, const double *restrict share, double *restrict limit,
        double *restrict low, double *restrict high, const double *restrict vr,
        const double *restrict vi, const double *restrict jr, const double *restrict ji,
        double band_low, double band_high)
    {
        for (int i = 1; i < n; i++) {
            double v = base2[i] * (vr[i] * vr[i] + vi[i] * vi[i]);
            double f = share[i] * (jr[i] * jr[i] + ji[i] * ji[i]);
            double l = f < limit[i] ? f : limit[i], d = v > low[i] ? v : low[i];
            double h = v < high[i] ? v : high[i];
            limit[i] = l > 1.0 ? l : 1.0;
            low[i] = d < band_low ? d : band_low;
            high[i] = h > band_high ? h : band_high;
        }
    }
    """
    void gtx_area_currents(
        int n, const double* g, const double* b, const double* p, const double* q,
        const double* vr, const double* vi, double* jr, double* ji) noexcept nogil
    void gtx_area_backward(int n, const int32_t* parent, double* jr, double* ji) noexcept nogil
    void gtx_area_forward(
        int n, const int32_t* parent, const double* r, const double* x, const double* jr,
        const double* ji, double* vr, double* vi) noexcept nogil
    int gtx_area_breaches(
        int n, const double* base2, const double* share, const double* limit, const double* low,
        const double* high, const double* vr, const double* vi, const double* jr,
        const double* ji, double less, double more) noexcept nogil
    void gtx_area_ratchet(
        int n, const double* base2, const double* share, double* limit, double* low,
        double* high, const double* vr, const double* vi, const double* jr, const double* ji,
        double band_low, double band_high) noexcept nogil

SWEEPS = 3
RECENT = 32
BAND_PU = (0.9, 1.1)
"""EN 50160: +-10 %."""

cdef enum:
    SWEEPS_A_TRADE = 3
    BISECTIONS = 6
    RECENT_MAX = 32
    ROUNDS_MAX = 100
    FINE = -1
    LOADING = 0
    LOW = 1
    HIGH = 2

cdef double PU_PER_WH = 4e-6  # mean power of one Wh in a quarter of an hour, on 1 MVA
cdef double LOW2 = 0.9 * 0.9
cdef double HIGH2 = 1.1 * 1.1
# What counts as worse: a twentieth of a point of loading, a ten-thousandth of a voltage. Squares.
cdef double LESS = 0.999
cdef double MORE = 1.0002
cdef double SOLVED = 1e-10

# ---- one area ----------------------------------------------------------------------------------

cdef void sweep_area(Area* a, int into, int times, double held_r, double held_i) noexcept nogil:
    """From the accepted voltages into the state `into`, the voltage above held."""
    cdef int i, source = a.live
    for i in range(times):
        gtx_area_currents(
            a.size, a.g, a.b, a.p, a.q, a.vr[source], a.vi[source], a.jr[into], a.ji[into]
        )
        gtx_area_backward(a.size, a.parent, a.jr[into], a.ji[into])
        a.vr[into][0] = held_r
        a.vi[into][0] = held_i
        gtx_area_forward(
            a.size, a.parent, a.r, a.x, a.jr[into], a.ji[into], a.vr[into], a.vi[into]
        )
        source = into

cdef inline double turned(Area* a, int s, int i) noexcept nogil:
    """Squared loading of a transformer: apparent power over its limit, the greater side."""
    cdef int above = a.parent[i]
    cdef double v = a.vr[s][i] * a.vr[s][i] + a.vi[s][i] * a.vi[s][i]
    cdef double u = a.vr[s][above] * a.vr[s][above] + a.vi[s][above] * a.vi[s][above]
    v = u if u > v else v
    return v * (a.jr[s][i] * a.jr[s][i] + a.ji[s][i] * a.ji[s][i]) / a.share[a.size + i]

cdef bint is_within(Area* a, int s) noexcept nogil:
    cdef int k
    if gtx_area_breaches(
        a.size, a.base2, a.share, a.limit, a.low, a.high, a.vr[s], a.vi[s], a.jr[s], a.ji[s],
        LESS, MORE
    ):
        return False
    for k in range(a.turns_count):
        if not turned(a, s, a.turns[k]) * LESS <= a.limit[a.turns[k]]:
            return False
    return True

cdef inline double loading2(Area* a, int s, int i) noexcept nogil:
    if a.share[i] == 0.0 and a.share[a.size + i] != 0.0:
        return turned(a, s, i)
    return a.share[i] * (a.jr[s][i] * a.jr[s][i] + a.ji[s][i] * a.ji[s][i])

cdef inline double voltage2(Area* a, int s, int i) noexcept nogil:
    return a.base2[i] * (a.vr[s][i] * a.vr[s][i] + a.vi[s][i] * a.vi[s][i])

cdef struct Reason:
    int32_t kind  # FINE, or what is worst
    int32_t position

cdef Reason worst(Area* a, int s) noexcept nogil:
    """The breach that is greatest for its bound."""
    cdef Reason found
    cdef double most = 0.0, v
    cdef int i, kind
    found.kind = LOADING
    found.position = -1
    for i in range(1, a.size):
        for kind in range(3):
            if kind == LOADING:
                v = loading2(a, s, i) * LESS / a.limit[i]
            elif kind == LOW:
                v = a.low[i] / (voltage2(a, s, i) * MORE)
            else:
                v = voltage2(a, s, i) * (2.0 - MORE) / a.high[i]
            if v <= 1.0 or v <= most:
                continue
            found.kind = kind
            found.position = a.position[i]
            if not v < 1e300:
                return found
            most = v
    return found

# ---- a trade -----------------------------------------------------------------------------------

cdef struct Attempt:
    Area* areas[3]
    int32_t count
    double p[2]  # as they were: a sum cannot be taken back exactly
    double trunk_p[2]
    double trunk_q[2]
    bint has_trunk

cdef inline double draws(Area* a, int s, int of) noexcept nogil:
    """Active (0) or reactive (1) power into the area."""
    if of == 0:
        return a.vr[s][0] * a.jr[s][0] + a.vi[s][0] * a.ji[s][0]
    return a.vi[s][0] * a.jr[s][0] - a.vr[s][0] * a.ji[s][0]

cdef Reason attempt(
    Flow* f, int32_t seller, int32_t buyer, int64_t wh, Attempt* t
) noexcept nogil:
    """Sweep what the trade touches into the states that are not live. Undo it or keep it."""
    cdef Area* trunk = f.areas
    cdef Area* one = f.areas + f.area[seller]
    cdef Area* other = f.areas + f.area[buyer]
    cdef Area* a
    cdef double power = <double>wh * PU_PER_WH
    cdef Reason reason
    cdef int k, s
    t.p[0] = one.p[f.own[seller]]
    t.p[1] = other.p[f.own[buyer]]
    one.p[f.own[seller]] = t.p[0] - power
    other.p[f.own[buyer]] = t.p[1] + power
    t.count = 0
    if one != trunk:
        t.areas[0] = one
        t.count = 1
    if other != trunk and other != one:
        t.areas[t.count] = other
        t.count += 1
    t.has_trunk = one != other or one == trunk
    for k in range(t.count):
        a = t.areas[k]
        s = 1 - a.live
        t.trunk_p[k] = trunk.p[a.joint]
        t.trunk_q[k] = trunk.q[a.joint]
        sweep_area(
            a, s, SWEEPS_A_TRADE, trunk.vr[trunk.live][a.joint], trunk.vi[trunk.live][a.joint]
        )
        trunk.p[a.joint] = t.trunk_p[k] + (draws(a, s, 0) - a.top[0])
        trunk.q[a.joint] = t.trunk_q[k] + (draws(a, s, 1) - a.top[1])
    reason.kind = FINE
    reason.position = -1
    for k in range(t.count):
        if not is_within(t.areas[k], 1 - t.areas[k].live):
            return worst(t.areas[k], 1 - t.areas[k].live)
    if t.has_trunk:
        s = 1 - trunk.live
        sweep_area(
            trunk, s, SWEEPS_A_TRADE, trunk.vr[trunk.live][0], trunk.vi[trunk.live][0]
        )
        if not is_within(trunk, s):
            return worst(trunk, s)
    return reason

cdef void undo(Flow* f, int32_t seller, int32_t buyer, Attempt* t) noexcept nogil:
    cdef int k
    for k in range(t.count - 1, -1, -1):
        f.areas[0].p[t.areas[k].joint] = t.trunk_p[k]
        f.areas[0].q[t.areas[k].joint] = t.trunk_q[k]
    f.areas[f.area[buyer]].p[f.own[buyer]] = t.p[1]
    f.areas[f.area[seller]].p[f.own[seller]] = t.p[0]

cdef void ratchet(Area* a) noexcept nogil:
    cdef int s = a.live, k, i
    cdef double most
    gtx_area_ratchet(
        a.size, a.base2, a.share, a.limit, a.low, a.high, a.vr[s], a.vi[s], a.jr[s], a.ji[s],
        LOW2, HIGH2
    )
    # The loop above took a transformer for unlimited; its own bound is mended here.
    for k in range(a.turns_count):
        i = a.turns[k]
        most = turned(a, s, i)
        a.limit[i] = most if 1.0 < most < a.top[2 + k] else 1.0 if most <= 1.0 else a.top[2 + k]
        a.top[2 + k] = a.limit[i]

cdef void keep(Flow* f, Attempt* t) noexcept nogil:
    cdef Area* a
    cdef int k
    for k in range(t.count):
        a = t.areas[k]
        a.live = 1 - a.live
        a.top[0] = draws(a, a.live, 0)
        a.top[1] = draws(a, a.live, 1)
        ratchet(a)
        a.recent += 1
        f.due |= a.recent >= RECENT_MAX
    a = f.areas
    if t.has_trunk:
        a.live = 1 - a.live
        ratchet(a)
        a.recent += 1
        f.due |= a.recent >= RECENT_MAX

# ---- room that is withheld ---------------------------------------------------------------------

cdef int32_t blamed(
    Flow* f, Net* net, int32_t seller, int32_t buyer, Reason reason, bint* up
) noexcept nogil:
    """The edge whose direction `up` the refused fill used and which is to blame; never none."""
    cdef int32_t v = seller, m = reason.position, found = -1
    cdef bint holds
    up[0] = True
    while not (v <= buyer < net.end[v]):
        holds = m >= 0 and (v == m if reason.kind == LOADING else v <= m < net.end[v])
        if holds and reason.kind != LOW and (found < 0 or f.r[v] > f.r[found]):
            found = v
        v = net.parent[v]
    if found >= 0:
        return found
    v = buyer
    while not (v <= seller < net.end[v]):
        holds = m >= 0 and (v == m if reason.kind == LOADING else v <= m < net.end[v])
        if holds and reason.kind != HIGH and (found < 0 or f.r[v] > f.r[found]):
            found = v
        v = net.parent[v]
    up[0] = False
    if found >= 0:
        return found
    # Something beside the path: the trade's own end must do.
    if not (buyer <= seller < net.end[buyer]):
        return buyer
    up[0] = True
    return seller

cdef void withhold(Flow* f, Net* net, int32_t v, bint up, int64_t rest) noexcept nogil:
    """All room of an edge but `rest`, which is about to be taken."""
    cdef int64_t* room = (net.up.room if up else net.down.room) + v
    cdef int64_t* kept = (f.kept_up if up else f.kept_down) + v
    settle(net, 0)
    kept[0] += room[0] - rest
    room[0] = rest
    if rest <= 0:
        shut(net, &net.up if up else &net.down, v)
    settle(net, 0)

cdef int64_t admit(
    Flow* f, Net* net, int32_t seller, int32_t buyer, int64_t wh
) noexcept nogil:
    """How much of a fill is borne, 0 to `wh`; that much is then part of the flow.

    Where it is less, an edge of the path has no more room than that.
    """
    cdef Attempt t
    cdef Reason reason, last
    cdef int64_t low = 0, high = wh, middle
    cdef int i
    cdef bint up
    cdef int32_t edge
    if seller == buyer:
        return wh
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
    withhold(f, net, edge, up, low)
    if low > 0:
        attempt(f, seller, buyer, low, &t)
        keep(f, &t)
    return low

cdef void give_back(Flow* f, Net* net) noexcept nogil:
    """The room withheld in the areas that have waited; whoever wants it is checked again."""
    cdef int32_t k, i, v
    cdef Area* a
    cdef int64_t before
    if not f.due:
        return
    f.due = False
    settle(net, 0)
    for k in range(f.count):
        a = f.areas + k
        if a.recent < RECENT_MAX:
            continue
        a.recent = 0
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
    settle(net, 0)

# ---- fill or kill ------------------------------------------------------------------------------

cdef void remember(Flow* f, Net* net) noexcept nogil:
    cdef size_t wide = f.size * sizeof(int64_t)
    settle(net, 0)
    memcpy(f.shadow, f.arena, f.arena_doubles * sizeof(double))
    memcpy(f.shadow_areas, f.areas, f.count * sizeof(Area))
    memcpy(f.shadow_rooms, net.up.room, wide)
    memcpy(f.shadow_rooms + f.size, net.down.room, wide)
    memcpy(f.shadow_rooms + 2 * f.size, f.kept_up, wide)
    memcpy(f.shadow_rooms + 3 * f.size, f.kept_down, wide)

cdef void restore(Flow* f, Net* net) noexcept nogil:
    cdef size_t wide = f.size * sizeof(int64_t)
    memcpy(f.arena, f.shadow, f.arena_doubles * sizeof(double))
    memcpy(f.areas, f.shadow_areas, f.count * sizeof(Area))
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
    Raises ValueError for columns that do not fit the tree and for heads one below another.
    """

    def __cinit__(self, Tree tree not None, heads, r_pu, x_pu, g_pu, b_pu, ratio, transformers):
        columns = [list(column) for column in (r_pu, x_pu, g_pu, b_pu, ratio)]
        if any(len(column) != tree.size for column in columns):
            raise ValueError(f"wires: every column has {tree.size} entries, one a node")
        self.tree = tree
        self.blocks = []
        self.cut(heads)
        members = [[] for _ in range(self.count)]
        for v in range(tree.size):
            members[self.area[<int>v]].append(v)
        for k in range(self.count):
            self.fill(k, members[k], columns, set(transformers))

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


# ---- one slot ----------------------------------------------------------------------------------


cdef class SlotFlow:
    """The flow of one slot: the base and every trade that was admitted.

    `p_w` and `q_var` are what every node takes without trades, `limit_va` the rating of the element
    above it. To be given to one book, and not to be shared between threads.
    """

    def __cinit__(self, Wires wires not None, p_w, q_var, limit_va, double root_voltage_pu):
        cdef Flow* f = &self.flow
        cdef int64_t n = wires.tree.size, k, i, v
        cdef Area* a
        columns = [list(column) for column in (p_w, q_var, limit_va)]
        if any(len(column) != n for column in columns):
            raise ValueError(f"wires: every column has {n} entries, one a node")
        self.wires = wires
        f.size, f.count = <int32_t>n, wires.count
        f.area, f.own, f.r = wires.area, wires.own, wires.r
        f.arena_doubles = 14 * wires.nodes + 2 * wires.count
        self.memory = calloc(
            2 * f.arena_doubles + 2 * wires.nodes + 6 * n, sizeof(double)
        )
        f.areas = <Area*>calloc(2 * wires.count, sizeof(Area))
        if self.memory == NULL or f.areas == NULL:
            raise MemoryError
        self.carve()
        for k in range(f.count):
            a = f.areas + k
            for i in range(a.size):
                v = wires.tree.node[a.position[i]]
                a.vr[0][i] = root_voltage_pu
                if i or k == 0:
                    a.p[i] = <double>columns[0][v] * 1e-6
                    a.q[i] = <double>columns[1][v] * 1e-6
                    self.rate(v, columns[2][v])
        f.blind = not self.solve()
        self.bound()

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
            n = a.size
            a.live = a.recent = 0
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

    def __dealloc__(self):
        free(self.memory)
        free(self.flow.areas)

    def rate(self, node, limit_va):
        """Another limit for the element above `node`; it holds from the next trade on."""
        cdef int32_t v = self.wires.tree.place(node)
        cdef Area* a = self.flow.areas + self.flow.area[v]
        cdef int32_t i = self.flow.own[v], k
        cdef double limit = max(1.0, <double>limit_va) * 1e-6, now
        a.share[i] = 1.0 / (a.base2[i] * limit * limit)
        a.share[a.size + i] = 0.0
        for k in range(a.turns_count):
            if a.turns[k] == i:
                a.share[i] = 0.0
                a.share[a.size + i] = limit * limit
        if i:
            now = loading2(a, a.live, i)
            a.limit[i] = now if now > 1.0 else 1.0
            for k in range(a.turns_count):
                if a.turns[k] == i:
                    a.top[2 + k] = a.limit[i]

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
                for i in range(a.size):
                    moved += abs(a.vr[0][i] - a.vr[1][i]) + abs(a.vi[0][i] - a.vi[1][i])
                a.live = 1 - a.live
                if k:
                    trunk.p[a.joint] += draws(a, a.live, 0) - a.top[0]
                    trunk.q[a.joint] += draws(a, a.live, 1) - a.top[1]
                    a.top[0] = draws(a, a.live, 0)
                    a.top[1] = draws(a, a.live, 1)
            if moved < SOLVED * self.wires.nodes and rounds > 1:
                return True
        return False

    cdef void bound(self) noexcept:
        """Limits as they are, but no stricter than the base: it may stay where it is."""
        cdef Area* a
        cdef int32_t k, i, j
        cdef double v
        for k in range(self.flow.count):
            a = self.flow.areas + k
            for i in range(a.size):
                v = voltage2(a, a.live, i)
                a.low[i] = v if v < LOW2 else LOW2
                a.high[i] = v if v > HIGH2 else HIGH2
                a.limit[i] = 1.0
                if i:
                    v = loading2(a, a.live, i)
                    a.limit[i] = v if v > 1.0 else 1.0
            for j in range(a.turns_count):
                a.top[2 + j] = a.limit[a.turns[j]]

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

    def give_back(self, Headroom headroom not None):
        """Gives room back where it is time to; a book does so after each of its commands."""
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
        """Voltage magnitude by node, per unit of rated."""
        return self._by_node(False)

    @property
    def loadings(self):
        """Loading by node of the element above it, 1.0 at its limit: a line's is of current, a
        transformer's of apparent power.
        """
        return self._by_node(True)

    def _by_node(self, bint loading):
        cdef Area* a
        cdef int32_t v, i
        found = [0.0] * self.flow.size
        for v in range(self.flow.size):
            a = self.flow.areas + self.flow.area[v]
            i = self.flow.own[v]
            if not loading:
                found[self.wires.tree.node[v]] = sqrt(voltage2(a, a.live, i))
            elif v:
                found[self.wires.tree.node[v]] = sqrt(loading2(a, a.live, i))
        return found

    def state(self):
        """Everything that trades changed, as bytes: little-endian doubles, then integers."""
        cdef Flow* f = &self.flow
        cdef Area* a
        cdef int32_t k, i, number
        doubles, whole = [], [f.due, f.refused]
        for k in range(f.count):
            a = f.areas + k
            for number in range(10):
                for i in range(a.size + (2 if number == 9 else 0)):
                    doubles.append(self.column(a, number)[i])
            whole.append(a.recent)
        for i in range(f.size):
            whole += [f.kept_up[i], f.kept_down[i]]
        return struct.pack(f"<{len(doubles)}d{len(whole)}q", *doubles, *whole)

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
        cdef int64_t doubles = 10 * self.wires.nodes + 2 * f.count, at = 0
        cdef int64_t whole = 2 + f.count + 2 * f.size
        if len(state) != 8 * (doubles + whole):
            raise ValueError(f"wires: {len(state)} bytes are no state of this network")
        values = struct.unpack(f"<{doubles}d{whole}q", state)
        for k in range(f.count):
            a = f.areas + k
            for number in range(10):
                for i in range(a.size + (2 if number == 9 else 0)):
                    self.column(a, number)[i] = values[at]
                    at += 1
        f.due, f.refused = values[at], values[at + 1]
        at += 2
        for k in range(f.count):
            f.areas[k].recent = values[at]
            at += 1
        for i in range(f.size):
            f.kept_up[i], f.kept_down[i] = values[at], values[at + 1]
            at += 2
