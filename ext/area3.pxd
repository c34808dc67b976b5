# cython: language_level=3
"""The loops of an area whose three phases are swept each for itself.

Columns hold phase after phase. In the frame of each area the voltage above it is balanced, so that
the vector group of its transformer turns nothing that is asked here; along an element the phases
are coupled through earth and neutral, zm = (z0 - z1) / 3. In C so that loops over nodes are
vectorised, and a node's fall is computed before the walk that adds the falls up: only that walk is
a chain. Nothing is fused or reordered: wider registers, where the processor has them, give the same
bits.
"""

from libc.stdint cimport int32_t

cdef extern from *:
    """
    #if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
    #define GTX_WIDE __attribute__((target_clones("avx2", "default")))  /* AVX2 fuses nothing */
    #else
    #define GTX_WIDE
    #endif

    /* Currents of three phases whose shunts are coupled; each as in an area of one lane, then both
       parts of the coupling added. */
    GTX_WIDE static void gtx_area3_coupled(
        int n, const double *restrict g, const double *restrict b, const double *restrict gm,
        const double *restrict bm, const double *restrict p, const double *restrict q,
        const double *restrict vr, const double *restrict vi, double *restrict jr,
        double *restrict ji)
    {
        const double *restrict pb = p + n, *restrict pc = pb + n;
        const double *restrict qb = q + n, *restrict qc = qb + n;
        const double *restrict ur = vr + n, *restrict ui = vi + n;
        const double *restrict wr = ur + n, *restrict wi = ui + n;
        double *restrict kr = jr + n, *restrict ki = ji + n;
        double *restrict lr = kr + n, *restrict li = ki + n;
        jr[0] = ji[0] = kr[0] = ki[0] = lr[0] = li[0] = 0.0;
        for (int i = 1; i < n; i++) {
            double a = 1.0 / (vr[i] * vr[i] + vi[i] * vi[i]);
            double c = 1.0 / (ur[i] * ur[i] + ui[i] * ui[i]);
            double d = 1.0 / (wr[i] * wr[i] + wi[i] * wi[i]);
            double ag = p[i] * a + g[i], as = q[i] * a - b[i];
            double cg = pb[i] * c + g[i], cs = qb[i] * c - b[i];
            double dg = pc[i] * d + g[i], ds = qc[i] * d - b[i];
            double sr = vr[i] + ur[i] + wr[i], si = vi[i] + ui[i] + wi[i];
            double er = gm[i] * sr - bm[i] * si, ei = gm[i] * si + bm[i] * sr;
            jr[i] = ag * vr[i] + as * vi[i] + er;
            ji[i] = ag * vi[i] - as * vr[i] + ei;
            kr[i] = cg * ur[i] + cs * ui[i] + er;
            ki[i] = cg * ui[i] - cs * ur[i] + ei;
            lr[i] = dg * wr[i] + ds * wi[i] + er;
            li[i] = dg * wi[i] - ds * wr[i] + ei;
        }
    }

    static void gtx_area3_backward(
        int n, const int *restrict parent, double *restrict jr, double *restrict ji)
    {
        double *restrict kr = jr + n, *restrict ki = ji + n;
        double *restrict lr = kr + n, *restrict li = ki + n;
        double ar = 0.0, ai = 0.0, br = 0.0, bi = 0.0, cr = 0.0, ci = 0.0;
        for (int i = n - 1; i > 0; i--) {
            int above = parent[i];
            jr[i] = ar = jr[i] + ar;
            ji[i] = ai = ji[i] + ai;
            kr[i] = br = kr[i] + br;
            ki[i] = bi = ki[i] + bi;
            lr[i] = cr = lr[i] + cr;
            li[i] = ci = li[i] + ci;
            if (above != i - 1) {
                jr[above] += ar;
                ji[above] += ai;
                kr[above] += br;
                ki[above] += bi;
                lr[above] += cr;
                li[above] += ci;
                ar = ai = br = bi = cr = ci = 0.0;
            }
        }
        jr[0] += ar;
        ji[0] += ai;
        kr[0] += br;
        ki[0] += bi;
        lr[0] += cr;
        li[0] += ci;
    }

    GTX_WIDE static void gtx_area3_falls(
        int n, const double *restrict r, const double *restrict x, const double *restrict rm,
        const double *restrict xm, const double *restrict jr, const double *restrict ji,
        double *restrict fr, double *restrict fi)
    {
        for (int i = 1; i < n; i++) {
            double sr = jr[i] + jr[n + i] + jr[2 * n + i], si = ji[i] + ji[n + i] + ji[2 * n + i];
            double er = rm[i] * sr - xm[i] * si, ei = rm[i] * si + xm[i] * sr;
            fr[i] = r[i] * jr[i] - x[i] * ji[i] + er;
            fi[i] = r[i] * ji[i] + x[i] * jr[i] + ei;
            fr[n + i] = r[i] * jr[n + i] - x[i] * ji[n + i] + er;
            fi[n + i] = r[i] * ji[n + i] + x[i] * jr[n + i] + ei;
            fr[2 * n + i] = r[i] * jr[2 * n + i] - x[i] * ji[2 * n + i] + er;
            fi[2 * n + i] = r[i] * ji[2 * n + i] + x[i] * jr[2 * n + i] + ei;
        }
    }

    static void gtx_area3_forward(
        int n, const int *restrict parent, const double *restrict fr, const double *restrict fi,
        double *restrict vr, double *restrict vi)
    {
        const double *restrict gr = fr + n, *restrict gi = fi + n;
        const double *restrict hr = gr + n, *restrict hi = gi + n;
        double *restrict ur = vr + n, *restrict ui = vi + n;
        double *restrict wr = ur + n, *restrict wi = ui + n;
        double ar = vr[0], ai = vi[0], br = ur[0], bi = ui[0], cr = wr[0], ci = wi[0];
        for (int i = 1; i < n; i++) {
            int above = parent[i];
            if (above != i - 1) {
                ar = vr[above];
                ai = vi[above];
                br = ur[above];
                bi = ui[above];
                cr = wr[above];
                ci = wi[above];
            }
            vr[i] = ar = ar - fr[i];
            vi[i] = ai = ai - fi[i];
            ur[i] = br = br - gr[i];
            ui[i] = bi = bi - gi[i];
            wr[i] = cr = cr - hr[i];
            wi[i] = ci = ci - hi[i];
        }
    }

    #define GTX_HALF_ROOT_3 0.86602540378443864676
    """
    void gtx_area3_coupled(
        int n, const double* g, const double* b, const double* gm, const double* bm,
        const double* p, const double* q, const double* vr, const double* vi, double* jr,
        double* ji) noexcept nogil
    void gtx_area3_backward(int n, const int32_t* parent, double* jr, double* ji) noexcept nogil
    void gtx_area3_falls(
        int n, const double* r, const double* x, const double* rm, const double* xm,
        const double* jr, const double* ji, double* fr, double* fi) noexcept nogil
    void gtx_area3_forward(
        int n, const int32_t* parent, const double* fr, const double* fi, double* vr,
        double* vi) noexcept nogil
    const double HALF_ROOT_3 "GTX_HALF_ROOT_3"

cdef inline void hold3(int n, double held_r, double held_i, double* vr, double* vi) noexcept nogil:
    """Node 0 of the three phases at a balanced voltage, b a third of a turn behind a."""
    vr[0] = held_r
    vi[0] = held_i
    vr[n] = -0.5 * held_r + HALF_ROOT_3 * held_i
    vi[n] = -0.5 * held_i - HALF_ROOT_3 * held_r
    vr[2 * n] = -0.5 * held_r - HALF_ROOT_3 * held_i
    vi[2 * n] = -0.5 * held_i + HALF_ROOT_3 * held_r
