from collections.abc import Collection, Iterable

from ext.tree import Headroom, Tree

PATIENCE: int
BAND_PU: tuple[float, float]

class Wires:
    tree: Tree
    def __init__(
        self,
        tree: Tree,
        heads: Iterable[int],
        r_pu: Iterable[float],
        x_pu: Iterable[float],
        g_pu: Iterable[float],
        b_pu: Iterable[float],
        ratio: Iterable[float],
        transformers: Collection[int],
        zero: Iterable[Iterable[float]] | None = None,
        phases: Iterable[int] | None = None,
    ) -> None: ...

class SlotFlow:
    wires: Wires
    def __init__(
        self,
        wires: Wires,
        p_w: Iterable[float],
        q_var: Iterable[float],
        limit_va: Iterable[float],
        root_voltage_pu: float,
    ) -> None: ...
    def rate(self, node: int, limit_va: float) -> None: ...
    def admit(self, headroom: Headroom, seller_node: int, buyer_node: int, wh: int) -> int: ...
    def withdraw(self, seller_node: int, buyer_node: int, wh: int) -> None: ...
    def give_back(self, headroom: Headroom) -> None: ...
    def give_all_back(self, headroom: Headroom) -> None: ...
    @property
    def is_blind(self) -> bool: ...
    @property
    def refused(self) -> int: ...
    def withheld_wh(self, node: int) -> tuple[int, int]: ...
    @property
    def voltages_pu(self) -> list[float]: ...
    @property
    def loadings(self) -> list[float]: ...
    def phases(self, node: int) -> tuple[tuple[float, ...], tuple[float, ...]]: ...
    def state(self) -> bytes: ...
    def restore(self, state: bytes) -> None: ...
