"""Simulated SunSpec devices: a solar inverter, and a battery with its inverter.

Control follows models 123 and 124: a write arms the setpoint for its RvrtTms seconds, a later write
arms it again, zero holds until it is written off, and at the end the device takes the setpoint off
its own registers. In model 124 the two rates bound the battery's power from both sides, and a
negative rate forces (discharge at least -InWRte, charge at least -OutWRte), as the large makers'
inverters do it; InWRte = -OutWRte is a setpoint. Ramp and window times are kept and not modelled.
"""

from collections.abc import Sequence

from edge.devices.modbus.errors import ILLEGAL_ADDRESS, ILLEGAL_VALUE
from edge.devices.modbus.frames import READ_HOLDING
from edge.simulator.electrics import current_ma, frequency_mhz, voltage_mv
from edge.simulator.home import MW_NS_PER_WH, PHASES, Home
from edge.simulator.models import Chain
from edge.simulator.wire import Refused

BASE = 40_000
WHOLE = 10_000
"""100 % in the control points: their scale factor is -2."""

OFF, SLEEPING, MPPT, THROTTLED, STANDBY = 1, 2, 4, 5, 8
EMPTY, DISCHARGING, CHARGING, FULL, HOLDING = 2, 3, 4, 5, 6
DC_DECIVOLT = 4_000
LETTERS = ("A", "B", "C")


class SunSpecImage:
    """A chain of models before a home. `second_ns` is one real second on the home's clock:
    a reversion timer is the device's own hardware and knows nothing of a demo's speed.
    """

    models: tuple[int, ...] = ()
    writable: tuple[tuple[int, str], ...] = ()

    def __init__(self, home: Home, second_ns: int) -> None:
        self.home = home
        self.second_ns = second_ns
        self.chain = Chain(self.models)
        self._open = {self.chain.place(*point) for point in self.writable}

    def read(self, function: int, address: int, count: int, at_ns: int) -> Sequence[int]:
        start = address - BASE
        if function != READ_HOLDING or start < 0 or start + count > len(self.chain.words):
            raise Refused(ILLEGAL_ADDRESS)
        self.home.step(at_ns)
        self.refresh()
        return self.chain.words[start : start + count]

    def write(self, address: int, words: Sequence[int], at_ns: int) -> None:
        """All or nothing: a refused write leaves every register as it was."""
        start = address - BASE
        if not self._open.issuperset(range(start, start + len(words))):
            raise Refused(ILLEGAL_ADDRESS)
        self.home.step(at_ns)
        self.refresh()
        before = self.chain.words[start : start + len(words)]
        self.chain.words[start : start + len(words)] = words
        if not self.acceptable():
            self.chain.words[start : start + len(words)] = before
            raise Refused(ILLEGAL_VALUE)
        self.obey()
        self.home.step(at_ns)

    def is_steered(self, at_ns: int) -> bool:
        """Whether any order stands at this instant."""
        self.home.step(at_ns)
        self.refresh()
        return self.home.battery_window_w is not None or self.home.pv_limit_w is not None

    def refresh(self) -> None:
        """Puts what the home does now into the registers, and ended setpoints out of them."""
        raise NotImplementedError

    def acceptable(self) -> bool:
        """Whether the control points as written make sense together."""
        raise NotImplementedError

    def obey(self) -> None:
        """Steers the home as the control points say."""
        raise NotImplementedError

    def _ends_ns(self, seconds: int) -> int | None:
        return self.home.at_ns + seconds * self.second_ns if seconds else None

    def _name(self, maker: str, model: str, serial: str) -> None:
        for point, text in (("Mn", maker), ("Md", model), ("Vr", "1.0"), ("SN", serial)):
            self.chain.set(1, point, text)
        self.chain.set(1, "DA", 1)

    def _scale(self, model: int, **factors: int) -> None:
        for point, exponent in factors.items():
            self.chain.set(model, f"{point}_SF", exponent)

    def _show_inverter(self, power_mw: int, produced: int, state: int) -> None:
        """Model 103: the alternating side of an inverter, positive towards the house."""
        chain, home = self.chain, self.home
        for phase, letter in enumerate(LETTERS):
            millivolt = voltage_mv(home, phase)
            chain.set(103, f"PhVph{letter}", millivolt // 100)
            chain.set(103, f"Aph{letter}", current_ma(power_mw // PHASES, millivolt) // 10)
        chain.set(103, "A", sum(chain.get(103, f"Aph{letter}") for letter in LETTERS))
        chain.set(103, "W", round_w(power_mw))
        chain.set(103, "VA", round_w(power_mw))
        chain.set(103, "Hz", frequency_mhz(home) // 10)
        chain.set(103, "WH", produced // MW_NS_PER_WH)
        chain.set(103, "DCW", round_w(power_mw * 102 // 100))
        chain.set(103, "DCV", DC_DECIVOLT)
        chain.set(103, "TmpCab", 250 + abs(power_mw) // 60_000)
        chain.set(103, "St", state)


class SolarImage(SunSpecImage):
    """A solar inverter: models 1, 103, 120 and 123."""

    models = (1, 103, 120, 123)
    writable = tuple(
        (123, point)
        for point in (
            "WMaxLimPct",
            "WMaxLimPct_WinTms",
            "WMaxLimPct_RvrtTms",
            "WMaxLimPct_RmpTms",
            "WMaxLim_Ena",
        )
    )

    def __init__(self, home: Home, second_ns: int) -> None:
        super().__init__(home, second_ns)
        self._name("GridTokenX", "Simulated Solar", f"PV{home.traits.seed:08X}")
        self._scale(103, A=-2, V=-1, W=0, Hz=-2, VA=0, WH=0, DCV=-1, DCW=0, Tmp=-1)
        self.chain.set(103, "Evt1", 0)
        self.chain.set(103, "Evt2", 0)
        self.chain.set(120, "DERTyp", 4)
        self.chain.set(120, "WRtg", home.traits.pv_peak_w)
        self.chain.set(120, "VARtg", home.traits.pv_peak_w)
        self._scale(120, WRtg=0, VARtg=0, VArRtg=0, ARtg=-1, PFRtg=-2)
        self.chain.set(120, "ARtg", home.traits.pv_peak_w // 69)
        self.chain.set(123, "Conn", 1)
        self.chain.set(123, "OutPFSet_Ena", 0)
        self.chain.set(123, "VArPct_Ena", 0)
        self._scale(123, WMaxLimPct=-2, OutPFSet=-2, VArPct=-2)
        self.chain.set(123, "WMaxLimPct_RvrtTms", 0)
        self._let_go()

    def refresh(self) -> None:
        home = self.home
        if home.pv_limit_w is None and self.chain.get(123, "WMaxLim_Ena"):
            self._let_go()
        if home.pv_limit_w is not None and home.pv_mw == home.pv_limit_w * 1_000:
            state = THROTTLED
        else:
            state = MPPT if home.pv_mw else SLEEPING
        self._show_inverter(home.pv_mw, home.counters.produced, state)

    def acceptable(self) -> bool:
        return self.chain.get(123, "WMaxLimPct") <= WHOLE and self.chain.get(
            123, "WMaxLim_Ena"
        ) in {0, 1}

    def obey(self) -> None:
        if not self.chain.get(123, "WMaxLim_Ena"):
            self.home.release_pv()
            return
        limit_w = self.home.traits.pv_peak_w * self.chain.get(123, "WMaxLimPct") // WHOLE
        self.home.limit_pv(limit_w, self._ends_ns(self.chain.get(123, "WMaxLimPct_RvrtTms")))

    def _let_go(self) -> None:
        self.chain.set(123, "WMaxLimPct", WHOLE)
        self.chain.set(123, "WMaxLim_Ena", 0)


class BatteryImage(SunSpecImage):
    """A battery and its inverter: models 1, 103, 120, 124 and 802.

    Power is positive when it discharges, in 103 and in 802.
    """

    models = (1, 103, 120, 124, 802)
    writable = tuple(
        (124, point)
        for point in (
            "StorCtl_Mod",
            "OutWRte",
            "InWRte",
            "InOutWRte_WinTms",
            "InOutWRte_RvrtTms",
            "InOutWRte_RmpTms",
        )
    )

    def __init__(self, home: Home, second_ns: int) -> None:
        super().__init__(home, second_ns)
        traits = home.traits
        self._name("GridTokenX", "Simulated Storage", f"BA{traits.seed:08X}")
        self._scale(103, A=-2, V=-1, W=0, Hz=-2, VA=0, WH=0, DCV=-1, DCW=0, Tmp=-1)
        self.chain.set(103, "Evt1", 0)
        self.chain.set(103, "Evt2", 0)
        self.chain.set(120, "DERTyp", 82)
        for point in ("WRtg", "VARtg", "MaxChaRte", "MaxDisChaRte"):
            self.chain.set(120, point, traits.battery_w)
        self.chain.set(120, "WHRtg", traits.capacity_wh)
        self._scale(120, WRtg=0, VARtg=0, VArRtg=0, ARtg=-1, PFRtg=-2)
        self._scale(120, WHRtg=0, MaxChaRte=0, MaxDisChaRte=0)
        self.chain.set(120, "ARtg", traits.battery_w // 69)
        self.chain.set(124, "WChaMax", traits.battery_w)
        self.chain.set(124, "WChaGra", 100)
        self.chain.set(124, "WDisChaGra", 100)
        self.chain.set(124, "MinRsvPct", 500)
        self.chain.set(124, "ChaGriSet", 1)
        self.chain.set(124, "InOutWRte_RvrtTms", 0)
        self._scale(124, WChaMax=0, WChaDisChaGra=0, MinRsvPct=-2, ChaState=-2, InOutWRte=-2)
        self._let_go()
        self._build_bank()

    def _build_bank(self) -> None:
        """Model 802's fixed points: a lithium-ion bank of the home's capacity."""
        chain, traits = self.chain, self.home.traits
        chain.set(802, "AHRtg", traits.capacity_wh // 400)
        chain.set(802, "WHRtg", traits.capacity_wh)
        chain.set(802, "WChaRteMax", traits.battery_w)
        chain.set(802, "WDisChaRteMax", traits.battery_w)
        chain.set(802, "SoCMax", 1_000)
        chain.set(802, "SoCMin", 50)
        chain.set(802, "SoH", 980)
        for point in ("LocRemCtl", "AlmRst", "Evt1", "Evt2", "EvtVnd1", "EvtVnd2"):
            chain.set(802, point, 0)
        chain.set(802, "Typ", 4)
        chain.set(802, "State", 3)
        chain.set(802, "V", DC_DECIVOLT)
        chain.set(802, "SetOp", 1)
        chain.set(802, "SetInvState", 3)
        self._scale(802, AHRtg=0, WHRtg=0, WChaDisChaMax=0, SoC=-1, SoH=-1, V=-1, CellV=-2)
        self._scale(802, A=-1, AMax=-1, W=0)

    def refresh(self) -> None:
        home, chain = self.home, self.chain
        if home.battery_window_w is None and chain.get(124, "StorCtl_Mod"):
            self._let_go()
        power_mw = home.battery_mw
        self._show_inverter(power_mw, home.counters.discharged, MPPT if power_mw else STANDBY)
        charge = home.charge_per_mille
        chain.set(124, "ChaState", charge * 10)
        chain.set(802, "SoC", charge)
        for model in (124, 802):
            chain.set(model, "ChaSt", self._charge_state())
        chain.set(802, "W", round_w(power_mw))
        chain.set(802, "A", round_w(power_mw) * 100 // DC_DECIVOLT)
        chain.set(802, "Hb", home.at_ns // self.second_ns)

    def acceptable(self) -> bool:
        return self.chain.get(124, "StorCtl_Mod") in range(4) and all(
            abs(self.chain.get(124, point)) <= WHOLE for point in ("OutWRte", "InWRte")
        )

    def obey(self) -> None:
        mode = self.chain.get(124, "StorCtl_Mod")
        if not mode:
            self.home.release_battery()
            return
        rating = self.home.traits.battery_w
        low = -rate_w(rating, self.chain.get(124, "InWRte")) if mode & 1 else -rating
        high = rate_w(rating, self.chain.get(124, "OutWRte")) if mode & 2 else rating
        ends_ns = self._ends_ns(self.chain.get(124, "InOutWRte_RvrtTms"))
        self.home.steer_battery(low, max(low, high), ends_ns)

    def _let_go(self) -> None:
        self.chain.set(124, "StorCtl_Mod", 0)
        self.chain.set(124, "OutWRte", WHOLE)
        self.chain.set(124, "InWRte", WHOLE)

    def _charge_state(self) -> int:
        if self.home.battery_mw:
            return DISCHARGING if self.home.battery_mw > 0 else CHARGING
        charge = self.home.charge_per_mille
        if charge >= 999:
            return FULL
        return EMPTY if charge <= 50 else HOLDING


def round_w(power_mw: int) -> int:
    return (2 * power_mw + 1_000) // 2_000


def rate_w(rating_w: int, rate: int) -> int:
    """A signed rate of WHOLE as power, towards zero, so that both directions round alike."""
    power_w = rating_w * abs(rate) // WHOLE
    return power_w if rate >= 0 else -power_w
