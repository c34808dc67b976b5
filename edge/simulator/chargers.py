"""Charging stations with a car at each: what they offer it, and what they do when their master dies.

Like `makers`, by hand from the makers' documents. A car takes what it is offered, from 6 A on, as
IEC 61851-1 has it; below that the station offers nothing.
"""

import struct
from typing import ClassVar

from edge.devices.modbus.frames import READ_HOLDING, READ_INPUT
from edge.simulator.makers import Facts, MakerImage, Settings
from protos.messages import Role

LEAST_MA = 6_000
VOLT, PHASES = 230, 3


def words_of_float(value: float) -> tuple[int, int]:
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return high, low


class ChargerImage(MakerImage):
    """A station that was installed for `max_ma` and falls back to `failsafe_ma`."""

    role = Role.EV_CHARGER
    max_ma = 16_000
    failsafe_ma = 8_000
    power_place: tuple[int, int] = (READ_HOLDING, 0)

    def __init__(self, second_ns: int) -> None:
        super().__init__(second_ns)
        self.is_failsafe = False
        self._fed_ns: int | None = None

    @property
    def timeout_s(self) -> int:
        """How long its watchdog waits, 0 where it does not watch."""
        return 60

    @property
    def ordered_ma(self) -> int:
        """What its master set."""
        raise NotImplementedError

    @property
    def offered_ma(self) -> int:
        """What it offers its car: nothing below 6 A, never more than it was installed for."""
        ordered = self.failsafe_ma if self.is_failsafe else self.ordered_ma
        return min(self.max_ma, ordered) if ordered >= LEAST_MA else 0

    @property
    def power_w(self) -> int:
        return self.offered_ma * VOLT * PHASES // 1_000

    def feed(self) -> None:
        self._fed_ns, self.is_failsafe = self.at_ns, False

    def live(self) -> None:
        if self._fed_ns is None or not self.timeout_s:
            return
        if self.at_ns - self._fed_ns >= self.timeout_s * self.second_ns:
            self.is_failsafe = True

    def _word(self, function: int, address: int) -> int | None:
        place, start = self.power_place
        shown = self.power_words()
        if function == place and start <= address < start + len(shown):
            return shown[address - start]
        return super()._word(function, address)

    def power_words(self) -> tuple[int, ...]:
        return self.power_w >> 16, self.power_w & 0xFFFF

    def is_steered(self, at_ns: int) -> bool:
        """It does what it was ordered, and that is less than it would do by itself."""
        self._move_to(at_ns)
        return not self.is_failsafe and self.ordered_ma < self.max_ma


class KebaCharger(ChargerImage):
    """A KeContact P40: 5004 in mA, 0 pauses; 5018 is renewed or it falls back."""

    profile = "keba/p40"
    unit = 255
    settings: ClassVar[Settings] = {5004: 16_000, 5018: 0}
    facts: ClassVar[Facts] = {(READ_HOLDING, 1110): 0, (READ_HOLDING, 1111): 16_000}
    power_place = (READ_HOLDING, 1020)

    @property
    def timeout_s(self) -> int:
        return self.holding[5018]

    @property
    def ordered_ma(self) -> int:
        return self.holding[5004]

    def took(self, address: int) -> None:
        del address
        self.feed()

    def is_acceptable(self) -> bool:
        current, timeout = self.holding[5004], self.holding[5018]
        return (not current or LEAST_MA <= current <= 63_000) and (not timeout or timeout >= 10)

    def power_words(self) -> tuple[int, ...]:
        return divmod(self.power_w * 1_000, 0x10000)

    def _word(self, function: int, address: int) -> int | None:
        if function == READ_HOLDING and address in {1602, 1603}:
            return (0, self.holding[5018])[address - 1602]
        return super()._word(function, address)


class AlfenCharger(ChargerImage):
    """An Eve: 1210 is valid for 60 s, 1208 counts them down, 1212 is what holds after them."""

    profile = "alfen/eve_ng9xx"
    settings: ClassVar[Settings] = dict(zip((1210, 1211), words_of_float(16.0), strict=True))
    facts: ClassVar[Facts] = {
        (READ_HOLDING, 1212): words_of_float(8.0)[0],
        (READ_HOLDING, 1213): words_of_float(8.0)[1],
    }
    power_place = (READ_HOLDING, 344)

    @property
    def ordered_ma(self) -> int:
        packed = struct.pack(">HH", self.holding[1210], self.holding[1211])
        amperes: float = struct.unpack(">f", packed)[0]
        return round(1_000 * amperes)

    def took(self, address: int) -> None:
        del address
        self.feed()

    def power_words(self) -> tuple[int, ...]:
        return words_of_float(float(self.power_w))

    def is_steered(self, at_ns: int) -> bool:
        self._move_to(at_ns)
        return not self.is_failsafe and self.ordered_ma not in {self.max_ma, self.failsafe_ma}


class HeidelbergCharger(ChargerImage):
    """An Energy Control: any message feeds the watchdog of 257, in ms; 262 holds after it."""

    profile = "heidelberg/energy_control"
    transport = "rtu"
    settings: ClassVar[Settings] = {257: 15_000, 261: 160}
    facts: ClassVar[Facts] = {(READ_INPUT, 100): 16}
    power_place = (READ_INPUT, 14)

    @property
    def timeout_s(self) -> int:
        return -(-self.holding[257] // 1_000)

    @property
    def ordered_ma(self) -> int:
        return 100 * self.holding[261]

    def heard(self) -> None:
        self.feed()

    def is_acceptable(self) -> bool:
        return self.holding[261] == 0 or 60 <= self.holding[261] <= 160

    def power_words(self) -> tuple[int, ...]:
        return (self.power_w,)


class AbbCharger(ChargerImage):
    """A Terra AC: 0x4100 is only written, 0x400E shows it; any message keeps it alive for 60 s."""

    profile = "abb/terra_ac"
    settings: ClassVar[Settings] = {0x4100: 0, 0x4101: 16_000}
    facts: ClassVar[Facts] = {(READ_HOLDING, 0x4006): 0, (READ_HOLDING, 0x4007): 16_000}
    power_place = (READ_HOLDING, 0x401C)

    @property
    def ordered_ma(self) -> int:
        return self.holding[0x4100] << 16 | self.holding[0x4101]

    def heard(self) -> None:
        self.feed()

    def _word(self, function: int, address: int) -> int | None:
        if function == READ_HOLDING and address in {0x400E, 0x400F}:
            return self.holding[address + 0xF2]
        if address in self.settings:
            return None
        return super()._word(function, address)


CHARGERS: tuple[type[ChargerImage], ...] = (
    KebaCharger,
    AlfenCharger,
    HeidelbergCharger,
    AbbCharger,
)
