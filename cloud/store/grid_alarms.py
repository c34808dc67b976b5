"""What of the grid is worth an alarm, and when it is over.

Decides priority and words only; what is abnormal the zone has decided. An alarm's key names what it
is about, so that the same thing rises once.
"""

from typing import NamedTuple

from cloud.facts import (
    Fact,
    OutageChanged,
    OverrideContested,
    QualityAlarm,
    Redispatched,
    StateEstimated,
)

CRITICAL_FROM = 3
"""The levels of QualityAlarm that are critical; 0 is normal."""

GRID_FACTS = (OutageChanged, QualityAlarm, Redispatched, StateEstimated, OverrideContested)


class GridAlarm(NamedTuple):
    """Priority 0 ends the alarm of that key."""

    key: str
    priority: int
    source: str
    message: str


def alarm_of(fact: Fact) -> GridAlarm | None:
    """The alarm that a fact raises or ends; None for any other fact."""
    match fact:
        case OutageChanged(zone=zone, element=element, is_out=is_out):
            words = f"element {element} seems out: {fact.gateways} homes silent"
            gasps = f", {fact.gasps} without voltage" if fact.gasps else ""
            return GridAlarm(f"outage/{zone}/{element}", int(is_out), zone, words + gasps)
        case QualityAlarm(zone=zone, subject=subject, level=level):
            priority = 0 if not level else 1 if level >= CRITICAL_FROM else 2
            return GridAlarm(f"quality/{zone}/{subject}", priority, subject, _quality(fact))
        case Redispatched(zone=zone, slot=slot, element=element):
            words = (
                f"element {element} from {fact.before_per_mille / 10:.1f} to "
                f"{fact.after_per_mille / 10:.1f} % in slot {slot}: {len(fact.homes)} homes held back"
            )
            return GridAlarm(f"redispatch/{zone}/{element}", 2, zone, words)
        case StateEstimated(zone=zone, converged=converged):
            return GridAlarm(
                f"state/{zone}", int(not converged), zone, "the grid's state is unknown"
            )
        case OverrideContested(zone=zone, element=element):
            words = (
                f"element {element}: {fact.holds} holds {fact.holds_limit_w} W, {fact.yields} "
                f"yields {fact.yields_limit_w} W by {fact.by}"
            )
            return GridAlarm(f"contested/{zone}/{element}", 3, fact.holds, words)
    return None


def _quality(fact: QualityAlarm) -> str:
    if fact.subject == "frequency":
        return f"frequency {fact.value / 1_000:.3f} Hz"
    return f"voltage {fact.value / 10:.1f} % of rated"
