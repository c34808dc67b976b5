"""When a slot's meters are reported, and when a report is corrected.

Decides that a slot is reported once every awaited meter has passed its end, or at the deadline with
estimates for those that have not; that late data corrects a report only where it makes a slot
better known; and how much of that one turn may do. It must never report a slot before its end,
never take back a measured value, and never let one backlog hold up the present.

An estimate is the meter's own count so far at its mean power if a third of the slot is known, else
what it counted, else zero (`cloud.metering.intervals`). Estimates that only change into other
estimates are corrected once a slot, so that a month of backlog is not a month of corrections a
minute.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from cloud.commands import MeterSlot
from cloud.facts import SlotMetered
from cloud.metering.intervals import SLOT_MS, Grade
from cloud.metering.meter import Meter, Row
from protos.clock import SLOT_NS, slot_at, slot_end_ns
from protos.ids import AccountId
from protos.limits import READING_AGE_NS_MAX

REPORTS_PER_TURN_MAX = 96
"""New or corrected slots in one turn: a day. What is left waits for the next turn."""

HORIZON_SLOTS = READING_AGE_NS_MAX // SLOT_NS
"""How far back a report can still be corrected."""

SLOT_LAST = 1 << 62
_ABSENT = -1
_STRIDE = 3


@dataclass(slots=True)
class Home:
    """One billing meter of an account. Counted from `first_slot` to `last_slot`.

    `awaited` is false for a gateway that has said it has no billing meter.
    """

    account: AccountId
    first_slot: int
    last_slot: int = SLOT_LAST
    awaited: bool = True
    meter: Meter = field(default_factory=Meter)

    def counts_in(self, slot: int) -> bool:
        return self.first_slot <= slot <= self.last_slot

    def state(self) -> object:
        return (self.account, self.first_slot, self.last_slot, self.awaited, self.meter.state())


@dataclass(slots=True)
class Report:
    """What was last said of a slot: import, export and grade of every home, by its index."""

    revision: int
    rows: "array[int]"

    def row(self, home: int) -> tuple[int, int, int] | None:
        """None for a home that did not count in the slot."""
        at = home * _STRIDE
        if at >= len(self.rows) or self.rows[at + 2] == _ABSENT:
            return None
        return self.rows[at], self.rows[at + 1], self.rows[at + 2]

    def replace(self, home: int, row: Row) -> None:
        at = home * _STRIDE
        self.rows[at], self.rows[at + 1], self.rows[at + 2] = row


class SlotReports:
    """The reports of one zone. Homes are only ever added; their index is their name here."""

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self.homes: list[Home] = []
        self.next_slot = 0
        self.kept: dict[int, Report] = {}
        self._turned_in = -1
        self._straggler = 0

    def begin(self, first_slot: int) -> None:
        self.next_slot = first_slot

    def advance(self, now_ns: int, deadline_ns: int) -> list[SlotMetered]:
        """Reports what is due, corrects what got better known. Deadline: ns after a slot's end."""
        current = slot_at(now_ns)
        horizon = current - HORIZON_SLOTS
        self.next_slot = max(self.next_slot, horizon)
        facts = list(self._due(now_ns, deadline_ns))
        is_new_slot = current != self._turned_in
        self._turned_in = current
        facts += self._corrections(is_new_slot, REPORTS_PER_TURN_MAX - len(facts))
        if is_new_slot:
            self._forget(horizon)
        return facts

    def state(self) -> object:
        return {
            "next_slot": self.next_slot,
            "turned_in": self._turned_in,
            "homes": [home.state() for home in self.homes],
            "kept": [(slot, r.revision, r.rows.tolist()) for slot, r in self.kept.items()],
        }

    def _due(self, now_ns: int, deadline_ns: int) -> Iterator[SlotMetered]:
        for _ in range(REPORTS_PER_TURN_MAX):
            slot = self.next_slot
            end_ns = slot_end_ns(slot)
            if now_ns < end_ns or (now_ns < end_ns + deadline_ns and not self._passed(slot)):
                return
            self.next_slot += 1
            # Nobody trades in a slot in which no home counts, so there is nothing to settle.
            if any(home.counts_in(slot) for home in self.homes):
                yield self._report(slot)

    def _passed(self, slot: int) -> bool:
        """Whether every awaited meter has been read at or after the slot's end."""
        end_ms = (slot + 1) * SLOT_MS
        count = len(self.homes)
        for step in range(count):
            # The one that was waited for last time is most likely still the one.
            index = (self._straggler + step) % count
            home = self.homes[index]
            if home.awaited and home.counts_in(slot) and home.meter.passed_ms() < end_ms:
                self._straggler = index
                return False
        return True

    def _report(self, slot: int) -> SlotMetered:
        rows = array("q")
        for home in self.homes:
            row = home.meter.row(slot) if home.counts_in(slot) and home.awaited else None
            if row is not None:
                rows.extend(row)
            else:
                rows.extend((0, 0, Grade.OPEN if home.counts_in(slot) else _ABSENT))
        report = Report(0, rows)
        if not self._is_final(report):
            self.kept[slot] = report
        return self._fact(slot, report)

    def _corrections(self, is_new_slot: bool, budget: int) -> list[SlotMetered]:
        touched: dict[int, Report] = {}
        for index, home in enumerate(self.homes):
            if home.meter.changed is not None and len(touched) < budget:
                self._correct(index, home.meter, is_new_slot, touched, budget)
        facts = []
        for slot in sorted(touched):
            report = touched[slot]
            report.revision += 1
            facts.append(self._fact(slot, report))
            if self._is_final(report):
                del self.kept[slot]
        return facts

    def _correct(
        self,
        index: int,
        meter: Meter,
        is_new_slot: bool,
        touched: dict[int, Report],
        budget: int,
    ) -> None:
        """Brings one home's rows up to date. What may not change yet stays marked as changed."""
        low, high = meter.changed or (0, -1)
        high = min(high, self.next_slot - 1)
        meter.changed = None
        low = max(low, next(iter(self.kept), SLOT_LAST))
        for slot in range(low, high + 1):
            report = self.kept.get(slot)
            said = report.row(index) if report else None
            row = meter.row(slot)
            if report is None or said is None or row is None or row == said:
                continue
            better = row[2] > said[2] or (is_new_slot and row[2] == said[2] == Grade.ESTIMATED)
            if not better or (len(touched) >= budget and slot not in touched):
                first, _ = meter.changed or (slot, slot)
                meter.changed = (first, high)
                continue
            report.replace(index, row)
            touched[slot] = report

    def _is_final(self, report: Report) -> bool:
        """Nothing that may still come can make this report better."""
        rows = report.rows
        return all(
            rows[3 * index + 2] in {Grade.MEASURED, _ABSENT} or not self.homes[index].awaited
            for index in range(len(rows) // _STRIDE)
        )

    def _fact(self, slot: int, report: Report) -> SlotMetered:
        """One entry an account, in the order of their names; several meters are added up."""
        totals: dict[AccountId, tuple[int, int, bool]] = {}
        for index in range(len(report.rows) // _STRIDE):
            row = report.row(index)
            if row is None:
                continue
            account = self.homes[index].account
            imported, exported, estimated = totals.get(account, (0, 0, False))
            totals[account] = (
                imported + row[0],
                exported + row[1],
                estimated or row[2] != Grade.MEASURED,
            )
        meters = tuple(MeterSlot(account, *totals[account]) for account in sorted(totals))
        return SlotMetered(self.zone, slot, report.revision, meters)

    def _forget(self, horizon: int) -> None:
        for slot in [slot for slot in self.kept if slot < horizon]:
            del self.kept[slot]
        for home in self.homes:
            if home.meter.changed is None:
                home.meter.forget(horizon, self.next_slot)
