"""Which answers may still be under way on a line that carries no transaction ids.

Pure. A serial answer names only unit, function and octet count: its *shape*. An answer that comes
late, or twice, fits a later question of the same shape and would be taken for its answer. So a
question is asked only in a shape that no answer still under way can have. Devices answer in the
order they were asked; therefore the answer to a later question settles all earlier ones.
"""

from collections.abc import Iterable

from edge.devices.modbus.frames import (
    BIT_READS,
    FAULT_BIT,
    MANY_WRITES,
    READS,
    Fault,
    Reply,
    Request,
)

MISSING_MAX = 512

Shape = tuple[int, ...]
"""(function, octets) of a read, (function, address, value or count) of a write, (function | 0x80,)
of an exception."""


def asked_shape(request: Request) -> Shape:
    """The shape of the answer that a request calls for."""
    function = request.function
    if function in BIT_READS:
        return (function, (request.count + 7) // 8)
    if function in READS:
        return (function, 2 * request.count)
    last = request.count if function in MANY_WRITES else request.values[0]
    return (function, request.address, last)


def heard_shape(reply: Reply | Fault) -> Shape:
    """The shape of an answer that came."""
    if isinstance(reply, Fault):
        return (reply.function | FAULT_BIT,)
    function = reply.function
    if function in BIT_READS:
        return (function, len(reply.values) // 8)
    if function in READS:
        return (function, 2 * len(reply.values))
    last = reply.count if function in MANY_WRITES else reply.values[0]
    return (function, reply.address, last)


class Slips:
    """The answers of one unit that may still come: the last one again, and all that never came."""

    def __init__(self) -> None:
        self._last: Shape | None = None
        self._missing: list[Shape] = []

    def possible(self, shape: Shape) -> bool:
        """Whether an answer of this shape may come that answers an earlier question."""
        return shape == self._last or shape in self._missing

    def fault_possible(self, function: int) -> bool:
        """Whether an exception to this function may be the answer to an earlier question."""
        return self._last == (function | FAULT_BIT,) or any(
            shape[0] == function for shape in self._missing
        )

    @property
    def missing(self) -> int:
        return len(self._missing)

    def answered(self, shape: Shape) -> None:
        """The current question was answered, so no earlier one will be; this may come twice."""
        self._last = shape
        self._missing.clear()

    def unanswered(self, shape: Shape) -> None:
        """The current question was given up; its answer may still come."""
        if shape in self._missing:
            self._missing.remove(shape)
        self._missing.append(shape)
        # Reads have 250 shapes at most; only writes of ever new values could go on for ever.
        del self._missing[:-MISSING_MAX]

    def came_late(self, shape: Shape) -> None:
        """An answer to an earlier question came: it and those before it are settled."""
        if shape in self._missing:
            del self._missing[: self._missing.index(shape) + 1]
        self._last = shape

    def forget(self) -> None:
        """Everything under way is known to be gone, as after a long silence."""
        self._last = None
        self._missing.clear()


def free_count(slips: Slips, request: Request, counts: Iterable[int]) -> int | None:
    """The first of `counts` whose answer could not be confused with one under way."""
    for count in counts:
        shape = asked_shape(Request(request.unit, request.function, request.address, count))
        if not slips.possible(shape):
            return count
    return None


def fence_counts(count: int, step: int, max_words: int) -> Iterable[int]:
    """Counts for a question asked only to settle what is under way: shorter ones are always
    readable where the longer one was, so they come first.
    """
    yield from range(count - step, 0, -step)
    yield from range(count + step, max_words + 1, step)
    yield from range(count - 1, 0, -1)
