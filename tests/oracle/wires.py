"""The naive power flow of a slot: lists, copies and plain loops. Same API as `ext.wires.SlotFlow`.

Floats must come out of both with the same bits, so each formula stands here in the order in which
the compiled one is evaluated; everything else is as plain as it can be.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

PU_PER_WH = 4e-6
LOW2, HIGH2 = 0.9 * 0.9, 1.1 * 1.1
LESS, MORE = 0.999, 1.0002
LOADING, LOW, HIGH = 0, 1, 2
HALF_ROOT_3 = 0.86602540378443864676


@dataclass
class Area:
    """Node 0 is held at the voltage of the trunk's node `joint`; the trunk holds its own.

    What differs by phase is a list of lanes: one where all phases are taken for equal, or three.
    """

    nodes: list[int]
    parent: list[int]
    joint: int
    r: list[float]
    x: list[float]
    g: list[float]
    b: list[float]
    base2: list[float]
    turns: list[int]
    phase: list[int]
    between: list[list[float]]  # r, x, g, b between the phases
    p: list[list[float]] = field(default_factory=list)
    q: list[list[float]] = field(default_factory=list)
    v: list[list[tuple[float, float]]] = field(default_factory=list)
    j: list[list[tuple[float, float]]] = field(default_factory=list)
    rating: list[float] = field(default_factory=list)
    bound: list[list[list[float]]] = field(default_factory=list)  # loading, low, high; squares
    top: tuple[float, float] = (0.0, 0.0)
    recent: int = 0
    patience: int = 1

    @property
    def lanes(self) -> range:
        return range(3 if any(self.phase) else 1)

    def held(self, voltage: tuple[float, float]) -> list[tuple[float, float]]:
        hr, hi = voltage
        b = -0.5 * hr + HALF_ROOT_3 * hi, -0.5 * hi - HALF_ROOT_3 * hr
        c = -0.5 * hr - HALF_ROOT_3 * hi, -0.5 * hi + HALF_ROOT_3 * hr
        return [voltage, b, c][: len(self.lanes)]

    def bring(self, i: int, power: float) -> None:
        for k in self.lanes:
            if len(self.lanes) == 1 or not self.phase[i]:
                self.p[k][i] += power
            elif self.phase[i] == k + 1:
                self.p[k][i] += 3.0 * power

    def sweep(self, held: tuple[float, float]) -> None:
        size = len(self.nodes)
        currents = [[(0.0, 0.0)] + [self.taken(k, i) for i in range(1, size)] for k in self.lanes]
        for i in range(1, size):
            if len(self.lanes) == 3:
                _, _, gm, bm = (column[i] for column in self.between)
                sr, si = total([self.v[k][i] for k in self.lanes])
                for lane in currents if gm or bm else ():
                    jr, ji = lane[i]
                    lane[i] = jr + (gm * sr - bm * si), ji + (gm * si + bm * sr)
        for lane in currents:
            for i in range(size - 1, 0, -1):
                above = lane[self.parent[i]]
                lane[self.parent[i]] = above[0] + lane[i][0], above[1] + lane[i][1]
        for k, voltage in enumerate(self.held(held)):
            self.v[k][0] = voltage
            for i in range(1, size):
                (ar, ai), fall = self.v[k][self.parent[i]], self.fall(currents, k, i)
                self.v[k][i] = ar - fall[0], ai - fall[1]
        self.j = currents

    def taken(self, k: int, i: int) -> tuple[float, float]:
        vr, vi = self.v[k][i]
        w = 1.0 / (vr * vr + vi * vi)
        conductance, susceptance = self.p[k][i] * w + self.g[i], self.q[k][i] * w - self.b[i]
        return conductance * vr + susceptance * vi, conductance * vi - susceptance * vr

    def fall(self, currents: Any, k: int, i: int) -> tuple[float, float]:
        jr, ji = currents[k][i]
        fall = self.r[i] * jr - self.x[i] * ji, self.r[i] * ji + self.x[i] * jr
        if len(self.lanes) == 1:
            return fall
        rm, xm, _, _ = (column[i] for column in self.between)
        sr, si = total([lane[i] for lane in currents])
        return fall[0] + (rm * sr - xm * si), fall[1] + (rm * si + xm * sr)

    def draws(self) -> tuple[float, float]:
        drawn = []
        for k in self.lanes:
            (vr, vi), (jr, ji) = self.v[k][0], self.j[k][0]
            drawn.append((vr * jr + vi * ji, vi * jr - vr * ji))
        if len(drawn) == 1:
            return drawn[0]
        active, reactive = total(drawn)
        return active / 3.0, reactive / 3.0

    def values(self, k: int, i: int) -> tuple[float, float, float]:
        """Squared loading and, twice, squared voltage."""
        vr, vi = self.v[k][i]
        jr, ji = self.j[k][i]
        voltage, limit = self.base2[i] * (vr * vr + vi * vi), self.rating[i]
        if i in self.turns:
            ur, ui = self.v[k][self.parent[i]]
            most = max(ur * ur + ui * ui, vr * vr + vi * vi)
            return most * (jr * jr + ji * ji) / (limit * limit), voltage, voltage
        share = 1.0 / (self.base2[i] * limit * limit)
        return share * (jr * jr + ji * ji), voltage, voltage

    def breach(self) -> tuple[int, int] | None:
        """Of the bounds that are passed the worst for its size, as (kind, node)."""
        most, worst, is_within = 0.0, (LOADING, -1), True
        for k in self.lanes:
            for i in range(1, len(self.nodes)):
                loading, low, high = self.values(k, i)
                bound = self.bound[k][i]
                loading, low, high = loading * LESS, low * MORE, high * (2.0 - MORE)
                is_within &= loading <= bound[0] and low >= bound[1] and high <= bound[2]
                ratios = loading / bound[0], bound[1] / low, high / bound[2]
                for kind, ratio in enumerate(ratios):
                    if ratio > 1.0 and ratio > most:
                        most, worst = ratio, (kind, self.nodes[i])
        return None if is_within else worst

    def ratchet(self) -> None:
        for k in self.lanes:
            for i in range(1, len(self.nodes)):
                loading, low, high = self.values(k, i)
                bound = self.bound[k][i]
                bound[0] = max(1.0, min(loading, bound[0]))
                bound[1] = min(LOW2, max(low, bound[1]))
                bound[2] = max(HIGH2, min(high, bound[2]))


def total(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    (ar, ai), (br, bi), (cr, ci) = pairs
    return ar + br + cr, ai + bi + ci


def is_below(tree: Any, node: int, above: int) -> bool:
    while node > above:
        node = tree.parents[node]
    return node == above


class Wires:
    """Areas as node numbers say: nodes must stand in preorder here."""

    def __init__(self, tree: Any, heads: Any, *columns: Any) -> None:
        self.tree = tree
        r, x, g, b, ratio, transformers, *three = columns
        zero, phases = three or ([[0.0] * tree.size] * 4, [0] * tree.size)
        heads, parents = sorted(heads), tree.parents
        below = {h: [n for n in range(tree.size) if is_below(tree, n, h)] for h in heads}
        inside = {n for nodes in below.values() for n in nodes}
        groups = [[n for n in range(tree.size) if n not in inside]]
        groups += [[parents[h], *below[h]] for h in heads]
        self.areas, base2 = [], [1.0] * tree.size
        for node in range(1, tree.size):
            base2[node] = base2[parents[node]] * ratio[node] * ratio[node]
        for k, nodes in enumerate(groups):
            own = {node: i for i, node in enumerate(nodes)}
            scaled: list[list[float]] = [[], [], [], []]
            for i, node in enumerate(nodes):
                held = k > 0 and i == 0
                scaled[0].append(0.0 if held else r[node] / base2[node])
                scaled[1].append(0.0 if held else x[node] / base2[node])
                scaled[2].append(0.0 if held else g[node] * base2[node])
                scaled[3].append(0.0 if held else b[node] * base2[node])
            self.areas.append(
                Area(
                    nodes,
                    [-1, *(own[parents[node]] for node in nodes[1:])],
                    groups[0].index(nodes[0]) if k else -1,
                    *scaled,
                    [base2[node] for node in nodes],
                    [i for i, node in enumerate(nodes) if node in transformers and i],
                    [0 if k and i == 0 else phases[node] for i, node in enumerate(nodes)],
                    [
                        [
                            ((z / base2[n] if at < 2 else z * base2[n]) - own) / 3.0
                            for z, n, own in zip(
                                (column[node] for node in nodes), nodes, scaled[at], strict=True
                            )
                        ]
                        for at, column in enumerate(zero)
                    ],
                )
            )


class SlotFlow:
    def __init__(self, wires: Wires, p_w: Any, q_var: Any, limit_va: Any, root_pu: float) -> None:
        self.wires, self.areas = wires, deepcopy(wires.areas)
        self.kept: dict[tuple[int, bool], int] = {}
        self.refused, self.due = 0, False
        for k, area in enumerate(self.areas):
            held = [k > 0] + [False] * (len(area.nodes) - 1)
            pairs = list(zip(area.nodes, held, strict=True))
            area.p, area.q = ([[0.0] * len(pairs) for _ in area.lanes] for _ in range(2))
            for i, (node, h) in enumerate(pairs):
                if h:
                    continue
                area.bring(i, p_w[node] * 1e-6)
                for lane in area.lanes:
                    if len(area.lanes) == 1 or not area.phase[i]:
                        area.q[lane][i] = q_var[node] * 1e-6
                    elif area.phase[i] == lane + 1:
                        area.q[lane][i] = 3.0 * (q_var[node] * 1e-6)
            area.v = [[v] * len(pairs) for v in area.held((root_pu, 0.0))]
            area.j = [[(0.0, 0.0)] * len(pairs) for _ in area.lanes]
            area.rating = [max(1.0, limit_va[node]) * 1e-6 for node, _ in pairs]
        self.is_blind = not self._solve()
        for area in self.areas:
            area.bound = [[[1.0, LOW2, HIGH2]] for _ in area.lanes]
            for k in area.lanes:
                for i in range(1, len(area.nodes)):
                    loading, low, high = area.values(k, i)
                    area.bound[k].append([max(1.0, loading), min(low, LOW2), max(high, HIGH2)])

    def _solve(self) -> bool:
        trunk, size = self.areas[0], sum(len(area.nodes) * len(area.lanes) for area in self.areas)
        for rounds in range(100):
            moved = 0.0
            for k in range(len(self.areas) - 1, -1, -1):
                area, before = self.areas[k], deepcopy(self.areas[k].v)
                held = trunk.v[0][area.joint if k else 0]
                area.sweep(held)
                area.sweep(held)
                for lane, now in zip(before, area.v, strict=True):
                    for old, new in zip(lane, now, strict=True):
                        moved += abs(old[0] - new[0]) + abs(old[1] - new[1])
                if k:
                    self._feed(area)
            if moved < 1e-10 * size and rounds > 1:
                return True
        return False

    def _feed(self, area: Area) -> None:
        trunk, (p, q) = self.areas[0], area.draws()
        trunk.p[0][area.joint] += p - area.top[0]
        trunk.q[0][area.joint] += q - area.top[1]
        area.top = p, q

    def _place(self, node: int) -> tuple[int, int]:
        for k, area in enumerate(self.areas):
            if node in area.nodes[(1 if k else 0) :]:
                return k, area.nodes.index(node)
        raise AssertionError(node)

    def _attempt(self, seller: int, buyer: int, wh: int) -> tuple[int, int] | None:
        """The trade in the flow; afterwards (kind, node) of the worst breach if there is one."""
        (one, i), (other, k) = self._place(seller), self._place(buyer)
        power = float(wh) * PU_PER_WH
        self.areas[one].bring(i, -power)
        self.areas[other].bring(k, power)
        touched = [a for a in dict.fromkeys((one, other)) if a]
        trunk = self.areas[0]
        for a in touched:
            for _ in range(3):
                self.areas[a].sweep(trunk.v[0][self.areas[a].joint])
            self._feed(self.areas[a])
        if one != other or one == 0:
            touched.append(0)
        for a in touched:
            if a == 0:
                for _ in range(3):
                    trunk.sweep(trunk.v[0][0])
            area = self.areas[a]
            if found := area.breach():
                return found
        for a in touched:
            self.areas[a].ratchet()
            self.areas[a].recent += 1
            self.due |= self.areas[a].recent >= self.areas[a].patience
        return None

    def admit(self, headroom: Any, seller: int, buyer: int, wh: int) -> int:
        """How much is borne; the caller takes it from the headroom."""
        if seller == buyer:
            return wh
        low, high, reason = 0, wh, (LOADING, -1)
        before = deepcopy(self.areas), self.due
        if not self.is_blind:
            found = self._attempt(seller, buyer, wh)
            if found is None:
                return wh
            reason = found
            for _ in range(6):
                self.areas, self.due = deepcopy(before[0]), before[1]
                middle = (low + high) // 2
                if middle == low:
                    break
                found = self._attempt(seller, buyer, middle)
                low, high = (middle, high) if found is None else (low, middle)
                reason = reason if found is None else found
            self.areas, self.due = deepcopy(before[0]), before[1]
        self.refused += 1
        self._withhold(headroom, seller, buyer, reason, low)
        if low:
            self._attempt(seller, buyer, low)
        return low

    def _withhold(self, headroom: Any, seller: int, buyer: int, reason: Any, rest: int) -> None:
        edge, up = self._blamed(seller, buyer, *reason)
        area = self.areas[self._place(edge)[0]]
        area.patience = 1 if rest else min(32, 2 * area.patience)
        down_wh, up_wh = headroom.edge(edge)
        self.kept[edge, up] = self.kept.get((edge, up), 0) + (up_wh if up else down_wh) - rest
        headroom.set_edge(edge, down_wh if up else rest, rest if up else up_wh)

    def _blamed(self, seller: int, buyer: int, kind: int, node: int) -> tuple[int, bool]:
        climbed, descended = self.wires.tree.path(seller, buyer)

        def holding(edges: list[int]) -> list[int]:
            if kind == LOADING:
                return [e for e in edges if e == node]
            return [e for e in edges if node >= 0 and is_below(self.wires.tree, node, e)]

        def resistance(edge: int) -> float:
            area, i = self._place(edge)
            return self.areas[area].r[i]

        for edges, up, other in ((climbed, True, LOW), (descended[::-1], False, HIGH)):
            if kind != other and holding(edges):
                return max(holding(edges), key=resistance), up
        return (buyer, False) if descended else (seller, True)

    def give_back(self, headroom: Any) -> bool:
        """Whether an edge opened."""
        if not self.due:
            return False
        self.due, opened = False, False
        for area in self.areas:
            if area.recent < area.patience:
                continue
            area.recent = 0
            for node in area.nodes[1:]:
                for up in (True, False):
                    more = self.kept.pop((node, up), 0)
                    down_wh, up_wh = headroom.edge(node)
                    opened |= (up_wh if up else down_wh) <= 0 < (up_wh if up else down_wh) + more
                    headroom.set_edge(
                        node, down_wh + (0 if up else more), up_wh + (more if up else 0)
                    )
        return opened

    def phases(self, node: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        area, i = self._place(node)
        found = self.areas[area]
        values = [found.values(k, i) for k in found.lanes]
        loadings = tuple(sqrt(loading) if node else 0.0 for loading, _, _ in values)
        return tuple(sqrt(voltage) for _, voltage, _ in values), loadings

    @property
    def voltages_pu(self) -> list[float]:
        return [
            max(self.phases(node)[0], key=lambda v: abs(v - 1.0))
            for node in range(self.wires.tree.size)
        ]

    @property
    def loadings(self) -> list[float]:
        return [max(self.phases(node)[1]) for node in range(self.wires.tree.size)]
