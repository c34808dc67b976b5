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
    double p[2]  # as they were: a sum cannot be taken back exactly
    double trunk_p[2]
    double trunk_q[2]
    bint has_trunk

cdef inline double draws(Area* a, int s, int of) noexcept nogil:
    """Active (0) or reactive (1) power into the area."""
    if of == 0:
        return a.vr[s][0] * a.jr[s][0] + a.vi[s][0] * a.ji[s][0]
    return a.vi[s][0] * a.jr[s][0] - a.vr[s][0] * a.ji[s][0]

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

cdef inline void undo(Flow* f, int32_t seller, int32_t buyer, Attempt* t) noexcept nogil:
    cdef int k
    for k in range(t.count - 1, -1, -1):
        f.areas[0].p[t.areas[k].joint] = t.trunk_p[k]
        f.areas[0].q[t.areas[k].joint] = t.trunk_q[k]
    f.areas[f.area[buyer]].p[f.own[buyer]] = t.p[1]
    f.areas[f.area[seller]].p[f.own[seller]] = t.p[0]

cdef inline void ratchet(Area* a) noexcept nogil:
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
    room[0] = rest
    if rest <= 0:
        shut(net, &net.up if up else &net.down, v)
    settle(net, 0)
