"""What a zone sees of its grid: who is silent, and whose voltage or which frequency is wrong.

Decides from all gateways together, whenever it is asked to survey: outages (`cloud.grid.outage`),
alarms of voltage and of the median frequency (`cloud.grid.quality`). Must never declare an outage
while it is deaf itself, and never believe a value that no meter has sent since the last silence.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from cloud.commands import GridRules
from cloud.facts import OutageChanged, QualityAlarm
from cloud.grid.network import Network
from cloud.grid.outage import Heard, Outage, Verdict, outages
from cloud.grid.quality import Band, Level, Watch, median_frequency_mhz, voltage_per_mille
from cloud.market.streams import Gateway
from cloud.metering.telemetry import LIVE_MV
from protos.clock import SECOND_NS
from protos.ids import DeviceId

FREQUENCY = "frequency"


@dataclass(slots=True)
class GridWatch:
    """One zone's standing outages and alarms."""

    zone: str
    network: Network
    rules: GridRules = field(default_factory=GridRules)
    out: dict[int, Outage] = field(default_factory=dict)
    """The elements that have failed, by number."""

    _frequency: Watch | None = None
    _voltages: dict[DeviceId, Watch] = field(default_factory=dict)

    def obey(self, rules: GridRules) -> None:
        """Other rules: what was watched by the old ones is watched anew."""
        self.rules = rules
        self._frequency = None
        self._voltages.clear()

    def alarms(self) -> list[Watch]:
        """What is outside its band and was told, frequency first."""
        watches = [*([self._frequency] if self._frequency else []), *self._voltages.values()]
        return [watch for watch in watches if watch.level is not Level.NORMAL]

    def is_dark(self, node: int) -> bool:
        """Whether the node lies below an element that has failed."""
        return any(self.network.is_below(node, element) for element in self.out)

    def survey_outages(self, gateways: Iterable[Gateway], now_ns: int) -> list[OutageChanged]:
        """What has failed or come back since the last time."""
        heard = [Heard(g.node, g.heard_ns, _gasps(g), g.gap_ns) for g in gateways if g.heard_ns]
        silent_ns = self.rules.silent_s * SECOND_NS
        verdict, found = outages(self.network, heard, now_ns, silent_ns)
        if verdict is Verdict.DEAF:
            return []
        now = {outage.element: outage for outage in found}
        facts = [
            OutageChanged(self.zone, o.element, False, o.gateways, o.gasps, o.since_ns)
            for element, o in sorted(self.out.items())
            if element not in now
        ]
        facts += [
            OutageChanged(self.zone, o.element, True, o.gateways, o.gasps, o.since_ns)
            for element, o in sorted(now.items())
            if element not in self.out
        ]
        self.out = now
        return facts

    def survey_quality(self, gateways: Iterable[Gateway], now_ns: int) -> list[QualityAlarm]:
        """Alarms that begin, change or end. Who is silent says nothing of the present."""
        fresh_ns = now_ns - self.rules.silent_s * SECOND_NS
        present = [g for g in gateways if g.snapshot.at_ns and g.heard_ns >= fresh_ns]
        facts = self._frequency_alarm(present, now_ns)
        band = voltage_band(self.rules)
        for gateway in present:
            value = _voltage(gateway, self.rules.voltage_rated_mv)
            watch = self._voltages.get(gateway.device)
            if value is None or (watch is None and band.level(value) is Level.NORMAL):
                continue
            if watch is None:
                watch = self._voltages[gateway.device] = Watch(gateway.device, band)
            facts += self._seen(watch, value, now_ns)
            if watch.is_calm:
                del self._voltages[gateway.device]
        return facts

    def state(self) -> object:
        watches = [*self._voltages.values(), *([self._frequency] if self._frequency else [])]
        return {
            "rules": tuple(getattr(self.rules, key) for key in GridRules.__struct_fields__),
            "out": [(o.element, o.gateways, o.gasps, o.since_ns) for o in self.out.values()],
            "watches": [watch.state() for watch in watches],
        }

    def _frequency_alarm(self, present: list[Gateway], now_ns: int) -> list[QualityAlarm]:
        readings = [g.snapshot.frequency_mhz for g in present if g.snapshot.frequency_mhz > 0]
        median = median_frequency_mhz(readings)
        if median is None:
            return []
        if self._frequency is None:
            self._frequency = Watch(FREQUENCY, frequency_band(self.rules))
        return self._seen(self._frequency, median, now_ns)

    def _seen(self, watch: Watch, value: int, now_ns: int) -> list[QualityAlarm]:
        alarm = watch.see(value, now_ns)
        if alarm is None:
            return []
        return [QualityAlarm(self.zone, alarm.subject, alarm.level, alarm.value, alarm.at_ns)]


def frequency_band(rules: GridRules) -> Band:
    return Band(
        rules.frequency_critical_low_mhz,
        rules.frequency_low_mhz,
        rules.frequency_high_mhz,
        rules.frequency_critical_high_mhz,
        rules.frequency_back_mhz,
        rules.frequency_hold_s * SECOND_NS,
    )


def voltage_band(rules: GridRules) -> Band:
    return Band(
        rules.voltage_critical_low,
        rules.voltage_low,
        rules.voltage_high,
        rules.voltage_critical_high,
        rules.voltage_back,
        rules.voltage_hold_s * SECOND_NS,
    )


def are_sound(rules: GridRules) -> bool:
    """Whether a grid can be watched by these rules: bands in order, times and powers within use."""
    for band in (frequency_band(rules), voltage_band(rules)):
        edges = (0, band.critical_low, band.low, band.high, band.critical_high)
        if list(edges) != sorted(edges) or not 0 <= 2 * band.back <= band.high - band.low:
            return False
        if not 0 <= band.hold_ns <= 3_600 * SECOND_NS:
            return False
    return (
        rules.voltage_rated_mv >= LIVE_MV
        and 1 <= rules.silent_s <= 86_400
        and 0 <= rules.suspend_slots <= 96
        and 0 <= rules.connection_export_w <= 1 << 31
        and 0 <= rules.connection_import_w <= 1 << 31
    )


def _gasps(gateway: Gateway) -> bool:
    """A gateway on its own battery whose meter has no voltage any more."""
    return 0 <= gateway.snapshot.voltage_high_mv < LIVE_MV


def _voltage(gateway: Gateway, rated_mv: int) -> int | None:
    """The phase that is farther from its rated voltage, in per mille; None if there is none."""
    low, high = gateway.snapshot.voltage_low_mv, gateway.snapshot.voltage_high_mv
    if low < LIVE_MV:
        return None
    worst = low if rated_mv - low > high - rated_mv else high
    return voltage_per_mille(worst, rated_mv)
