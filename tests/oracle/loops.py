"""The naive loops of a slot: Kirchhoff's laws over the whole network at once, and plain division."""

from fractions import Fraction

import numpy as np

ONE = 1 << 20


def shares(size, branches):
    """By node, then branch (first, second, |z|): what of a W drawn there flows through it, the
    source being node 0. Potentials of the nodal equations, nothing of trees and rings.
    """
    incidence = np.zeros((len(branches), size))
    for row, (first, second, _) in enumerate(branches):
        incidence[row, first], incidence[row, second] = 1, -1
    weighted = incidence / np.array([z for _, _, z in branches])[:, None]
    laplacian = (incidence.T @ weighted)[1:, 1:]
    potentials = np.zeros((size, size))
    potentials[1:, 1:] = -np.linalg.inv(laplacian)
    return (weighted @ potentials).T


class Mesh:
    """Flows in exact fractions of a W."""

    def __init__(self, factors, flow_w, cap_w):
        self.factors = factors
        self.flow = [Fraction(w) for w in flow_w]
        self.cap = list(cap_w)

    def effects(self, seller, buyer):
        pairs = zip(self.factors[buyer], self.factors[seller], strict=True)
        return [Fraction(into - out, ONE) for into, out in pairs]

    def admit(self, seller, buyer, wh):
        for flow, cap, effect in zip(self.flow, self.cap, self.effects(seller, buyer), strict=True):
            if effect:
                left = cap - flow if effect > 0 else cap + flow
                wh = min(wh, int(max(left, 0) / (abs(effect) * 4)))
        for b, effect in enumerate(self.effects(seller, buyer)):
            self.flow[b] += effect * 4 * wh
        return wh
