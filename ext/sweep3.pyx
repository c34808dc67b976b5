# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Three-phase AC power flow of a radial network by backward/forward sweep, with a warm state.

Decides nothing: floats in, floats out. As `ext.sweep`, but with a voltage and a current for each
phase against earth. Along an element the phases are coupled through earth and neutral, in
symmetrical components with impedances z1 and z0:

    v[k] = v_parent[k] - z1*j[k] - (z0 - z1)/3 * (j[a] + j[b] + j[c])

and so are the shunts. An element with a clock of 1, 5, 7 or 11 is a transformer from delta to
earthed star: each phase below stands on the difference of two phases above, and no current through
earth passes it; its earth path below is z0. It fails closed: what is not a number never counts as
converged.
"""

from cpython.array cimport array, clone
from libc.math cimport INFINITY, cos, hypot, isfinite, pi, sin
from libc.stdlib cimport free, malloc

# In C for the same reason as in ext.sweep: columns that never overlap, loops that vectorise.
cdef extern from *:
    """
    #include <math.h>

    typedef struct {
        const int *parent;
        const signed char *plus, *minus;  /* phases above that a phase below stands on; -1: itself */
        const int *coupled;  /* nodes whose shunts couple the phases */
        int coupled_count;
        double *r1, *x1, *rm, *xm, *gm, *bm;  /* by node */
        double *g, *b, *p, *q, *vr, *vi, *jr, *ji;  /* by node and phase */
    } gtx_phases;

    #define GTX_THIRD_ROOT 0.57735026918962576451  /* 1/sqrt(3) */

    static void gtx_phase_currents(
        int first, int end, const double *restrict g, const double *restrict b,
        const double *restrict p, const double *restrict q, const double *restrict vr,
        const double *restrict vi, double *restrict jr, double *restrict ji)
    {
        for (int i = first; i < end; i++) {
            double w = 1.0 / (vr[i] * vr[i] + vi[i] * vi[i]);
            double conductance = p[i] * w + g[i];
            double susceptance = q[i] * w - b[i];
            jr[i] = conductance * vr[i] + susceptance * vi[i];
            ji[i] = conductance * vi[i] - susceptance * vr[i];
        }
    }

    static void gtx_phase_couple(const gtx_phases *t, int first, int end)
    {
        for (int c = 0; c < t->coupled_count; c++) {
            int i = t->coupled[c];
            if (i < first || i >= end) continue;
            const double *vr = t->vr + 3 * i, *vi = t->vi + 3 * i;
            double sr = vr[0] + vr[1] + vr[2], si = vi[0] + vi[1] + vi[2];
            double cr = t->gm[i] * sr - t->bm[i] * si, ci = t->gm[i] * si + t->bm[i] * sr;
            for (int k = 0; k < 3; k++) {
                t->jr[3 * i + k] += cr;
                t->ji[3 * i + k] += ci;
            }
        }
    }

    static void gtx_phase_backward(
        int first, int end, const int *restrict parent, const signed char *restrict plus,
        const signed char *restrict minus, double *restrict jr, double *restrict ji)
    {
        /* In preorder the next node is mostly the child of the last: its sum stays in registers. */
        double cr[3] = {0.0, 0.0, 0.0}, ci[3] = {0.0, 0.0, 0.0};
        for (int i = end - 1; i > first; i--) {
            double *ar = jr + 3 * parent[i], *ai = ji + 3 * parent[i];
            double *br = jr + 3 * i, *bi = ji + 3 * i;
            for (int k = 0; k < 3; k++) {
                br[k] = cr[k] += br[k];
                bi[k] = ci[k] += bi[k];
            }
            if (plus[3 * i] < 0 && parent[i] == i - 1) continue;
            for (int k = 0; k < 3; k++) cr[k] = ci[k] = 0.0;
            if (plus[3 * i] < 0) {
                for (int k = 0; k < 3; k++) {
                    ar[k] += br[k];
                    ai[k] += bi[k];
                }
            } else {
                for (int k = 0; k < 3; k++) {
                    int a = plus[3 * i + k], b = minus[3 * i + k];
                    ar[a] += br[k] * GTX_THIRD_ROOT;
                    ai[a] += bi[k] * GTX_THIRD_ROOT;
                    ar[b] -= br[k] * GTX_THIRD_ROOT;
                    ai[b] -= bi[k] * GTX_THIRD_ROOT;
                }
            }
        }
        for (int k = 0; k < 3; k++) {
            jr[3 * first + k] += cr[k];
            ji[3 * first + k] += ci[k];
        }
    }

    /* Returns the greatest move where `measured`. A NaN is lost in a comparison, not in a sum. */
    static inline double gtx_phase_forward(
        const gtx_phases *t, int first, int end, int measured, const int *restrict parent,
        const signed char *restrict plus, const double *restrict r1, const double *restrict x1,
        const double *restrict rm, const double *restrict xm, const double *restrict jr,
        const double *restrict ji, double *restrict vr, double *restrict vi)
    {
        double most = 0.0, total = 0.0;
        for (int i = first > 0 ? first : 1; i < end; i++) {
            const double *ar = vr + 3 * parent[i], *ai = vi + 3 * parent[i];
            const double *cr = jr + 3 * i, *ci = ji + 3 * i;
            double sr = cr[0] + cr[1] + cr[2], si = ci[0] + ci[1] + ci[2];
            double er = rm[i] * sr - xm[i] * si, ei = rm[i] * si + xm[i] * sr;
            double nr[3], ni[3];
            if (plus[3 * i] < 0) {
                for (int k = 0; k < 3; k++) {
                    nr[k] = ar[k];
                    ni[k] = ai[k];
                }
            } else {
                for (int k = 0; k < 3; k++) {
                    int a = t->plus[3 * i + k], b = t->minus[3 * i + k];
                    nr[k] = (ar[a] - ar[b]) * GTX_THIRD_ROOT;
                    ni[k] = (ai[a] - ai[b]) * GTX_THIRD_ROOT;
                }
            }
            for (int k = 0; k < 3; k++) {
                nr[k] -= r1[i] * cr[k] - x1[i] * ci[k] + er;
                ni[k] -= r1[i] * ci[k] + x1[i] * cr[k] + ei;
                if (measured) {
                    double moved = fabs(nr[k] - vr[3 * i + k]) + fabs(ni[k] - vi[3 * i + k]);
                    total += moved;
                    most = moved > most ? moved : most;
                }
                vr[3 * i + k] = nr[k];
                vi[3 * i + k] = ni[k];
            }
        }
        return isfinite(total) ? most : NAN;
    }

    static inline double gtx_phase_any_sweep(
        const gtx_phases *t, int first, int end, int measured)
    {
        gtx_phase_currents(
            3 * first, 3 * end, t->g, t->b, t->p, t->q, t->vr, t->vi, t->jr, t->ji);
        gtx_phase_couple(t, first, end);
        gtx_phase_backward(first, end, t->parent, t->plus, t->minus, t->jr, t->ji);
        return gtx_phase_forward(
            t, first, end, measured, t->parent, t->plus, t->r1, t->x1, t->rm, t->xm, t->jr, t->ji, t->vr,
            t->vi);
    }

    static void gtx_phase_sweep(const gtx_phases *t, int first, int end)
    {
        gtx_phase_any_sweep(t, first, end, 0);
    }

    static double gtx_phase_measured_sweep(const gtx_phases *t, int first, int end)
    {
        return gtx_phase_any_sweep(t, first, end, 1);
    }
    """
    ctypedef struct gtx_phases:
        const int* parent
        const signed char* plus
        const signed char* minus
        const int* coupled
        int coupled_count
        double* r1
        double* x1
        double* rm
        double* xm
        double* gm
        double* bm
        double* g
        double* b
        double* p
        double* q
        double* vr
        double* vi
        double* jr
        double* ji

    void gtx_phase_sweep(const gtx_phases* t, int first, int end) noexcept nogil
    double gtx_phase_measured_sweep(const gtx_phases* t, int first, int end) noexcept nogil

ITERATIONS_MAX = 200
CLOCKS = (1, 5, 7, 11)

cdef array _DOUBLES = array("d")


cdef class Sweep3:
    """One network's phase voltages and currents. Columns as `ext.sweep.Sweep`'s, twice: positive
    and zero sequence; `clock` is 0 for what earth current passes. Not to be shared between threads
    while it solves.
    """

    cdef readonly int size
    cdef double root_pu
    cdef int* tree
    cdef int* end
    cdef signed char* turns
    cdef double* block
    cdef double* base
    cdef gtx_phases t

    def __cinit__(
        self, parent, positive, zero, shunt_positive, shunt_zero, ratio, clock,
        double root_voltage_pu
    ):
        """Series and shunts are complex, per unit of 1 MVA and rated voltage."""
        cdef int n = len(parent), i
        columns = (positive, zero, shunt_positive, shunt_zero, ratio, clock)
        if n < 1 or any(len(column) != n for column in columns):
            raise ValueError("sweep: every column has one entry a node, and there is a node")
        self.size = n
        self.root_pu = root_voltage_pu
        self.tree = <int*> malloc(3 * n * sizeof(int))
        self.turns = <signed char*> malloc(6 * n)
        self.block = <double*> malloc((7 + 8 * 3) * n * sizeof(double))
        if self.tree == NULL or self.turns == NULL or self.block == NULL:
            raise MemoryError
        self.end = self.tree + n
        self._carve()
        self._number(parent)
        self._turn(clock)
        self._scale(positive, zero, shunt_positive, shunt_zero, ratio)
        for i in range(3 * n):
            self.t.p[i] = self.t.q[i] = self.t.jr[i] = self.t.ji[i] = 0.0
        self.reset()

    def __dealloc__(self):
        free(self.tree)
        free(self.turns)
        free(self.block)

    cdef _carve(self):
        cdef int n = self.size
        cdef double* at = self.block
        self.t.parent, self.t.coupled = self.tree, self.tree + 2 * n
        self.t.plus, self.t.minus = self.turns, self.turns + 3 * n
        self.base = at
        self.t.r1, self.t.x1, self.t.rm, self.t.xm = at + n, at + 2 * n, at + 3 * n, at + 4 * n
        self.t.gm, self.t.bm = at + 5 * n, at + 6 * n
        at += 7 * n
        self.t.g, self.t.b, self.t.p, self.t.q = at, at + 3 * n, at + 6 * n, at + 9 * n
        at += 12 * n
        self.t.vr, self.t.vi, self.t.jr, self.t.ji = at, at + 3 * n, at + 6 * n, at + 9 * n

    cdef _number(self, parent):
        """Parents and each subtree's end; refuses a numbering that is not preorder."""
        cdef int i, above
        if parent[0] != -1:
            raise ValueError("sweep: node 0 is the root; its parent is -1")
        self.tree[0], self.end[0] = -1, 1
        for i in range(1, self.size):
            above = parent[i]
            if not 0 <= above < i or self.end[above] != i:
                raise ValueError(f"sweep: node {i} is out of preorder")
            self.tree[i], self.end[i] = above, i + 1
            while above >= 0:
                self.end[above] = i + 1
                above = self.tree[above]

    cdef _turn(self, clock):
        """Which phases above each phase below stands on. Clock 11 is a - b, 1 is a - c; half a
        turn more exchanges the two, and four hours more shift the phases by one.
        """
        cdef int i, k
        cdef signed char* plus = self.turns
        cdef signed char* minus = self.turns + 3 * self.size
        for i in range(self.size):
            if clock[i] != 0 and clock[i] not in CLOCKS:
                raise ValueError(f"sweep: node {i} has a clock of {clock[i]}")
            for k in range(3):
                if clock[i] == 0:
                    plus[3 * i + k] = minus[3 * i + k] = -1
                elif clock[i] == 11:
                    plus[3 * i + k], minus[3 * i + k] = k, (k + 1) % 3
                elif clock[i] == 1:
                    plus[3 * i + k], minus[3 * i + k] = k, (k + 2) % 3
                elif clock[i] == 5:
                    plus[3 * i + k], minus[3 * i + k] = (k + 1) % 3, k
                else:
                    plus[3 * i + k], minus[3 * i + k] = (k + 2) % 3, k

    cdef _scale(self, positive, zero, shunt_positive, shunt_zero, ratio):
        """Impedances and shunts on each node's no-load voltage as its base, and of one phase."""
        cdef int i, k
        cdef double square
        cdef double complex z1, zm, y1, ym
        self.t.coupled_count = 0
        for i in range(self.size):
            self.base[i] = 1.0 if i == 0 else self.base[self.tree[i]] * <double> ratio[i]
            square = self.base[i] * self.base[i]
            z1, zm = positive[i], (<double complex> zero[i] - <double complex> positive[i]) / 3
            y1, ym = shunt_positive[i], shunt_zero[i]
            ym = (ym - y1) / 3
            self.t.r1[i], self.t.x1[i] = z1.real / square, z1.imag / square
            self.t.rm[i], self.t.xm[i] = zm.real / square, zm.imag / square
            self.t.gm[i], self.t.bm[i] = ym.real * square, ym.imag * square
            if ym != 0:
                self.tree[2 * self.size + self.t.coupled_count] = i
                self.t.coupled_count += 1
            for k in range(3):
                self.t.g[3 * i + k], self.t.b[3 * i + k] = y1.real * square, y1.imag * square

    def reset(self):
        """Forgets the warm state: every node at its no-load voltage, powers kept."""
        cdef int i, k, a, b, above
        cdef double* vr = self.t.vr
        cdef double* vi = self.t.vi
        for k in range(3):
            vr[k] = self.root_pu * cos(2 * pi * k / 3)
            vi[k] = -self.root_pu * sin(2 * pi * k / 3)
        for i in range(1, self.size):
            above = self.tree[i]
            for k in range(3):
                a, b = self.t.plus[3 * i + k], self.t.minus[3 * i + k]
                if a < 0:
                    vr[3 * i + k], vi[3 * i + k] = vr[3 * above + k], vi[3 * above + k]
                else:
                    vr[3 * i + k] = (vr[3 * above + a] - vr[3 * above + b]) * 3 ** -0.5
                    vi[3 * i + k] = (vi[3 * above + a] - vi[3 * above + b]) * 3 ** -0.5

    def load(self, p_w, q_var):
        """Sets what every node takes on each phase, in W and var, by node and then by phase."""
        cdef const double[::1] active = _doubles(p_w, 3 * self.size)
        cdef const double[::1] reactive = _doubles(q_var, 3 * self.size)
        cdef int i
        for i in range(3 * self.size):
            # Each phase on a third of 1 MVA.
            self.t.p[i] = active[i] * 3e-6
            self.t.q[i] = reactive[i] * 3e-6

    def add(self, int node, int phase, double p_w, double q_var=0.0):
        """One phase of a node takes so much more. The voltages follow with the next sweeps."""
        if not (0 <= node < self.size and 0 <= phase < 3):
            raise IndexError(f"sweep: no phase {phase} of node {node}")
        self.t.p[3 * node + phase] += p_w * 3e-6
        self.t.q[3 * node + phase] += q_var * 3e-6

    def solve(self, p_w, q_var, double tolerance=1e-8):
        """Sweeps from the present state until no voltage moves by `tolerance` pu.

        Returns the number of sweeps, or 0 where it does not converge; then the state is reset.
        """
        self.load(p_w, q_var)
        return self.settle(tolerance)

    def settle(self, double tolerance=1e-8):
        """The same for the powers as they stand."""
        cdef int i, done = 0, limit = ITERATIONS_MAX
        cdef double moved = INFINITY
        with nogil:
            for i in range(limit):
                moved = gtx_phase_measured_sweep(&self.t, 0, self.size)
                if moved < tolerance:
                    done = i + 1
                    break
                if not isfinite(moved):
                    break
        if not done:
            self.reset()
        return done

    def sweeps(self, int count, int element=0):
        """So many sweeps of one element's subtree, the voltages above it held. Returns the last
        sweep's greatest move in pu; not a finite number means the state is void.
        """
        cdef int i
        cdef double moved = 0.0
        if not 0 <= element < self.size:
            raise IndexError(f"sweep: no element {element}")
        with nogil:
            for i in range(count - 1):
                gtx_phase_sweep(&self.t, element, self.end[element])
            moved = gtx_phase_measured_sweep(&self.t, element, self.end[element])
        return moved

    def voltages_pu(self):
        """Voltage magnitude against earth by node and then by phase, per unit of rated."""
        cdef array found = clone(_DOUBLES, 3 * self.size, zero=False)
        cdef int i
        for i in range(3 * self.size):
            found.data.as_doubles[i] = self.base[i // 3] * hypot(self.t.vr[i], self.t.vi[i])
        return found

    def current_pu(self, int element):
        """The three phases' current through an element, per unit of 1 MVA and rated voltage."""
        if not 0 <= element < self.size:
            raise IndexError(f"sweep: no element {element}")
        return tuple(
            hypot(self.t.jr[3 * element + k], self.t.ji[3 * element + k]) / self.base[element]
            for k in range(3)
        )


cdef array _doubles(values, int size):
    if len(values) != size:
        raise ValueError(f"sweep: {len(values)} powers for {size} phases")
    return values if isinstance(values, array) and values.typecode == "d" else array("d", values)
