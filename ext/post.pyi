from array import array
from collections.abc import Sequence
from typing import Any

MALFORMED: int
TOO_LARGE: int
BAD_PRICE: int
UNKNOWN_ACCOUNT: int
WRONG_ASSET: int
INSUFFICIENT_FUNDS: int
CHANGED_REPLAY: int
OVER_POSTED: int
BAD_INTERVAL: int

def post(
    body: bytes,
    columns: Any,
    usable: bytearray,
    held: dict[bytes, Any],
    known: dict[bytes, bytes],
    elsewhere: Sequence[dict[bytes, bytes]],
    now_s: int,
) -> tuple[int, list[tuple[int, int]], list[tuple[int, bytes]], list[int]]: ...
def unsound_row(columns: Any) -> int: ...
def changed_money(
    columns: Any, numbers_: list[int], known: array[int]
) -> tuple[list[int], list[int]]: ...
