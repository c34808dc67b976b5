from collections.abc import Mapping
from struct import Struct
from typing import Final, TypeAlias

from typing_extensions import Buffer

from ext.tree import Headroom
from ext.wires import SlotFlow

GOOD_TILL_GATE: Final = 0
IMMEDIATE_OR_CANCEL: Final = 1
FILL_OR_KILL: Final = 2

OLDEST: Final = 0
NEWEST: Final = 1
BOTH: Final = 2
DECREMENT: Final = 3

TRADE: Final = 1
RESTED: Final = 2
FILLED: Final = 3
CANCELLED: Final = 4
REDUCED: Final = 5
REJECTED: Final = 6

NONE: Final = 0
SWEPT: Final = 1
REMAINDER: Final = 2
KILLED: Final = 3
SELF_TRADE: Final = 4

BAD_BOOK: Final = 16
BAD_SIDE: Final = 17
BAD_TICK: Final = 18
BAD_QUANTITY: Final = 19
BAD_CLASS: Final = 20
BAD_NODE: Final = 21

BAD_TIME_IN_FORCE: Final = 22
BAD_SELF_TRADE: Final = 23
DUPLICATE: Final = 24
UNKNOWN_ORDER: Final = 25
FULL: Final = 26

BAD_OPERATION: Final = 27
BAD_VERSION: Final = 28

SUBMIT: Final = 0
CANCEL: Final = 1
REPLACE: Final = 2

BUY: Final = 0
SELL: Final = 1
RECORD_VERSION: Final = 1

COMMAND: Struct
EVENT: Struct

_Event: TypeAlias = tuple[int, int, int, int, int, int]

def clock() -> int: ...

class Books:
    books_max: int
    def __init__(self, orders_max: int, ticks: int = 4096, books_max: int = 256) -> None: ...
    def open(
        self, book: int, headroom: Headroom | None = None, flow: SlotFlow | None = None
    ) -> None: ...
    def close(self, book: int) -> list[tuple[int, int, int, int]]: ...
    def submit(
        self,
        book: int,
        order_id: int,
        side: int,
        tick: int,
        quantity: int,
        owner: int,
        node: int = 0,
        cls: int = 3,
        tif: int = 0,
        self_trade: int = 0,
    ) -> list[_Event]: ...
    def replace(
        self, book: int, order_id: int, tick: int, quantity: int, self_trade: int = 0
    ) -> list[_Event]: ...
    def cancel(self, book: int, order_id: int) -> list[_Event]: ...
    def resweep(self, book: int) -> list[_Event]: ...
    def process(self, commands: Buffer, events: Buffer) -> tuple[int, int]: ...
    def measure(self, commands: Buffer, events: Buffer, times: Buffer) -> tuple[int, int]: ...
    @property
    def open_orders(self) -> int: ...
    @property
    def orders_max(self) -> int: ...
    @property
    def ticks(self) -> int: ...
    @property
    def books(self) -> list[int]: ...
    @property
    def orders_nbytes(self) -> int: ...
    def best(self, book: int, side: int) -> tuple[int, int] | None: ...
    def depth(self, book: int, side: int, n: int) -> list[tuple[int, int, int]]: ...
    def snapshot(self) -> bytes: ...
    def state_hash(self) -> bytes: ...
    def restore(
        self,
        data: bytes,
        headrooms: Mapping[int, Headroom] | None = None,
        flows: Mapping[int, SlotFlow] | None = None,
    ) -> None: ...
    def check(self) -> None: ...
