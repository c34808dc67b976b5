"""More simulated SunSpec devices: a storage unit of the newer kind with models 701 to 715, a battery
whose model 802 listens to its controller's heartbeat, and a meter behind an inverter.

Control follows model 704: a write arms its reversion timer, the remaining time counts down, and at
the end the function takes the state that its ...EnaRvrt names. A controller's heartbeat that stands
still for `BEAT_S` is a dead controller, and ends every order as well.
"""

from edge.simulator.electrics import frequency_mhz, grid_electrics
from edge.simulator.home import MW_NS_PER_WH, PHASES, Home
from edge.simulator.sunspec import (
    LETTERS,
    MPPT,
    STANDBY,
    WHOLE,
    BatteryImage,
    SunSpecImage,
    round_w,
)
from protos.messages import Quantity

BEAT_S = 10
WATTS = 1
RUNNING = 3


class Beat:
    """A counter that somebody else raises, and how long it has stood still."""

    def __init__(self) -> None:
        self._count = 0
        self._moved_ns = 0

    def saw(self, count: int, at_ns: int) -> None:
        if count != self._count:
            self._count, self._moved_ns = count, at_ns

    def is_dead(self, at_ns: int, second_ns: int) -> bool:
        return at_ns - self._moved_ns >= BEAT_S * second_ns


class DerImage(SunSpecImage):
    """A storage unit: models 1, 701, 702, 704, 713 and 715."""

    models: tuple[int, ...] = (1, 701, 702, 704, 713, 715)
    writable = (
        *(
            (704, point)
            for point in (
                *("WMaxLimPctEna", "WMaxLimPct", "WMaxLimPctRvrt", "WMaxLimPctEnaRvrt"),
                *("WSetEna", "WSetMod", "WSetEnaRvrt"),
            )
        ),
    )
    writable_wide = (
        (704, "WMaxLimPctRvrtTms"),
        (704, "WSet"),
        (704, "WSetRvrt"),
        (704, "WSetRvrtTms"),
        (715, "ControllerHb"),
    )

    def __init__(self, home: Home, second_ns: int) -> None:
        super().__init__(home, second_ns)
        self.beats = 715 in self.models
        for wide in self.writable_wide:
            if wide[0] not in self.models:
                continue
            first = self.chain.place(*wide)
            self._open |= {first, first + 1}
        self._ends_at: dict[str, int | None] = {"WSet": None, "WMaxLimPct": None}
        self._beat = Beat()
        chain, traits = self.chain, home.traits
        self._name("GridTokenX", "Simulated DER", f"DE{traits.seed:08X}")
        chain.set(701, "ACType", 3)
        self._scale(701, A=-2, V=-1, Hz=-3, W=0, VA=0, Var=0, PF=-3, TotWh=0, Tmp=-1)
        for point in ("WMaxRtg", "WMax", "WChaRteMaxRtg", "WChaRteMax"):
            chain.set(702, point, traits.battery_w)
        for point in ("WDisChaRteMaxRtg", "WDisChaRteMax", "VAMaxRtg", "VAMax"):
            chain.set(702, point, traits.battery_w)
        self._scale(702, W=0, VA=0, V=-1, A=-1)
        self._scale(704, WMaxLimPct=-2, WSet=0, WSetPct=-2)
        chain.set(713, "WHRtg", traits.capacity_wh)
        self._scale(713, WH=0, Pct=-1)
        if self.beats:
            for point in ("LocRemCtl", "DERHb", "ControllerHb"):
                chain.set(715, point, 0)
        for point in ("WSetEna", "WSetEnaRvrt", "WMaxLimPctEna", "WMaxLimPctEnaRvrt"):
            chain.set(704, point, 0)
        for point in ("WSet", "WSetRvrt", "WSetRvrtTms", "WMaxLimPctRvrtTms"):
            chain.set(704, point, 0)
        chain.set(704, "WMaxLimPct", WHOLE)
        chain.set(704, "WMaxLimPctRvrt", WHOLE)

    def refresh(self) -> None:
        home, chain = self.home, self.chain
        self._see_beat()
        for name, ends_ns in self._ends_at.items():
            if chain.get(704, f"{name}Ena"):
                self._count_down(name, ends_ns)
        power_w = round_w(home.battery_mw)
        chain.set(701, "St", RUNNING)
        chain.set(701, "InvSt", MPPT if power_w else STANDBY)
        chain.set(701, "W", power_w)
        chain.set(701, "VA", abs(power_w))
        chain.set(701, "Hz", frequency_mhz(home))
        chain.set(701, "LNV", 2_300)
        chain.set(701, "TotWhInj", home.counters.discharged // MW_NS_PER_WH)
        chain.set(701, "TotWhAbs", home.counters.charged // MW_NS_PER_WH)
        chain.set(713, "SoC", home.charge_per_mille)
        chain.set(713, "SoH", 980)
        chain.set(713, "WHAvail", home.stored_wh)
        if self.beats:
            chain.set(715, "DERHb", home.at_ns // self.second_ns & 0x7FFF_FFFF)

    def _see_beat(self) -> None:
        if self.beats:
            self._beat.saw(self.chain.get(715, "ControllerHb"), self.home.at_ns)

    def _is_orphan(self) -> bool:
        return self.beats and self._beat.is_dead(self.home.at_ns, self.second_ns)

    def _count_down(self, name: str, ends_ns: int | None) -> None:
        at_ns, chain = self.home.at_ns, self.chain
        if ends_ns is not None:
            left = max(0, -(-(ends_ns - at_ns) // self.second_ns))
            chain.set(704, f"{name}RvrtRem", left)
        is_over = ends_ns is not None and at_ns >= ends_ns
        if is_over or self._is_orphan():
            chain.set(704, f"{name}Ena", chain.get(704, f"{name}EnaRvrt"))
            chain.set(704, name, chain.get(704, f"{name}Rvrt"))
            self._ends_at[name] = None
            self._steer()

    def acceptable(self) -> bool:
        chain = self.chain
        return (
            chain.get(704, "WSetEna") in {0, 1}
            and chain.get(704, "WMaxLimPctEna") in {0, 1}
            and chain.get(704, "WMaxLimPct") <= WHOLE
            and abs(chain.get(704, "WSet")) <= self.home.traits.battery_w
        )

    def obey(self) -> None:
        self._see_beat()
        for name in self._ends_at:
            seconds = self.chain.get(704, f"{name}RvrtTms")
            # Any write to the model arms the timers again, as a careful device does it.
            if self.chain.get(704, f"{name}Ena"):
                self._ends_at[name] = self._ends_ns(seconds)
        self._steer()

    def _steer(self) -> None:
        if self.chain.get(704, "WSetEna"):
            power_w = self.chain.get(704, "WSet")
            self.home.steer_battery(power_w, power_w, None)
        else:
            self.home.release_battery()

    def is_steered(self, at_ns: int) -> bool:
        """Whether any order stands at this instant."""
        self.home.step(at_ns)
        self.refresh()
        return bool(self.chain.get(704, "WSetEna") or self.chain.get(704, "WMaxLimPctEna"))


class InverterMeterImage(SunSpecImage):
    """The meter at the connection as an inverter shows it under a unit of its own, such as 240 at
    Fronius: models 1 and 203, import positive, energy in whole Wh.
    """

    models = (1, 203)

    def __init__(self, home: Home, second_ns: int) -> None:
        super().__init__(home, second_ns)
        self._name("Fronius", "Smart Meter TS 65A-3", f"ME{home.traits.seed:08X}")
        self._scale(203, A=-2, V=-1, Hz=-2, W=0, TotWh=0)

    def refresh(self) -> None:
        seen, chain = grid_electrics(self.home), self.chain
        chain.set(203, "W", seen[Quantity.POWER_W, 0])
        chain.set(203, "Hz", seen[Quantity.FREQUENCY_MHZ, 0] // 10)
        chain.set(203, "TotWhImp", seen[Quantity.ENERGY_IMPORT_WH, 0])
        chain.set(203, "TotWhExp", seen[Quantity.ENERGY_EXPORT_WH, 0])
        for phase, letter in zip(range(1, PHASES + 1), LETTERS, strict=True):
            chain.set(203, f"Wph{letter}", seen[Quantity.POWER_W, phase])
            chain.set(203, f"PhVph{letter}", seen[Quantity.VOLTAGE_MV, phase] // 100)
            chain.set(203, f"Aph{letter}", seen[Quantity.CURRENT_MA, phase] // 10)

    def acceptable(self) -> bool:
        return True

    def obey(self) -> None:
        """A meter takes no orders."""


class BeatlessDerImage(DerImage):
    """The same without model 715: only the reversion timers of 704 end an order."""

    models = (1, 701, 702, 704, 713)


class BeatingBatteryImage(BatteryImage):
    """The battery of `sunspec`, whose model 802 also listens to its controller's heartbeat."""

    writable = (*BatteryImage.writable, (802, "CtrlHb"))

    def __init__(self, home: Home, second_ns: int) -> None:
        self._beat = Beat()
        super().__init__(home, second_ns)
        self.chain.set(802, "CtrlHb", 0)

    def refresh(self) -> None:
        self._beat.saw(self.chain.get(802, "CtrlHb"), self.home.at_ns)
        is_ordered = self.home.battery_window_w is not None
        if is_ordered and self._beat.is_dead(self.home.at_ns, self.second_ns):
            self.home.release_battery()
        super().refresh()
