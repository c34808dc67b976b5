# cython: language_level=3, cdivision=True
"""One area of a network: its sweep, and whether everything in it is where it may be.

In C where loops over columns are to be vectorised; nothing is fused or reordered. An area has one
lane, all phases being taken for equal, or three: one a phase. Columns that differ by phase hold lane
after lane.
"""

from libc.stdint cimport int8_t, int32_t

from ext.area3 cimport (
    gtx_area3_backward, gtx_area3_coupled, gtx_area3_falls, gtx_area3_forward, hold3,
)

cdef extern from *:
    """
    GTX_WIDE static void gtx_area_currents(
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
    GTX_WIDE static int gtx_area_breaches(
        int n, const double *restrict base2, const double *restrict share,
        const double *restrict limit, const double *restrict low, const double *restrict high,
        const double *restrict vr, const double *restrict vi, const double *restrict jr,
        const double *restrict ji, double less, double more)
    {
        long long fine = 0;  /* as wide as what is compared, or no loop is vectorised */
        for (int i = 1; i < n; i++) {
            double v = base2[i] * (vr[i] * vr[i] + vi[i] * vi[i]);
            double f = share[i] * (jr[i] * jr[i] + ji[i] * ji[i]);
            int is_fine =
                (f * less <= limit[i]) & (v * more >= low[i]) & (v * (2.0 - more) <= high[i]);
            fine += is_fine ? 1LL : 0LL;
        }
        return n - 1 - (int)fine;
    }

    /* What was beyond its limit may come nearer to it, and then must not go back. */
    GTX_WIDE static void gtx_area_ratchet(
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

cdef enum:
    LOADING = 0
    LOW = 1
    HIGH = 2

cdef extern from *:
    """
    /* What counts as worse, in squares: a twentieth of a point of loading, a ten-thousandth of a
       voltage. */
    #define GTX_LESS 0.999
    #define GTX_MORE 1.0002
    """
    const double LESS "GTX_LESS"
    const double MORE "GTX_MORE"

cdef struct Area:
    # Its nodes in preorder; node 0 is held at the trunk's voltage (the trunk's own at the source).
    int32_t size
    int32_t joint  # where in the trunk it hangs; -1: this is the trunk
    int32_t live  # which of the two states below is the accepted one
    int32_t recent  # trades accepted since room was given back
    int32_t patience  # after so many it is given back again
    bint kept  # whether room of it is withheld
    int32_t turns_count
    int32_t lanes  # 1, or 3: a phase each
    bint coupled  # whether the phases' shunts are
    int8_t* phase  # by own number: 0 on all three alike, else 1 to 3; used where there are lanes
    int32_t* parent
    int32_t* position  # in the tree, by own number
    int32_t* turns  # the transformers, whose limit is of apparent power
    double* r
    double* x
    double* g
    double* b
    double* rm  # between the phases, where there are lanes
    double* xm
    double* gm
    double* bm
    double* falls  # scratch
    double* base2  # squared voltage per unit of the sweep's own base
    double* share  # of a line: squared loading for each squared current
    double* p
    double* q
    double* vr[2]
    double* vi[2]
    double* jr[2]
    double* ji[2]
    double* limit  # squared loading that a trade may lead to
    double* low  # squared voltages likewise
    double* high
    double* top  # what the area draws from the trunk, active and reactive

cdef inline void sweep_area(Area* a, int into, int times, double held_r, double held_i) noexcept nogil:
    """From the accepted voltages into the state `into`, the voltage above held."""
    cdef int i, source = a.live
    if a.lanes == 3:
        sweep_phases(a, into, times, held_r, held_i)
        return
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

cdef inline void sweep_phases(Area* a, int into, int times, double held_r, double held_i) noexcept nogil:
    cdef int i, k, lane, n = a.size, source = a.live
    cdef double* jr = a.jr[into]
    cdef double* ji = a.ji[into]
    cdef double* vr = a.vr[into]
    cdef double* vi = a.vi[into]
    for i in range(times):
        if a.coupled:
            gtx_area3_coupled(
                n, a.g, a.b, a.gm, a.bm, a.p, a.q, a.vr[source], a.vi[source], jr, ji
            )
        for k in range(0 if a.coupled else 3):
            lane = k * n
            gtx_area_currents(
                n, a.g, a.b, a.p + lane, a.q + lane, a.vr[source] + lane, a.vi[source] + lane,
                jr + lane, ji + lane,
            )
        gtx_area3_backward(n, a.parent, jr, ji)
        hold3(n, held_r, held_i, vr, vi)
        gtx_area3_falls(n, a.r, a.x, a.rm, a.xm, jr, ji, a.falls, a.falls + 3 * n)
        gtx_area3_forward(n, a.parent, a.falls, a.falls + 3 * n, vr, vi)
        source = into

cdef inline double turned(Area* a, int s, int i, int lane) noexcept nogil:
    """Squared loading of a transformer: apparent power over its limit, the greater side. A phase's
    winding is rated for a third.
    """
    cdef int above = lane + a.parent[i], own = lane + i
    cdef double v = a.vr[s][own] * a.vr[s][own] + a.vi[s][own] * a.vi[s][own]
    cdef double u = a.vr[s][above] * a.vr[s][above] + a.vi[s][above] * a.vi[s][above]
    v = u if u > v else v
    return v * (a.jr[s][own] * a.jr[s][own] + a.ji[s][own] * a.ji[s][own]) / a.share[a.size + i]

cdef inline bint is_within(Area* a, int s) noexcept nogil:
    cdef int k, of, lane
    for of in range(a.lanes):
        lane = of * a.size
        if gtx_area_breaches(
            a.size, a.base2, a.share, a.limit + lane, a.low + lane, a.high + lane, a.vr[s] + lane,
            a.vi[s] + lane, a.jr[s] + lane, a.ji[s] + lane, LESS, MORE
        ):
            return False
        for k in range(a.turns_count):
            if not turned(a, s, a.turns[k], lane) * LESS <= a.limit[lane + a.turns[k]]:
                return False
    return True

cdef inline double loading2(Area* a, int s, int i, int lane) noexcept nogil:
    cdef int own = lane + i
    if a.share[i] == 0.0 and a.share[a.size + i] != 0.0:
        return turned(a, s, i, lane)
    return a.share[i] * (a.jr[s][own] * a.jr[s][own] + a.ji[s][own] * a.ji[s][own])

cdef inline double voltage2(Area* a, int s, int i, int lane) noexcept nogil:
    cdef int own = lane + i
    return a.base2[i] * (a.vr[s][own] * a.vr[s][own] + a.vi[s][own] * a.vi[s][own])

cdef struct Reason:
    int32_t kind  # FINE, or what is worst
    int32_t position

cdef inline Reason worst(Area* a, int s) noexcept nogil:
    """The breach that is greatest for its bound."""
    cdef Reason found
    cdef double most = 0.0, v
    cdef int i, kind, of, lane
    found.kind = LOADING
    found.position = -1
    for of in range(a.lanes):
        lane = of * a.size
        for i in range(1, a.size):
            for kind in range(3):
                if kind == LOADING:
                    v = loading2(a, s, i, lane) * LESS / a.limit[lane + i]
                elif kind == LOW:
                    v = a.low[lane + i] / (voltage2(a, s, i, lane) * MORE)
                else:
                    v = voltage2(a, s, i, lane) * (2.0 - MORE) / a.high[lane + i]
                if v > 1.0 and v > most:
                    found.kind = kind
                    found.position = a.position[i]
                    most = v
    return found
