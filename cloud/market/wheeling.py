"""What the way between two places of a zone's grid costs: a matrix of areas, as data in the rules.

An area is a node of the network and all below it, unless another area begins there; what lies
outside all of them is the first row and column. Decides only which fee a trade meets; it must never
depend on which wires the energy took, since that nobody can know.
"""

from collections.abc import Sequence

from cloud.commands import ZoneRules


class Wheeling:
    """Fees in micro-units per kWh, by the nodes of seller and buyer."""

    def __init__(self, parent: Sequence[int], rules: ZoneRules) -> None:
        self._parent = parent
        self._matrix = rules.wheeling_micro_per_kwh
        self._area_at = {area.node: n for n, area in enumerate(rules.areas, start=1)}

    def area(self, node: int) -> int:
        """The area's place in the matrix; 0 for the grid outside all of them."""
        while node not in self._area_at:
            if node == 0:
                return 0
            node = self._parent[node]
        return self._area_at[node]

    def fee(self, seller_node: int, buyer_node: int) -> int:
        """What a kWh delivered between these nodes pays besides."""
        if not self._matrix:
            return 0
        return self._matrix[self.area(seller_node)][self.area(buyer_node)]

    def dearest(self, buyer_node: int) -> int:
        """The most that a buyer at this node can meet, whoever sells."""
        if not self._matrix:
            return 0
        column = self.area(buyer_node)
        return max(row[column] for row in self._matrix)


def areas_are_sound(rules: ZoneRules, nodes: int) -> bool:
    """Whether every area is a node of its own in this network, and the matrix fits them."""
    places = [area.node for area in rules.areas]
    return (
        len({*places}) == len(places)
        and all(0 < node < nodes for node in places)
        and rules.wheeling_is_sound
    )
