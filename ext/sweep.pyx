# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""AC power flow of a radial network by backward/forward sweep, with a warm state.

Decides nothing: floats in, floats out. Nodes stand in preorder: a parent before its children, a
subtree as one range. One sweep sums load and shunt currents from the leaves to the root, then walks
voltages back down:

    j = conj(s / v) + y*v        j[parent] += j        v = v[parent] - (r + jx)*j

Inside, every node's base voltage is its own no-load voltage, so that no transformer ratio is left
in the loops; outside, all is per unit of 1 MVA and rated voltage. The state stays between calls, so
that after one trade two or three sweeps are enough. It fails closed: what is not a number never
counts as converged.
"""

from cpython.array cimport array, clone
from libc.math cimport INFINITY, NAN, hypot, isfinite, sqrt
from libc.stdlib cimport free, malloc

# In C, because Cython cannot say that the columns never overlap, and without that word the
# compiler does not vectorise the loop over currents.
cdef extern from *:
    """
    #include <math.h>

    typedef struct {
        const int *parent;
        double *r, *x, *g, *b, *p, *q, *vr, *vi, *jr, *ji;
    } gtx_nodes;

    static void gtx_currents(
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

    /* In preorder the next node is mostly the child of the last: its sum stays in a register. */
    static void gtx_backward(
        int first, int end, const int *restrict parent, double *restrict jr, double *restrict ji)
    {
        double cr = 0.0, ci = 0.0;
        for (int i = end - 1; i > first; i--) {
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
        jr[first] += cr;
        ji[first] += ci;
    }

    /* Returns the greatest move where `measured`. A NaN is lost in a comparison, not in a sum. */
    static inline double gtx_forward(
        int first, int end, int measured, const int *restrict parent, const double *restrict r,
        const double *restrict x, const double *restrict jr, const double *restrict ji,
        double *restrict vr, double *restrict vi)
    {
        double most = 0.0, total = 0.0;
        int start = first > 0 ? first : 1;
        if (start >= end) return 0.0;
        double ar = vr[parent[start]], ai = vi[parent[start]];
        for (int i = start; i < end; i++) {
            if (parent[i] != i - 1) {
                ar = vr[parent[i]];
                ai = vi[parent[i]];
            }
            ar -= r[i] * jr[i] - x[i] * ji[i];
            ai -= r[i] * ji[i] + x[i] * jr[i];
            if (measured) {
                double moved = fabs(ar - vr[i]) + fabs(ai - vi[i]);
                total += moved;
                most = moved > most ? moved : most;
            }
            vr[i] = ar;
            vi[i] = ai;
        }
        return isfinite(total) ? most : NAN;
    }

    static void gtx_sweep(const gtx_nodes *t, int first, int end)
    {
        gtx_currents(first, end, t->g, t->b, t->p, t->q, t->vr, t->vi, t->jr, t->ji);
        gtx_backward(first, end, t->parent, t->jr, t->ji);
        gtx_forward(first, end, 0, t->parent, t->r, t->x, t->jr, t->ji, t->vr, t->vi);
    }

    /* Squares: the least and the greatest voltage, and of apparent power over its limit. */
    static void gtx_extremes(
        int size, const int *restrict parent, const double *restrict vr, const double *restrict vi,
        const double *restrict jr, const double *restrict ji, const double *restrict base2,
        const double *restrict limit2, double *restrict found)
    {
        double least = INFINITY, most = 0.0, full = 0.0;
        for (int i = 0; i < size; i++) {
            double v = base2[i] * (vr[i] * vr[i] + vi[i] * vi[i]);
            int a = parent[i] < 0 ? 0 : parent[i];
            double s = vr[a] * vr[a] + vi[a] * vi[a];
            double share = s * (jr[i] * jr[i] + ji[i] * ji[i]) * limit2[i];
            least = v < least ? v : least;
            most = v > most ? v : most;
            full = share > full ? share : full;
        }
        found[0] = least;
        found[1] = most;
        found[2] = full;
    }

    static double gtx_measured_sweep(const gtx_nodes *t, int first, int end)
    {
        gtx_currents(first, end, t->g, t->b, t->p, t->q, t->vr, t->vi, t->jr, t->ji);
        gtx_backward(first, end, t->parent, t->jr, t->ji);
        return gtx_forward(first, end, 1, t->parent, t->r, t->x, t->jr, t->ji, t->vr, t->vi);
    }
    """
    ctypedef struct gtx_nodes:
        const int* parent
        double* r
        double* x
        double* g
        double* b
        double* p
        double* q
        double* vr
        double* vi
        double* jr
        double* ji

    void gtx_sweep(const gtx_nodes* t, int first, int end) noexcept nogil
    double gtx_measured_sweep(const gtx_nodes* t, int first, int end) noexcept nogil
    void gtx_extremes(
        int size, const int* parent, const double* vr, const double* vi, const double* jr,
        const double* ji, const double* base2, const double* limit2, double* found) noexcept nogil

cdef enum:
    LIMIT = 200

ITERATIONS_MAX = LIMIT
_COLUMNS = 12

cdef array _DOUBLES = array("d")


cdef class Sweep:
    """One network's voltages and currents. Not to be shared between threads while it solves."""

    cdef readonly int size
    cdef double root_pu
    cdef int* parent
    cdef int* end
    cdef double* block
    cdef double* base
    cdef double* ratio
    cdef gtx_nodes t

    def __cinit__(self, parent, r_pu, x_pu, g_pu, b_pu, ratio, double root_voltage_pu):
        cdef int n = len(parent)
        if n < 1 or any(len(column) != n for column in (r_pu, x_pu, g_pu, b_pu, ratio)):
            raise ValueError("sweep: every column has one entry a node, and there is a node")
        self.size = n
        self.root_pu = root_voltage_pu
        self.parent = <int*> malloc(2 * n * sizeof(int))
        self.block = <double*> malloc(_COLUMNS * n * sizeof(double))
        if self.parent == NULL or self.block == NULL:
            raise MemoryError
        self.end = self.parent + n
        self.t.parent = self.parent
        self.t.r, self.t.x = self.block, self.block + n
        self.t.g, self.t.b = self.block + 2 * n, self.block + 3 * n
        self.t.p, self.t.q = self.block + 4 * n, self.block + 5 * n
        self.t.vr, self.t.vi = self.block + 6 * n, self.block + 7 * n
        self.t.jr, self.t.ji = self.block + 8 * n, self.block + 9 * n
        self.base, self.ratio = self.block + 10 * n, self.block + 11 * n
        self._number(parent)
        self._scale(r_pu, x_pu, g_pu, b_pu, ratio)
        self.reset()

    def __dealloc__(self):
        free(self.parent)
        free(self.block)

    cdef _number(self, parent):
        """Parents and each subtree's end; refuses a numbering that is not preorder."""
        cdef int i, above
        if parent[0] != -1:
            raise ValueError("sweep: node 0 is the root; its parent is -1")
        self.parent[0], self.end[0] = -1, 1
        for i in range(1, self.size):
            above = parent[i]
            if not 0 <= above < i or self.end[above] != i:
                raise ValueError(f"sweep: node {i} is out of preorder")
            self.parent[i], self.end[i] = above, i + 1
            while above >= 0:
                self.end[above] = i + 1
                above = self.parent[above]

    cdef _scale(self, r_pu, x_pu, g_pu, b_pu, ratio):
        """Impedances and shunts on each node's no-load voltage as its base."""
        cdef int i
        cdef double square
        for i in range(self.size):
            self.ratio[i] = ratio[i]
            self.base[i] = 1.0 if i == 0 else self.base[self.parent[i]] * self.ratio[i]
            square = self.base[i] * self.base[i]
            self.t.r[i], self.t.x[i] = r_pu[i] / square, x_pu[i] / square
            self.t.g[i], self.t.b[i] = g_pu[i] * square, b_pu[i] * square
            self.t.p[i] = self.t.q[i] = self.t.jr[i] = self.t.ji[i] = 0.0

    def reset(self):
        """Forgets the warm state: every node at its no-load voltage, powers kept."""
        self._flatten()

    cdef void _flatten(self) noexcept nogil:
        cdef int i
        for i in range(self.size):
            self.t.vr[i], self.t.vi[i] = self.root_pu, 0.0

    def load(self, p_w, q_var):
        """Sets what every node takes, in W and var; negative feeds in."""
        cdef const double[::1] active = _doubles(p_w, self.size)
        cdef const double[::1] reactive = _doubles(q_var, self.size)
        cdef int i
        for i in range(self.size):
            self.t.p[i] = active[i] * 1e-6
            self.t.q[i] = reactive[i] * 1e-6

    def add(self, int node, double p_w, double q_var=0.0):
        """One node takes so much more. The voltages follow with the next sweeps."""
        if not 0 <= node < self.size:
            raise IndexError(f"sweep: no node {node}")
        self.t.p[node] += p_w * 1e-6
        self.t.q[node] += q_var * 1e-6

    def solve(self, p_w, q_var, double tolerance=1e-8):
        """Sweeps from the present state until no voltage moves by `tolerance` pu.

        Returns the number of sweeps, or 0 where it does not converge; then the state is reset.
        """
        self.load(p_w, q_var)
        return self.settle(tolerance)

    def settle(self, double tolerance=1e-8):
        """The same for the powers as they stand."""
        cdef int done
        with nogil:
            done = self._settle(tolerance)
        return done

    cdef int _settle(self, double tolerance) noexcept nogil:
        cdef int i
        cdef double moved
        for i in range(LIMIT):
            moved = gtx_measured_sweep(&self.t, 0, self.size)
            if moved < tolerance:
                return i + 1
            if not isfinite(moved):
                break
        self._flatten()
        return 0

    def steps(
        self, const double[:, ::1] p_w not None, const double[:, ::1] q_var not None, limit_va,
        double tolerance=1e-8
    ):
        """Many states in turn, a row each, every one from the voltages of the one before.

        Returns three arrays with one entry a row: the least and the greatest voltage per unit, and
        the greatest apparent power of an element over its limit in VA (0: no limit). All three are
        NaN in a row that does not converge.
        """
        cdef Py_ssize_t rows = p_w.shape[0], row
        cdef int i, n = self.size
        cdef double extremes[3]
        if p_w.shape[1] != n or q_var.shape[1] != n or q_var.shape[0] != rows:
            raise ValueError(f"sweep: rows of {n} powers, as many reactive as active ones")
        cdef array squares = clone(_DOUBLES, 2 * n, zero=False)
        cdef double* base2 = squares.data.as_doubles
        cdef double* limit2 = base2 + n
        cdef const double[::1] limits = _doubles(limit_va, n)
        for i in range(n):
            base2[i] = self.base[i] * self.base[i]
            limit2[i] = 1e12 / (limits[i] * limits[i]) if i and limits[i] > 0 else 0.0
        found = [clone(_DOUBLES, rows, zero=False) for _ in range(3)]
        cdef double[::1] least = found[0], most = found[1], fullest = found[2]
        with nogil:
            for row in range(rows):
                for i in range(n):
                    self.t.p[i] = p_w[row, i] * 1e-6
                    self.t.q[i] = q_var[row, i] * 1e-6
                if not self._settle(tolerance):
                    least[row] = most[row] = fullest[row] = NAN
                    continue
                gtx_extremes(
                    n, self.parent, self.t.vr, self.t.vi, self.t.jr, self.t.ji, base2, limit2,
                    extremes
                )
                least[row], most[row] = sqrt(extremes[0]), sqrt(extremes[1])
                fullest[row] = sqrt(extremes[2])
        return tuple(found)

    def sweeps(self, int count, int element=0):
        """So many sweeps of one element's subtree, the voltage above it held. Returns the last
        sweep's greatest move in pu; not a finite number means the state is void.
        """
        cdef int i
        cdef double moved = 0.0
        if not 0 <= element < self.size:
            raise IndexError(f"sweep: no element {element}")
        with nogil:
            for i in range(count - 1):
                gtx_sweep(&self.t, element, self.end[element])
            moved = gtx_measured_sweep(&self.t, element, self.end[element])
        return moved

    def trades(self, const int[::1] sellers, const int[::1] buyers, double power_w, int count,
               int element=0):
        """`count` sweeps after each of many trades in turn, without a call each; all are kept."""
        cdef Py_ssize_t t
        cdef int i
        cdef double power = power_w * 1e-6
        if sellers.shape[0] != buyers.shape[0] or not 0 <= element < self.size:
            raise ValueError("sweep: a buyer for each seller, and an element of the network")
        for t in range(sellers.shape[0]):
            if not (0 <= sellers[t] < self.size and 0 <= buyers[t] < self.size):
                raise IndexError("sweep: a trade names no node")
        with nogil:
            for t in range(sellers.shape[0]):
                self.t.p[sellers[t]] -= power
                self.t.p[buyers[t]] += power
                for i in range(count):
                    gtx_sweep(&self.t, element, self.end[element])

    def voltages_pu(self):
        """Voltage magnitude by node."""
        cdef array found = clone(_DOUBLES, self.size, zero=False)
        cdef int i
        for i in range(self.size):
            found.data.as_doubles[i] = self.base[i] * hypot(self.t.vr[i], self.t.vi[i])
        return found

    def voltage_pu(self, int node):
        if not 0 <= node < self.size:
            raise IndexError(f"sweep: no node {node}")
        return self.base[node] * hypot(self.t.vr[node], self.t.vi[node])

    def flow_va(self, int element):
        """Active and reactive power that enters an element's series part from above, W and var.

        Positive towards the customers. The half shunt at the upper end belongs to that node.
        """
        if not 0 <= element < self.size:
            raise IndexError(f"sweep: no element {element}")
        cdef int above = self.parent[element] if element else 0
        cdef double ar = self.t.vr[above], ai = self.t.vi[above]
        cdef double jr = self.t.jr[element], ji = self.t.ji[element]
        return (ar * jr + ai * ji) * 1e6, (ai * jr - ar * ji) * 1e6


cdef array _doubles(values, int size):
    if len(values) != size:
        raise ValueError(f"sweep: {len(values)} powers for {size} nodes")
    return values if isinstance(values, array) and values.typecode == "d" else array("d", values)
