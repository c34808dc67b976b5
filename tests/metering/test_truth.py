"""Whatever the line does to the readings, in the end every slot is what the counter says."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.metering.columns import plan_columns
from cloud.metering.intervals import SLOT_MS, Counter, Grade
from cloud.metering.reports import Home, SlotReports
from protos.clock import SECOND_NS
from protos.messages import (
    ClockQuality,
    DeviceEntry,
    Quantity,
    RegisterEntry,
    RegisterMap,
    Role,
    SweepBatch,
)

FIRST = 1_000_000
MINUTES = 15 * 12
GROWTH = st.lists(st.integers(0, 400), min_size=MINUTES + 1, max_size=MINUTES + 1)
PLAN = plan_columns(
    RegisterMap(
        1,
        (DeviceEntry("meter", Role.GRID, "test/meter", 1),),
        (RegisterEntry(0, Quantity.ENERGY_IMPORT_WH, billing=True),),
    )
)


def readings(growth: list[int]) -> list[tuple[int, int]]:
    """One a minute from the start of slot FIRST."""
    value, result = 5_000, []
    for minute, grown in enumerate(growth):
        value += grown
        result.append((FIRST * SLOT_MS + 60_000 * minute, value))
    return result


def truth(line: list[tuple[int, int]]) -> list[int]:
    """The energy of each whole slot; a reading lies on every edge."""
    edges = [value for _, value in line[::15]]
    return [after - before for before, after in pairwise(edges)]


@settings(max_examples=60, deadline=None)
@given(GROWTH, st.sets(st.integers(1, MINUTES - 1)))
def test_late_data_in_order_makes_every_slot_measured_and_loses_nothing(growth, late) -> None:
    line = readings(growth)
    counter = Counter()
    for minute, (at_ms, value) in enumerate(line):
        if minute not in late:
            counter.add(at_ms, value)
    for minute in sorted(late):
        counter.add(*line[minute])
    slots = [counter.energy(FIRST + n) for n in range(MINUTES // 15)]
    assert all(slot is not None and slot[1] is Grade.MEASURED for slot in slots)
    assert sum(slot[0] for slot in slots if slot) == sum(truth(line))


@settings(max_examples=60, deadline=None)
@given(GROWTH, st.dictionaries(st.integers(1, MINUTES), st.integers(-(1 << 40), 1 << 40)))
def test_faults_between_good_values_change_nothing(growth, faults) -> None:
    line = readings(growth)
    clean, dirty = Counter(), Counter()
    for minute, (at_ms, value) in enumerate(line):
        clean.add(at_ms, value)
        if minute in faults and not 0 <= faults[minute] < 10_000:
            dirty.add(at_ms - 30_000, value + faults[minute])
        dirty.add(at_ms, value)
    assert [clean.energy(FIRST + n) for n in range(12)] == [
        dirty.energy(FIRST + n) for n in range(12)
    ]


@settings(max_examples=40, deadline=None)
@given(
    GROWTH,
    st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=12, max_size=30),
    st.integers(0, 2_000),
)
def test_after_any_outages_the_last_revision_of_every_slot_is_the_counters(
    growth,
    line_states,
    deadline_s,
) -> None:
    line = readings(growth)
    home = Home("a", FIRST)
    reports = SlotReports("north")
    reports.homes.append(home)
    reports.begin(FIRST)
    last: dict[int, tuple[int, int, bool]] = {}
    sent = now = 0

    def turn() -> None:
        now_ns = (line[0][0] + 60_000 * now) * 1_000_000
        for fact in reports.advance(now_ns, deadline_s * SECOND_NS):
            revision, _, estimated = last.get(fact.slot, (-1, 0, True))
            assert fact.revision == revision + 1
            assert estimated, "a measured slot was corrected"
            (meter,) = fact.meters
            last[fact.slot] = (fact.revision, meter.import_wh, meter.estimated)

    def deliver(until: int) -> None:
        nonlocal sent
        batch = line[sent : until + 1]
        if batch:
            times, values = zip(*batch, strict=True)
            home.meter.record(
                PLAN, SweepBatch(1, 1, 1, ClockQuality.SYNCHRONISED, (times,), (values,))
            )
            sent = until + 1

    for minutes, is_up in line_states:
        now = min(MINUTES, now + minutes)
        if is_up:
            deliver(now)
        turn()
    now = MINUTES
    deliver(now)
    turn()
    now += deadline_s // 60 + 1
    turn()
    assert [last[FIRST + n][1] for n in range(12)] == truth(line)
    assert not any(last[FIRST + n][2] for n in range(12))
