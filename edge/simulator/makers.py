"""Batteries and inverters that can be steered, as their makers build them: each with its own timer,
watchdog or none at all.

What a device does with an order is written down here by hand from its maker's documents, never from
the profile that the agent steers it with; only the words of its measurements are the profile's
golden ones. A device that is said to have no timer has none: whoever leaves it steered, leaves it so.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from edge.devices.catalog import profile_directory
from edge.devices.modbus.errors import ILLEGAL_ADDRESS, ILLEGAL_VALUE
from edge.devices.modbus.frames import READ_HOLDING
from edge.devices.profile_file import load_profile
from edge.simulator.wire import Refused
from protos.messages import Role

Settings = Mapping[int, int]
Facts = Mapping[tuple[int, int], int]


class MakerImage:
    """The registers of one device. `second_ns` is one second of the device on the wire's clock, so
    that a test need not wait for a device's minutes.
    """

    profile = ""
    role = Role.BATTERY
    unit = 1
    transport = "tcp"
    settings: ClassVar[Settings] = {}
    """Holding registers that can be written, with what they hold while nobody steers."""

    facts: ClassVar[Facts] = {}
    """What else can be read, by function and address."""

    def __init__(self, second_ns: int) -> None:
        self.second_ns = second_ns
        self.at_ns = 0
        self.holding = dict(self.settings)
        self.writes = 0
        self._fixed = dict(self.facts)
        for test in reversed(load_profile(profile_directory() / f"{self.profile}.toml").selftests):
            for (function, start), words in test.raw.items():
                self._fixed.update({(function, start + i): word for i, word in enumerate(words)})

    def read(self, function: int, address: int, count: int, at_ns: int) -> Sequence[int]:
        self._move_to(at_ns)
        self.heard()
        words = [self._word(function, at) for at in range(address, address + count)]
        if None in words:
            raise Refused(ILLEGAL_ADDRESS)
        return [word for word in words if word is not None]

    def _word(self, function: int, address: int) -> int | None:
        if function == READ_HOLDING and address in self.holding:
            return self.holding[address]
        return self._fixed.get((function, address))

    def write(self, address: int, words: Sequence[int], at_ns: int) -> None:
        """All or nothing: a refused write leaves every register as it was."""
        self._move_to(at_ns)
        self.heard()
        span = range(address, address + len(words))
        if any(at not in self.settings for at in span):
            raise Refused(ILLEGAL_ADDRESS)
        before = dict(self.holding)
        self.holding.update(zip(span, words, strict=True))
        if not self.is_acceptable():
            self.holding = before
            raise Refused(ILLEGAL_VALUE)
        self.writes += 1
        self.took(address)

    def _move_to(self, at_ns: int) -> None:
        self.at_ns = max(self.at_ns, at_ns)
        self.live()

    def is_steered(self, at_ns: int) -> bool:
        """Whether it does at this instant what somebody ordered."""
        self._move_to(at_ns)
        return self.holding != dict(self.settings)

    def live(self) -> None:
        """Time has passed: what ends by itself has ended."""

    def heard(self) -> None:
        """A message came in, of whatever kind."""

    def took(self, address: int) -> None:
        """A register was written."""

    def is_acceptable(self) -> bool:
        """Whether the settings as written make sense together."""
        return True

    def after(self, seconds: int) -> int:
        return self.at_ns + seconds * self.second_ns


class SungrowStorage(MakerImage):
    """An SH hybrid: in mode 3 its heartbeat counts down each second, and at 0 it serves the home
    again. It waits a
    third longer than it was told, as an iHomeManager was seen to do.
    """

    profile = "sungrow/sh_battery"
    settings: ClassVar[Settings] = {13049: 0, 13050: 0xCC, 13051: 0, 13079: 0}

    def __init__(self, second_ns: int) -> None:
        super().__init__(second_ns)
        self._ends_ns = 0
        self._falls_ns = 0

    def took(self, address: int) -> None:
        if address == 13079 and self.holding[13049] == 3:
            self._ends_ns = self.after(self.holding[13079])
            self._falls_ns = self._ends_ns + (self._ends_ns - self.at_ns) // 3
        elif address == 13079:
            # Outside the external mode nothing counts, and nothing is kept.
            self.holding[13079] = 0

    def live(self) -> None:
        if self.holding[13049] != 3:
            return
        left = -(-(self._ends_ns - self.at_ns) // self.second_ns)
        self.holding[13079] = max(0, left)
        if self._falls_ns and self.at_ns >= self._falls_ns:
            self.holding.update({13049: 0, 13050: 0xCC, 13079: 0})
            self._falls_ns = 0

    def is_acceptable(self) -> bool:
        return self.holding[13049] in {0, 2, 3} and self.holding[13050] in {0xAA, 0xBB, 0xCC}

    def is_steered(self, at_ns: int) -> bool:
        self._move_to(at_ns)
        return self.holding[13049] != 0


class HuaweiStorage(MakerImage):
    """A LUNA2000 behind its inverter: a forced charge or discharge ends after the minutes of 47083."""

    profile = "huawei/luna2000"
    settings: ClassVar[Settings] = dict.fromkeys(
        (47083, 47100, 47246, 47247, 47248, 47249, 47250), 0
    )

    def __init__(self, second_ns: int) -> None:
        super().__init__(second_ns)
        self._ends_ns = 0

    def took(self, address: int) -> None:
        if address in {47083, 47100}:
            self._ends_ns = self.after(60 * self.holding[47083])

    def live(self) -> None:
        if self.holding[47100] and self.at_ns >= self._ends_ns:
            self.holding[47100] = 0

    def is_acceptable(self) -> bool:
        return self.holding[47100] in {0, 1, 2} and self.holding[47083] <= 1440

    def is_steered(self, at_ns: int) -> bool:
        self._move_to(at_ns)
        return self.holding[47100] != 0


class HuaweiInverter(MakerImage):
    """A SUN2000: a feed-in limit stands until somebody lifts it."""

    profile = "huawei/sun2000"
    role = Role.PV
    settings: ClassVar[Settings] = {47415: 0, 47418: 0}
    facts: ClassVar[Facts] = {(READ_HOLDING, 30075): 0, (READ_HOLDING, 30076): 10_000}

    def is_steered(self, at_ns: int) -> bool:
        self._move_to(at_ns)
        return self.holding[47415] != 0


class SmaStorage(MakerImage):
    """A Smart Energy inverter, taken to have no watchdog: its makers do not say that it has one."""

    profile = "sma/smart_energy_battery"
    unit = 3
    settings: ClassVar[Settings] = dict.fromkeys((40236, *range(40793, 40803)), 0) | {
        40237: 2424,
        40796: 10_000,
        40800: 10_000,
    }


class SolarEdgeStorage(MakerImage):
    """A StorEdge in remote mode: a command ends after the seconds of 0xE00B, with 7, self-consumption."""

    profile = "solaredge/storedge_battery"
    settings: ClassVar[Settings] = {0xE00B: 0x0E10, 0xE00C: 0, 0xE00D: 7} | dict.fromkeys(
        range(0xE00E, 0xE012), 0
    )

    def __init__(self, second_ns: int) -> None:
        super().__init__(second_ns)
        self._ends_ns = 0

    def took(self, address: int) -> None:
        del address
        self._ends_ns = self.after(self.holding[0xE00B] | self.holding[0xE00C] << 16)

    def live(self) -> None:
        if self.holding[0xE00D] != 7 and self.at_ns >= self._ends_ns:
            self.holding[0xE00D] = 7

    def is_acceptable(self) -> bool:
        return self.holding[0xE00D] in {0, 1, 2, 3, 4, 5, 7}

    def is_steered(self, at_ns: int) -> bool:
        self._move_to(at_ns)
        return self.holding[0xE00D] != 7


STORAGE: tuple[type[MakerImage], ...] = (
    SungrowStorage,
    HuaweiStorage,
    HuaweiInverter,
    SmaStorage,
    SolarEdgeStorage,
)
