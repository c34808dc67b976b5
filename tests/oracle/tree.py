"""The naive radial network: a dictionary of rooms and a walk. Same API as `ext.tree`."""

import struct
from collections.abc import Iterable

SAME_NODE_WH = 1 << 62


class Tree:
    """Parents, and the way from a node to the root."""

    def __init__(self, parent: Iterable[int]) -> None:
        self.parents = list(parent)
        self.size = len(self.parents)
        self._paths: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
        if any(len(self.ancestry(node)) > self.size for node in range(self.size)):
            raise ValueError("a cycle")

    def ancestry(self, node: int) -> list[int]:
        """The node itself, the node above, and so on to the root; cut off inside a cycle."""
        chain = [node]
        while chain[-1] != 0 and len(chain) <= self.size:
            chain.append(self.parents[chain[-1]])
        return chain

    def path(self, seller: int, buyer: int) -> tuple[list[int], list[int]]:
        """Edges climbed and edges descended, each named by its lower node. Walked once a pair."""
        if (seller, buyer) not in self._paths:
            self._paths[seller, buyer] = self._walk(seller, buyer)
        return self._paths[seller, buyer]

    def _walk(self, seller: int, buyer: int) -> tuple[list[int], list[int]]:
        climbed, descended = self.ancestry(seller), self.ancestry(buyer)
        while climbed and descended and climbed[-1] == descended[-1]:
            climbed.pop()
            descended.pop()
        return climbed, descended[::-1]


class Headroom:
    """The room on every edge, both ways."""

    def __init__(self, tree: Tree, down_wh: Iterable[int], up_wh: Iterable[int]) -> None:
        self.tree = tree
        self.down = list(down_wh)
        self.up = list(up_wh)
        self.down[0] = self.up[0] = 0

    def room_wh(self, seller_node: int, buyer_node: int) -> int:
        """The smallest room on the way, at least 0."""
        climbed, descended = self.tree.path(seller_node, buyer_node)
        rooms = [self.up[edge] for edge in climbed] + [self.down[edge] for edge in descended]
        return max(0, min(rooms, default=SAME_NODE_WH))

    def reserve(self, seller_node: int, buyer_node: int, wh: int) -> None:
        """Take room on the way and give it to the counterflow."""
        if wh > self.room_wh(seller_node, buyer_node):
            raise ValueError("no room")
        self._move(seller_node, buyer_node, wh)

    def release(self, seller_node: int, buyer_node: int, wh: int) -> None:
        """The reverse of `reserve`."""
        self._move(seller_node, buyer_node, -wh)

    def _move(self, seller_node: int, buyer_node: int, wh: int) -> None:
        climbed, descended = self.tree.path(seller_node, buyer_node)
        for edge in climbed:
            self.up[edge] -= wh
            self.down[edge] += wh
        for edge in descended:
            self.down[edge] -= wh
            self.up[edge] += wh

    def set_edge(self, node: int, down: int, up: int) -> None:
        """New rooms for one edge."""
        self.down[node], self.up[node] = down, up

    def edge(self, node: int) -> tuple[int, int]:
        """(down, up)."""
        return self.down[node], self.up[node]

    def state(self) -> bytes:
        """Down by node, then up by node."""
        return struct.pack(f"<{2 * self.tree.size}q", *self.down, *self.up)

    def restore(self, state: bytes) -> None:
        """The rooms of an earlier `state`."""
        rooms = struct.unpack(f"<{2 * self.tree.size}q", state)
        self.down, self.up = list(rooms[: self.tree.size]), list(rooms[self.tree.size :])
