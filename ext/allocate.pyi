from collections.abc import Sequence

def augment(
    sellers: Sequence[int],
    buyers: Sequence[int],
    capacity_wh: Sequence[int],
    delivered_wh: Sequence[int],
    supply_wh: Sequence[int],
    demand_wh: Sequence[int],
) -> list[int]: ...
