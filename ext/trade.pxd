# cython: language_level=3, cdivision=True
"""One trade in the power flow of a slot: tried beside the accepted state, then undone or kept."""

from libc.stdint cimport int32_t, int64_t

from ext.area cimport (
    HIGH, LOADING, LOW, Area, Reason, gtx_area_ratchet, is_within, sweep_area, turned, worst,
)
from ext.tree cimport Net, settle, shut
from ext.wires cimport Flow

cdef enum:
    SWEEPS_A_TRADE = 3
    FINE = -1

cdef extern from *:
    """
    #define GTX_PU_PER_WH 4e-6  /* mean power of a Wh in a quarter of an hour, on 1 MVA */
    #define GTX_LOW2 (0.9 * 0.9)  /* EN 50160: +-10 %, squared */
    #define GTX_HIGH2 (1.1 * 1.1)
    """
    const double PU_PER_WH "GTX_PU_PER_WH"
    const double LOW2 "GTX_LOW2"
    const double HIGH2 "GTX_HIGH2"

cdef struct Attempt:
    Area* areas[3]
    int32_t count
    double p[2][3]  # as they were, by phase: a sum cannot be taken back exactly
    double trunk_p[2]
    double trunk_q[2]
    bint has_trunk

cdef inline double draws(Area* a, int s, int of) noexcept nogil:
    """Active (0) or reactive (1) power into the area: the mean of its phases, each per unit of a
    third.
    """
    if a.lanes == 1:
        return drawn(a, s, of, 0)
    return (drawn(a, s, of, 0) + drawn(a, s, of, a.size) + drawn(a, s, of, 2 * a.size)) / 3.0

cdef inline double drawn(Area* a, int s, int of, int lane) noexcept nogil:
    if of == 0:
        return a.vr[s][lane] * a.jr[s][lane] + a.vi[s][lane] * a.ji[s][lane]
    return a.vi[s][lane] * a.jr[s][lane] - a.vr[s][lane] * a.ji[s][lane]

cdef inline void bring(Area* a, int32_t i, double power) noexcept nogil:
    """A node takes so much more: where it is connected."""
    cdef int k
    if a.lanes == 3 and a.phase[i]:
        a.p[(a.phase[i] - 1) * a.size + i] += 3.0 * power
        return
    for k in range(a.lanes):
        a.p[k * a.size + i] += power

cdef inline void note(Area* a, int32_t i, double* p) noexcept nogil:
    cdef int k
    for k in range(a.lanes):
        p[k] = a.p[k * a.size + i]

cdef inline void put_back(Area* a, int32_t i, double* p) noexcept nogil:
    cdef int k
    for k in range(a.lanes):
        a.p[k * a.size + i] = p[k]

cdef inline Reason attempt(
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
    note(one, f.own[seller], t.p[0])
    note(other, f.own[buyer], t.p[1])
    bring(one, f.own[seller], -power)
    bring(other, f.own[buyer], power)
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

cdef inline void undo(Flow* f, int32_t seller, int32_t buyer, Attempt* t) noexcept nogil:
    cdef int k
    for k in range(t.count - 1, -1, -1):
        f.areas[0].p[t.areas[k].joint] = t.trunk_p[k]
        f.areas[0].q[t.areas[k].joint] = t.trunk_q[k]
    put_back(f.areas + f.area[buyer], f.own[buyer], t.p[1])
    put_back(f.areas + f.area[seller], f.own[seller], t.p[0])

cdef inline void ratchet(Area* a) noexcept nogil:
    cdef int s = a.live, k, i, of, lane
    cdef double* top = a.top + 2
    cdef double most
    for of in range(a.lanes):
        lane = of * a.size
        gtx_area_ratchet(
            a.size, a.base2, a.share, a.limit + lane, a.low + lane, a.high + lane, a.vr[s] + lane,
            a.vi[s] + lane, a.jr[s] + lane, a.ji[s] + lane, LOW2, HIGH2
        )
        # The loop above took a transformer for unlimited; its own bound is mended here.
        for k in range(a.turns_count):
            i = a.turns[k]
            most = turned(a, s, i, lane)
            a.limit[lane + i] = most if 1.0 < most < top[k] else 1.0 if most <= 1.0 else top[k]
            top[k] = a.limit[lane + i]
        top += a.turns_count

cdef inline void keep(Flow* f, Attempt* t) noexcept nogil:
    cdef Area* a
    cdef int k
    for k in range(t.count):
        a = t.areas[k]
        a.live = 1 - a.live
        a.top[0] = draws(a, a.live, 0)
        a.top[1] = draws(a, a.live, 1)
        ratchet(a)
        a.recent += 1
        f.due |= a.recent >= a.patience
    a = f.areas
    if t.has_trunk:
        a.live = 1 - a.live
        ratchet(a)
        a.recent += 1
        f.due |= a.recent >= a.patience

# ---- room that is withheld ---------------------------------------------------------------------

cdef inline int32_t blamed(
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

cdef inline void withhold(Flow* f, Net* net, int32_t v, bint up, int64_t rest) noexcept nogil:
    """All room of an edge but `rest`, which is about to be taken."""
    cdef int64_t* room = (net.up.room if up else net.down.room) + v
    cdef int64_t* kept = (f.kept_up if up else f.kept_down) + v
    settle(net, 0)
    kept[0] += room[0] - rest
    f.areas[f.area[v]].kept = True
    room[0] = rest
    if rest <= 0:
        shut(net, &net.up if up else &net.down, v)
    settle(net, 0)
