"""A device model as records: which registers mean what, how to speak to it, what may be written.

Pure. Register images become whole numbers of canonical units here, and the other way round for
simulated devices. It must never turn a sentinel into a number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edge.devices.registers import Kind, Order, Raw, decode, encode
from protos.messages import Quantity, Role
from protos.units import round_measured

FLOATS = frozenset({"f32", "f64"})


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
        if self.kind in FLOATS:
            raw = signed * self.divide / self.multiply
        else:
            raw = _half_even(signed * self.divide, self.multiply)
        return encode(raw, self.kind, self.order, self.width)


@dataclass(frozen=True, slots=True)
class Marks:
    """Bits that turn a value's sign: it is negative while any bit of `mask` is set in a register."""

    function: int
    addr: int
    mask: int


@dataclass(frozen=True, slots=True)
class PointMap:
    """One value of the device. `minimum` and `maximum` are what is physically possible; `minus` is
    subtracted, for devices that keep both directions of a flow apart; `marks` give the sign to
    those that keep it apart. A counter starts again from 0 at `rollover_wh` (0: not known) and
    never grows faster than `max_rate_w`.
    """

    id: str
    function: int
    value: RegisterValue
    quantity: Quantity
    phase: int
    billing: bool
    minimum: int | None
    maximum: int | None
    minus: RegisterValue | None = None
    marks: Marks | None = None
    rollover_wh: int = 0
    max_rate_w: int = 0

    def places(self) -> tuple[tuple[int, int, int], ...]:
        """Every run of registers this value needs: (function, start, end)."""
        runs = [(self.function, self.value.addr, self.value.end)]
        if self.minus is not None:
            runs.append((self.function, self.minus.addr, self.minus.end))
        if self.marks is not None:
            runs.append((self.marks.function, self.marks.addr, self.marks.addr + 1))
        return tuple(runs)

    def read(self, image: Mapping[tuple[int, int], int]) -> int | None:
        """The value in these registers, None where one is missing or says that it is."""
        value = _taken(self.value, self.function, image)
        if value is None:
            return None
        if self.minus is not None:
            other = _taken(self.minus, self.function, image)
            if other is None:
                return None
            value -= other
        if self.marks is not None:
            bits = image.get((self.marks.function, self.marks.addr))
            if bits is None:
                return None
            value = -value if bits & self.marks.mask else value
        return value


def _taken(value: RegisterValue, function: int, image: Mapping[tuple[int, int], int]) -> int | None:
    places = [(function, address) for address in range(value.addr, value.end)]
    if any(place not in image for place in places):
        return None
    return value.canonical(tuple(image[place] for place in places))


Place = tuple[int, RegisterValue]
"""A value in the table that this function reads."""

Source = Literal[
    "constant",
    "value",
    "charge",
    "discharge",
    "magnitude",
    "ttl",
    "mode",
    "share",
    "current",
    "own",
]
"""What a step writes: a constant, the setpoint, its part in one direction, its size, the seconds
until it ends, a code by direction, the setpoint's share of the device's rating in per mille, the
setpoint as a current per phase in mA, or what the device itself names in another register."""


@dataclass(frozen=True, slots=True)
class Step:
    """One write on the way to a setpoint. `codes` are for charging, standing by, discharging.

    A register in wearing memory is read first and written only if it holds something else.
    `readback` names where the device shows what was written, where that is another register.
    `own` is where the device says what this step is to write. `early` marks a timer that the
    device may take only later, when the same timer is written again.
    """

    value: RegisterValue
    function: int
    source: Source
    constant: int = 0
    codes: tuple[int, int, int] = (0, 0, 0)
    nonvolatile: bool = False
    at_least: int = 0
    readback: Place | None = None
    own: Place | None = None
    early: bool = False

    def wanted(self, setpoint: int, ttl_s: int, rating: int = 0, amps: "Amps | None" = None) -> int:
        """What to write, in the unit that the register's scale turns into counts."""
        match self.source:
            case "constant":
                return self.constant
            case "value":
                return setpoint
            case "charge":
                return max(0, -setpoint)
            case "discharge":
                return max(0, setpoint)
            case "magnitude":
                return abs(setpoint)
            case "mode":
                return self.codes[1 + (setpoint > 0) - (setpoint < 0)]
            case "share":
                assert rating > 0
                return max(0, min(1000, 1000 * setpoint // rating))
            case "current":
                assert amps is not None
                # Towards zero, so that no register's resolution lets more through.
                unit = 1 if self.value.kind in FLOATS else self.value.multiply // self.value.divide
                current_ma = amps.current_ma(setpoint)
                return current_ma - current_ma % max(1, unit)
        # A timer rounds up to its own unit, so that it never ends before the agent renews it.
        unit = max(1, self.value.multiply // self.value.divide)
        most = ((1 << min(31, 16 * self.value.width)) - 1) * self.value.multiply
        return (
            max(1, min(-(-max(ttl_s, self.at_least) // unit), most // self.value.divide // unit))
            * unit
        )


@dataclass(frozen=True, slots=True)
class Amps:
    """How a charger's power follows from its current: `phases` it charges on, each of `volt`.

    A car is offered at least `least_ma` or nothing: the pilot signal of IEC 61851-1 begins at 6 A.
    """

    phases: int
    volt: int
    least_ma: int

    @property
    def least_w(self) -> int:
        """The least power above 0, rounded up."""
        return -(-self.least_ma * self.phases * self.volt // 1000)

    def current_ma(self, power_w: int) -> int:
        """The current per phase that takes no more than this power; 0 where that is too little."""
        current_ma = 1000 * power_w // (self.phases * self.volt)
        return current_ma if current_ma >= self.least_ma else 0


@dataclass(frozen=True, slots=True)
class WriteMap:
    """One setpoint with its bounds and the writes that make the device obey, in order.

    `restore` gives the device back to itself. `failsafe` says who ends the setpoint when nobody
    renews it: a timer of the device that is written with it, a watchdog of the device that always
    runs `holds_s`, or only the agent. With `consent` it is used only where the installer sets the
    option of that name: what it restores may not be what the owner had.
    """

    id: str
    setpoint: str
    minimum: int
    maximum: int
    steps: tuple[Step, ...]
    restore: tuple[Step, ...]
    failsafe: str
    max_writes_per_day: int
    rating: Place | None = None
    consent: str = ""
    holds_s: int = 0
    amps: Amps | None = None

    @property
    def wears(self) -> bool:
        return any(step.nonvolatile for step in (*self.steps, *self.restore))

    @property
    def wears_by_value(self) -> bool:
        """Whether another value, and not only the first, is written to memory that wears out."""
        return any(step.nonvolatile and step.source != "constant" for step in self.steps)


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
