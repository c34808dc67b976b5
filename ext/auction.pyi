from collections.abc import Sequence
from typing import Final

from typing_extensions import Buffer

from ext.tree import Headroom

TICKS_MAX: Final[int]
CLASSES: Final[int]
QUANTITY_MAX: Final[int]
ORDERS_MAX: Final[int]

def clear(
    headroom: Headroom,
    ticks: int,
    nodes: Buffer,
    sides: Buffer,
    order_ticks: Buffer,
    quantities_wh: Buffer,
    classes: Buffer,
) -> tuple[list[tuple[int, int, int]], Sequence[int]]: ...
