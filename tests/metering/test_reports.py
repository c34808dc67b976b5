"""When slots are reported and corrected."""

from cloud.commands import MeterSlot
from cloud.facts import SlotMetered
from cloud.metering.columns import plan_columns
from cloud.metering.intervals import SLOT_MS
from cloud.metering.reports import HORIZON_SLOTS, REPORTS_PER_TURN_MAX, Home, SlotReports
from protos.clock import SECOND_NS, SLOT_NS
from protos.messages import (
    ClockQuality,
    DeviceEntry,
    Quantity,
    RegisterEntry,
    RegisterMap,
    Role,
    SweepBatch,
)

PLAN = plan_columns(
    RegisterMap(
        1,
        (DeviceEntry("meter", Role.GRID, "test/meter", 1),),
        (RegisterEntry(0, Quantity.ENERGY_IMPORT_WH, billing=True),),
    )
)
FIRST = 1_000_000
DEADLINE_NS = 900 * SECOND_NS


def feed(home: Home, first_minute: int, last_minute: int, wh_per_minute: int = 10) -> None:
    """Minute readings, counted from the start of slot FIRST."""
    minutes = range(first_minute, last_minute + 1)
    times = tuple(FIRST * SLOT_MS + 60_000 * m for m in minutes)
    values = tuple(1_000 + wh_per_minute * m for m in minutes)
    home.meter.record(PLAN, SweepBatch(1, 1, 1, ClockQuality.SYNCHRONISED, (times,), (values,)))


def zone(*homes: Home) -> SlotReports:
    reports = SlotReports("north")
    reports.homes.extend(homes)
    reports.begin(FIRST)
    return reports


def advance(reports: SlotReports, minute: int) -> list[SlotMetered]:
    return reports.advance(FIRST * SLOT_NS + minute * 60 * SECOND_NS, DEADLINE_NS)


def home(account: str) -> Home:
    return Home(account, FIRST)


def said(fact: SlotMetered) -> tuple[int, int, dict[str, tuple[int, int, bool]]]:
    meters = {m.account: (m.import_wh, m.export_wh, m.estimated) for m in fact.meters}
    return fact.slot - FIRST, fact.revision, meters


def test_a_slot_is_reported_as_soon_as_every_meter_has_passed_its_end() -> None:
    a, b = home("a"), home("b")
    reports = zone(a, b)
    feed(a, 0, 16)
    feed(b, 0, 14)
    assert advance(reports, 16) == []
    feed(b, 15, 15)
    assert advance(reports, 16) == [
        SlotMetered(
            "north",
            FIRST,
            0,
            (MeterSlot("a", 150, 0, estimated=False), MeterSlot("b", 150, 0, estimated=False)),
        )
    ]
    assert advance(reports, 17) == []


def test_a_slot_is_never_reported_before_its_end_even_if_a_clock_runs_ahead() -> None:
    a = home("a")
    reports = zone(a)
    feed(a, 0, 16)
    assert advance(reports, 14) == []
    assert len(advance(reports, 15)) == 1


def test_at_the_deadline_a_silent_meter_is_estimated_with_zero() -> None:
    a, b = home("a"), home("b")
    reports = zone(a, b)
    feed(a, 0, 30)
    assert advance(reports, 29) == []
    assert [said(f) for f in advance(reports, 30)] == [
        (0, 0, {"a": (150, 0, False), "b": (0, 0, True)})
    ]


def test_at_the_deadline_a_half_known_slot_is_the_mean_of_what_is_known() -> None:
    a = home("a")
    reports = zone(a)
    feed(a, 0, 9)
    assert [said(f) for f in advance(reports, 30)] == [(0, 0, {"a": (150, 0, True)})]


def test_late_data_corrects_a_report_once_with_the_next_revision() -> None:
    a, b = home("a"), home("b")
    reports = zone(a, b)
    feed(a, 0, 30)
    feed(b, 0, 2)
    advance(reports, 30)
    feed(b, 3, 10)
    assert advance(reports, 31) == []
    feed(b, 11, 16)
    assert [said(f) for f in advance(reports, 32)] == [
        (0, 1, {"a": (150, 0, False), "b": (150, 0, False)})
    ]
    feed(b, 17, 30)
    assert [said(f)[:2] for f in advance(reports, 33)] == [(1, 0)]
    assert advance(reports, 34) == []
    assert reports.kept == {}


def test_a_slot_without_late_data_is_never_corrected() -> None:
    a, b = home("a"), home("b")
    reports = zone(a, b)
    feed(a, 0, 60)
    for minute in range(15, 600, 5):
        assert all(fact.revision == 0 for fact in advance(reports, minute))


def test_a_silence_is_corrected_to_estimates_and_then_to_measurements() -> None:
    a = home("a")
    reports = zone(a)
    feed(a, 0, 15)
    advance(reports, 15)
    for minute in (45, 60, 75):
        advance(reports, minute)
    feed(a, 75, 76, wh_per_minute=20)
    corrections = [said(f) for f in advance(reports, 77)]
    assert [(slot, revision) for slot, revision, _ in corrections] == [
        (4, 0),
        (1, 1),
        (2, 1),
        (3, 1),
    ]
    assert all(meters["a"][2] for slot, _, meters in corrections)
    assert sum(meters["a"][0] for _, _, meters in corrections) == 20 * 75 - 10 * 15
    feed(a, 16, 74)
    measured = [said(f) for f in advance(reports, 78)]
    assert [(slot, revision) for slot, revision, _ in measured] == [(1, 2), (2, 2), (3, 2), (4, 1)]
    assert not any(meters["a"][2] for _, _, meters in measured)
    assert sum(meters["a"][0] for _, _, meters in measured) == 20 * 75 - 10 * 15
    assert reports.kept == {}


def test_estimates_that_change_into_estimates_wait_for_the_next_slot() -> None:
    a = home("a")
    reports = zone(a)
    feed(a, 0, 15)
    advance(reports, 15)
    for minute in (45, 60, 75, 90):
        advance(reports, minute)
    feed(a, 90, 90, wh_per_minute=20)
    advance(reports, 91)
    feed(a, 60, 60)
    assert advance(reports, 92) == []
    assert {said(f)[0] for f in advance(reports, 105)} >= {1, 2, 3, 4}


def test_a_gateway_without_a_billing_meter_is_not_waited_for() -> None:
    a, b = home("a"), home("b")
    b.awaited = False
    reports = zone(a, b)
    feed(a, 0, 16)
    assert [said(f) for f in advance(reports, 16)] == [
        (0, 0, {"a": (150, 0, False), "b": (0, 0, True)})
    ]
    assert reports.kept == {}


def test_two_meters_of_one_account_are_added_up_and_the_poorer_one_decides() -> None:
    a, b = home("a"), home("a")
    reports = zone(a, b)
    feed(a, 0, 16)
    assert [said(f) for f in advance(reports, 30)] == [(0, 0, {"a": (150, 0, True)})]


def test_a_home_counts_only_from_its_admission_to_its_end() -> None:
    a, b = home("a"), Home("b", FIRST + 1, FIRST + 1)
    reports = zone(a, b)
    feed(a, 0, 46)
    feed(b, 0, 46)
    members = [[m.account for m in fact.meters] for fact in advance(reports, 46)]
    assert members == [["a"], ["a", "b"], ["a"]]


def test_after_a_long_stop_a_turn_reports_at_most_a_day() -> None:
    reports = zone(home("a"))
    assert len(advance(reports, 15 * 300)) == REPORTS_PER_TURN_MAX
    assert len(advance(reports, 15 * 300)) == REPORTS_PER_TURN_MAX


def test_slots_older_than_any_reading_may_be_are_skipped() -> None:
    reports = zone(home("a"))
    facts = advance(reports, 15 * (HORIZON_SLOTS + 1_000))
    assert facts[0].slot == FIRST + 1_000


def test_a_backlog_is_corrected_a_day_at_a_time_and_all_of_it() -> None:
    a = home("a")
    reports = zone(a)
    feed(a, 0, 1)
    while advance(reports, 15 * 250):
        pass
    for start in range(2, 15 * 250, 500):
        feed(a, start, min(start + 499, 15 * 250))
    turns = [len(advance(reports, 15 * 250)) for _ in range(4)]
    assert turns == [REPORTS_PER_TURN_MAX, REPORTS_PER_TURN_MAX, 58, 0]
    assert reports.kept == {}


def test_a_backlog_that_takes_several_slots_to_correct_loses_none_of_them() -> None:
    a = home("a")
    reports = zone(a)
    feed(a, 0, 1)
    while advance(reports, 15 * 250):
        pass
    for start in range(2, 15 * 250, 500):
        feed(a, start, min(start + 499, 15 * 250))
    corrected = {}
    for turn in range(1, 6):
        for fact in advance(reports, 15 * (250 + turn)):
            corrected[fact.slot - FIRST] = said(fact)[2]["a"]
    assert [corrected[slot] for slot in range(249)] == [(150, 0, False)] * 249
