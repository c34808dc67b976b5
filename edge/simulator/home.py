"""The physics of one home: a load, a solar roof and a battery behind one grid connection.

Pure: time comes in as an argument, chance from a seed, nothing goes out but numbers. Everything is
whole numbers, power in mW and energy in mW·ns, so the counters balance exactly:

    import - export = consumed - produced + charged - discharged
    charged - discharged = change of the stored energy + lost

Power is constant between decisions. Decisions fall on a grid of ten seconds, where the battery
fills or empties, and where a setpoint comes or ends; never where somebody happens to look. So the
path of a home depends on its seed and on what was ordered, not on how often it is read.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from edge.simulator.profiles import Profiles, per_peak_at
from protos.clock import MINUTE_NS, SECOND_NS

TICK_NS = 10 * SECOND_NS
MW_NS_PER_WH = 3_600_000 * SECOND_NS
"""1 Wh in mW·ns."""

AWAY_NS_MAX = 4 * 24 * 60 * MINUTE_NS
"""How long a home lives on unseen. A longer leap of the clock is a time without power, because
living through a year at once would stop the simulator for minutes.
"""

REGULATION_MW = 30_000
"""How far a battery's regulation misses zero at the connection: no real one hits it exactly."""

HUNGER = 4
"""How many times the usual household a home with heat pump and car takes."""

PHASES = 3
NOISE = 1 << 16
_MASK = (1 << 64) - 1

HOURS_AT_PEAK = {"H0-A": 1222, "H0-B": 776, "H0-C": 1031, "H0-G": 611, "H0-L": 496}
"""A year's energy over the peak, of each load profile: from kWh a year to kW of peak."""


def noise(seed: int, index: int) -> int:
    """A number in [0, NOISE) drawn by position instead of in order (SplitMix64's finisher)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return (mixed ^ (mixed >> 31)) % NOISE


@dataclass(frozen=True, slots=True)
class Traits:
    """What was built into a home. `shares` is each phase's part of the load, per mille.

    A battery that `serves_home` keeps the connection near zero by itself; the others stand idle
    until somebody steers them, as batteries do that were bought to earn money.
    """

    number: int
    seed: int
    load: str
    load_peak_w: int
    sun: str
    pv_peak_w: int
    battery_w: int
    capacity_wh: int
    stored_wh: int
    loss_per_mille: int
    shares: tuple[int, int, int]
    serves_home: bool

    @property
    def has_battery(self) -> bool:
        return self.battery_w > 0


def traits_of(number: int, seed: int) -> Traits:
    """The home that stands under this number, counted from 1, in the street with this seed.

    Every seventh home has no battery, every second battery serves its home, every fifth roof is as
    large as a farm's, and every fourth home heats with power under a small roof: so a street has
    buyers, sellers and a feeder worth watching.
    """
    draw = Random(f"gridtokenx/{seed}/{number}")
    load = draw.choice(sorted(HOURS_AT_PEAK))
    yearly_wh = draw.randrange(2_500_000, 6_000_000, 50_000)
    sun = draw.choice(("PV1", "PV4", "PV5", "PV8"))
    large, hungry = number % 5 == 0, number % 4 == 2
    pv_peak_w = draw.randrange(15_000, 26_000, 500) if large else draw.randrange(4_000, 9_500, 100)
    if hungry:
        yearly_wh *= HUNGER
        pv_peak_w = pv_peak_w if large else pv_peak_w // 4
    battery_w, capacity_wh = draw.randrange(6_000, 8_100, 100), draw.randrange(10_000, 16_100, 200)
    stored = draw.randrange(300, 700)
    first = draw.randrange(200, 500)
    second = draw.randrange(200, 1_000 - first - 150)
    battery = number % 7 != 0
    return Traits(
        number=number,
        seed=draw.getrandbits(32),
        load=load,
        load_peak_w=yearly_wh // HOURS_AT_PEAK[load],
        sun=sun,
        pv_peak_w=pv_peak_w,
        battery_w=battery_w if battery else 0,
        capacity_wh=capacity_wh if battery else 0,
        stored_wh=capacity_wh * stored // 1_000 if battery else 0,
        loss_per_mille=draw.randrange(25, 45),
        shares=(first, second, 1_000 - first - second),
        serves_home=number % 2 == 1,
    )


@dataclass(slots=True)
class Counters:
    """Energy since the home was built, in mW·ns. They only ever grow."""

    imported: int
    exported: int
    consumed: int
    produced: int
    charged: int
    discharged: int
    lost: int


def history(traits: Traits) -> Counters:
    """What the counters show when the simulation begins: a home a few months old, in balance.

    Not zero, which in a SunSpec accumulator means not available; and below 8 MWh, so that a float
    in kWh still tells one Wh from the next.
    """
    consumed_wh = traits.load_peak_w * HOURS_AT_PEAK[traits.load] // 4
    produced_wh = traits.pv_peak_w * 160
    discharged_wh = traits.capacity_wh * 50
    lost_wh = discharged_wh * 6 // 100
    imported_wh = max(consumed_wh * 2 // 5, consumed_wh - produced_wh + lost_wh + 100_000)
    return Counters(
        imported=imported_wh * MW_NS_PER_WH,
        exported=(imported_wh - consumed_wh + produced_wh - lost_wh) * MW_NS_PER_WH,
        consumed=consumed_wh * MW_NS_PER_WH,
        produced=produced_wh * MW_NS_PER_WH,
        charged=(discharged_wh + lost_wh) * MW_NS_PER_WH,
        discharged=discharged_wh * MW_NS_PER_WH,
        lost=lost_wh * MW_NS_PER_WH,
    )


class Home:
    """One home's state. Powers in mW: grid positive for import, battery positive for discharge."""

    def __init__(self, traits: Traits, profiles: Profiles, at_ns: int) -> None:
        self.traits = traits
        self.at_ns = at_ns
        self.counters = history(traits)
        self.phase_imported = [self.counters.imported * share // 1_000 for share in traits.shares]
        self.phase_exported = [self.counters.exported // PHASES] * PHASES
        self.stored = traits.stored_wh * MW_NS_PER_WH
        self.frequency_offset_mhz = 0
        self.load_mw = self.pv_mw = self.battery_mw = self.grid_mw = 0
        self.phases_mw = [0] * PHASES
        self._cells_mw = 0
        self._load_profile = profiles.loads[traits.load]
        self._sun_profile = profiles.suns[traits.sun]
        self._capacity = traits.capacity_wh * MW_NS_PER_WH
        self._reserve = self._capacity // 20
        self._until_ns = at_ns
        self._window_mw: tuple[int, int] | None = None
        self._window_ends_ns: int | None = None
        self._pv_limit_mw: int | None = None
        self._pv_limit_ends_ns: int | None = None

    @property
    def battery_window_w(self) -> tuple[int, int] | None:
        """The least and the most discharge that was ordered, or None in self-consumption."""
        return None if self._window_mw is None else _watts(self._window_mw)

    @property
    def pv_limit_w(self) -> int | None:
        return None if self._pv_limit_mw is None else self._pv_limit_mw // 1_000

    @property
    def stored_wh(self) -> int:
        return self.stored // MW_NS_PER_WH

    @property
    def charge_per_mille(self) -> int:
        return 1_000 * self.stored // self._capacity if self._capacity else 0

    def step(self, at_ns: int) -> None:
        """Lives on to an instant. An instant that has passed already changes nothing."""
        if at_ns - self.at_ns > AWAY_NS_MAX:
            self.at_ns = self._until_ns = at_ns
        while at_ns >= self._until_ns:
            self._integrate(self._until_ns)
            self._decide()
        if at_ns > self.at_ns:
            self._integrate(at_ns)

    def steer_battery(self, low_w: int, high_w: int, ends_ns: int | None) -> None:
        """Keep the battery's power within [low, high] (discharge positive) until `ends_ns`.

        Equal bounds are a setpoint. The home's own interest decides within them, and the battery's
        rating and its cells bound them. None as the end means until somebody else says so.
        """
        self._window_mw, self._window_ends_ns = (low_w * 1_000, high_w * 1_000), ends_ns
        self._until_ns = self.at_ns

    def release_battery(self) -> None:
        self._window_mw = self._window_ends_ns = None
        self._until_ns = self.at_ns

    def limit_pv(self, limit_w: int, ends_ns: int | None) -> None:
        """Produce no more than this until `ends_ns`; what the sun offers beyond it is not used."""
        self._pv_limit_mw, self._pv_limit_ends_ns = limit_w * 1_000, ends_ns
        self._until_ns = self.at_ns

    def release_pv(self) -> None:
        self._pv_limit_mw = self._pv_limit_ends_ns = None
        self._until_ns = self.at_ns

    def state(self) -> dict[str, object]:
        """What outlives the simulator: counters and cells, in mW·ns. Setpoints do not."""
        return {
            "at_ns": self.at_ns,
            "stored": self.stored,
            "phase_imported": list(self.phase_imported),
            "phase_exported": list(self.phase_exported),
        } | asdict(self.counters)

    def restore(self, state: Mapping[str, Any], at_ns: int) -> None:
        """Goes on from a saved state: the home lived on meanwhile, see AWAY_NS_MAX. A state from
        the clock's future is taken as one of now.

        Raises KeyError or TypeError for what `state` never gave.
        """
        self.counters = Counters(**{name: int(state[name]) for name in asdict(self.counters)})
        self.phase_imported = [int(value) for value in state["phase_imported"]]
        self.phase_exported = [int(value) for value in state["phase_exported"]]
        self.stored = min(int(state["stored"]), self._capacity)
        self.at_ns = self._until_ns = min(int(state["at_ns"]), at_ns)

    def _integrate(self, to_ns: int) -> None:
        duration_ns = to_ns - self.at_ns
        self.at_ns = to_ns
        if not duration_ns:
            return
        count = self.counters
        count.consumed += self.load_mw * duration_ns
        count.produced += self.pv_mw * duration_ns
        if self.grid_mw >= 0:
            count.imported += self.grid_mw * duration_ns
        else:
            count.exported -= self.grid_mw * duration_ns
        if self.battery_mw >= 0:
            count.discharged += self.battery_mw * duration_ns
        else:
            count.charged -= self.battery_mw * duration_ns
        self.stored += self._cells_mw * duration_ns
        count.lost -= (self.battery_mw + self._cells_mw) * duration_ns
        for phase, power_mw in enumerate(self.phases_mw):
            if power_mw >= 0:
                self.phase_imported[phase] += power_mw * duration_ns
            else:
                self.phase_exported[phase] -= power_mw * duration_ns

    def _decide(self) -> None:
        """Sets the powers that hold from now on, and until when they hold."""
        at_ns, traits = self.at_ns, self.traits
        self._end_setpoints()
        tick = at_ns // TICK_NS
        start_ns = tick * TICK_NS
        until_ns = start_ns + TICK_NS
        load = per_peak_at(self._load_profile, start_ns, traits.load_peak_w * 1_000)
        self.load_mw = load * (NOISE + noise(traits.seed, tick) // 4 - NOISE // 8) // NOISE
        sun = per_peak_at(self._sun_profile, start_ns, traits.pv_peak_w * 1_000)
        sun = sun * (NOISE + noise(traits.seed + 1, tick) // 8 - NOISE // 16) // NOISE
        self.pv_mw = sun if self._pv_limit_mw is None else min(sun, self._pv_limit_mw)
        for ends_ns in (self._window_ends_ns, self._pv_limit_ends_ns):
            if ends_ns is not None:
                until_ns = min(until_ns, ends_ns)
        self._until_ns = min(until_ns, self._decide_battery())
        self.grid_mw = self.load_mw - self.pv_mw - self.battery_mw
        self._decide_phases()

    def _end_setpoints(self) -> None:
        if self._window_ends_ns is not None and self._window_ends_ns <= self.at_ns:
            self._window_mw = self._window_ends_ns = None
        if self._pv_limit_ends_ns is not None and self._pv_limit_ends_ns <= self.at_ns:
            self._pv_limit_mw = self._pv_limit_ends_ns = None

    def _decide_battery(self) -> int:
        """The battery's power and what it does to the cells; returns when they are full or empty.

        A battery with less than a second left does nothing, so that the last decision before the
        end is not followed by ever shorter ones.
        """
        rating_mw = self.traits.battery_w * 1_000
        slip = noise(self.traits.seed + 2, self.at_ns // TICK_NS) % (2 * REGULATION_MW + 1)
        surplus = self.load_mw - self.pv_mw + slip - REGULATION_MW
        wanted = surplus if self.traits.serves_home else 0
        if self._window_mw is not None:
            wanted = max(self._window_mw[0], min(self._window_mw[1], wanted))
        power = max(-rating_mw, min(rating_mw, wanted))
        loss = abs(power) * self.traits.loss_per_mille // 1_000
        flow = -power - loss
        room = self._capacity - self.stored if flow > 0 else self.stored - self._reserve
        if room < abs(flow) * SECOND_NS or not flow:
            power = flow = 0
        self.battery_mw, self._cells_mw = power, flow
        return self.at_ns + (room // abs(flow) if flow else TICK_NS)

    def _decide_phases(self) -> None:
        """The load is spread as the home was wired; inverters feed all phases alike."""
        inverters = self.pv_mw + self.battery_mw
        for phase, share in enumerate(self.traits.shares):
            self.phases_mw[phase] = self.load_mw * share // 1_000 - inverters // PHASES
        self.phases_mw[0] += self.grid_mw - sum(self.phases_mw)


def _watts(pair_mw: tuple[int, int]) -> tuple[int, int]:
    return pair_mw[0] // 1_000, pair_mw[1] // 1_000
