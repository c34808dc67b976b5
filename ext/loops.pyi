from collections.abc import Iterable

from ext.tree import Tree

PARTS: int

class Loops:
    count: int
    size: int
    def __init__(self, tree: Tree, factors: Iterable[Iterable[int]]) -> None: ...
