"""The registers of a simulated meter: its shipped profile, read the other way round.

A meter's words follow from what flows through the home's connection and from where the profile
says each value stands. A meter keeps to its profile's limits (words a request, alignment,
forbidden ranges) with exceptions, and is never written to.
"""

from collections.abc import Iterable, Sequence

from edge.devices.modbus.errors import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE
from edge.devices.profile import Profile, RegisterValue
from edge.devices.registers import encode
from edge.simulator.electrics import Electrics, grid_electrics, single_phase
from edge.simulator.home import Home
from edge.simulator.wire import Refused

SPARE_WORDS = 64
"""Meters answer zeros for unused registers between used ones, up to gaps about this wide."""


class MeterImage:
    """A grid meter before a home. With `holes` every register that no value uses is illegal, which
    is how the strictest meters treat a reader that fills its gaps.
    """

    def __init__(self, profile: Profile, home: Home, *, holes: bool = False) -> None:
        self.home = home
        self._profile = profile
        self._points = sorted(profile.points, key=lambda point: point.value.addr)
        for point in self._points:
            if (point.quantity, point.phase) not in grid_electrics(home):
                raise ValueError(
                    f"{profile.id}: a grid meter has no {point.id}; name another model"
                )
        self._single = all(point.phase in {0, 1} for point in self._points)
        self._fixed = _fixed_words(profile, home.traits.seed)
        spare_words = 0 if holes else SPARE_WORDS
        used: dict[int, list[tuple[int, int]]] = {}
        for point in self._points:
            used.setdefault(point.function, []).append((point.value.addr, point.value.end))
        self._present = {
            function: _present(spans, spare_words, profile.transport.forbidden)
            for function, spans in used.items()
        }
        for function, address in self._fixed:
            self._present[function] = self._present.get(function, frozenset()) | {address}

    def read(self, function: int, address: int, count: int, at_ns: int) -> Sequence[int]:
        present = self._present.get(function)
        if present is None:
            raise Refused(ILLEGAL_FUNCTION)
        end = address + count
        transport = self._profile.transport
        if count > transport.max_words:
            raise Refused(ILLEGAL_VALUE)
        if address % transport.step or count % transport.step:
            raise Refused(ILLEGAL_ADDRESS)
        if not present.issuperset(range(address, end)):
            raise Refused(ILLEGAL_ADDRESS)
        self.home.step(at_ns)
        words = [self._fixed.get((function, at), 0) for at in range(address, end)]
        seen = self._electrics()
        for point in self._points:
            value = point.value
            if point.function != function or value.end <= address:
                continue
            if value.addr >= end:
                break
            shown = value.registers(seen[point.quantity, point.phase])
            for at in range(max(value.addr, address), min(value.end, end)):
                words[at - address] = shown[at - value.addr]
        return words

    def write(self, address: int, words: Sequence[int], at_ns: int) -> None:  # noqa: ARG002
        raise Refused(ILLEGAL_FUNCTION)

    def _electrics(self) -> Electrics:
        seen = grid_electrics(self.home)
        return single_phase(seen, self.home) if self._single else seen


def _present(
    spans: Iterable[tuple[int, int]], spare_words: int, forbidden: Sequence[tuple[int, int]]
) -> frozenset[int]:
    """The addresses that answer: those in use, and narrow gaps between them that are allowed."""
    found: set[int] = set()
    last_end: int | None = None
    for start, end in spans:
        if last_end is not None and 0 < start - last_end <= spare_words:
            found.update(range(last_end, start))
        found.update(range(start, end))
        last_end = end if last_end is None else max(last_end, end)
    return frozenset(found.difference(*(range(first, end) for first, end in forbidden)))


def _fixed_words(profile: Profile, seed: int) -> dict[tuple[int, int], int]:
    """What never changes: the serial number, and the text or number that tells the model."""
    words: dict[tuple[int, int], int] = {}
    if profile.serial is not None:
        function, value = profile.serial
        _put(words, function, value, _serial_number(value, seed))
    if profile.signature is not None:
        signature = profile.signature
        _put(words, signature.function, signature.value, signature.expect[0])
    return words


def _serial_number(value: RegisterValue, seed: int) -> str | int:
    """Digits that the register has room for."""
    if value.kind == "str":
        return f"{seed:010d}"[-2 * value.width :]
    return seed % (10_000 if value.width == 1 else 100_000_000)


def _put(
    words: dict[tuple[int, int], int], function: int, value: RegisterValue, shown: str | int
) -> None:
    for index, word in enumerate(encode(shown, value.kind, value.order, value.width)):
        words[function, value.addr + index] = word
