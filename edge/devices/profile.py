"""A device model as records: which registers mean what, how to speak to it, what may be written.

Pure. Register images become whole numbers of canonical units here, and the other way round for
simulated devices. It must never turn a sentinel into a number.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from edge.devices.registers import Kind, Order, Raw, decode, encode
from protos.messages import Quantity, Role
from protos.units import round_measured


@dataclass(frozen=True, slots=True)
class RegisterValue:
    """How a value lies in registers and how it becomes a whole number of a canonical unit:
    raw * multiply / divide, negated where the device's sign is the other way round.
    """

    addr: int
    kind: Kind
    order: Order
    width: int
    multiply: int = 1
    divide: int = 1
    negate: bool = False
    nan: frozenset[int] = frozenset()

    @property
    def end(self) -> int:
        return self.addr + self.width

    def canonical(self, words: tuple[int, ...]) -> int | None:
        """The value in these registers in its canonical unit, None where not available."""
        raw = decode(words, self.kind, self.order, self.nan)
        if raw is None or isinstance(raw, str):
            return None
        sign = -1 if self.negate else 1
        if isinstance(raw, float):
            return round_measured(raw / self.divide, sign * self.multiply)
        return _half_even(sign * raw * self.multiply, self.divide)

    def text(self, words: tuple[int, ...]) -> str:
        """What these registers say, as text; "" where they say nothing."""
        raw = decode(words, self.kind, self.order, self.nan)
        return "" if raw is None else str(raw)

    def registers(self, canonical: int) -> tuple[int, ...]:
        """The registers that carry a canonical value, as near as their resolution allows."""
        signed = -canonical if self.negate else canonical
        raw: Raw
        if self.kind in {"f32", "f64"}:
            raw = signed * self.divide / self.multiply
        else:
            raw = _half_even(signed * self.divide, self.multiply)
        return encode(raw, self.kind, self.order, self.width)


@dataclass(frozen=True, slots=True)
class PointMap:
    """One value of the device. `minimum` and `maximum` are what is physically possible."""

    id: str
    function: int
    value: RegisterValue
    quantity: Quantity
    phase: int
    billing: bool
    minimum: int | None
    maximum: int | None


@dataclass(frozen=True, slots=True)
class WriteMap:
    """One setpoint with its bounds. `default` is what restores the device's own behaviour; `timer`
    is the device's own reversion timer in seconds, written first.
    """

    id: str
    setpoint: str
    function: int
    value: RegisterValue
    minimum: int
    maximum: int
    default: int
    timer: RegisterValue | None
    nonvolatile: bool
    max_writes_per_day: int


@dataclass(frozen=True, slots=True)
class Transport:
    """How the model wants to be spoken to."""

    kinds: tuple[str, ...]
    baud: tuple[int, ...] = (9600,)
    parity: tuple[str, ...] = ("N",)
    stop: int = 1
    max_words: int = 125
    step: int = 1
    spare: int = 0
    forbidden: tuple[tuple[int, int], ...] = ()
    gap_ms: int = 0
    connect_delay_ms: int = 0
    turnaround_ms: int = 20
    exclusive_tcp: bool = False
    idle_close_s: int = 0


@dataclass(frozen=True, slots=True)
class Signature:
    """A read-only probe that tells this model from others: text or number at an address."""

    function: int
    value: RegisterValue
    expect: tuple[str | int, ...]

    def matches(self, words: tuple[int, ...]) -> bool:
        raw = decode(words, self.value.kind, self.value.order)
        if isinstance(raw, str):
            return any(isinstance(want, str) and raw.startswith(want) for want in self.expect)
        return raw in self.expect


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Golden registers, by (function, address), and what their points must decode to."""

    raw: Mapping[tuple[int, int], tuple[int, ...]]
    expect: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Profile:
    """A checked device model."""

    id: str
    revision: int
    products: tuple[tuple[str, str], ...]
    roles: tuple[Role, ...]
    transport: Transport
    points: tuple[PointMap, ...]
    writes: tuple[WriteMap, ...]
    serial: tuple[int, RegisterValue] | None
    signature: Signature | None
    selftests: tuple[SelfTest, ...]


def _half_even(numerator: int, denominator: int) -> int:
    """The quotient as the nearest integer, halves to even, without a float."""
    quotient, rest = divmod(numerator, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and quotient % 2):
        quotient += 1
    return quotient
